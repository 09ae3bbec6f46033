//! The vectors that clients in other languages are tested with, against the gateway's own code.

#![expect(
    clippy::unwrap_used,
    reason = "in tests' helpers, too, what does not work fails the test"
)]

use ed25519_dalek::SigningKey;
use serde_json::Value;
use shared::{
    identity::{
        canonical::{CanonicalPath, CanonicalQuery},
        did::DidUrl,
        signing::Audience,
    },
    request::RawQuery,
};

fn vectors() -> Value {
    serde_json::from_str(include_str!("../testdata/x_did_v1_canonical.json")).unwrap()
}

/// Holds every case of `kind` against `canonical_form`, which gives nothing for what is refused.
fn check(kind: &str, canonical_form: impl Fn(&str) -> Option<String>) {
    let vectors = vectors();
    let cases = vectors[kind].as_array().unwrap();
    assert!(cases.len() > 20, "{kind}");
    for case in cases {
        let raw = case["raw"].as_str().unwrap();
        let expected = case["canonical"].as_str();
        assert_eq!(canonical_form(raw).as_deref(), expected, "{kind}: {raw:?}");
    }
}

#[test]
fn paths() {
    check("paths", |raw| {
        Some(CanonicalPath::from_raw(raw).ok()?.as_str().to_owned())
    });
}

#[test]
fn queries() {
    check("queries", |raw| {
        let query = CanonicalQuery::from_raw(&RawQuery::Encoded(raw.to_owned()));
        Some(query.ok()?.as_str().to_owned())
    });
}

#[test]
fn audiences() {
    check("audiences", |raw| {
        Some(Audience::parse(raw).ok()?.as_str().to_owned())
    });
}

#[test]
fn dids() {
    let scheme: Value = serde_json::from_str(include_str!("../testdata/x_did_v1.json")).unwrap();
    let seed = hex::decode(scheme["secret_key_seed_hex"].as_str().unwrap()).unwrap();
    let key = SigningKey::from_bytes(&seed.try_into().unwrap())
        .verifying_key()
        .into();
    let is_of_the_seed = |did: &str| {
        let named = DidUrl::parse(did).and_then(|did| did.public_key());
        named.is_ok_and(|named| named == key)
    };
    let vectors = vectors();
    for case in vectors["dids"].as_array().unwrap() {
        let did = case["did"].as_str().unwrap();
        assert_eq!(is_of_the_seed(did), case["of_the_seed"] == true, "{did}");
    }
}
