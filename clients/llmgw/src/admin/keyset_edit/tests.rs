use shared::vault::{keyset::Keyset, secret::ApiKey};

use super::*;

const DID: &str = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK";
const OLD: KeyId = KeyId(1);
const NEW: KeyId = KeyId(0xffff_fffe);

fn material(byte: u8) -> KeyMaterial {
    Zeroizing::new([byte; 64])
}

fn one() -> KeysetEdit {
    KeysetEdit::parse(&Keyset::generate(&material(1), OLD)).unwrap()
}

fn two() -> KeysetEdit {
    let mut keyset = one();
    keyset.add(&material(2), NEW).unwrap();
    keyset
}

/// Written and read again, as a function does.
fn read(keyset: &KeysetEdit) -> Keyset {
    Keyset::parse(&keyset.to_json()).unwrap()
}

#[test]
fn a_keyset_is_written_as_it_was_made() {
    assert_eq!(one().to_json(), Keyset::generate(&material(1), OLD));
    let twice = KeysetEdit::parse(&two().to_json()).unwrap().to_json();
    assert_eq!(twice, two().to_json());
}

#[test]
fn a_whole_rotation_never_leaves_a_row_closed() {
    let key = ApiKey::new("sk-or-v1-0123".to_owned()).unwrap();
    let mut keyset = one();
    let old = read(&keyset).seal(DID, &key);

    keyset.add(&material(2), NEW).unwrap();
    let added = read(&keyset);
    assert_eq!(added.primary_id(), OLD, "added, and not in use yet");

    assert_eq!(keyset.promote(NEW), Ok(Change::Made));
    let new = read(&keyset).seal(DID, &key);
    assert_eq!(new.key_id(), NEW);
    assert!(added.open(DID, &new).is_ok(), "who has not seen step 3 yet");
    assert!(read(&keyset).open(DID, &old).is_ok());

    assert_eq!(keyset.disable(OLD), Ok(Change::Made));
    assert!(read(&keyset).open(DID, &old).is_err());
    assert_eq!(keyset.enable(OLD), Ok(Change::Made));
    assert!(read(&keyset).open(DID, &old).is_ok(), "nothing was lost");

    keyset.disable(OLD).unwrap();
    assert_eq!(keyset.destroy(OLD), Ok(Change::Made));
    let text = keyset.to_json();
    assert!(!text.contains("AQEBAQEB"), "the material is gone");
    assert!(read(&keyset).open(DID, &new).is_ok());
    assert_eq!(
        format!("{:?}", KeysetEdit::parse(&text).unwrap()),
        "{1: Destroyed, 4294967294: Primary}"
    );
}

#[test]
fn what_would_lose_a_key_is_refused_and_changes_nothing() {
    let mut keyset = two();
    let before = keyset.to_json();
    assert_eq!(keyset.disable(OLD), Err(EditFault::IsPrimary(OLD)));
    assert_eq!(keyset.destroy(OLD), Err(EditFault::IsPrimary(OLD)));
    assert_eq!(keyset.destroy(NEW), Err(EditFault::IsEnabled(NEW)));
    assert_eq!(
        keyset.add(&material(3), NEW),
        Err(EditFault::DuplicateId(NEW))
    );
    let nobody = KeyId(7);
    for outcome in [
        keyset.promote(nobody),
        keyset.disable(nobody),
        keyset.enable(nobody),
        keyset.destroy(nobody),
    ] {
        assert_eq!(outcome, Err(EditFault::NoSuchKey(nobody)));
    }
    assert_eq!(keyset.to_json(), before);

    keyset.disable(NEW).unwrap();
    assert_eq!(keyset.promote(NEW), Err(EditFault::IsDisabled(NEW)));
    keyset.destroy(NEW).unwrap();
    for outcome in [keyset.promote(NEW), keyset.disable(NEW), keyset.enable(NEW)] {
        assert_eq!(outcome, Err(EditFault::IsDestroyed(NEW)));
    }
    assert_eq!(
        keyset.add(&material(3), NEW),
        Err(EditFault::DuplicateId(NEW))
    );
}

#[test]
fn doing_it_again_changes_nothing() {
    let mut keyset = two();
    assert_eq!(keyset.enable(NEW), Ok(Change::None));
    assert_eq!(keyset.promote(NEW), Ok(Change::Made));
    assert_eq!(keyset.promote(NEW), Ok(Change::None));
    assert_eq!(keyset.disable(OLD), Ok(Change::Made));
    assert_eq!(keyset.disable(OLD), Ok(Change::None));
    assert_eq!(keyset.destroy(OLD), Ok(Change::Made));
    assert_eq!(keyset.destroy(OLD), Ok(Change::None));
}

#[test]
fn debug_shows_no_material() {
    assert_eq!(format!("{:?}", two()), "{1: Primary, 4294967294: Enabled}");
}
