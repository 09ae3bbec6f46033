//! The DIDs that may use the gateway.
//!
//! [`AllowedDids::check`] is the only way from an [`Authenticated`] request to the [`Allowed`] one that the
//! functions work with. Where the operator approves DIDs one by one, the database has the answer:
//! it is asked in the call that comes first, whose caller [requires approval](Allowed::requires_approval).

use serde::{Serialize, Serializer, ser::SerializeStruct};

use super::{
    access_token::TokenDigest,
    auth::{Authenticated, Caller, Identified, Identity},
    canonical::{CanonicalPath, CanonicalQuery},
    did::Did,
};

/// The DIDs that may use the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedDids {
    listed: Vec<Pattern>,
    others: Others,
}

/// The DIDs that are not listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Others {
    Allowed,
    IfApproved,
    Refused,
}

/// A DID, or the beginning of some.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    Exactly(Did),
    /// Ends in a colon, so that `did:web:example.com:*` has no DID of `example.com.evil.example`.
    Below(String),
}

/// A text that names no DIDs. It is not quoted, because a misplaced secret could stand there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be anyone, or a list, separated by commas, of DIDs, of patterns that end in :* such as did:web:example.com:*, and of the word approved"
)]
pub struct MalformedList;

/// The operator does not let the DID use the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the operator does not let this DID use the gateway")]
pub struct DidNotAllowed;

impl DidNotAllowed {
    /// The stable name that clients see.
    #[must_use]
    pub fn reason(self) -> &'static str {
        "did_not_allowed"
    }
}

/// An authenticated request, whose caller the configuration lets use the gateway.
#[derive(Debug, Clone)]
pub struct Allowed {
    authenticated: Authenticated,
    requires_approval: bool,
}

/// A request whose sender may use the gateway, as far as that can be told before the database is asked: it knows
/// the owner of a token, and judges them by the same list.
#[derive(Debug, Clone)]
pub enum Sender {
    /// A DID that signed it.
    Signed(Allowed),
    /// The holder of a token.
    Token(Bearer),
}

/// A request that came with a token, which only the database can tell from any other text of the form.
#[derive(Debug, Clone)]
pub struct Bearer {
    /// The token's digest.
    pub digest: TokenDigest,
    path: CanonicalPath,
    query: CanonicalQuery,
}

impl AllowedDids {
    /// Every DID.
    pub const ANYONE: Self = Self {
        listed: Vec::new(),
        others: Others::Allowed,
    };

    /// Reads `anyone`, or a list of DIDs, patterns and the word `approved`.
    pub fn parse(text: &str) -> Result<Self, MalformedList> {
        if text == "anyone" {
            return Ok(Self::ANYONE);
        }
        let mut listed = Vec::new();
        let mut others = Others::Refused;
        for entry in text.split(',').map(str::trim) {
            if entry == "approved" {
                others = Others::IfApproved;
            } else {
                listed.push(Pattern::parse(entry).ok_or(MalformedList)?);
            }
        }
        Ok(Self { listed, others })
    }

    /// Lets a request through whose caller may use the gateway.
    pub fn check(&self, authenticated: Authenticated) -> Result<Allowed, DidNotAllowed> {
        let requires_approval = self.requires_approval(authenticated.caller.did())?;
        Ok(Allowed {
            authenticated,
            requires_approval,
        })
    }

    /// As [`check`](Self::check), for a request that may come with a token.
    pub fn check_sender(&self, identified: Identified) -> Result<Sender, DidNotAllowed> {
        let Identified {
            identity,
            path,
            query,
        } = identified;
        match identity {
            Identity::Signed(caller) => {
                let authenticated = Authenticated {
                    caller,
                    path,
                    query,
                };
                self.check(authenticated).map(Sender::Signed)
            }
            Identity::Token(digest) => Ok(Sender::Token(Bearer {
                digest,
                path,
                query,
            })),
        }
    }

    /// Whether it lets everybody through.
    #[must_use]
    pub fn is_anyone(&self) -> bool {
        self.others == Others::Allowed
    }

    fn requires_approval(&self, did: &Did) -> Result<bool, DidNotAllowed> {
        let is_listed = self.listed.iter().any(|pattern| pattern.matches(did));
        match self.others {
            Others::Allowed => Ok(false),
            Others::IfApproved => Ok(!is_listed),
            Others::Refused if is_listed => Ok(false),
            Others::Refused => Err(DidNotAllowed),
        }
    }
}

impl Pattern {
    fn parse(text: &str) -> Option<Self> {
        let Some(beginning) = text.strip_suffix('*') else {
            return Did::parse(text).ok().map(Self::Exactly);
        };
        // Such as a DID may begin with: `did:`, a method, and perhaps more.
        let is_beginning = beginning.ends_with(':') && Did::parse(&format!("{beginning}x")).is_ok();
        is_beginning.then(|| Self::Below(beginning.to_owned()))
    }

    fn matches(&self, did: &Did) -> bool {
        match self {
            Self::Exactly(listed) => listed == did,
            Self::Below(beginning) => did.as_str().starts_with(beginning),
        }
    }
}

/// `{"listed": […], "others": …}`, for the database to judge a token's owner by: DIDs, or beginnings that end
/// in `*`; the others are `allowed`, `if_approved` or `refused`.
impl Serialize for AllowedDids {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let listed = self.listed.iter().map(|pattern| match pattern {
            Pattern::Exactly(did) => did.to_string(),
            Pattern::Below(beginning) => format!("{beginning}*"),
        });
        let others = match self.others {
            Others::Allowed => "allowed",
            Others::IfApproved => "if_approved",
            Others::Refused => "refused",
        };
        let mut fields = serializer.serialize_struct("AllowedDids", 2)?;
        fields.serialize_field("listed", &listed.collect::<Vec<_>>())?;
        fields.serialize_field("others", others)?;
        fields.end()
    }
}

impl Sender {
    /// The request's path below the audience.
    #[must_use]
    pub fn path(&self) -> &CanonicalPath {
        match self {
            Self::Signed(allowed) => allowed.path(),
            Self::Token(bearer) => &bearer.path,
        }
    }

    /// Its query.
    #[must_use]
    pub fn query(&self) -> &CanonicalQuery {
        match self {
            Self::Signed(allowed) => allowed.query(),
            Self::Token(bearer) => &bearer.query,
        }
    }
}

impl Allowed {
    /// The verified sender.
    #[must_use]
    pub fn caller(&self) -> &Caller {
        &self.authenticated.caller
    }

    /// The request's path below the audience.
    #[must_use]
    pub fn path(&self) -> &CanonicalPath {
        &self.authenticated.path
    }

    /// Its query.
    #[must_use]
    pub fn query(&self) -> &CanonicalQuery {
        &self.authenticated.query
    }

    /// Whether the database must know the caller as approved.
    #[must_use]
    pub fn requires_approval(&self) -> bool {
        self.requires_approval
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK";

    fn matches(list: &str, did: &str) -> bool {
        let allowed = AllowedDids::parse(list).unwrap();
        let did = Did::parse(did).unwrap();
        allowed.listed.iter().any(|pattern| pattern.matches(&did))
    }

    #[test]
    fn a_list_has_dids_and_what_lies_below_a_pattern() {
        let list = format!("{KEY}, did:web:example.com, did:web:example.com:*,did:jwk:*");
        for (did, is_listed) in [
            (KEY, true),
            ("did:web:example.com", true),
            ("did:web:example.com:users:7", true),
            ("did:web:example.com.evil.example", false),
            ("did:web:example.org", false),
            ("did:jwk:eyJ", true),
            ("did:key:z6Mk", false),
        ] {
            assert_eq!(matches(&list, did), is_listed, "{did}");
        }
    }

    #[test]
    fn others_are_refused_unless_anyone_or_the_approved_may() {
        let others = |list: &str| AllowedDids::parse(list).unwrap().others;
        assert_eq!(others("anyone"), Others::Allowed);
        assert_eq!(others("approved"), Others::IfApproved);
        assert_eq!(others(&format!("{KEY},approved")), Others::IfApproved);
        assert_eq!(others(KEY), Others::Refused);
    }

    #[test]
    fn what_names_no_dids_is_refused() {
        for text in [
            "",
            "nobody",
            "anyone,approved",
            "did:key",
            "*",
            "did:*",
            "did:web:example.com*",
            "did:web:*.com",
            "did:key:z6Mk#z6Mk",
            "did:key:z6Mk,",
        ] {
            assert_eq!(AllowedDids::parse(text), Err(MalformedList), "{text}");
        }
    }
}
