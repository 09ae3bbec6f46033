#!/usr/bin/env bash
# Applies the migrations that the database does not have yet, in order, each in one transaction. It keeps
# count where the Supabase CLI does, so that either may go on where the other has stopped.
#
#   DATABASE_URL=postgresql://… migrations/apply.sh [--dry-run]
#
# With --dry-run it only says which are applied and which are pending, and changes nothing. Of two runs at the
# same time the second waits for the first. PSQL names the program, if it is not
# psql. The connection has to be encrypted, unless the string or PGSSLMODE says otherwise, or it stays on this
# machine. Only sslmode=verify-full, with PGSSLROOTCERT, also proves who is at its other end.
set -euo pipefail

fail() {
    echo "migrations/apply.sh: $1" >&2
    exit 1
}

: "${DATABASE_URL:?is not set; it must be the connection string of the database}"
psql=${PSQL:-psql}
command -v "$psql" >/dev/null || fail "$psql is not installed (Debian: postgresql-client; Homebrew: libpq)"

dry_run=
case ${1-} in
'') ;;
--dry-run) dry_run=1 ;;
*) fail "usage: DATABASE_URL=postgresql://… migrations/apply.sh [--dry-run]" ;;
esac

# The password goes by the environment: every user of the machine can read a command line. It stands after
# the user, in a parameter of the URL, or in a list of keywords.
decoded() {
    [[ ! $1 =~ %([^0-9A-Fa-f]|.[^0-9A-Fa-f]|.?$) ]] || fail "in the password a % is written %25"
    local text=${1//\\/\\\\}
    printf '%b' "${text//%/\\x}"
}
if [[ $DATABASE_URL =~ ^([a-z]+://[^:@/]+):(.*)@([^@]*)$ ]]; then
    password=${BASH_REMATCH[2]}
    DATABASE_URL="${BASH_REMATCH[1]}@${BASH_REMATCH[3]}"
    [ "$password" != "[YOUR-PASSWORD]" ] || fail "DATABASE_URL says [YOUR-PASSWORD]; put the password there"
    PGPASSWORD=$(decoded "$password")
    export PGPASSWORD
fi
case $DATABASE_URL in
*://*)
    while [[ $DATABASE_URL =~ ^([^?]*\?)(.*\&)?password=([^\&]*)\&?(.*)$ ]]; do
        PGPASSWORD=$(decoded "${BASH_REMATCH[3]}")
        DATABASE_URL=${BASH_REMATCH[1]}${BASH_REMATCH[2]}${BASH_REMATCH[4]}
        export PGPASSWORD
    done
    ;;
*)
    keyword="^(.*[[:space:]])?password[[:space:]]*=[[:space:]]*('(([^'\\]|\\\\.)*)'|[^[:space:]']*)(.*)$"
    while [[ $DATABASE_URL =~ $keyword ]]; do
        PGPASSWORD=${BASH_REMATCH[2]}
        [[ $PGPASSWORD != \'* ]] || PGPASSWORD=${BASH_REMATCH[3]}
        DATABASE_URL="${BASH_REMATCH[1]} ${BASH_REMATCH[5]}"
        PGPASSWORD=$(sed 's/\\\(.\)/\1/g' <<<"$PGPASSWORD")
        export PGPASSWORD
    done
    ;;
esac
# A spelling that was not thought of.
if [[ $(decoded "$DATABASE_URL") =~ password[[:space:]]*= ]]; then
    fail "DATABASE_URL holds a password in a form that cannot be kept off the command line; put it into PGPASSWORD"
fi

# By default libpq goes on in the clear where somebody on the way says that there is no TLS.
case $DATABASE_URL in
*@127.0.0.1[:/]* | *@localhost[:/]* | *sslmode=*) ;;
*) export PGSSLMODE="${PGSSLMODE:-require}" ;;
esac

sql() {
    "$psql" "$DATABASE_URL" --no-psqlrc --quiet --tuples-only --no-align --set=ON_ERROR_STOP=1 "$@"
}

if [ -n "$dry_run" ]; then
    applied=
    if [ "$(sql --command="SELECT to_regclass('supabase_migrations.schema_migrations') IS NOT NULL")" = t ]; then
        applied=$(sql --command='SELECT version FROM supabase_migrations.schema_migrations')
    fi
    for file in "$(dirname "${BASH_SOURCE[0]}")"/*.sql; do
        base=$(basename "$file" .sql)
        state=pending
        ! grep --quiet --line-regexp --fixed-strings "${base%%_*}" <<<"$applied" || state=applied
        echo "$state $base"
    done
    exit
fi

# Held until the end, so that of two runs the second waits, and then finds everything applied: an index that
# another run is building looks like one that it left unfinished. By a transaction that does nothing else and
# has no snapshot, so that no index waits for it; a lock of the session would outlive it in a pooler. It asks
# again and again, because a statement that waits has a snapshot.
lock=4839214
pipes=$(mktemp -d)
mkfifo "$pipes/in" "$pipes/out"
sql --file=- <"$pipes/in" >"$pipes/out" &
holder=$!
exec 8>"$pipes/in" 9<"$pipes/out"
rm -r "$pipes"
# Its transaction ends with its input.
trap 'exec 8>&-; wait "$holder" 2>/dev/null || true' EXIT
cat >&8 <<'SQL'
BEGIN;
SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0;
SQL
waits=
while
    echo "SELECT pg_try_advisory_xact_lock($lock);" >&8
    read -r is_held <&9 || fail "the database does not answer"
    [ "$is_held" != t ]
do
    [ -n "$waits" ] || echo "waits for another run" >&2
    waits=1
    sleep 1
done

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
        if [[ $output =~ schema_migrations_pkey ]]; then
            echo "  applied by another run" >&2
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
