use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::*;
use crate::identity::did::UnsupportedKey;

const DID: &str = "did:web:example.com";
/// Keys of the W3C's vectors for did:key.
const ED25519: &str = "z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp";
const P256: &str = "zDnaerDaTF5BXEavCrfRZEk316dpbLsfPDZ3WJ5hRTPFU2169";
const SECP256K1: &str = "zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme";

fn now() -> Timestamp {
    Timestamp::from_second(1_735_689_600).unwrap()
}

fn read(document: &Value) -> Result<Document, MalformedDocument> {
    Document::read(document.to_string().as_bytes(), &Did::parse(DID).unwrap())
}

fn of_multibase(text: &str) -> PublicKey {
    Did::parse(&format!("did:key:{text}"))
        .unwrap()
        .public_key()
        .unwrap()
}

fn multikey(id: &str, key: &str) -> Value {
    json!({"id": id, "type": "Multikey", "controller": DID, "publicKeyMultibase": key})
}

/// A JWK of the Ed25519 key.
fn jwk() -> Value {
    let x = BASE64_URL_SAFE_NO_PAD.encode(of_multibase(ED25519).as_bytes());
    json!({"kty": "OKP", "crv": "Ed25519", "x": x, "kid": "7", "alg": "EdDSA"})
}

/// The verdict on one key, alone in its document.
fn verdict(method: &Value) -> Result<PublicKey, KeyError> {
    let document = read(&json!({"id": DID, "authentication": [method]})).unwrap();
    document.key("k", now())
}

#[test]
fn keys_for_authentication_by_reference_and_embedded() {
    let document = read(&json!({
        "@context": ["https://www.w3.org/ns/did/v1", {"x": 1}],
        "id": DID,
        "verificationMethod": [
            multikey("did:web:example.com#absolute", ED25519),
            multikey("#relative", P256),
            {"id": "#jwk", "type": "JsonWebKey", "controller": DID, "publicKeyJwk": jwk()},
            multikey("#unused", ED25519),
            multikey("did:web:example.org#foreign", ED25519),
        ],
        "authentication": [
            "#absolute",
            "did:web:example.com#relative",
            "#jwk",
            multikey("#embedded", P256),
            // None of these is a key of this document.
            "#nowhere",
            "did:web:example.org#foreign",
            "did:web:example.com.evil.example#foreign",
            "#",
            "did:web:example.com?versionId=1#absolute",
            multikey("did:web:example.org#theirs", ED25519),
        ],
        "assertionMethod": ["#unused"],
        "service": [{"id": "#s", "type": "x", "serviceEndpoint": "https://example.com"}],
    }))
    .unwrap();
    for (fragment, key) in [
        ("absolute", Ok(of_multibase(ED25519))),
        ("relative", Ok(of_multibase(P256))),
        ("jwk", Ok(of_multibase(ED25519))),
        ("embedded", Ok(of_multibase(P256))),
        ("unused", Err(KeyError::Missing)),
        ("foreign", Err(KeyError::Missing)),
        ("theirs", Err(KeyError::Missing)),
        ("nowhere", Err(KeyError::Missing)),
        ("", Err(KeyError::Missing)),
    ] {
        assert_eq!(document.key(fragment, now()), key, "{fragment}");
    }
}

#[test]
fn a_key_that_cannot_be_used_harms_no_other() {
    let x = jwk()["x"].clone();
    let unsupported = |key| KeyError::Unusable(DidError::UnsupportedKeyType(key));
    let with = |members: Value| {
        let mut method = json!({"id": "#k", "type": "Multikey"});
        method
            .as_object_mut()
            .unwrap()
            .append(&mut members.as_object().unwrap().clone());
        method
    };
    for (method, error) in [
        (
            multikey("#k", SECP256K1),
            unsupported(UnsupportedKey::Secp256k1),
        ),
        (
            with(json!({"publicKeyJwk": {"kty": "RSA", "n": x, "e": "AQAB"}})),
            unsupported(UnsupportedKey::Rsa),
        ),
        (
            with(json!({"publicKeyJwk": {"kty": "OKP", "crv": "Ed25519", "x": x, "d": x}})),
            KeyError::Unusable(DidError::PrivateKey),
        ),
        (
            with(json!({"publicKeyJwk": {"kty": "OKP", "crv": "Ed25519", "x": x, "use": "enc"}})),
            KeyError::Unusable(DidError::JwkNotForSignatures),
        ),
        (
            with(json!({"publicKeyJwk": []})),
            KeyError::Unusable(DidError::Jwk),
        ),
        (with(json!({})), KeyError::Unusable(DidError::KeyEncoding)),
        (
            with(json!({"publicKeyBase58": "x"})),
            KeyError::Unusable(DidError::KeyEncoding),
        ),
        (
            with(json!({"publicKeyJwk": jwk(), "publicKeyMultibase": ED25519})),
            KeyError::Unusable(DidError::KeyEncoding),
        ),
        (
            multikey("#k", &format!("z{}", "1".repeat(MAX_LEN))),
            KeyError::Unusable(DidError::KeyEncoding),
        ),
        (
            multikey("#k", "u7QE"),
            KeyError::Unusable(DidError::Multibase),
        ),
        (multikey("#k", ""), KeyError::Unusable(DidError::Multibase)),
    ] {
        assert_eq!(verdict(&method), Err(error), "{method}");
        let both = json!({"id": DID, "authentication": [method, multikey("#other", ED25519)]});
        let other = read(&both).unwrap().key("other", now());
        assert_eq!(other, Ok(of_multibase(ED25519)));
    }
}

#[test]
fn a_key_is_accepted_until_it_expires_or_is_revoked() {
    for (member, time, accepted) in [
        ("expires", "2025-01-01T00:00:01Z", true),
        ("expires", "2025-01-01T00:00:00Z", false),
        ("expires", "2020-01-01T00:00:00Z", false),
        ("revoked", "2025-01-01T00:00:01Z", true),
        ("revoked", "2024-12-31T23:59:59Z", false),
        ("revoked", "at some time", false),
    ] {
        let mut method = multikey("#k", ED25519);
        method[member] = time.into();
        let expected = if accepted {
            Ok(of_multibase(ED25519))
        } else {
            Err(KeyError::Ended)
        };
        assert_eq!(verdict(&method), expected, "{member} {time}");
    }
}

#[test]
fn documents_of_something_else() {
    let key = || multikey("#k", ED25519);
    let keys = |count: usize| -> Value {
        (0..count)
            .map(|n| multikey(&format!("#{n}"), ED25519))
            .collect()
    };
    for (document, error) in [
        (json!([]), MalformedDocument::Json),
        (json!({}), MalformedDocument::Json),
        (json!({"id": [DID]}), MalformedDocument::Json),
        (
            json!({"id": DID, "authentication": "#k"}),
            MalformedDocument::Json,
        ),
        (
            json!({"id": DID, "authentication": [7]}),
            MalformedDocument::Json,
        ),
        (
            json!({"id": DID, "authentication": [{}]}),
            MalformedDocument::Json,
        ),
        (
            json!({"id": DID, "authentication": [], "verificationMethod": ["#k"]}),
            MalformedDocument::Json,
        ),
        (
            json!({"id": "did:web:example.org"}),
            MalformedDocument::AnotherId,
        ),
        (
            json!({"id": "did:web:EXAMPLE.com"}),
            MalformedDocument::AnotherId,
        ),
        (
            json!({"id": "did:web:example.com#k"}),
            MalformedDocument::AnotherId,
        ),
        (json!({"id": ""}), MalformedDocument::AnotherId),
        (
            json!({"id": DID, "authentication": keys(MAX_KEYS + 1)}),
            MalformedDocument::TooManyKeys,
        ),
        (
            json!({"id": DID, "authentication": [key(), multikey("#k", P256)]}),
            MalformedDocument::AmbiguousKey,
        ),
        (
            json!({"id": DID, "authentication": ["#k"], "verificationMethod": [key(), key()]}),
            MalformedDocument::AmbiguousKey,
        ),
        (
            json!({"id": DID, "authentication": ["#k", key()], "verificationMethod": [key()]}),
            MalformedDocument::AmbiguousKey,
        ),
    ] {
        assert_eq!(read(&document), Err(error), "{document}");
    }
    assert!(read(&json!({"id": DID})).is_ok());
    assert!(read(&json!({"id": DID, "authentication": keys(MAX_KEYS)})).is_ok());
    let did = Did::parse(DID).unwrap();
    for text in [
        "",
        "<!doctype html>",
        r#"{"id":"did:web:example.com","id":"did:web:example.org"}"#,
        r#"{"id":"did:web:example.com"} x"#,
        r#"{"id":"did:web:example.com","x":"\ud800"}"#,
    ] {
        let refusal = Document::read(text.as_bytes(), &did);
        assert_eq!(refusal, Err(MalformedDocument::Json), "{text}");
    }
}

#[test]
fn depth_is_harmless() {
    let deep = format!("{}1{}", "[".repeat(30_000), "]".repeat(30_000));
    let did = Did::parse(DID).unwrap();
    let unread = format!(r#"{{"id":"{DID}","x":{deep}}}"#);
    assert_eq!(
        Document::read(unread.as_bytes(), &did),
        Ok(Document(Vec::new()))
    );
    let key =
        format!(r##"{{"id":"{DID}","authentication":[{{"id":"#k","publicKeyJwk":{deep}}}]}}"##);
    let document = Document::read(key.as_bytes(), &did).unwrap();
    assert_eq!(
        document.key("k", now()),
        Err(KeyError::Unusable(DidError::Jwk))
    );
}
