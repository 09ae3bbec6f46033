//! The console's checks: its types and pure parts, the size of its files, and every view in a browser.
//!
//! The browser talks to the built functions behind one address, as people's browsers do.

use std::process::Command;

use anyhow::Result;
use stack::clients;

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
    let Some(browser) = browser::find() else {
        return Ok(Outcome {
            not_run: vec![format!(
                "everything in a browser: there is no {} (on Debian: apt-get install chromium)",
                browser::NAMES.join(", ")
            )],
            skipped: true,
        });
    };
    let settings = vec![("RUST_LOG", "warn".to_owned())];
    let Context {
        workspace, tools, ..
    } = context;
    let stack = Deployment::start(workspace, tools, "console", &INSTANCES, settings)?;
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
