//! JSON objects that users send, member by member. A body is never quoted: one that is wrong may still hold a
//! key.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::vault::secret::clipped_without_keys;

/// Why a body cannot be used. The text is for the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// Not a JSON object.
    #[error("the body must be a JSON object such as {example}")]
    NotAnObject {
        /// An object that the route takes.
        example: &'static str,
    },
    /// The key is not to be checked, and the operator stores only keys that are.
    #[error(
        "this gateway stores only keys that OpenRouter has confirmed; leave out \"verify\": false"
    )]
    Unverified,
    /// A member that is missing, unknown, repeated or of no use.
    #[error("the member {name} {problem}")]
    Member {
        /// The member, as the client named it; what looks like a key is left out.
        name: String,
        /// The fault and its remedy.
        problem: &'static str,
    },
}

impl BodyError {
    /// The stable name that clients see.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotAnObject { .. } => "malformed_body",
            Self::Unverified => "verification_required",
            Self::Member { .. } => "invalid_parameter",
        }
    }
}

/// The members of an object in their order, repeated ones included. `example` is for who sends no object.
pub(super) fn members<'a>(
    body: &'a [u8],
    example: &'static str,
) -> Result<Vec<(String, &'a RawValue)>, BodyError> {
    // serde_json's messages quote what they stumble over, so they are dropped.
    serde_json::from_slice::<Members<'_>>(body)
        .map(|members| members.0)
        .map_err(|_| BodyError::NotAnObject { example })
}

/// A value, if it is one of the type.
pub(super) fn json<T: DeserializeOwned>(value: &RawValue) -> Option<T> {
    serde_json::from_str(value.get()).ok()
}

/// Puts a member's value in its place, once.
pub(super) fn once<T>(place: &mut Option<T>, member: &str, value: T) -> Result<(), BodyError> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(unknown(member, "is given more than once")),
    }
}

/// A member of ours that is missing or of no use.
pub(super) fn wrong(member: &str, problem: &'static str) -> BodyError {
    BodyError::Member {
        name: member.to_owned(),
        problem,
    }
}

/// A member that the client named: it is cut, and may itself be a key in the wrong place.
pub(super) fn unknown(member: &str, problem: &'static str) -> BodyError {
    let name = clipped_without_keys(member, 64);
    BodyError::Member { name, problem }
}

/// An object's members in order, repeated ones included.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each<'a>(PhantomData<&'a ()>);

        impl<'de: 'a, 'a> Visitor<'de> for Each<'a> {
            type Value = Members<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'a>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Each(PhantomData))
    }
}
