//! Completions, as shells ask for them.

use std::{
    fs,
    net::TcpListener,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    gateway::{AUDIENCE, Gateway},
    terminal::Terminal,
    user::{User, text},
};

const MODELS: &str = "/api/v1/openrouter/models";

/// A gateway with models and tokens.
fn gateway() -> Gateway {
    let gateway = Gateway::start();
    let models = [
        "openai/gpt-4o-mini",
        "deepseek/r1",
        "deepseek/r1:free",
        "\u{1b}[2Jx/y",
    ];
    let models: Vec<_> = models.iter().map(|id| json!({"id": id})).collect();
    let body = json!({"data": models}).to_string();
    gateway.answer(&format!("GET {MODELS}"), 200, body);
    let tokens = json!({"success": true, "data": [{"id": "t-1", "name": "laptop"}]});
    gateway.answer("GET /api/v1/tokens", 200, tokens.to_string());
    gateway
}

/// A user with the profiles `work`, which is in use, and `home`.
fn user(gateway: &str) -> User {
    let user = User::new();
    for (name, url) in [("work", gateway), ("home", "https://gw.example.com")] {
        let args = ["profile", "add", name, url, "--audience", AUDIENCE];
        assert_eq!(user.run(&args).status.code(), Some(0));
    }
    user
}

/// The answer to fish for a command line that ends with the word to complete.
fn answer(user: &User, words: &[&str]) -> Vec<String> {
    let mut command = user.command(&["--", "llmgw"]);
    let output = command.args(words).env("LLMGW_COMPLETE", "fish").output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(text(&output.stderr), "");
    text(&output.stdout).lines().map(str::to_owned).collect()
}

fn asked_for_models(gateway: &Gateway) -> usize {
    let received = gateway.received();
    let models = received.iter().filter(|it| it.raw.raw_path == MODELS);
    models.count()
}

#[test]
fn bash_completes_commands_profiles_models_tokens_and_files() {
    let gateway = gateway();
    let user = user(&gateway.url());
    fs::write(user.home.path().join("notes.txt"), "").unwrap();
    let mut shell = Command::new("bash");
    let programs = Path::new(env!("CARGO_BIN_EXE_llmgw")).parent().unwrap();
    shell
        .args(["--norc", "--noprofile", "-i"])
        .env_clear()
        .env("HOME", user.home.path())
        .env("PATH", format!("{}:/usr/bin:/bin", programs.display()))
        .env("TERM", "dumb")
        .current_dir(user.home.path());
    let mut shell = Terminal::start(shell);
    shell.press(
        "bind 'set enable-bracketed-paste off'; source <(llmgw completions bash); echo so''urced\r",
    );
    shell.expect("sourced\r\n");
    for (typed, completed) in [
        ("ser", "serve "),
        ("serve --gen", "serve --generate-token "),
        ("--profile wo", "--profile work "),
        ("--profile=wo", "--profile=work "),
        ("profile use ho", "profile use home "),
        ("chat -m open", "chat -m openai/gpt-4o-mini "),
        ("chat --model=open", "chat --model=openai/gpt-4o-mini "),
        // What two have in common.
        ("chat -m deep", "chat -m deepseek/r1"),
        ("chat -m deepseek/r1:", "chat -m deepseek/r1:free "),
        (
            "chat --model=deepseek/r1:f",
            "chat --model=deepseek/r1:free ",
        ),
        ("tokens show l", "tokens show laptop "),
        ("chat -a no", "chat -a notes.txt "),
        ("run -- cat no", "run -- cat notes.txt "),
        ("completions z", "completions zsh "),
        ("no-such", "no-such"),
    ] {
        // Tab, then what is on the line becomes the arguments of echo.
        shell.press(&format!("llmgw {typed}\t\u{1}echo '>' \u{5}'<'\r"));
        shell.expect("\n> llmgw ");
        assert_eq!(shell.expect("<\r\n"), completed, "{typed}");
    }
}

#[test]
fn the_names_of_the_gateway_are_kept() {
    let gateway = gateway();
    let user = user(&gateway.url());
    let models = ["deepseek/r1", "deepseek/r1:free", "openai/gpt-4o-mini"];
    for words in [
        &["chat", "-m", ""][..],
        &["usage", "--requests", "--model", ""],
        &["tokens", "create", "x", "--models", ""],
    ] {
        assert_eq!(answer(&user, words), models);
    }
    assert_eq!(asked_for_models(&gateway), 1);
    // Another gateway has other models. It does not exist.
    let other = ["--gateway", "http://127.0.0.1:9", "chat", "-m", ""];
    assert_eq!(answer(&user, &other), [""; 0]);
    // `llmgw models` renews what is kept.
    let body = json!({"data": [{"id": "a/new-one"}]}).to_string();
    gateway.answer(&format!("GET {MODELS}"), 200, body);
    assert_eq!(user.run(&["models"]).status.code(), Some(0));
    assert_eq!(answer(&user, &["chat", "-m", ""]), ["a/new-one"]);
    // So it is without the gateway.
    drop(gateway);
    assert_eq!(answer(&user, &["chat", "-m", ""]), ["a/new-one"]);
    assert_eq!(answer(&user, &["chat", "-m", "a/x"]), [""; 0]);
}

#[test]
fn a_gateway_that_hangs_is_asked_once_and_for_a_second() {
    let hanging = TcpListener::bind("127.0.0.1:0").unwrap();
    let user = user(&format!("http://{}", hanging.local_addr().unwrap()));
    let timed = || {
        let begun = Instant::now();
        assert_eq!(answer(&user, &["chat", "-m", ""]), [""; 0]);
        begun.elapsed()
    };
    let (first, second) = (timed(), timed());
    assert!(first >= Duration::from_secs(1), "{first:?}");
    assert!(second < Duration::from_secs(1), "{second:?}");
    assert!(answer(&user, &["serve", "--ge"])[0].starts_with("--generate-token\t"));
    assert_eq!(
        answer(&user, &["profile", "use", "h"]),
        ["home\thttps://gw.example.com"]
    );
}

#[test]
fn a_program_that_holds_the_key_is_not_run() {
    let gateway = gateway();
    let user = user(&gateway.url());
    let file = user.identity_file();
    let stored = fs::read_to_string(&file).unwrap();
    let mut stored: serde_json::Value = serde_json::from_str(&stored).unwrap();
    let object = stored.as_object_mut().unwrap();
    object.remove("secret_key_seed");
    object.insert("sign_command".to_owned(), json!("touch touched; false"));
    fs::write(&file, stored.to_string()).unwrap();
    assert_eq!(answer(&user, &["chat", "-m", ""]), [""; 0]);
    let touched = user.home.path().join("touched");
    assert!(!touched.exists());
    assert_eq!(asked_for_models(&gateway), 0);
    // The command that is asked for does run it.
    user.run(&["models"]);
    assert!(touched.exists());
}

#[test]
fn each_shell_gets_a_script_that_asks() {
    let user = User::without_identity();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = user.run(&["completions", shell]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let script = text(&output.stdout);
        assert!(script.contains("LLMGW_COMPLETE"), "{shell}: {script}");
        assert!(script.contains("llmgw"), "{shell}");
    }
    let mut unknown = user.command(&["--", "llmgw", ""]);
    let output = unknown.env("LLMGW_COMPLETE", "tcsh").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
}
