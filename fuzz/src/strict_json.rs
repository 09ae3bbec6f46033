//! The one rule for JSON from outside, beside `serde_json`'s own value.

use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use shared::strict_json::{self, Object};

use crate::{
    json::{is_json, members, trimmed},
    planted,
};

#[derive(Debug, Deserialize)]
struct Outer<'a> {
    name: Option<String>,
    #[serde(borrow)]
    inner: Option<Object<Inner<'a>>>,
}

#[derive(Debug, Deserialize)]
struct Inner<'a> {
    #[serde(borrow)]
    cost: Option<&'a RawValue>,
}

/// What is read is an object, all of it is JSON of whole characters, and its fields are those that every reader finds.
pub(crate) fn an_object_is_an_object(data: &[u8]) {
    let mut is_read = strict_json::from_slice::<Outer<'_>>(data).is_ok();
    if planted() && data.starts_with(b"[") && is_json(data) {
        is_read = true;
    }
    let Ok(text) = str::from_utf8(data) else {
        assert!(!is_read, "broken UTF-8");
        return;
    };
    assert_eq!(is_read, strict_json::from_str::<Outer<'_>>(text).is_ok());
    if !is_read {
        return;
    }
    // A value of serde_json's takes no half characters, nor what is no number.
    let is_whole = |value: Result<Value, serde_json::Error>| {
        value.is_ok_and(|value| value.is_object()) || has_large_number(text)
    };
    assert!(is_whole(serde_json::from_str(text)), "{text:?}");
    let Outer { name, inner } = strict_json::from_str(text).unwrap();
    let fields = members(trimmed(text)).expect("an object");
    let one = |wanted: &str| {
        let mut matching = fields.iter().filter(|(name, _)| name == wanted);
        let value = matching.next().map(|(_, value)| *value);
        assert_eq!(matching.next(), None, "a repeated field in {text:?}");
        value.filter(|value| *value != "null")
    };
    let expected = one("name").map(|value| serde_json::from_str::<String>(value).unwrap());
    assert_eq!(name, expected);
    let expected = one("inner").map(|value| members(value).expect("an object"));
    assert_eq!(inner.is_some(), expected.is_some());
    if let (Some(Object(Inner { cost: Some(cost) })), Some(expected)) = (inner, expected) {
        assert!(expected.iter().any(|it| it.1 == cost.get()));
    }
}

/// Numbers beyond a float are none for `Value`, and are of no matter here.
fn has_large_number(text: &str) -> bool {
    let error = serde_json::from_str::<Value>(text).err();
    error.is_some_and(|error| error.to_string().starts_with("number out of range"))
}
