//! The beginning of a request, with its JSON.

use std::{borrow::Cow, fmt, num::NonZeroU32};

use jiff::Timestamp;
use serde::{Deserialize, Serialize, Serializer, ser::SerializeMap};
use tokio::time::Instant;
use uuid::Uuid;

use super::{ATTEMPTS_IN_FRONT, Argument, Storage, StorageError, columns::chosen_by_the_client};
use crate::{
    identity::{access::AllowedDids, access_token::TokenDigest, auth::ReplayGuard},
    metering::money::Usd,
};

/// A request about to begin.
#[derive(Debug, Clone)]
pub struct Begin<'a> {
    /// The gateway's id of the request; the id of its row.
    pub id: Uuid,
    /// Its sender.
    pub sender: BeginSender<'a>,
    /// When the gateway received it.
    pub request_time: Timestamp,
    /// The rate of a DID whose key names none of its own; `None`: no limit.
    pub requests_per_minute: Option<NonZeroU32>,
    /// Whether it counts towards a rate.
    pub is_counted: bool,
    /// Whether the caller must have brought the key: a provisioned one is refused.
    pub requires_own_key: bool,
    /// The entry of a billable request in the books; `None` only looks up the key.
    pub books: Option<Books<'a>>,
}

/// The sender of a request that begins.
#[derive(Debug, Clone)]
pub enum BeginSender<'a> {
    /// The DID that signed it, without a fragment.
    Signed {
        /// The DID.
        did: &'a str,
        /// The fingerprint that makes a second use of the same signature a replay. The storage insists on it
        /// for a billable request.
        fingerprint: Option<ReplayGuard>,
        /// Whether the operator must have approved the DID.
        requires_approval: bool,
    },
    /// The holder of a token.
    Token {
        /// The digest of the token.
        digest: TokenDigest,
        /// The DIDs of which the token's owner must be one.
        owners: &'a AllowedDids,
        /// The models that the request names, for a token that is for some models only.
        models: Result<Vec<NamedModel<'a>>, UnreadableModels>,
    },
}

/// A model that a request names somewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NamedModel<'a> {
    /// The name.
    pub value: Cow<'a, str>,
    /// Its place, as a JSON Pointer (RFC 6901).
    pub pointer: String,
    /// Whether only a list with the name itself lets it pass, and no pattern: it stands for other models.
    pub literal: bool,
}

/// Why the models of a request cannot be told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnreadableModels {
    /// The fault.
    pub problem: String,
    /// Its place.
    pub pointer: Option<String>,
}

/// The first entry of a billable request in the books.
#[derive(Debug, Clone)]
pub struct Books<'a> {
    /// The HTTP method.
    pub method: &'a str,
    /// The path below the proxy's prefix, without the query.
    pub path: &'a str,
    /// The kind of endpoint.
    pub endpoint: &'a str,
    /// The model that the client asks for.
    pub model: Option<&'a str>,
    /// The client's name for itself.
    pub app: Option<&'a str>,
    /// The client's word for the request; a token's own tag comes first.
    pub tag: Option<&'a str>,
    /// Whether the client asks for a stream.
    pub streamed: bool,
    /// Whether the model costs nothing: then nothing is reserved, and no credit limit refuses it.
    pub is_free: bool,
    /// Whether it may make several generations.
    pub several_generations: bool,
    /// The highest number of the DID's billable requests that have not ended; `None`: no limit.
    pub max_open_requests: Option<NonZeroU32>,
    /// The limit of a request that creates a job.
    pub jobs: Option<JobLimit>,
    /// The least sum reserved against the DID's credit limit, if it has one, until the request's
    /// cost is known. The storage reserves more where such requests have cost more.
    pub hold: Usd,
}

/// The limit of a DID's jobs whose cost is not known.
#[derive(Debug, Clone)]
pub struct JobLimit {
    /// Their highest number.
    pub max_open: NonZeroU32,
    /// The endpoints that create jobs.
    pub endpoints: Vec<&'static str>,
}

/// A request that has begun.
#[derive(Clone, PartialEq, Eq, Deserialize)]
pub struct Begun {
    /// The caller: the signer, or the owner of the token.
    pub did: String,
    /// The caller's sealed key.
    pub sealed_key: String,
    /// The key's name, chosen by its owner.
    pub key_name: String,
}

impl fmt::Debug for Begun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Begun")
            .field("did", &self.did)
            .field("key_name", &self.key_name)
            .finish_non_exhaustive()
    }
}

impl Storage {
    /// Begins a request: looks up the caller's sealed key, refuses a replay and, for a billable
    /// request, opens its books and takes the hold, all in one transaction.
    ///
    /// Repeating it with the same id, DID and fingerprint is safe, and is done here up to twice
    /// until `deadline`. After [`StorageError::Unavailable`] the request may or may not have begun:
    /// the caller does not go upstream, and [finishes](Self::finish) a billable request as failed
    /// ([`StorageError::NoSuchRequest`] then says that it never began).
    pub async fn begin(&self, begin: &Begin<'_>, deadline: Instant) -> Result<Begun, StorageError> {
        let argument = Argument::Request(begin);
        let (answer, is_repeated) = self
            .attempt("begin_request", &argument, ATTEMPTS_IN_FRONT, deadline)
            .await;
        answer.map_err(|error| match error {
            StorageError::Refused(refusal) if is_repeated => StorageError::RefusedInDoubt(refusal),
            error => error,
        })
    }
}

/// The argument of `begin_request`.
impl Serialize for Begin<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_map(None)?;
        fields.serialize_entry("id", &self.id)?;
        fields.serialize_entry("request_time", &self.request_time.as_millisecond())?;
        match &self.sender {
            BeginSender::Signed {
                did,
                fingerprint,
                requires_approval,
            } => {
                fields.serialize_entry("did", did)?;
                let digest = fingerprint.map(|it| hex::encode(it.digest));
                fields.serialize_entry("fingerprint", &digest)?;
                let expires_at = fingerprint.map(|it| it.expires_at.as_millisecond());
                fields.serialize_entry("fingerprint_expires_at", &expires_at)?;
                if *requires_approval {
                    fields.serialize_entry("approved_only", &true)?;
                }
            }
            BeginSender::Token {
                digest,
                owners,
                models,
            } => {
                fields.serialize_entry("token_digest", &digest.to_string())?;
                if !owners.is_anyone() {
                    fields.serialize_entry("owners", owners)?;
                }
                match models {
                    Ok(models) => fields.serialize_entry("models", models)?,
                    Err(fault) => fields.serialize_entry("models_unreadable", fault)?,
                }
            }
        }
        fields.serialize_entry("requests_per_minute", &self.requests_per_minute)?;
        if !self.is_counted {
            fields.serialize_entry("uncounted", &true)?;
        }
        if self.requires_own_key {
            fields.serialize_entry("own_key_only", &true)?;
        }
        fields.serialize_entry("billable", &self.books.is_some())?;
        if let Some(books) = &self.books {
            fields.serialize_entry("method", books.method)?;
            fields.serialize_entry("path", &chosen_by_the_client(books.path))?;
            fields.serialize_entry("endpoint", books.endpoint)?;
            fields.serialize_entry("model", &books.model.map(chosen_by_the_client))?;
            fields.serialize_entry("app", &books.app.map(chosen_by_the_client))?;
            fields.serialize_entry("tag", &books.tag)?;
            fields.serialize_entry("streamed", &books.streamed)?;
            fields.serialize_entry("free", &books.is_free)?;
            fields.serialize_entry("several_generations", &books.several_generations)?;
            fields.serialize_entry("max_open_requests", &books.max_open_requests)?;
            if let Some(jobs) = &books.jobs {
                fields.serialize_entry("max_open_jobs", &jobs.max_open)?;
                fields.serialize_entry("job_endpoints", &jobs.endpoints)?;
            }
            fields.serialize_entry("hold", &books.hold)?;
        }
        fields.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::access_token::AccessToken;

    #[test]
    fn a_look_up_has_no_books() {
        let begin = Begin {
            id: Uuid::nil(),
            sender: BeginSender::Signed {
                did: "did:key:z",
                fingerprint: None,
                requires_approval: false,
            },
            request_time: Timestamp::UNIX_EPOCH,
            requests_per_minute: NonZeroU32::new(60),
            is_counted: true,
            requires_own_key: false,
            books: None,
        };
        let json = serde_json::to_value(&begin).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "id": "00000000-0000-0000-0000-000000000000", "did": "did:key:z", "billable": false,
                "request_time": 0, "fingerprint": null, "fingerprint_expires_at": null,
                "requests_per_minute": 60,
            })
        );
    }

    #[test]
    fn a_token_tells_its_digest_and_the_models() {
        let digest = AccessToken::from_randomness([7; 32]).digest();
        let owners = AllowedDids::parse("did:web:example.com:*,approved").unwrap();
        let anyone = AllowedDids::ANYONE;
        let begin = |owners, models| Begin {
            id: Uuid::nil(),
            sender: BeginSender::Token {
                digest,
                owners,
                models,
            },
            request_time: Timestamp::UNIX_EPOCH,
            requests_per_minute: None,
            is_counted: true,
            requires_own_key: false,
            books: None,
        };
        let named = NamedModel {
            value: "openai/gpt-5".into(),
            pointer: "/model".to_owned(),
            literal: false,
        };
        let common = serde_json::json!({
            "id": "00000000-0000-0000-0000-000000000000", "billable": false, "request_time": 0,
            "requests_per_minute": null, "token_digest": digest.to_string(),
        });
        let with = |more: serde_json::Value| {
            let mut all = common.as_object().unwrap().clone();
            all.extend(more.as_object().unwrap().clone());
            serde_json::Value::from(all)
        };
        assert_eq!(
            serde_json::to_value(begin(&anyone, Ok(vec![named]))).unwrap(),
            with(serde_json::json!({
                "models": [{"value": "openai/gpt-5", "pointer": "/model", "literal": false}],
            }))
        );
        let unreadable = UnreadableModels {
            problem: "is no JSON".to_owned(),
            pointer: None,
        };
        assert_eq!(
            serde_json::to_value(begin(&owners, Err(unreadable))).unwrap(),
            with(serde_json::json!({
                "models_unreadable": {"problem": "is no JSON", "pointer": null},
                "owners": {"listed": ["did:web:example.com:*"], "others": "if_approved"},
            }))
        );
    }

    #[test]
    fn a_sealed_key_does_not_print() {
        let begun = Begun {
            did: "did:key:z".to_owned(),
            sealed_key: "v1.planted".to_owned(),
            key_name: "mine".to_owned(),
        };
        assert_eq!(
            format!("{begun:?}"),
            r#"Begun { did: "did:key:z", key_name: "mine", .. }"#
        );
    }
}
