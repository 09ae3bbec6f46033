//! Fuzz targets of all parsers of text from outside, as functions over bytes that panic when an
//! invariant does not hold.
//!
//! Two programs run them. `libfuzzer/` is instrumented and searches for inputs
//! (`cargo xtask fuzz`). `tests/corpus.rs` replays the inputs in `corpus/`, which the search has
//! found, in every `cargo xtask test`: it shares the normal build, so that a check of all targets
//! costs seconds and no C++ compiler.
//!
//! The parsers themselves are private to their crates. They are compiled with `--cfg fuzzing`, which
//! exposes them; without it only the targets of public ones exist.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a target reports by panicking"
)]

mod access_token;
mod auth;
mod canonical;
mod config;
mod did;
mod did_document;
#[cfg(fuzzing)]
mod event;
#[cfg(fuzzing)]
mod growth;
#[cfg(fuzzing)]
mod guard;
mod headers;
mod input;
mod job;
mod json;
mod json_scan;
mod key_bodies;
mod keyset;
#[cfg(fuzzing)]
mod markdown;
mod meter;
mod model_list;
mod money;
#[cfg(fuzzing)]
mod openrouter;
mod payload;
#[cfg(fuzzing)]
mod restore;
mod route;
mod signing;
mod sse;
mod strict_json;
mod usage;

use std::{
    fs, io,
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

/// A property that holds for all inputs.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// The name, which is also the folder's of its corpus.
    pub name: &'static str,
    /// Panics for an input for which the property does not hold.
    pub run: fn(&[u8]),
}

impl Target {
    /// Whether the property holds for an input.
    #[must_use]
    pub fn passes(&self, input: &[u8]) -> bool {
        panic::catch_unwind(AssertUnwindSafe(|| (self.run)(input))).is_ok()
    }

    /// The inputs that a search has kept, with their files.
    pub fn corpus(&self) -> io::Result<Vec<(PathBuf, Vec<u8>)>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
        let files = fs::read_dir(folder.join(self.name))?;
        files
            .map(|entry| {
                let file = entry?.path();
                let input = fs::read(&file)?;
                Ok((file, input))
            })
            .collect()
    }
}

const fn target(name: &'static str, run: fn(&[u8])) -> Target {
    Target { name, run }
}

/// The target that judges times. A search may, a test must not: other programs lengthen them.
pub const TIMED: &str = "growth";

/// Every target.
pub const TARGETS: &[Target] = &[
    target("json_scan", json_scan::agrees_with_serde_json),
    target("strict_json", strict_json::an_object_is_an_object),
    target("sse", sse::agrees_with_the_standard),
    target("meter_json", meter::json),
    target("meter_stream", meter::stream),
    target("job", job::agrees_with_serde_json),
    target("path", canonical::path),
    target("query", canonical::query),
    target("did", did::a_key_has_one_spelling),
    target("did_document", did_document::keys_are_for_authentication),
    target("signing", signing::headers),
    target("auth", auth::only_the_signed_request_passes),
    target("message_signature", auth::no_message_signature_passes),
    target("money", money::agrees_with_bigdecimal),
    target("route", route::refused_families_stay_refused),
    target("access_token", access_token::agrees_with_large_numbers),
    target("model_list", model_list::no_model_is_missed),
    target("payload", payload::agrees_with_serde_json),
    target("headers", headers::credentials_stay),
    target("usage_parameters", usage::parameters),
    target("csv", usage::csv),
    target("keyset", keyset::edits),
    target("sealed", keyset::sealed),
    target("masked", key_bodies::masked),
    target("key_bodies", key_bodies::faults_quote_no_key),
    target("config", config::faults_quote_no_value),
    #[cfg(fuzzing)]
    target("generation", openrouter::generation),
    #[cfg(fuzzing)]
    target("made_key", openrouter::made_key),
    #[cfg(fuzzing)]
    target("event", event::is_what_the_json_says),
    #[cfg(fuzzing)]
    target("event_kinds", event::kinds_agree),
    #[cfg(fuzzing)]
    target("guard", guard::pages_stay_out),
    #[cfg(fuzzing)]
    target("restore", restore::every_record_is_found),
    #[cfg(fuzzing)]
    target("markdown", markdown::only_own_escapes),
    #[cfg(fuzzing)]
    target(TIMED, growth::linear),
];

static PLANTED: AtomicBool = AtomicBool::new(false);

/// Plants a bug in each target: from now on it spoils some results before it checks them. A target that does not
/// notice checks nothing.
pub fn plant_bugs() {
    PLANTED.store(true, Ordering::Relaxed);
}

/// Whether bugs are planted.
fn planted() -> bool {
    PLANTED.load(Ordering::Relaxed)
}
