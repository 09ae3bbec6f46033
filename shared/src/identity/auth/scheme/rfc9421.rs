//! HTTP message signatures (RFC 9421) with content digests (RFC 9530).
//!
//! The signature that counts is the one with the tag `llm-gateway`, or the only one, without a tag. What it has
//! to cover, and what it may, is in [`component`]. Nothing is taken from `Host`: the authority and the target
//! are those of the configured audiences.
//!
//! Between client and function the spelling of a target can get lost: a REST API's event has the query's
//! parameters without their order and escapes, an HTTP API's event has the path without escapes. So several
//! spellings of one request are tried, of which each has the same canonical form: as the event has it, and
//! canonical. All of them are bounded: three for each audience and path.

mod component;
mod digest;

use http::{HeaderMap, HeaderValue, Method};
use jiff::Timestamp;
use sfv::{BareItem, Dictionary, InnerList, ListEntry, ListSerializer, Parameters, Parser};

use self::component::{Component, Value};
use super::{super::error::MessageError, AuthError, Credential, Credentials, Request, unread};
use crate::{
    identity::{
        canonical::CanonicalPath,
        did::{DidUrl, KeyType, PublicKey},
        signing::{Audience, MalformedSignature, SigningString, rfc9421 as signing},
    },
    request::RawQuery,
};

pub(super) const HEADERS: [&str; 3] = [
    signing::SIGNATURE_INPUT,
    signing::SIGNATURE,
    signing::CONTENT_DIGEST,
];

/// The headers that show the scheme's use. A digest alone signs nothing.
pub(super) const MARKS: [&str; 2] = [signing::SIGNATURE_INPUT, signing::SIGNATURE];

/// The most that is read of each header, in bytes.
const MAX_HEADER: usize = 4096;
/// The most characters of a nonce.
const MAX_NONCE: usize = 256;

/// What is signed besides the values of the components.
pub(super) struct Cover {
    components: Vec<Component>,
    /// The value of `@signature-params`, as RFC 9421 §2.3 serialises it.
    params: String,
    algorithm: Option<KeyType>,
    has_nonce: bool,
}

pub(super) fn credentials(headers: &HeaderMap) -> Result<Credentials, AuthError> {
    let input = joined(headers, Credential::SignatureInput)?;
    let signature = joined(headers, Credential::MessageSignature)?;
    let (Some(input), Some(signature)) = (&input, signature) else {
        let missing = [
            input.is_none().then_some(Credential::SignatureInput),
            headers
                .get(signing::SIGNATURE)
                .is_none()
                .then_some(Credential::MessageSignature),
        ];
        return Err(AuthError::MissingCredentials {
            missing: missing.into_iter().flatten().collect(),
            unread: unread(headers),
        });
    };
    let inputs: Dictionary = Parser::new(input)
        .parse()
        .map_err(|_| MessageError::NotADictionary)?;
    let (label, list) = used_signature(&inputs)?;
    let signatures: Dictionary = Parser::new(&signature)
        .parse()
        .map_err(|_| MalformedSignature::NotADictionary)?;
    let signature = match signatures.get(label) {
        Some(ListEntry::Item(item)) => item.bare_item.as_byte_sequence(),
        Some(ListEntry::InnerList(_)) | None => None,
    };
    let signature = signature.ok_or(MalformedSignature::NotADictionary)?;

    let params = &list.params;
    let keyid = text(params, "keyid")?.ok_or(MessageError::MissingParameter("keyid"))?;
    let created = time(params, "created")?.ok_or(MessageError::MissingParameter("created"))?;
    let algorithm = text(params, "alg")?.map(algorithm).transpose()?;
    let nonce = text(params, "nonce")?;
    if nonce.is_some_and(|it| !(1..=MAX_NONCE).contains(&it.len())) {
        return Err(MessageError::Nonce.into());
    }
    let components = component::read(&list.items)?;
    Ok(Credentials {
        did: DidUrl::parse(keyid)?,
        signed_at: created,
        expires_at: time(params, "expires")?,
        has_nonce: nonce.is_some(),
        signature: signing::signature(signature)?,
        cover: super::Cover::Rfc9421(Cover {
            components,
            params: serialized(list),
            algorithm,
            has_nonce: nonce.is_some(),
        }),
    })
}

/// The signature with our tag, or the only one.
fn used_signature(inputs: &Dictionary) -> Result<(&sfv::KeyRef, &InnerList), MessageError> {
    let mut ours = None;
    let mut untagged = Vec::new();
    let mut foreign = None;
    for (label, entry) in inputs {
        let ListEntry::InnerList(list) = entry else {
            return Err(MessageError::NotADictionary);
        };
        let found = Some((&**label, list));
        match text(&list.params, "tag")? {
            Some(signing::TAG) if ours.is_some() => return Err(MessageError::SeveralSignatures),
            Some(signing::TAG) => ours = found,
            Some(tag) => foreign = Some(tag),
            None => untagged.extend(found),
        }
    }
    match (ours, foreign, untagged.as_slice()) {
        (Some(ours), _, _) => Ok(ours),
        (None, None, [only]) => Ok(*only),
        (None, Some(tag), []) => Err(MessageError::AnotherTag(tag.to_owned())),
        (None, None, []) => Err(MessageError::NotADictionary),
        (None, _, [_, ..]) => Err(MessageError::SeveralSignatures),
    }
}

/// An inner list with its parameters, in the one spelling that is signed (RFC 9421 §2.3).
fn serialized(list: &InnerList) -> String {
    let mut serializer = ListSerializer::new();
    serializer.members([&ListEntry::InnerList(list.clone())]);
    serializer.finish().unwrap_or_default()
}

/// The values of a header, as one (RFC 9421 §2.1). Dictionaries may be sent in several.
fn joined(headers: &HeaderMap, header: Credential) -> Result<Option<String>, AuthError> {
    let values = headers.get_all(header.header()).iter();
    let texts: Result<Vec<_>, _> = values.map(HeaderValue::to_str).collect();
    let texts = texts.map_err(|_| AuthError::NotAscii(header))?;
    if texts.iter().map(|it| it.len()).sum::<usize>() > MAX_HEADER {
        return Err(MessageError::TooLong(header.header()).into());
    }
    Ok((!texts.is_empty()).then(|| texts.join(", ")))
}

fn text<'a>(params: &'a Parameters, name: &'static str) -> Result<Option<&'a str>, MessageError> {
    match params.get(name) {
        None => Ok(None),
        Some(BareItem::String(text)) => Ok(Some(text.as_str())),
        Some(_) => Err(MessageError::Parameter(name)),
    }
}

fn time(params: &Parameters, name: &'static str) -> Result<Option<Timestamp>, MessageError> {
    match params.get(name) {
        None => Ok(None),
        Some(BareItem::Integer(seconds)) => Timestamp::from_second(i64::from(*seconds))
            .map(Some)
            .map_err(|_| MessageError::Parameter(name)),
        Some(_) => Err(MessageError::Parameter(name)),
    }
}

fn algorithm(name: &str) -> Result<KeyType, MessageError> {
    KeyType::ALL
        .into_iter()
        .find(|it| signing::algorithm(*it) == name)
        .ok_or_else(|| MessageError::UnknownAlgorithm(name.to_owned()))
}

impl Cover {
    pub(super) fn check_algorithm(&self, key: &PublicKey) -> Result<(), AuthError> {
        match self.algorithm {
            Some(algorithm) if algorithm != key.key_type() => Err(MessageError::AnotherAlgorithm {
                given: signing::algorithm(algorithm),
                key: key.key_type(),
            }
            .into()),
            Some(_) | None => Ok(()),
        }
    }

    /// Checks what a signature has to cover, and that it can be checked.
    pub(super) fn of<'a>(&'a self, request: &Request<'a>) -> Result<Signed<'a>, AuthError> {
        let may_repeat = matches!(*request.method, Method::GET | Method::HEAD);
        if !self.has_nonce && !may_repeat {
            return Err(MessageError::MissingParameter("nonce").into());
        }
        component::check_cover(&self.components, request)?;
        let values = self
            .components
            .iter()
            .map(|it| Ok((it.id(), it.value(request)?)))
            .collect::<Result<Vec<_>, MessageError>>()?;
        Ok(Signed {
            values,
            params: &self.params,
            request: *request,
        })
    }
}

/// A request with what its signature covers.
pub(in crate::identity::auth) struct Signed<'a> {
    values: Vec<(&'a str, Value)>,
    params: &'a str,
    request: Request<'a>,
}

/// A target as the client may have spelt it: the path below the audience, and the query if there is one.
#[derive(Debug, PartialEq, Eq)]
struct Spelling<'a> {
    path: &'a str,
    query: Option<&'a str>,
}

impl Signed<'_> {
    /// The signature base of the spelling that `verifies`.
    pub(super) fn verified(
        &self,
        audience: &Audience,
        path: &CanonicalPath,
        verifies: impl Fn(&SigningString) -> bool,
    ) -> Option<SigningString> {
        self.spellings(path, |spelling| {
            let text = self.text(audience, spelling);
            verifies(&text).then_some(text)
        })
    }

    /// The refusal of a signature that matches none of the spellings, with the likeliest signature base.
    pub(super) fn refusal(
        &self,
        audience: &Audience,
        path: &CanonicalPath,
        audiences_tried: usize,
    ) -> AuthError {
        let canonical = Spelling {
            path: path.as_str(),
            query: Some(self.request.query.as_str()).filter(|it| !it.is_empty()),
        };
        let first = self.spellings(path, |spelling| Some(self.text(audience, spelling)));
        AuthError::InvalidMessageSignature {
            signature_base: first.unwrap_or_else(|| self.text(audience, &canonical)),
            audiences_tried,
        }
    }

    /// The first result of `try_one` for the different spellings of the target.
    fn spellings<T>(
        &self,
        path: &CanonicalPath,
        try_one: impl Fn(&Spelling<'_>) -> Option<T>,
    ) -> Option<T> {
        let canonical_query = Some(self.request.query.as_str()).filter(|it| !it.is_empty());
        let raw_path = self.raw_below(path);
        let single = self.single_parameter();
        let raw_query = match self.request.raw_query {
            RawQuery::Encoded(raw) => Some(raw.as_str()).filter(|it| is_visible(it)),
            RawQuery::Decoded(_) => single.as_deref(),
        };
        let spelling = |path, query| Spelling { path, query };
        let canonical = spelling(raw_path, canonical_query);
        let as_sent = match (raw_query, self.request.raw_query) {
            (None, _) => None,
            (Some(""), _) => Some(spelling(raw_path, None)),
            (raw @ Some(_), _) => Some(spelling(raw_path, raw)),
        };
        let all_canonical = spelling(path.as_str(), canonical_query);
        let mut tried: [Option<Spelling<'_>>; 3] = [as_sent, Some(canonical), Some(all_canonical)];
        // A REST API's event has lost the spelling, and the canonical one is the likeliest.
        if matches!(self.request.raw_query, RawQuery::Decoded(_)) {
            tried.rotate_left(1);
        }
        (0..tried.len()).find_map(|index| {
            let (before, rest) = tried.split_at_checked(index)?;
            let this = rest.first()?.as_ref()?;
            let is_new = !before.iter().flatten().any(|it| it == this);
            is_new.then(|| try_one(this)).flatten()
        })
    }

    /// The path below the audience as the event spells it.
    fn raw_below(&self, below: &CanonicalPath) -> &str {
        let (raw, whole) = (self.request.raw_path, self.request.path.as_str());
        let prefix = whole.strip_suffix(below.as_str()).unwrap_or(whole);
        let segments = prefix.matches('/').count();
        let at = raw.match_indices('/').nth(segments);
        at.and_then(|(at, _)| raw.get(at..)).unwrap_or("/")
    }

    /// The only parameter of a REST API's event, in the spelling that it has without escapes.
    fn single_parameter(&self) -> Option<String> {
        match self.request.raw_query {
            RawQuery::Decoded(pairs) => match pairs.as_slice() {
                [(name, value)] => Some(format!("{name}={value}")).filter(|it| is_visible(it)),
                _ => None,
            },
            RawQuery::Encoded(_) => None,
        }
    }

    /// The signature base (RFC 9421 §2.5).
    fn text(&self, audience: &Audience, spelling: &Spelling<'_>) -> SigningString {
        let path = || format!("{}{}", audience.path(), spelling.path);
        let query = |mark: &str| spelling.query.map(|it| format!("{mark}{it}"));
        let values = self.values.iter().map(|(id, value)| {
            let value = match value {
                Value::Fixed(value) => value.clone(),
                Value::Authority => audience.authority().to_owned(),
                Value::Scheme => audience.scheme().to_owned(),
                Value::TargetUri => {
                    let query = query("?").unwrap_or_default();
                    format!("{audience}{}{query}", spelling.path)
                }
                Value::Path => path(),
                Value::Query => query("?").unwrap_or_else(|| "?".to_owned()),
            };
            (*id, value)
        });
        signing::base(values, self.params)
    }
}

/// Whether a text is of visible ASCII, so that it has no line feed by which it could pose as another component.
fn is_visible(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests;
