#!/bin/sh
# The compiler's wrapper (RUSTC_WORKSPACE_WRAPPER) of the step "corpus": exposes the private parsers to the targets.
# Cargo keeps what it builds apart from other builds of our crates, and shares their dependencies.
rustc=$1
shift
exec "$rustc" "$@" --cfg fuzzing
