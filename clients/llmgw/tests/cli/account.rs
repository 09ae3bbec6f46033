//! Users and their account at a gateway, from the command line.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    process::{Output, Stdio},
    thread,
};

use serde_json::{Value, json};

use crate::{
    gateway::{AUDIENCE, Gateway},
    user::{User, text},
};

const KEY: &str = "sk-or-v1-planted-0123456789";
const DESCRIPTION: &str = r#"{"success":true,"data":{"key_name":"laptop","hash":"abc123","source":"own","disabled":false,"limit":"10","spent":"0.0076509169000000005","held":"0.01","remaining":"9.98","created_at":"2026-01-01T00:00:00Z"}}"#;
const NO_KEY: &str = r#"{"success":false,"error":{"code":404,"message":"Store a key first.","metadata":{"reason":"no_key_for_did"}},"request_id":"r"}"#;

struct Desk {
    gateway: Gateway,
    user: User,
}

impl Desk {
    fn new() -> Self {
        let gateway = Gateway::start();
        let user = User::new();
        let added = user.run(&[
            "profile",
            "add",
            "test",
            &gateway.url(),
            "--audience",
            AUDIENCE,
        ]);
        assert!(added.status.success(), "{added:?}");
        Self { gateway, user }
    }

    fn run(&self, args: &[&str], stdin: &str) -> Output {
        let mut child = self
            .user
            .command(args)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut pipe = child.stdin.take().unwrap();
        // It may not want to read.
        let _ = pipe.write_all(stdin.as_bytes());
        drop(pipe);
        child.wait_with_output().unwrap()
    }

    fn succeed(&self, args: &[&str], stdin: &str) -> String {
        let output = self.run(args, stdin);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        text(&output.stdout).to_owned()
    }

    fn fail(&self, args: &[&str], stdin: &str) -> String {
        let output = self.run(args, stdin);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        text(&output.stderr).to_owned()
    }

    /// Method, path, query and body of the last request.
    fn last(&self) -> (String, String, Value) {
        let raw = self.gateway.received().pop().unwrap().raw;
        let shared::request::RawQuery::Encoded(query) = raw.query else {
            panic!("{:?}", raw.query);
        };
        let body = serde_json::from_slice(&raw.body).unwrap_or_default();
        (format!("{} {}", raw.method, raw.raw_path), query, body)
    }
}

#[test]
fn a_key_is_brought_by_stdin_and_told_to_nobody() {
    let desk = Desk::new();
    desk.gateway.answer("PUT /api/v1/keys", 200, DESCRIPTION);
    let output = desk.run(&["connect", "--name", "laptop"], &format!("  {KEY}\r\n"));
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    insta::assert_snapshot!(text(&output.stdout), @r"
    name       laptop
    hash       abc123
    source     own
    limit      $10
    spent      $0.0076509169000000005
    held       $0.01
    remaining  $9.98
    ");
    let (line, _, body) = desk.last();
    assert_eq!(line, "PUT /api/v1/keys");
    assert_eq!(body, json!({"api_key": KEY, "key_name": "laptop"}));

    for (stdin, explanation) in [
        ("", "there is no key; `llmgw connect --browser`"),
        ("\n", "there is no key"),
        ("two words\n", "this is not an OpenRouter key"),
        ("sk-proj-two words\n", "this is not an OpenRouter key"),
        (
            "sk-proj-two-words\n",
            "this is not an OpenRouter key: those begin with sk-or-; yours are at https://openrouter.ai",
        ),
    ] {
        let error = desk.fail(&["connect"], stdin);
        assert!(error.contains(explanation), "{error}");
        assert!(!error.contains("two"), "{error}");
    }
    // Never by an argument.
    assert_eq!(desk.run(&["connect", KEY], "").status.code(), Some(2));
}

#[test]
fn the_gateway_can_be_asked_to_make_a_key() {
    let desk = Desk::new();
    desk.gateway.answer("POST /api/v1/keys", 200, DESCRIPTION);
    desk.succeed(&["connect", "--provision"], "");
    let (line, _, body) = desk.last();
    assert_eq!((line.as_str(), body), ("POST /api/v1/keys", json!({})));
    let refusal = r#"{"success":false,"error":{"code":403,"message":"Not here.","metadata":{"reason":"provisioning_disabled"}}}"#;
    desk.gateway.answer("POST /api/v1/keys", 403, refusal);
    let error = desk.fail(&["connect", "--provision"], "");
    assert_eq!(
        error,
        "llmgw: the gateway answered 403 Forbidden (provisioning_disabled): Not here.\n"
    );
}

#[test]
fn a_key_is_shown_and_revoked() {
    let desk = Desk::new();
    desk.gateway.answer("GET /api/v1/keys", 200, DESCRIPTION);
    desk.gateway.answer(
        "DELETE /api/v1/keys",
        200,
        r#"{"success":true,"data":{"revoked":true,"hash":"abc123"}}"#,
    );
    assert!(desk.succeed(&["keys"], "").contains("remaining  $9.98\n"));
    let json: Value = serde_json::from_str(&desk.succeed(&["keys", "--json"], "")).unwrap();
    assert_eq!(json["spent"], "0.0076509169000000005");

    let error = desk.fail(&["keys", "--revoke"], "yes\n");
    assert!(
        error.contains("without a terminal, confirm with --yes"),
        "{error}"
    );
    assert_eq!(desk.last().0, "GET /api/v1/keys");
    assert_eq!(
        desk.succeed(&["keys", "--revoke", "--yes"], ""),
        "revoked  abc123\n"
    );
    assert_eq!(desk.last().0, "DELETE /api/v1/keys");

    desk.gateway.answer("GET /api/v1/keys", 404, NO_KEY);
    assert_eq!(
        desk.fail(&["keys"], ""),
        "llmgw: the gateway answered 404 Not Found (no_key_for_did): Store a key first.\n\
         llmgw: `llmgw connect` stores a key at the gateway\n"
    );
}

/// OpenRouter's side of the login: takes one request and hands over its line and body.
fn openrouter(answer: &'static str) -> (String, thread::JoinHandle<(String, Value)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let thread = thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(&stream);
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            if line.trim().is_empty() {
                break;
            }
            head.push(line.trim().to_ascii_lowercase());
        }
        let length = head
            .iter()
            .find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.unwrap().parse().unwrap()];
        reader.read_exact(&mut body).unwrap();
        let mut stream = &stream;
        stream.write_all(answer.as_bytes()).unwrap();
        (head.swap_remove(0), serde_json::from_slice(&body).unwrap())
    });
    (address, thread)
}

const MADE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 60\r\n\r\n{\"key\":\"sk-or-v1-planted-0123456789\",\"user_id\":\"user_x\"}    ";

/// The parameters of the address that the user is to open.
fn parameters(text: &str, openrouter: &str) -> Vec<(String, String)> {
    let line = text
        .lines()
        .map(str::trim)
        .find(|line| line.starts_with("http"));
    let (base, query) = line.unwrap().split_once('?').unwrap();
    assert_eq!(base, format!("{openrouter}/auth"));
    form_urlencoded::parse(query.as_bytes())
        .into_owned()
        .collect()
}

fn parameter(parameters: &[(String, String)], name: &str) -> String {
    let found = parameters.iter().find(|(it, _)| it == name);
    found.unwrap().1.clone()
}

/// RFC 7636 §4.6.
fn proves(verifier: &Value, challenge: &str) -> bool {
    use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
    use sha2::{Digest, Sha256};
    let digest = Sha256::digest(verifier.as_str().unwrap());
    BASE64_URL_SAFE_NO_PAD.encode(digest) == challenge
}

#[test]
fn a_browser_brings_a_key_home() {
    let desk = Desk::new();
    desk.gateway.answer("PUT /api/v1/keys", 200, DESCRIPTION);
    let (address, exchanged) = openrouter(MADE);
    let mut child = desk
        .user
        .command(&["connect", "--browser", "--port", "0"])
        .env("LLMGW_OPENROUTER", &address)
        .spawn()
        .unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    while !said.contains("/auth?") {
        assert_ne!(stderr.read_line(&mut said).unwrap(), 0, "{said}");
    }
    let asked = parameters(&said, &address);
    assert_eq!(parameter(&asked, "code_challenge_method"), "S256");
    let callback = parameter(&asked, "callback_url");
    let (host, path) = callback
        .strip_prefix("http://")
        .unwrap()
        .split_once('/')
        .unwrap();

    let visit = |path: &str| {
        let mut stream = TcpStream::connect(host.replace("localhost", "127.0.0.1")).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.lines().next().unwrap().to_owned()
    };
    // Callers that do not know the path, and browsers that look for an icon.
    assert_eq!(visit("/?code=forged"), "HTTP/1.1 404 Not Found");
    assert_eq!(visit("/favicon.ico"), "HTTP/1.1 404 Not Found");
    assert_eq!(visit(&format!("/{path}?code=the-code")), "HTTP/1.1 200 OK");

    let output = child.wait_with_output().unwrap();
    stderr.read_to_string(&mut said).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    let (line, body) = exchanged.join().unwrap();
    assert_eq!(line, "post /api/v1/auth/keys http/1.1");
    assert_eq!(body["code"], "the-code");
    assert_eq!(body["code_challenge_method"], "S256");
    assert!(proves(
        &body["code_verifier"],
        &parameter(&asked, "code_challenge")
    ));
    assert_eq!(desk.last().2, json!({"api_key": KEY}));
    assert!(!said.contains(KEY) && !text(&output.stdout).contains(KEY));
}

#[test]
fn a_browser_elsewhere_is_enough() {
    let desk = Desk::new();
    desk.gateway.answer("PUT /api/v1/keys", 200, DESCRIPTION);
    let (address, exchanged) = openrouter(MADE);
    let args = [
        "connect",
        "--browser",
        "--headless",
        "--openrouter",
        &address,
    ];
    let pasted = "http://localhost:3000/abc?code=the-code\n";
    let output = desk.run(&args, pasted);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let (_, body) = exchanged.join().unwrap();
    assert_eq!(body["code"], "the-code");
    let asked = parameters(text(&output.stderr), &address);
    assert!(proves(
        &body["code_verifier"],
        &parameter(&asked, "code_challenge")
    ));
    assert_eq!(desk.last().2, json!({"api_key": KEY}));

    let (address, _) = openrouter(
        "HTTP/1.1 403 Forbidden\r\ncontent-length: 49\r\n\r\n{\"error\":{\"code\":403,\"message\":\"Invalid code.\"}}  ",
    );
    let args = [
        "connect",
        "--browser",
        "--headless",
        "--openrouter",
        &address,
    ];
    let error = desk.fail(&args, "wrong\n");
    assert!(
        error.contains("OpenRouter answered 403 Forbidden: Invalid code.; try again"),
        "{error}"
    );
}

#[test]
fn models_are_found_with_their_prices() {
    let desk = Desk::new();
    let model = |id: &str, context: u64, prompt: &str, completion: &str| {
        json!({"id": id, "name": format!("The {id}"), "context_length": context,
            "pricing": {"prompt": prompt, "completion": completion}, "more": 1})
    };
    let models = json!({"data": [
        model("z/large", 200_000, "0.000003", "0.000015"),
        model("openai/gpt-4o-mini", 128_000, "0.00000015", "0.0000006"),
        model("a/free:free", 8192, "0", "0"),
        model("openrouter/auto", 2_000_000, "-1", "-1"),
    ]});
    desk.gateway
        .answer("GET /api/v1/openrouter/models", 200, models.to_string());
    insta::assert_snapshot!(desk.succeed(&["models"], ""), @r"
    a/free:free            8192    0.00    0.00
    openai/gpt-4o-mini   128000    0.15    0.60
    openrouter/auto     2000000  varies  varies
    z/large              200000    3.00   15.00
    ");
    let ids = |args: &[&str]| {
        let listed = desk.succeed(&[&["models"], args].concat(), "");
        let first = |line: &str| line.split(' ').next().unwrap().to_owned();
        listed.lines().map(first).collect::<Vec<_>>()
    };
    assert_eq!(ids(&["MINI", "gpt"]), ["openai/gpt-4o-mini"]);
    assert_eq!(ids(&["--free"]), ["a/free:free"]);
    assert_eq!(
        ids(&["--sort", "price"]),
        [
            "a/free:free",
            "openai/gpt-4o-mini",
            "z/large",
            "openrouter/auto"
        ]
    );
    assert_eq!(ids(&["--sort", "context"])[0], "openrouter/auto");
    let json = desk.succeed(&["models", "--json", "large"], "");
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json[0]["more"], 1);
    assert_eq!(json.as_array().unwrap().len(), 1);
}

const ANSWER: &str = "data: {\"model\":\"m-1\",\"choices\":[{\"delta\":{\"content\":\"**Grüezi**\"}}]}\n\n\
    data: {\"choices\":[{\"delta\":{\"content\":\", 世界\"}}],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2,\"cost\":7.434e-07}}\n\n\
    data: [DONE]\n\n";
const CHAT: &str = "POST /api/v1/openrouter/chat/completions";

#[test]
fn a_question_is_answered_plainly_into_a_pipe() {
    let desk = Desk::new();
    desk.gateway.answer(CHAT, 200, ANSWER);
    let args = ["chat", "-m", "m", "-s", "Be brief.", "Say", "hello"];
    let output = desk.run(&args, "notes\n");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(text(&output.stdout), "**Grüezi**, 世界\n");
    assert_eq!(text(&output.stderr), "");
    assert_eq!(
        desk.last().2,
        json!({"model": "m", "stream": true, "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Say hello\n\nnotes\n"},
        ]})
    );
    for words in [&["chat", "-m", "m"][..], &["chat", "-m", "m", ""]] {
        assert!(desk.fail(words, "").contains("there is no question"));
    }
    let mut endless = desk.user.command(&["chat", "-m", "m"]);
    endless.stdin(std::fs::File::open("/dev/zero").unwrap());
    let output = endless.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("is larger than the "));

    desk.gateway.answer(
        CHAT,
        200,
        "data: {\"choices\":[{\"delta\":{\"content\":\"half\"}}]}\n\n",
    );
    let output = desk.run(&["chat", "-m", "m", "hi"], "");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stdout), "half\n");
    assert_eq!(text(&output.stderr), "llmgw: the answer ended too early\n");
    desk.gateway.answer(CHAT, 404, NO_KEY);
    assert!(
        desk.fail(&["chat", "-m", "m", "hi"], "")
            .contains("`llmgw connect`")
    );
}

fn sums(requests: u64, cost: &str, key: (&str, &str)) -> String {
    let (name, value) = key;
    format!(
        r#"{{"{name}":"{value}","requests":{requests},"input_tokens":1,"output_tokens":2,"cost":{cost}}}"#
    )
}

fn usage(groups: &[String]) -> String {
    format!(
        r#"{{"success":true,"data":{{"total_requests":5,"successful_requests":4,"failed_requests":1,"total_input_tokens":10,"total_output_tokens":20,"total_cost":0.0076509169000000005,"cost_pending_requests":1,"limit":10,"spent":1,"held":0,"remaining":9,"requests_by_model":{{}},"groups":[{}]}}}}"#,
        groups.join(",")
    )
}

#[test]
fn usage_is_summed_up_for_people_and_passed_on_to_programs() {
    let desk = Desk::new();
    let groups = [
        sums(4, "0.0076509169", ("model", "openai/gpt-4o-mini")),
        sums(1, "5e-16", ("model", "m\u{1b}")).replace('\u{1b}', "\\u001b"),
    ];
    desk.gateway
        .answer("GET /api/v1/usage", 200, usage(&groups));
    let args = [
        "usage",
        "--by",
        "model",
        "--since",
        "2026-01-01",
        "--time-zone",
        "Europe/Berlin",
    ];
    insta::assert_snapshot!(desk.succeed(&args, ""), @r"
    $0.0076509169000000005 for 5 requests (1 failed), 10 tokens in, 20 out
    The cost of 1 request is not known yet.
    $9 of $10 remaining

    openai/gpt-4o-mini        $0.0076509169  4 req
    m                   $0.0000000000000005  1 req
    ");
    assert_eq!(
        desk.last().1,
        "group_by=model&start_date=2026-01-01&time_zone=Europe%2FBerlin"
    );
    let json = desk.succeed(&["usage", "--json"], "");
    assert!(
        json.contains("0.0076509169000000005"),
        "every digit: {json}"
    );
    assert_eq!(desk.last().1, "");
    desk.gateway
        .answer("GET /api/v1/usage", 200, "day,cost\r\n2026-01-01,1\r\n");
    let csv = desk.succeed(&["usage", "--csv", "--by", "day,model"], "");
    assert_eq!(csv, "day,cost\r\n2026-01-01,1\r\n");
    assert_eq!(desk.last().1, "format=csv&group_by=day%2Cmodel");
}

#[test]
fn requests_are_listed_page_by_page() {
    let desk = Desk::new();
    let page = r#"{"success":true,"data":{"requests":[
        {"id":"1","request_time":"2026-01-01T00:00:00Z","model":"m","status":"completed","input_tokens":1,"output_tokens":2,"cost_state":"final","total_cost":0.0000007434},
        {"id":"2","request_time":"2026-01-01T00:00:01Z","model":"m","status":"failed","error_reason":"upstream_cut","cost_state":"pending"}],
        "next_cursor":"abc"}}"#;
    desk.gateway.answer("GET /api/v1/usage/requests", 200, page);
    let listed = desk.succeed(&["usage", "--requests", "--limit", "4", "--model", "m"], "");
    assert_eq!(listed.lines().count(), 4);
    insta::assert_snapshot!(listed.lines().take(2).collect::<Vec<_>>().join("\n"), @r"
    2026-01-01T00:00:00Z  m  completed     1  2  $0.0000007434
    2026-01-01T00:00:01Z  m  upstream_cut             pending?
    ");
    assert_eq!(desk.last().1, "cursor=abc&limit=2&model=m");
}

#[test]
fn a_reader_of_json_may_leave_early() {
    let desk = Desk::new();
    let models = r#"{"data":[{"id":"m","name":"M","context_length":1,"pricing":{"prompt":"0","completion":"0"}}]}"#;
    desk.gateway
        .answer("GET /api/v1/openrouter/models", 200, models);
    let page = r#"{"success":true,"data":{"requests":[{"id":"1"}],"next_cursor":null}}"#;
    desk.gateway.answer("GET /api/v1/usage/requests", 200, page);
    desk.gateway.answer("GET /api/v1/usage", 200, usage(&[]));
    desk.gateway.answer("GET /api/v1/keys", 200, DESCRIPTION);
    for args in [
        &["models", "--json"][..],
        &["usage", "--requests", "--json"],
        &["usage", "--json"],
        &["keys", "--json"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = desk.user.command(args).stdout(writer).output().unwrap();
        assert_eq!(text(&output.stderr), "", "{args:?}");
        assert_eq!(output.status.code(), Some(128 + 13), "{args:?}");
    }
}

#[test]
fn the_doctor_finds_what_does_not_work() {
    let desk = Desk::new();
    let health =
        r#"{"success":true,"data":{"status":"healthy","timestamp":"2026-01-01T00:00:00Z"}}"#;
    desk.gateway.answer("GET /api/v1/health", 200, health);
    desk.gateway.answer("GET /api/v1/usage", 200, usage(&[]));
    desk.gateway.answer("GET /api/v1/keys", 200, DESCRIPTION);
    desk.gateway.answer(
        "GET /api/v1/openrouter/key",
        200,
        r#"{"data":{"limit_remaining":7.5}}"#,
    );
    let secret = desk.user.secret();
    let diagnosis = |expected: i32| {
        let output = desk.run(&["doctor"], "");
        assert_eq!(output.status.code(), Some(expected), "{output:?}");
        assert_eq!(text(&output.stderr), "");
        let found = text(&output.stdout);
        assert!(!found.contains(&secret));
        let home = desk.user.home.path().to_str().unwrap();
        let found = found.replace(home, "HOME").replace(&desk.user.did, "DID");
        found
            .replace(&desk.gateway.url(), "GATEWAY")
            .replace("+1 s", "+0 s")
    };
    insta::assert_snapshot!(diagnosis(0), @r"
    ok   configuration  GATEWAY, as https://gw.example.com/Prod
    ok   identity       DID in HOME/.config/llmgw/identity.json
    ok   gateway        healthy
    ok   clock          +0 s from the gateway's
    ok   signature      accepted
    ok   key            stored (own)
    ok   balance        $9.98 of $10 remaining
    ok   OpenRouter     accepts the key; $7.5 of its limit remaining
    ");

    for (route, other) in [
        ("GET /api/v1/health", "<html>Welcome to nginx!"),
        ("GET /api/v1/usage", "{}"),
    ] {
        desk.gateway.answer(route, 200, other);
        assert!(diagnosis(1).contains("BAD"), "{route}");
        desk.gateway.answer("GET /api/v1/health", 200, health);
    }
    desk.gateway.answer("GET /api/v1/usage", 200, usage(&[]));

    let broke = DESCRIPTION.replace("\"remaining\":\"9.98\"", "\"remaining\":\"0\"");
    desk.gateway.answer("GET /api/v1/keys", 200, broke);
    desk.gateway.answer(
        "GET /api/v1/openrouter/key",
        401,
        r#"{"error":{"code":401,"message":"No such key"}}"#,
    );
    let found = diagnosis(1);
    assert!(
        found.contains("BAD  balance        nothing remains of $10; ask the operator for more\n"),
        "{found}"
    );
    assert!(found.contains("BAD  OpenRouter     "), "{found}");
    desk.gateway.answer("GET /api/v1/keys", 404, NO_KEY);
    let found = diagnosis(1);
    let line = "BAD  key            the gateway answered 404 Not Found (no_key_for_did): Store a key first.; \
                `llmgw connect` stores a key at the gateway\n";
    assert!(found.ends_with(line), "{found}");

    // The stub verifies signatures, whatever it is to answer.
    let wrong = desk.run(&["doctor", "--audience", "https://other.example.com"], "");
    assert_eq!(wrong.status.code(), Some(1));
    let config = desk.user.home.path().join(".config/llmgw/config.toml");
    let written = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, "use = ").unwrap();
    let found = diagnosis(1);
    assert_eq!(found.matches("TOML parse error").count(), 1, "{found}");
    std::fs::write(&config, written).unwrap();

    std::fs::remove_file(desk.user.identity_file()).unwrap();
    let found = diagnosis(1);
    assert!(
        found.contains("BAD  identity       there is no identity at HOME"),
        "{found}"
    );
    assert!(
        found.contains("create one with `llmgw identity new`"),
        "{found}"
    );
}

#[test]
fn debug_shows_requests_and_no_secret() {
    let desk = Desk::new();
    desk.gateway.answer("GET /api/v1/usage", 200, usage(&[]));
    let output = desk.run(&["--debug", "usage", "--json"], "");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let log = text(&output.stderr);
    for part in [
        "signed a request",
        "path=\"/api/v1/usage\"",
        "audience=https://gw.example.com/Prod",
        "received the response's headers",
        "status=200",
        "elapsed_ms=",
    ] {
        assert!(log.contains(part), "{part} in {log}");
    }
    let received = desk.gateway.received();
    let signature = received[0].raw.headers["x-did-signature"].to_str().unwrap();
    assert!(!log.contains(signature), "{log}");
    assert!(!log.contains(&desk.user.secret()), "{log}");
}
