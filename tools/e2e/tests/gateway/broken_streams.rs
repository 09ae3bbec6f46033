//! Answers that fail, as every SDK tells its user: a table in `docs/use/programs.md`, each cell of which is
//! seen here. No SDK may end as if the answer of a broken stream were whole, nor fail to parse what the
//! gateway sends; the scripts `serve_errors` of `tools/e2e/clients` only read answers.

use std::{
    collections::BTreeSet,
    fs,
    process::{Child, Command, Stdio},
};

use async_openai::{Client, config::OpenAIConfig, error::OpenAIError};
use e2e::world::{World, with_world};
use futures_util::StreamExt as _;
use serde_json::{Value, json};

use crate::{
    clients::sdks,
    serve::{Serve, TOKEN},
};

/// The answer is cut, says itself that it failed, or never comes.
const CASES: [&str; 3] = ["cut", "failed", "silent"];
/// The gateway's sentences for the first and the last.
const CUT: &str = "OpenRouter closed the connection before its answer was complete.";
const SILENT: &str = "OpenRouter did not answer in time";

/// An SDK's way to ask, a case, the model that it asked for, and what its user learns.
type Seen = (String, String, String, String);

/// The scripts, each with the name of its language, at work.
fn start_scripts(own: &Serve) -> Vec<(&'static str, Child)> {
    let scripts = [
        ("Python", sdks().python("programs", "serve_errors.py")),
        ("Python", sdks().python("openai-3", "serve_errors.py")),
        ("Node", sdks().node("serve_errors.mjs")),
    ];
    let start = |(number, (language, mut script)): (usize, (&'static str, Command))| {
        script
            .envs(own.variables())
            .env("CASES", CASES.join(","))
            .env("NAME", number.to_string())
            // Else LiteLLM asks GitHub for prices.
            .env("LITELLM_LOCAL_MODEL_COST_MAP", "True")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        (language, script.spawn().unwrap())
    };
    scripts.into_iter().enumerate().map(start).collect()
}

/// The scripts' reports.
fn reports(scripts: Vec<(&'static str, Child)>) -> Vec<Seen> {
    let mut seen = Vec::new();
    for (language, running) in scripts {
        let output = running.wait_with_output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errors}");
        let report: Vec<Seen> = serde_json::from_slice(&output.stdout).unwrap();
        seen.extend(report.into_iter().map(|(sdk, case, model, outcome)| {
            let [package, version, way] = sdk.splitn(3, ' ').collect::<Vec<_>>()[..] else {
                panic!("{sdk}");
            };
            let way = format!("| `{package}` ({language}) | {version} | `{way}`");
            (way, case, model, outcome)
        }));
    }
    seen
}

/// The same for async-openai.
async fn async_openais(world: &World, own: &Serve) -> Vec<Seen> {
    let config = OpenAIConfig::new()
        .with_api_base(own.variable("OPENAI_BASE_URL"))
        .with_api_key(TOKEN);
    let client = Client::build(world.client.clone(), config);
    let mut seen = Vec::new();
    for case in CASES {
        let model = format!("sdk/{case}--rust-");
        let body = json!({
            "model": model, "stream": true,
            "messages": [{"role": "user", "content": "Say hello"}],
        });
        let mut outcome = "ends silently".to_owned();
        let request = serde_json::from_value(body).unwrap();
        match client.chat().create_stream(request).await {
            Ok(mut stream) => {
                while let Some(chunk) = stream.next().await {
                    if let Err(error) = chunk {
                        outcome = told(&error);
                        break;
                    }
                }
            }
            Err(error) => outcome = told(&error),
        }
        let way = "| `async-openai` (Rust) | 0.43.0 | `chat`".to_owned();
        seen.push((way, case.to_owned(), model, outcome));
    }
    seen
}

fn told(error: &OpenAIError) -> String {
    let debug = format!("{error:?}");
    let variant = debug.split(['(', ' ']).next().unwrap_or_default();
    format!("raises {variant}: {error}")
}

/// The outcome without its message, which may hold anything.
fn cell(outcome: &str) -> String {
    match outcome.split_once(' ') {
        Some((verb @ ("raises" | "yields"), told)) => {
            let name = told.split(':').next().unwrap_or_default();
            format!("{verb} `{name}`")
        }
        Some(_) | None => format!("**{outcome}**"),
    }
}

#[test]
fn every_sdk_tells_of_an_answer_that_fails() {
    with_world(async |world| {
        let user = world.user().unwrap();
        // All SDKs at once, long enough for a busy machine, and less than the 5 s after which OpenRouter's SDK
        // for Python gives up.
        let patience = [
            ("UPSTREAM_FIRST_BYTE_TIMEOUT_MS", "4000".to_owned()),
            ("AWS_LAMBDA_MAX_CONCURRENCY", "64".to_owned()),
        ];
        let deployed = world.deploy(&["proxy"], &patience).unwrap();
        let own = Serve::start(&user, &deployed.url("proxy", ""));
        let scripts = start_scripts(&own);
        let mut seen = async_openais(world, &own).await;
        seen.extend(reports(scripts));

        let ways: BTreeSet<&String> = seen.iter().map(|(way, ..)| way).collect();
        let (mut table, mut wrong) = (BTreeSet::new(), Vec::new());
        for way in ways {
            let of = |case: &str| {
                let found = seen.iter().find(|(it, of, ..)| it == way && of == case);
                let (_, _, model, outcome) = found.unwrap();
                (model, outcome.as_str())
            };
            let ((_, cut), (_, failed), (model, silent)) = (of("cut"), of("failed"), of("silent"));
            if !cut.contains(CUT) || !silent.contains(SILENT) {
                wrong.push(format!("{way}: {cut}; {silent}"));
            }
            let asked = world.upstream.received(model).len();
            let cells = [cut, failed, silent].map(cell).join(" | ");
            table.insert(format!("{way} | {cells} | {asked} |"));
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
        let page = fs::read_to_string(world.project("docs/use/programs.md")).unwrap();
        let (_, section) = page.split_once("## Answers that fail").unwrap();
        let documented: BTreeSet<String> = section
            .lines()
            .filter(|line| line.starts_with("| `"))
            .map(str::to_owned)
            .collect();
        assert!(
            documented == table,
            "docs/use/programs.md should have:\n{}",
            Vec::from_iter(table).join("\n")
        );

        // A stream that broke may have been billed, and so may a request that was never answered.
        for row in user.rows().await.unwrap() {
            assert_eq!(row["status"], "failed", "{row}");
            assert_ne!(row["cost_state"], Value::from("none"), "{row}");
        }
    });
}
