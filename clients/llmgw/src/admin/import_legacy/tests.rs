use super::*;

const API_KEY: &str = "sk-or-v1-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
/// Made by Node 20:
/// `key = crypto.scryptSync("correct horse battery staple", "salt", 32)`,
/// `iv = Buffer.from("000102030405060708090a0b0c0d0e0f", "hex")`, `aes-256-cbc`.
const COLUMN: &str = "000102030405060708090a0b0c0d0e0f:\
    fd76d6826251084520c272ab77756be9dc27149ad531074ba646fe4c79bb4f17\
    17849ceae48e7558bedb6daa275bb022dfab70b0a66bd3808f3c5538b3c631b8\
    970f5b251b71e4dc5b9dfe909dcadd8a";

#[test]
fn what_node_encrypted_is_decrypted() {
    let key = LegacyKey::derive("correct horse battery staple").unwrap();
    assert_eq!(key.decrypt(COLUMN).unwrap().expose_secret(), API_KEY);
}

#[test]
fn another_passphrase_and_damage_are_told_without_showing_anything() {
    let key = LegacyKey::derive("correct horse battery staple").unwrap();
    let other = LegacyKey::derive("wrong").unwrap();
    assert_eq!(
        other.decrypt(COLUMN).unwrap_err(),
        LegacyFault::NotDecrypted
    );
    for (damaged, fault) in [
        (COLUMN.replace(':', ""), LegacyFault::Form),
        (COLUMN[..COLUMN.len() - 1].to_owned(), LegacyFault::Form),
        (
            COLUMN[..COLUMN.len() - 32].to_owned(),
            LegacyFault::NotDecrypted,
        ),
        (COLUMN.replacen('0', "g", 1), LegacyFault::Form),
        (COLUMN.replacen("00", "ff", 1), LegacyFault::NotDecrypted),
        (
            "v1.AQAAAAEBR4p7csTWqu_csqtMYTlaGop1aEzbOz5lVWD".to_owned(),
            LegacyFault::Form,
        ),
        (":".to_owned(), LegacyFault::Form),
    ] {
        assert_eq!(key.decrypt(&damaged).unwrap_err(), fault, "{damaged}");
    }
}

#[test]
fn exports_are_arrays_or_lines() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows");
    let row =
        r#"{"did":"did:key:z","encrypted_api_key":"00:00","credit_limit":1.50,"created_at":null}"#;
    for text in [format!("[{row},{row}]"), format!("{row}\n{row}\n")] {
        fs::write(&path, text).unwrap();
        let rows = read_export(&path).unwrap();
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0].key_name.as_deref(), Some("imported"));
        assert_eq!(rows[0].credit_limit, Some("1.5".parse().unwrap()));
    }
    fs::write(&path, r#"{"did":"planted"}"#).unwrap();
    let error = read_export(&path).map(drop).unwrap_err();
    assert!(!format!("{error:#}").contains("planted"), "{error:#}");
}
