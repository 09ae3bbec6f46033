#!/bin/sh
# The compiler's wrapper (RUSTC_WRAPPER) of `cargo xtask fuzz`: counts the edges that a run takes, in our crates and
# in the parsers that they use. Rust's `-Zsanitizer` needs a nightly toolchain; LLVM's pass behind it does not.
rustc=$1
shift
# Build scripts and macros run while building. They are compiled for the host: without `--target`.
case " $* " in
*" --target "*) ;;
*) exec "$rustc" "$@" ;;
esac
name=
previous=
for argument in "$@"; do
    [ "$previous" = --crate-name ] && name=$argument
    previous=$argument
done
case $name in
shared | adapter | llmgw | fuzz | libfuzzer | serde_json | base64 | percent_encoding | form_urlencoded | bs58 | hex | jiff | url | csv_core)
    exec "$rustc" "$@" --cfg fuzzing -Ccodegen-units=1 -Cpasses=sancov-module \
        -Cllvm-args=-sanitizer-coverage-level=4 \
        -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
        -Cllvm-args=-sanitizer-coverage-pc-table \
        -Cllvm-args=-sanitizer-coverage-trace-compares
    ;;
*) exec "$rustc" "$@" ;;
esac
