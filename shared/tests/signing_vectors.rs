//! The vectors that clients in other languages are tested with, against the gateway's own code.

#![expect(
    clippy::unwrap_used,
    reason = "in tests' helpers, too, what does not work fails the test"
)]

use base64::{Engine, prelude::BASE64_STANDARD};
use ed25519_dalek::SigningKey;
use http::{HeaderMap, HeaderName};
use jiff::Timestamp;
use serde_json::Value;
use shared::{
    identity::{
        auth::{Audiences, authenticate},
        canonical::{CanonicalPath, CanonicalQuery},
        did::{DidUrl, Signature},
        signing::{Audience, BodyDigest, Nonce, SignedAt, SignedParts, rfc9421},
    },
    request::{Incoming, RawQuery},
};

fn vectors() -> Value {
    serde_json::from_str(include_str!("../testdata/x_did_v1_canonical.json")).unwrap()
}

/// The cases of RFC 9421: each is what a client signs, and passes.
#[test]
fn message_signatures() {
    let vectors: Value = serde_json::from_str(include_str!("../testdata/rfc9421.json")).unwrap();
    let page = include_str!("../../docs/use/signing.md");
    for (index, case) in vectors["cases"].as_array().unwrap().iter().enumerate() {
        let text = |name: &str| case[name].as_str().unwrap();
        let did = DidUrl::parse(text("did")).unwrap();
        let key_type = did.public_key().unwrap().key_type();
        assert_eq!(rfc9421::algorithm(key_type), text("alg"));
        let query = RawQuery::Encoded(text("query").to_owned());
        let body = text("body").as_bytes();
        let draft = rfc9421::Draft::new(
            &SignedParts {
                audience: &text("aud").parse().unwrap(),
                did: &did,
                signed_at: &SignedAt::parse(text("created")).unwrap(),
                nonce: Some(&Nonce::parse(text("nonce")).unwrap()),
                method: &text("method").parse().unwrap(),
                path: &CanonicalPath::from_raw(text("path")).unwrap(),
                query: &CanonicalQuery::from_raw(&query).unwrap(),
                body: BodyDigest::of(body),
            },
            body,
            key_type,
        );
        assert_eq!(draft.base().as_str(), text("base"));
        let mut headers = HeaderMap::new();
        let signature = BASE64_STANDARD.decode(text("signature")).unwrap();
        let signature = Signature::from_bytes(signature.try_into().unwrap());
        for (name, value) in draft.headers(&signature) {
            // The worked example of the documentation.
            let is_shown = page.contains(&format!("{name}: {value}"));
            assert!(is_shown || index > 0, "{name}: {value}");
            headers.insert(name, value.parse().unwrap());
        }
        assert!(page.contains(text("base")) || index > 0);
        let request = Incoming {
            method: text("method").parse().unwrap(),
            raw_path: text("path").to_owned(),
            stage: None,
            query,
            headers,
            body: text("body").to_owned().into(),
        };
        let audiences = Audiences::new(vec![text("aud").parse().unwrap()]).unwrap();
        let now = Timestamp::from_second(text("created").parse().unwrap()).unwrap();
        let passed = authenticate(&request, &audiences, 1024, now).unwrap();
        assert_eq!(passed.caller.did().as_str(), text("did"));
    }
}

/// Requests that other implementations signed pass, as a Function URL's event has them and, where their query is
/// canonical or covered by its parameters, as a REST API's.
#[test]
fn message_signatures_of_other_implementations() {
    let vectors = include_str!("../testdata/rfc9421_foreign.json");
    let vectors: Value = serde_json::from_str(vectors).unwrap();
    let cases = vectors["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 14);
    let audiences = Audiences::new(vec!["https://gw.example.com".parse().unwrap()]).unwrap();
    let now = Timestamp::from_second(1_735_689_600).unwrap();
    for case in cases {
        let text = |name: &str| case[name].as_str().unwrap();
        let target = text("url").strip_prefix("https://gw.example.com").unwrap();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut headers = HeaderMap::new();
        for (name, value) in case["headers"].as_object().unwrap() {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.insert(name, value.as_str().unwrap().parse().unwrap());
        }
        let query = RawQuery::Encoded(query.to_owned());
        let pairs = CanonicalQuery::from_raw(&query).unwrap();
        let pairs = pairs.pairs();
        let pairs: Vec<_> = pairs
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
            .collect();
        for query in [query, RawQuery::Decoded(pairs)] {
            let request = Incoming {
                method: text("method").parse().unwrap(),
                raw_path: path.to_owned(),
                stage: None,
                query,
                headers: headers.clone(),
                body: text("body").to_owned().into(),
            };
            let passed = authenticate(&request, &audiences, 1024, now);
            let passed = passed.unwrap_or_else(|it| panic!("{case}: {it}"));
            assert_eq!(passed.caller.did().as_str(), text("did"));
        }
    }
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
