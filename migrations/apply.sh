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

# Live tables have readers and writers: a statement that cannot lock them soon gives up, so that nobody
# queues up behind it, and is tried again.
attempts=30
apply() { # file, version, name
    local output attempt
    for ((attempt = 1; ; attempt++)); do
        if output=$(sql --single-transaction \
            --command="SET LOCAL client_min_messages = warning" \
            --command="SET LOCAL statement_timeout = 0" --command="SET LOCAL lock_timeout = '2s'" \
            --command="INSERT INTO supabase_migrations.schema_migrations (version, name) VALUES ('$2', '$3')" \
            --file="$1" 2>&1); then
            [ -z "$output" ] || echo "$output" >&2
            return
        fi
        if [[ $attempt -ge $attempts || ! $output =~ "lock timeout"|"deadlock detected" ]]; then
            echo "$output" >&2
            fail "$(basename "$1") is not applied"
        fi
        echo "  waits for other transactions ($attempt of $attempts)" >&2
        sleep 1
    done
}

# The indexes of a migration, one by one and without blocking writers; then it finds them there.
build_indexes() { # file
    local statement
    # Left by a run that was interrupted.
    sql --command="SELECT format('DROP INDEX CONCURRENTLY %s', indexrelid::regclass) FROM pg_catalog.pg_index
                    WHERE indrelid = 'public.request_logs'::regclass AND NOT indisvalid" |
        while read -r statement; do
            sql --command="SET statement_timeout = 0" --command="$statement" </dev/null
        done
    awk '/^(UPDATE|CREATE INDEX IF NOT EXISTS) /, /;$/ { print }' "$1" |
        sed 's/^CREATE INDEX IF NOT EXISTS/CREATE INDEX CONCURRENTLY IF NOT EXISTS/' |
        { echo "SET client_min_messages = warning; SET statement_timeout = 0;"; cat; } |
        sql --file=-
}

applied=$(sql --command='SELECT version FROM supabase_migrations.schema_migrations')
count=0
for file in "$(dirname "${BASH_SOURCE[0]}")"/*.sql; do
    base=$(basename "$file" .sql)
    version=${base%%_*}
    name=${base#*_}
    grep --quiet --line-regexp --fixed-strings "$version" <<<"$applied" && continue
    if [ "$name" = original_schema ] &&
        [ "$(sql --command="SELECT to_regclass('public.user_api_keys') IS NOT NULL AND to_regclass('public.request_logs') IS NOT NULL")" = t ]; then
        echo "$base is there already"
        sql --command="INSERT INTO supabase_migrations.schema_migrations (version, name) VALUES ('$version', '$name')"
        continue
    fi
    echo "$base"
    if [ "$name" = indexes ] && [ "$(sql --command="SELECT pg_relation_size('public.request_logs') > 10000000")" = t ]; then
        build_indexes "$file"
    fi
    apply "$file" "$version" "$name"
    count=$((count + 1))
done
echo "$count applied"
