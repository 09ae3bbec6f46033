use base64::{Engine, prelude::BASE64_STANDARD};
use ed25519_dalek::{Signer, SigningKey};
use http::{HeaderName, HeaderValue};
use sha2::{Digest, Sha256, Sha512};

use super::*;
use crate::{
    identity::{
        auth::{Audiences, Authenticated, authenticate},
        did::{Did, Signature},
        signing::{Nonce, SignedAt, SignedParts},
    },
    request::Incoming,
};

const NOW: i64 = 1_735_689_600;
const MAX_BODY: usize = 1024;
const PATH: &str = "/api/v1/openrouter/chat/completions";
const TARGET: &str = "https://gw.example.com/api/v1/openrouter/chat/completions?a=1&b=2";

fn key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

fn p256_key() -> p256::ecdsa::SigningKey {
    p256::ecdsa::SigningKey::from_slice(&[7; 32]).unwrap()
}

fn did() -> String {
    Did::from_public_key(&key().verifying_key().into()).to_string()
}

fn p256_did() -> String {
    Did::from_public_key(&(*p256_key().verifying_key()).into()).to_string()
}

fn encoded(query: &str) -> RawQuery {
    RawQuery::Encoded(query.to_owned())
}

fn digest(body: &str) -> String {
    signing::content_digest(body.as_bytes())
}

/// A request, and the signature that a client makes for it. The signature base is written here, independently of
/// the code under test.
#[derive(Clone)]
struct Client {
    /// Identifiers with the values that the client signs.
    covered: Vec<(String, String)>,
    params: String,
    incoming: Incoming,
}

impl Default for Client {
    fn default() -> Self {
        let digest = digest("{}");
        let mut client = Self {
            covered: Vec::new(),
            params: format!(
                r#";created={NOW};nonce="0123456789abcdef";keyid="{}";alg="ed25519";tag="llm-gateway""#,
                did()
            ),
            incoming: Incoming {
                method: Method::POST,
                raw_path: PATH.to_owned(),
                stage: None,
                query: encoded("a=1&b=2"),
                headers: HeaderMap::new(),
                body: "{}".into(),
            },
        };
        client.header("content-digest", &digest);
        client.covers(&[
            (r#""@method""#, "POST"),
            (r#""@target-uri""#, TARGET),
            (r#""content-digest""#, &digest),
        ])
    }
}

impl Client {
    fn header(&mut self, name: &str, value: &str) {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
        self.incoming.headers.append(name, value);
    }

    fn covers(mut self, covered: &[(&str, &str)]) -> Self {
        let covered = covered.iter();
        self.covered = covered
            .map(|(id, value)| ((*id).to_owned(), (*value).to_owned()))
            .collect();
        self
    }

    fn also_covers(mut self, id: &str, value: &str) -> Self {
        self.covered.push((id.to_owned(), value.to_owned()));
        self
    }

    fn params(mut self, params: &str) -> Self {
        self.params = params.replace("DID", &did());
        self
    }

    fn get(query: &str) -> Self {
        let mut client = Self::default();
        client.incoming.method = Method::GET;
        client.incoming.raw_path = "/api/v1/usage".to_owned();
        client.incoming.query = encoded(query);
        client.incoming.body = "".into();
        client.incoming.headers.clear();
        client
    }

    /// The inner list with its parameters, and the signature base.
    fn base(&self) -> (String, String) {
        let ids: Vec<_> = self.covered.iter().map(|(id, _)| id.as_str()).collect();
        let params = format!("({}){}", ids.join(" "), self.params);
        let lines = self
            .covered
            .iter()
            .map(|(id, value)| format!("{id}: {value}"));
        let last = format!("\"@signature-params\": {params}");
        let lines: Vec<_> = lines.chain([last]).collect();
        (params, lines.join("\n"))
    }

    fn signed(&self) -> Incoming {
        let (params, base) = self.base();
        self.with(&params, &key().sign(base.as_bytes()).to_bytes())
    }

    fn with(&self, params: &str, signature: &[u8]) -> Incoming {
        let mut client = self.clone();
        client.header("signature-input", &format!("sig={params}"));
        let signature = BASE64_STANDARD.encode(signature);
        client.header("signature", &format!("sig=:{signature}:"));
        client.incoming
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn check_at(
    request: &Incoming,
    audiences: &[&str],
    now: Timestamp,
) -> Result<Authenticated, AuthError> {
    let audiences = audiences.iter().map(|it| it.parse().unwrap()).collect();
    authenticate(request, &Audiences::new(audiences).unwrap(), MAX_BODY, now)
}

fn check(request: &Incoming) -> Result<Authenticated, AuthError> {
    check_at(request, &["https://gw.example.com"], at(NOW))
}

fn reason(request: &Incoming) -> &'static str {
    check(request).unwrap_err().reason()
}

fn set(request: &mut Incoming, name: &'static str, value: &str) {
    request.headers.insert(name, value.parse().unwrap());
}

#[test]
fn a_signed_request_has_a_caller() {
    let client = Client::default();
    let Authenticated {
        caller,
        path,
        query,
    } = check(&client.signed()).unwrap();
    assert_eq!(caller.did().as_str(), did());
    assert_eq!((path.as_str(), query.as_str()), (PATH, "a=1&b=2"));
    assert_eq!(caller.fingerprint_expires_at(), at(NOW + 360));
    assert!(caller.replay_guard(&Method::POST).is_some());
    let digest = Sha256::digest(client.base().1);
    assert_eq!(caller.fingerprint().as_bytes()[..], digest[..]);
}

/// What `llmgw` and the helpers send.
#[test]
fn our_own_draft_passes() {
    for method in [Method::POST, Method::GET] {
        for key_type in KeyType::ALL {
            let did = match key_type {
                KeyType::Ed25519 => did(),
                KeyType::P256 => p256_did(),
            };
            let client = match method {
                Method::GET => Client::get("b=2&a=%20"),
                _ => Client::default(),
            };
            let mut request = client.incoming;
            let body = request.body.clone();
            request.headers.clear();
            let draft = signing::Draft::new(
                &SignedParts {
                    audience: &"https://gw.example.com".parse().unwrap(),
                    did: &DidUrl::parse(&did).unwrap(),
                    signed_at: &SignedAt::seconds(at(NOW)).unwrap(),
                    nonce: Some(&Nonce::from_random([1; 16])),
                    method: &request.method,
                    path: &CanonicalPath::from_raw(&request.raw_path).unwrap(),
                    query: &crate::identity::canonical::CanonicalQuery::from_raw(&request.query)
                        .unwrap(),
                    body: crate::identity::signing::BodyDigest::of(&body),
                },
                &body,
                key_type,
            );
            let text = draft.base().as_bytes();
            let signature = match key_type {
                KeyType::Ed25519 => key().sign(text).to_bytes(),
                KeyType::P256 => {
                    let made: p256::ecdsa::Signature = p256_key().sign(text);
                    made.to_bytes().into()
                }
            };
            for (name, value) in draft.headers(&Signature::from_bytes(signature)) {
                set(&mut request, name, &value);
            }
            let caller = check(&request).unwrap().caller;
            assert_eq!(caller.did().as_str(), did);
            assert!(caller.replay_guard(&Method::GET).is_some());
        }
    }
}

#[test]
fn p256_signs_in_p1363_and_alg_is_never_what_decides() {
    let of = |alg: &str| {
        let params = format!(
            r#";created={NOW};nonce="n";keyid="{}"{alg};tag="llm-gateway""#,
            p256_did()
        );
        Client::default().params(&params)
    };
    for alg in ["", r#";alg="ecdsa-p256-sha256""#] {
        let client = of(alg);
        let (params, base) = client.base();
        let made: p256::ecdsa::Signature = p256_key().sign(base.as_bytes());
        let request = client.with(&params, &made.to_bytes());
        assert_eq!(check(&request).unwrap().caller.did().as_str(), p256_did());
        let der = client.with(&params, made.to_der().as_bytes());
        let error = check(&der).unwrap_err();
        assert_eq!(error.reason(), "malformed_signature");
        assert!(error.to_string().contains("DER"), "{error}");
        // Signed by the Ed25519 key instead.
        assert_eq!(reason(&client.signed()), "invalid_signature");
    }
    for alg in ["ed25519", "hmac-sha256", "rsa-v1_5-sha256", "none", ""] {
        let client = of(&format!(r#";alg="{alg}""#));
        let (params, base) = client.base();
        let made: p256::ecdsa::Signature = p256_key().sign(base.as_bytes());
        let request = client.with(&params, &made.to_bytes());
        assert_eq!(reason(&request), "malformed_signature_input", "{alg}");
    }
}

type Tampering<'a> = &'a dyn Fn(&mut Incoming);

#[test]
fn every_covered_component_counts() {
    let mut client = Client::default();
    client.header("x-title", "a title");
    client.header("accept", "*/*");
    let client = client
        .also_covers(r#""@authority""#, "gw.example.com")
        .also_covers(r#""@scheme""#, "https")
        .also_covers(r#""@path""#, PATH)
        .also_covers(r#""@query""#, "?a=1&b=2")
        .also_covers(r#""@query-param";name="a""#, "1")
        .also_covers(r#""x-title""#, "a title")
        .also_covers(r#""accept";bs"#, ":Ki8q:");
    check(&client.signed()).unwrap();
    let tamperings: [(Tampering<'_>, &str); 14] = [
        (&|r| r.method = Method::PUT, "invalid_signature"),
        (&|r| r.method = "post".parse().unwrap(), "invalid_signature"),
        (&|r| r.raw_path.push('/'), "invalid_signature"),
        (&|r| r.raw_path.truncate(20), "invalid_signature"),
        (&|r| r.query = encoded("a=1&b=3"), "invalid_signature"),
        (&|r| r.query = encoded("a=1&b=2&c"), "invalid_signature"),
        (&|r| r.query = encoded("b=2"), "component_not_supported"),
        (
            &|r| r.query = encoded("a=1&a=1&b=2"),
            "component_not_supported",
        ),
        (&|r| r.body = "{ }".into(), "digest_mismatch"),
        (
            &|r| set(r, "content-digest", &digest("{ }")),
            "digest_mismatch",
        ),
        (&|r| set(r, "x-title", "another"), "invalid_signature"),
        (
            &|r| drop(r.headers.remove("x-title")),
            "component_not_supported",
        ),
        (&|r| set(r, "accept", "*"), "invalid_signature"),
        (
            &|r| {
                r.body = "{ }".into();
                set(r, "content-digest", &digest("{ }"));
            },
            "invalid_signature",
        ),
    ];
    for (index, (tamper, expected)) in tamperings.into_iter().enumerate() {
        let mut request = client.signed();
        tamper(&mut request);
        assert_eq!(reason(&request), expected, "{index}");
    }
    // Each value alone, as a client that means another request signs it.
    for index in 0..client.covered.len() {
        let mut other = client.clone();
        other.covered[index].1.push('x');
        let refused = reason(&other.signed());
        assert_eq!(refused, "invalid_signature", "{}", other.covered[index].0);
    }
    // Each parameter, and the bits of the signature.
    let (params, base) = client.base();
    let signature = key().sign(base.as_bytes()).to_bytes();
    for (from, to) in [
        ("created=1735689600", "created=1735689601"),
        ("0123456789abcdef", "0123456789abcdeg"),
        (r#";alg="ed25519""#, ""),
        (r#";tag="llm-gateway""#, ""),
        (r#" "x-title""#, ""),
        (r#""@method" "@target-uri""#, r#""@target-uri" "@method""#),
        (r#"tag="llm-gateway""#, r#"tag="llm-gateway";x"#),
    ] {
        let changed = params.replace(from, to);
        assert_ne!(changed, params);
        let request = client.with(&changed, &signature);
        assert_eq!(reason(&request), "invalid_signature", "{from}");
    }
    for bit in [0, 100, 300, 511] {
        let mut changed = signature;
        changed[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(reason(&client.with(&params, &changed)), "invalid_signature");
    }
}

#[test]
fn what_has_to_be_covered() {
    let digest = digest("{}");
    let method = (r#""@method""#, "POST");
    let target = (r#""@target-uri""#, TARGET);
    let authority = (r#""@authority""#, "gw.example.com");
    let path = (r#""@path""#, PATH);
    let query = (r#""@query""#, "?a=1&b=2");
    let digested = (r#""content-digest""#, digest.as_str());
    let [a, b] = [
        (r#""@query-param";name="a""#, "1"),
        (r#""@query-param";name="b""#, "2"),
    ];
    for enough in [
        &[method, target, digested][..],
        &[digested, target, method],
        &[method, authority, path, query, digested],
        &[method, authority, path, a, b, digested],
        &[method, authority, path, b, a, digested],
        &[method, target, authority, path, query, a, b, digested],
    ] {
        let request = Client::default().covers(enough).signed();
        assert!(check(&request).is_ok(), "{enough:?}");
    }
    for too_little in [
        &[][..],
        &[target, digested],
        &[method, digested],
        &[method, target],
        &[method, path, query, digested],
        &[method, authority, query, digested],
        &[method, authority, path, digested],
        &[method, authority, path, a, digested],
        &[authority, path, query, digested],
    ] {
        let error = check(&Client::default().covers(too_little).signed()).unwrap_err();
        assert_eq!(error.reason(), "component_not_covered", "{too_little:?}");
        assert!(error.to_string().contains("cover"));
    }
    let twice = Client::default().covers(&[method, target, method, digested]);
    assert_eq!(reason(&twice.signed()), "component_not_supported");
    // Without a query there is none to cover, and without a body no digest.
    let client = Client::get("").covers(&[
        (r#""@method""#, "GET"),
        authority,
        (r#""@path""#, "/api/v1/usage"),
    ]);
    assert!(check(&client.signed()).is_ok());
    let client = client.also_covers(r#""@query""#, "?");
    assert!(check(&client.signed()).is_ok());
}

#[test]
fn what_the_platform_changes_is_refused_by_name() {
    let mut client = Client::default();
    for (name, value) in [
        ("host", "gw.example.com"),
        ("connection", "close"),
        ("via", "1.1 x"),
        ("x-forwarded-for", "203.0.113.7"),
        ("x-forwarded-proto", "https"),
        ("x-amzn-trace-id", "Root=1"),
        ("content-length", "2"),
        ("authorization", "Bearer unused"),
        ("cookie", "a=b"),
        ("accept", "*/*"),
        ("x-twice", "1"),
        ("x-twice", "2"),
    ] {
        client.header(name, value);
    }
    for (id, value) in [
        (r#""host""#, "gw.example.com"),
        (r#""connection""#, "close"),
        (r#""via""#, "1.1 x"),
        (r#""x-forwarded-for""#, "203.0.113.7"),
        (r#""x-forwarded-proto""#, "https"),
        (r#""x-amzn-trace-id""#, "Root=1"),
        (r#""content-length""#, "2"),
        (r#""authorization""#, "Bearer unused"),
        (r#""cookie""#, "a=b"),
        (r#""@request-target""#, "/x"),
        (r#""@status""#, "200"),
        (r#""@unknown""#, "x"),
        (r#""@method";req"#, "POST"),
        (r#""accept";tr"#, "*/*"),
        (r#""accept";sf"#, "*/*"),
        (r#""x-twice""#, "1, 2"),
        (r#""x-twice";bs"#, ":MQ==:, :Mg==:"),
        (r#""Accept""#, "*/*"),
        (r#""@query-param""#, "1"),
        (r#""x-absent""#, ""),
    ] {
        let error = check(&client.clone().also_covers(id, value).signed()).unwrap_err();
        assert_eq!(error.reason(), "component_not_supported", "{id}");
        let name = id.split('"').nth(1).unwrap();
        assert!(error.to_string().contains(name), "{error}");
        assert!(!error.to_string().contains("unused"), "{error}");
    }
}

#[test]
fn a_request_is_for_one_gateway() {
    let client = Client::default();
    for elsewhere in [
        "https://gw.example.org",
        "http://gw.example.com",
        "https://gw.example.com:8443",
        "https://gw.example.com/Prod",
    ] {
        let mut request = client.signed();
        // Host proves nothing.
        set(&mut request, "host", "gw.example.com");
        let error = check_at(&request, &[elsewhere], at(NOW)).unwrap_err();
        assert_eq!(error.reason(), "invalid_signature", "{elsewhere}");
    }
    // The audiences are tried in order, and the base that is shown is the first one's.
    let audiences = ["https://a", "https://b/x", "https://gw.example.com"];
    check_at(&client.signed(), &audiences, at(NOW)).unwrap();
    let error = check_at(&client.signed(), &audiences[..2], at(NOW)).unwrap_err();
    let AuthError::InvalidMessageSignature {
        signature_base,
        audiences_tried: 2,
    } = &error
    else {
        panic!("{error:?}");
    };
    let expected = client
        .base()
        .1
        .replace("https://gw.example.com", "https://a");
    assert_eq!(signature_base.as_str(), expected);
    for hint in ["@path", "REST API", "sorted", "@query-param"] {
        assert!(error.to_string().contains(hint), "{error}");
    }
}

/// A REST API's, an HTTP API's and a Function URL's event of one request.
fn events(client: &Client, pairs: &[(&str, &str)], raw_query: &str) -> [Incoming; 4] {
    let signed = client.signed();
    let stage = Some("Prod".to_owned());
    let decoded: Vec<_> = pairs
        .iter()
        .rev()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let raw_path = signed.raw_path.clone();
    [
        Incoming {
            stage: stage.clone(),
            query: RawQuery::Decoded(decoded),
            ..signed.clone()
        },
        Incoming {
            stage: stage.clone(),
            raw_path: format!("/Prod{raw_path}"),
            query: encoded(raw_query),
            ..signed.clone()
        },
        Incoming {
            query: encoded(raw_query),
            ..signed.clone()
        },
        Incoming {
            stage,
            query: encoded(raw_query),
            ..signed
        },
    ]
}

#[test]
fn all_events_of_a_request_give_one_verdict() {
    let prod = "https://gw.example.com/Prod";
    for (raw_query, pairs, signed_query) in [
        ("", &[][..], ""),
        ("a=1&b=2", &[("a", "1"), ("b", "2")], "?a=1&b=2"),
        // Repeated, empty and escaped ones, in canonical order.
        (
            "a=&a=1&b=%20%2F&c=",
            &[("a", ""), ("a", "1"), ("b", " /"), ("c", "")],
            "?a=&a=1&b=%20%2F&c=",
        ),
        // Sent unsorted and otherwise spelt, signed canonical.
        ("b=2+x&a=%31", &[("b", "2 x"), ("a", "1")], "?a=1&b=2%20x"),
        // A single parameter as it is.
        ("q=a:b", &[("q", "a:b")], "?q=a:b"),
    ] {
        let target = format!("{prod}/api/v1/usage{signed_query}");
        let client = Client::get(raw_query)
            .covers(&[(r#""@method""#, "GET"), (r#""@target-uri""#, &target)]);
        let path = (r#""@path""#, "/Prod/api/v1/usage");
        let query = (
            r#""@query""#,
            if signed_query.is_empty() {
                "?"
            } else {
                signed_query
            },
        );
        let authority = (r#""@authority""#, "gw.example.com");
        let by_parts = client
            .clone()
            .covers(&[(r#""@method""#, "GET"), authority, path, query]);
        for client in [client, by_parts] {
            let mut fingerprints = Vec::new();
            for request in events(&client, pairs, raw_query) {
                let passed =
                    check_at(&request, &["https://gw.example.com", prod], at(NOW)).unwrap();
                assert_eq!(passed.path.as_str(), "/api/v1/usage", "{raw_query}");
                fingerprints.push(passed.caller.fingerprint());
                let elsewhere = check_at(&request, &["https://x/Prod"], at(NOW));
                assert_eq!(elsewhere.unwrap_err().reason(), "invalid_signature");
            }
            fingerprints.dedup();
            assert_eq!(fingerprints.len(), 1, "{raw_query}");
        }
    }
}

#[test]
fn a_query_may_be_signed_as_sent_where_the_event_has_it_or_by_its_parameters() {
    let raw = "b=2&a=x+y&c";
    let pairs = [("b", "2"), ("a", "x y"), ("c", "")];
    let target = format!("https://gw.example.com/api/v1/usage?{raw}");
    let client = Client::get(raw).covers(&[(r#""@method""#, "GET"), (r#""@target-uri""#, &target)]);
    let [rest, _, url, _] = events(&client, &pairs, raw);
    assert!(check(&url).is_ok());
    assert_eq!(reason(&rest), "invalid_signature");
    let client = Client::get(raw).covers(&[
        (r#""@method""#, "GET"),
        (r#""@authority""#, "gw.example.com"),
        (r#""@path""#, "/api/v1/usage"),
        (r#""@query-param";name="c""#, ""),
        (r#""@query-param";name="a""#, "x%20y"),
        (r#""@query-param";name="b""#, "2"),
    ]);
    let [rest, _, url, _] = events(&client, &pairs, raw);
    let passed = [rest, url].map(|it| check(&it).unwrap().caller.fingerprint());
    assert_eq!(passed[0], passed[1]);
    // RFC 9421 §2.2.8's example of encoding.
    let raw = "var=this%20is%20a%20big%0Amultiline%20value&bar=with+plus+whitespace&fa%C3%A7ade%22%3A%20=something";
    let client = Client::get(raw).covers(&[
        (r#""@method""#, "GET"),
        (r#""@authority""#, "gw.example.com"),
        (r#""@path""#, "/api/v1/usage"),
        (
            r#""@query-param";name="var""#,
            "this%20is%20a%20big%0Amultiline%20value",
        ),
        (r#""@query-param";name="bar""#, "with%20plus%20whitespace"),
        (r#""@query-param";name="fa%C3%A7ade%22%3A%20""#, "something"),
    ]);
    check(&client.signed()).unwrap();
}

#[test]
fn a_path_may_be_signed_as_sent_or_canonical() {
    let sent = "/api/v1/openrouter/models/a%2Fb%3Afree/endpoints";
    let canonical = "/api/v1/openrouter/models/a/b:free/endpoints";
    for (event_path, signed, passes) in [
        (sent, sent, true),
        (sent, canonical, true),
        (canonical, canonical, true),
        // An HTTP API has decoded it.
        (canonical, sent, false),
    ] {
        for prefix in ["", "/Prod"] {
            let target = format!("https://gw.example.com{prefix}{signed}");
            let mut client =
                Client::get("").covers(&[(r#""@method""#, "GET"), (r#""@target-uri""#, &target)]);
            client.incoming.raw_path = event_path.to_owned();
            let base = format!("https://gw.example.com{prefix}");
            for stage in ["", "/Prod"] {
                let mut request = client.signed();
                request.raw_path = format!("{stage}{event_path}");
                request.stage = Some("Prod".to_owned());
                let checked = check_at(&request, &[&base], at(NOW));
                assert_eq!(checked.is_ok(), passes, "{event_path} {signed} {stage}");
                if let Ok(checked) = checked {
                    assert_eq!(checked.path.as_str(), canonical);
                }
            }
        }
    }
}

/// A line feed in a query could end its line and begin another component's.
#[test]
fn no_value_poses_as_another_component() {
    let query = "a=1\n\"x\": y";
    let target = format!("https://gw.example.com/api/v1/usage?{query}");
    let client =
        Client::get(query).covers(&[(r#""@method""#, "GET"), (r#""@target-uri""#, &target)]);
    assert_eq!(reason(&client.signed()), "invalid_signature");
    let mut request = client.signed();
    request.query = RawQuery::Decoded(vec![("a".to_owned(), "1\n\"x\": y".to_owned())]);
    assert_eq!(reason(&request), "invalid_signature");
}

#[test]
fn labels_and_tags() {
    let client = Client::default();
    let ours = client.signed();
    let value = |name: &str| ours.headers[name].to_str().unwrap().to_owned();
    let (input, signature) = (value("signature-input"), value("signature"));
    let garbage = BASE64_STANDARD.encode([1; 64]);
    for (other, expected) in [
        // A proxy's signature beside ours, before and after it.
        (
            r#"proxy=("@method" "host");created=1;keyid="x";tag="proxy""#,
            "passes",
        ),
        (r#"proxy=("@method");created=1;keyid="x""#, "passes"),
        (
            r#"proxy=("@method");tag="llm-gateway""#,
            "malformed_signature_input",
        ),
        (r#"proxy="a""#, "malformed_signature_input"),
        (
            r#"proxy=("@method");tag=llm-gateway"#,
            "malformed_signature_input",
        ),
    ] {
        let both = [format!("{other}, {input}"), format!("{input}, {other}")];
        for input in both {
            let mut request = ours.clone();
            set(&mut request, "signature-input", &input);
            set(
                &mut request,
                "signature",
                &format!("proxy=:{garbage}:, {signature}"),
            );
            let verdict = check(&request).map_or_else(|error| error.reason(), |_| "passes");
            assert_eq!(verdict, expected, "{other}");
        }
    }
    // In two header lines.
    let mut request = ours.clone();
    let proxy = HeaderValue::from_static(r#"proxy=("@method");tag="proxy""#);
    request.headers.append("signature-input", proxy);
    assert!(check(&request).is_ok());

    let params = |tag: &str| format!(r#";created={NOW};nonce="n";keyid="DID"{tag}"#);
    let untagged = client.clone().params(&params(""));
    assert!(check(&untagged.signed()).is_ok());
    for tag in [
        r#";tag="web-bot-auth""#,
        r#";tag="""#,
        r#";tag="LLM-GATEWAY""#,
    ] {
        let error = check(&client.clone().params(&params(tag)).signed()).unwrap_err();
        assert_eq!(error.reason(), "malformed_signature_input", "{tag}");
        assert!(error.to_string().contains("another application"));
    }
    let (untagged_params, base) = untagged.base();
    let made = BASE64_STANDARD.encode(key().sign(base.as_bytes()).to_bytes());
    let mut two = client.incoming.clone();
    let both = format!("a={untagged_params}, b={untagged_params}");
    set(&mut two, "signature-input", &both);
    set(&mut two, "signature", &format!("a=:{made}:, b=:{made}:"));
    assert_eq!(reason(&two), "malformed_signature_input");
}

#[test]
fn parameters() {
    let other = Did::from_public_key(&SigningKey::from_bytes(&[8; 32]).verifying_key().into());
    let other = format!(r#";created={NOW};nonce="n";keyid="{other}""#);
    let fragment = did().replace("did:key:", "");
    let with_fragment = format!(r#";created={NOW};nonce="n";keyid="DID#{fragment}""#);
    for (params, expected) in [
        (r#";created=1735689600;nonce="n";keyid="DID""#, "passes"),
        (&*with_fragment, "passes"),
        (
            r#";keyid="DID";nonce="n";created=1735689600;expires=1735689601"#,
            "passes",
        ),
        (
            r#";created=1735689600;nonce="n";keyid="DID";unknown=1"#,
            "passes",
        ),
        (&*other, "invalid_signature"),
        (
            r#";created=1735689600;nonce="n";keyid="DID#other""#,
            "malformed_did",
        ),
        (
            r#";created=1735689600;nonce="n";keyid="alice""#,
            "malformed_did",
        ),
        (
            r#";created=1735689600;nonce="n";keyid="did:example:123""#,
            "unsupported_did_method",
        ),
        (
            r#";created=1735689600;nonce="n""#,
            "malformed_signature_input",
        ),
        (r#";nonce="n";keyid="DID""#, "malformed_signature_input"),
        (
            r#";created=1735689600;keyid="DID""#,
            "malformed_signature_input",
        ),
        (
            r#";created=1735689600;nonce="";keyid="DID""#,
            "malformed_nonce",
        ),
        (
            r#";created="1735689600";nonce="n";keyid="DID""#,
            "malformed_signature_input",
        ),
        (
            r#";created=1735689600.0;nonce="n";keyid="DID""#,
            "malformed_signature_input",
        ),
        (
            r#";created=999999999999999;nonce="n";keyid="DID""#,
            "malformed_signature_input",
        ),
        (
            r#";created=1735689600;nonce=n;keyid="DID""#,
            "malformed_signature_input",
        ),
        (
            r#";created=1735689600;nonce="n";keyid=:AAAA:"#,
            "malformed_signature_input",
        ),
        (
            r#";created=1735689600;nonce="n";keyid="DID";alg="ecdsa-p256-sha256""#,
            "malformed_signature_input",
        ),
        (
            r#";created=1735689600;nonce="n";keyid="DID";alg=ed25519"#,
            "malformed_signature_input",
        ),
        (
            r#";created=1735689600;nonce="n";keyid="DID";expires=1735689600"#,
            "signature_expired",
        ),
        (
            r#";created=1735689600;nonce="n";keyid="DID";expires=1"#,
            "signature_expired",
        ),
        (
            r#";created=1735689299;nonce="n";keyid="DID""#,
            "timestamp_out_of_window",
        ),
        (
            r#";created=1735689901;nonce="n";keyid="DID""#,
            "timestamp_out_of_window",
        ),
        (r#";created=1735689300;nonce="n";keyid="DID""#, "passes"),
        (r#";created=1735689900;nonce="n";keyid="DID""#, "passes"),
    ] {
        let request = Client::default().params(params).signed();
        let verdict = check(&request).map_or_else(|error| error.reason(), |_| "passes");
        assert_eq!(verdict, expected, "{params}");
    }
    // A safe request may do without a nonce, and then is not remembered.
    let client = Client::get("").params(r#";created=1735689600;keyid="DID""#);
    let client = client.covers(&[
        (r#""@method""#, "GET"),
        (r#""@target-uri""#, "https://gw.example.com/api/v1/usage"),
    ]);
    let caller = check(&client.signed()).unwrap().caller;
    assert!(caller.replay_guard(&Method::GET).is_none());
    assert!(caller.replay_guard(&Method::POST).is_some());
}

#[test]
fn digests() {
    let sha256 = digest("{}");
    let sha512 = format!("sha-512=:{}:", BASE64_STANDARD.encode(Sha512::digest("{}")));
    let wrong = digest("{ }");
    let md5 = "md5=:mZFLkyvTelC5g8XnyQrpOw==:";
    for (value, expected) in [
        (&*sha256, "passes"),
        (&sha512, "passes"),
        (&format!("{sha512}, {sha256}"), "passes"),
        (&format!("{md5}, {sha256}"), "passes"),
        (&wrong, "digest_mismatch"),
        (&format!("{sha512}, {wrong}"), "digest_mismatch"),
        (md5, "malformed_digest"),
        ("", "malformed_digest"),
        ("sha-256=abc", "malformed_digest"),
        ("sha-256=(:AAAA:)", "malformed_digest"),
        ("sha-256=::", "digest_mismatch"),
        ("SHA-256=:AAAA:", "malformed_digest"),
    ] {
        let mut client = Client::default();
        set(&mut client.incoming, "content-digest", value);
        client.covered[2].1 = value.to_owned();
        let verdict = check(&client.signed()).map_or_else(|error| error.reason(), |_| "passes");
        assert_eq!(verdict, expected, "{value}");
    }
}

#[test]
fn headers_that_cannot_be_read() {
    let ours = Client::default().signed();
    for (name, value, expected) in [
        ("signature-input", "", "malformed_signature_input"),
        ("signature-input", "sig", "malformed_signature_input"),
        ("signature-input", "sig=(", "malformed_signature_input"),
        ("signature-input", "sig=(a b)", "malformed_signature_input"),
        ("signature", "", "malformed_signature"),
        ("signature", "sig=?1", "malformed_signature"),
        ("signature", "sig=:AAAA:", "malformed_signature"),
        ("signature", "other=:AAAA:", "malformed_signature"),
        ("signature", "sig=(:AAAA:)", "malformed_signature"),
        ("signature", "sig=\"AAAA\"", "malformed_signature"),
    ] {
        let mut request = ours.clone();
        set(&mut request, name, value);
        assert_eq!(reason(&request), expected, "{name}: {value}");
    }
    let mut request = ours.clone();
    let long = format!("x=\"{}\"", "a".repeat(MAX_HEADER));
    set(&mut request, "signature-input", &long);
    assert_eq!(reason(&request), "malformed_signature_input");
    for (name, missing) in [
        ("signature", Credential::MessageSignature),
        ("signature-input", Credential::SignatureInput),
    ] {
        let mut request = ours.clone();
        request.headers.remove(name);
        let expected = AuthError::MissingCredentials {
            missing: vec![missing],
            unread: Vec::new(),
        };
        assert_eq!(check(&request).unwrap_err(), expected);
    }
    let mut request = ours;
    request.headers.remove("content-digest");
    assert_eq!(reason(&request), "component_not_supported");
}

#[test]
fn one_scheme_signs_a_request() {
    let mut request = Client::default().signed();
    set(&mut request, "x-did", &did());
    let error = check(&request).unwrap_err();
    assert_eq!(error, AuthError::SeveralSchemes);
    assert_eq!(error.reason(), "ambiguous_credentials");
    // A digest is not a signature.
    let mut request = Client::default().incoming;
    set(&mut request, "x-did", &did());
    assert_eq!(reason(&request), "missing_credentials");
}

/// The text of one scheme is no text of the other, so that no signature serves twice.
#[test]
fn a_signature_of_one_scheme_is_worthless_in_the_other() {
    let client = Client::default();
    let (params, base) = client.base();
    let signature = key().sign(base.as_bytes()).to_bytes();
    let mut other = client.incoming.clone();
    for (name, value) in [
        ("x-did", did()),
        ("x-did-timestamp", NOW.to_string()),
        ("x-did-nonce", "0123456789abcdef".to_owned()),
        ("x-did-signature", hex::encode(signature)),
    ] {
        set(&mut other, name, &value);
    }
    let Err(AuthError::InvalidSignature { signing_string, .. }) = check(&other) else {
        panic!("a message signature has passed as x-did-v1");
    };
    let text = signing_string.as_bytes();
    set(
        &mut other,
        "x-did-signature",
        &hex::encode(key().sign(text).to_bytes()),
    );
    let first = check(&other).unwrap().caller;
    let message = check(&client.signed()).unwrap().caller;
    assert_ne!(first.fingerprint(), message.fingerprint());
    let reused = client.with(&params, &key().sign(text).to_bytes());
    assert_eq!(reason(&reused), "invalid_signature");
}

/// RFC 9421, appendices B.2.6 and B.2.4: the signature bases and the signatures. The gateway refuses both messages,
/// which cover `content-length` and too little, and of which one is a response.
#[test]
fn rfc9421_b_2_6_and_b_2_4() {
    let jwk = |json: &str| {
        let did = format!(
            "did:jwk:{}",
            base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(json)
        );
        DidUrl::parse(&did).unwrap().public_key().unwrap()
    };
    let ed25519 =
        jwk(r#"{"kty":"OKP","crv":"Ed25519","x":"JrQLj5P_89iXES9-vFgrIy29clF9CC_oPPsw3c5D0bs"}"#);
    let p256 = jwk(
        r#"{"kty":"EC","crv":"P-256","x":"qIVYZVLCrPZHGHjP17CTW0_-D9Lfw0EkjqF7xB4FivA","y":"Mc4nN9LTDOBhfoUeg8Ye9WedFRhnZXZJA12Qp0zZ6F0"}"#,
    );
    for (key, values, input, signature) in [
        (
            ed25519,
            &[
                ("\"date\"", "Tue, 20 Apr 2021 02:07:55 GMT"),
                ("\"@method\"", "POST"),
                ("\"@path\"", "/foo"),
                ("\"@authority\"", "example.com"),
                ("\"content-type\"", "application/json"),
                ("\"content-length\"", "18"),
            ][..],
            r#"sig-b26=("date" "@method" "@path" "@authority" "content-type" "content-length");created=1618884473;keyid="test-key-ed25519""#,
            "wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw==",
        ),
        (
            p256,
            &[
                ("\"@status\"", "200"),
                ("\"content-type\"", "application/json"),
                (
                    "\"content-digest\"",
                    "sha-512=:mEWXIS7MaLRuGgxOBdODa3xqM1XdEvxoYhvlCFJ41QJgJc4GTsPp29l5oGX69wWdXymyU0rjJuahq4l5aGgfLQ==:",
                ),
                ("\"content-length\"", "23"),
            ],
            r#"sig-b24=("@status" "content-type" "content-digest" "content-length");created=1618884473;keyid="test-key-ecc-p256""#,
            "wNmSUAhwb5LxtOtOpNa6W5xj067m5hFrj0XQ4fvpaCLx0NKocgPquLgyahnzDnDAUy5eCdlYUEkLIj+32oiasw==",
        ),
    ] {
        let inputs: Dictionary = Parser::new(input).parse().unwrap();
        let (_, list) = used_signature(&inputs).unwrap();
        let values = values.iter().map(|(id, value)| (*id, (*value).to_owned()));
        let text = signing::base(values, &serialized(list));
        let bytes = BASE64_STANDARD.decode(signature).unwrap();
        let signature = signing::signature(&bytes).unwrap();
        assert!(key.verifies(text.as_bytes(), &signature), "{text}");
        assert!(matches!(
            component::read(&list.items),
            Err(MessageError::NotSupported { .. })
        ));
    }
    let sha512 = "sha-512=:mEWXIS7MaLRuGgxOBdODa3xqM1XdEvxoYhvlCFJ41QJgJc4GTsPp29l5oGX69wWdXymyU0rjJuahq4l5aGgfLQ==:";
    let body = b"{\"message\": \"good dog\"}";
    digest::check(&HeaderValue::from_static(sha512), body).unwrap();
}

/// The vectors of web-bot-auth (draft-meunier-web-bot-auth-architecture, test-key-ed25519): our signature base and our
/// signature are theirs, byte for byte. The gateway accepts neither message: their tag is another application's, their
/// `keyid` a JWK's thumbprint, and they cover neither the method nor the path.
#[test]
fn web_bot_auth() {
    let test_key = base64::prelude::BASE64_URL_SAFE_NO_PAD
        .decode("n4Ni-HpISpVObnQMW0wOhCKROaIKqKtW_2ZYb2p9KcU");
    let test_key = SigningKey::from_bytes(&test_key.unwrap().try_into().unwrap());
    let authority = ("\"@authority\"", "example.com");
    let agent = (
        "\"signature-agent\";key=\"agent2\"",
        "\"https://signature-agent.test\"",
    );
    for (values, label, nonce, expected) in [
        (
            &[authority][..],
            "sig1",
            "zIW8+cdmA3vdYagbxojpONwa/l0EKJ/O3/wD486VvsQjO/RxPaSt6ZxvQaMcQzNnqKN/mQ6hpGiFro2L2qkz5A==",
            "QKN4fTdIYfh82fvoZCQiQA1weuozfCS/Led2zTMbewMMqH8PI2Wsy/5c4ao6B6D09nraNQdBNOADg8aM1MqfCg==",
        ),
        (
            &[authority, agent],
            "sig2",
            "n9p433xm+NJ3ph3upfBIGmsuwHw387YV7Q/F+6BSpGCVjYCqQw6rznNA8PVVLySrAWsv0hQtFioQb6E1YsauiA==",
            "RdNFx5Bj6au3YgAMQL/RzmUlZE8QZLIaXGRpw985hWnwPfMxT228NMk6ehRS1PSl4e8PhbNZACSanGdhEwYCCg==",
        ),
    ] {
        let ids: Vec<_> = values.iter().map(|(id, _)| *id).collect();
        let input = format!(
            "{label}=({});created=1735689600;keyid=\"poqkLGiymh_W0uP6PZFw-dvez3QJT5SolqXBCW38r0U\";alg=\"ed25519\";\
             expires=4889289600;nonce=\"{nonce}\";tag=\"web-bot-auth\"",
            ids.join(" ")
        );
        let inputs: Dictionary = Parser::new(&input).parse().unwrap();
        let list = match inputs.get(label) {
            Some(ListEntry::InnerList(list)) => list,
            other => panic!("{other:?}"),
        };
        let texts = values.iter().map(|(id, value)| (*id, (*value).to_owned()));
        let text = signing::base(texts, &serialized(list));
        let made = test_key.sign(text.as_bytes());
        assert_eq!(BASE64_STANDARD.encode(made.to_bytes()), expected, "{text}");

        let mut request = Client::default().incoming;
        set(&mut request, "signature-input", &input);
        set(&mut request, "signature", &format!("{label}=:{expected}:"));
        set(
            &mut request,
            "signature-agent",
            "agent2=\"https://signature-agent.test\"",
        );
        let refusal = check(&request).unwrap_err();
        assert_eq!(refusal.reason(), "malformed_signature_input");
        assert!(
            refusal.to_string().contains("another application"),
            "{refusal}"
        );
        // Beside a signature of ours, theirs is left alone.
        let (ours, base) = Client::default().base();
        let signature = BASE64_STANDARD.encode(key().sign(base.as_bytes()).to_bytes());
        set(
            &mut request,
            "signature-input",
            &format!("{input}, ours={ours}"),
        );
        set(
            &mut request,
            "signature",
            &format!("{label}=:{expected}:, ours=:{signature}:"),
        );
        check(&request).unwrap();
    }
}
