use serde_json::{Value, json};

use super::*;

const DID: &str = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK";

fn material(first: u8) -> KeyMaterial {
    let mut byte = first.wrapping_sub(1);
    Zeroizing::new([(); 64].map(|()| {
        byte = byte.wrapping_add(1);
        byte
    }))
}

fn entry(id: u32, status: &str) -> Value {
    let json = Keyset::generate(&material(u8::try_from(id).unwrap()), KeyId(id));
    let mut entry = serde_json::from_str::<Value>(&json).unwrap()["key"][0].take();
    entry["status"] = status.into();
    entry
}

fn keyset(primary: u32, entries: &[Value]) -> Keyset {
    Keyset::parse(&json!({"primaryKeyId": primary, "key": entries}).to_string()).unwrap()
}

fn api_key() -> ApiKey {
    ApiKey::new("sk-or-v1-0123456789abcdef".to_owned()).unwrap()
}

fn opened(keyset: &Keyset, owner: &str, sealed: &SealedKey) -> Result<String, OpenError> {
    keyset
        .open(owner, sealed)
        .map(|key| key.expose_secret().to_owned())
}

#[test]
fn a_sealed_key_opens_for_its_owner_and_for_nobody_else() {
    let keyset = keyset(1, &[entry(1, "ENABLED")]);
    let sealed = keyset.seal(DID, &api_key());
    assert_eq!(
        opened(&keyset, DID, &sealed),
        Ok("sk-or-v1-0123456789abcdef".to_owned())
    );
    for other in [
        "",
        "did:key:z6Mkother",
        &DID[..DID.len() - 1],
        &DID.to_uppercase(),
    ] {
        assert_eq!(
            opened(&keyset, other, &sealed),
            Err(OpenError::NotAuthentic),
            "{other}"
        );
    }
}

/// Pins layout, associated data and cipher. The text was made with Python's `cryptography`
/// (`AESSIV`), not with this code.
#[test]
fn the_sealed_bytes_never_change() {
    let sealed = keyset(1, &[entry(1, "ENABLED")]).seal(DID, &api_key());
    insta::assert_snapshot!(sealed.to_column(), @"v1.AQAAAAEBR4p7csTWqu_csqtMYTlaGop1aEzbOz5lVWD-fclOOU-F4g3aZ8WG4g");
}

#[test]
fn no_other_column_shares_the_associated_data() {
    let keyset = keyset(1, &[entry(1, "ENABLED")]);
    let bytes = keyset
        .primary
        .cipher()
        .encrypt([format!("llm-gateway:v1:other.column:{DID}")], b"sk-or")
        .unwrap();
    let moved = SealedKey::new(KeyId(1), bytes);
    assert_eq!(opened(&keyset, DID, &moved), Err(OpenError::NotAuthentic));
}

#[test]
fn the_primary_seals_and_every_enabled_key_opens() {
    let before = keyset(1, &[entry(1, "ENABLED")]);
    let old = before.seal(DID, &api_key());

    let rotated = keyset(2, &[entry(1, "ENABLED"), entry(2, "ENABLED")]);
    assert_eq!(rotated.primary_id(), KeyId(2));
    let new = rotated.seal(DID, &api_key());
    assert_eq!(new.key_id(), KeyId(2));
    assert_ne!(new, old);
    assert!(rotated.open(DID, &old).is_ok());
    assert!(rotated.open(DID, &new).is_ok());
    assert_eq!(
        opened(&before, DID, &new),
        Err(OpenError::UnknownKeyId(KeyId(2)))
    );

    for status in ["DISABLED", "DESTROYED"] {
        let retired = keyset(2, &[entry(1, status), entry(2, "ENABLED")]);
        assert_eq!(
            opened(&retired, DID, &old),
            Err(OpenError::DisabledKey(KeyId(1)))
        );
        assert!(retired.open(DID, &new).is_ok());
    }
}

/// The id is not authenticated by itself; it must not matter.
#[test]
fn a_ciphertext_under_another_keys_id_does_not_open() {
    let keyset = keyset(1, &[entry(1, "ENABLED"), entry(2, "ENABLED")]);
    let sealed = keyset.seal(DID, &api_key());
    let relabelled = SealedKey::new(KeyId(2), sealed.siv_and_ciphertext().to_vec());
    assert_eq!(
        opened(&keyset, DID, &relabelled),
        Err(OpenError::NotAuthentic)
    );
}

#[test]
fn every_flipped_bit_is_refused() {
    let keyset = keyset(1, &[entry(1, "ENABLED")]);
    let sealed = keyset.seal(DID, &api_key());
    for position in 0..sealed.siv_and_ciphertext().len() {
        for bit in 0..8 {
            let mut bytes = sealed.siv_and_ciphertext().to_vec();
            bytes[position] ^= 1 << bit;
            let flipped = SealedKey::new(KeyId(1), bytes);
            assert_eq!(
                opened(&keyset, DID, &flipped),
                Err(OpenError::NotAuthentic),
                "byte {position}, bit {bit}"
            );
        }
    }
}

/// As the database would hold it: whatever character is changed, the text is refused or does
/// not open.
#[test]
fn every_changed_character_of_the_column_is_refused() {
    let keyset = keyset(1, &[entry(1, "ENABLED")]);
    let column = keyset.seal(DID, &api_key()).to_column();
    for position in 0..column.len() {
        for replacement in "Ab09-_.".chars() {
            let mut changed: Vec<char> = column.chars().collect();
            changed[position] = replacement;
            let changed: String = changed.into_iter().collect();
            if changed == column {
                continue;
            }
            if let Ok(sealed) = changed.parse() {
                assert!(opened(&keyset, DID, &sealed).is_err(), "{changed}");
            }
        }
    }
}

#[test]
fn every_truncation_and_extension_is_refused() {
    let keyset = keyset(1, &[entry(1, "ENABLED")]);
    let sealed = keyset.seal(DID, &api_key());
    let bytes = sealed.siv_and_ciphertext();
    for len in 0..bytes.len() {
        let head = SealedKey::new(KeyId(1), bytes[..len].to_vec());
        assert_eq!(opened(&keyset, DID, &head), Err(OpenError::NotAuthentic));
        let tail = SealedKey::new(KeyId(1), bytes[bytes.len() - len..].to_vec());
        assert_eq!(opened(&keyset, DID, &tail), Err(OpenError::NotAuthentic));
    }
    let longer = SealedKey::new(KeyId(1), [bytes, &[0]].concat());
    assert_eq!(opened(&keyset, DID, &longer), Err(OpenError::NotAuthentic));

    let column = sealed.to_column();
    for len in 0..column.len() {
        if let Ok(sealed) = column[..len].parse() {
            assert!(opened(&keyset, DID, &sealed).is_err(), "{len}");
        }
    }
}

#[test]
fn what_is_authentic_but_no_api_key_is_refused_without_being_shown() {
    let keyset = keyset(1, &[entry(1, "ENABLED")]);
    for plaintext in [&b"two words"[..], b"newline\n", b"\xff\xfe", b""] {
        let bytes = keyset
            .primary
            .cipher()
            .encrypt([associated_data(DID)], plaintext)
            .unwrap();
        let error = keyset
            .open(DID, &SealedKey::new(KeyId(1), bytes))
            .unwrap_err();
        assert!(matches!(error, OpenError::NotAnApiKey(_)), "{error:?}");
    }
}

#[test]
fn debug_shows_ids_only() {
    let keyset = keyset(
        3,
        &[
            entry(1, "DISABLED"),
            entry(2, "ENABLED"),
            entry(3, "ENABLED"),
        ],
    );
    assert_eq!(
        format!("{keyset:?}"),
        "Keyset { primary: 3, others: [Disabled(1), Enabled(2)] }"
    );
}

mod vectors {
    //! The cipher itself, against published vectors.

    use aes_siv::siv::Aes128Siv;
    use serde::Deserialize;

    use super::*;

    /// RFC 5297, A.1. It uses a 256-bit key, that is AES-128, which this project never does;
    /// it shows that the construction is the RFC's.
    #[test]
    fn rfc5297_a1_deterministic() {
        let key: [u8; 32] =
            bytes("fffefdfc fbfaf9f8 f7f6f5f4 f3f2f1f0 f0f1f2f3 f4f5f6f7 f8f9fafb fcfdfeff");
        let data: [u8; 24] = bytes("10111213 14151617 18191a1b 1c1d1e1f 20212223 24252627");
        let plaintext: [u8; 14] = bytes("11223344 55667788 99aabbcc ddee");
        let expected: [u8; 30] =
            bytes("85632d07 c6e8f37f 950acd32 0a2ecc93 40c02b96 90c4dc04 daef7f6a fe5c");
        let mut cipher = Aes128Siv::new(&key.into());
        assert_eq!(cipher.encrypt([&data], &plaintext).unwrap(), expected);
        assert_eq!(cipher.decrypt([&data], &expected).unwrap(), plaintext);
    }

    /// RFC 5297, A.2: three components of associated data, the last of them a nonce.
    #[test]
    fn rfc5297_a2_nonce_based() {
        let key: [u8; 32] =
            bytes("7f7e7d7c 7b7a7978 77767574 73727170 40414243 44454647 48494a4b 4c4d4e4f");
        let first: [u8; 40] = bytes(
            "00112233 44556677 8899aabb ccddeeff deaddada deaddada ffeeddcc bbaa9988 \
                 77665544 33221100",
        );
        let second: [u8; 10] = bytes("10203040 50607080 90a0");
        let nonce: [u8; 16] = bytes("09f91102 9d74e35b d84156c5 635688c0");
        let plaintext: [u8; 47] = bytes(
            "74686973 20697320 736f6d65 20706c61 696e7465 78742074 6f20656e 63727970 \
                 74207573 696e6720 5349562d 414553",
        );
        let expected: [u8; 63] = bytes(
            "7bdb6e3b 432667eb 06f4d14b ff2fbd0f cb900f2f ddbe4043 26601965 c889bf17 \
                 dba77ceb 094fa663 b7a3f748 ba8af829 ea64ad54 4a272e9c 485b62a3 fd5c0d",
        );
        let mut cipher = Aes128Siv::new(&key.into());
        let data = [&first[..], &second, &nonce];
        assert_eq!(cipher.encrypt(data, &plaintext).unwrap(), expected);
        assert_eq!(cipher.decrypt(data, &expected).unwrap(), plaintext);
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Wycheproof {
        test_groups: Vec<Group>,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Group {
        key_size: usize,
        tests: Vec<Case>,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Case {
        tc_id: u32,
        key: String,
        aad: String,
        msg: String,
        ct: String,
        result: String,
    }

    /// The groups with 512-bit keys (AES-256), through the same code as the gateway's keys.
    /// Keys of 256 and 384 bits don't apply. The sets have one component of associated data.
    #[test]
    fn wycheproof() {
        let text = include_str!("../../../testdata/vectors/aes_siv_cmac_test.json");
        let suite: Wycheproof = serde_json::from_str(text).unwrap();
        let (mut valid, mut invalid) = (0, 0);
        for case in suite
            .test_groups
            .iter()
            .filter(|group| group.key_size == 512)
            .flat_map(|group| &group.tests)
        {
            let id = case.tc_id;
            let [aad, msg, ct] = [&case.aad, &case.msg, &case.ct].map(|t| hex::decode(t).unwrap());
            let key = MasterKey {
                id: KeyId(id),
                material: Box::new(Zeroizing::new(bytes(&case.key))),
            };
            let sealed = key.cipher().encrypt([&aad], &msg).unwrap();
            let opened = key.cipher().decrypt([&aad], &ct);
            if case.result == "valid" {
                valid += 1;
                assert_eq!(sealed, ct, "case {id}");
                assert_eq!(opened, Ok(msg), "case {id}");
            } else {
                invalid += 1;
                assert_ne!(sealed, ct, "case {id}");
                assert!(opened.is_err(), "case {id}");
            }
        }
        assert!(
            valid > 30 && invalid > 100,
            "{valid} valid, {invalid} invalid"
        );
    }

    fn bytes<const N: usize>(hex: &str) -> [u8; N] {
        hex::decode(hex.replace(' ', ""))
            .unwrap()
            .try_into()
            .unwrap()
    }
}

mod oracle {
    //! Python's `tink`, which shares no code with this crate, reads what we write and the reverse.

    use std::{
        io::Write as _,
        process::{Command, Stdio},
    };

    use super::*;

    /// Runs `testdata/tink_oracle.py` on one JSON request.
    #[expect(
        clippy::disallowed_methods,
        reason = "the interpreter is the machine's, not the gateway's configuration"
    )]
    fn ask(request: &Value) -> Value {
        let python = std::env::var("ORACLE_PYTHON").expect("ORACLE_PYTHON names a Python");
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/tink_oracle.py");
        let mut child = Command::new(python)
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(request.to_string().as_bytes()).unwrap();
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", output.status);
        serde_json::from_slice(&output.stdout).unwrap()
    }

    #[test]
    #[ignore = "needs ORACLE_PYTHON"]
    fn tink_uses_our_keyset() {
        let json = json!({"primaryKeyId": 2, "key": [entry(1, "ENABLED"), entry(2, "ENABLED")]})
            .to_string();
        let ours = Keyset::parse(&json).unwrap();
        let old = keyset(1, &[entry(1, "ENABLED")]).seal(DID, &api_key());
        let sealed = ours.seal(DID, &api_key());
        let answer = ask(&json!({
            "keyset": json,
            "did": DID,
            "seal": "sk-or-v1-from-tink",
            "open": [sealed.to_column(), old.to_column()],
        }));
        assert_eq!(answer["primary"], 2);
        let expected = api_key().expose_secret().to_owned();
        assert_eq!(answer["opened"], json!([expected, expected]));
        let theirs: SealedKey = answer["sealed"].as_str().unwrap().parse().unwrap();
        assert_eq!(
            opened(&ours, DID, &theirs),
            Ok("sk-or-v1-from-tink".to_owned())
        );
        // Deterministic: both make the same bytes.
        let key = ApiKey::new("sk-or-v1-from-tink".to_owned()).unwrap();
        assert_eq!(ours.seal(DID, &key), theirs);
    }

    #[test]
    #[ignore = "needs ORACLE_PYTHON"]
    fn we_use_tinks_keyset() {
        let made = ask(&json!({
            "keyset": null,
            "did": DID,
            "seal": "sk-or-v1-from-tink",
            "open": [],
        }));
        let json = made["keyset"].as_str().unwrap();
        let keyset = Keyset::parse(json).unwrap();
        assert_eq!(json!(keyset.primary_id().0), made["primary"]);
        let theirs: SealedKey = made["sealed"].as_str().unwrap().parse().unwrap();
        assert_eq!(
            opened(&keyset, DID, &theirs),
            Ok("sk-or-v1-from-tink".to_owned())
        );
        let back = ask(&json!({
            "keyset": json,
            "did": DID,
            "seal": "x",
            "open": [keyset.seal(DID, &api_key()).to_column()],
        }));
        assert_eq!(back["opened"][0], api_key().expose_secret());
    }

    /// Tink, too, refuses our ciphertext elsewhere: the binding is in the bytes.
    #[test]
    #[ignore = "needs ORACLE_PYTHON"]
    fn tink_refuses_a_moved_ciphertext() {
        let json = Keyset::generate(&material(9), KeyId(9));
        let sealed = Keyset::parse(&json).unwrap().seal(DID, &api_key());
        let answer = ask(&json!({
            "keyset": *json,
            "did": "did:key:z6Mkother",
            "seal": "x",
            "open": [sealed.to_column()],
        }));
        assert_eq!(answer["opened"], json!([null]));
    }
}
