#!/usr/bin/env bash
# Applies the migrations that the database does not have yet, in order, each in one transaction. It keeps
# count where the Supabase CLI does, so that either may go on where the other has stopped.
#
#   DATABASE_URL=postgresql://… migrations/apply.sh
#
# PSQL names the program, if it is not psql.
set -euo pipefail
: "${DATABASE_URL:?is not set; it must be the connection string of the database}"

# The password goes by the environment: every user of the machine can read a command line.
if [[ $DATABASE_URL =~ ^([a-z]+://[^:@/]+):([^@]*)@(.*)$ ]]; then
    printf -v PGPASSWORD '%b' "${BASH_REMATCH[2]//%/\\x}"
    export PGPASSWORD
    DATABASE_URL="${BASH_REMATCH[1]}@${BASH_REMATCH[3]}"
fi

sql() {
    "${PSQL:-psql}" "$DATABASE_URL" --no-psqlrc --quiet --tuples-only --no-align --set=ON_ERROR_STOP=1 "$@"
}

sql <<'SQL'
SET client_min_messages = warning;
CREATE SCHEMA IF NOT EXISTS supabase_migrations;
CREATE TABLE IF NOT EXISTS supabase_migrations.schema_migrations (version text PRIMARY KEY);
ALTER TABLE supabase_migrations.schema_migrations
  ADD COLUMN IF NOT EXISTS statements text[],
  ADD COLUMN IF NOT EXISTS name text;
SQL

applied=$(sql --command='SELECT version FROM supabase_migrations.schema_migrations')
count=0
for file in "$(dirname "${BASH_SOURCE[0]}")"/*.sql; do
    base=$(basename "$file" .sql)
    version=${base%%_*}
    grep --quiet --line-regexp --fixed-strings "$version" <<<"$applied" && continue
    echo "$base"
    sql --single-transaction --file="$file" \
        --command="INSERT INTO supabase_migrations.schema_migrations (version, name) VALUES ('$version', '${base#*_}')"
    count=$((count + 1))
done
echo "$count applied"
