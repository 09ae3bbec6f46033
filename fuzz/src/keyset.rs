//! Keysets and sealed keys.

use std::sync::LazyLock;

use data_encoding::BASE64URL_NOPAD;
use shared::vault::{
    keyset::{Keyset, tink},
    secret::{ApiKey, KeyId, SealedKey},
};
use zeroize::Zeroizing;

use crate::{input::text, planted};

const OWNER: &str = "did:key:z";
const KEY: &str = "sk-or-v1-0123456789abcdef";

static KEYSET: LazyLock<Keyset> = LazyLock::new(|| {
    let json = Keyset::generate(&Zeroizing::new([7; 64]), KeyId(7));
    Keyset::parse(&json).unwrap()
});

fn key() -> ApiKey {
    ApiKey::new(KEY.to_owned()).unwrap()
}

/// A keyset that is read is written so that it reads the same, and seals for its owner alone; a fault quotes none of it.
pub(crate) fn edits(data: &[u8]) {
    let json = text(data);
    let keyset = match Keyset::parse(&json) {
        Ok(keyset) => keyset,
        Err(fault) => {
            assert!(fault.to_string().len() < 200, "{fault}");
            return;
        }
    };
    assert!(json.trim_start().starts_with('{'), "{json}");
    let (primary, entries) = tink::entries(&json).expect("as the keyset");
    let is_primary = |entry: &&tink::Entry| entry.id == primary;
    assert_eq!(entries.iter().filter(is_primary).count(), 1);
    assert_eq!(keyset.primary_id(), primary);

    let mut written = tink::write(primary, &entries);
    if planted() {
        written = tink::write(primary, &[]);
    }
    let (primary_again, entries_again) = tink::entries(&written).expect("its own text");
    assert_eq!(*tink::write(primary_again, &entries_again), *written);
    assert_eq!(entries_again.len(), entries.len());
    let again = Keyset::parse(&written).unwrap();
    let sealed = keyset.seal(OWNER, &key());
    let moved = sealed.to_column().parse().unwrap();
    assert_eq!(again.open(OWNER, &moved).unwrap().expose_secret(), KEY);
    assert!(again.open("did:key:y", &moved).is_err());
}

/// A sealed key has one spelling, and opens only if no bit of it was changed.
pub(crate) fn sealed(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else {
        return;
    };
    let genuine = KEYSET.seal(OWNER, &key()).to_column();
    let column = match kind % 3 {
        0 => text(rest),
        1 => format!("v1.{}", BASE64URL_NOPAD.encode(rest)),
        _ => {
            let mut bytes = BASE64URL_NOPAD.decode(&genuine.as_bytes()[3..]).unwrap();
            for change in rest.chunks_exact(2) {
                let place = usize::from(change[0]) % bytes.len();
                bytes[place] ^= change[1];
            }
            format!("v1.{}", BASE64URL_NOPAD.encode(&bytes))
        }
    };
    let Ok(sealed) = column.parse::<SealedKey>() else {
        assert_ne!(column, genuine);
        return;
    };
    assert_eq!(sealed.to_column(), column, "a second spelling");
    let mut opens = KEYSET.open(OWNER, &sealed).is_ok();
    if planted() && kind % 3 == 2 {
        opens = true;
    }
    assert_eq!(opens, column == genuine, "{column}");
}
