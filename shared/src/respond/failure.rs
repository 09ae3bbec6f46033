//! The one file that knows HTTP statuses: every failure's status, sentence and metadata.

mod token;

use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use serde_json::{Map, Value};

use crate::{
    accounting::reconcile::JobOpen,
    credentials::{body::BodyError, provisioning::ProvisioningError},
    error::Error,
    identity::{access::DidNotAllowed, auth::AuthError, documents::DocumentError},
    routes::MethodNotAllowed,
    storage::{Refusal, StorageError},
    upstream::{
        endpoint::RouteError,
        openrouter::{KeyCheckError, UpstreamError},
    },
    vault::secrets_manager::{KeysetError, VaultError},
};

/// A failure as the client sees it.
pub(super) struct Failure {
    pub(super) status: StatusCode,
    pub(super) message: String,
    pub(super) metadata: Map<String, Value>,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
}

impl Failure {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            metadata: Map::new(),
            headers: Vec::new(),
        }
    }

    fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.metadata.insert(name.to_owned(), value.into());
        self
    }

    pub(super) fn of(error: &Error) -> Self {
        match error {
            Error::Auth(error) => of_auth(error),
            Error::Access(DidNotAllowed) => did_not_allowed(),
            Error::Route(error) => of_route(error),
            Error::Path(error) => Self::new(StatusCode::BAD_REQUEST, sentence(error)),
            Error::Query(error) => Self::new(StatusCode::BAD_REQUEST, sentence(error)),
            Error::Parameter(error) => {
                Self::new(StatusCode::BAD_REQUEST, format!("The parameter {error}."))
                    .with("parameter", error.name.clone())
            }
            Error::Tag(error) => Self::new(StatusCode::BAD_REQUEST, sentence(error)),
            Error::Body(error) => of_body(error),
            Error::MalformedEvent => Self::new(
                StatusCode::BAD_REQUEST,
                "The request's body could not be decoded; send it again, as bytes or text without a transfer encoding of its own.",
            ),
            Error::Method(MethodNotAllowed { method, allow }) => method_not_allowed(method, allow),
            Error::NotFound => Self::new(
                StatusCode::NOT_FOUND,
                "There is no such route; the routes are /, /console, /api/v1/health, /api/v1/usage, /api/v1/keys, /api/v1/tokens and /api/v1/openrouter/….",
            ),
            Error::Storage(error) => of_storage(error),
            Error::Vault(error) => of_vault(error),
            Error::Upstream(error) => of_upstream(error),
            Error::KeyCheck(error) => of_key_check(error),
            Error::Provisioning(error) => of_provisioning(error),
            Error::JobOpen(JobOpen) => Self::new(
                StatusCode::CONFLICT,
                "The cost of this job is not known yet, so it was not deleted; delete it when it is over.",
            ),
            Error::UsageNotAllowed => Self::new(
                StatusCode::FORBIDDEN,
                "This access token may not read usage; its owner can allow it (read_usage).",
            ),
            Error::Unhealthy { checks } => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "The gateway runs, but something it stands on does not answer; see metadata.checks.",
            )
            .with("checks", checks.clone()),
            Error::NoRandomness(_) | Error::Panicked => internal(),
        }
    }
}

fn did_not_allowed() -> Failure {
    Failure::new(
        StatusCode::FORBIDDEN,
        "This gateway is for certain DIDs only, and this one is not among them; ask the operator.",
    )
}

fn method_not_allowed(method: &Method, allow: &'static str) -> Failure {
    let mut failure = Failure::new(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("{method} is not allowed here; use {allow}."),
    );
    let allow = HeaderValue::from_static(allow);
    failure.headers.push((header::ALLOW, allow));
    failure
}

fn internal() -> Failure {
    Failure::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "The gateway failed; try again, and give the operator the request_id if it happens again.",
    )
}

fn of_auth(error: &AuthError) -> Failure {
    let failure = Failure::new(auth_status(error), sentence(error));
    match error {
        AuthError::MissingCredentials { missing, unread }
        | AuthError::Anonymous { missing, unread } => {
            let missing: Vec<_> = missing
                .iter()
                .map(|credential| credential.header())
                .collect();
            let failure = failure.with("missing", missing);
            if unread.is_empty() {
                failure
            } else {
                failure.with("unread", unread.clone())
            }
        }
        AuthError::TimestampOutOfWindow { server_time, .. } => failure
            .with("server_time", server_time.to_string())
            .with("server_unix_time", server_time.as_second()),
        AuthError::BodyTooLarge { max, .. } => failure.with("max_bytes", *max),
        AuthError::InvalidSignature {
            signing_string,
            audiences_tried,
        } => failure
            .with("signing_string", signing_string.as_str())
            .with("audiences_tried", *audiences_tried),
        AuthError::InvalidMessageSignature {
            signature_base,
            audiences_tried,
        } => failure
            .with("signing_string", signature_base.as_str())
            .with("audiences_tried", *audiences_tried),
        AuthError::AmbiguousCredentials
        | AuthError::SeveralSchemes
        | AuthError::Message(_)
        | AuthError::Token(_)
        | AuthError::SignatureRequired
        | AuthError::Repeated(_)
        | AuthError::NotAscii(_)
        | AuthError::Did(_)
        | AuthError::Document(_)
        | AuthError::Timestamp(_)
        | AuthError::Signature(_)
        | AuthError::Nonce(_)
        | AuthError::ContentEncoding
        | AuthError::Path(_)
        | AuthError::Query(_) => failure,
    }
}

fn auth_status(error: &AuthError) -> StatusCode {
    match error {
        AuthError::Path(_)
        | AuthError::Query(_)
        | AuthError::AmbiguousCredentials
        | AuthError::SeveralSchemes => StatusCode::BAD_REQUEST,
        AuthError::SignatureRequired => StatusCode::FORBIDDEN,
        AuthError::ContentEncoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        AuthError::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        AuthError::Document(error) => match error {
            DocumentError::HostNotAllowed(_) => StatusCode::FORBIDDEN,
            DocumentError::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
            DocumentError::Did(_) | DocumentError::Unusable { .. } | DocumentError::Key { .. } => {
                StatusCode::UNAUTHORIZED
            }
        },
        AuthError::MissingCredentials { .. }
        | AuthError::Anonymous { .. }
        | AuthError::Token(_)
        | AuthError::Repeated(_)
        | AuthError::NotAscii(_)
        | AuthError::Did(_)
        | AuthError::Timestamp(_)
        | AuthError::Signature(_)
        | AuthError::Nonce(_)
        | AuthError::TimestampOutOfWindow { .. }
        | AuthError::Message(_)
        | AuthError::InvalidMessageSignature { .. }
        | AuthError::InvalidSignature { .. } => StatusCode::UNAUTHORIZED,
    }
}

fn of_route(error: &RouteError) -> Failure {
    match error {
        RouteError::NotFound { .. } => Failure::new(
            StatusCode::NOT_FOUND,
            "Name an OpenRouter path behind /api/v1/openrouter/, such as /api/v1/openrouter/chat/completions.",
        ),
        RouteError::PathNotAllowed { family } => Failure::new(
            StatusCode::FORBIDDEN,
            format!("The gateway does not pass on OpenRouter's /{family}: it manages credentials or accounts. Only the operator can allow it."),
        )
        .with("family", *family),
    }
}

fn of_storage(error: &StorageError) -> Failure {
    match error {
        StorageError::Refused(refusal) | StorageError::RefusedInDoubt(refusal) => {
            of_refusal(refusal)
        }
        StorageError::Unauthorized { .. }
        | StorageError::Unavailable(_)
        | StorageError::Protocol(_) => Failure::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "The gateway's database does not answer, so OpenRouter was asked for nothing that costs; try again in a moment.",
        ),
        StorageError::NoSuchRequest => internal(),
    }
}

fn of_refusal(refusal: &Refusal) -> Failure {
    match refusal {
        Refusal::NoKeyForDid => Failure::new(
            // Claude Code takes a 404 for an unknown model, and a 403 for a failed login.
            StatusCode::PAYMENT_REQUIRED,
            "No OpenRouter key is stored for this DID; store one with `llmgw connect`, in the console at /console, or with PUT /api/v1/keys.",
        ),
        Refusal::DidNotAllowed => did_not_allowed(),
        Refusal::PathNeedsOwnKey => Failure::new(
            StatusCode::FORBIDDEN,
            "This path of OpenRouter's reaches what all keys that the gateway makes have in common, so it takes a key of your own; store one with PUT /api/v1/keys.",
        ),
        Refusal::KeyDisabled => Failure::new(
            StatusCode::FORBIDDEN,
            "The OpenRouter key of this DID is disabled; ask the operator.",
        ),
        Refusal::Replayed => Failure::new(
            StatusCode::UNAUTHORIZED,
            "This signed request was used before; sign each attempt again, with a new x-did-nonce.",
        ),
        Refusal::CreditLimitReached { limit, spent, held, hold } => Failure::new(
            StatusCode::PAYMENT_REQUIRED,
            format!("The credit limit of {limit} USD is reached: {spent} spent, {held} held for requests in flight, and this one may cost {hold}."),
        )
        .with("limit", limit.clone())
        .with("spent", spent.clone())
        .with("held", held.clone())
        .with("hold", hold.clone()),
        Refusal::RateLimited { requests_per_minute, retry_after } => Failure::new(
            StatusCode::TOO_MANY_REQUESTS,
            format!("This DID may send {requests_per_minute} requests per minute; try again in {retry_after} s."),
        )
        .with("requests_per_minute", *requests_per_minute)
        .with("retry_after", *retry_after),
        Refusal::TooManyOpenRequests { open_requests, max_open_requests } => Failure::new(
            StatusCode::TOO_MANY_REQUESTS,
            format!("This DID has {open_requests} requests that have not ended, and may have {max_open_requests}; try again when one of them has."),
        )
        .with("open_requests", *open_requests)
        .with("max_open_requests", *max_open_requests),
        Refusal::TooManyOpenJobs { open_jobs, max_open_jobs } => Failure::new(
            StatusCode::TOO_MANY_REQUESTS,
            format!("This DID has {open_jobs} jobs whose cost is not known, and may have {max_open_jobs}; ask how far they are, then try again."),
        )
        .with("open_jobs", *open_jobs)
        .with("max_open_jobs", *max_open_jobs),
        Refusal::Token(refusal) => token::of_token(refusal),
        Refusal::BudgetReached(reached) => token::of_budget(reached),
        Refusal::KeyExists => Failure::new(
            StatusCode::CONFLICT,
            "This DID has brought an OpenRouter key of its own; DELETE it before asking for one.",
        ),
        Refusal::ProvisioningInProgress => Failure::new(
            StatusCode::CONFLICT,
            "A key is being made for this DID at the moment; ask again, then it is there.",
        ),
        Refusal::ProvisioningUsedUp { available_at } => Failure::new(
            StatusCode::FORBIDDEN,
            match available_at {
                Some(at) => format!("This DID gave up a key that the gateway had made for it; the next one is available from {at} on."),
                None => "This DID gave up the key that the gateway had made for it; only the operator can allow another.".to_owned(),
            },
        )
        .with("available_at", available_at.map(|at| at.to_string())),
    }
}

fn of_body(error: &BodyError) -> Failure {
    match error {
        BodyError::NotAnObject { .. } => Failure::new(StatusCode::BAD_REQUEST, sentence(error)),
        BodyError::Unverified => Failure::new(StatusCode::FORBIDDEN, sentence(error)),
        BodyError::Member { name, .. } => {
            Failure::new(StatusCode::BAD_REQUEST, sentence(error)).with("parameter", name.clone())
        }
    }
}

fn of_key_check(error: &KeyCheckError) -> Failure {
    match error {
        KeyCheckError::Refused(_) => Failure::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "OpenRouter does not accept this key, so it was not stored; look for it at https://openrouter.ai/settings/keys.",
        ),
        KeyCheckError::ManagementKey => Failure::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "This is a management key, which OpenRouter answers no completion with; bring an API key.",
        ),
        KeyCheckError::Undecided(_) | KeyCheckError::NotAnswered(_) => Failure::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "OpenRouter does not say whether the key is good, so it was not stored; try again, or send \"verify\": false where the operator allows it.",
        ),
    }
}

fn of_provisioning(error: &ProvisioningError) -> Failure {
    match error {
        ProvisioningError::NotAllowed => Failure::new(
            StatusCode::FORBIDDEN,
            "This gateway makes no OpenRouter key for this DID; bring one with PUT /api/v1/keys.",
        ),
        ProvisioningError::ManagementKey(_) | ProvisioningError::NotMade(_) => Failure::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "OpenRouter has made no key at the moment; try again in a moment, or bring one with PUT /api/v1/keys.",
        ),
        ProvisioningError::Keyset(error) => of_vault(&VaultError::Keyset(error.clone())),
        ProvisioningError::NotReserved(error) => of_storage(error),
        ProvisioningError::Overtaken => Failure::new(
            StatusCode::CONFLICT,
            "This DID's key changed while another was being made; see with GET /api/v1/keys what it is now.",
        ),
        ProvisioningError::InDoubt(_) => Failure::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "The gateway's database does not say whether the new key is stored; see with GET /api/v1/keys, or ask again in two minutes.",
        ),
    }
}

fn of_vault(error: &VaultError) -> Failure {
    match error {
        VaultError::Keyset(KeysetError::Unavailable(_) | KeysetError::Malformed(_)) => {
            Failure::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "The gateway cannot get at the keys that protect your OpenRouter key; try again in a moment.",
            )
        }
        VaultError::Open(_) | VaultError::MalformedSealedKey(_) => internal(),
    }
}

fn of_upstream(error: &UpstreamError) -> Failure {
    match error {
        UpstreamError::Unreachable(_) => Failure::new(
            StatusCode::BAD_GATEWAY,
            "OpenRouter cannot be reached; nothing was sent to it. Try again.",
        ),
        UpstreamError::Broken(_) => Failure::new(
            StatusCode::BAD_GATEWAY,
            "OpenRouter closed the connection before it answered; it may have billed the request.",
        ),
        UpstreamError::Protocol(_) | UpstreamError::Unusable(_) => Failure::new(
            StatusCode::BAD_GATEWAY,
            "OpenRouter's answer was not valid HTTP; it may have billed the request.",
        ),
        UpstreamError::FirstByteTimeout => Failure::new(
            StatusCode::GATEWAY_TIMEOUT,
            "OpenRouter did not answer in time; it may have billed the request. A streamed request shows life sooner.",
        ),
        UpstreamError::UnrepresentableUrl => Failure::new(
            StatusCode::BAD_REQUEST,
            "The path cannot be written as a URL without changing it.",
        ),
    }
}

/// An error's text as a sentence.
fn sentence(error: &impl std::fmt::Display) -> String {
    let text = error.to_string();
    let mut characters = text.chars();
    let first = characters.next().map(|first| first.to_ascii_uppercase());
    first
        .into_iter()
        .chain(characters)
        .chain(std::iter::once('.'))
        .collect()
}
