//! The program as its users run it, against a server that shows what arrives on the wire.

use std::{
    fs,
    io::{self, BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::fs::{MetadataExt, PermissionsExt},
    process::{Child, Stdio},
    sync::mpsc,
    thread::{self, JoinHandle},
    time::Duration,
};

use http::{HeaderMap, HeaderName, HeaderValue};
use shared::{
    clock::Clock,
    identity::auth::{Audiences, Authenticated, authenticate},
    request::{Incoming, RawQuery},
};

use crate::user::{User, text};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
/// Longer than anything here takes; a test that waits for it has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// Answers one request and hands over what arrived.
struct Server {
    address: String,
    thread: JoinHandle<Incoming>,
}

impl Server {
    fn start(answer: impl FnOnce(&mut TcpStream) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let thread = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let request = receive(&stream);
            answer(&mut stream);
            request
        });
        Self { address, thread }
    }

    fn answering(answer: &'static str) -> Self {
        Self::start(move |stream| stream.write_all(answer.as_bytes()).unwrap())
    }

    fn received(self) -> Incoming {
        self.thread.join().unwrap()
    }
}

/// Reads a request without changing a byte of its target.
fn receive(stream: &TcpStream) -> Incoming {
    let mut reader = BufReader::new(stream);
    let mut line = || {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    };
    let request_line = line();
    let [method, target, "HTTP/1.1"] = request_line.split(' ').collect::<Vec<_>>()[..] else {
        panic!("{request_line:?}");
    };
    let mut headers = HeaderMap::new();
    loop {
        let line = line();
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(": ").unwrap();
        headers.append(
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            HeaderValue::from_bytes(value.as_bytes()).unwrap(),
        );
    }
    let length = headers.get("content-length");
    let length = length.map_or(0, |value| value.to_str().unwrap().parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    Incoming {
        method: method.parse().unwrap(),
        raw_path: path.to_owned(),
        stage: None,
        query: RawQuery::Encoded(query.to_owned()),
        headers,
        body: body.into(),
    }
}

/// Checks the signature as a gateway does.
fn verified(request: &Incoming, audience: &str) -> Authenticated {
    let audiences = Audiences::new(vec![audience.parse().unwrap()]).unwrap();
    authenticate(request, &audiences, 1 << 20, Clock::system().now()).unwrap()
}

#[test]
fn an_identity_is_made_once_and_shown_without_its_secret() {
    let user = User::without_identity();
    let made = user.run(&["identity", "new"]);
    assert_eq!(made.status.code(), Some(0), "{made:?}");
    let did = text(&made.stdout);
    assert!(did.starts_with("did:key:z6Mk"), "{did}");
    assert!(text(&made.stderr).contains("/.config/llmgw/identity.json"));

    let path = user.identity_file();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
    let directory = fs::metadata(path.parent().unwrap()).unwrap();
    assert_eq!(directory.mode() & 0o7777, 0o700);

    let shown = user.run(&["identity", "show"]);
    assert_eq!(text(&shown.stdout), did);
    for output in [&made, &shown] {
        assert!(!text(&output.stdout).contains(&user.secret()));
        assert!(!text(&output.stderr).contains(&user.secret()));
    }

    let again = user.run(&["identity", "new"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("--force"), "{again:?}");
    assert_eq!(user.run(&["identity", "show"]).stdout, made.stdout);

    let forced = user.run(&["identity", "new", "--force"]);
    assert_eq!(forced.status.code(), Some(0));
    assert_ne!(forced.stdout, made.stdout);
    assert_eq!(user.run(&["identity", "show"]).stdout, forced.stdout);
}

#[test]
fn the_identity_file_can_be_anywhere() {
    let user = User::without_identity();
    let show = |variable: &str, value: &str| {
        let mut command = user.command(&["identity", "show"]);
        command.env(variable, value).output().unwrap()
    };
    let config = user.home.path().join("config");
    let made = user
        .command(&["identity", "new"])
        .env("XDG_CONFIG_HOME", &config)
        .output()
        .unwrap();
    assert!(config.join("llmgw/identity.json").is_file(), "{made:?}");
    assert_eq!(
        show("XDG_CONFIG_HOME", config.to_str().unwrap()).stdout,
        made.stdout
    );

    // In the current directory, and before or after the command.
    let made = user.run(&["--identity", "other.json", "identity", "new"]);
    assert_eq!(made.status.code(), Some(0), "{made:?}");
    assert_eq!(show("LLMGW_IDENTITY", "other.json").stdout, made.stdout);
    let named = user.run(&["identity", "show", "--identity", "other.json"]);
    assert_eq!(named.stdout, made.stdout);
}

#[test]
fn an_unusable_identity_is_explained() {
    let user = User::new();
    let secret = user.secret();
    let path = user.identity_file();
    let request = ["request", "--gateway", "http://127.0.0.1:9", "usage"];
    let failure = || {
        let output = user.run(&request);
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(text(&output.stdout), "");
        let message = text(&output.stderr).to_owned();
        assert!(!message.contains(&secret), "{message}");
        message
    };

    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(failure().contains("run `chmod 600 /"));

    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&path, format!("\"{secret}\"")).unwrap();
    assert!(failure().contains("is not an identity file"));

    fs::remove_file(&path).unwrap();
    assert!(failure().contains("create one with `llmgw identity new`"));
}

#[test]
fn what_arrives_on_the_wire_is_signed() {
    let user = User::new();
    for (target, path, query) in [
        ("/", "/", ""),
        (
            "usage?start_date=2026-01-01",
            "/api/v1/usage",
            "start_date=2026-01-01",
        ),
        (
            "usage?q=a b+c%2Bd%20e&q=你好&q=a&b&&=",
            "/api/v1/usage",
            "=&b=&q=%E4%BD%A0%E5%A5%BD&q=a&q=a%20b%20c%2Bd%20e",
        ),
        (
            "/api/v1/openrouter/models/deepseek/deepseek-r1:free/endpoints",
            "/api/v1/openrouter/models/deepseek/deepseek-r1:free/endpoints",
            "",
        ),
        (
            "openrouter/models/deepseek/deepseek-r1%3Afree?a=%2525",
            "/api/v1/openrouter/models/deepseek/deepseek-r1:free",
            "a=%2525",
        ),
        (
            "openrouter/-._~!$&'()*+,=:@/?x='\"<>`{}|\\^[]#%00",
            "/api/v1/openrouter/-._~!$&'()*+,=:@/",
            "x=%27%22%3C%3E%60%7B%7D%7C%5C%5E%5B%5D%23%00",
        ),
    ] {
        for base in ["", "/Prod", "/a/B/"] {
            let server = Server::answering(OK);
            let gateway = format!("{}{base}", server.address);
            let output = user.run(&["request", "--gateway", &gateway, target]);
            assert_eq!(text(&output.stderr), "", "{target}");
            assert_eq!(text(&output.stdout), "ok");
            assert_eq!(output.status.code(), Some(0));

            let request = server.received();
            assert_eq!(
                request.raw_path,
                format!("{}{path}", base.trim_end_matches('/'))
            );
            assert_eq!(request.query, RawQuery::Encoded(query.to_owned()));
            let authenticated = verified(&request, &gateway);
            assert_eq!(authenticated.caller.did().as_str(), user.did);
            assert_eq!(authenticated.path.as_str(), path);
            assert_eq!(authenticated.query.as_str(), query);
            assert!(
                authenticated
                    .caller
                    .replay_guard(&http::Method::GET)
                    .is_some()
            );
        }
    }
}

#[test]
fn bodies_headers_and_methods_arrive_as_given() {
    let user = User::new();
    let body = b"{\"text\":\"\xe4\xbd\xa0\"}\r\n\xff\0".to_vec();
    fs::write(user.home.path().join("body.bin"), &body).unwrap();

    let server = Server::answering(OK);
    let output = user
        .command(&[
            "request",
            "-d",
            "@body.bin",
            "-H",
            "X-Title: 你好",
            "-H",
            "x-b: 1",
            "keys",
        ])
        .env("LLMGW_GATEWAY", &server.address)
        .env("LLMGW_AUDIENCE", "https://gw.example.com/Prod")
        .output()
        .unwrap();
    assert_eq!(text(&output.stderr), "");
    let request = server.received();
    verified(&request, "https://gw.example.com/Prod");
    assert_eq!(request.method, "POST");
    assert_eq!(request.body, body);
    assert_eq!(request.headers["content-type"], "application/json");
    assert_eq!(request.headers["x-title"].as_bytes(), "你好".as_bytes());
    assert_eq!(request.headers["x-b"], "1");

    let server = Server::answering(OK);
    let mut child = user
        .command(&[
            "request",
            "-X",
            "put",
            "-d",
            "@-",
            "-H",
            "content-type: text/plain",
        ])
        .args(["--gateway", &server.address, "keys"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(b"from stdin")
        .unwrap();
    assert!(child.wait().unwrap().success());
    let request = server.received();
    verified(
        &request,
        &format!("http://{}", request.headers["host"].to_str().unwrap()),
    );
    assert_eq!(request.method, "PUT");
    assert_eq!(request.body, "from stdin");
    assert_eq!(request.headers["content-type"], "text/plain");
}

#[test]
fn two_equal_requests_are_two_requests() {
    let user = User::new();
    let [one, two] = [(); 2].map(|()| {
        let server = Server::answering(OK);
        let audience = "https://gw.example.com";
        let output = user
            .command(&["request", "-d", "{}", "--gateway", &server.address])
            .args(["--audience", audience, "openrouter/chat/completions"])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0));
        let request = server.received();
        let caller = verified(&request, audience).caller;
        (request.headers["x-did-nonce"].clone(), caller.fingerprint())
    });
    assert_ne!(one.0, two.0);
    assert_ne!(one.1, two.1);
}

/// Fails where the answer is held back: the server sends a piece only after the one before it has
/// come out of the program.
#[test]
fn an_answer_is_printed_as_it_arrives() {
    let user = User::new();
    let (printed, next) = mpsc::channel::<()>();
    let pieces = ["data: one", "\n\ndata: t", "wo\n\n"];
    let server = Server::start(move |stream| {
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        for piece in pieces {
            write!(stream, "{:x}\r\n{piece}\r\n", piece.len()).unwrap();
            next.recv_timeout(PATIENCE).unwrap();
        }
        stream.write_all(b"0\r\n\r\n").unwrap();
    });
    let mut child = user
        .command(&[
            "request",
            "-d",
            "{}",
            "--gateway",
            &server.address,
            "openrouter/x",
        ])
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    for piece in pieces {
        let mut buffer = vec![0; piece.len()];
        stdout.read_exact(&mut buffer).unwrap();
        assert_eq!(text(&buffer), piece);
        printed.send(()).unwrap();
    }
    assert_eq!(rest(stdout), "");
    assert!(child.wait().unwrap().success());
    server.received();
}

fn rest(mut reader: impl Read) -> String {
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn an_answer_that_breaks_off_is_a_failure() {
    let user = User::new();
    let server = Server::answering("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf");
    let output = user.run(&["request", "--gateway", &server.address, "usage"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stdout), "half");
    let message = text(&output.stderr);
    assert!(
        message.starts_with("llmgw: the response broke off; "),
        "{message}"
    );
    server.received();
}

#[test]
fn nobody_has_to_read_to_the_end() {
    let user = User::new();
    let server = Server::start(|stream| {
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        // Without end, until the program has gone.
        while stream.write_all(b"4\r\nmore\r\n").is_ok() {}
    });
    let mut child: Child = user
        .command(&["request", "--gateway", &server.address, "usage"])
        .spawn()
        .unwrap();
    let mut buffer = [0; 4];
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut buffer).unwrap();
    drop(stdout);
    let output = child.wait_with_output().unwrap();
    assert_eq!(text(&output.stderr), "");
    assert_eq!(output.status.code(), Some(0));
    server.received();
}

#[test]
fn refusals_are_data_for_programs_and_a_sentence_for_people() {
    let user = User::new();
    let body = r#"{"success":false,"error":{"code":404,"message":"Store a key first.","metadata":{"reason":"no_key_for_did"}},"request_id":"r"}"#;
    let server = Server::start(move |stream| {
        let length = body.len();
        write!(
            stream,
            "HTTP/1.1 404 Not Found\r\nx-gateway-request-id: r\r\ncontent-length: {length}\r\n\r\n{body}"
        )
        .unwrap();
    });
    let output = user.run(&["request", "-i", "--gateway", &server.address, "usage"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        text(&output.stderr),
        "llmgw: the gateway answered 404 Not Found (no_key_for_did): Store a key first.\n\
         llmgw: `llmgw connect` stores a key at the gateway\n"
    );
    assert_eq!(
        text(&output.stdout),
        format!(
            "HTTP/1.1 404 Not Found\r\nx-gateway-request-id: r\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    );
    server.received();
}

#[test]
fn redirects_are_shown_and_not_followed() {
    let user = User::new();
    let server = Server::answering(
        "HTTP/1.1 307 Temporary Redirect\r\nlocation: http://127.0.0.1:9/\r\ncontent-length: 0\r\n\r\n",
    );
    let output = user.run(&["request", "--gateway", &server.address, "usage"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    server.received();
}

#[test]
fn an_unreachable_gateway_is_explained() {
    let user = User::new();
    // A port that was free a moment ago.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let output = user.run(&["request", "--gateway", &address, "usage"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stdout), "");
    let message = text(&output.stderr);
    let expected = format!(
        "llmgw: the gateway at {address} cannot be reached; check that it is running and that \
         --gateway (LLMGW_GATEWAY) is its address: "
    );
    assert!(message.starts_with(&expected), "{message}");
    assert!(message.contains("Connection refused"), "{message}");
}

#[test]
fn wrong_arguments_are_explained() {
    let user = User::new();
    for (args, explanation) in [
        (
            vec!["--gateway", "gw.example.com", "usage"],
            "a gateway's base URL is like https://gw.example.com",
        ),
        (
            vec!["--gateway", "https://gw", "https://gw/usage"],
            "give the path only",
        ),
        (vec!["--gateway", "https://gw", "/a/../b"], "dot segment"),
        (
            vec!["--gateway", "https://gw", "/", "-H", "x-did: a"],
            "set by signing",
        ),
    ] {
        let output = user.run(&[vec!["request"], args].concat());
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(text(&output.stderr).contains(explanation), "{output:?}");
    }
    let output = user.run(&["request", "--gateway", "https://gw", "-d", "@none", "/"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("cannot read the body none: No such file"));
}

#[test]
fn sign_prints_headers_that_hold() {
    let user = User::new();
    let audience = "https://gw.example.com/Prod";
    let args = ["sign", "--gateway", audience, "-d", "{}", "usage?b=2&a=1"];
    let output = user.run(&args);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let printed = text(&output.stdout);
    let headers: HeaderMap = printed
        .lines()
        .map(|line| line.split_once(": ").unwrap())
        .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap()))
        .collect();
    assert_eq!(headers.len(), 4);
    let request = Incoming {
        method: http::Method::POST,
        raw_path: "/Prod/api/v1/usage".to_owned(),
        stage: None,
        query: RawQuery::Encoded("b=2&a=1".to_owned()),
        headers,
        body: "{}".into(),
    };
    assert_eq!(verified(&request, audience).caller.did().as_str(), user.did);
}

#[test]
fn sign_prints_a_command_for_any_shell() {
    let user = User::new();
    let args = [
        "sign",
        "--curl",
        "--gateway",
        "https://gw",
        "-d",
        "it's",
        "keys",
    ];
    let output = user.run(&args);
    let command = text(&output.stdout);
    assert!(
        command.starts_with("curl --no-buffer 'https://gw/api/v1/keys' \\\n"),
        "{command}"
    );
    assert!(command.ends_with("--data-raw 'it'\\''s'\n"), "{command}");
    assert!(!command.contains(&user.secret()));
}

#[test]
fn help_shows_examples() {
    let user = User::without_identity();
    for args in [vec!["--help"], vec!["request", "--help"]] {
        let output = user.run(&args);
        assert_eq!(output.status.code(), Some(0));
        assert!(text(&output.stdout).contains("Examples:\n"), "{output:?}");
    }
}

#[test]
fn a_server_of_plain_http_is_not_asked_in_tls_terms() {
    let user = User::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("https://{}", listener.local_addr().unwrap());
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut greeting = [0; 1024];
        let _ = stream.read(&mut greeting);
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
    });
    let output = user.run(&["request", "--gateway", &address, "usage"]);
    assert_eq!(output.status.code(), Some(1));
    let expected = format!(
        "llmgw: {address} begins with https://, but the server there does not speak TLS; check the \
         address and the port, or use http:// for a gateway on this machine\n"
    );
    assert_eq!(text(&output.stderr), expected);
    server.join().unwrap();
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let user = User::new();
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let output = user
        .command(&["completions", "bash"])
        .stdout(writer)
        .output()
        .unwrap();
    assert_eq!(text(&output.stderr), "");
    assert_eq!(output.status.code(), Some(128 + 13));
}
