//! Every service starts, answers, and leaves nothing behind.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::thread;
use std::time::Duration;

use stack::process::ProcessError;
use stack::{Database, Function, Moto, Port, RunDir, Tools, Watch, Workspace};

struct Bench {
    tools: Tools,
    run: RunDir,
}

fn bench(name: &str) -> Bench {
    let workspace = Workspace::locate();
    Bench {
        tools: Tools::install(&workspace).unwrap(),
        run: RunDir::unique(&workspace, name).unwrap(),
    }
}

fn client() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .proxy(None)
        .timeout_global(Some(Duration::from_secs(20)))
        .build()
        .new_agent()
}

fn get(url: &str, headers: &[(&str, &str)]) -> (u16, String) {
    let mut request = client().get(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut response = request.call().unwrap();
    let body = response.body_mut().read_to_string().unwrap();
    (response.status().as_u16(), body)
}

/// Whether a process runs with `text` on its command line.
fn runs(text: &str) -> bool {
    Command::new("pgrep")
        .args(["--full", "--", text])
        .output()
        .unwrap()
        .status
        .success()
}

#[test]
#[ignore = "needs TOOLS"]
fn postgres_keeps_revoked_grants_revoked() {
    let Bench { tools, run } = bench("postgres");
    let database = Database::postgres(&tools, &run, Port::free().unwrap()).unwrap();
    let url = format!("{}/rest/v1/user_api_keys", database.url());

    let (status, body) = get(&url, &[("apikey", database.secret_key())]);
    assert_eq!((status, body.as_str()), (200, "[]"));
    let (status, body) = get(&url, &[("apikey", database.publishable_key())]);
    assert!(matches!(status, 401 | 403), "{status} {body}");
    let server = database.server().unwrap();
    assert_eq!(server.query("SELECT 1, 'a'").unwrap(), "1|a");

    let id = server.process().id();
    let connection = server.url("authenticator");
    drop(database);
    assert!(!std::path::Path::new(&format!("/proc/{id}")).exists());
    assert!(!runs(&connection));
}

#[test]
#[ignore = "needs TOOLS"]
fn migrations_are_applied_once() {
    let Bench { tools, run } = bench("migrations");
    let database = Database::postgres(&tools, &run, Port::free().unwrap()).unwrap();
    let server = database.server().unwrap();
    let query = "SELECT count(*) FROM supabase_migrations.schema_migrations";
    let applied: usize = server.query(query).unwrap().parse().unwrap();
    assert!(applied >= 3, "{applied}");
    assert_eq!(server.migrate(&Workspace::locate()).unwrap(), "0 applied\n");
    // The count is what decides, as with the Supabase CLI.
    server
        .query("DELETE FROM supabase_migrations.schema_migrations WHERE name = 'functions'; DROP FUNCTION public.begin_request")
        .unwrap();
    let again = server.migrate(&Workspace::locate()).unwrap();
    assert_eq!(again, "20260103000000_functions\n1 applied\n");
    assert_eq!(server.query(query).unwrap(), applied.to_string());
}

#[test]
#[ignore = "needs TOOLS"]
fn pglite_answers_with_the_migrations_applied() {
    let Bench { tools, run } = bench("pglite");
    let database = Database::pglite(&tools, &run, Port::free().unwrap()).unwrap();
    let url = format!("{}/rest/v1/user_api_keys", database.url());
    let (status, body) = get(&url, &[("apikey", database.secret_key())]);
    assert_eq!((status, body.as_str()), (200, "[]"));
}

#[test]
#[ignore = "needs TOOLS"]
fn moto_stores_secrets_and_reports_refusals() {
    let Bench { tools, run } = bench("moto");
    let moto = Moto::start(&tools, &run, Port::free().unwrap()).unwrap();
    moto.create_secret("keyset", r#"{"primaryKeyId":1}"#)
        .unwrap();
    moto.put_secret("keyset", r#"{"primaryKeyId":2}"#).unwrap();

    let read = Command::new(tools.python())
        .args(["-c", "import boto3; print(boto3.client('secretsmanager').get_secret_value(SecretId='keyset')['SecretString'])"])
        .envs(moto.env())
        .env("AWS_DEFAULT_REGION", "us-east-1")
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&read.stdout).trim(),
        r#"{"primaryKeyId":2}"#,
        "{}",
        String::from_utf8_lossy(&read.stderr)
    );

    let refusal = moto.put_secret("nothing", "{}").unwrap_err().to_string();
    assert!(refusal.contains("ResourceNotFoundException"), "{refusal}");
}

/// A function in a few lines: the body of its answers is the event that it got.
const ECHO: &str = r#"
import json, os, urllib.request as http
runtime = os.environ["AWS_LAMBDA_RUNTIME_API"] + "/2018-06-01/runtime/invocation/"
while True:
    event = http.urlopen(runtime + "next")
    answer = {"statusCode": 200, "headers": {}, "multiValueHeaders": {}, "cookies": [],
              "body": event.read().decode(), "isBase64Encoded": False}
    id = event.headers["lambda-runtime-aws-request-id"]
    http.urlopen(http.Request(runtime + id + "/response", json.dumps(answer).encode(), method="POST"))
"#;

#[test]
#[ignore = "needs TOOLS"]
fn the_gateway_reaches_a_function_by_route_by_name_and_by_event() {
    let Bench { tools, run } = bench("watch");
    let watch = Watch::only_apis(&tools, &run, Port::free().unwrap()).unwrap();
    let program = run.path().join("echo.py");
    let script = format!("#!{}\n{ECHO}", tools.python().display());
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    let function = Function::spawn(&watch, &run, "health", &program, &[]).unwrap();

    for (path, seen) in [
        ("/api/v1/health", r#""rawPath":"/api/v1/health""#),
        ("/chat/completions", r#""rawPath":"/chat/completions""#),
        ("/lambda-url/health/some/path", r#""rawPath":"/some/path""#),
    ] {
        let (status, body) = get(&format!("{}{path}", watch.url()), &[]);
        assert_eq!(status, 200, "{body}");
        assert!(body.contains(seen), "{body}");
    }

    let invoke = format!("{}/2015-03-31/functions/health/invocations", watch.url());
    let mut response = client().post(invoke).send(r#"{"any":"event"}"#).unwrap();
    let body = response.body_mut().read_to_string().unwrap();
    let answer: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(answer["body"], r#"{"any":"event"}"#, "{body}");
    drop(function);
}

#[test]
#[ignore = "needs TOOLS"]
fn a_function_that_ends_at_once_shows_why() {
    let Bench { tools, run } = bench("watch");
    let watch = Watch::only_apis(&tools, &run, Port::free().unwrap()).unwrap();
    let error = Function::spawn(&watch, &run, "health", "/bin/false".as_ref(), &[]).unwrap_err();
    assert!(matches!(error, ProcessError::Died { .. }), "{error}");
}

/// The parent is the example `hold`, which is built with the tests.
#[test]
#[ignore = "needs TOOLS"]
fn services_end_with_a_parent_that_was_killed() {
    let marker = format!("llm-gateway-orphan-{}", std::process::id());
    let target = std::env::current_exe().unwrap();
    let example = target.ancestors().nth(2).unwrap().join("examples/hold");
    let mut parent = Command::new(example).arg(&marker).spawn().unwrap();
    let service = format!("sleep 61 # {marker}");
    let patience = || (0..100).map(|_| thread::sleep(Duration::from_millis(100)));
    assert!(patience().any(|()| runs(&service)), "it never started");

    parent.kill().unwrap();
    parent.wait().unwrap();

    assert!(patience().any(|()| !runs(&service)), "it is still running");
}
