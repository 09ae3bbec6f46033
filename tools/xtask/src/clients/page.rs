//! The table of results in `docs/use/programs.md`.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use stack::Workspace;

use super::programs::Program;

const HEAD: &str = "| program | package | version | token | `llmgw serve` | `llmgw run` |\n|---|---|---|---|---|---|\n";

/// The row of a program.
pub(super) fn row(program: &Program, cells: &[String]) -> String {
    format!(
        "| {} | `{}` | {} | {} |\n",
        program.name,
        program.package,
        program.version,
        cells.join(" | ")
    )
}

pub(super) fn write(workspace: &Workspace, rows: &[String]) -> Result<()> {
    let (path, page) = read(workspace)?;
    let (before, old, after) = split(&page)?;
    let page = [before, HEAD, &rows.concat(), after].concat();
    eprintln!("{} rows instead of {}", rows.len(), old.lines().count());
    fs::write(path, page).context("can't write the table")
}

/// Looks for the rows of the programs that ran. Which programs are there, `tools/docs` holds.
pub(super) fn compare(workspace: &Workspace, rows: &[String]) -> Result<()> {
    let (_, page) = read(workspace)?;
    let (_, documented, _) = split(&page)?;
    let is_missing = |row: &&String| !documented.split_inclusive('\n').any(|it| it == *row);
    let missing: Vec<_> = rows.iter().filter(is_missing).cloned().collect();
    ensure!(
        missing.is_empty(),
        "docs/use/programs.md has other rows; `cargo xtask clients --heavy --write` would write:\n{HEAD}{}",
        missing.concat()
    );
    Ok(())
}

fn read(workspace: &Workspace) -> Result<(PathBuf, String)> {
    let path = workspace.root().join("docs/use/programs.md");
    let page = fs::read_to_string(&path).context("can't read docs/use/programs.md")?;
    Ok((path, page))
}

/// The text before the table, its rows, and the text after it.
fn split(page: &str) -> Result<(&str, &str, &str)> {
    let (before, rest) = page
        .split_once(HEAD)
        .context("docs/use/programs.md has no table of programs")?;
    let end = rest.find("\n\n").map_or(rest.len(), |at| at + 1);
    let (rows, after) = rest.split_at(end);
    Ok((before, rows, after))
}
