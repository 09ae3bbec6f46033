//! Other people's programs, unchanged: they know a base URL and an API key, and `llmgw serve` does
//! the rest. The scripts are those of `tools/e2e/clients` that begin with `serve_`.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    sync::LazyLock,
};

use async_openai::{
    Client,
    config::OpenAIConfig,
    error::OpenAIError,
    types::chat::{ChatCompletionRequestUserMessage, CreateChatCompletionRequestArgs},
};
use e2e::{
    user::User,
    world::{AUDIENCE, World, chat_body, with_world},
};
use futures_util::StreamExt as _;
use stack::{Functions, Workspace};
use stub::{Endpoint, scripted::answer_bytes};
use tempfile::NamedTempFile;

use crate::clients::{identity, report, sdks};

/// Built like the functions.
static LLMGW: LazyLock<Functions> =
    LazyLock::new(|| Functions::build(&Workspace::locate(), &["llmgw"]).unwrap());
/// A port on which nothing listens.
const NOBODY: &str = "http://127.0.0.1:9";
/// The API key of the programs.
pub(super) const TOKEN: &str = "a-token-of-the-tests";

/// The variable that is printed last.
const LAST_VARIABLE: &str = "OPENROUTER_API_KEY";

/// A user's proxy.
pub(super) struct Serve {
    child: Child,
    /// The variables that programs have to set.
    variables: Vec<(String, String)>,
    _identity: NamedTempFile,
}

impl Serve {
    pub(super) fn start(user: &User<'_>, gateway: &str) -> Self {
        let identity = identity(user);
        let mut child = Command::new(LLMGW.binary("llmgw").unwrap())
            .args(["serve", "--port", "0", "--gateway", gateway])
            .args(["--audience", AUDIENCE, "--identity"])
            .arg(identity.path())
            .env("LLMGW_SERVE_TOKEN", TOKEN)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let mut variables = Vec::new();
        for line in stdout.lines() {
            let line = line.unwrap();
            let (name, value) = line
                .strip_prefix("export ")
                .unwrap()
                .split_once('=')
                .unwrap();
            variables.push((name.to_owned(), value.trim_matches('\'').to_owned()));
            if name == LAST_VARIABLE {
                break;
            }
        }
        Self {
            variables,
            child,
            _identity: identity,
        }
    }

    /// The variables that programs have to set.
    pub(super) fn variables(&self) -> impl Iterator<Item = (&String, &String)> {
        self.variables.iter().map(|(name, value)| (name, value))
    }

    pub(super) fn variable(&self, name: &str) -> &str {
        let found = self.variables.iter().find(|(it, _)| it == name);
        &found.unwrap().1
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        // The process may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The report of a program that is run as its user would run it, and the books.
async fn transcript(world: &World, mut program: Command) -> String {
    let user = world.user().unwrap();
    let gateway = world.url("proxy", "");
    let own = Serve::start(&user, &gateway);
    let stranger = Serve::start(&world.stranger().unwrap(), &gateway);
    let down = Serve::start(&user, NOBODY);
    program
        .envs(own.variables())
        .env("STRANGER", stranger.variable("OPENAI_BASE_URL"))
        .env("DOWN", down.variable("OPENAI_BASE_URL"))
        // Else LiteLLM asks GitHub for prices.
        .env("LITELLM_LOCAL_MODEL_COST_MAP", "True");
    report(&user, program).await
}

#[test]
fn openai_python_2() {
    with_world(async |world| {
        let program = sdks().python("openai-2", "serve_openai.py");
        insta::assert_snapshot!(transcript(world, program).await);
    });
}

#[test]
fn openai_python_3() {
    with_world(async |world| {
        let program = sdks().python("openai-3", "serve_openai.py");
        insta::assert_snapshot!(transcript(world, program).await);
    });
}

#[test]
fn anthropic_python() {
    with_world(async |world| {
        let program = sdks().python("programs", "serve_anthropic.py");
        insta::assert_snapshot!(transcript(world, program).await);
    });
}

#[test]
fn langchain() {
    with_world(async |world| {
        let program = sdks().python("programs", "serve_langchain.py");
        insta::assert_snapshot!(transcript(world, program).await);
    });
}

#[test]
fn litellm() {
    with_world(async |world| {
        let program = sdks().python("programs", "serve_litellm.py");
        insta::assert_snapshot!(transcript(world, program).await);
    });
}

#[test]
fn openai_node() {
    with_world(async |world| {
        let program = sdks().node("serve_openai.mjs");
        insta::assert_snapshot!(transcript(world, program).await);
    });
}

#[test]
fn anthropic_node() {
    with_world(async |world| {
        let program = sdks().node("serve_anthropic.mjs");
        insta::assert_snapshot!(transcript(world, program).await);
    });
}

#[test]
fn openrouter_python() {
    with_world(async |world| {
        let program = sdks().python("openai-3", "serve_openrouter.py");
        insta::assert_snapshot!(transcript(world, program).await);
    });
}

#[test]
fn openrouter_node() {
    with_world(async |world| {
        let program = sdks().node("serve_openrouter.mjs");
        insta::assert_snapshot!(transcript(world, program).await);
    });
}

#[test]
fn vercels_ai_sdk() {
    with_world(async |world| {
        let program = sdks().node("serve_ai_sdk.mjs");
        insta::assert_snapshot!(transcript(world, program).await);
    });
}

#[test]
fn async_openai() {
    with_world(async |world| {
        let user = world.user().unwrap();
        let own = Serve::start(&user, &world.url("proxy", ""));
        let client = |key: &str| {
            let config = OpenAIConfig::new()
                .with_api_base(own.variable("OPENAI_BASE_URL"))
                .with_api_key(key);
            Client::build(world.client.clone(), config)
        };
        let asked = |model: &str| {
            let message = ChatCompletionRequestUserMessage::from("Say hello");
            CreateChatCompletionRequestArgs::default()
                .model(model)
                .messages([message.into()])
                .build()
                .unwrap()
        };
        let ours = client(TOKEN);
        let chat = ours.chat().create(asked("sdk/chat")).await.unwrap();
        let text = |content: Option<String>| content.unwrap_or_default();
        assert_eq!(
            text(chat.choices[0].message.content.clone()),
            "Grüezi, 世界"
        );
        assert_eq!(chat.usage.unwrap().total_tokens, 18);

        let mut stream = ours.chat().create_stream(asked("sdk/chat")).await.unwrap();
        let mut streamed = String::new();
        while let Some(chunk) = stream.next().await {
            streamed.push_str(&text(chunk.unwrap().choices[0].delta.content.clone()));
        }
        assert_eq!(streamed, "Grüezi, 世界!");

        // OpenRouter's codes are numbers, which this client does not expect; the failure is one.
        let unpaid = ours.chat().create(asked("sdk/unpaid")).await;
        let unpaid = unpaid.unwrap_err().to_string();
        assert!(unpaid.contains("Insufficient credits"), "{unpaid}");

        let refused = client("sk-wrong").chat().create(asked("sdk/chat")).await;
        let Err(OpenAIError::ApiError(refused)) = refused else {
            panic!("{refused:?}");
        };
        assert!(refused.to_string().contains("not the token"), "{refused}");
        let rows = user.rows().await.unwrap();
        assert_eq!(rows.len(), 3, "{rows:?}");
    });
}

/// curl, by each base URL and in each place for the key.
#[test]
fn answers_are_those_of_the_upstream_to_the_byte() {
    with_world(async |world| {
        let user = world.user().unwrap();
        let serve = Serve::start(&user, &world.url("proxy", ""));
        for (variable, path, header) in [
            (
                "OPENAI_BASE_URL",
                "/chat/completions",
                "authorization: Bearer ",
            ),
            ("ANTHROPIC_BASE_URL", "/v1/messages", "x-api-key: "),
            (
                "OPENROUTER_BASE_URL",
                "/chat/completions",
                "authorization: Bearer ",
            ),
            (
                "OPENROUTER_BASE_URL",
                "/openrouter/chat/completions",
                "x-api-key: ",
            ),
        ] {
            for stream in [false, true] {
                let body = String::from_utf8(chat_body("stub/ok", stream, "gen-curl")).unwrap();
                let output = Command::new("curl")
                    .args(["-sSN", "--fail-with-body", "-d", &body])
                    .args(["-H", "content-type: application/json"])
                    .args(["-H", &format!("{header}{TOKEN}")])
                    .arg(format!("{}{path}", serve.variable(variable)))
                    .output()
                    .unwrap();
                assert!(output.status.success(), "{output:?}");
                let endpoint = if path.ends_with("/messages") {
                    Endpoint::Messages
                } else {
                    Endpoint::Chat
                };
                let sent = answer_bytes(endpoint, stream, "gen-curl");
                assert!(output.stdout == sent, "{variable}{path}, stream: {stream}");
            }
        }
        let rows = user.rows().await.unwrap();
        assert_eq!(rows.len(), 8);
        for row in rows {
            assert_eq!(
                (&row["status"], &row["cost_state"]),
                (&"completed".into(), &"final".into())
            );
        }
    });
}

#[test]
fn a_program_that_is_stopped_leaves_no_open_row() {
    with_world(async |world| {
        let user = world.user().unwrap();
        let serve = Serve::start(&user, &world.url("proxy", ""));
        let body = String::from_utf8(chat_body("stub/slow", true, "gen-stopped")).unwrap();
        let mut program = Command::new("curl")
            .args(["-sSN", "-d", &body, "-H", "content-type: application/json"])
            .args(["-H", &format!("x-api-key: {TOKEN}")])
            .arg(format!(
                "{}/chat/completions",
                serve.variable("OPENAI_BASE_URL")
            ))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(program.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        assert_eq!(line, ": OPENROUTER PROCESSING\n");
        program.kill().unwrap();
        program.wait().unwrap();
        let row = user.row().await.unwrap();
        assert_eq!(row["status"], "completed");
        assert_eq!(row["cost_state"], "final");
    });
}
