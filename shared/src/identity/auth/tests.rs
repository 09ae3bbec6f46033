use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use ed25519_dalek::{Signer, SigningKey, Verifier, VerifyingKey};
use http::{HeaderValue, Method};
use proptest::{collection::vec, prelude::*};
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::*;
use crate::{
    identity::{
        did::{Did, DidUrl, PublicKey, Signature},
        signing::{self, BodyDigest, Nonce, SignedAt, SignedParts},
    },
    request::RawQuery,
};

const NOW: i64 = 1_735_689_600;
const MAX_BODY: usize = 1024;

fn key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

fn did_of(key: &SigningKey) -> Did {
    Did::from_public_key(&key.verifying_key().into())
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn audiences(texts: &[&str]) -> Audiences {
    Audiences::new(texts.iter().map(|text| text.parse().unwrap()).collect()).unwrap()
}

fn encoded(query: &str) -> RawQuery {
    RawQuery::Encoded(query.to_owned())
}

/// A request as a client means it. `incoming` signs it, and the event's path is the signed one.
struct Client<'a> {
    did: String,
    audience: &'a str,
    signed_at: &'a str,
    nonce: Option<&'a str>,
    method: Method,
    path: &'a str,
    query: &'a str,
    body: &'static str,
}

impl Default for Client<'_> {
    fn default() -> Self {
        Self {
            did: did_of(&key()).to_string(),
            audience: "https://gw.example.com",
            signed_at: "1735689600",
            nonce: Some("0123456789abcdef"),
            method: Method::POST,
            path: "/api/v1/openrouter/chat/completions",
            query: "a=1&b=2",
            body: "{}",
        }
    }
}

impl Client<'_> {
    fn incoming(&self) -> Incoming {
        let path = CanonicalPath::from_raw(self.path).unwrap();
        let query = CanonicalQuery::from_raw(&encoded(self.query)).unwrap();
        let nonce = self.nonce.map(|nonce| Nonce::parse(nonce).unwrap());
        let signed = signing::sign(
            &key(),
            &SignedParts {
                audience: &self.audience.parse().unwrap(),
                did: &DidUrl::parse(&self.did).unwrap(),
                signed_at: &SignedAt::parse(self.signed_at).unwrap(),
                nonce: nonce.as_ref(),
                method: &self.method,
                path: &path,
                query: &query,
                body: BodyDigest::of(self.body.as_bytes()),
            },
        );
        let mut headers = HeaderMap::new();
        signed.apply(&mut headers).unwrap();
        Incoming {
            method: self.method.clone(),
            raw_path: self.path.to_owned(),
            stage: None,
            query: encoded(self.query),
            headers,
            body: self.body.into(),
        }
    }
}

fn check(request: &Incoming) -> Result<Authenticated, AuthError> {
    let audiences = audiences(&["https://gw.example.com"]);
    authenticate(request, &audiences, MAX_BODY, at(NOW))
}

fn reason(request: &Incoming) -> &'static str {
    check(request).unwrap_err().reason()
}

fn set(request: &mut Incoming, name: &'static str, value: &str) {
    let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
    request.headers.insert(name, value);
}

#[test]
fn a_signed_request_has_a_caller() {
    let request = Client::default().incoming();
    let Authenticated {
        caller,
        path,
        query,
    } = check(&request).unwrap();
    assert_eq!(caller.did(), &did_of(&key()));
    assert!(caller.replay_guard(&Method::GET).is_some());
    assert_eq!(caller.fingerprint_expires_at(), at(NOW + 360));
    assert_eq!(path.as_str(), "/api/v1/openrouter/chat/completions");
    assert_eq!(query.as_str(), "a=1&b=2");

    let signed = [
        "x-did-v1",
        "https://gw.example.com",
        caller.did().as_str(),
        "1735689600",
        "0123456789abcdef",
        "POST",
        "/api/v1/openrouter/chat/completions",
        "a=1&b=2",
        "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
    ];
    let digest = Sha256::digest(signed.join("\n"));
    assert_eq!(caller.fingerprint().as_bytes()[..], digest[..]);
    assert_eq!(caller.fingerprint().to_string(), hex::encode(digest));
}

#[test]
fn a_did_is_known_without_its_fragment() {
    let did = did_of(&key());
    let identifier = did.as_str().trim_start_matches("did:key:");
    let with_fragment = format!("{did}#{identifier}");
    let x = BASE64_URL_SAFE_NO_PAD.encode(key().verifying_key().as_bytes());
    let jwk = format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}"}}"#);
    let jwk = format!("did:jwk:{}", BASE64_URL_SAFE_NO_PAD.encode(jwk));
    let jwk_with_fragment = format!("{jwk}#0");
    for (sent, stored) in [
        (with_fragment, did.as_str()),
        (jwk.clone(), &jwk),
        (jwk_with_fragment, &jwk),
    ] {
        let client = Client {
            did: sent,
            ..Client::default()
        };
        let caller = check(&client.incoming()).unwrap().caller;
        assert_eq!(caller.did().as_str(), stored);
    }
}

/// A request as `x-did-v1` has it, but signed with P-256, by its did:key and its did:jwk.
#[test]
fn p256_signs_as_ed25519_does() {
    let secret = p256::ecdsa::SigningKey::from_slice(&[7; 32]).unwrap();
    let key = PublicKey::from(*secret.verifying_key());
    let did_key = Did::from_public_key(&key).to_string();
    let point = secret.verifying_key().to_sec1_point(false);
    let [x, y] = [&point.as_bytes()[1..33], &point.as_bytes()[33..]]
        .map(|it| BASE64_URL_SAFE_NO_PAD.encode(it));
    let jwk = format!(r#"{{"kty":"EC","crv":"P-256","x":"{x}","y":"{y}"}}"#);
    let did_jwk = format!("did:jwk:{}", BASE64_URL_SAFE_NO_PAD.encode(jwk));
    let mut fingerprints = Vec::new();
    for did in [did_key, did_jwk] {
        let client = Client {
            did: did.clone(),
            ..Client::default()
        };
        let mut request = client.incoming();
        // Signed by the Ed25519 key, with the DID of the other one.
        assert_eq!(reason(&request), "invalid_signature");
        let Err(AuthError::InvalidSignature { signing_string, .. }) = check(&request) else {
            panic!("a signature of another key has passed");
        };
        let signature: p256::ecdsa::Signature = secret.sign(signing_string.as_bytes());
        set(
            &mut request,
            signing::SIGNATURE,
            &hex::encode(signature.to_bytes()),
        );
        let caller = check(&request).unwrap().caller;
        assert_eq!(caller.did().as_str(), did);
        // The other s is another signature of the same request.
        let other = p256::ecdsa::Signature::from_scalars(signature.r(), -signature.s()).unwrap();
        set(
            &mut request,
            signing::SIGNATURE,
            &hex::encode(other.to_bytes()),
        );
        assert_eq!(
            check(&request).unwrap().caller.fingerprint(),
            caller.fingerprint()
        );
        fingerprints.push(caller.fingerprint());

        let der = hex::encode(signature.to_der().as_bytes());
        set(&mut request, signing::SIGNATURE, &der);
        assert_eq!(reason(&request), "malformed_signature");
        request.body = "{ }".into();
        set(
            &mut request,
            signing::SIGNATURE,
            &hex::encode(signature.to_bytes()),
        );
        assert_eq!(reason(&request), "invalid_signature");
    }
    assert_ne!(fingerprints[0], fingerprints[1]);
}

type Tampering<'a> = &'a dyn Fn(&mut Incoming);

#[test]
fn every_signed_part_counts() {
    let other = did_of(&SigningKey::from_bytes(&[8; 32])).to_string();
    let own = did_of(&key()).to_string();
    let with_fragment = format!("{own}#{}", own.trim_start_matches("did:key:"));
    let tamperings: [(&str, Tampering<'_>); 18] = [
        ("another DID", &|r| set(r, signing::DID, &other)),
        ("the DID's fragment", &|r| {
            set(r, signing::DID, &with_fragment);
        }),
        ("a later time", &|r| {
            set(r, signing::TIMESTAMP, "1735689601");
        }),
        ("the same time in ms", &|r| {
            set(r, signing::TIMESTAMP, "1735689600000");
        }),
        ("another nonce", &|r| {
            set(r, signing::NONCE, "0123456789abcdeg");
        }),
        ("no nonce", &|r| drop(r.headers.remove(signing::NONCE))),
        ("another method", &|r| r.method = Method::PUT),
        ("a method in lower case", &|r| {
            r.method = "post".parse().unwrap();
        }),
        ("another path", &|r| {
            r.raw_path = "/api/v1/openrouter/chat".to_owned();
        }),
        ("a trailing slash", &|r| r.raw_path.push('/')),
        ("another value", &|r| r.query = encoded("a=1&b=3")),
        ("one more parameter", &|r| r.query = encoded("a=1&b=2&c=")),
        ("one less", &|r| r.query = encoded("a=1")),
        ("no query", &|r| r.query = encoded("")),
        ("another body", &|r| r.body = "{ }".into()),
        ("no body", &|r| r.body = "".into()),
        ("body and query exchanged", &|r| {
            r.body = "a=1&b=2".into();
            r.query = encoded("{}");
        }),
        ("a bit of the signature", &|r| {
            let signature = r.headers[signing::SIGNATURE].to_str().unwrap();
            let mut bytes = signing::parse_signature(signature).unwrap().to_bytes();
            bytes[40] ^= 1;
            set(r, signing::SIGNATURE, &hex::encode(bytes));
        }),
    ];
    for (what, tamper) in tamperings {
        let mut request = Client::default().incoming();
        check(&request).unwrap();
        tamper(&mut request);
        assert_eq!(reason(&request), "invalid_signature", "{what}");
    }

    // Signed without a nonce, it cannot be given one.
    let client = Client {
        nonce: None,
        ..Client::default()
    };
    let mut request = client.incoming();
    assert!(
        check(&request)
            .unwrap()
            .caller
            .replay_guard(&Method::GET)
            .is_none()
    );
    set(&mut request, signing::NONCE, "0123456789abcdef");
    assert_eq!(reason(&request), "invalid_signature");
}

#[test]
fn a_request_is_for_one_gateway() {
    for elsewhere in [
        "https://gw.example.org",
        "http://gw.example.com",
        "https://gw.example.com:8443",
        "https://gw.example.com/Prod",
    ] {
        let client = Client {
            audience: elsewhere,
            ..Client::default()
        };
        let mut request = client.incoming();
        // Host proves nothing.
        set(&mut request, "host", "gw.example.com");
        assert_eq!(reason(&request), "invalid_signature", "{elsewhere}");
    }
}

#[test]
fn audiences_are_tried_in_order() {
    let request = Client::default().incoming();
    let check = |texts: &[&str]| authenticate(&request, &audiences(texts), MAX_BODY, at(NOW));
    let last = [
        "https://a",
        "https://b",
        "https://c",
        "https://gw.example.com",
    ];
    check(&last).unwrap();

    let Err(AuthError::InvalidSignature {
        signing_string,
        audiences_tried,
    }) = check(&last[..3])
    else {
        panic!("the right audience is not among these");
    };
    assert_eq!(audiences_tried, 3);
    assert_eq!(signing_string.as_str().lines().nth(1), Some("https://a"));

    assert_eq!(Audiences::new(Vec::new()), Err(AudienceCount { given: 0 }));
    let five = vec!["https://a".parse().unwrap(); 5];
    assert_eq!(Audiences::new(five), Err(AudienceCount { given: 5 }));
}

#[test]
fn prefixes_of_event_paths() {
    let host = "https://abc123.execute-api.us-east-1.amazonaws.com";
    let prod = &format!("{host}/Prod");
    let api = &format!("{host}/api");
    for (audience, stage, event_path, signed_path) in [
        // Function URL; `cargo lambda watch`; HTTP API with $default.
        (host, None, "/api/v1/usage", "/api/v1/usage"),
        // REST API on its default domain: the event leaves the stage out.
        (prod, Some("Prod"), "/api/v1/usage", "/api/v1/usage"),
        (prod, Some("Prod"), "/", "/"),
        // HTTP API with a stage: the event has it.
        (prod, Some("Prod"), "/Prod/api/v1/usage", "/api/v1/usage"),
        (prod, Some("Prod"), "/Prod", "/"),
        (prod, Some("Prod"), "/Prod/", "/"),
        // Behind a custom domain without base path.
        (host, Some("Prod"), "/Prod/api/v1/usage", "/api/v1/usage"),
        // A custom domain with a base path that is not the stage's name.
        (
            &format!("{host}/gw/eu"),
            Some("Prod"),
            "/gw/eu/api/v1/usage",
            "/api/v1/usage",
        ),
        (
            &format!("{host}/gw"),
            Some("Prod"),
            "/Prod/api/v1/usage",
            "/api/v1/usage",
        ),
        // Only one prefix is taken off.
        (prod, Some("Prod"), "/Prod/Prod/x", "/Prod/x"),
        (&format!("{host}/gw"), Some("Prod"), "/gw/Prod/x", "/Prod/x"),
        // Neither a part of a segment nor a later segment.
        (prod, Some("Prod"), "/Prodigy/x", "/Prodigy/x"),
        (prod, Some("Prod"), "/api/Prod/x", "/api/Prod/x"),
        (prod, Some("Prod"), "/prod/x", "/prod/x"),
        // A stage that is called like the first segment of every route.
        (api, Some("api"), "/api/v1/usage", "/api/v1/usage"),
        (api, Some("api"), "/api/api/v1/usage", "/api/v1/usage"),
        // An escape in the prefix or after it.
        (
            prod,
            Some("Prod"),
            "/%50rod/api/v1/us%61ge",
            "/api/v1/usage",
        ),
    ] {
        let client = Client {
            audience,
            path: signed_path,
            ..Client::default()
        };
        let request = Incoming {
            raw_path: event_path.to_owned(),
            stage: stage.map(str::to_owned),
            ..client.incoming()
        };
        // The wrong audiences around it have prefixes of their own.
        let audiences = audiences(&["https://x/api", audience, "https://x/Prod"]);
        let checked = authenticate(&request, &audiences, MAX_BODY, at(NOW));
        let path = checked.map(|checked| checked.path.to_string());
        assert_eq!(path.as_deref(), Ok(signed_path), "{audience} {event_path}");
    }
}

#[test]
fn what_a_prefix_is_not() {
    for (stage, event_path, signed_path) in [
        ("Prod", "/Prodigy/x", "/igy/x"),
        ("Prod", "/api/Prod/x", "/api/x"),
        ("Prod", "/api/Prod/x", "/x"),
        ("Prod", "/Prod/Prod/x", "/x"),
        ("Prod", "/x", "/Prod/x"),
        ("", "/x", "/"),
    ] {
        let client = Client {
            path: signed_path,
            ..Client::default()
        };
        let request = Incoming {
            raw_path: event_path.to_owned(),
            stage: Some(stage.to_owned()),
            ..client.incoming()
        };
        assert_eq!(reason(&request), "invalid_signature", "{event_path}");
    }
}

#[test]
fn missing_headers_are_named() {
    use Credential::{Did, Signature, Timestamp};
    for missing in [
        &[Did][..],
        &[Timestamp],
        &[Signature],
        &[Did, Signature],
        &[Did, Timestamp, Signature],
    ] {
        let mut request = Client::default().incoming();
        for header in missing {
            request.headers.remove(header.header());
        }
        let error = check(&request).unwrap_err();
        assert_eq!(error.reason(), "missing_credentials");
        assert_eq!(
            error,
            AuthError::MissingCredentials {
                missing: missing.to_vec(),
                unread: Vec::new(),
            }
        );
        let names: Vec<_> = missing.iter().map(|header| header.header()).collect();
        assert!(error.to_string().ends_with(&names.join(", ")));
    }
}

#[test]
fn credentials_of_other_services_are_named_and_never_quoted() {
    for (sent, named) in [
        (
            &[(
                "authorization",
                "DIDAuthV1 did=\"did:key:z6Mk\",sig=\"s3cret\"",
            )][..],
            "authorization was sent",
        ),
        (
            &[("authorization", "Bearer sk-or-v1-s3cret")],
            "authorization was sent",
        ),
        (&[("x-api-key", "sk-or-v1-s3cret")], "x-api-key was sent"),
        (
            &[("x-api-key", "s3cret"), ("authorization", "Basic s3cret")],
            "authorization and x-api-key were sent",
        ),
    ] {
        let mut request = Client::default().incoming();
        for header in Scheme::XDidV1.headers() {
            request.headers.remove(*header);
        }
        for (name, value) in sent {
            set(&mut request, name, value);
        }
        let error = check(&request).unwrap_err();
        assert_eq!(error.reason(), "missing_credentials");
        let text = error.to_string();
        assert!(text.contains(named), "{text}");
        assert!(text.contains("docs/use/signing.md") && text.contains("llmgw serve"));
        assert!(!format!("{text}{error:?}").contains("s3cret"), "{text}");
    }
    // Whoever signs may send them: SDKs always do.
    let mut request = Client::default().incoming();
    set(&mut request, "authorization", "Bearer unused");
    assert!(check(&request).is_ok());
}

#[test]
fn header_grammars() {
    let request = Client::default().incoming();
    let signature = request.headers[signing::SIGNATURE].to_str().unwrap();
    let did = request.headers[signing::DID].to_str().unwrap();
    for (name, value, expected) in [
        (signing::DID, "", "malformed_did"),
        (signing::DID, "alice", "malformed_did"),
        (signing::DID, "did:key:é", "malformed_did"),
        (signing::DID, "did:key:z0", "malformed_did"),
        (signing::DID, &format!("{did},{did}"), "malformed_did"),
        (signing::DID, &format!("{did}, {did}"), "malformed_did"),
        (signing::DID, &format!("{did}#other"), "malformed_did"),
        (
            signing::DID,
            &format!("did:x:{}", "a".repeat(510)),
            "malformed_did",
        ),
        (signing::DID, "did:example:123", "unsupported_did_method"),
        (
            signing::DID,
            "did:key:zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme",
            "unsupported_key_type",
        ),
        (signing::TIMESTAMP, "", "malformed_timestamp"),
        (signing::TIMESTAMP, "now", "malformed_timestamp"),
        (signing::TIMESTAMP, "17356896000", "malformed_timestamp"),
        (
            signing::TIMESTAMP,
            "1735689600,1735689600",
            "malformed_timestamp",
        ),
        (signing::TIMESTAMP, "1735689600é", "malformed_timestamp"),
        (signing::SIGNATURE, "", "malformed_signature"),
        (signing::SIGNATURE, "...", "malformed_signature"),
        (
            signing::SIGNATURE,
            &format!("u{signature}"),
            "malformed_signature",
        ),
        (
            signing::SIGNATURE,
            &format!("{signature},{signature}"),
            "malformed_signature",
        ),
        (signing::NONCE, "", "malformed_nonce"),
        (signing::NONCE, "short", "malformed_nonce"),
        (
            signing::NONCE,
            "0123456789abcdef,0123456789abcdef",
            "malformed_nonce",
        ),
        (signing::NONCE, &"a".repeat(129), "malformed_nonce"),
    ] {
        let mut request = request.clone();
        set(&mut request, name, value);
        assert_eq!(reason(&request), expected, "{name}: {value}");
    }
}

#[test]
fn repeated_headers() {
    for header in [
        Credential::Did,
        Credential::Timestamp,
        Credential::Signature,
        Credential::Nonce,
    ] {
        let mut request = Client::default().incoming();
        let name = header.header();
        let same = request.headers[name].clone();
        request.headers.append(name, same);
        assert_eq!(check(&request).unwrap_err(), AuthError::Repeated(header));
        assert_eq!(
            reason(&request),
            name.replacen("x-did-", "malformed_", 1)
                .replace("x-did", "malformed_did")
        );
    }
}

#[test]
fn timestamp_window() {
    let request = Client::default().incoming();
    let in_millis = Client {
        signed_at: "1735689600250",
        ..Client::default()
    };
    let in_millis = in_millis.incoming();
    let audiences = audiences(&["https://gw.example.com"]);
    let nanosecond = SignedDuration::from_nanos(1);
    for (request, signed_at) in [
        (request, at(NOW)),
        (in_millis, at(NOW) + SignedDuration::from_millis(250)),
    ] {
        let check = |now| authenticate(&request, &audiences, MAX_BODY, now);
        check(signed_at + TIMESTAMP_WINDOW).unwrap();
        check(signed_at - TIMESTAMP_WINDOW).unwrap();
        for server_time in [
            signed_at + TIMESTAMP_WINDOW + nanosecond,
            signed_at - TIMESTAMP_WINDOW - nanosecond,
            Timestamp::MIN,
            Timestamp::MAX,
        ] {
            let error = check(server_time).unwrap_err();
            assert_eq!(error.reason(), "timestamp_out_of_window");
            assert!(error.to_string().contains(&server_time.to_string()));
            assert_eq!(
                error,
                AuthError::TimestampOutOfWindow {
                    signed_at,
                    server_time
                }
            );
        }
    }
}

#[test]
fn bodies() {
    let request = Client::default().incoming();
    let audiences = audiences(&["https://gw.example.com"]);
    authenticate(&request, &audiences, 2, at(NOW)).unwrap();
    let error = authenticate(&request, &audiences, 1, at(NOW)).unwrap_err();
    assert_eq!(error, AuthError::BodyTooLarge { size: 2, max: 1 });
    assert_eq!(error.reason(), "body_too_large");

    for (value, accepted) in [
        ("identity", true),
        ("Identity", true),
        (" identity , identity ", true),
        ("", true),
        ("gzip", false),
        ("br", false),
        ("identity, gzip", false),
        ("identityx", false),
        ("é", false),
    ] {
        let mut request = request.clone();
        set(&mut request, "content-encoding", value);
        let refused = check(&request).err().map(|error| error.reason());
        let expected = (!accepted).then_some("content_encoding_not_supported");
        assert_eq!(refused, expected, "{value}");
    }
    let mut twice = request;
    set(&mut twice, "content-encoding", "identity");
    let gzip = HeaderValue::from_static("gzip");
    twice.headers.append("content-encoding", gzip);
    assert_eq!(reason(&twice), "content_encoding_not_supported");
}

#[test]
fn targets_without_canonical_form() {
    let mut request = Client::default().incoming();
    request.raw_path = "/api/v1/openrouter/..%2fkeys".to_owned();
    assert_eq!(reason(&request), "malformed_path");
    let mut request = Client::default().incoming();
    request.query = encoded("a=%zz");
    assert_eq!(reason(&request), "malformed_query");
}

/// The first fault in the order of verification is the one that is told.
#[test]
fn verification_order() {
    let mut request = Client::default().incoming();
    request.headers.remove(signing::SIGNATURE);
    set(&mut request, signing::DID, "alice");
    set(&mut request, signing::TIMESTAMP, "1735680000");
    request.body = vec![0; MAX_BODY + 1].into();
    assert_eq!(reason(&request), "missing_credentials");
    set(&mut request, signing::SIGNATURE, &"00".repeat(64));
    assert_eq!(reason(&request), "malformed_did");
    set(&mut request, signing::DID, "did:example:123");
    assert_eq!(reason(&request), "timestamp_out_of_window");
    set(&mut request, signing::TIMESTAMP, "1735689600");
    assert_eq!(reason(&request), "body_too_large");
    request.body = "{}".into();
    assert_eq!(reason(&request), "unsupported_did_method");
    set(&mut request, signing::DID, did_of(&key()).as_str());
    assert_eq!(reason(&request), "invalid_signature");
}

#[test]
fn fingerprints() {
    let fingerprint = |request: &Incoming| check(request).unwrap().caller.fingerprint();
    let mut request = Client::default().incoming();
    let first = fingerprint(&request);
    let signature = request.headers[signing::SIGNATURE].to_str().unwrap();
    let url = signature.to_owned();
    let hex = hex::encode(signing::parse_signature(&url).unwrap().to_bytes());
    for spelling in [
        format!("{url}=="),
        url.replace('-', "+").replace('_', "/"),
        format!("v1={url}"),
        hex.to_uppercase(),
        hex,
    ] {
        set(&mut request, signing::SIGNATURE, &spelling);
        assert_eq!(fingerprint(&request), first, "{spelling}");
    }
    // Other spellings of the target, headers that are not signed.
    request.raw_path = "/api/v1/openrouter/ch%61t/completions".to_owned();
    request.query = encoded("b=%32&a=1");
    set(&mut request, "user-agent", "another");
    assert_eq!(fingerprint(&request), first);

    for other in [
        Client {
            nonce: Some("0123456789abcdeg"),
            ..Client::default()
        },
        Client {
            nonce: None,
            ..Client::default()
        },
        Client {
            signed_at: "1735689601",
            ..Client::default()
        },
    ] {
        assert_ne!(fingerprint(&other.incoming()), first);
    }
}

/// Signatures that other implementations made.
#[test]
fn vectors() {
    let vectors: Value =
        serde_json::from_str(include_str!("../../../testdata/x_did_v1.json")).unwrap();
    for case in vectors["cases"].as_array().unwrap() {
        let text = |name: &str| case[name].as_str().unwrap();
        let mut request = Incoming {
            method: text("method").parse().unwrap(),
            raw_path: text("path").to_owned(),
            stage: Some("Prod".to_owned()),
            query: encoded(text("query")),
            headers: HeaderMap::new(),
            body: text("body").to_owned().into(),
        };
        set(&mut request, signing::DID, text("did"));
        set(&mut request, signing::TIMESTAMP, text("ts"));
        set(&mut request, signing::SIGNATURE, text("sig"));
        if !text("nonce").is_empty() {
            set(&mut request, signing::NONCE, text("nonce"));
        }
        let audiences = audiences(&[text("aud"), "https://elsewhere"]);
        let check = |request: &Incoming| authenticate(request, &audiences, MAX_BODY, at(NOW));

        let checked = check(&request).unwrap();
        assert_eq!(checked.caller.did().as_str(), text("did"));
        let with_stage = Incoming {
            raw_path: format!("/Prod{}", text("path")),
            ..request.clone()
        };
        let checked_with_stage = check(&with_stage).unwrap();
        assert_eq!(checked_with_stage.path, checked.path);

        set(&mut request, signing::SIGNATURE, &"00".repeat(64));
        let Err(AuthError::InvalidSignature {
            signing_string,
            audiences_tried: 2,
        }) = check(&request)
        else {
            panic!("a signature of zeros has passed");
        };
        assert_eq!(signing_string.as_str(), text("canonical"));
    }
}

proptest! {
    // Unoptimised signatures are slow; the parts have more cases of their own.
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// One request through a REST API, an HTTP API with a stage and a Function URL.
    #[test]
    fn every_event_format_gives_one_request(
        segments in vec("[a-zA-Z0-9:._-]{1,6}x", 1..4),
        pairs in vec(("[a-c +%&=é]{0,3}", any::<String>()), 0..4),
    ) {
        let path = format!("/{}", segments.join("/"));
        let escaped = path.replace('a', "%61").replace(':', "%3a");
        let query = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(&pairs)
            .finish();
        let client = Client { path: &path, query: &query, ..Client::default() };
        let signed = client.incoming();
        let expected = check(&signed).unwrap();
        let stage = Some("Prod".to_owned());
        for request in [
            Incoming { raw_path: escaped, ..signed.clone() },
            Incoming { raw_path: format!("/Prod{path}"), stage: stage.clone(), ..signed.clone() },
            Incoming {
                stage,
                query: RawQuery::Decoded(pairs.into_iter().rev().collect()),
                ..signed.clone()
            },
        ] {
            let checked = check(&request).unwrap();
            prop_assert_eq!(&checked.path, &expected.path);
            prop_assert_eq!(checked.path.as_str(), path.as_str());
            prop_assert_eq!(&checked.query, &expected.query);
            prop_assert_eq!(checked.caller.fingerprint(), expected.caller.fingerprint());
        }
    }

    #[test]
    fn only_the_owner_of_the_key(seed: [u8; 32]) {
        prop_assume!(seed != [7; 32]);
        let mut request = Client::default().incoming();
        let AuthError::InvalidSignature { signing_string, .. } = ({
            set(&mut request, signing::SIGNATURE, &"00".repeat(64));
            check(&request).unwrap_err()
        }) else {
            panic!("a signature of zeros has passed");
        };
        let forged = SigningKey::from_bytes(&seed).sign(signing_string.as_bytes());
        set(&mut request, signing::SIGNATURE, &hex::encode(forged.to_bytes()));
        prop_assert_eq!(reason(&request), "invalid_signature");
    }
}

/// R is the neutral element and S = H(R, A, M)·a: the plain equation holds, but R commits to
/// nothing.
#[test]
fn verification_is_strict() {
    let signature = "\
            0100000000000000000000000000000000000000000000000000000000000000\
            da24dd301f3fcaf1c146f65c196ec2bd17c39a49daf98b27130be7c9642a180a";
    let signature = signing::parse_signature(signature).unwrap();
    let key = key().verifying_key();
    let plain = ed25519_dalek::Signature::from_bytes(&signature.to_bytes());
    assert!(Verifier::verify(&key, b"any message", &plain).is_ok());
    assert!(!PublicKey::from(key).verifies(b"any message", &signature));
}

fn third_party<T: for<'de> Deserialize<'de>>(file: &str) -> T {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/vectors");
    let text = std::fs::read_to_string(format!("{folder}/{file}")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Whether a signature over a message passes from header to verification.
fn passes(key: &str, message: &str, signature: &str) -> bool {
    let key = [&[0xed, 0x01][..], &hex::decode(key).unwrap()].concat();
    let did = format!("did:key:z{}", bs58::encode(key).into_string());
    let key = DidUrl::parse(&did).unwrap().public_key();
    let signature = signing::parse_signature(signature);
    match (key, signature) {
        (Ok(key), Ok(signature)) => key.verifies(&hex::decode(message).unwrap(), &signature),
        _ => false,
    }
}

/// Only case 3 (counted from 0) is a signature in good standing: mixed-order key and R, and yet
/// the equation holds without the cofactor.
#[test]
fn speccheck() {
    #[derive(Deserialize)]
    struct Case {
        message: String,
        pub_key: String,
        signature: String,
    }
    let cases: Vec<Case> = third_party("ed25519_speccheck.json");
    assert_eq!(cases.len(), 12);
    let passing: Vec<_> = (0..)
        .zip(&cases)
        .filter(|(_, c)| passes(&c.pub_key, &c.message, &c.signature))
        .map(|(index, _)| index)
        .collect();
    assert_eq!(passing, [3]);

    // `verify_strict` alone says the same: the checks of the key come on top of it.
    let strict: Vec<_> = (0..)
        .zip(&cases)
        .filter(|(_, c)| {
            let key = hex::decode(&c.pub_key).unwrap().try_into().unwrap();
            let signature = hex::decode(&c.signature).unwrap().try_into().unwrap();
            let signature = Signature::from_bytes(signature);
            let message = hex::decode(&c.message).unwrap();
            VerifyingKey::from_bytes(&key)
                .is_ok_and(|key| PublicKey::from(key).verifies(&message, &signature))
        })
        .map(|(index, _)| index)
        .collect();
    assert_eq!(strict, [3]);
}

#[test]
fn wycheproof() {
    let vectors: Value = third_party("ed25519_test.json");
    let mut seen = 0;
    for group in vectors["testGroups"].as_array().unwrap() {
        let key = group["publicKey"]["pk"].as_str().unwrap();
        for test in group["tests"].as_array().unwrap() {
            let text = |name: &str| test[name].as_str().unwrap();
            let valid = match text("result") {
                "valid" => true,
                "invalid" => false,
                other => panic!("a result of another kind: {other}"),
            };
            assert_eq!(passes(key, text("msg"), text("sig")), valid, "{test}");
            seen += 1;
        }
    }
    assert_eq!(vectors["numberOfTests"], seen);
}
