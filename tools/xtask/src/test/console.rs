//! The console's checks: its types and pure parts, the size of its files, and every view in a browser.
//!
//! The browser talks to the built functions behind one address, as people's browsers do.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use stack::{Workspace, clients};

use super::browser;
use super::context::{Context, Outcome, check};
use crate::deployment::Deployment;

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
    let Some(chromium) = browser::find(browser::CHROMIUM) else {
        return Ok(Outcome::skipped(format!(
            "everything in a browser: there is no {} (on Debian: apt-get install chromium)",
            browser::CHROMIUM.join(", ")
        )));
    };
    let firefox = browser::find(browser::FIREFOX);
    let settings = vec![("RUST_LOG", "warn".to_owned())];
    let Context {
        workspace, tools, ..
    } = context;
    let stack = Deployment::start(workspace, tools, "console", &INSTANCES, settings)?;
    let mut tests = node(
        "vitest/vitest.mjs",
        &["run", "--dir", "e2e", "--maxWorkers=2"],
    );
    tests
        .env("GATEWAY", stack.gateway.url())
        .env("CHROMIUM", chromium)
        .env("LLMGW", stack.functions.binary("llmgw")?)
        .env("SCREENSHOTS", screenshots(workspace))
        .env("WORK", stack.run.path())
        // For `llmgw admin`.
        .envs(stack.database.env());
    let mut outcome = Outcome::default();
    if let Some(firefox) = firefox {
        tests.env("FIREFOX", firefox);
    } else {
        tests.args(["--exclude", "**/firefox.test.ts"]);
        outcome.not_run.push(format!(
            "identities and chats in Firefox: there is no {} (on Debian: apt-get install firefox-esr)",
            browser::FIREFOX.join(", ")
        ));
    }
    check(&mut tests)?;
    Ok(outcome)
}

/// The folder of the pictures that the tests take.
fn screenshots(workspace: &Workspace) -> PathBuf {
    workspace.tools().join("console/screenshots")
}

/// The folder of the pictures that the documentation shows.
const DOCUMENTED: &str = "docs/use/console";

/// Runs the checks, and copies the pictures that the documentation shows into it.
pub(super) fn illustrate(context: &Context) -> Result<()> {
    let outcome = run(context)?;
    ensure!(!outcome.skipped, "{}", outcome.not_run.join("; "));
    let taken = screenshots(&context.workspace);
    for entry in fs::read_dir(context.workspace.root().join(DOCUMENTED))? {
        let shown = entry?.path();
        let name = shown.file_name().context("a file has no name")?;
        fs::copy(taken.join(name), &shown)
            .with_context(|| format!("no test takes the picture {}", shown.display()))?;
    }
    Ok(())
}
