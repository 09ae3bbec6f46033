use ed25519_dalek::SigningKey;
use http::{HeaderMap, HeaderValue, Method};
use jiff::Timestamp;

use crate::{
    error::Error,
    identity::{
        access_token::AccessToken,
        auth::{Audiences, AuthError, Identified, Identity, authenticate, identify},
        canonical::{CanonicalPath, CanonicalQuery},
        did::{Did, DidUrl},
        signing::{self, BodyDigest, Nonce, SignedAt, SignedParts},
    },
    request::{Incoming, RawQuery},
    respond,
};

const MAX_BODY: usize = 64;
const SIGNED_AT: &str = "1735689600";

fn now() -> Timestamp {
    Timestamp::from_second(1_735_689_600).unwrap()
}

fn audiences(texts: &[&str]) -> Audiences {
    Audiences::new(texts.iter().map(|text| text.parse().unwrap()).collect()).unwrap()
}

fn token() -> String {
    AccessToken::from_randomness([7; 32]).expose().to_string()
}

fn other_token() -> String {
    AccessToken::from_randomness([8; 32]).expose().to_string()
}

/// A request with headers, each as often as it is named.
fn request(headers: &[(&'static str, &str)]) -> Incoming {
    let mut request = Incoming {
        method: Method::POST,
        raw_path: "/api/v1/openrouter/chat/completions".into(),
        stage: None,
        query: RawQuery::Encoded("b=2&a=1".into()),
        headers: HeaderMap::new(),
        body: "{}".into(),
    };
    add(&mut request, headers);
    request
}

fn add(request: &mut Incoming, headers: &[(&'static str, &str)]) {
    for (name, value) in headers {
        let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
        request.headers.append(*name, value);
    }
}

fn signed(headers: &[(&'static str, &str)]) -> Incoming {
    let mut request = request(&[]);
    let key = SigningKey::from_bytes(&[7; 32]);
    let did = Did::from_public_key(&key.verifying_key().into()).to_string();
    let signature = signing::sign(
        &key,
        &SignedParts {
            audience: &"https://gw.example.com".parse().unwrap(),
            did: &DidUrl::parse(&did).unwrap(),
            signed_at: &SignedAt::parse(SIGNED_AT).unwrap(),
            nonce: Some(&Nonce::parse("0123456789abcdef").unwrap()),
            method: &request.method,
            path: &CanonicalPath::from_raw(&request.raw_path).unwrap(),
            query: &CanonicalQuery::from_raw(&request.query).unwrap(),
            body: BodyDigest::of(&request.body),
        },
    );
    signature.apply(&mut request.headers).unwrap();
    add(&mut request, headers);
    request
}

fn identified(request: &Incoming) -> Result<Identified, AuthError> {
    identify(
        request,
        &audiences(&["https://gw.example.com"]),
        MAX_BODY,
        now(),
    )
}

fn reason(request: &Incoming) -> &'static str {
    identified(request).unwrap_err().reason()
}

fn is_token(identified: &Identified) -> bool {
    match &identified.identity {
        Identity::Token(digest) => *digest == AccessToken::from_randomness([7; 32]).digest(),
        Identity::Signed(_) => false,
    }
}

#[test]
fn a_token_is_read_in_two_headers() {
    let token = token();
    for headers in [
        &[("authorization", &*format!("Bearer {token}"))][..],
        &[("authorization", &format!("bearer {token}"))],
        &[("authorization", &format!("BEARER   {token} "))],
        &[("x-api-key", &token)],
        &[("x-api-key", &format!(" {token}\t"))],
        &[
            ("authorization", &format!("Bearer {token}")),
            ("x-api-key", &token),
        ],
        // Claude Code with ANTHROPIC_AUTH_TOKEN and an empty ANTHROPIC_API_KEY.
        &[
            ("authorization", &format!("Bearer {token}")),
            ("x-api-key", ""),
        ],
    ] {
        let identified = identified(&request(headers)).unwrap();
        assert!(is_token(&identified), "{headers:?}");
        assert_eq!(
            identified.path.as_str(),
            "/api/v1/openrouter/chat/completions"
        );
        assert_eq!(identified.query.as_str(), "a=1&b=2");
        assert!(identified.identity.replay_guard(&Method::POST).is_none());
    }
}

#[test]
fn a_token_is_read_nowhere_else() {
    let token = token();
    for headers in [
        &[("cookie", &*format!("authorization={token}"))][..],
        &[("cookie", &format!("Bearer {token}"))],
        &[("proxy-authorization", &format!("Bearer {token}"))],
        &[("api-key", &token)],
        &[("x-access-token", &token)],
        &[("authorization", &token)],
        &[("authorization", &format!("Basic {token}"))],
        &[("authorization", &format!("Token {token}"))],
        &[("authorization", &format!("Bearer\t{token}"))],
        &[("authorization", &format!("Bearer{token}"))],
        &[("authorization", &format!("Bearer \"{token}\""))],
        &[("authorization", &format!("Bearer Bearer {token}"))],
        &[("x-api-key", &format!("Bearer {token}"))],
    ] {
        assert_eq!(
            reason(&request(headers)),
            "missing_credentials",
            "{headers:?}"
        );
    }
    let mut in_the_query = request(&[]);
    in_the_query.query = RawQuery::Encoded(format!("key={token}&x-api-key={token}"));
    assert_eq!(reason(&in_the_query), "missing_credentials");
    let mut in_the_path = request(&[]);
    in_the_path.raw_path = format!("/api/v1/openrouter/{token}/chat/completions");
    assert_eq!(reason(&in_the_path), "missing_credentials");
}

#[test]
fn more_than_one_credential_is_refused() {
    let token = token();
    let other = other_token();
    let bearer = format!("Bearer {token}");
    let other_bearer = format!("Bearer {other}");
    let malformed = &token[..55];
    for headers in [
        &[("authorization", &*bearer), ("x-api-key", &*other)][..],
        &[("authorization", &other_bearer), ("x-api-key", &token)],
        &[("authorization", &bearer), ("x-api-key", malformed)],
        &[
            ("authorization", &bearer),
            ("x-api-key", "sk-or-v1-0123456789abcdef"),
        ],
        &[
            ("authorization", "Bearer sk-or-v1-0123456789abcdef"),
            ("x-api-key", &token),
        ],
        &[
            ("authorization", "Basic dXNlcjpwYXNz"),
            ("x-api-key", &token),
        ],
        &[("authorization", &bearer), ("authorization", &bearer)],
        &[("authorization", &bearer), ("authorization", &other_bearer)],
        &[
            ("authorization", &bearer),
            ("authorization", "Basic dXNlcjpwYXNz"),
        ],
        &[("x-api-key", &token), ("x-api-key", &token)],
        &[("x-api-key", &token), ("x-api-key", "other")],
        &[("authorization", &format!("{bearer},{bearer}"))],
        &[("authorization", &format!("{bearer}, {bearer}"))],
        &[("x-api-key", &format!("{token},{other}"))],
    ] {
        assert_eq!(
            reason(&request(headers)),
            "ambiguous_credentials",
            "{headers:?}"
        );
    }
    for headers in [
        &[("authorization", &*bearer)][..],
        &[("x-api-key", &token)],
        &[("x-api-key", malformed)],
    ] {
        assert_eq!(
            reason(&signed(headers)),
            "ambiguous_credentials",
            "{headers:?}"
        );
    }
    let half_signed = request(&[
        ("authorization", &bearer),
        ("x-did-nonce", "0123456789abcdef"),
    ]);
    assert_eq!(reason(&half_signed), "ambiguous_credentials");
}

#[test]
fn a_malformed_token_is_told_by_its_part_and_never_shown() {
    let token = token();
    for (text, part) in [
        (token[..55].to_owned(), "56 characters"),
        (token.to_uppercase(), "lower case"),
        (format!("{token}="), "letters and digits"),
        (format!("{token} x"), "letters and digits"),
        (format!("{token}é"), "letters and digits"),
        (format!("{}x", &token[..55]), "checksum"),
    ] {
        for headers in [
            [("authorization", format!("Bearer {text}"))],
            [("x-api-key", text.clone())],
        ] {
            let [(name, value)] = &headers;
            let error = identified(&request(&[(name, value)])).unwrap_err();
            assert_eq!(error.reason(), "malformed_token", "{value}");
            assert!(error.to_string().contains(part), "{error}");
            assert!(!format!("{error} {error:?}").contains(&token[7..20]));
        }
    }
    let mut not_text = request(&[]);
    let value = HeaderValue::from_bytes(b"sk-lgw-\xff").unwrap();
    not_text.headers.insert("x-api-key", value);
    assert_eq!(reason(&not_text), "malformed_token");
}

#[test]
fn whoever_sends_nothing_of_ours_is_told_what_a_token_looks_like() {
    let pasted = "sk-or-v1-0123456789abcdef0123456789abcdef";
    let bearer = format!("Bearer {pasted}");
    for (headers, unread) in [
        (&[][..], &[][..]),
        (&[("authorization", &*bearer)], &["authorization"]),
        (
            &[("authorization", "DIDAuthV1 did=\"did:example:1\"")],
            &["authorization"],
        ),
        (&[("x-api-key", pasted)], &["x-api-key"]),
        (
            &[("x-api-key", pasted), ("authorization", "Bearer x")],
            &["authorization", "x-api-key"],
        ),
    ] {
        let error = identified(&request(headers)).unwrap_err();
        assert_eq!(error.reason(), "missing_credentials");
        let text = error.to_string();
        assert!(text.starts_with(
            "send an access token in Authorization: Bearer … or x-api-key, or sign the request: \
             missing x-did, x-did-timestamp, x-did-signature; "
        ));
        assert!(text.contains("an access token begins with sk-lgw- and has 56 characters"));
        assert_eq!(text.contains(" sent, but "), !unread.is_empty());
        for header in unread {
            assert!(text.contains(header), "{text}");
        }
        assert!(!format!("{error:?} {text}").contains("0123456789"));
    }
}

#[test]
fn a_signature_is_a_signature_beside_a_placeholder() {
    for headers in [
        &[][..],
        &[("authorization", "Bearer unused")],
        &[
            ("x-api-key", "sk-or-v1-0123456789abcdef"),
            ("authorization", "Bearer unused"),
        ],
    ] {
        let request = signed(headers);
        let Identity::Signed(caller) = identified(&request).unwrap().identity else {
            panic!("not signed");
        };
        assert!(caller.replay_guard(&Method::POST).is_some());
    }
    let half_signed = request(&[
        ("x-did", "did:key:z6Mk"),
        ("authorization", "Bearer unused"),
    ]);
    let error = identified(&half_signed).unwrap_err();
    assert_eq!(
        error.to_string(),
        "sign the request: missing x-did-timestamp, x-did-signature; authorization was sent, but no key or token is read here: docs/use/signing.md says how to sign, and `llmgw serve` signs for programs that know only an API key"
    );
}

#[test]
fn a_token_does_not_pass_where_a_signature_is_asked_for() {
    let audiences = audiences(&["https://gw.example.com"]);
    let reason = |request: &Incoming| {
        let refused = authenticate(request, &audiences, MAX_BODY, now());
        refused.unwrap_err().reason()
    };
    let token = token();
    let bearer = format!("Bearer {token}");
    assert_eq!(
        reason(&request(&[("authorization", &bearer)])),
        "signature_required"
    );
    assert_eq!(
        reason(&request(&[("x-api-key", &token)])),
        "signature_required"
    );
    assert_eq!(
        reason(&signed(&[("x-api-key", &token)])),
        "ambiguous_credentials"
    );
    assert_eq!(
        reason(&request(&[("x-api-key", "other")])),
        "missing_credentials"
    );
    assert!(authenticate(&signed(&[]), &audiences, MAX_BODY, now()).is_ok());
}

#[test]
fn each_refusal_has_its_status() {
    let token = token();
    let audiences = audiences(&["https://gw.example.com"]);
    let of_token = request(&[("x-api-key", &token)]);
    let refused = |headers: &[_]| identified(&request(headers)).unwrap_err();
    for (error, status) in [
        (refused(&[]), 401),
        (refused(&[("x-api-key", &token[..55])]), 401),
        (refused(&[("x-api-key", &token), ("x-did", "x")]), 400),
        (
            authenticate(&of_token, &audiences, MAX_BODY, now()).unwrap_err(),
            403,
        ),
    ] {
        let reason = error.reason();
        let response = respond::failure(&Error::Auth(error), uuid::Uuid::nil());
        assert_eq!(response.status().as_u16(), status, "{reason}");
    }
}

#[test]
fn bodies_and_targets_are_checked_as_a_signers_are() {
    let token = token();
    let of_token = || request(&[("x-api-key", &token)]);
    let mut too_large = of_token();
    too_large.body = vec![b' '; MAX_BODY + 1].into();
    assert_eq!(reason(&too_large), "body_too_large");
    let compressed = request(&[("x-api-key", &token), ("content-encoding", "gzip")]);
    assert_eq!(reason(&compressed), "content_encoding_not_supported");
    let mut dots = of_token();
    dots.raw_path = "/api/v1/openrouter/../keys".into();
    assert_eq!(reason(&dots), "malformed_path");
    let mut broken = of_token();
    broken.query = RawQuery::Encoded("a=%zz".into());
    assert_eq!(reason(&broken), "malformed_query");
}

#[test]
fn a_tokens_path_is_the_one_that_leads_to_a_route() {
    let token = token();
    for (raw_path, stage, texts, path) in [
        (
            "/api/v1/usage",
            None,
            &["https://gw.example.com"][..],
            "/api/v1/usage",
        ),
        (
            "/Prod/api/v1/usage",
            Some("Prod"),
            &["https://gw.example.com"],
            "/api/v1/usage",
        ),
        (
            "/api/v1/usage",
            Some("Prod"),
            &["https://gw.example.com/Prod"],
            "/api/v1/usage",
        ),
        (
            "/api/v1/usage",
            Some("api"),
            &["https://gw.example.com"],
            "/api/v1/usage",
        ),
        (
            "/api/api/v1/usage",
            Some("api"),
            &["https://gw.example.com"],
            "/api/v1/usage",
        ),
        (
            "/llm/api/v1/openrouter/models",
            Some("Prod"),
            &["https://abc.example.com/Prod", "https://example.com/llm"],
            "/api/v1/openrouter/models",
        ),
        (
            "/Prodigy/api/v1/usage",
            Some("Prod"),
            &["https://gw.example.com"],
            "/Prodigy/api/v1/usage",
        ),
        (
            "/llm/nowhere",
            None,
            &["https://gw.example.com/llm"],
            "/nowhere",
        ),
        ("/llm", None, &["https://gw.example.com/llm"], "/"),
    ] {
        let mut request = request(&[("x-api-key", &token)]);
        request.raw_path = raw_path.to_owned();
        request.stage = stage.map(Into::into);
        let identified = identify(&request, &audiences(texts), MAX_BODY, now()).unwrap();
        assert_eq!(identified.path.as_str(), path, "{raw_path} {stage:?}");
    }
}
