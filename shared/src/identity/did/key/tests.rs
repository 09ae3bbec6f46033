use p256::ecdsa::{SigningKey, signature::Signer};
use serde_json::Value;

use super::*;
use crate::identity::signing::{MalformedSignature, parse_signature};

/// The order n of P-256's group, in hex.
const ORDER: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";

/// RFC 6979, appendix A.2.5: with SHA-256, the key, and r and s of the messages "sample" and "test".
const RFC6979_KEY: &str = "c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721";
const RFC6979_POINT: &str = "0360fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6";
const RFC6979: [(&str, &str); 2] = [
    (
        "sample",
        "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716\
         f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8",
    ),
    (
        "test",
        "f1abb023518351cd71d881567b1ea663ed3efcf6c5132b354f28d3b0b7d38367\
         019f4113742a2b14bd25926b49c649155f267e60d3814b4c0cc84250e46f0083",
    ),
];

fn signature(hex: &str) -> Signature {
    parse_signature(hex).unwrap()
}

#[test]
fn rfc6979_a_2_5() {
    let secret = SigningKey::from_slice(&hex::decode(RFC6979_KEY).unwrap()).unwrap();
    let key = PublicKey::from(*secret.verifying_key());
    assert_eq!(hex::encode(key.as_bytes()), RFC6979_POINT);
    assert_eq!(KeyType::P256.read(key.as_bytes()), Ok(key));
    for (message, expected) in RFC6979 {
        let made: p256::ecdsa::Signature = secret.sign(message.as_bytes());
        assert_eq!(hex::encode(made.to_bytes()), expected);
        assert!(key.verifies(message.as_bytes(), &signature(expected)));
        assert!(!key.verifies(b"another", &signature(expected)));
    }
}

/// Both s and n - s pass; the fingerprint is of the text, so that this is no way around the check of replays.
#[test]
fn s_may_be_high_or_low_but_is_in_range() {
    let key = KeyType::P256.read(&hex::decode(RFC6979_POINT).unwrap());
    let key = key.unwrap();
    let (message, text) = RFC6979[0];
    let (r, s) = text.split_at(64);
    let high = p256::ecdsa::Signature::from_slice(&hex::decode(text).unwrap()).unwrap();
    let low = hex::encode(high.normalize_s().to_bytes());
    assert_ne!(low, text);
    let verifies = |text: &str| key.verifies(message.as_bytes(), &signature(text));
    assert!(verifies(text) && verifies(&low));
    let zero = "0".repeat(64);
    for (r, s) in [
        (r, &*zero),
        (&zero, s),
        (&zero, &zero),
        (r, ORDER),
        (ORDER, s),
    ] {
        assert!(!verifies(&format!("{r}{s}")), "{r} {s}");
    }
    // The second spellings of r and s, with n added, do not fit into 32 bytes or are out of range.
    assert!(!verifies(&format!("{r}{}", "f".repeat(64))));
}

#[test]
fn der_is_refused_by_name() {
    let secret = SigningKey::from_slice(&hex::decode(RFC6979_KEY).unwrap()).unwrap();
    for message in ["sample", "test", "a", "b", "c", "d"] {
        let made: p256::ecdsa::Signature = secret.sign(message.as_bytes());
        let der = hex::encode(made.to_der().as_bytes());
        let refusal = parse_signature(&der).unwrap_err();
        assert_eq!(refusal, MalformedSignature::Der, "{der}");
        assert!(refusal.to_string().contains("DER"));
    }
}

#[test]
fn wycheproof_p1363() {
    let file = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/testdata/vectors/ecdsa_secp256r1_sha256_p1363_test.json"
    );
    let vectors: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let mut seen = 0;
    for group in vectors["testGroups"].as_array().unwrap() {
        let point = group["publicKey"]["uncompressed"].as_str().unwrap();
        let point = hex::decode(point).unwrap();
        let key = P256Key::from_coordinates(&point[1..33], &point[33..]).unwrap();
        let compressed = KeyType::P256.read(&key.compressed).unwrap();
        assert_eq!(compressed, PublicKey::P256(key));
        for test in group["tests"].as_array().unwrap() {
            let text = |name: &str| test[name].as_str().unwrap();
            let message = hex::decode(text("msg")).unwrap();
            let passes =
                parse_signature(text("sig")).is_ok_and(|it| compressed.verifies(&message, &it));
            assert_eq!(passes, text("result") == "valid", "{test}");
            seen += 1;
        }
    }
    assert_eq!(vectors["numberOfTests"], seen);
}
