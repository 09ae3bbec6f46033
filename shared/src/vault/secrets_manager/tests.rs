use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    process::{Child, Command, Stdio},
    sync::Arc,
};

use jiff::Timestamp;
use tracing::Level;

use super::{log::Log, *};
use crate::{
    http_client,
    vault::{
        keyset::Keyset,
        secret::{ApiKey, KeyId},
    },
};

const NOW: Timestamp = Timestamp::constant(1_790_000_000, 0);

fn source(port: u16) -> SecretSource {
    source_at(format!("http://127.0.0.1:{port}"), Duration::from_secs(1))
}

fn source_at(endpoint_url: String, connect_timeout: Duration) -> SecretSource {
    let http = http_client::build(http_client::web_roots(), connect_timeout).unwrap();
    let location = SecretLocation {
        secret_id: "llm-gateway/keyset".to_owned(),
        region: "us-east-1".to_owned(),
        endpoint_url: Some(endpoint_url),
        lifetime: KEYSET_LIFETIME,
    };
    SecretSource::new(http, location, &credentials())
}

fn credentials() -> AwsCredentials {
    AwsCredentials {
        access_key_id: "AKIDPLANTED".to_owned(),
        secret_access_key: Zeroizing::new("planted-secret-access-key".to_owned()),
        session_token: Some(Zeroizing::new("planted-session-token".to_owned())),
    }
}

/// The error as a log shows it, and as `Debug` shows it.
fn everything(error: &FetchError) -> String {
    std::iter::successors(Some(error as &dyn Error), |error| (*error).source())
        .map(|error| format!("{error:?}\n{error}"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// Answers one request with `status` and `body`; returns the request.
fn answer_once(status: &'static str, body: &'static str) -> (u16, std::thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut seen = vec![0; 4096];
        let mut len = 0;
        while !seen[..len].ends_with(b"}") {
            len += stream.read(&mut seen[len..]).unwrap();
        }
        let head = format!("HTTP/1.1 {status}\r\nx-amzn-requestid: req-1\r\n");
        let length = body.len();
        write!(stream, "{head}content-length: {length}\r\n\r\n{body}").unwrap();
        String::from_utf8(seen[..len].to_vec()).unwrap()
    });
    (port, server)
}

#[tokio::test]
async fn asks_for_the_secret_with_a_signed_request() {
    let (port, server) = answer_once(
        "200 OK",
        r#"{"Name":"llm-gateway/keyset","SecretString":"planted-keyset"}"#,
    );
    let log = Log::default();
    let guard = log.capture(Level::TRACE);
    let text = source(port).fetch().await.unwrap();
    drop(guard);
    assert_eq!(*text, "planted-keyset");
    // The SDK tells a lot, at this level, but not this.
    assert!(log.text().contains("GetSecretValue"));
    assert!(!log.text().contains("planted"), "{}", log.text());

    let request = server.join().unwrap();
    assert!(request.starts_with("POST / HTTP/1.1\r\n"), "{request}");
    for part in [
        "x-amz-target: secretsmanager.GetSecretValue\r\n",
        "x-amz-security-token: planted-session-token\r\n",
        "authorization: AWS4-HMAC-SHA256 Credential=AKIDPLANTED/",
        "/us-east-1/secretsmanager/aws4_request",
        r#"{"SecretId":"llm-gateway/keyset"}"#,
    ] {
        assert!(request.contains(part), "{part} in {request}");
    }
    assert!(!request.contains("planted-secret-access-key"));
}

#[tokio::test]
async fn a_refusal_names_code_and_request() {
    let (port, _) = answer_once(
        "400 Bad Request",
        r#"{"__type":"AccessDeniedException","Message":"not authorized"}"#,
    );
    let error = source(port).fetch().await.unwrap_err();
    insta::assert_snapshot!(error, @"Secrets Manager refused: AccessDeniedException: not authorized (request req-1)");
}

#[tokio::test]
async fn a_binary_secret_is_refused() {
    let (port, _) = answer_once("200 OK", r#"{"SecretBinary":"AAAA"}"#);
    let error = source(port).fetch().await.unwrap_err();
    assert!(matches!(error, FetchError::NotText), "{error:?}");
}

/// The SDK's own error holds the whole response.
#[tokio::test]
async fn an_unreadable_answer_is_not_shown() {
    let (port, _) = answer_once("200 OK", r#"{"SecretString":"planted-keyset", oops"#);
    let error = source(port).fetch().await.unwrap_err();
    assert!(
        matches!(error, FetchError::Unreadable { status: 200 }),
        "{error:?}"
    );
    assert!(!everything(&error).contains("planted"));
}

/// Time is paused: the timers fire as soon as nothing else can happen.
#[tokio::test(start_paused = true)]
async fn silence_times_out() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let started = tokio::time::Instant::now();
    let error = source(port).fetch().await.unwrap_err();
    assert!(matches!(error, FetchError::TimedOut), "{error:?}");
    assert!(started.elapsed() <= OPERATION_TIMEOUT + Duration::from_millis(10));
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_not_established_counts_as_silence() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // The TLS handshake is not answered, and the client gives up on each attempt before the
    // SDK does.
    let error = source_at(format!("https://{address}"), Duration::from_millis(100))
        .fetch()
        .await
        .unwrap_err();
    assert!(matches!(error, FetchError::TimedOut), "{error:?}");
}

#[tokio::test]
async fn a_closed_port_is_unreachable_and_its_cause_is_kept() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let error = source(port).fetch().await.unwrap_err();
    assert!(matches!(error, FetchError::Unreachable(_)), "{error:?}");
    let text = everything(&error);
    assert!(text.contains("Connection refused"), "{text}");
    assert!(!text.contains("planted"), "{text}");
}

#[test]
fn debug_shows_no_credentials() {
    let shown = format!("{:?} {:?}", credentials(), source(1));
    assert!(!shown.contains("planted"), "{shown}");
}

/// moto, an independent implementation of the service.
struct Moto {
    server: Child,
    port: u16,
}

impl Moto {
    #[expect(
        clippy::disallowed_methods,
        reason = "the interpreter is the machine's, not the gateway's configuration"
    )]
    async fn start() -> Self {
        let python = std::env::var("ORACLE_PYTHON").expect("ORACLE_PYTHON names a Python");
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let mut moto = Self {
            server: Command::new(python)
                .args(["-m", "moto.server", "-p", &port.to_string()])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap(),
            port,
        };
        for _ in 0..600 {
            if tokio::net::TcpStream::connect(("127.0.0.1", port))
                .await
                .is_ok()
            {
                return moto;
            }
            assert_eq!(moto.server.try_wait().unwrap(), None, "moto ended");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("moto did not start in a minute");
    }

    fn stop(&mut self) {
        self.server.kill().unwrap();
        self.server.wait().unwrap();
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

#[tokio::test]
#[ignore = "needs ORACLE_PYTHON"]
async fn the_whole_way_through_an_outage_and_a_rotation() {
    let mut moto = Moto::start().await;
    let source = source(moto.port);
    let cache = KeysetCache::new(source.clone());

    let error = source.fetch().await.unwrap_err();
    assert!(
        matches!(&error, FetchError::Refused { code, .. } if code == "ResourceNotFoundException"),
        "{error:?}"
    );
    assert!(matches!(
        cache.get(NOW).await,
        Err(KeysetError::Unavailable(_))
    ));

    let first = Keyset::generate(&Zeroizing::new([1; 64]), KeyId(1));
    let created = source
        .client
        .create_secret()
        .name(&source.secret_id)
        .secret_string(first.as_str())
        .send()
        .await
        .unwrap();
    assert!(created.arn().unwrap().contains("secretsmanager"));
    let sealed = cache
        .get(NOW)
        .await
        .unwrap()
        .seal("did:a", &ApiKey::new("sk-or".to_owned()).unwrap());
    let key = cache.open("did:a", &sealed, NOW).await.unwrap();
    assert_eq!(key.expose_secret(), "sk-or");

    // Another writer already uses a new key; this cache is still young.
    let second = Keyset::generate(&Zeroizing::new([2; 64]), KeyId(2));
    source
        .client
        .put_secret_value()
        .secret_id(&source.secret_id)
        .secret_string(second.as_str())
        .send()
        .await
        .unwrap();
    let newer = Keyset::parse(&second)
        .unwrap()
        .seal("did:a", &ApiKey::new("sk-or-2".to_owned()).unwrap());
    let key = cache.open("did:a", &newer, NOW).await.unwrap();
    assert_eq!(key.expose_secret(), "sk-or-2");

    moto.stop();
    let later = NOW + jiff::SignedDuration::from_hours(1);
    let key = cache.open("did:a", &newer, later).await.unwrap();
    assert_eq!(key.expose_secret(), "sk-or-2");
    let error = source.fetch().await.unwrap_err();
    assert!(matches!(error, FetchError::Unreachable(_)), "{error:?}");

    let empty = Arc::new(KeysetCache::new(source));
    assert!(matches!(
        empty.get(later).await,
        Err(KeysetError::Unavailable(_))
    ));
}
