//! `llmgw serve` between programs and a gateway that is as strict as the real one.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    process::{Child, ChildStderr, ChildStdout, Command},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use shared::request::MAX_BODY;

use crate::{
    gateway::{AUDIENCE, Gateway},
    user::{User, text},
};

/// Longer than anything here takes; a test that waits for it has failed.
const PATIENCE: Duration = Duration::from_secs(20);
const TOKEN: &str = "a-token-of-the-tests";

/// The result of the check at the start, if nothing is missing.
const CHECKED: &str = "The gateway answers, and has a key for this identity.\n";

/// A running proxy of a user.
struct Serve {
    user: User,
    child: Child,
    stdout: BufReader<ChildStdout>,
    stderr: BufReader<ChildStderr>,
    /// The lines that it printed on its start.
    announced: String,
    /// The lines of stderr that were read.
    said: String,
    /// `127.0.0.1:4117`
    address: String,
}

impl Serve {
    fn start(gateway: &str, args: &[&str]) -> Self {
        let user = User::new();
        let mut command = user.command(&["serve", "--port", "0", "--gateway", gateway]);
        let mut child = command
            .args(["--audience", AUDIENCE])
            .args(args)
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let mut announced = String::new();
        for _ in 0..9 {
            stdout.read_line(&mut announced).unwrap();
        }
        let address = announced
            .lines()
            .find_map(|line| line.strip_prefix("export ANTHROPIC_BASE_URL='http://"));
        let address = address
            .expect("an address")
            .trim_end_matches('\'')
            .to_owned();
        Self {
            user,
            child,
            stdout,
            stderr,
            announced,
            said: String::new(),
            address,
        }
    }

    fn before(gateway: &Gateway, args: &[&str]) -> Self {
        let mut serve = Self::start(&gateway.url(), args);
        serve.wait_for(CHECKED);
        // The check at the start.
        gateway.forget();
        serve
    }

    /// Reads stderr until a line contains `text`.
    fn wait_for(&mut self, text: &str) {
        loop {
            let before = self.said.len();
            self.stderr.read_line(&mut self.said).unwrap();
            let line = &self.said[before..];
            assert!(!line.is_empty(), "it ended without {text:?}: {}", self.said);
            if line.contains(text) {
                return;
            }
        }
    }

    /// A connection over which requests are written as they are.
    fn connect(&self) -> Wire {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Wire(BufReader::new(stream))
    }

    /// The response to `POST path` with a body `{}` and some headers, sent over a new connection.
    fn post(&self, path: &str, headers: &str) -> Answer {
        let mut wire = self.connect();
        wire.send(&format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\n{headers}content-length: 2\r\n\r\n{{}}"
        ));
        wire.answer()
    }

    fn get(&self, path: &str, headers: &str) -> Answer {
        let mut wire = self.connect();
        wire.send(&format!(
            "GET {path} HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n"
        ));
        wire.answer()
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let kill = Command::new("kill").args(["-s", name, &id]).status();
        assert!(kill.unwrap().success());
    }

    /// Ends it. Returns everything that it printed.
    fn stop(mut self) -> String {
        self.signal("TERM");
        let status = self.child.wait().unwrap();
        assert_eq!(status.code(), Some(0));
        let mut said = std::mem::take(&mut self.announced);
        self.stdout.read_to_string(&mut said).unwrap();
        said += &self.said;
        self.stderr.read_to_string(&mut said).unwrap();
        assert!(!said.contains(&self.user.secret()), "{said}");
        said
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One connection to the proxy.
struct Wire(BufReader<TcpStream>);

impl Wire {
    fn send(&mut self, bytes: &str) {
        self.0.get_mut().write_all(bytes.as_bytes()).unwrap();
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line.trim_end_matches("\r\n").to_owned()
    }

    fn head(&mut self) -> Answer {
        let status_line = self.line();
        let status = status_line.split(' ').nth(1);
        let status = status.and_then(|status| status.parse().ok());
        let mut headers = Vec::new();
        loop {
            let line = self.line();
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(": ").unwrap();
            headers.push((name.to_owned(), value.to_owned()));
        }
        Answer {
            status: status.unwrap_or_else(|| panic!("{status_line:?}")),
            headers,
            body: Vec::new(),
        }
    }

    /// A chunk of a body without a length; empty at the end.
    fn chunk(&mut self) -> Vec<u8> {
        let length = usize::from_str_radix(&self.line(), 16).unwrap();
        let mut chunk = vec![0; length];
        self.0.read_exact(&mut chunk).unwrap();
        assert_eq!(self.line(), "");
        chunk
    }

    fn answer(&mut self) -> Answer {
        let mut answer = self.head();
        match answer.header("content-length") {
            Some(length) => {
                answer.body = vec![0; length.parse().unwrap()];
                self.0.read_exact(&mut answer.body).unwrap();
            }
            None if answer.status != 204 => loop {
                let chunk = self.chunk();
                if chunk.is_empty() {
                    break;
                }
                answer.body.extend(chunk);
            },
            None => {}
        }
        answer
    }
}

struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(it, _)| it == name);
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} comes twice");
        value
    }

    fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), Some("application/json"));
        serde_json::from_slice(&self.body).unwrap()
    }

    fn reason(&self) -> Value {
        self.json()["error"]["metadata"]["reason"].clone()
    }
}

#[test]
fn it_tells_where_it_is() {
    let gateway = Gateway::start();
    let serve = Serve::before(&gateway, &[]);
    let address = serve.address.clone();
    assert!(address.starts_with("127.0.0.1:"), "{address}");
    assert_eq!(
        serve.announced,
        format!(
            "export OPENAI_BASE_URL='http://{address}/v1'\n\
             export OPENAI_API_BASE='http://{address}/v1'\nexport OPENAI_API_KEY='unused'\n\
             export ANTHROPIC_BASE_URL='http://{address}'\n\
             export ANTHROPIC_AUTH_TOKEN='unused'\nexport ANTHROPIC_API_KEY=''\n\
             export OPENROUTER_BASE_URL='http://{address}/api/v1'\n\
             export OPENROUTER_API_BASE='http://{address}/api/v1'\n\
             export OPENROUTER_API_KEY='unused'\n"
        )
    );
    let did = serve.user.did.clone();
    let said = serve.stop();
    assert!(said.contains(&format!("Signing as {did} for {}", gateway.url())));
    assert!(said.contains("also those of other users"), "{said}");
}

#[test]
fn what_requests_would_meet_is_told_at_the_start() {
    let gateway = Gateway::start();
    let said = Serve::before(&gateway, &[]).stop();
    assert!(!said.contains("llmgw: the"), "{said}");

    // The result of the check comes when it comes.
    let faulty = |url: &str, fault: &str| {
        let mut serve = Serve::start(url, &[]);
        serve.wait_for(fault);
        let said = serve.stop();
        assert!(!said.contains(CHECKED), "{said}");
        said
    };
    let no_key = r#"{"error":{"message":"Store one.","metadata":{"reason":"no_key_for_did"}}}"#;
    gateway.answer("GET /api/v1/keys", 402, no_key);
    let said = faulty(&gateway.url(), "(no_key_for_did)");
    assert!(said.contains("`llmgw connect`"), "{said}");

    let other = r#"{"error":{"message":"No.","metadata":{"reason":"invalid_signature",
        "signing_string":"x-did-v1\nhttps://other.example.com\nGET"}}}"#;
    gateway.answer("GET /api/v1/keys", 401, other);
    faulty(
        &gateway.url(),
        "the gateway checks signatures for https://other.example.com; if",
    );

    // It starts without a gateway, too.
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr();
    faulty(&format!("http://{}", nobody.unwrap()), "cannot be reached");
}

#[test]
fn the_variables_do_not_wait_for_a_gateway_that_hangs() {
    // Connections are accepted by the system, and never answered.
    let hanging = TcpListener::bind("127.0.0.1:0").unwrap();
    let begun = Instant::now();
    let mut serve = Serve::start(&format!("http://{}", hanging.local_addr().unwrap()), &[]);
    let announced = begun.elapsed();
    assert_eq!(serve.post("/nowhere", "").status, 404);
    serve.wait_for("does not answer within 5 s");
    assert!(begun.elapsed() >= Duration::from_secs(5));
    assert!(announced < Duration::from_secs(3), "{announced:?}");
    serve.stop();
}

#[test]
fn requests_arrive_signed_and_without_what_is_the_callers_own() {
    let gateway = Gateway::start();
    let serve = Serve::before(&gateway, &[]);
    let mut wire = serve.connect();
    wire.send(
        "POST /v1/echo?b=2&a=1 HTTP/1.1\r\nHost: localhost:1\r\nContent-Length: 5\r\n\
         Authorization: Bearer sk-planted\r\nx-api-key: sk-planted\r\napi-key: sk-planted\r\n\
         Cookie: sk-planted\r\nConnection: keep-alive, x-hop\r\nx-hop: 1\r\nTE: trailers\r\n\
         Proxy-Authorization: sk-planted\r\nx-did: did:key:forged\r\nx-did-nonce: forged\r\n\
         Referer: http://localhost/private\r\nHTTP-Referer: https://app.example.com\r\n\
         X-Title: My app\r\nanthropic-beta: a,b\r\nUser-Agent: test/1\r\n\
         Accept-Encoding: gzip\r\nContent-Type: text/plain\r\n\r\n\x00\x01{}\n",
    );
    let answer = wire.answer();
    assert_eq!(answer.status, 200, "{}", text(&answer.body));
    assert_eq!(answer.body, b"\x00\x01{}\n");
    assert_eq!(answer.header("content-type"), Some("text/plain"));
    assert_eq!(answer.header("x-gateway-request-id"), Some("r-1"));
    for name in [
        "set-cookie",
        "strict-transport-security",
        "access-control-allow-origin",
    ] {
        assert_eq!(answer.header(name), None, "{name}");
    }

    let request = gateway.received().pop().unwrap();
    assert_eq!(request.did, serve.user.did);
    assert_eq!(request.raw.raw_path, "/api/v1/openrouter/echo");
    let names: Vec<_> = request
        .raw
        .headers
        .keys()
        .map(http::HeaderName::as_str)
        .collect();
    let mut sorted = names.clone();
    sorted.sort_unstable();
    assert_eq!(
        sorted,
        [
            "accept",
            "accept-encoding",
            "anthropic-beta",
            "content-length",
            "content-type",
            "host",
            "http-referer",
            "user-agent",
            "x-did",
            "x-did-nonce",
            "x-did-signature",
            "x-did-timestamp",
            "x-title",
        ]
    );
    assert_eq!(request.raw.headers["user-agent"], "test/1");
    assert!(!format!("{:?}", request.raw.headers).contains("planted"));
}

#[test]
fn every_base_url_leads_to_the_gateway() {
    let gateway = Gateway::start();
    let serve = Serve::before(&gateway, &[]);
    for (local, remote) in [
        ("/v1/models", "/api/v1/openrouter/models"),
        (
            "/v1/messages/count_tokens",
            "/api/v1/openrouter/messages/count_tokens",
        ),
        ("/api/v1/models", "/api/v1/openrouter/models"),
        ("/api/v1/openrouter/models", "/api/v1/openrouter/models"),
        ("/messages", "/api/v1/openrouter/messages"),
        ("/models", "/api/v1/openrouter/models"),
        ("/api/v1/usage?start_date=2026-01-01", "/api/v1/usage"),
    ] {
        assert_eq!(serve.get(local, "").status, 200, "{local}");
        assert_eq!(gateway.received().pop().unwrap().raw.raw_path, remote);
    }
}

#[test]
fn curl_works_as_it_is() {
    let gateway = Gateway::start();
    let serve = Serve::before(&gateway, &["--token", TOKEN]);
    // More than what curl sends without being asked to (`Expect: 100-continue`).
    let body: Vec<u8> = (0..3_000_000_u32)
        .flat_map(u32::to_le_bytes)
        .take(3_000_000)
        .collect();
    let file = serve.user.home.path().join("body.bin");
    std::fs::write(&file, &body).unwrap();
    let url = format!("http://{}/v1/echo", serve.address);
    let output = Command::new("curl")
        .args([
            "-sS",
            "--fail-with-body",
            "-H",
            &format!("Authorization: Bearer {TOKEN}"),
        ])
        .args(["--data-binary", &format!("@{}", file.display()), &url])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(output.stdout == body, "{} bytes", output.stdout.len());
}

/// The gateway's first piece comes out before it has sent the second.
#[test]
fn an_answer_passes_as_it_arrives() {
    let gateway = Gateway::start();
    let serve = Serve::before(&gateway, &[]);
    let mut wire = serve.connect();
    wire.send("POST /v1/stream HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\n{}");
    let stream = gateway.stream();
    let head = wire.head();
    assert_eq!(head.status, 200);
    assert_eq!(head.header("content-type"), Some("text/event-stream"));
    for piece in [
        ": OPENROUTER PROCESSING\n\n",
        "data: {\"a\":\"\u{4f60}",
        "\"}\n",
        "\ndata: [DONE]\n\n",
    ] {
        stream.send(piece);
        assert_eq!(text(&wire.chunk()), piece);
    }
    stream.end();
    assert_eq!(wire.chunk(), b"");
}

#[test]
fn a_connection_serves_many_requests() {
    let gateway = Gateway::start();
    let serve = Serve::before(&gateway, &[]);
    // The connection of the check may not be free again yet.
    assert_eq!(serve.post("/v1/echo", "").status, 200);
    let opened = gateway.connections();
    assert!(opened <= 2, "{opened}");
    gateway.forget();
    let mut wire = serve.connect();
    for number in 0..5 {
        let body = format!("request {number}");
        wire.send(&format!(
            "POST /v1/echo HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ));
        assert_eq!(text(&wire.answer().body), body);
        // Refusals do not end it either.
        wire.send("POST /nowhere HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\n{}");
        assert_eq!(wire.answer().status, 404);
    }
    assert_eq!(gateway.received().len(), 5);
    assert_eq!(gateway.connections(), opened);
}

#[test]
fn fifty_streams_run_side_by_side() {
    let gateway = Gateway::start();
    let serve = Serve::before(&gateway, &[]);
    let mut wires: Vec<Wire> = (0..50).map(|_| serve.connect()).collect();
    let streams: Vec<_> = wires
        .iter_mut()
        .map(|wire| {
            wire.send("POST /v1/stream HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\n{}");
            let stream = gateway.stream();
            assert_eq!(wire.head().status, 200);
            stream
        })
        .collect();
    // All are open. They go on in the other direction, a piece each.
    for round in 0..3 {
        for (number, (wire, stream)) in wires.iter_mut().zip(&streams).enumerate().rev() {
            let piece = format!("data: {round} {number}\n\n");
            stream.send(&piece);
            assert_eq!(text(&wire.chunk()), piece);
        }
    }
    for (wire, stream) in wires.iter_mut().zip(streams) {
        stream.end();
        assert_eq!(wire.chunk(), b"");
    }
    let nonces: std::collections::HashSet<_> = gateway
        .received()
        .into_iter()
        .map(|request| request.raw.headers["x-did-nonce"].clone())
        .collect();
    assert_eq!(nonces.len(), 50);
}

#[test]
fn a_caller_who_leaves_ends_the_request() {
    let gateway = Gateway::start();
    let serve = Serve::before(&gateway, &[]);
    // In the middle of the answer, and before it has begun.
    for path in ["/v1/stream", "/v1/silent"] {
        let mut wire = serve.connect();
        wire.send(&format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\n{{}}"
        ));
        let stream = gateway.stream();
        if path == "/v1/stream" {
            stream.send("data: 1\n\n");
            wire.head();
            wire.chunk();
        }
        wire.0.get_ref().shutdown(Shutdown::Both).unwrap();
        drop(wire);
        assert!(
            stream.is_left(PATIENCE),
            "{path}: the gateway goes on answering"
        );
    }
}

/// A streamed answer, of which the first piece has arrived.
fn streaming(serve: &Serve, gateway: &Gateway) -> (Wire, crate::gateway::Stream) {
    let mut wire = serve.connect();
    wire.send("POST /v1/stream HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\n{}");
    let stream = gateway.stream();
    stream.send("data: 1\n\n");
    wire.head();
    assert_eq!(wire.chunk(), b"data: 1\n\n");
    (wire, stream)
}

#[test]
fn an_answer_that_breaks_off_does_not_look_whole() {
    let gateway = Gateway::start();
    let serve = Serve::before(&gateway, &[]);
    let (mut wire, stream) = streaming(&serve, &gateway);
    stream.break_off();
    let mut rest = Vec::new();
    // An end of the connection, or a reset: anything but the last chunk.
    let _ = wire.0.read_to_end(&mut rest);
    assert_eq!(rest, b"");
    let said = serve.stop();
    assert!(
        said.contains("llmgw: POST /v1/stream failed: the gateway's response broke off"),
        "{said}"
    );
}

#[test]
fn only_this_machines_names_lead_to_it() {
    let gateway = Gateway::start();
    let serve = Serve::before(&gateway, &["--allow-host", "host.docker.internal"]);
    let status = |host: &str| {
        let mut wire = serve.connect();
        wire.send(&format!("GET /v1/models HTTP/1.1\r\n{host}\r\n"));
        wire.answer().status
    };
    assert_eq!(status("Host: localhost\r\n"), 200);
    assert_eq!(status(&format!("Host: {}\r\n", serve.address)), 200);
    assert_eq!(status("Host: host.docker.internal:4117\r\n"), 200);
    let before = gateway.received().len();
    for host in [
        "Host: evil.example.com\r\n",
        "Host: localhost.evil.example.com\r\n",
        "",
    ] {
        assert_eq!(status(host), 403, "{host}");
    }
    let mut wire = serve.connect();
    wire.send("POST /v1/chat/completions HTTP/1.1\r\nHost: evil.example.com\r\ncontent-length: 2\r\n\r\n{}");
    let answer = wire.answer();
    let message = answer.json()["error"]["message"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(message.contains("--allow-host"), "{message}");
    assert_eq!(gateway.received().len(), before, "nothing was sent");
}

#[test]
fn pages_cannot_use_it_unless_allowed() {
    let gateway = Gateway::start();
    let page = "https://app.example.com";
    let serve = Serve::before(&gateway, &["--allow-origin", page, "--token", TOKEN]);
    let token = format!("authorization: Bearer {TOKEN}\r\n");
    // Requests that a form or a script of any page can make a browser send.
    for origin in ["https://evil.example.com", "null", "http://localhost:4117"] {
        let headers = format!("{token}origin: {origin}\r\ncontent-type: text/plain\r\n");
        let answer = serve.post("/api/v1/chat/completions", &headers);
        assert_eq!(
            (answer.status, answer.reason()),
            (403, json!("origin_not_allowed"))
        );
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
    let image = serve.get(
        "/api/v1/models",
        &format!("{token}sec-fetch-site: cross-site\r\n"),
    );
    assert_eq!(
        (image.status, image.reason()),
        (403, json!("origin_not_allowed"))
    );
    assert!(gateway.received().is_empty());

    // The allowed one asks first, without the token.
    let preflight = |origin: &str| {
        let mut wire = serve.connect();
        wire.send(&format!(
            "OPTIONS /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\norigin: {origin}\r\n\
             access-control-request-method: POST\r\n\
             access-control-request-headers: authorization,content-type\r\n\
             access-control-request-private-network: true\r\n\r\n"
        ));
        wire.answer()
    };
    assert_eq!(preflight("https://evil.example.com").status, 403);
    let answer = preflight(page);
    assert_eq!(answer.status, 204);
    for (name, value) in [
        ("access-control-allow-origin", page),
        ("access-control-allow-methods", "POST"),
        ("access-control-allow-headers", "authorization,content-type"),
        ("access-control-allow-private-network", "true"),
        ("vary", "origin"),
    ] {
        assert_eq!(answer.header(name), Some(value));
    }
    assert!(gateway.received().is_empty());
    let headers = format!("{token}origin: {page}\r\nsec-fetch-site: cross-site\r\n");
    let answer = serve.post("/v1/echo", &headers);
    assert_eq!(
        (answer.status, answer.body.as_slice()),
        (200, b"{}".as_slice())
    );
    assert_eq!(answer.header("access-control-allow-origin"), Some(page));
    let sent = gateway.received().pop().unwrap().raw.headers;
    assert!(!sent.contains_key("origin") && !sent.contains_key("sec-fetch-site"));
    // It can read why it is refused.
    let answer = serve.post("/v1/echo", &format!("origin: {page}\r\n"));
    assert_eq!(answer.status, 401);
    assert_eq!(answer.header("access-control-allow-origin"), Some(page));
}

#[test]
fn the_token_is_asked_for_and_not_told() {
    let gateway = Gateway::start();
    let serve = Serve::before(&gateway, &["--verbose", "--token", TOKEN]);
    for (headers, status) in [
        (format!("authorization: Bearer {TOKEN}\r\n"), 200),
        (format!("x-api-key: {TOKEN}\r\n"), 200),
        (String::new(), 401),
        (format!("authorization: Bearer {TOKEN}x\r\n"), 401),
        (format!("authorization: {TOKEN}\r\n"), 401),
        ("x-api-key: a-wrong-planted-token\r\n".to_owned(), 401),
    ] {
        let answer = serve.post("/v1/echo?key=planted", &headers);
        assert_eq!(answer.status, status, "{headers}");
        assert!(!text(&answer.body).contains(TOKEN));
    }
    assert_eq!(gateway.received().len(), 2);
    assert!(
        serve
            .announced
            .contains(&format!("export OPENAI_API_KEY='{TOKEN}'\n"))
    );
    let said = serve.stop().replace(&format!("_API_KEY='{TOKEN}'"), "");
    let said = said.replace(&format!("_AUTH_TOKEN='{TOKEN}'"), "");
    assert!(said.contains("llmgw: POST /v1/echo 200\n"), "{said}");
    assert!(said.contains("llmgw: POST /v1/echo 401\n"), "{said}");
    for secret in [TOKEN, "planted"] {
        assert!(!said.contains(secret), "{said}");
    }
}

#[test]
fn a_generated_token_works_and_is_another_each_time() {
    let gateway = Gateway::start();
    let token = |serve: &Serve| {
        let mut lines = serve.announced.lines();
        let token = lines.find_map(|line| line.strip_prefix("export OPENAI_API_KEY='"));
        let token = token.unwrap();
        token.strip_suffix('\'').unwrap().to_owned()
    };
    let serve = Serve::before(&gateway, &["--generate-token"]);
    let one = token(&serve);
    assert_eq!(one.len(), 32);
    assert_eq!(
        serve
            .post("/v1/echo", &format!("x-api-key: {one}\r\n"))
            .status,
        200
    );
    assert_eq!(serve.post("/v1/echo", "x-api-key: unused\r\n").status, 401);
    let other = Serve::before(&gateway, &["--generate-token"]);
    assert_ne!(one, token(&other));
}

#[test]
fn it_listens_beyond_this_machine_only_with_a_token() {
    let user = User::new();
    let args = [
        "serve",
        "--port",
        "0",
        "--gateway",
        "https://gw",
        "--bind",
        "0.0.0.0",
    ];
    let output = user.run(&args);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stdout), "");
    let message = text(&output.stderr);
    assert!(
        message.contains("at 0.0.0.0 others can reach it"),
        "{message}"
    );
    assert!(message.contains("--generate-token"), "{message}");

    let gateway = Gateway::start();
    let serve = Serve::before(&gateway, &["--bind", "0.0.0.0", "--token", TOKEN]);
    assert!(serve.address.starts_with("127.0.0.1:"));
    assert_eq!(serve.post("/v1/echo", "").status, 401);
    assert_eq!(
        serve
            .post("/v1/echo", &format!("x-api-key: {TOKEN}\r\n"))
            .status,
        200
    );
    let mut wire = serve.connect();
    wire.send(&format!(
        "GET /v1/models HTTP/1.1\r\nhost: evil.example.com\r\nx-api-key: {TOKEN}\r\n\r\n"
    ));
    assert_eq!(wire.answer().status, 403);
}

#[test]
fn weak_tokens_and_odd_origins_are_refused_at_the_start() {
    let user = User::new();
    for (args, explanation) in [
        (
            ["--token", "weak-secret"],
            "a token is 16 to 256 visible ASCII characters",
        ),
        (
            ["--allow-origin", "*"],
            "an origin is a scheme, a host and an optional port",
        ),
        (["--bind", "localhost"], "invalid IP address"),
    ] {
        let args = [vec!["serve", "--gateway", "https://gw"], args.to_vec()].concat();
        let output = user.run(&args);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(text(&output.stderr).contains(explanation), "{output:?}");
        assert!(!text(&output.stderr).contains("weak-secret"), "{output:?}");
    }
}

#[test]
fn a_port_in_use_is_explained() {
    let user = User::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = user.run(&["serve", "--gateway", "https://gw", "--port", &port]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("choose another port with --port"),
        "{output:?}"
    );
}

#[test]
fn bodies_are_taken_up_to_what_gateways_take() {
    let gateway = Gateway::start();
    let serve = Serve::before(&gateway, &[]);
    let upload = |length: usize, head: &str| {
        let mut wire = serve.connect();
        wire.send(&format!(
            "POST /v1/echo HTTP/1.1\r\nhost: localhost\r\n{head}\r\n"
        ));
        let body = "x".repeat(length);
        if head.starts_with("transfer") {
            for chunk in body.as_bytes().chunks(100_000) {
                wire.send(&format!("{:x}\r\n{}\r\n", chunk.len(), text(chunk)));
            }
            wire.send("0\r\n\r\n");
        } else {
            wire.send(&body);
        }
        wire.answer()
    };
    for length in [0, 1, MAX_BODY] {
        for head in [
            format!("content-length: {length}\r\n"),
            "transfer-encoding: chunked\r\n".to_owned(),
        ] {
            let answer = upload(length, &head);
            assert_eq!(answer.status, 200, "{head}");
            assert_eq!(answer.body.len(), length);
        }
    }
    // The whole of it is sent before the answer is read, as most clients do.
    let received = gateway.received().len();
    for length in [MAX_BODY + 1, 20 << 20] {
        for head in [
            format!("content-length: {length}\r\n"),
            "transfer-encoding: chunked\r\n".to_owned(),
        ] {
            let answer = upload(length, &head);
            assert_eq!(answer.status, 413, "{head}");
            assert_eq!(answer.json()["error"]["code"], "body_too_large");
        }
    }
    assert_eq!(gateway.received().len(), received);

    // A client that asks before it sends is told at once.
    let mut wire = serve.connect();
    wire.send("POST /v1/messages HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: 9999999\r\n\r\n");
    let answer = wire.answer();
    assert_eq!(answer.status, 413);
    assert_eq!(answer.json()["error"]["type"], "request_too_large");
}

#[test]
fn compressed_bodies_arrive_decompressed() {
    let gateway = Gateway::start();
    let serve = Serve::before(&gateway, &[]);
    let post = |coding: &str, body: &[u8]| {
        let mut wire = serve.connect();
        let length = body.len();
        wire.send(&format!(
            "POST /v1/echo HTTP/1.1\r\nhost: localhost\r\ncontent-encoding: {coding}\r\n\
             content-digest: sha-256=:AA==:\r\ncontent-length: {length}\r\n\r\n"
        ));
        wire.0.get_mut().write_all(body).unwrap();
        wire.answer()
    };
    let json = br#"{"model":"m"}"#;
    let gzip = gzipped(json);
    let zstd = ruzstd::encoding::compress_to_vec(
        json.as_slice(),
        ruzstd::encoding::CompressionLevel::Fastest,
    );
    for (coding, body) in [
        ("gzip", gzip.as_slice()),
        ("identity, zstd", &zstd),
        ("identity", json),
        ("", json),
    ] {
        let answer = post(coding, body);
        assert_eq!(
            (answer.status, answer.body.as_slice()),
            (200, json.as_slice())
        );
    }
    let received = gateway.received();
    assert_eq!(received.len(), 4);
    for request in received {
        assert!(!request.raw.headers.contains_key("content-encoding"));
        assert!(!request.raw.headers.contains_key("content-digest"));
        assert_eq!(request.raw.body, json.as_slice());
    }

    for (coding, body, status, code) in [
        ("gzip", json.as_slice(), 400, "malformed_body"),
        ("gzip", &gzip[..gzip.len() - 1], 400, "malformed_body"),
        (
            "br",
            b"\x9b\xff\xffo\xf8'\0\xe2\xb1@ \xf7\xfe\r",
            413,
            "body_too_large",
        ),
        ("compress", json, 415, "content_encoding_not_supported"),
    ] {
        let answer = post(coding, body);
        assert_eq!(answer.status, status, "{coding}");
        assert_eq!(answer.json()["error"]["code"], code, "{coding}");
    }
    assert_eq!(gateway.received().len(), 4, "nothing was sent");
}

fn gzipped(body: &[u8]) -> Vec<u8> {
    let mut reader = flate2::bufread::GzEncoder::new(body, flate2::Compression::fast());
    let mut encoded = Vec::new();
    reader.read_to_end(&mut encoded).unwrap();
    encoded
}

/// Codex tries it first, and goes on over HTTP when it is told so.
#[test]
fn a_web_socket_is_refused_at_once_and_nothing_is_sent() {
    let gateway = Gateway::start();
    let serve = Serve::before(&gateway, &["--token", TOKEN]);
    let upgrade = "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                   sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let key = format!("authorization: Bearer {TOKEN}\r\n");
    let mut wire = serve.connect();
    wire.send(&format!(
        "GET /v1/responses HTTP/1.1\r\nhost: localhost\r\n{key}{upgrade}\r\n"
    ));
    let answer = wire.answer();
    assert_eq!(answer.status, 426);
    assert_eq!(answer.header("upgrade"), Some("HTTP/1.1"));
    assert_eq!(answer.json()["error"]["code"], "websocket_not_supported");
    // Without the token it is not told even that.
    assert_eq!(serve.get("/v1/responses", upgrade).status, 401);
    assert!(gateway.received().is_empty());
    // Other upgrades (h2c) may be ignored.
    let headers = format!("{key}connection: upgrade\r\nupgrade: h2c\r\n");
    assert_eq!(serve.get("/v1/models", &headers).status, 200);
}

/// As in WSL after the machine slept.
#[test]
fn with_a_wrong_clock_it_signs_once_more_by_the_gateways() {
    let gateway = Gateway::start();
    let serve = Serve::before(&gateway, &[]);
    for (seconds, status, refused) in [
        (0, 200, 0),
        (290, 200, 0),
        (302, 200, 1),
        (-302, 200, 1),
        (9 * 3600, 200, 1),
        (-6 * 24 * 3600, 200, 1),
        // A week is the most.
        (8 * 24 * 3600, 401, 1),
        (-8 * 24 * 3600, 401, 1),
    ] {
        gateway.set_ahead(seconds);
        let answer = serve.post("/v1/echo", "");
        assert_eq!(answer.status, status, "{seconds}");
        assert_eq!(gateway.out_of_window(), refused, "{seconds}");
        if status == 200 {
            assert_eq!(answer.body, b"{}");
        }
    }
    assert_eq!(gateway.received().len(), 6);
}

#[test]
fn the_id_of_a_model_is_sent_with_a_plain_slash() {
    let gateway = Gateway::start();
    let serve = Serve::before(&gateway, &[]);
    for path in [
        "/v1/models/deepseek%2Fr1%3Afree",
        "/api/v1/models/deepseek%2fr1:free",
        "/v1/models/deepseek/r1:free",
    ] {
        assert_eq!(serve.get(path, "").status, 200, "{path}");
        let sent = gateway.received().pop().unwrap();
        assert_eq!(
            sent.raw.raw_path,
            "/api/v1/openrouter/models/deepseek/r1:free"
        );
    }
    for path in [
        "/v1/files/a%2Fb",
        "/v1%2Fmodels/a/b",
        "/v1/models/..%2F..%2Fkeys",
    ] {
        assert_eq!(
            serve.get(path, "").status,
            if path.starts_with("/v1%") { 404 } else { 400 }
        );
    }
    assert_eq!(gateway.received().len(), 3);
}

#[test]
fn refusals_speak_the_callers_dialect() {
    // A port that was free a moment ago.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let serve = Serve::start(&nobody, &[]);
    let message = format!(
        "The gateway at {nobody} cannot be reached; check that it is running and that --gateway \
         (LLMGW_GATEWAY) is its address."
    );
    let openai = json!({"error": {"message": message, "type": "server_error", "param": null, "code": "gateway_unreachable"}});
    let openrouter = json!({"error": {"code": 502, "message": message, "metadata": {"reason": "gateway_unreachable"}}});
    let anthropic = json!({"type": "error", "error": {"type": "api_error", "message": message}});
    for (path, body) in [
        ("/v1/chat/completions", &openai),
        ("/v1/responses", &openai),
        ("/api/v1/chat/completions", &openrouter),
        ("/api/v1/openrouter/chat/completions", &openrouter),
        ("/v1/messages", &anthropic),
        ("/api/v1/messages", &anthropic),
        ("/api/v1/openrouter/v1/messages", &anthropic),
    ] {
        let answer = serve.post(path, "");
        assert_eq!(answer.status, 502);
        assert_eq!(&answer.json(), body, "{path}");
        // It was not sent, so it may be sent again.
        assert_eq!(answer.header("x-should-retry"), None);
    }
    let answer = serve.post("/", "");
    assert_eq!((answer.status, answer.reason()), (404, json!("not_found")));
    let answer = serve.post("/v1//chat/completions", "");
    assert_eq!(
        (answer.status, &answer.json()["error"]["code"]),
        (400, &json!("malformed_path"))
    );
    let said = serve.stop();
    assert!(
        said.contains("llmgw: POST /v1/messages failed: the gateway at"),
        "{said}"
    );
    assert!(said.contains("Connection refused"), "{said}");
}

#[test]
fn what_may_have_cost_something_is_not_sent_again() {
    let gateway = Gateway::start();
    let serve = Serve::before(&gateway, &[]);
    let answer = serve.post("/v1/hangup", "");
    assert_eq!(answer.status, 502);
    assert_eq!(answer.json()["error"]["code"], "gateway_closed_connection");
    assert_eq!(answer.header("x-should-retry"), Some("false"));
    assert_eq!(gateway.received().len(), 1);
}

#[test]
fn redirects_are_followed_by_nobody() {
    let gateway = Gateway::start();
    let serve = Serve::before(&gateway, &[]);
    // The gateway's own, as of a wrong address.
    let answer = serve.post("/api/v1/moved", "");
    assert_eq!(
        (answer.status, answer.reason()),
        (502, json!("gateway_redirects"))
    );
    assert_eq!(answer.header("location"), None);
    // OpenRouter's.
    let answer = serve.post("/api/v1/found", "");
    assert_eq!(answer.status, 302);
    assert_eq!(
        answer.header("location"),
        Some("https://cdn.example.com/video")
    );
    assert_eq!(gateway.received().len(), 2);
}

#[test]
fn the_gateways_refusals_pass_untouched() {
    let gateway = Gateway::start();
    let serve = Serve::before(&gateway, &[]);
    let answer = serve.post("/v1/refused", "");
    assert_eq!(answer.status, 429);
    assert_eq!(answer.header("retry-after"), Some("17"));
    assert_eq!(text(&answer.body), crate::gateway::REFUSAL);
}

#[test]
fn a_signal_lets_open_answers_end() {
    let gateway = Gateway::start();
    let mut serve = Serve::before(&gateway, &[]);
    let (mut wire, stream) = streaming(&serve, &gateway);
    serve.signal("INT");
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(&serve.address).is_ok() {
        assert!(Instant::now() < deadline, "it still accepts connections");
        std::thread::sleep(Duration::from_millis(20));
    }
    stream.send("data: 2\n\n");
    assert_eq!(wire.chunk(), b"data: 2\n\n");
    assert!(serve.child.try_wait().unwrap().is_none());
    stream.end();
    assert_eq!(wire.chunk(), b"");
    assert_eq!(serve.child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let gateway = Gateway::start();
    let mut serve = Serve::before(&gateway, &[]);
    let (_wire, stream) = streaming(&serve, &gateway);
    serve.signal("TERM");
    serve.wait_for("stopping");
    serve.signal("TERM");
    assert_eq!(serve.child.wait().unwrap().code(), Some(0));
    assert!(stream.is_left(PATIENCE));
}
