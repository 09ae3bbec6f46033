use serde_json::{Value, json};

use super::*;

fn one_key() -> Value {
    let json = generate(&Zeroizing::new([0x5a; 64]), KeyId(1));
    serde_json::from_str(&json).unwrap()
}

/// Parses a keyset that was changed, and makes sure that no fault quotes any of it.
fn fault(change: impl FnOnce(&mut Value)) -> KeysetFault {
    let mut keyset = one_key();
    change(&mut keyset);
    let fault = parse(&keyset.to_string()).unwrap_err();
    let shown = format!("{fault:?} {fault}");
    assert!(
        !shown.contains("Wlpa") && !shown.contains("EkBa"),
        "{shown}"
    );
    fault
}

fn value_of(message: &[u8]) -> Value {
    STANDARD.encode(message).into()
}

#[test]
fn a_generated_keyset_reads_back() {
    let json = generate(&Zeroizing::new([0x5a; 64]), KeyId(u32::MAX));
    let keyset = parse(&json).unwrap();
    assert_eq!(keyset.primary.id, KeyId(u32::MAX));
    assert_eq!(**keyset.primary.material, [0x5a; 64]);
    assert!(keyset.others.is_empty());
}

/// Some writers escape `=` and `/` in strings.
#[test]
fn escaped_base64_is_the_same_base64() {
    let json = generate(&Zeroizing::new([0xff; 64]), KeyId(1));
    let escaped = json.replacen("EkD///", r"EkD\/\u002f/", 1);
    assert_ne!(escaped, *json);
    assert_eq!(**parse(&escaped).unwrap().primary.material, [0xff; 64]);
}

#[test]
fn unknown_members_are_ignored() {
    let mut keyset = one_key();
    keyset["key"][0]["comment"] = "added by a later Tink".into();
    assert!(parse(&keyset.to_string()).is_ok());
}

#[test]
fn what_is_not_json_is_refused_by_place() {
    for text in ["", "{", "EkBaWlpa", "{\"primaryKeyId\": 1, EkBaWlpa"] {
        let fault = parse(text).unwrap_err();
        assert!(matches!(fault, KeysetFault::NotJson { .. }), "{fault:?}");
        assert!(!fault.to_string().contains("Wlpa"));
    }
}

#[test]
fn json_of_another_shape_is_refused_by_place() {
    let key = "EkBaWlpaWlpa";
    let changes: [&dyn Fn(&mut Value); 8] = [
        &|k| *k = key.into(),
        &|k| k["primaryKeyId"] = key.into(),
        &|k| k["primaryKeyId"] = json!(-1),
        &|k| k["primaryKeyId"] = json!(4_294_967_296_u64),
        &|k| k["key"] = key.into(),
        &|k| k["key"][0]["keyId"] = key.into(),
        &|k| k["key"][0]["keyData"] = key.into(),
        &|k| drop(k.as_object_mut().unwrap().remove("primaryKeyId")),
    ];
    for change in changes {
        let fault = fault(change);
        assert!(matches!(fault, KeysetFault::NotAKeyset { .. }), "{fault:?}");
    }
}

#[test]
fn the_primary_key_must_exist_and_be_enabled() {
    let id = KeyId(1);
    assert_eq!(
        fault(|k| k["primaryKeyId"] = json!(2)),
        KeysetFault::NoPrimary(KeyId(2))
    );
    assert_eq!(fault(|k| k["key"] = json!([])), KeysetFault::NoPrimary(id));
    for status in ["DISABLED", "DESTROYED"] {
        assert_eq!(
            fault(|k| k["key"][0]["status"] = status.into()),
            KeysetFault::PrimaryNotEnabled(id)
        );
    }
}

#[test]
fn ids_are_unique() {
    let again = |status: &'static str| {
        fault(move |k| {
            let mut second = k["key"][0].clone();
            second["status"] = status.into();
            k["key"].as_array_mut().unwrap().push(second);
        })
    };
    assert_eq!(again("ENABLED"), KeysetFault::DuplicateId(KeyId(1)));
    assert_eq!(again("DESTROYED"), KeysetFault::DuplicateId(KeyId(1)));
    let third = fault(|k| {
        for _ in 0..2 {
            let mut other = k["key"][0].clone();
            other["keyId"] = json!(3);
            k["key"].as_array_mut().unwrap().push(other);
        }
    });
    assert_eq!(third, KeysetFault::DuplicateId(KeyId(3)));
}

#[test]
fn other_kinds_of_keys_are_refused_by_id() {
    let id = KeyId(1);
    for prefix in [
        "RAW",
        "LEGACY",
        "CRUNCHY",
        "WITH_ID_REQUIREMENT",
        "EkBaWlpa",
    ] {
        assert_eq!(
            fault(|k| k["key"][0]["outputPrefixType"] = prefix.into()),
            KeysetFault::NotTinkPrefix(id)
        );
    }
    for status in ["UNKNOWN_STATUS", "enabled", "EkBaWlpa"] {
        assert_eq!(
            fault(|k| k["key"][0]["status"] = status.into()),
            KeysetFault::UnknownStatus(id)
        );
    }
    assert_eq!(
        fault(|k| {
            k["key"][0]["keyData"]["typeUrl"] =
                "type.googleapis.com/google.crypto.tink.AesGcmKey".into();
        }),
        KeysetFault::NotAesSiv(id)
    );
    assert_eq!(
        fault(|k| k["key"][0]["keyData"]["keyMaterialType"] = "REMOTE".into()),
        KeysetFault::NotAesSiv(id)
    );
    assert_eq!(
        fault(|k| k["key"][0]["keyData"] = Value::Null),
        KeysetFault::NotAesSiv(id)
    );
}

#[test]
fn material_must_be_a_64_byte_key_of_version_0() {
    let key = [0x5a; 64];
    let message = [&KEY_VALUE_FIELD[..], &key].concat();
    let encoded = STANDARD.encode(&message);
    for value in [
        "".into(),
        "!".into(),
        format!("{encoded}=").into(),
        encoded.replace('W', "-").into(),
        value_of(&key),
        value_of(&message[..65]),
        value_of(&[&message[..], &[0x5a]].concat()),
        // AES-128-SIV, and a later version.
        value_of(&[&[0x12, 0x20][..], &key[..32]].concat()),
        value_of(&[&[0x08, 0x01][..], &message].concat()),
    ] {
        assert_eq!(
            fault(|k| k["key"][0]["keyData"]["value"] = value),
            KeysetFault::BadMaterial(KeyId(1))
        );
    }
}

#[test]
fn a_disabled_key_is_checked_and_a_destroyed_one_needs_no_material() {
    let with_second = |second: Value| {
        let mut keyset = one_key();
        keyset["key"].as_array_mut().unwrap().push(second);
        parse(&keyset.to_string()).map(|keyset| format!("{keyset:?}"))
    };
    let mut second = one_key()["key"][0].take();
    second["keyId"] = json!(2);
    second["status"] = "DISABLED".into();
    let expected = "Keyset { primary: 1, others: [Disabled(2)] }";
    assert_eq!(with_second(second.clone()).unwrap(), expected);

    second["keyData"]["value"] = "".into();
    assert_eq!(
        with_second(second.clone()),
        Err(KeysetFault::BadMaterial(KeyId(2)))
    );

    second["status"] = "DESTROYED".into();
    second.as_object_mut().unwrap().remove("keyData");
    assert_eq!(with_second(second).unwrap(), expected);
}
