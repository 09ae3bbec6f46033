//! Programs that `llmgw run` runs.

use std::{
    io::{BufRead, BufReader},
    net::TcpListener,
    process::{Command, Output},
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    gateway::{AUDIENCE, Gateway},
    user::{User, text},
};

/// A request of the program, by what every machine has.
const ASKS: &str = r#"curl -sS -o /dev/null "$OPENAI_BASE_URL/echo" -H "authorization: Bearer $OPENAI_API_KEY" -d '{}'"#;

fn command(user: &User, gateway: &Gateway, script: &str) -> Command {
    let url = gateway.url();
    let mut command = user.command(&["run", "--gateway", &url, "--audience", AUDIENCE]);
    command.args(["--", "sh", "-c", script]);
    command.env("PATH", "/usr/local/bin:/usr/bin:/bin");
    command
}

fn run(gateway: &Gateway, script: &str) -> Output {
    command(&User::new(), gateway, script).output().unwrap()
}

#[test]
fn a_program_is_run_with_an_api_and_its_cost_is_told() {
    let gateway = Gateway::start();
    let rows = json!({"success": true, "data": {"next_cursor": null, "requests": [
        {"id": "r-1", "status": "completed", "input_tokens": 12, "output_tokens": 3,
         "cost_state": "final", "total_cost": "0.0000007434"},
        {"id": "another", "status": "completed", "input_tokens": 1, "output_tokens": 1,
         "cost_state": "final", "total_cost": "9"},
    ]}});
    gateway.answer("GET /api/v1/usage/requests", 200, rows.to_string());
    let user = User::new();
    let script = format!("{ASKS} && echo done && exit 7");
    let output = command(&user, &gateway, &script).output().unwrap();
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    assert_eq!(text(&output.stdout), "done\n");
    assert_eq!(
        text(&output.stderr),
        "llmgw: 1 request, 12 tokens in, 3 out, $0.0000007434\n"
    );
    let asked = gateway.received();
    let echo = asked
        .iter()
        .find(|it| it.raw.raw_path == "/api/v1/openrouter/echo");
    assert_eq!(echo.unwrap().did, user.did);
}

#[test]
fn the_variables_lead_to_a_server_of_its_own() {
    let gateway = Gateway::start();
    let script = "echo $OPENAI_BASE_URL $OPENAI_API_BASE; echo $ANTHROPIC_BASE_URL; \
         echo $OPENROUTER_BASE_URL $OPENROUTER_API_BASE; echo $OPENAI_API_KEY $ANTHROPIC_AUTH_TOKEN; \
         echo \"[$ANTHROPIC_API_KEY]\"; curl -s -o /dev/null -w '%{http_code}' $OPENAI_BASE_URL/models";
    let output = run(&gateway, script);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(text(&output.stderr), "llmgw: no request was billed\n");
    let said: Vec<_> = text(&output.stdout).lines().collect();
    let root = said[1];
    assert!(root.starts_with("http://127.0.0.1:"), "{said:?}");
    assert_eq!(said[0], format!("{root}/v1 {root}/v1"));
    assert_eq!(said[2], format!("{root}/api/v1 {root}/api/v1"));
    let (key, token) = said[3].split_once(' ').unwrap();
    assert!(key == token && key.len() == 32, "{said:?}");
    assert_eq!(said[4], "[]");
    // Other programs of this machine have no token.
    assert_eq!(said[5], "401");
}

#[test]
fn faults_are_told_when_the_program_has_ended() {
    let gateway = Gateway::start();
    let no_key = r#"{"error":{"message":"Store one.","metadata":{"reason":"no_key_for_did"}}}"#;
    gateway.answer("GET /api/v1/keys", 402, no_key);
    // The check has an answer before this one.
    let output = run(&gateway, "sleep 1; echo mine >&2");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let said: Vec<_> = text(&output.stderr).lines().collect();
    assert_eq!(said[0], "mine");
    assert!(said[1].starts_with("llmgw: ") && said[1].contains("(no_key_for_did)"));
    assert_eq!(said.last(), Some(&"llmgw: no request was billed"));
}

#[test]
fn a_program_does_not_wait_for_a_gateway_that_hangs() {
    let hanging = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", hanging.local_addr().unwrap());
    let user = User::new();
    let begun = Instant::now();
    let output = user.run(&["run", "--gateway", &url, "--", "/bin/echo", "now"]);
    assert_eq!(text(&output.stdout), "now\n");
    assert_eq!(text(&output.stderr), "llmgw: no request was billed\n");
    assert!(begun.elapsed() < Duration::from_secs(3));
}

#[test]
fn books_that_do_not_answer_do_not_keep_the_user_waiting() {
    let gateway = Gateway::start();
    gateway.answer("GET /api/v1/usage/requests", 0, "");
    let output = run(&gateway, ASKS);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let said = "llmgw: what it cost cannot be told: the gateway does not answer\n";
    assert_eq!(text(&output.stderr), said);
}

#[test]
fn signals_reach_the_program() {
    let gateway = Gateway::start();
    let user = User::new();
    for (signal, code) in [("TERM", 42), ("INT", 43), ("HUP", 44)] {
        let script = "trap 'exit 42' TERM; trap 'exit 43' INT; trap 'exit 44' HUP; echo ready; \
             while true; do sleep 0.05; done";
        let mut child = command(&user, &gateway, script).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut String::new()).unwrap();
        let id = child.id().to_string();
        let kill = Command::new("kill").args(["-s", signal, &id]).status();
        assert!(kill.unwrap().success());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{signal}: {output:?}");
    }
    let killed = run(&gateway, "kill -KILL $$");
    assert_eq!(killed.status.code(), Some(128 + 9));
}

#[test]
fn what_cannot_be_run_is_told_as_by_a_shell() {
    let gateway = Gateway::start();
    let user = User::new();
    let url = gateway.url();
    let args = ["run", "--gateway", &url, "--audience", AUDIENCE, "--"];
    for (program, code) in [("no-such-program", 127), ("/", 126)] {
        let output = user.run(&[&args[..], &[program]].concat());
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        let expected = format!("llmgw: cannot run {program}: ");
        assert!(text(&output.stderr).starts_with(&expected), "{output:?}");
    }
}
