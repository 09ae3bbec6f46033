use std::collections::BTreeMap;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use ed25519_dalek::{SigningKey, VerifyingKey};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// The multicodec of an Ed25519 public key as an unsigned varint.
const ED25519_PUB_VARINT: [u8; 2] = [0xed, 0x01];

/// RFC 8032 §7.1, test 1.
const RFC8032: &str = "did:key:z6MktwupdmLXVVqTzCw4i46r4uGyosGXRnR3XjN4Zq7oMMsw";

fn did_key(multicodec: &[u8], key: &[u8]) -> String {
    let bytes = [multicodec, key].concat();
    format!("did:key:z{}", bs58::encode(bytes).into_string())
}

fn did_jwk(jwk: &Value) -> String {
    format!("did:jwk:{}", BASE64_URL_SAFE_NO_PAD.encode(jwk.to_string()))
}

fn resolve(text: &str) -> Result<PublicKey, DidError> {
    DidUrl::parse(text)?.public_key()
}

fn rfc8032_key() -> PublicKey {
    let seed = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
    let seed = hex::decode(seed).unwrap().try_into().unwrap();
    SigningKey::from_bytes(&seed).verifying_key().into()
}

#[test]
fn grammar() {
    let long_enough = format!("did:example:{}", "a".repeat(MAX_LEN - 12));
    for good in [
        "did:example:123",
        "did:web:example.com%3A3000:user:alice",
        "did:3:a._:%-Z",
        "did:example::",
        &long_enough,
    ] {
        assert_eq!(Did::parse(good).unwrap().as_str(), good);
        assert_eq!(DidUrl::parse(good).unwrap().to_string(), good);
    }
    for bad in [
        "",
        "did",
        "did:",
        "did:key",
        "did:key:",
        "did::x",
        "DID:key:x",
        "did:KEY:x",
        "did:ke-y:x",
        " did:key:x",
        "did:key:x ",
        "did:key:x\n",
        "did:key:é",
        "did:key:x?service=a",
        "did:key:x/path",
        "did:key:a,did:key:b",
        "did:key:a, did:key:b",
        "did:key:x#",
        "did:key:x#a#b",
        "did:key:x#a,did:key:x#a",
        "#did:key:x",
    ] {
        assert_eq!(DidUrl::parse(bad), Err(DidError::Grammar), "{bad:?}");
        assert_eq!(Did::parse(bad), Err(DidError::Grammar), "{bad:?}");
    }
    let too_long = format!("{long_enough}a");
    assert_eq!(DidUrl::parse(&too_long), Err(DidError::TooLong));
    // The fragment counts.
    let too_long = format!("{RFC8032}#{}", "a".repeat(MAX_LEN - RFC8032.len()));
    assert_eq!(DidUrl::parse(&too_long), Err(DidError::TooLong));
}

#[test]
fn fragment_is_sent_but_not_stored() {
    let text = format!("{RFC8032}#z6MktwupdmLXVVqTzCw4i46r4uGyosGXRnR3XjN4Zq7oMMsw");
    let url = DidUrl::parse(&text).unwrap();
    assert_eq!(url.to_string(), text);
    assert_eq!(url.did().as_str(), RFC8032);
    assert_eq!(url.public_key(), Ok(rfc8032_key()));
    assert_eq!(Did::parse(&text), Err(DidError::Grammar));

    // The key agreement key that did:key derives, a relative name, another key.
    for fragment in [
        "z6LShs9GGnqk85isEBzzshkuVWrVKsRp24GnDuHk8QWkARMW",
        "0",
        "z6MktwupdmLXVVqTzCw4i46r4uGyosGXRnR3XjN4Zq7oMMsW",
    ] {
        assert_eq!(
            resolve(&format!("{RFC8032}#{fragment}")),
            Err(DidError::FragmentNamesAnotherKey)
        );
    }
}

#[test]
fn other_methods_are_named() {
    for (did, method) in [
        ("did:example:123", "example"),
        ("did:web:example.com", "web"),
        ("did:keys:z6Mk", "keys"),
        ("did:example:123#0", "example"),
    ] {
        let error = resolve(did).unwrap_err();
        assert_eq!(error.reason(), "unsupported_did_method");
        assert!(error.to_string().contains(&format!("{method:?}")));
    }
}

#[test]
fn other_key_types_are_named() {
    for (varint, name) in [
        (&[0xe7, 0x01][..], "secp256k1"),
        (&[0xec, 0x01], "X25519"),
        (&[0xeb, 0x01], "BLS12-381"),
        (&[0xef, 0x01], "sr25519"),
        (&[0x81, 0x24], "P-384"),
        (&[0x82, 0x24], "P-521"),
        (&[0x83, 0x24], "Ed448"),
        (&[0x84, 0x24], "X448"),
        (&[0x85, 0x24], "RSA"),
        // ed25519-priv
        (&[0x80, 0x26], "multicodec 0x1300"),
    ] {
        let error = resolve(&did_key(varint, &[7; 32])).unwrap_err();
        assert_eq!(error.reason(), "unsupported_key_type");
        assert!(
            error.to_string().starts_with(&format!("{name} ")),
            "{error}"
        );
    }
}

#[test]
fn only_canonical_did_keys() {
    let key = rfc8032_key();
    assert_eq!(resolve(RFC8032), Ok(key));
    assert_eq!(Did::from_public_key(&key).as_str(), RFC8032);

    let identifier = RFC8032.trim_start_matches("did:key:z");
    let hex = hex::encode([&ED25519_PUB_VARINT, key.as_bytes()].concat());
    for (text, error) in [
        // Bare, leading zero, other bases, an alphabet's missing letter, a version.
        (format!("did:key:{identifier}"), DidError::Multibase),
        (
            format!("did:key:z1{identifier}"),
            DidError::UnsupportedKeyType(UnsupportedKey::Multicodec(0)),
        ),
        (format!("did:key:f{hex}"), DidError::Multibase),
        (format!("did:key:z{identifier}0"), DidError::Multibase),
        (format!("did:key:1.1:z{identifier}"), DidError::Multibase),
        ("did:key:z".to_owned(), DidError::Multibase),
        // The multicodec in a longer spelling, cut off, without end.
        (
            did_key(&[0xed, 0x81, 0x00], key.as_bytes()),
            DidError::Multibase,
        ),
        (did_key(&[0xed], &[]), DidError::Multibase),
        (did_key(&[0xff; 12], &[]), DidError::Multibase),
        // A key too short or too long.
        (did_key(&ED25519_PUB_VARINT, &[7; 31]), DidError::KeyLength),
        (did_key(&ED25519_PUB_VARINT, &[7; 33]), DidError::KeyLength),
        (did_key(&ED25519_PUB_VARINT, &[]), DidError::KeyLength),
    ] {
        assert_eq!(resolve(&text), Err(error.clone()), "{text}");
    }
}

#[test]
fn weak_and_non_canonical_points() {
    let p_plus = |n: u8| {
        let mut bytes = [0xff; 32];
        bytes[0] = 0xed + n;
        bytes[31] = 0x7f;
        bytes
    };
    let mut order_1 = [0; 32];
    order_1[0] = 1;
    let mut negative_zero_x = order_1;
    negative_zero_x[31] = 0x80;
    // Order 8, from ed25519-speccheck.
    let order_8 = "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa";
    let order_8: [u8; 32] = hex::decode(order_8).unwrap().try_into().unwrap();
    for (key, error) in [
        (order_1, DidError::WeakKey),
        ([0; 32], DidError::WeakKey),
        (order_8, DidError::WeakKey),
        // y = p + n: second spellings of y = n, some of large order.
        (p_plus(0), DidError::NotAPoint),
        (p_plus(1), DidError::NotAPoint),
        (p_plus(3), DidError::NotAPoint),
        // y = 1 with the sign of an x that is zero.
        (negative_zero_x, DidError::NotAPoint),
        // No point has y = 2.
        (
            [&[2][..], &[0; 31]].concat().try_into().unwrap(),
            DidError::NotAPoint,
        ),
    ] {
        let did = did_key(&ED25519_PUB_VARINT, &key);
        assert_eq!(resolve(&did), Err(error), "{}", hex::encode(key));
    }
}

#[test]
fn did_jwk_with_ed25519() {
    let key = rfc8032_key();
    let x = BASE64_URL_SAFE_NO_PAD.encode(key.as_bytes());
    let did = did_jwk(&json!({"kty": "OKP", "crv": "Ed25519", "x": x}));
    assert_eq!(resolve(&did), Ok(key));
    assert_eq!(resolve(&format!("{did}#0")), Ok(key));
    assert_eq!(
        resolve(&format!("{did}#1")),
        Err(DidError::FragmentNamesAnotherKey)
    );
    let with_extras =
        json!({"kty": "OKP", "crv": "Ed25519", "x": x, "use": "sig", "alg": "EdDSA", "kid": 1});
    assert_eq!(resolve(&did_jwk(&with_extras)), Ok(key));
}

#[test]
fn a_did_jwk_is_an_object_and_all_of_it_is_json() {
    let x = BASE64_URL_SAFE_NO_PAD.encode(rfc8032_key().as_bytes());
    let of = |json: Vec<u8>| resolve(&format!("did:jwk:{}", BASE64_URL_SAFE_NO_PAD.encode(json)));
    let with = |more: &[u8]| {
        let begin = format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}""#);
        of([begin.as_bytes(), more, b"}"].concat())
    };
    assert!(with(b"").is_ok());
    assert!(with(br#","kid":"\ud83d\ude00""#).is_ok());
    let array = format!(r#"["OKP","Ed25519","{x}",null,null]"#);
    assert_eq!(of(array.into_bytes()), Err(DidError::Jwk));
    assert_eq!(with(b",\"kid\":\"\xff\""), Err(DidError::Jwk));
    assert_eq!(with(br#","kid":"\ud800""#), Err(DidError::Jwk));
}

#[test]
fn did_jwk_refusals() {
    let x = BASE64_URL_SAFE_NO_PAD.encode(rfc8032_key().as_bytes());
    let padded = format!("{x}=");
    // The last of 43 characters carries two bits that must be zero; "B" sets one.
    let trailing_bits = format!("{}B", "A".repeat(42));
    let unsupported = DidError::UnsupportedKeyType;
    for (jwk, error) in [
        (
            json!({"kty": "EC", "crv": "P-256", "x": x, "y": x}),
            DidError::NotAPoint,
        ),
        (
            json!({"kty": "EC", "crv": "P-384", "x": x, "y": x}),
            unsupported(UnsupportedKey::P384),
        ),
        (
            json!({"kty": "EC", "crv": "secp256k1", "x": x}),
            unsupported(UnsupportedKey::Secp256k1),
        ),
        (
            json!({"kty": "OKP", "crv": "X25519", "x": x}),
            unsupported(UnsupportedKey::X25519),
        ),
        (
            json!({"kty": "RSA", "n": x, "e": "AQAB"}),
            unsupported(UnsupportedKey::Rsa),
        ),
        (
            json!({"kty": "oct", "k": x}),
            unsupported(UnsupportedKey::OtherJwk),
        ),
        (
            json!({"kty": "EC", "crv": "Ed25519", "x": x}),
            unsupported(UnsupportedKey::OtherJwk),
        ),
        (
            json!({"kty": "OKP", "crv": "Ed25519", "x": x, "use": "enc"}),
            DidError::JwkNotForSignatures,
        ),
        (
            json!({"kty": "OKP", "crv": "Ed25519", "x": x, "d": x}),
            DidError::PrivateKey,
        ),
        (json!({"kty": "OKP", "crv": "Ed25519"}), DidError::Jwk),
        (
            json!({"kty": "OKP", "crv": "Ed25519", "x": padded}),
            DidError::Jwk,
        ),
        (
            json!({"kty": "OKP", "crv": "Ed25519", "x": trailing_bits}),
            DidError::Jwk,
        ),
        (
            json!({"kty": "OKP", "crv": "Ed25519", "x": "AAAA"}),
            DidError::KeyLength,
        ),
        (
            json!({"kty": "OKP", "crv": "Ed25519", "x": "A".repeat(43)}),
            DidError::WeakKey,
        ),
        (json!([]), DidError::Jwk),
    ] {
        assert_eq!(resolve(&did_jwk(&jwk)), Err(error), "{jwk}");
    }

    let twice = format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}","x":"{x}"}}"#);
    let twice = format!("did:jwk:{}", BASE64_URL_SAFE_NO_PAD.encode(twice));
    assert_eq!(resolve(&twice), Err(DidError::Jwk));
    assert_eq!(resolve("did:jwk:e30"), Err(DidError::Jwk));
    assert_eq!(resolve("did:jwk:not.base64url"), Err(DidError::Jwk));
}

proptest! {
    #[test]
    fn every_key_survives_the_trip(seed: [u8; 32]) {
        let key = PublicKey::from(SigningKey::from_bytes(&seed).verifying_key());
        let did = Did::from_public_key(&key);
        prop_assert!(did.as_str().starts_with("did:key:z6Mk"));
        prop_assert_eq!(Did::parse(did.as_str()).unwrap().public_key(), Ok(key));
    }

    #[test]
    fn a_key_is_accepted_only_in_the_spelling_that_the_encoder_writes(
        mut bytes: [u8; 32],
        near_p: bool,
    ) {
        if near_p {
            bytes[1..31].fill(0xff);
            bytes[31] |= 0x7f;
        }
        let encoded = VerifyingKey::from_bytes(&bytes)
            .map(|key| key.to_edwards().compress().to_bytes())
            .ok();
        match KeyType::Ed25519.read(&bytes) {
            Ok(_) | Err(DidError::WeakKey) => prop_assert_eq!(encoded, Some(bytes)),
            Err(error) => {
                prop_assert_eq!(error, DidError::NotAPoint);
                prop_assert_ne!(encoded, Some(bytes));
            }
        }
    }

    #[test]
    fn base58_is_always_canonical(text in "1{0,3}[1-9A-HJ-NP-Za-km-z]{0,60}") {
        let bytes = bs58::decode(&text).into_vec().unwrap();
        prop_assert_eq!(bs58::encode(bytes).into_string(), text);
    }

    #[test]
    fn no_text_panics(text: String, identifier in "[A-Za-z0-9._:%-]{0,60}") {
        let _ = resolve(&text);
        let _ = resolve(&format!("did:key:z{identifier}"));
        let _ = resolve(&format!("did:jwk:{identifier}"));
    }
}

/// A file of W3C's did:key vectors: DID → what it stands for.
fn w3c_vectors(file: &str) -> BTreeMap<String, Value> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/vectors");
    let text = std::fs::read_to_string(format!("{folder}/{file}")).unwrap();
    let vectors: BTreeMap<_, _> = serde_json::from_str(&text).unwrap();
    assert!(!vectors.is_empty());
    vectors
}

#[test]
fn w3c_ed25519_is_accepted() {
    for (did, vector) in w3c_vectors("did_key_ed25519.json") {
        let public = &vector["verificationKeyPair"];
        let expected = if let Some(base58) = public["publicKeyBase58"].as_str() {
            bs58::decode(base58).into_vec().unwrap()
        } else {
            let x = public["publicKeyJwk"]["x"].as_str().unwrap();
            BASE64_URL_SAFE_NO_PAD.decode(x).unwrap()
        };
        let key = resolve(&did).unwrap();
        assert_eq!(key.as_bytes()[..], expected, "{did}");
        assert_eq!(Did::from_public_key(&key).as_str(), did);

        let seed = hex::decode(vector["seed"].as_str().unwrap()).unwrap();
        let from_seed = SigningKey::from_bytes(&seed.try_into().unwrap());
        assert_eq!(PublicKey::from(from_seed.verifying_key()), key);

        let method_id = vector["didDocument"]["verificationMethod"][0]["id"].as_str();
        assert_eq!(resolve(method_id.unwrap()), Ok(key));
    }
}

#[test]
fn w3c_p256_is_accepted() {
    let mut seen = 0;
    for (did, vector) in w3c_vectors("did_key_nist_curves.json") {
        if !did.starts_with("did:key:zDn") {
            continue;
        }
        let key = resolve(&did).unwrap();
        assert_eq!(key.key_type(), KeyType::P256);
        assert_eq!(Did::from_public_key(&key).as_str(), did);
        let public = &vector["verificationMethod"];
        if let Some(base58) = public["publicKeyBase58"].as_str() {
            let expected = bs58::decode(base58).into_vec().unwrap();
            assert_eq!(key.as_bytes(), expected, "{did}");
        } else {
            assert_eq!(resolve(&did_jwk(&public["publicKeyJwk"])), Ok(key), "{did}");
        }
        let method_id = vector["didDocument"]["verificationMethod"][0]["id"].as_str();
        assert_eq!(resolve(method_id.unwrap()), Ok(key));
        seen += 1;
    }
    assert_eq!(seen, 3);
}

/// The generator of P-256 (SEC 2 §2.4.2): x, and y, which is odd.
const X: &str = "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296";
const Y: &str = "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5";
/// The prime p of P-256, and p + 5: x = 5 is on the curve, and this is its second spelling.
const P: &str = "ffffffff00000001000000000000000000000000ffffffffffffffffffffffff";
const P_PLUS_5: &str = "ffffffff00000001000000000000000000000001000000000000000000000004";

#[test]
fn only_canonical_points_of_p256() {
    let of = |point: String| resolve(&did_key(&[0x80, 0x24], &hex::decode(point).unwrap()));
    let five = format!("{}05", "00".repeat(31));
    assert!(of(format!("03{X}")).is_ok());
    // The other root is another key.
    assert_ne!(of(format!("02{X}")), of(format!("03{X}")));
    assert!(of(format!("02{five}")).is_ok());
    for (point, error) in [
        // Uncompressed, hybrid, compact, untagged.
        (format!("04{X}{Y}"), DidError::KeyLength),
        (format!("07{X}{Y}"), DidError::KeyLength),
        (format!("05{X}"), DidError::NotAPoint),
        (X.to_owned(), DidError::KeyLength),
        // Infinity, alone and padded.
        ("00".to_owned(), DidError::KeyLength),
        ("00".repeat(33), DidError::NotAPoint),
        // Too short, too long.
        (format!("03{}", &X[2..]), DidError::KeyLength),
        (format!("03{X}00"), DidError::KeyLength),
        // Not on the curve: no y for x = 1; x not below p.
        (format!("02{}01", "00".repeat(31)), DidError::NotAPoint),
        (format!("02{P}"), DidError::NotAPoint),
        (format!("02{P_PLUS_5}"), DidError::NotAPoint),
        (format!("03{}", "ff".repeat(32)), DidError::NotAPoint),
    ] {
        let refused = of(point.clone());
        assert_eq!(refused, Err(error), "{point}");
        assert_eq!(refused.unwrap_err().reason(), "malformed_did");
    }
}

#[test]
fn did_jwk_with_p256() {
    let base64url = |hex: &str| BASE64_URL_SAFE_NO_PAD.encode(hex::decode(hex).unwrap());
    let of = |x: &str, y: &str| {
        let jwk = json!({"kty": "EC", "crv": "P-256", "x": base64url(x), "y": base64url(y)});
        resolve(&did_jwk(&jwk))
    };
    let key = of(X, Y).unwrap();
    let as_did_key = Did::from_public_key(&key);
    assert!(as_did_key.as_str().starts_with("did:key:zDn"));
    assert_eq!(as_did_key.public_key(), Ok(key));
    let zero = "00".repeat(32);
    let other_y = format!("{}f4", &Y[..62]);
    for (x, y, error) in [
        (X, &*other_y, DidError::NotAPoint),
        (X, P, DidError::NotAPoint),
        (P_PLUS_5, Y, DidError::NotAPoint),
        (&*zero, &*zero, DidError::NotAPoint),
        (X, &Y[2..], DidError::KeyLength),
        (&X[2..], Y, DidError::KeyLength),
        (&*format!("00{X}"), Y, DidError::KeyLength),
        (X, "", DidError::KeyLength),
    ] {
        assert_eq!(of(x, y), Err(error), "{x} {y}");
    }
    let without_y = json!({"kty": "EC", "crv": "P-256", "x": base64url(X)});
    assert_eq!(resolve(&did_jwk(&without_y)), Err(DidError::Jwk));
    let private = json!({"kty": "EC", "crv": "P-256", "x": base64url(X), "y": base64url(Y), "d": base64url(X)});
    assert_eq!(resolve(&did_jwk(&private)), Err(DidError::PrivateKey));
}

#[test]
fn w3c_other_curves_are_named() {
    for (did, vector) in w3c_vectors("did_key_nist_curves.json") {
        if did.starts_with("did:key:zDn") {
            continue;
        }
        let curve = &vector["verificationMethod"]["publicKeyJwk"]["crv"];
        let Err(DidError::UnsupportedKeyType(key_type)) = resolve(&did) else {
            panic!("{did} was not refused for its key type");
        };
        assert_eq!(Some(&*key_type.to_string()), curve.as_str(), "{did}");
    }
    for did in w3c_vectors("did_key_secp256k1.json").keys() {
        let refusal = Err(DidError::UnsupportedKeyType(UnsupportedKey::Secp256k1));
        assert_eq!(resolve(did), refusal);
    }
}
