#!/usr/bin/env bash
# Builds `llmgw` for a target and packs it, as cargo-binstall looks for it:
# llmgw-v0.1.0-TARGET.tar.gz with a folder of the same name.
set -euo pipefail

if (($# != 3)); then
  echo "usage: $0 TARGET TAG FOLDER, like x86_64-unknown-linux-gnu v0.1.0 archives" >&2
  exit 2
fi
target=$1 tag=$2 folder=$3
cd "$(dirname "$0")/../.."

version=v$(cargo metadata --format-version 1 --no-deps --locked |
  python3 -c 'import json, sys; print(next(p["version"] for p in json.load(sys.stdin)["packages"] if p["name"] == "llmgw"))')
if [[ $tag != "$version" ]]; then
  echo "the tag is $tag, but llmgw's version is $version" >&2
  exit 1
fi

cargo build --locked --release --package llmgw --target "$target"

name=llmgw-$tag-$target
staging=$(mktemp -d)
trap 'rm -rf "$staging"' EXIT
mkdir "$staging/$name"
cp "target/$target/release/llmgw" LICENSE CHANGELOG.md "$staging/$name/"
mkdir -p "$folder"
tar --create --gzip --file "$folder/$name.tar.gz" --directory "$staging" "$name"
echo "$folder/$name.tar.gz"
