//! Requests to one gateway, signed with `x-did-v1`.
//!
//! A signature holds for one request at one time: whoever sends a request again signs it again, with
//! another nonce.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Request, Uri,
    header::{CONTENT_TYPE, InvalidHeaderValue},
    uri::InvalidUri,
};
use jiff::Timestamp;
use shared::identity::signing::{
    self, Audience, BodyDigest, MalformedTimestamp, Nonce, SignedAt, SignedHeaders, SignedParts,
};

use crate::{identity::Identity, target::Target};

/// Where a gateway is reached, and what it calls itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gateway {
    base: Audience,
    audience: Audience,
}

impl Gateway {
    /// A gateway that is reached under the name that it knows itself by.
    #[must_use]
    pub fn new(base: Audience) -> Self {
        let audience = base.clone();
        Self { base, audience }
    }

    /// The same gateway with another name: the audience that it is configured with, where requests
    /// reach it at another address (a tunnel, a local process).
    #[must_use]
    pub fn with_audience(self, audience: Audience) -> Self {
        Self { audience, ..self }
    }

    /// The address: what comes before a target's path.
    #[must_use]
    pub fn base(&self) -> &Audience {
        &self.base
    }

    /// The name that is signed.
    #[must_use]
    pub fn audience(&self) -> &Audience {
        &self.audience
    }

    /// Signs what `draft` says, for one sending. Fails for times before 1970 and after 2286.
    pub fn sign(
        &self,
        identity: &Identity,
        draft: &Draft,
        now: Timestamp,
        nonce: &Nonce,
    ) -> Result<SignedHeaders, MalformedTimestamp> {
        let parts = SignedParts {
            audience: &self.audience,
            did: identity.did_url(),
            signed_at: &SignedAt::seconds(now)?,
            nonce: Some(nonce),
            method: &draft.method,
            path: draft.target.path(),
            query: draft.target.query(),
            body: BodyDigest::of(&draft.body),
        };
        Ok(signing::sign(identity.key(), &parts))
    }

    /// The request to send, to this gateway's address and with the four headers.
    pub fn signed(
        &self,
        identity: &Identity,
        draft: Draft,
        now: Timestamp,
        nonce: &Nonce,
    ) -> Result<Request<Bytes>, SignError> {
        let signed = self.sign(identity, &draft, now, nonce)?;
        let uri: Uri = format!("{}{}", self.base, draft.target).parse()?;
        let mut request = Request::new(draft.body);
        *request.method_mut() = draft.method;
        *request.uri_mut() = uri;
        *request.headers_mut() = draft.headers;
        signed.apply(request.headers_mut())?;
        Ok(request)
    }
}

/// A request before it is signed, and without the gateway that it is for.
#[derive(Debug, Clone)]
pub struct Draft {
    method: Method,
    target: Target,
    headers: HeaderMap,
    body: Bytes,
}

impl Draft {
    /// A request. A body without `content-type` is taken for JSON.
    #[must_use]
    pub fn new(
        method: Method,
        target: Target,
        mut headers: HeaderMap,
        body: impl Into<Bytes>,
    ) -> Self {
        let body = body.into();
        if !body.is_empty() && !headers.contains_key(CONTENT_TYPE) {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        Self {
            method,
            target,
            headers,
            body,
        }
    }

    /// A request without headers of its own and without a body.
    #[must_use]
    pub fn get(target: Target) -> Self {
        Self::new(Method::GET, target, HeaderMap::new(), Bytes::new())
    }

    /// A JSON body, sent by `POST`.
    #[must_use]
    pub fn post(target: Target, json: impl Into<Bytes>) -> Self {
        Self::new(Method::POST, target, HeaderMap::new(), json)
    }
}

/// Why a request cannot be signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The clock is off by decades.
    #[error("the clock shows a time that cannot be signed; set it")]
    Clock(#[from] MalformedTimestamp),
    /// Longer than a URL can be (64 KiB).
    #[error("the path and the query make no URL")]
    Url(#[from] InvalidUri),
    /// A header that cannot be sent; none that signing makes.
    #[error("the signature makes no header")]
    Header(#[from] InvalidHeaderValue),
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;
    use shared::{
        identity::auth::{Audiences, authenticate},
        request::{Incoming, RawQuery},
    };

    use super::*;

    const NOW: i64 = 1_735_689_600;

    fn now() -> Timestamp {
        Timestamp::from_second(NOW).unwrap()
    }

    fn identity() -> Identity {
        Identity::from_seed(&[7; 32])
    }

    fn gateway(base: &str) -> Gateway {
        Gateway::new(base.parse().unwrap())
    }

    fn signed(gateway: &Gateway, draft: Draft) -> Request<Bytes> {
        gateway
            .signed(&identity(), draft, now(), &Nonce::from_random([1; 16]))
            .unwrap()
    }

    /// The event that the request becomes when the HTTP client has sent it.
    fn incoming(request: Request<Bytes>) -> Incoming {
        let sent = reqwest::Request::try_from(request).unwrap();
        let body = sent.body().and_then(reqwest::Body::as_bytes);
        Incoming {
            method: sent.method().clone(),
            raw_path: sent.url().path().to_owned(),
            stage: None,
            query: RawQuery::Encoded(sent.url().query().unwrap_or_default().to_owned()),
            headers: sent.headers().clone(),
            body: Bytes::copy_from_slice(body.unwrap_or_default()),
        }
    }

    fn audiences(audience: &str) -> Audiences {
        Audiences::new(vec![audience.parse().unwrap()]).unwrap()
    }

    #[derive(Deserialize)]
    struct Vectors {
        secret_key_seed_hex: String,
        cases: Vec<Case>,
    }

    #[derive(Deserialize)]
    struct Case {
        did: String,
        ts: String,
        nonce: String,
        method: String,
        aud: String,
        path: String,
        query: String,
        body: String,
        sig: String,
    }

    #[test]
    fn vectors() {
        let vectors: Vectors =
            serde_json::from_str(include_str!("../../../shared/testdata/x_did_v1.json")).unwrap();
        let seed = hex::decode(&vectors.secret_key_seed_hex).unwrap();
        let identity = Identity::from_seed(&seed.try_into().unwrap());
        let with_nonce: Vec<_> = vectors
            .cases
            .iter()
            .filter(|c| !c.nonce.is_empty())
            .collect();
        assert_eq!(with_nonce.len(), 2);
        for case in with_nonce {
            let draft = Draft::new(
                case.method.parse().unwrap(),
                Target::parse(&format!("{}?{}", case.path, case.query)).unwrap(),
                HeaderMap::new(),
                case.body.clone(),
            );
            let signed_at = Timestamp::from_second(case.ts.parse().unwrap()).unwrap();
            let nonce = Nonce::parse(&case.nonce).unwrap();
            let headers = gateway(&case.aud)
                .sign(&identity, &draft, signed_at, &nonce)
                .unwrap();
            assert_eq!(headers.did, case.did);
            assert_eq!(headers.timestamp, case.ts);
            assert_eq!(headers.nonce.as_deref(), Some(case.nonce.as_str()));
            assert_eq!(headers.signature, case.sig);
        }
    }

    #[test]
    fn the_request_goes_to_the_address_and_is_signed_for_the_audience() {
        let audience = "https://abc.execute-api.eu-west-1.amazonaws.com/Prod";
        let gateway = gateway("http://127.0.0.1:9000/").with_audience(audience.parse().unwrap());
        let target = Target::parse("openrouter/models/a%3Afree?b=2&a=1+1").unwrap();
        let request = signed(&gateway, Draft::get(target));
        assert_eq!(
            request.uri(),
            "http://127.0.0.1:9000/api/v1/openrouter/models/a:free?a=1%201&b=2"
        );
        let request = incoming(request);
        assert!(authenticate(&request, &audiences(audience), 0, now()).is_ok());
        let own_address = audiences("http://127.0.0.1:9000");
        assert!(authenticate(&request, &own_address, 0, now()).is_err());
    }

    #[test]
    fn a_body_is_json_unless_it_says_otherwise() {
        let target = || Target::parse("/x").unwrap();
        let content_type = |draft: Draft| {
            let value = draft.headers.get(CONTENT_TYPE)?;
            Some(value.to_str().unwrap().to_owned())
        };
        let json = Some("application/json".to_owned());
        assert_eq!(content_type(Draft::post(target(), "{}")), json);
        assert_eq!(content_type(Draft::post(target(), "")), None);
        assert_eq!(content_type(Draft::get(target())), None);
        let text = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("text/plain"))]);
        let draft = Draft::new(Method::PUT, target(), text, "x");
        assert_eq!(content_type(draft), Some("text/plain".to_owned()));
    }

    #[test]
    fn headers_of_the_draft_do_not_pose_as_the_signature() {
        let forged = HeaderMap::from_iter(
            [signing::DID, signing::NONCE, signing::SIGNATURE]
                .map(|name| (name.parse().unwrap(), HeaderValue::from_static("forged"))),
        );
        let target = Target::parse("/x").unwrap();
        let draft = Draft::new(Method::GET, target, forged, "");
        let request = signed(&gateway("https://gw"), draft);
        assert!(request.headers().values().all(|value| value != "forged"));
        assert_eq!(request.headers().len(), 4);
    }

    #[test]
    fn a_clock_before_1970_is_an_error() {
        let draft = Draft::get(Target::parse("/x").unwrap());
        let nonce = Nonce::from_random([1; 16]);
        let signed = gateway("https://gw").signed(&identity(), draft, Timestamp::MIN, &nonce);
        assert!(matches!(signed, Err(SignError::Clock(_))));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn what_is_sent_is_what_was_signed(
            path in "(/[a-z0-9:@!$&'()*+,;=~_-]{1,6}){1,4}/?",
            query in "[a-c%+&=2F~é ?#'/\"]{0,12}",
            base in prop_oneof![Just("https://gw.example.com"), Just("http://[::1]:8080/a/B")],
            body: Vec<u8>,
        ) {
            if let Ok(target) = Target::parse(&format!("{path}?{query}")) {
                let request = incoming(signed(&gateway(base), Draft::post(target.clone(), body)));
                let authenticated =
                    authenticate(&request, &audiences(base), 1 << 20, now()).unwrap();
                prop_assert_eq!(&authenticated.path, target.path());
                prop_assert_eq!(&authenticated.query, target.query());
            }
        }
    }
}
