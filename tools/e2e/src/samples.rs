//! The sample events in `events/`, freshly signed, with their answers.

use std::{
    fs,
    process::Command,
    sync::{Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::world::{AUDIENCE, World};

/// An event and its answer here, where the samples' identity has no key.
#[derive(Debug)]
pub struct Sample {
    /// The file's name.
    pub file: String,
    /// The function that it is for.
    pub function: String,
    /// The event.
    pub event: Vec<u8>,
    /// The answer's status.
    pub status: u64,
    /// The stable name of the refusal, or null.
    pub reason: Value,
}

/// The samples are all of one DID: a key that one test revokes and a token that it makes are another's, too.
static ONE_DID: Mutex<()> = Mutex::new(());

/// Lets one test at a time use the samples.
pub fn alone() -> MutexGuard<'static, ()> {
    ONE_DID.lock().unwrap_or_else(PoisonError::into_inner)
}

/// All samples, signed now. What they have made before is forgotten.
pub fn samples(world: &World) -> Result<Vec<Sample>> {
    let fresh = tempfile::tempdir_in(&world.logs)?;
    let signed = Command::new(world.tools.python())
        .arg(world.project("tools/events.py"))
        .args(["--now", "--audience", AUDIENCE, "--out"])
        .arg(fresh.path())
        .output()?;
    let complaint = String::from_utf8_lossy(&signed.stderr);
    ensure!(signed.status.success(), "{complaint}");

    let signed = fs::read(fresh.path().join("tokens-post-v1.json"))?;
    let signed: Value = serde_json::from_slice(&signed)?;
    let did = signed["headers"]["x-did"].as_str().context("no DID")?;
    world.sql(&format!(
        "DELETE FROM public.access_tokens WHERE did = '{did}'"
    ))?;

    let expected = fs::read(world.project("events/expected.json"))?;
    let expected: Value = serde_json::from_slice(&expected)?;
    let expected = expected.as_object().context("not an object")?;
    ensure!(expected.len() > 20, "the samples are gone");
    // Samples about keys come first, from storing one to revoking it, with those about tokens between them.
    let mut in_order: Vec<_> = expected.iter().collect();
    in_order.sort_by_key(|(file, _)| match file.as_str() {
        put if put.starts_with("keys-put") => 0,
        delete if delete.starts_with("keys-delete") => 2,
        during if during.starts_with("keys-") || during.starts_with("tokens-") => 1,
        _ => 3,
    });
    in_order
        .into_iter()
        .map(|(file, expected)| {
            let function = expected["function"].as_str().unwrap_or_default().to_owned();
            // A request that would be forwarded stops at the missing key.
            let keyless = expected["status"] == 200 && function == "proxy";
            let (status, reason) = if keyless {
                (402, Value::from("no_key_for_did"))
            } else {
                let status = expected["status"].as_u64().context("no status")?;
                (status, expected["reason"].clone())
            };
            Ok(Sample {
                file: file.clone(),
                event: fs::read(fresh.path().join(file))?,
                function,
                status,
                reason,
            })
        })
        .collect()
}
