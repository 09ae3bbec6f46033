//! `did:web`: requests signed with keys that lie in documents, which are fetched over TLS from servers on this machine.
//! The names of hosts lead to loopback addresses; of these, only 127.0.0.1 may be connected to, and of the rest what
//! may be in production.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod server;

use std::{net::IpAddr, time::Duration};

use ed25519_dalek::{Signer, SigningKey};
use futures_util::future::{FutureExt, join_all};
use http::{HeaderMap, HeaderName, Method};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use shared::{
    error::Error,
    identity::{
        auth::{AuthError, Authenticated, Authenticator},
        canonical::{CanonicalPath, CanonicalQuery},
        did::{Did, DidUrl, KeyType, PublicKey, Signature},
        documents::{DocumentHosts, Documents, LIFETIME, MAX_DOCUMENT, Network, is_public},
        signing::{self, BodyDigest, Nonce, SignedAt, SignedParts, rfc9421::Draft},
    },
    request::{Incoming, RawQuery},
    respond,
};
use uuid::Uuid;

use self::server::{Authority, Names, Page, Server};

const HOST: &str = "id.example.com";
const NOW: Timestamp = Timestamp::constant(1_735_689_600, 0);
const AUDIENCE: &str = "https://gw.example.com";
const BODY: &str = r#"{"model":"a/b"}"#;

fn later(seconds: i64) -> Timestamp {
    NOW + SignedDuration::from_secs(seconds)
}

fn key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

fn only_here(address: IpAddr) -> bool {
    address == IpAddr::from([127, 0, 0, 1]) || is_public(address)
}

/// A server of documents, its name, and a gateway that trusts its certificate.
struct World {
    authority: Authority,
    server: Server,
    names: Names,
    gateway: Authenticator,
}

impl World {
    fn new() -> Self {
        Self::with("*", only_here)
    }

    fn with(hosts: &str, permits: fn(IpAddr) -> bool) -> Self {
        let authority = Authority::new();
        let server = Server::start(&authority, "127.0.0.1", HOST);
        let names = Names::default();
        names.set(HOST, &[server.address]);
        let network = Network {
            resolver: names.resolver(),
            permits,
            roots: authority.roots(),
        };
        let hosts = DocumentHosts::parse(hosts).unwrap();
        Self {
            authority,
            server,
            names,
            gateway: gateway(Documents::from_network(hosts, network).unwrap()),
        }
    }

    /// The DID of a path at the server.
    fn did(path: &str) -> String {
        format!("did:web:{HOST}:{path}")
    }

    /// Publishes the document of a DID with our key.
    fn publish(&self, path: &str) -> String {
        let did = Self::did(path);
        self.serve(path, Page::json(&document(&did, &multikey(&key()))));
        did
    }

    fn serve(&self, path: &str, page: Page) {
        self.server.serve(&format!("/{path}/did.json"), page);
    }

    /// The reason for which a request is refused, or the DID that it is from.
    async fn verdict(&self, did: &str, now: Timestamp) -> Result<String, &'static str> {
        let request = signed(&format!("{did}#k"), now);
        let verdict = self.gateway.authenticate(&request, now).await;
        verdict
            .map(|it| caller(&it))
            .map_err(|error| error.reason())
    }
}

fn gateway(documents: Documents) -> Authenticator {
    Authenticator::new(
        shared::identity::auth::Audiences::new(vec![AUDIENCE.parse().unwrap()]).unwrap(),
        documents,
    )
}

fn caller(passed: &Authenticated) -> String {
    passed.caller.did().to_string()
}

/// The text of a key in a Multikey: what follows `did:key:`.
fn multikey(key: &SigningKey) -> String {
    let key = PublicKey::from(key.verifying_key());
    let did = Did::from_public_key(&key).to_string();
    did.strip_prefix("did:key:").unwrap().to_owned()
}

fn document(did: &str, key: &str) -> Value {
    json!({
        "@context": ["https://www.w3.org/ns/did/v1", "https://w3id.org/security/multikey/v1"],
        "id": did,
        "verificationMethod": [
            {"id": "#k", "type": "Multikey", "controller": did, "publicKeyMultibase": key},
        ],
        "authentication": [format!("{did}#k")],
    })
}

fn parts<T>(did: &str, now: Timestamp, then: impl FnOnce(&SignedParts<'_>) -> T) -> T {
    let path = CanonicalPath::from_raw("/api/v1/usage").unwrap();
    then(&SignedParts {
        audience: &AUDIENCE.parse().unwrap(),
        did: &DidUrl::parse(did).unwrap(),
        signed_at: &SignedAt::seconds(now).unwrap(),
        nonce: Some(&Nonce::parse("0123456789abcdef").unwrap()),
        method: &Method::POST,
        path: &path,
        query: &CanonicalQuery::from_raw(&RawQuery::Encoded(String::new())).unwrap(),
        body: BodyDigest::of(BODY.as_bytes()),
    })
}

fn incoming(headers: HeaderMap) -> Incoming {
    Incoming {
        method: Method::POST,
        raw_path: "/api/v1/usage".to_owned(),
        stage: None,
        query: RawQuery::Encoded(String::new()),
        headers,
        body: BODY.into(),
    }
}

/// A request signed by `x-did-v1` with our key.
fn signed(did: &str, now: Timestamp) -> Incoming {
    let mut headers = HeaderMap::new();
    parts(did, now, |parts| signing::sign(&key(), parts))
        .apply(&mut headers)
        .unwrap();
    incoming(headers)
}

/// A request with a message signature.
fn message(did: &str, key_type: KeyType, sign: impl FnOnce(&[u8]) -> [u8; 64]) -> Incoming {
    let draft = parts(did, NOW, |parts| {
        Draft::new(parts, BODY.as_bytes(), key_type)
    });
    let signature = Signature::from_bytes(sign(draft.base().as_bytes()));
    let headers = draft
        .headers(&signature)
        .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
    incoming(headers.collect())
}

#[tokio::test]
async fn keys_of_a_document_sign_by_both_schemes() {
    let world = World::new();
    let did = World::did("alice");
    let p256 = p256::ecdsa::SigningKey::from_slice(&[9; 32]).unwrap();
    let point = p256.verifying_key().to_sec1_point(false);
    let base64url = |bytes: &[u8]| {
        use base64::Engine as _;
        base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(bytes)
    };
    let (x, y) = (point.x().unwrap(), point.y().unwrap());
    let mut with_both = document(&did, &multikey(&key()));
    with_both["authentication"]
        .as_array_mut()
        .unwrap()
        .push(json!({
            "id": format!("{did}#phone"),
            "type": "JsonWebKey",
            "controller": did,
            "publicKeyJwk": {"kty": "EC", "crv": "P-256", "x": base64url(x), "y": base64url(y)},
        }));
    world.serve("alice", Page::json(&with_both));

    let sign_p256 = |text: &[u8]| -> [u8; 64] {
        let signature: p256::ecdsa::Signature = p256.sign(text);
        signature.to_bytes().into()
    };
    let (first, phone) = (format!("{did}#k"), format!("{did}#phone"));
    for (request, expected) in [
        (signed(&first, NOW), Ok(did.clone())),
        (
            message(&first, KeyType::Ed25519, |text| key().sign(text).to_bytes()),
            Ok(did.clone()),
        ),
        (message(&phone, KeyType::P256, sign_p256), Ok(did.clone())),
        // By a key of the document that is not the one that is named.
        (
            message(&first, KeyType::P256, sign_p256),
            Err("malformed_signature_input"),
        ),
        (signed(&phone, NOW), Err("invalid_signature")),
        (
            signed(&format!("{did}#other"), NOW),
            Err("key_not_in_did_document"),
        ),
        (signed(&did, NOW), Err("malformed_did")),
    ] {
        let verdict = world.gateway.authenticate(&request, NOW).await;
        assert_eq!(
            verdict.map(|it| caller(&it)).map_err(|it| it.reason()),
            expected
        );
    }
    assert_eq!(world.server.requests(), 1);
}

#[tokio::test]
async fn the_document_of_a_host_without_a_path_or_with_a_port() {
    let world = World::new();
    let here = format!("did:web:{HOST}");
    world.server.serve(
        "/.well-known/did.json",
        Page::json(&document(&here, &multikey(&key()))),
    );
    assert_eq!(world.verdict(&here, NOW).await, Ok(here));

    let port = world.server.address.port();
    let with_port = format!("did:web:{HOST}%3A{port}:users:7");
    world.server.serve(
        "/users/7/did.json",
        Page::json(&document(&with_port, &multikey(&key()))),
    );
    assert_eq!(world.verdict(&with_port, NOW).await, Ok(with_port));
}

#[tokio::test]
async fn only_a_did_with_a_document_is_waited_for_and_only_once() {
    let world = World::new();
    let did_key = Did::from_public_key(&key().verifying_key().into()).to_string();
    let request = signed(&did_key, NOW);
    let at_once = world.gateway.authenticate(&request, NOW).now_or_never();
    assert_eq!(caller(&at_once.unwrap().unwrap()), did_key);
    let at_once = world.gateway.identify(&request, NOW).now_or_never();
    assert!(at_once.unwrap().is_ok());
    assert!(world.names.asked().is_empty());

    let did = world.publish("alice");
    let request = signed(&format!("{did}#k"), NOW);
    assert!(
        world
            .gateway
            .authenticate(&request, NOW)
            .now_or_never()
            .is_none()
    );
    assert!(world.gateway.authenticate(&request, NOW).await.is_ok());
    let asked = world.names.asked();
    let at_once = world.gateway.authenticate(&request, NOW).now_or_never();
    assert_eq!(caller(&at_once.unwrap().unwrap()), did);
    assert_eq!(world.names.asked(), asked);
    assert_eq!(world.server.requests(), 1);
}

#[tokio::test]
async fn off_unless_hosts_are_named_and_then_for_these() {
    let off = gateway(Documents::new(DocumentHosts::parse("").unwrap()).unwrap());
    for did in [
        "did:web:id.example.com#k",
        "did:web:id.example.com",
        "did:web:localhost#k",
    ] {
        let verdict = off
            .authenticate(&signed(did, NOW), NOW)
            .now_or_never()
            .unwrap();
        assert_eq!(
            verdict.unwrap_err().reason(),
            "unsupported_did_method",
            "{did}"
        );
    }

    let world = World::with("id.example.com,other.example.com:8443", only_here);
    let did = world.publish("alice");
    assert_eq!(world.verdict(&did, NOW).await, Ok(did));
    let asked = world.names.asked();
    for unlisted in [
        "did:web:evil.example",
        "did:web:id.example.com.evil.example",
        "did:web:id.example.com%3A8443",
        "did:web:other.example.com",
        "did:web:www.id.example.com",
    ] {
        let request = signed(&format!("{unlisted}#k"), NOW);
        let error = world
            .gateway
            .authenticate(&request, NOW)
            .now_or_never()
            .unwrap()
            .unwrap_err();
        assert_eq!(error.reason(), "did_host_not_allowed", "{unlisted}");
        let response = respond::failure(&Error::from(error), Uuid::nil());
        assert_eq!(response.status(), 403);
        let body = String::from_utf8(response.body().to_vec()).unwrap();
        assert!(body.contains("is not among them"), "{body}");
    }
    assert_eq!(world.names.asked(), asked);
}

#[tokio::test]
async fn a_request_that_no_key_would_make_valid_causes_no_look_up() {
    let world = World::new();
    let did = format!("{}#k", world.publish("alice"));
    let sign = |text: &[u8]| key().sign(text).to_bytes();
    let changed = |name: &'static str, value: &str| {
        let mut request = signed(&did, NOW);
        request.headers.insert(name, value.parse().unwrap());
        (request, NOW)
    };
    let mut other_body = message(&did, KeyType::Ed25519, sign);
    other_body.body = "{}".into();
    let mut other_path = signed(&did, NOW);
    other_path.raw_path = "/api/../x".to_owned();
    for ((request, now), reason) in [
        ((signed(&did, NOW), later(301)), "timestamp_out_of_window"),
        (
            (message(&did, KeyType::Ed25519, sign), later(301)),
            "timestamp_out_of_window",
        ),
        ((other_body, NOW), "digest_mismatch"),
        ((other_path, NOW), "malformed_path"),
        (changed("x-did-signature", "AAAA"), "malformed_signature"),
        (changed("x-did-nonce", "!"), "malformed_nonce"),
        (
            changed("content-encoding", "gzip"),
            "content_encoding_not_supported",
        ),
        (changed("signature-input", "x=()"), "ambiguous_credentials"),
    ] {
        let verdict = world
            .gateway
            .authenticate(&request, now)
            .now_or_never()
            .unwrap();
        assert_eq!(verdict.unwrap_err().reason(), reason);
    }
    assert!(world.names.asked().is_empty());
}

#[tokio::test]
async fn a_removed_key_is_refused_within_the_documents_lifetime() {
    let world = World::new();
    let did = world.publish("alice");
    let lifetime = LIFETIME.as_secs();
    assert_eq!(lifetime, 300);
    assert_eq!(world.verdict(&did, NOW).await, Ok(did.clone()));
    world.serve(
        "alice",
        Page::json(&document(
            &did,
            &multikey(&SigningKey::from_bytes(&[8; 32])),
        )),
    );
    assert_eq!(
        world.verdict(&did, later(lifetime - 1)).await,
        Ok(did.clone())
    );
    assert_eq!(world.server.requests(), 1);
    assert_eq!(
        world.verdict(&did, later(lifetime)).await,
        Err("invalid_signature")
    );
    assert_eq!(world.server.requests(), 2);
    world.serve(
        "alice",
        Page::json(&json!({"id": did, "authentication": []})),
    );
    let gone = world.verdict(&did, later(2 * lifetime)).await;
    assert_eq!(gone, Err("key_not_in_did_document"));
    // A clock that was set back does not keep a document alive.
    assert_eq!(
        world.verdict(&did, NOW).await,
        Err("key_not_in_did_document")
    );
    assert_eq!(world.server.requests(), 4);
}

#[tokio::test]
async fn a_host_that_is_down_is_asked_again_after_30_seconds() {
    let world = World::new();
    let did = world.publish("alice");
    world.serve("alice", Page::status(500));
    let request = signed(&format!("{did}#k"), NOW);
    let error = world.gateway.authenticate(&request, NOW).await.unwrap_err();
    let response = respond::failure(&Error::from(error), Uuid::nil());
    assert_eq!(response.status(), 503);
    assert_eq!(response.headers()["retry-after"], "30");
    assert_eq!(response.headers()["x-should-retry"], "true");
    let body: Value = serde_json::from_slice(response.body()).unwrap();
    assert_eq!(
        body["error"]["metadata"]["reason"],
        "did_document_unavailable"
    );

    world.publish("alice");
    assert_eq!(
        world.verdict(&did, later(29)).await,
        Err("did_document_unavailable")
    );
    assert_eq!(world.server.requests(), 1);
    assert_eq!(world.verdict(&did, later(30)).await, Ok(did.clone()));

    // The document is not used for longer because its host is down.
    world.serve("alice", Page::status(503));
    assert_eq!(world.verdict(&did, later(329)).await, Ok(did.clone()));
    assert_eq!(
        world.verdict(&did, later(330)).await,
        Err("did_document_unavailable")
    );
}

#[tokio::test]
async fn hosts_that_do_not_answer_as_themselves_are_unavailable() {
    let world = World::new();
    let stranger = Authority::new();
    let untrusted = Server::start(&stranger, "127.0.0.1", "untrusted.example.com");
    let misnamed = Server::start(&world.authority, "127.0.0.1", "other.example.com");
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    world
        .names
        .set("untrusted.example.com", &[untrusted.address]);
    world.names.set("misnamed.example.com", &[misnamed.address]);
    world.names.set("closed.example.com", &[closed]);
    let mut causes = Vec::new();
    for host in ["untrusted", "misnamed", "closed", "unknown"] {
        let did = format!("did:web:{host}.example.com");
        let error = world
            .gateway
            .authenticate(&signed(&format!("{did}#k"), NOW), NOW)
            .await
            .unwrap_err();
        assert_eq!(error.reason(), "did_document_unavailable", "{did}");
        // The cause is for the log: it could tell strangers about the gateway's network.
        let told = error.to_string();
        assert!(
            told.ends_with("could not be fetched; try again later"),
            "{told}"
        );
        causes.push(shared::causes::causes(&error));
    }
    for (cause, expected) in causes.iter().zip([
        "invalid peer certificate",
        "not valid for name",
        "refused",
        "no such name",
    ]) {
        assert!(cause.contains(expected), "{cause}");
    }
    for pages in [&untrusted, &misnamed] {
        assert_eq!(pages.requests(), 0);
    }
}

#[tokio::test]
async fn only_public_addresses_are_connected_to() {
    let world = World::with("*", is_public);
    let port = world.server.address.port();
    for addresses in [
        &["127.0.0.1"][..],
        &["::1"],
        &["::ffff:127.0.0.1"],
        &["0.0.0.0"],
        &["127.0.0.1", "169.254.169.254", "10.0.0.1"],
    ] {
        let addresses: Vec<_> = addresses
            .iter()
            .map(|it| (it.parse::<IpAddr>().unwrap(), port).into())
            .collect();
        world.names.set(HOST, &addresses);
        let did = World::did(&format!("alice-{}", world.names.asked().len()));
        let request = signed(&format!("{did}#k"), NOW);
        let error = world.gateway.authenticate(&request, NOW).await.unwrap_err();
        assert_eq!(error.reason(), "did_document_unavailable");
        let cause = shared::causes::causes(&error);
        assert!(cause.contains("no public address"), "{cause}");
    }
    // An address is no name, so that there is nothing to resolve.
    for literal in [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f.1",
        "%5B%3A%3A1%5D",
        "localhost",
    ] {
        let did = format!("did:web:{literal}%3A{port}#k");
        let error = world
            .gateway
            .authenticate(&signed(&did, NOW), NOW)
            .now_or_never()
            .unwrap();
        assert_eq!(error.unwrap_err().reason(), "malformed_did", "{literal}");
    }
    assert_eq!(world.server.connections(), 0);
}

#[tokio::test]
async fn a_name_that_is_rebound_is_checked_at_each_connection() {
    let world = World::new();
    let inside = Server::start(&world.authority, "127.0.0.2", HOST);
    let did = world.publish("alice");
    inside.serve(
        "/alice/did.json",
        Page::json(&document(&did, &multikey(&key()))),
    );
    assert_eq!(world.verdict(&did, NOW).await, Ok(did.clone()));
    world.names.set(HOST, &[inside.address]);
    assert_eq!(
        world.verdict(&did, later(300)).await,
        Err("did_document_unavailable")
    );
    // Beside an address that may be connected to, the other is left out.
    world
        .names
        .set(HOST, &[inside.address, world.server.address]);
    assert_eq!(world.verdict(&did, later(330)).await, Ok(did.clone()));
    // A redirect, even within the host, is a new connection to a name that is resolved again.
    world.serve(
        "bob",
        Page::redirect("/alice/did.json").rebinding(&world.names, HOST, inside.address),
    );
    assert_eq!(
        world.verdict(&World::did("bob"), NOW).await,
        Err("did_document_unavailable")
    );
    assert_eq!(inside.connections(), 0);
}

#[tokio::test]
async fn redirects_are_followed_within_the_host_only() {
    let world = World::new();
    let elsewhere = Server::start(&world.authority, "127.0.0.1", "elsewhere.example.com");
    world
        .names
        .set("elsewhere.example.com", &[elsewhere.address]);
    let port = elsewhere.address.port();
    let did = World::did("alice");
    let page = || Page::json(&document(&did, &multikey(&key())));
    elsewhere.serve("/alice/did.json", page());
    world.server.serve("/moved.json", page());
    world
        .server
        .serve("/loop.json", Page::redirect("/loop.json"));
    world.server.serve("/1.json", Page::redirect("/2.json"));
    world.server.serve(
        "/2.json",
        Page::redirect(&format!("https://{HOST}/moved.json")),
    );
    let mut second = 0;
    for (location, passes) in [
        ("/moved.json".to_owned(), true),
        ("../moved.json".to_owned(), true),
        ("/1.json".to_owned(), true),
        (
            "https://elsewhere.example.com/alice/did.json".to_owned(),
            false,
        ),
        (
            format!("https://elsewhere.example.com:{port}/alice/did.json"),
            false,
        ),
        (format!("https://{HOST}:{port}/alice/did.json"), false),
        (format!("http://{HOST}/moved.json"), false),
        (format!("https://127.0.0.1:{port}/alice/did.json"), false),
        ("http://169.254.169.254/latest/meta-data/".to_owned(), false),
        ("file:///etc/passwd".to_owned(), false),
        ("/loop.json".to_owned(), false),
    ] {
        world.serve("alice", Page::redirect(&location));
        let verdict = world.verdict(&did, later(second)).await;
        let expected = if passes {
            Ok(did.clone())
        } else {
            Err("malformed_did_document")
        };
        assert_eq!(verdict, expected, "{location}");
        second += 300;
    }
    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test]
async fn bodies_are_bounded_plain_and_of_the_did() {
    let world = World::new();
    let did = World::did("alice");
    let text = document(&did, &multikey(&key())).to_string();
    let padded = |length: usize| format!("{text}{}", " ".repeat(length - text.len()));
    let bomb = {
        use std::io::Write as _;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(&vec![b' '; 10 << 20]).unwrap();
        encoder.finish().unwrap()
    };
    assert!(bomb.len() < MAX_DOCUMENT);
    let mut second = 0;
    for (name, page, expected) in [
        (
            "as long as allowed",
            Page::ok(padded(MAX_DOCUMENT)),
            Ok(did.clone()),
        ),
        (
            "chunked",
            Page::ok(padded(MAX_DOCUMENT)).chunked(),
            Ok(did.clone()),
        ),
        (
            "a byte longer",
            Page::ok(padded(MAX_DOCUMENT + 1)),
            Err("malformed_did_document"),
        ),
        ("endless", Page::endless(), Err("malformed_did_document")),
        (
            "a gzip bomb",
            Page::ok(bomb.clone()).with("content-encoding: gzip"),
            Err("malformed_did_document"),
        ),
        (
            "a gzip bomb in disguise",
            Page::ok(bomb),
            Err("malformed_did_document"),
        ),
        (
            "a web page",
            Page::ok("<!doctype html>"),
            Err("malformed_did_document"),
        ),
        ("empty", Page::ok(""), Err("malformed_did_document")),
        (
            "another DID's",
            Page::json(&document(&World::did("bob"), &multikey(&key()))),
            Err("malformed_did_document"),
        ),
        (
            "cut off",
            Page::ok(text.clone()).cut(10),
            Err("did_document_unavailable"),
        ),
        ("none", Page::status(404), Err("malformed_did_document")),
        ("given up", Page::status(410), Err("malformed_did_document")),
        (
            "forbidden",
            Page::status(403),
            Err("malformed_did_document"),
        ),
        (
            "not modified",
            Page::status(304),
            Err("malformed_did_document"),
        ),
        (
            "without content",
            Page::status(204),
            Err("malformed_did_document"),
        ),
        (
            "too often",
            Page::status(429),
            Err("did_document_unavailable"),
        ),
        (
            "failing",
            Page::status(502),
            Err("did_document_unavailable"),
        ),
        (
            "not HTTP",
            Page::raw("SSH-2.0-x\r\n"),
            Err("did_document_unavailable"),
        ),
        (
            "with endless headers",
            Page::endless_headers(),
            Err("did_document_unavailable"),
        ),
    ] {
        world.serve("alice", page);
        assert_eq!(world.verdict(&did, later(second)).await, expected, "{name}");
        second += 300;
    }
}

#[tokio::test]
async fn a_look_up_ends_after_three_seconds() {
    let world = World::new();
    let text = document(&World::did("x"), &multikey(&key())).to_string();
    world.serve("body", Page::ok(text.clone()).dripping());
    world.serve("silent", Page::ok(text).after(Duration::from_mins(1)));
    // Accepts, and never answers the TLS handshake.
    let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    world
        .names
        .set("mute.example.com", &[mute.local_addr().unwrap()]);
    world.names.stall("stalled.example.com");
    let dids = [
        World::did("body"),
        World::did("silent"),
        "did:web:mute.example.com".to_owned(),
        "did:web:stalled.example.com".to_owned(),
    ];
    let began = std::time::Instant::now();
    let verdicts = join_all(dids.iter().map(|did| world.verdict(did, NOW))).await;
    let took = began.elapsed();
    assert_eq!(verdicts, vec![Err("did_document_unavailable"); dids.len()]);
    assert!(
        took >= Duration::from_millis(2_900) && took < Duration::from_secs(6),
        "{took:?}"
    );
}

#[tokio::test]
async fn one_look_up_runs_for_a_did() {
    let world = World::new();
    let text = |did: &str| document(did, &multikey(&key())).to_string();
    let dids = [World::did("alice"), World::did("bob")];
    // Each is answered when the other was asked for, so that they do not wait for each other.
    world.serve("alice", Page::ok(text(&dids[0])).at_request(2));
    world.serve("bob", Page::ok(text(&dids[1])).at_request(2));
    let requests = (0..16).map(|n| world.verdict(&dids[n % 2], NOW));
    for verdict in join_all(requests).await {
        assert!(verdict.is_ok());
    }
    assert_eq!(world.server.requests(), 2);

    // A failure is shared, too.
    let slow = Duration::from_millis(300);
    world.serve("carol", Page::status(500).after(slow));
    let carol = World::did("carol");
    for verdict in join_all((0..8).map(|_| world.verdict(&carol, NOW))).await {
        assert_eq!(verdict, Err("did_document_unavailable"));
    }
    assert_eq!(world.server.requests(), 3);

    // A caller that goes away leaves the look-up to the next.
    world.serve("dave", Page::ok(text(&World::did("dave"))).after(slow));
    let dave = World::did("dave");
    let impatient = tokio::time::timeout(slow / 3, world.verdict(&dave, NOW));
    let (impatient, patient) = tokio::join!(impatient, world.verdict(&dave, NOW));
    assert!(impatient.is_err());
    assert_eq!(patient, Ok(dave));
}

/// A flood of made-up DIDs costs the memory of a bounded number of entries, and no document of one that exists.
#[tokio::test]
async fn failures_do_not_displace_documents() {
    let world = World::with(HOST, only_here);
    let did = world.publish("alice");
    assert_eq!(world.verdict(&did, NOW).await, Ok(did.clone()));
    let made_up: Vec<_> = (0..300)
        .map(|n| World::did(&format!("nobody-{n}")))
        .collect();
    for (second, some) in (0..).zip(made_up.chunks(30)) {
        let now = later(second);
        for verdict in join_all(some.iter().map(|did| world.verdict(did, now))).await {
            assert_eq!(verdict, Err("malformed_did_document"));
        }
    }
    let requests = world.server.requests();
    assert_eq!(requests, 301);
    assert_eq!(world.verdict(&did, later(60)).await, Ok(did));
    assert_eq!(world.server.requests(), requests);
    // The oldest failure gave way to a later one, which is still known.
    assert_eq!(
        world.verdict(&made_up[299], later(9)).await,
        Err("malformed_did_document")
    );
    assert_eq!(world.server.requests(), requests);
    assert_eq!(
        world.verdict(&made_up[0], later(9)).await,
        Err("malformed_did_document")
    );
    assert_eq!(world.server.requests(), requests + 1);
}

#[test]
fn no_error_shows_more_than_it_should() {
    let error = AuthError::from(shared::identity::documents::DocumentError::Unavailable {
        url: "https://id.example.com/.well-known/did.json"
            .parse()
            .unwrap(),
        cause: shared::identity::documents::FetchError::Connection("10.0.0.1 refused".to_owned()),
    });
    let response = respond::failure(&Error::from(error), Uuid::nil());
    let body = String::from_utf8(response.body().to_vec()).unwrap();
    assert!(!body.contains("10.0.0.1"), "{body}");
}
