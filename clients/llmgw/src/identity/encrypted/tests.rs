use serde_json::{Value, json};

use super::*;
use crate::identity::Identity;

fn vectors() -> Vec<Value> {
    let text = include_str!("../../../../../shared/testdata/encrypted_identity.json");
    let vectors: Value = serde_json::from_str(text).unwrap();
    vectors["cases"].as_array().unwrap().clone()
}

fn open(file: &Value, passphrase: &str) -> Result<Identity, EncryptedError> {
    Identity::decrypt(file.to_string().as_bytes(), passphrase)
}

#[test]
fn the_vectors_open_and_what_is_written_opens_again() {
    for case in vectors() {
        let (file, passphrase) = (&case["file"], case["passphrase"].as_str().unwrap());
        let identity = open(file, passphrase).unwrap();
        assert_eq!(identity.did().as_str(), file["did"].as_str().unwrap());
        let der = pkcs8(&identity.key).unwrap();
        assert_eq!(hex::encode(&*der), case["pkcs8_hex"].as_str().unwrap());

        let salt = bytes(file["kdf"]["salt"].as_str().unwrap()).unwrap();
        let iv = bytes(file["cipher"]["iv"].as_str().unwrap()).unwrap();
        let written = identity.encrypt(passphrase, salt, iv).unwrap();
        let written: Value = serde_json::from_str(&written).unwrap();
        assert_eq!(&written, file);
    }
}

/// With few iterations, because unoptimised ones are slow.
fn opened(file: &Value, passphrase: &str) -> Result<Identity, EncryptedError> {
    let (key, did) = decrypt_within(file.to_string().as_bytes(), passphrase, 1..=2)?;
    Ok(Identity { key, did })
}

fn quick(identity: &Identity) -> Value {
    let (key, did) = (&identity.key, identity.did_url());
    let file = encrypt_with(key, did, "correct horse", [1; 16], [2; 12], 1).unwrap();
    serde_json::from_str(&file).unwrap()
}

#[test]
fn what_was_changed_does_not_open() {
    let identity = Identity::from_seed(&[1; 32]);
    let file = quick(&identity);
    let passphrase = "correct horse";
    assert_eq!(opened(&file, passphrase).unwrap().did(), identity.did());
    let other = Identity::from_seed(&[2; 32]).did().to_string();
    for (pointer, value, error) in [
        ("/version", json!(2), EncryptedError::Unknown),
        ("/format", json!("another"), EncryptedError::Unknown),
        ("/algorithm", json!("RSA"), EncryptedError::Unknown),
        ("/algorithm", json!("P-256"), EncryptedError::Key),
        ("/kdf/name", json!("scrypt"), EncryptedError::Unknown),
        ("/kdf/hash", json!("SHA-1"), EncryptedError::Unknown),
        ("/kdf/iterations", json!(2), EncryptedError::Refused),
        ("/kdf/salt", json!("AAAA"), EncryptedError::Malformed),
        (
            "/cipher/name",
            json!("AES-128-GCM"),
            EncryptedError::Unknown,
        ),
        (
            "/cipher/iv",
            json!("AAAAAAAAAAAAAAAA"),
            EncryptedError::Refused,
        ),
        ("/did", json!(other), EncryptedError::Refused),
        ("/ciphertext", json!(""), EncryptedError::Refused),
        ("/ciphertext", json!("*"), EncryptedError::Malformed),
    ] {
        let mut changed = file.clone();
        *changed.pointer_mut(pointer).unwrap() = value;
        let refused = opened(&changed, passphrase).unwrap_err();
        assert_eq!(refused, error, "{pointer}");
    }
    assert_eq!(opened(&file, "wrong").unwrap_err(), EncryptedError::Refused);
    let nothing = opened(&json!({}), "x").unwrap_err();
    assert_eq!(nothing, EncryptedError::Malformed);
}

#[test]
fn too_few_and_too_many_iterations_are_refused_before_any_is_made() {
    let mut file = vectors()[0]["file"].clone();
    for iterations in [0, 1, 599_999, 10_000_001, u32::MAX] {
        file["kdf"]["iterations"] = json!(iterations);
        let refused = open(&file, "x").unwrap_err();
        assert_eq!(refused, EncryptedError::Iterations(iterations));
    }
}

#[test]
fn a_key_of_another_did_and_a_short_passphrase_are_refused() {
    let (ours, other) = (Identity::from_seed(&[1; 32]), Identity::from_seed(&[2; 32]));
    let mixed = Identity {
        key: Key::Ed25519(SigningKey::from_bytes(&[1; 32])),
        did: other.did_url().clone(),
    };
    let refused = opened(&quick(&mixed), "correct horse").unwrap_err();
    assert_eq!(refused, EncryptedError::AnotherKey);
    let short = ours.encrypt("1234567", [1; 16], [2; 12]);
    assert_eq!(short.unwrap_err(), EncryptedError::ShortPassphrase);
}
