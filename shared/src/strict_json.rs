//! JSON that comes from outside: an object is an object, and all of it is JSON.
//!
//! A derived `Deserialize` of a struct also takes an array of its fields' values, and `serde_json`
//! checks neither the UTF-8 nor the surrogates in fields that nobody reads. Two readers could then
//! disagree about one text, so everything from outside is read through here.

use std::{fmt, marker::PhantomData, str};

use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, Visitor, value::MapAccessDeserializer},
};

/// A `T` that is written as an object, for fields; [`from_slice`] and [`from_str`] read one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OnlyMaps<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for OnlyMaps<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }
        }

        deserializer
            .deserialize_map(OnlyMaps(PhantomData))
            .map(Self)
    }
}

/// Reads one object, which is all of `json`.
pub fn from_slice<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, serde_json::Error> {
    from_str(str::from_utf8(json).map_err(de::Error::custom)?)
}

/// As [`from_slice`].
pub fn from_str<'a, T: Deserialize<'a>>(json: &'a str) -> Result<T, serde_json::Error> {
    if has_lone_surrogate(json) {
        return Err(de::Error::custom("a lone surrogate"));
    }
    serde_json::from_str(json).map(|Object(read)| read)
}

/// Whether JSON text has a `\u` escape of half a character. Backslashes occur in strings only.
fn has_lone_surrogate(json: &str) -> bool {
    let unit = |at: usize| {
        let escape = json.as_bytes().get(at..at + 6)?.strip_prefix(b"\\u")?;
        u16::from_str_radix(str::from_utf8(escape).ok()?, 16).ok()
    };
    let mut at = 0;
    while let Some(found) = json.get(at..).and_then(|rest| rest.find('\\')) {
        at += found;
        match unit(at) {
            Some(0xd800..=0xdbff) if matches!(unit(at + 6), Some(0xdc00..=0xdfff)) => at += 12,
            Some(0xd800..=0xdfff) => return true,
            Some(_) => at += 6,
            // An escape of one ASCII character; any other is no JSON, which the parser says.
            None if json.is_char_boundary(at + 2) => at += 2,
            None => at += 1,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
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

    impl PartialEq for Inner<'_> {
        fn eq(&self, other: &Self) -> bool {
            self.cost.map(RawValue::get) == other.cost.map(RawValue::get)
        }
    }

    fn is_read(json: &[u8]) -> bool {
        from_slice::<Outer<'_>>(json).is_ok()
    }

    #[test]
    fn an_object_is_an_object() {
        for json in [
            r#"{}"#,
            r#" {"name":"n","inner":{"cost":1e-400}} "#,
            r#"{"name":null,"inner":null,"more":["a",{}]}"#,
        ] {
            assert!(is_read(json.as_bytes()), "{json}");
        }
        for json in [
            r#"["n",{"cost":1}]"#,
            "[]",
            r#"{"inner":[1]}"#,
            r#"{"inner":[]}"#,
            "null",
            "1",
            r#""{}""#,
            "{}{}",
            "",
        ] {
            assert!(!is_read(json.as_bytes()), "{json}");
        }
        let Outer { inner, .. } = from_str(r#"{"inner":{"cost":1.10}}"#).unwrap();
        assert_eq!(inner.unwrap().0.cost.unwrap().get(), "1.10");
    }

    #[test]
    fn fields_that_nobody_reads_are_json_too() {
        assert!(!is_read(b"{\"more\":\"\xff\"}"));
        assert!(!is_read(b"{\"\xff\":1}"));
        for (text, is_whole) in [
            (r"\ud83d\ude00", true),
            (r"\uD83D\uDE00", true),
            (r"\\ud800", true),
            (r"\\\\ud800", true),
            (r"\n\u0041é\/", true),
            (r"\ud800", false),
            (r"\ud800\ud800\udc00", false),
            (r"\udc00", false),
            (r"\ud83dx", false),
            (r"\ud83d\n", false),
            (r"\\\ud800", false),
            (r"a\ud83d\", false),
        ] {
            for json in [
                format!(r#"{{"more":"{text}"}}"#),
                format!(r#"{{"{text}":1}}"#),
                format!(r#"{{"more":[{{"a":"{text}"}}]}}"#),
            ] {
                assert_eq!(is_read(json.as_bytes()), is_whole, "{json}");
            }
        }
    }
}
