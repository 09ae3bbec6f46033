//! The console's checks: its types and pure parts, the size of its files, and every view in a browser.
//!
//! The browser talks to the built functions behind one address, as people's browsers do.

use std::process::Command;

use anyhow::{Context as _, Result};
use stack::{Database, Function, Functions, Moto, Port, RunDir, Vault, Watch, clients};
use stub::OpenRouter;

use super::browser;
use super::context::{Context, Outcome, check};
use crate::dev::FUNCTIONS;

const KEYSET_SECRET: &str = "console/keyset";

/// Functions with the number of their instances: a page asks several things at once, and several pages
/// are tested side by side.
const INSTANCES: [(&str, usize); 6] = [
    ("console", 3),
    ("health", 2),
    ("keys", 2),
    ("proxy", 3),
    ("tokens", 3),
    ("usage", 4),
];

pub(super) fn run(context: &Context) -> Result<Outcome> {
    let source = clients::console(&context.workspace)?;
    let node = |script: &str, arguments: &[&str]| {
        let mut command = Command::new("node");
        command
            .arg(source.join("node_modules").join(script))
            .args(arguments)
            .current_dir(&source);
        command
    };
    check(&mut node("typescript/bin/tsc", &["--noEmit"]))?;
    check(&mut node("vitest/vitest.mjs", &["run", "--dir", "test"]))?;
    let Some(browser) = browser::find() else {
        return Ok(Outcome {
            not_run: vec![format!(
                "everything in a browser: there is no {} (on Debian: apt-get install chromium)",
                browser::NAMES.join(", ")
            )],
            skipped: true,
        });
    };
    let stack = Stack::start(context)?;
    check(
        node("vitest/vitest.mjs", &["run", "--dir", "e2e"])
            .env("GATEWAY", stack.gateway.url())
            .env("CHROMIUM", browser)
            .env("LLMGW", stack.functions.binary("llmgw")?)
            .env(
                "SCREENSHOTS",
                context.workspace.tools().join("console/screenshots"),
            )
            .env("WORK", stack.run.path()),
    )?;
    Ok(Outcome::default())
}

/// A whole gateway of its own.
struct Stack {
    gateway: Watch,
    functions: Functions,
    /// Stopped with the stack.
    _instances: Vec<Function>,
    _services: (Database, Moto, OpenRouter, tokio::runtime::Runtime),
    run: RunDir,
}

impl Stack {
    fn start(context: &Context) -> Result<Self> {
        let Context {
            workspace, tools, ..
        } = context;
        let run = RunDir::unique(workspace, "console")?;
        let names: Vec<_> = FUNCTIONS.into_iter().chain(["llmgw"]).collect();
        let functions = Functions::build(workspace, &names)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()?;
        let openrouter = runtime.block_on(OpenRouter::demo())?;
        let database = Database::postgres(tools, &run, Port::free()?)?;
        let secrets = Moto::start(tools, &run, Port::free()?)?;
        Vault::create(&secrets, KEYSET_SECRET)?;
        let port = Port::free()?;
        let mut env = database.env();
        env.extend(secrets.env());
        env.extend([
            ("GATEWAY_AUDIENCES", port.url()),
            ("KEYSET_SECRET_NAME", KEYSET_SECRET.to_owned()),
            ("GATEWAY_OPENROUTER_URL", openrouter.base_url()),
            ("RUST_LOG", "warn".to_owned()),
        ]);
        let gateway = Watch::only_apis(tools, &run, port)?;
        let mut instances = Vec::new();
        for (name, count) in INSTANCES {
            for _ in 0..count {
                let binary = functions.binary(name)?;
                instances.push(
                    Function::spawn(&gateway, &run, name, binary, &env)
                        .with_context(|| format!("{name} did not start"))?,
                );
            }
        }
        Ok(Self {
            gateway,
            functions,
            _instances: instances,
            _services: (database, secrets, openrouter, runtime),
            run,
        })
    }
}
