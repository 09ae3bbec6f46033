use shared::vault::secret::{ApiKey, KeyId};
use zeroize::Zeroizing;

use super::*;

const DID: &str = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK";

fn keyset(id: u32) -> Keyset {
    Keyset::parse(&Keyset::generate(&Zeroizing::new([7; 64]), KeyId(id))).unwrap()
}

#[test]
fn each_fault_of_a_row_has_its_advice() {
    let key = ApiKey::new("sk-or-v1-planted".to_owned()).unwrap();
    let row = |did: &str, sealed_key: String| StoredKey {
        did: did.to_owned(),
        sealed_key,
        retired: false,
    };
    let good = keyset(1).seal(DID, &key).to_column();
    assert!(reseal(&keyset(1), &row(DID, good.clone())).is_ok());
    for (row, part) in [
        (row("did:key:zOther", good.clone()), "moved"),
        (row(DID, good[..good.len() - 8].to_owned()), "cut"),
        (row(DID, "00ff:00ff".to_owned()), "import-legacy"),
        (
            row(DID, keyset(2).seal(DID, &key).to_column()),
            "copy of the keyset",
        ),
    ] {
        let fault = reseal(&keyset(1), &row).unwrap_err();
        assert!(fault.advice(false).contains(part), "{fault}");
        // Its owner has another one, or wants none.
        assert!(!fault.advice(true).contains("owner"), "{fault}");
        assert!(!fault.to_string().contains("planted"));
    }
}
