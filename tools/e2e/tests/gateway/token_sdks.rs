//! SDKs that know a base URL and an access token, and nothing else: two tables in `docs/use/tokens.md`, each cell of
//! which is seen here. The scripts are `token_sdks` of `tools/e2e/clients`; each SDK has a token of its own, so that
//! the books tell them apart.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::{Child, Stdio},
};

use async_openai::{
    Client,
    config::OpenAIConfig,
    error::OpenAIError,
    middleware::ReqwestService,
    types::{chat::CreateChatCompletionRequest, embeddings::CreateEmbeddingRequestArgs},
};
use e2e::{
    user::User,
    world::{World, with_world},
};
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use shared::identity::access_token::AccessToken;

use crate::{
    clients::sdks,
    tokens::{Refused, make, mistyped},
};

/// The features in the order of the table's columns, each with its outcome.
const FEATURES: [(&str, &str); 9] = [
    ("whole", "Grüezi, 世界 (18 tokens)"),
    ("streamed", "Grüezi, 世界!"),
    ("tools", r#"weather({"city":"Zürich"})"#),
    ("responses", "Grüezi, 世界 Grüezi, 世界 (18 tokens)"),
    ("embeddings", "[0.25,-0.5,0.001]"),
    ("transcription", "Grüezi mitenand"),
    (
        "models",
        "openai/gpt-4o-mini anthropic/claude-sonnet-4.6 google/gemini-2.5-flash deepseek/deepseek-r1:free",
    ),
    ("quota", "5 daily true"),
    ("cancelled", "Grüezi"),
];
/// The requests of each feature that the books have.
const BOOKED: [(&str, usize); 7] = [
    ("whole", 1),
    ("streamed", 1),
    ("tools", 1),
    ("responses", 2),
    ("embeddings", 1),
    ("transcription", 1),
    ("cancelled", 1),
];
/// The statuses of refusals in the order of the table's columns, each with a part of the gateway's sentence.
const REFUSALS: [(&str, &str); 6] = [
    ("401 malformed", "checksum"),
    ("401 unknown", "No such access token"),
    ("401 revoked", "revoked"),
    ("402", "budget"),
    ("403", "model"),
    ("429", "requests per minute"),
];

/// A script with its language, the environment it runs in, and the SDKs that it drives there.
const SCRIPTS: [(&str, &str, &[&str]); 4] = [
    ("Python", "openai-2", &["openai"]),
    ("Python", "openai-3", &["openai", "openrouter"]),
    (
        "Python",
        "programs",
        &[
            "anthropic",
            "langchain-openai",
            "langchain-openrouter",
            "litellm",
        ],
    ),
    (
        "Node",
        "sdks",
        &[
            "openai",
            "@openrouter/sdk",
            "@anthropic-ai/sdk",
            "@ai-sdk/openai",
            "@ai-sdk/anthropic",
            "@openrouter/ai-sdk-provider",
        ],
    ),
];

/// The outcomes of an SDK, by feature and refusal, and the token that made its requests.
struct Seen {
    client: String,
    token_id: String,
    outcomes: BTreeMap<String, String>,
}

/// A script at work.
struct Running {
    language: &'static str,
    script: Child,
    /// The ids of the tokens, by SDK.
    ids: BTreeMap<&'static str, String>,
}

struct Bench<'a> {
    world: &'a World,
    user: User<'a>,
    base: String,
    refused: BTreeMap<&'static str, String>,
}

impl<'a> Bench<'a> {
    async fn new(world: &'a World) -> Self {
        let user = world.user().unwrap();
        let (_, whole) = make(&user, settings("mistyped")).await;
        let Refused {
            revoked,
            spent,
            narrow,
            slow,
        } = Refused::make(&user).await;
        let unknown = AccessToken::from_randomness([7; 32]).expose().to_string();
        let tokens = [mistyped(&whole), unknown, revoked, spent, narrow, slow];
        let refused = REFUSALS
            .map(|(name, _)| name)
            .into_iter()
            .zip(tokens)
            .collect();
        Self {
            world,
            user,
            base: world.url("proxy-shared", "/api/v1/openrouter"),
            refused,
        }
    }

    /// Starts a script with tokens for its SDKs.
    async fn start(
        &self,
        language: &'static str,
        environment: &str,
        names: &'static [&str],
    ) -> Running {
        let (mut ids, mut tokens) = (BTreeMap::new(), BTreeMap::new());
        for name in names {
            let (id, token) = make(&self.user, settings(&format!("{name} in {environment}"))).await;
            ids.insert(*name, id);
            tokens.insert(*name, token);
        }
        let mut script = match language {
            "Python" => sdks().python(environment, "token_sdks.py"),
            _ => sdks().node("token_sdks.mjs"),
        };
        let script = script
            .env("BASE", &self.base)
            .env(
                "MODELS_BASE",
                self.world.url("proxy-demo", "/api/v1/openrouter"),
            )
            .env("TOKENS", json!(tokens).to_string())
            .env("REFUSED", json!(self.refused).to_string())
            // Else LiteLLM asks GitHub for prices.
            .env("LITELLM_LOCAL_MODEL_COST_MAP", "True")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Running {
            language,
            script,
            ids,
        }
    }
}

impl Running {
    /// The script's report.
    fn report(self) -> Vec<Seen> {
        let output = self.script.wait_with_output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errors}");
        let report: Vec<(String, String, BTreeMap<String, String>)> =
            serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report.len(), self.ids.len());
        let seen = report.into_iter().map(|(sdk, version, outcomes)| Seen {
            client: format!("| `{sdk}` ({}) | {version}", self.language),
            token_id: self.ids[sdk.as_str()].clone(),
            outcomes,
        });
        seen.collect()
    }
}

/// The same for async-openai, which repeats refused requests unless it has a service of its own.
async fn async_openai(bench: &Bench<'_>) -> Seen {
    let (token_id, token) = make(&bench.user, settings("async-openai")).await;
    let client = |key: &str| {
        let config = OpenAIConfig::new()
            .with_api_base(&bench.base)
            .with_api_key(key);
        {
            let http = bench.world.client.clone();
            Client::build(http.clone(), config).with_http_service(ReqwestService::new(http))
        }
    };
    let ai = client(&token);
    let mut outcomes = BTreeMap::new();
    let mut add = |name: &str, outcome: String| outcomes.insert(name.to_owned(), outcome);
    add("whole", whole(&ai).await.unwrap());
    let mut chunks = ai
        .chat()
        .create_stream(chat("sdk/chat", &json!({})))
        .await
        .unwrap();
    let mut text = String::new();
    while let Some(chunk) = chunks.next().await {
        text.push_str(
            chunk.unwrap().choices[0]
                .delta
                .content
                .as_deref()
                .unwrap_or_default(),
        );
    }
    add("streamed", text);
    let tools =
        json!({"tools": [{"type": "function", "function": {"name": "weather", "parameters": {}}}]});
    let called = ai.chat().create(chat("sdk/tools", &tools)).await.unwrap();
    let called = json!(called.choices[0].message.tool_calls.as_ref().unwrap()[0]);
    let call = &called["function"];
    let arguments = call["arguments"].as_str().unwrap();
    add(
        "tools",
        format!("{}({arguments})", call["name"].as_str().unwrap()),
    );
    let question = CreateEmbeddingRequestArgs::default()
        .model("sdk/embeddings")
        .input("hello")
        .build();
    let vectors = ai.embeddings().create(question.unwrap()).await.unwrap();
    add("embeddings", format!("{:?}", vectors.data[0].embedding));
    let mut chunks = ai
        .chat()
        .create_stream(chat("sdk/slow", &json!({})))
        .await
        .unwrap();
    let first = chunks.next().await.unwrap().unwrap();
    drop(chunks);
    add("cancelled", first.choices[0].delta.content.clone().unwrap());
    for (name, refused) in &bench.refused {
        if *name == "429" {
            // One in a minute passes.
            let _ = whole(&client(refused)).await;
        }
        let error = whole(&client(refused)).await.unwrap_err();
        let debug = format!("{error:?}");
        let variant = debug.split(['(', ' ']).next().unwrap_or_default();
        add(name, format!("{variant}: {error}"));
    }
    Seen {
        client: "| `async-openai` (Rust) | 0.43.0".to_owned(),
        token_id,
        outcomes,
    }
}

async fn whole(ai: &Client<OpenAIConfig>) -> Result<String, OpenAIError> {
    let answer = ai.chat().create(chat("sdk/chat", &json!({}))).await?;
    let text = answer.choices[0]
        .message
        .content
        .as_deref()
        .unwrap_or_default();
    Ok(format!(
        "{text} ({} tokens)",
        answer.usage.map_or(0, |it| it.total_tokens)
    ))
}

fn chat(model: &str, more: &Value) -> CreateChatCompletionRequest {
    let mut body = json!({"model": model, "messages": [{"role": "user", "content": "Say hello"}]});
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    serde_json::from_value(body).unwrap()
}

fn settings(name: &str) -> Value {
    json!({"name": name, "budgets": [{"period": "day", "amount": "5"}]})
}

/// The row of an SDK in the table of features, or what is wrong.
fn features(seen: &Seen, rows: &[Value]) -> Result<String, String> {
    let mut cells = Vec::new();
    let mut requests = 0;
    for (feature, expected) in FEATURES {
        // Languages write JSON with blanks or without.
        let bare = |text: &str| text.replace(' ', "");
        match seen.outcomes.get(feature) {
            None => cells.push("–".to_owned()),
            Some(outcome) if bare(outcome) == bare(expected) => {
                cells.push("yes".to_owned());
                let of = BOOKED.iter().find(|(name, _)| *name == feature);
                requests += of.map_or(0, |(_, requests)| *requests);
            }
            Some(outcome) => return Err(format!("{}: {feature}: {outcome}", seen.client)),
        }
    }
    let own = rows
        .iter()
        .filter(|row| row["token_id"] == json!(seen.token_id));
    let booked = own.filter(|row| {
        let is_whole = row["status"] == "completed" && row["cost_state"] == "final";
        is_whole && row["total_cost"].as_f64().is_some_and(|cost| cost > 0.0)
    });
    let booked = booked.count();
    if booked != requests {
        return Err(format!(
            "{}: {booked} requests booked instead of {requests}",
            seen.client
        ));
    }
    Ok(format!(
        "{} | {} | {booked} |",
        seen.client,
        cells.join(" | ")
    ))
}

/// The row of an SDK in the table of refusals, or what is wrong.
fn refusals(seen: &Seen) -> Result<String, String> {
    let mut cells: Vec<String> = Vec::new();
    for (refusal, sentence) in REFUSALS {
        let outcome = &seen.outcomes[refusal];
        let Some((name, message)) = outcome.split_once(": ") else {
            return Err(format!("{}: {refusal}: {outcome}", seen.client));
        };
        let cell = format!("`{name}`");
        if !message.contains(sentence)
            || (refusal.starts_with("401 ") && cells.iter().any(|it| *it != cell))
        {
            return Err(format!("{}: {refusal}: {outcome}", seen.client));
        }
        if !cells.contains(&cell) || !refusal.starts_with("401 ") {
            cells.push(cell);
        }
    }
    Ok(format!("{} | {} |", seen.client, cells.join(" | ")))
}

/// The lines of the table below a heading of `docs/use/tokens.md`.
fn documented(world: &World, heading: &str) -> BTreeSet<String> {
    let page = fs::read_to_string(world.project("docs/use/tokens.md")).unwrap();
    let (_, section) = page.split_once(&format!("### {heading}\n")).unwrap();
    let section = section.split("\n#").next().unwrap();
    section
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_sdk_works_with_a_base_url_and_a_token() {
    with_world(async |world| {
        let bench = Bench::new(world).await;
        let mut running = Vec::new();
        for (language, environment, names) in SCRIPTS {
            running.push(bench.start(language, environment, names).await);
        }
        let mut seen = vec![async_openai(&bench).await];
        seen.extend(running.into_iter().flat_map(Running::report));
        let rows = bench.user.rows().await.unwrap();
        let mut wrong = Vec::new();
        for (heading, table) in [
            (
                "Features",
                seen.iter()
                    .map(|it| features(it, &rows))
                    .collect::<Vec<_>>(),
            ),
            ("Refusals in clients", seen.iter().map(refusals).collect()),
        ] {
            let (table, faults): (Vec<_>, Vec<_>) = table.into_iter().partition(Result::is_ok);
            wrong.extend(faults.into_iter().filter_map(Result::err));
            let table: BTreeSet<String> = table.into_iter().filter_map(Result::ok).collect();
            if table != documented(world, heading) {
                let lines = Vec::from_iter(table).join("\n");
                wrong.push(format!(
                    "docs/use/tokens.md should have below {heading}:\n{lines}"
                ));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    });
}
