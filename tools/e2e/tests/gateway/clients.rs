//! Other people's SDKs, each with the signing helper as its users install it. The scripts in
//! `tools/e2e/clients` report what such a user sees.

use std::{collections::BTreeMap, io::Write as _, process::Command, sync::LazyLock};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use e2e::{
    user::User,
    world::{AUDIENCE, World, with_world},
};
use serde_json::{Value, json};
use stack::{
    Workspace,
    clients::{ClientError, Sdks},
};
use stub::sdks;
use tempfile::NamedTempFile;

static SDKS: LazyLock<Result<Sdks, ClientError>> =
    LazyLock::new(|| Sdks::install(&Workspace::locate()));

/// The user's identity file; temporary files are readable by their owner alone.
pub(super) fn identity(user: &User<'_>) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    let seed = BASE64_URL_SAFE_NO_PAD.encode(user.seed);
    let stored = json!({"did": user.did.as_str(), "secret_key_seed": seed});
    file.write_all(stored.to_string().as_bytes()).unwrap();
    file
}

/// The report of a script that signs, and the books.
async fn transcript(world: &World, mut script: Command) -> String {
    let user = world.user().unwrap();
    let (own, stranger) = (identity(&user), identity(&world.stranger().unwrap()));
    script
        .env("GATEWAY", world.url("proxy", ""))
        .env("AUDIENCE", AUDIENCE)
        .env("IDENTITY", own.path())
        .env("STRANGER", stranger.path());
    report(&user, script).await
}

/// The script's report, and the books, after comparing each body that the SDK let it see with
/// what OpenRouter's stub sent.
pub(super) async fn report(user: &User<'_>, mut script: Command) -> String {
    let output = script.output().unwrap();
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    let mut seen: BTreeMap<String, Value> = serde_json::from_slice(&output.stdout).unwrap();
    for (body, sent) in [
        ("chat_body", sdks::CHAT),
        ("stream_body", sdks::CHAT_STREAM),
        ("message_body", sdks::MESSAGE),
        ("message_stream_body", sdks::MESSAGE_STREAM),
    ] {
        if let Some(received) = seen.remove(body) {
            assert_eq!(received.as_str(), std::str::from_utf8(sent).ok(), "{body}");
        }
    }
    let mut lines: Vec<_> = seen
        .iter()
        .map(|(name, value)| format!("{name}: {value}"))
        .collect();
    lines.push("the books:".to_owned());
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for row in user.rows().await.unwrap() {
        let columns = ["endpoint", "status", "cost_state"].map(|column| text(&row[column]));
        lines.push(format!("  {}", columns.join(" ")));
    }
    lines.join("\n")
}

pub(super) fn sdks() -> &'static Sdks {
    SDKS.as_ref().unwrap()
}

#[test]
fn openai_python_2() {
    with_world(async |world| {
        let script = sdks().python("openai-2", "openai_python.py");
        insta::assert_snapshot!(transcript(world, script).await);
    });
}

#[test]
fn openai_python_3() {
    with_world(async |world| {
        let script = sdks().python("openai-3", "openai_python.py");
        insta::assert_snapshot!(transcript(world, script).await);
    });
}

#[test]
fn openrouter_python() {
    with_world(async |world| {
        let script = sdks().python("openai-3", "openrouter_python.py");
        insta::assert_snapshot!(transcript(world, script).await);
    });
}

#[test]
fn openai_node() {
    with_world(async |world| {
        let script = sdks().node("openai_node.mjs");
        insta::assert_snapshot!(transcript(world, script).await);
    });
}

#[test]
fn openrouter_node() {
    with_world(async |world| {
        let script = sdks().node("openrouter_node.mjs");
        insta::assert_snapshot!(transcript(world, script).await);
    });
}

#[test]
fn vercels_ai_sdk() {
    with_world(async |world| {
        let script = sdks().node("ai_sdk.mjs");
        insta::assert_snapshot!(transcript(world, script).await);
    });
}

#[test]
fn anthropic_node() {
    with_world(async |world| {
        let script = sdks().node("anthropic_node.mjs");
        insta::assert_snapshot!(transcript(world, script).await);
    });
}
