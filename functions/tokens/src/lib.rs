//! `/api/v1/tokens`: the caller's access tokens. `POST` makes one, `GET` lists them; below the id of
//! one `GET` shows, `PATCH` changes and `DELETE` revokes it, and `POST …/rotate` gives it a new secret.
//!
//! A token never manages anything: every route here asks for a signature. The function has no access
//! to the keyset, and the database never sees a token's text.

use std::{fmt, num::NonZeroU32, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header::CACHE_CONTROL};
use serde::Serialize;
use shared::{
    accounting::usage::{ParameterError, Parameters},
    clock::Clock,
    config::{AccountConfig, Env, StartError},
    credentials::tokens::{CreateTokenBody, EditTokenBody, RotateTokenBody},
    error::Error,
    http_client,
    identity::{
        access::{Allowed, AllowedDids},
        access_token::AccessToken,
        auth::Authenticator,
    },
    request::{Incoming, Invocation},
    respond,
    routes::{MethodNotAllowed, Route},
    storage::{NewToken, Storage, TokenDescription},
};
use tokio::time::Instant;
use uuid::Uuid;

/// The timeout for making a connection to the database.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// The longest time that a user waits for a response. API Gateway waits for 29 s.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// The timeout of one attempt at the database, which may wait for another call of the same DID.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);

/// The state that the function keeps between requests.
pub struct Tokens {
    clock: Clock,
    authenticator: Authenticator,
    allowed_dids: AllowedDids,
    account_requests_per_minute: NonZeroU32,
    storage: Storage,
    random: FillRandom,
}

/// Fills a buffer with bytes that cannot be predicted: `getrandom::fill`.
pub type FillRandom = fn(&mut [u8]) -> Result<(), getrandom::Error>;

impl Tokens {
    /// Builds it from the environment. Nothing is asked over the network yet.
    pub fn load(env: Env<'_>) -> Result<Self, StartError> {
        let config = AccountConfig::read(env)?;
        let client = http_client::build(http_client::web_roots(), CONNECT_TIMEOUT)?;
        Ok(Self {
            clock: Clock::system(),
            authenticator: config.authenticator()?,
            storage: config.storage(client, ATTEMPT_TIMEOUT),
            allowed_dids: config.allowed_dids,
            account_requests_per_minute: config.account_requests_per_minute,
            random: getrandom::fill,
        })
    }

    fn new_token(&self) -> Result<AccessToken, Error> {
        let mut randomness = [0; 32];
        (self.random)(&mut randomness)?;
        Ok(AccessToken::from_randomness(randomness))
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").finish_non_exhaustive()
    }
}

/// Answers one request.
pub async fn handle(
    tokens: Arc<Tokens>,
    request: Incoming,
    invocation: Invocation,
) -> Response<Bytes> {
    match answer(&tokens, &request, &invocation).await {
        Ok(answer) => answer.into_response(invocation.id),
        Err(error) => respond::failure(&error, invocation.id),
    }
}

/// A successful response.
enum Answer {
    One(Box<TokenDescription>),
    All(Vec<TokenDescription>),
    /// A token with its text, which is told this once.
    Secret {
        status: StatusCode,
        description: Box<TokenDescription>,
        token: AccessToken,
    },
}

impl Answer {
    fn into_response(self, id: Uuid) -> Response<Bytes> {
        #[derive(Serialize)]
        struct WithSecret<'a> {
            success: bool,
            data: &'a TokenDescription,
            token: &'a str,
        }
        let mut response = match self {
            Self::One(description) => respond::data(&description, id),
            Self::All(descriptions) => respond::data(&descriptions, id),
            Self::Secret {
                status,
                description,
                token,
            } => {
                let text = token.expose();
                let body = WithSecret {
                    success: true,
                    data: &description,
                    token: &text,
                };
                let mut response = respond::json(&body, id);
                *response.status_mut() = status;
                response
            }
        };
        let no_store = HeaderValue::from_static("no-store");
        response.headers_mut().insert(CACHE_CONTROL, no_store);
        response
    }
}

/// The part of `/api/v1/tokens` that a path names.
enum Target {
    All,
    One(Uuid),
    Rotation(Uuid),
}

async fn answer(
    tokens: &Tokens,
    request: &Incoming,
    invocation: &Invocation,
) -> Result<Answer, Error> {
    let now = tokens.clock.now();
    let deadline = invocation
        .closing_time()
        .min(Instant::now() + ANSWER_TIMEOUT);
    let authenticated = tokens.authenticator.authenticate(request, now).await?;
    let allowed = tokens.allowed_dids.check(authenticated)?;
    let target = Target::of(&allowed)?;
    let rate = tokens.account_requests_per_minute;
    let admitted = tokens.storage.admit(&allowed, rate, deadline).await?;
    let caller_request = admitted.request(invocation.id, now, &request.method);
    let storage = &tokens.storage;
    match (target, &request.method) {
        (Target::All, &Method::POST) => {
            let CreateTokenBody(settings) = CreateTokenBody::from_body(&request.body, now)?;
            let token = tokens.new_token()?;
            let new = NewToken {
                digest: token.digest(),
                label: &token.label(),
                settings: &settings,
            };
            let description = storage
                .create_token(&caller_request, &new, deadline)
                .await?;
            Ok(Answer::secret(StatusCode::CREATED, description, token))
        }
        (Target::All, &Method::GET) => {
            let all = lists_all(&allowed)?;
            let descriptions = storage.list_tokens(&caller_request, all, deadline).await?;
            Ok(Answer::All(descriptions))
        }
        (Target::One(id), &Method::GET) => {
            let description = storage.show_token(&caller_request, id, deadline).await?;
            Ok(Answer::one(description))
        }
        (Target::One(id), &Method::PATCH) => {
            let EditTokenBody(change) = EditTokenBody::from_body(&request.body, now)?;
            let edited = storage.edit_token(&caller_request, id, &change, deadline);
            Ok(Answer::one(edited.await?))
        }
        (Target::One(id), &Method::DELETE) => {
            let description = storage.revoke_token(&caller_request, id, deadline).await?;
            Ok(Answer::one(description))
        }
        (Target::Rotation(id), &Method::POST) => {
            let RotateTokenBody { overlap_seconds } = RotateTokenBody::from_body(&request.body)?;
            let token = tokens.new_token()?;
            let secret = (token.digest(), token.label());
            let description = storage
                .rotate_token(&caller_request, id, &secret, overlap_seconds, deadline)
                .await?;
            Ok(Answer::secret(StatusCode::OK, description, token))
        }
        (target, method) => Err(target.method_not_allowed(method).into()),
    }
}

impl Answer {
    fn one(description: TokenDescription) -> Self {
        Self::One(Box::new(description))
    }

    fn secret(status: StatusCode, description: TokenDescription, token: AccessToken) -> Self {
        let description = Box::new(description);
        Self::Secret {
            status,
            description,
            token,
        }
    }
}

impl Target {
    /// Reads a path; another one than those here is not found, and neither is an id that is no UUID.
    fn of(allowed: &Allowed) -> Result<Self, Error> {
        let path = allowed.path().as_str().trim_end_matches('/');
        let rest = path
            .strip_prefix(Route::Tokens.path())
            .ok_or(Error::NotFound)?;
        let id = |text: &str| text.parse().map_err(|_| Error::NotFound);
        match rest.strip_prefix('/').map(|it| it.split_once('/')) {
            None if rest.is_empty() => Ok(Self::All),
            Some(None) => Ok(Self::One(id(&rest[1..])?)),
            Some(Some((token, "rotate"))) => Ok(Self::Rotation(id(token)?)),
            None | Some(Some(_)) => Err(Error::NotFound),
        }
    }

    fn method_not_allowed(self, method: &Method) -> MethodNotAllowed {
        MethodNotAllowed {
            method: method.clone(),
            allow: match self {
                Self::All => Route::Tokens.methods(),
                Self::One(_) => "GET, PATCH, DELETE",
                Self::Rotation(_) => "POST",
            },
        }
    }
}

/// Whether the ended tokens are asked for, too: `?all=true`, the only parameter here.
fn lists_all(allowed: &Allowed) -> Result<bool, ParameterError> {
    let otherwise = "is not a parameter of this route; it takes all";
    let parameters = Parameters::read(allowed.query(), &["all"], otherwise)?;
    let all = parameters.parse("all", "must be true or false", |value| value.parse().ok())?;
    Ok(all.unwrap_or(false))
}
