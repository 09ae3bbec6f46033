#!/usr/bin/env bash
# Writes docs/use/session.md: five minutes with `llmgw` on the local gateway, as a terminal shows them.
#
#     cargo xtask dev                                                # in another shell
#     tools/release/session.sh .tools/run/dev-9000/env
set -euo pipefail

if (($# != 1)); then
  echo "usage: $0 FILE, the file of variables of a running cargo xtask dev" >&2
  exit 2
fi
# shellcheck source=/dev/null
. "$1"
gateway=$LLMGW_GATEWAY
unset LLMGW_GATEWAY LLMGW_IDENTITY
cd "$(dirname "$0")/../.."
page=$PWD/docs/use/session.md

home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
export HOME=$home TZ=Europe/Berlin NO_COLOR=1
unset XDG_CONFIG_HOME

say() {
  echo "\$ $1"
  (cd "$home" && bash -c "$1" 2>&1) || echo "[exit status $?]"
  echo
}

{
  cat <<'TEXT'
# Five minutes with `llmgw`

A session on the [local gateway](../develop/local-gateway.md), written by
[`tools/release/session.sh`](../../tools/release/session.sh); a test of `llmgw` holds its commands against the program.

```console
TEXT
  say "llmgw identity new"
  say "llmgw profile add dev $gateway --model openai/gpt-4o-mini"
  say "llmgw status"
  say "echo sk-or-v1-for-the-stand-in-only | llmgw connect --name laptop"
  say "llmgw status"
  say "llmgw models gpt"
  say "llmgw chat 'Say hello'"
  say "llmgw chat -c -o temperature=0.2 'And again?'"
  say "llmgw logs -n 1"
  say "llmgw chat -m stub/429 'Say hello'"
  # The program of the README: nothing but curl.
  say 'llmgw run -- sh -c '\''curl -s "$OPENAI_BASE_URL/chat/completions" -H "authorization: Bearer $OPENAI_API_KEY" -d "{\"model\":\"openai/gpt-4o-mini\",\"messages\":[]}" | head -c 60; echo'\'''
  say "llmgw usage --since today"
  say "llmgw usage --requests --limit 3"
  say "llmgw usage --json | head -c 80; echo"
  echo '```'
} | sed -e "s#$home#/home/me#g" -e 's#[[:blank:]]*$##' > "$page"
echo "$page"
