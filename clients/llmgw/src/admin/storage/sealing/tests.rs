use serde_json::json;

use super::*;

#[test]
fn arguments_are_what_the_migration_says() {
    let page = Argument::Request(SealedPageJson {
        other_than: Some(KeyId(u32::MAX).to_string()),
        after: None,
        limit: 100,
    });
    assert_eq!(
        serde_json::to_value(page).unwrap(),
        json!({"request": {"other_than": "4294967295", "after": null, "limit": 100}})
    );
    let reseal = ResealJson {
        action: ResealAction::Rewrapped,
        keys: &[Reseal {
            did: "did:a".to_owned(),
            old: "v1.old".to_owned(),
            new: "v1.new".to_owned(),
            insert: None,
        }],
    };
    assert_eq!(
        serde_json::to_value(reseal).unwrap(),
        json!({"action": "rewrapped", "keys": [{"did": "did:a", "old": "v1.old", "new": "v1.new"}]})
    );
}

#[test]
fn ids_are_read_from_text_and_nothing_sealed_prints() {
    let counts: Vec<SealCount> = serde_json::from_str(
        r#"[{"seal_key_id":"4294967295","rows":"9"},{"seal_key_id":null,"rows":"1"}]"#,
    )
    .unwrap();
    assert_eq!(counts[0].seal_key_id, Some(KeyId(u32::MAX)));
    assert_eq!((counts[1].seal_key_id, counts[1].rows), (None, 1));

    let key: StoredKey =
        serde_json::from_str(r#"{"did":"did:a","sealed_key":"v1.planted","retired":true}"#)
            .unwrap();
    assert!(key.retired);
    let reseal = Reseal {
        did: "did:a".to_owned(),
        old: "v1.planted".to_owned(),
        new: "v1.planted".to_owned(),
        insert: None,
    };
    assert!(!format!("{key:?} {reseal:?}").contains("planted"));
}
