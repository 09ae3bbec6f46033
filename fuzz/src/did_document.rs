//! DID documents, beside a reader that takes all of their JSON.

use jiff::Timestamp;
use serde_json::Value;
use shared::identity::did::{Did, Document};

use crate::planted;

const DID: &str = "did:web:example.com";
const NOW: Timestamp = Timestamp::constant(1_735_689_600, 0);

/// A document is its DID's, and gives only keys that it lists for authentication, by its own name for them.
pub(crate) fn keys_are_for_authentication(data: &[u8]) {
    let did = Did::parse(DID).expect("a DID");
    // What is nested too deeply for this reader is skipped by ours.
    let (Ok(document), Ok(json)) = (
        Document::read(data, &did),
        serde_json::from_slice::<Value>(data),
    ) else {
        return;
    };
    assert_eq!(json["id"], DID);
    let members = |name: &str| json[name].as_array().cloned().unwrap_or_default();
    let listed = members("authentication");
    let methods = [members("verificationMethod"), listed.clone()].concat();
    for method in methods.iter().filter_map(id) {
        let Some((before, fragment)) = method.split_once('#') else {
            continue;
        };
        if document.key(fragment, NOW).is_err() {
            continue;
        }
        let names = [format!("#{fragment}"), format!("{DID}#{fragment}")];
        let is_listed = listed
            .iter()
            .filter_map(id)
            .any(|it| names.iter().any(|name| name == it));
        assert!(is_listed != planted(), "{before}#{fragment}");
    }
}

/// The name in a reference, or of an embedded method.
fn id(entry: &Value) -> Option<&str> {
    entry.as_str().or_else(|| entry["id"].as_str())
}
