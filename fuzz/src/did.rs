//! DIDs and the keys in them, beside other decoders.

use data_encoding::BASE64URL_NOPAD;
use ed25519_dalek::VerifyingKey;
use serde_json::Value;
use shared::identity::did::{Did, DidError, DidUrl, KeyType, PublicKey};

use crate::{input::text, json::members, planted};

/// A DID is its own text, a did:key has one spelling, and a key comes out of a did:jwk only if every reader of its JSON
/// finds the same one.
pub(crate) fn a_key_has_one_spelling(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else {
        return;
    };
    let multicodec = [&[0xed, 1], &rest[..rest.len().min(34)]].concat();
    let p256 = [&[0x80, 0x24], &rest[..rest.len().min(34)]].concat();
    let text = match kind % 5 {
        0 => text(rest),
        1 => did_key(&rest[..rest.len().min(60)]),
        2 => format!("did:jwk:{}", BASE64URL_NOPAD.encode(rest)),
        3 => did_key(&multicodec),
        _ => did_key(&p256),
    };
    let Ok(url) = DidUrl::parse(&text) else {
        assert!(Did::parse(&text).is_err());
        return;
    };
    assert_eq!(url.to_string(), text);
    assert!(text.len() <= 512 && text.is_ascii() && !text.contains([',', '\n', ' ']));
    match Did::parse(&text) {
        Ok(did) => assert_eq!(did.as_str(), text),
        Err(_) => assert!(text.contains('#')),
    }
    match url.public_key() {
        Ok(PublicKey::Ed25519(key)) => is_the_only_one(&key, url.did()),
        Ok(key @ PublicKey::P256(_)) => is_one_point(&key, url.did()),
        Err(error) => {
            let sentence = error.to_string();
            assert!(sentence.len() < 700 && !sentence.contains(['\n', '\x1b']));
            if let (3, Ok(bytes)) = (kind % 5, rest.try_into()) {
                is_refused_for_itself(bytes, &error);
            }
        }
    }
}

fn did_key(bytes: &[u8]) -> String {
    format!("did:key:z{}", bs58::encode(bytes).into_string())
}

fn is_the_only_one(key: &VerifyingKey, did: &Did) {
    assert!(!key.is_weak());
    assert!(
        is_canonical(key, key.as_bytes()),
        "a second spelling of a point"
    );
    let Some(jwk) = did.as_str().strip_prefix("did:jwk:") else {
        let mut spelling = Did::from_public_key(&PublicKey::Ed25519(*key)).to_string();
        if planted() {
            spelling.push('1');
        }
        assert_eq!(spelling, did.as_str(), "a second spelling of a did:key");
        return;
    };
    let json = BASE64URL_NOPAD.decode(jwk.as_bytes()).expect("base64url");
    let json = str::from_utf8(&json).expect("JSON is UTF-8");
    let value: Value = serde_json::from_str(json).expect("JSON");
    let members = members(json).expect("an object");
    for name in ["kty", "crv", "x", "use", "d"] {
        let count = members.iter().filter(|(it, _)| it == name).count();
        assert!(count <= 1, "{name} {count} times in {json}");
    }
    assert_eq!(
        (&value["kty"], &value["crv"]),
        (&"OKP".into(), &"Ed25519".into())
    );
    assert!(value["use"].is_null() || value["use"] == "sig");
    assert!(value["d"].is_null(), "a private key");
    let x = value["x"].as_str().expect("text");
    assert_eq!(
        BASE64URL_NOPAD.decode(x.as_bytes()).unwrap(),
        key.as_bytes()
    );
}

fn is_one_point(key: &PublicKey, did: &Did) {
    assert!(matches!(key.as_bytes(), [2 | 3, x @ ..] if x.len() == 32));
    assert_eq!(KeyType::P256.read(key.as_bytes()), Ok(*key));
    let spelling = Did::from_public_key(key);
    assert_eq!(spelling.public_key(), Ok(*key));
    let is_jwk = did.as_str().starts_with("did:jwk:");
    assert!(is_jwk || spelling == *did, "a second spelling of a did:key");
}

/// A key of the right length is refused only for the point that it is.
fn is_refused_for_itself(bytes: &[u8; 32], error: &DidError) {
    let key = VerifyingKey::from_bytes(bytes)
        .ok()
        .filter(|key| is_canonical(key, bytes));
    match error {
        DidError::WeakKey => assert!(key.expect("a point").is_weak()),
        DidError::NotAPoint => assert_eq!(key, None),
        error => panic!("{error}"),
    }
}

fn is_canonical(key: &VerifyingKey, bytes: &[u8; 32]) -> bool {
    key.to_edwards().compress().as_bytes() == bytes
}
