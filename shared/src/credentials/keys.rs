//! The bodies that users send to `/api/v1/keys`. They are never quoted: a body that is wrong may
//! still hold a key.

use bytes::Bytes;
use serde_json::value::RawValue;
use zeroize::Zeroize;

use super::body::{BodyError, json, members, once, unknown, wrong};
use crate::vault::secret::{ApiKey, ApiKeyFault, without_keys};

/// A body, for who sends none of the kind.
const EXAMPLE: &str = r#"{"api_key":"sk-or-…"}"#;

/// The prefix of OpenRouter's keys. Another provider's key must not travel there to be checked.
const PREFIX: &str = "sk-or-";
/// The longest name of a key, in characters.
const LONGEST_NAME: usize = 100;

/// The body of a `PUT`: a key that its user brings.
#[derive(Debug)]
pub struct StoreKeyBody {
    /// The key.
    pub api_key: ApiKey,
    /// The user's name for it.
    pub name: Option<KeyName>,
    /// Whether OpenRouter is asked if the key is good; unless the user says `false` and the operator lets
    /// them.
    pub verify: bool,
}

/// The body of a `POST`: what a provisioned key is to be called.
#[derive(Debug, Default)]
pub struct ProvisionKeyBody {
    /// The user's name for it.
    pub name: Option<KeyName>,
}

/// A key's name: 1 to 100 characters, none of them a control character, and not the key itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyName(String);

impl StoreKeyBody {
    /// Reads a body, and wipes it where nobody else holds it. Without `may_be_unverified` a key that is not
    /// to be checked is refused.
    pub fn from_body(body: Bytes, may_be_unverified: bool) -> Result<Self, BodyError> {
        let brought = Self::read(&body);
        wipe(body);
        match brought {
            Ok(Self { verify: false, .. }) if !may_be_unverified => Err(BodyError::Unverified),
            brought => brought,
        }
    }

    fn read(body: &[u8]) -> Result<Self, BodyError> {
        let (mut api_key, mut name, mut verify) = (None, None, None);
        for (member, value) in members(body, EXAMPLE)? {
            match member.as_str() {
                "api_key" => once(&mut api_key, &member, read_key(value)?)?,
                "key_name" => once(&mut name, &member, KeyName::read(value)?)?,
                "verify" => {
                    let flag = json(value).ok_or(wrong("verify", "must be true or false"))?;
                    once(&mut verify, &member, flag)?;
                }
                _ => {
                    return Err(unknown(
                        &member,
                        "is not known; a PUT takes api_key, key_name and verify",
                    ));
                }
            }
        }
        Ok(Self {
            api_key: api_key.ok_or(wrong(
                "api_key",
                "is missing; it is the OpenRouter key to store",
            ))?,
            name: name.flatten(),
            verify: verify.unwrap_or(true),
        })
    }
}

impl ProvisionKeyBody {
    /// Reads a body, which may be empty.
    pub fn from_body(body: &[u8]) -> Result<Self, BodyError> {
        let mut name = None;
        if body.trim_ascii().is_empty() {
            return Ok(Self::default());
        }
        for (member, value) in members(body, EXAMPLE)? {
            match member.as_str() {
                "key_name" => once(&mut name, &member, KeyName::read(value)?)?,
                _ => return Err(unknown(&member, "is not known; a POST takes key_name")),
            }
        }
        Ok(Self {
            name: name.flatten(),
        })
    }
}

impl KeyName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `null` stands for none.
    fn read(value: &RawValue) -> Result<Option<Self>, BodyError> {
        const FORM: &str = "must be text of 1 to 100 characters, without control characters, and not the key itself";
        let Some(name) = json::<Option<String>>(value).ok_or(wrong("key_name", FORM))? else {
            return Ok(None);
        };
        let length = name.chars().count();
        let is_name = (1..=LONGEST_NAME).contains(&length)
            && !name.chars().any(char::is_control)
            && without_keys(&name) == name;
        if is_name {
            Ok(Some(Self(name)))
        } else {
            Err(wrong("key_name", FORM))
        }
    }
}

fn read_key(value: &RawValue) -> Result<ApiKey, BodyError> {
    let text = json::<String>(value).ok_or(wrong("api_key", "must be text"))?;
    let key = ApiKey::new(text).map_err(|fault| {
        wrong(
            "api_key",
            match fault {
                ApiKeyFault::Empty => "is empty",
                ApiKeyFault::TooLong => "is longer than any OpenRouter key",
                ApiKeyFault::NotVisibleAscii => {
                    "holds a blank, a line break or another character that no OpenRouter key has"
                }
            },
        )
    })?;
    if key.expose_secret().starts_with(PREFIX) {
        Ok(key)
    } else {
        Err(wrong(
            "api_key",
            "is no OpenRouter key: those begin with sk-or-",
        ))
    }
}

/// Best effort: copies that the platform made on the way are out of reach.
fn wipe(body: Bytes) {
    if let Ok(mut body) = body.try_into_mut() {
        body.as_mut().zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn brought(body: &str) -> Result<StoreKeyBody, BodyError> {
        StoreKeyBody::from_body(Bytes::from(body.to_owned()), true)
    }

    #[test]
    fn a_body_is_read_and_does_not_print() {
        let body = r#"{"api_key":"sk-or-v1-planted","key_name":"mine \u00fc","verify":false}"#;
        let read = brought(body).unwrap();
        assert_eq!(read.api_key.expose_secret(), "sk-or-v1-planted");
        assert_eq!(read.name.as_ref().unwrap().as_str(), "mine ü");
        assert!(!read.verify);
        assert!(!format!("{read:?}").contains("planted"));

        let read = brought(r#" {"key_name":null,"api_key":"sk-or-x"} "#).unwrap();
        assert_eq!((read.name, read.verify), (None, true));
    }

    #[test]
    fn a_key_is_checked_unless_the_operator_lets_it_be() {
        let read = |body: &'static str| StoreKeyBody::from_body(Bytes::from(body), false);
        let unverified = r#"{"api_key":"sk-or-a","verify":false}"#;
        assert_eq!(read(unverified).unwrap_err(), BodyError::Unverified);
        assert!(!brought(unverified).unwrap().verify);
        assert!(
            read(r#"{"api_key":"sk-or-a","verify":true}"#)
                .unwrap()
                .verify
        );
    }

    #[test]
    fn what_is_wrong_is_named_and_never_quoted() {
        for (body, member) in [
            (r"{}", "api_key"),
            (r#"{"api_key":7}"#, "api_key"),
            (r#"{"api_key":null}"#, "api_key"),
            (r#"{"api_key":""}"#, "api_key"),
            (r#"{"api_key":"sk-planted-of-another-provider"}"#, "api_key"),
            (r#"{"api_key":"sk-or-v1-planted\n"}"#, "api_key"),
            (r#"{"api_key":" sk-or-v1-planted"}"#, "api_key"),
            (
                r#"{"api_key":"sk-or-a","api_key":"sk-or-planted"}"#,
                "api_key",
            ),
            (
                r#"{"api_key":"sk-or-a","verify":"sk-or-v1-planted"}"#,
                "verify",
            ),
            (r#"{"api_key":"sk-or-a","verify":null}"#, "verify"),
            (r#"{"api_key":"sk-or-a","key_name":""}"#, "key_name"),
            (r#"{"api_key":"sk-or-a","key_name":"a\u0000b"}"#, "key_name"),
            (
                r#"{"api_key":"sk-or-a","key_name":"my sk-or-v1-planted"}"#,
                "key_name",
            ),
            (r#"{"api_key":"sk-or-a","key":"sk-or-v1-planted"}"#, "key"),
            (r#"{"sk-or-v1-planted":true}"#, "sk-…"),
        ] {
            let error = brought(body).unwrap_err();
            assert!(
                matches!(&error, BodyError::Member { name, .. } if name == member),
                "{body}: {error:?}"
            );
            assert!(!format!("{error}{error:?}").contains("planted"), "{error}");
        }
        let long = format!(
            r#"{{"api_key":"sk-or-a","key_name":"{}"}}"#,
            "é".repeat(101)
        );
        assert!(brought(&long).is_err());
        assert!(brought(&long.replacen('é', "", 1)).is_ok());
    }

    #[test]
    fn what_is_no_object_is_no_body() {
        for body in [
            "",
            "sk-or-v1-planted",
            "[]",
            r#""sk-or-v1-planted""#,
            "null",
            r#"{"api_key":"sk-or-v1-planted""#,
            r#"{"api_key":"sk-or-v1-planted"} x"#,
        ] {
            let error = brought(body).unwrap_err();
            assert!(
                matches!(error, BodyError::NotAnObject { .. }),
                "{body}: {error}"
            );
        }
    }

    #[test]
    fn a_post_needs_no_body() {
        for body in ["", " \n", "{}", r#"{"key_name":null}"#] {
            assert_eq!(
                ProvisionKeyBody::from_body(body.as_bytes()).unwrap().name,
                None
            );
        }
        let named = ProvisionKeyBody::from_body(br#"{"key_name":"given"}"#).unwrap();
        assert_eq!(named.name.unwrap().as_str(), "given");
        assert!(ProvisionKeyBody::from_body(br#"{"limit":1000}"#).is_err());
        assert!(ProvisionKeyBody::from_body(b"[]").is_err());
    }
}
