#!/usr/bin/env bash
# Applies the migrations that the database does not have yet, in order, each in one transaction. It keeps
# count where the Supabase CLI does, so that either may go on where the other has stopped.
#
#   DATABASE_URL=postgresql://… migrations/apply.sh
#
# PSQL names the program, if it is not psql. The connection has to be encrypted, unless the string or
# PGSSLMODE says otherwise, or it stays on this machine.
set -euo pipefail

fail() {
    echo "migrations/apply.sh: $1" >&2
    exit 1
}

: "${DATABASE_URL:?is not set; it must be the connection string of the database}"
psql=${PSQL:-psql}
command -v "$psql" >/dev/null || fail "$psql is not installed (Debian: postgresql-client; Homebrew: libpq)"

# The password goes by the environment: every user of the machine can read a command line.
if [[ $DATABASE_URL =~ ^([a-z]+://[^:@/]+):(.*)@([^@]*)$ ]]; then
    password=${BASH_REMATCH[2]}
    DATABASE_URL="${BASH_REMATCH[1]}@${BASH_REMATCH[3]}"
    [ "$password" != "[YOUR-PASSWORD]" ] || fail "DATABASE_URL says [YOUR-PASSWORD]; put the password there"
    [[ ! $password =~ %([^0-9A-Fa-f]|.[^0-9A-Fa-f]|.?$) ]] || fail "in the password a % is written %25"
    password=${password//\\/\\\\}
    printf -v PGPASSWORD '%b' "${password//%/\\x}"
    export PGPASSWORD
fi

# By default libpq goes on in the clear where somebody on the way says that there is no TLS.
case $DATABASE_URL in
*@127.0.0.1[:/]* | *@localhost[:/]* | *sslmode=*) ;;
*) export PGSSLMODE="${PGSSLMODE:-require}" ;;
esac

sql() {
    "$psql" "$DATABASE_URL" --no-psqlrc --quiet --tuples-only --no-align --set=ON_ERROR_STOP=1 "$@"
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
