//! The components of a request that a signature covers (RFC 9421 §2).
//!
//! Covered at least: `@method`; `@target-uri`, or `@authority` with `@path` and all of the query; `content-digest`
//! where there is a body. The query is covered by `@target-uri`, by `@query`, or by `@query-param` of each
//! parameter. Further components may be covered if they arrive as they were sent.

use base64::{Engine, prelude::BASE64_STANDARD};
use http::{HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sfv::{Item, ItemSerializer};

use super::{
    super::{super::error::MessageError, Request},
    digest,
};
use crate::identity::signing::rfc9421::CONTENT_DIGEST;

/// `application/x-www-form-urlencoded` with spaces as `%20` (RFC 9421 §2.2.8).
const FORM: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'*')
    .remove(b'-')
    .remove(b'.')
    .remove(b'_');

/// Header fields that the platform writes, changes or takes away, and those of a connection.
const CHANGED: [&str; 16] = [
    "accept-encoding",
    "connection",
    "content-length",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "max-forwards",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "via",
    "x-real-ip",
];
const CHANGED_PREFIXES: [&str; 4] = ["x-forwarded-", "x-amz", "cloudfront-", "cf-"];
/// Credentials of others. The signature base is shown when it does not match, and they are secrets.
const SECRET: [&str; 5] = [
    "authorization",
    "cookie",
    "proxy-authorization",
    "x-api-key",
    "api-key",
];

/// A component identifier.
#[derive(Debug, Clone)]
pub(super) struct Component {
    /// As it stands in the signature base: `"@query-param";name="x"`.
    id: String,
    kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Method,
    TargetUri,
    Authority,
    Scheme,
    Path,
    Query,
    /// The encoded name of the parameter.
    QueryParam(String),
    Field {
        name: HeaderName,
        /// With the parameter `bs`, as a byte sequence.
        as_bytes: bool,
    },
}

/// The value of a component, as far as the request alone determines it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Fixed(String),
    /// The audience's.
    Authority,
    Scheme,
    TargetUri,
    Path,
    Query,
}

/// Reads the identifiers of a signature. None may be there twice.
pub(super) fn read(items: &[Item]) -> Result<Vec<Component>, MessageError> {
    let mut components: Vec<Component> = Vec::with_capacity(items.len());
    for item in items {
        let component = Component::read(item)?;
        if components.iter().any(|it| it.kind == component.kind) {
            return Err(MessageError::CoveredTwice(component.id));
        }
        components.push(component);
    }
    Ok(components)
}

/// Checks that a signature covers enough of a request.
pub(super) fn check_cover(
    components: &[Component],
    request: &Request<'_>,
) -> Result<(), MessageError> {
    let has = |kind: &Kind| components.iter().any(|it| it.kind == *kind);
    let need = |is_covered: bool, what| {
        if is_covered {
            Ok(())
        } else {
            Err(MessageError::NotCovered(what))
        }
    };
    let digest = Kind::Field {
        name: HeaderName::from_static(CONTENT_DIGEST),
        as_bytes: false,
    };
    need(has(&Kind::Method), "@method")?;
    if !has(&Kind::TargetUri) {
        need(has(&Kind::Authority), "@target-uri or @authority")?;
        need(has(&Kind::Path), "@target-uri or @path")?;
        let names_all = || {
            let mut pairs = request.query.pairs();
            pairs.all(|(name, _)| has(&Kind::QueryParam(form(&name))))
        };
        let is_covered = request.query.is_empty() || has(&Kind::Query) || names_all();
        need(is_covered, "@query, or @query-param of each parameter")?;
    }
    need(request.body.is_empty() || has(&digest), CONTENT_DIGEST)
}

impl Component {
    fn read(item: &Item) -> Result<Self, MessageError> {
        let name = item.bare_item.as_string();
        let name = name.ok_or(MessageError::NotADictionary)?.as_str();
        let id = ItemSerializer::new()
            .bare_item(&item.bare_item)
            .parameters(&item.params)
            .finish();
        let unsupported = |why| MessageError::NotSupported {
            component: id.clone(),
            why,
        };
        let kind = match name {
            "@query-param" => {
                let param = item.params.get("name").and_then(|it| it.as_string());
                match (param, item.params.len()) {
                    (Some(param), 1) => Kind::QueryParam(param.as_str().to_owned()),
                    _ => return Err(unsupported("it needs the parameter name, and no other")),
                }
            }
            "@request-target" => {
                return Err(unsupported("API Gateway changes it; cover @target-uri"));
            }
            "@status" => return Err(unsupported("it is a response's")),
            _ => {
                let as_bytes = item.params.len() == 1
                    && item.params.get("bs").and_then(sfv::BareItem::as_boolean) == Some(true);
                let param = item.params.keys().next().filter(|_| !as_bytes);
                match param.map(|it| it.as_str()) {
                    None => {}
                    Some("tr") => return Err(unsupported("trailers do not arrive")),
                    Some("req") => return Err(unsupported("it is for signatures of responses")),
                    Some(_) => return Err(unsupported("cover it without parameters")),
                }
                match name {
                    "@method" if !as_bytes => Kind::Method,
                    "@target-uri" if !as_bytes => Kind::TargetUri,
                    "@authority" if !as_bytes => Kind::Authority,
                    "@scheme" if !as_bytes => Kind::Scheme,
                    "@path" if !as_bytes => Kind::Path,
                    "@query" if !as_bytes => Kind::Query,
                    _ => Kind::Field {
                        name: field(name).map_err(unsupported)?,
                        as_bytes,
                    },
                }
            }
        };
        Ok(Self { id, kind })
    }

    /// The identifier as it stands in the signature base.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// The value that was received.
    pub(super) fn value(&self, request: &Request<'_>) -> Result<Value, MessageError> {
        Ok(match &self.kind {
            Kind::Method => Value::Fixed(request.method.as_str().to_owned()),
            Kind::TargetUri => Value::TargetUri,
            Kind::Authority => Value::Authority,
            Kind::Scheme => Value::Scheme,
            Kind::Path => Value::Path,
            Kind::Query => Value::Query,
            Kind::QueryParam(encoded) => Value::Fixed(self.query_param(encoded, request)?),
            Kind::Field { name, as_bytes } => {
                Value::Fixed(self.field_value(name, *as_bytes, request)?)
            }
        })
    }

    fn query_param(&self, encoded: &str, request: &Request<'_>) -> Result<String, MessageError> {
        let mut values = request
            .query
            .pairs()
            .filter(|(name, _)| form(name) == encoded)
            .map(|(_, value)| form(&value));
        match (values.next(), values.next()) {
            (Some(value), None) => Ok(value),
            (None, _) => Err(MessageError::NotSent(self.id.clone())),
            // RFC 9421 §2.2.8 forbids it: their order would not be signed.
            (Some(_), Some(_)) => Err(MessageError::NotSupported {
                component: self.id.clone(),
                why: "the parameter is repeated; cover @query or @target-uri",
            }),
        }
    }

    fn field_value(
        &self,
        name: &HeaderName,
        as_bytes: bool,
        request: &Request<'_>,
    ) -> Result<String, MessageError> {
        let mut values = request.headers.get_all(name).iter();
        let value = match (values.next(), values.next()) {
            (Some(value), None) => value,
            (None, _) => return Err(MessageError::NotSent(self.id.clone())),
            (Some(_), Some(_)) => {
                return Err(MessageError::NotSupported {
                    component: self.id.clone(),
                    why: "the field is repeated, and API Gateway may join its values",
                });
            }
        };
        if name.as_str() == CONTENT_DIGEST {
            digest::check(value, request.body)?;
        }
        let trimmed = value.as_bytes().trim_ascii();
        if as_bytes {
            return Ok(format!(":{}:", BASE64_STANDARD.encode(trimmed)));
        }
        match HeaderValue::from_bytes(trimmed) {
            Ok(value) => match value.to_str() {
                Ok(text) => Ok(text.to_owned()),
                Err(_) => Err(self.not_ascii()),
            },
            Err(_) => Err(self.not_ascii()),
        }
    }

    fn not_ascii(&self) -> MessageError {
        MessageError::NotSupported {
            component: self.id.clone(),
            why: "its value is not visible ASCII",
        }
    }
}

/// The name of a field that arrives as it was sent.
fn field(name: &str) -> Result<HeaderName, &'static str> {
    let is_lower_case = !name.bytes().any(|byte| byte.is_ascii_uppercase());
    let parsed = HeaderName::from_bytes(name.as_bytes()).ok();
    let parsed = parsed.filter(|_| is_lower_case);
    let parsed =
        parsed.ok_or("it is neither a component of requests nor a field's name in lower case")?;
    if CHANGED.contains(&name) || CHANGED_PREFIXES.iter().any(|it| name.starts_with(it)) {
        return Err("API Gateway or another hop changes it, writes it or takes it away");
    }
    if SECRET.contains(&name) {
        return Err("it holds credentials that the gateway does not read");
    }
    Ok(parsed)
}

fn form(text: &str) -> String {
    utf8_percent_encode(text, FORM).to_string()
}
