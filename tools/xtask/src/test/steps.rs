//! The steps.

use std::process::Command;

use anyhow::{Result, bail};
use stack::process::run as run_quietly;
use stack::{Database, Functions, Port, RunDir, Tools, cargo, clients, install};

use super::{Bench, Outcome, STORAGE, check, matching};
use crate::dev::FUNCTIONS;
use crate::{migrations as migration_files, package};

/// The steps; cheap ones first.
pub(super) const STEPS: [Step; 19] = [
    Step("format", |it| it.cargo(&["fmt", "--all", "--check"])),
    Step("dependencies", deny),
    Step("advisories", advisories),
    Step("unused dependencies", machete),
    Step("clippy", |it| {
        it.cargo(&[
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "--deny=warnings",
        ])
    }),
    Step("documentation", documentation),
    Step("migrations", migrations),
    Step("workflows", workflows),
    Step("template", template),
    Step("Python client", python_client),
    Step("TypeScript client", typescript_client),
    Step("tests", tests),
    Step("storage on PostgreSQL", |it| {
        storage(it, "postgres", Database::postgres, &[])
    }),
    Step("storage on partitions", |it| {
        storage(it, "partitions", Database::partitioned, &[])
    }),
    Step("storage on PGlite", |it| {
        storage(it, "pglite", Database::pglite, &PGLITE_EXCEPTIONS)
    }),
    Step("functions", |it| {
        Functions::build(&it.workspace, &FUNCTIONS)?;
        Ok(Outcome::default())
    }),
    Step("package", |it| {
        package::build(&it.workspace, &it.tools, None)?;
        Ok(Outcome::default())
    }),
    Step("end to end", end_to_end),
    Step("ledger", ledger),
];

/// Its name, and what it does.
pub(super) struct Step(
    pub(super) &'static str,
    pub(super) fn(&Bench) -> Result<Outcome>,
);

/// Without what has steps of its own.
const WITHOUT_E2E: [&str; 5] = ["--workspace", "--exclude", "docs", "--exclude", "e2e"];

fn deny(bench: &Bench) -> Result<Outcome> {
    check(&mut deny_command(
        bench,
        &["check", "bans", "licenses", "sources"],
    )?)?;
    Ok(Outcome::default())
}

/// Known vulnerabilities, if their list can be fetched.
fn advisories(bench: &Bench) -> Result<Outcome> {
    if run_quietly(&mut deny_command(bench, &["fetch", "db"])?).is_err() {
        return Ok(Outcome::skipped(
            "the database of advisories can't be fetched; is this machine offline?",
        ));
    }
    check(&mut deny_command(
        bench,
        &["check", "--disable-fetch", "advisories"],
    )?)?;
    Ok(Outcome::default())
}

fn deny_command(bench: &Bench, arguments: &[&str]) -> Result<Command> {
    let program = install::cargo_plugin(&bench.workspace, "cargo-deny", "0.20.2")?;
    let mut command = Command::new(program);
    command.args(arguments).current_dir(bench.workspace.root());
    Ok(command)
}

fn machete(bench: &Bench) -> Result<Outcome> {
    let program = install::cargo_plugin(&bench.workspace, "cargo-machete", "0.9.2")?;
    check(Command::new(program).current_dir(bench.workspace.root()))?;
    Ok(Outcome::default())
}

/// Links of the code's documentation; links and tables of the Markdown files.
fn documentation(bench: &Bench) -> Result<Outcome> {
    check(
        cargo::command(&bench.workspace)
            .args([
                "doc",
                "--workspace",
                "--no-deps",
                "--document-private-items",
            ])
            .env("RUSTDOCFLAGS", "--deny=warnings"),
    )?;
    bench.test(&["--package", "docs"])
}

/// GitHub's workflows: their form by its own schemas, and audits of their security. Both are offline.
fn workflows(bench: &Bench) -> Result<Outcome> {
    let root = bench.workspace.root();
    let requirements = root.join("tools/workflows/requirements.txt");
    let python = install::python_packages(&bench.workspace, &requirements, "workflows")?;
    for (schema, files) in [
        (
            "github-workflows",
            vec!["workflows/deploy.yml", "workflows/test.yml"],
        ),
        ("github-actions", vec!["actions/set-up/action.yml"]),
    ] {
        let mut command = Command::new(python.with_file_name("check-jsonschema"));
        command.args(["--builtin-schema", &format!("vendor.{schema}")]);
        check(command.args(files).current_dir(root.join(".github")))?;
    }
    let mut command = Command::new(python.with_file_name("zizmor"));
    check(command.args(["--offline", ".github"]).current_dir(root))?;
    Ok(Outcome::default())
}

/// The signing helper: its types, its tests against the shared vectors, and its packages.
fn python_client(bench: &Bench) -> Result<Outcome> {
    let python = clients::python(&bench.workspace)?;
    let source = clients::python_source(&bench.workspace);
    let run = |arguments: &[&str]| {
        let mut command = Command::new(&python);
        check(
            command
                .args(arguments)
                .env("PYTHONPATH", "src")
                .env(
                    "MYPY_CACHE_DIR",
                    bench.workspace.tools().join("clients/mypy"),
                )
                .current_dir(&source),
        )
    };
    run(&["-m", "mypy"])?;
    run(&["-m", "unittest", "discover", "--start-directory", "tests"])?;
    clients::python_package(&bench.workspace)?;
    Ok(Outcome::default())
}

/// The same of the other one; the compiler checks its types.
fn typescript_client(bench: &Bench) -> Result<Outcome> {
    let package = clients::typescript_package(&bench.workspace)?;
    let mut command = Command::new("node");
    command
        .args(["--test", "--test-reporter", "dot"])
        // Before Node 21 it took folders, now it takes patterns; files it always did.
        .args(
            ["fetch", "identity", "scheme"]
                .map(|it| package.join(format!("dist/test/{it}.test.js"))),
        )
        .current_dir(clients::typescript_source(&bench.workspace));
    check(&mut command)?;
    Ok(Outcome::default())
}

fn template(bench: &Bench) -> Result<Outcome> {
    // An environment of its own: it and `sam` want different versions of the same packages.
    let requirements = bench
        .workspace
        .root()
        .join("tools/template/requirements.txt");
    let checkov = install::python_packages(&bench.workspace, &requirements, "checkov")?;
    let mut command = Command::new(bench.tools.python());
    command
        .arg("tools/template/check.py")
        .arg("--checkov")
        .arg(checkov.with_file_name("checkov"))
        .current_dir(bench.workspace.root());
    check(&mut command)?;
    Ok(Outcome::default())
}

/// The generated migration is up to date, and no released one has changed.
fn migrations(bench: &Bench) -> Result<Outcome> {
    migration_files::check(&bench.workspace)?;
    let mut outcome = Outcome::default();
    if migration_files::check_released(bench.workspace.root())?.is_none() {
        outcome
            .not_run
            .push("released migrations: this is no git repository".to_owned());
    }
    Ok(outcome)
}

fn tests(bench: &Bench) -> Result<Outcome> {
    bench.test(&WITHOUT_E2E)
}

fn end_to_end(bench: &Bench) -> Result<Outcome> {
    bench.test(&["--package", "e2e"])
}

/// A short run with a seed that never changes; `cargo xtask ledger` makes longer ones, and others.
fn ledger(_bench: &Bench) -> Result<Outcome> {
    if simulation::run(&simulation::Options::default())? {
        return Ok(Outcome::default());
    }
    bail!("the ledgers differ")
}

/// PGlite runs as the tables' owner, so lite gives `anon` everything back; only row level security
/// is left.
const PGLITE_EXCEPTIONS: [&str; 1] = ["the_public_is_refused_at_the_door"];

/// The storage contract's tests, but for `exceptions`, against a database of their own.
fn storage<E: std::error::Error + Send + Sync + 'static>(
    bench: &Bench,
    name: &str,
    start: fn(&Tools, &RunDir, Port) -> Result<Database, E>,
    exceptions: &[&str],
) -> Result<Outcome> {
    let mut contract = matching(
        &bench.list(&WITHOUT_E2E, &["--ignored"])?,
        bench.needs.tests(STORAGE),
    );
    if contract.is_empty() {
        bail!("there are no tests that need {STORAGE}");
    }
    contract.retain(|path| !exceptions.iter().any(|name| path.ends_with(name)));
    let run = RunDir::unique(&bench.workspace, &format!("storage-{name}"))?;
    let database = start(&bench.tools, &run, Port::free()?)?;
    let mut command = cargo::command(&bench.workspace);
    command
        .arg("test")
        .args(WITHOUT_E2E)
        .args(["--tests", "--", "--ignored", "--exact"])
        .args(contract)
        .env(STORAGE, format!("{}/rest/v1", database.url()))
        .env("STORAGE_KEY", database.secret_key())
        .env("STORAGE_ANON_KEY", database.publishable_key());
    check(&mut command)?;
    Ok(Outcome {
        not_run: exceptions.iter().map(|&it| it.to_owned()).collect(),
        skipped: false,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;

    use stack::Workspace;

    use super::STEPS;

    fn read(path: &str) -> String {
        fs::read_to_string(Workspace::locate().root().join(path)).unwrap()
    }

    fn steps() -> BTreeSet<&'static str> {
        STEPS.iter().map(|step| step.0).collect()
    }

    #[test]
    fn steps_are_documented() {
        let page = read("docs/develop/testing.md");
        let (_, table) = page.split_once("| step | what it checks |").unwrap();
        let documented = table
            .lines()
            .skip(2)
            .map_while(|row| row.split('`').nth(1))
            .collect();
        assert_eq!(steps(), documented);
    }

    #[test]
    fn github_runs_every_step() {
        let workflow = read(".github/workflows/test.yml");
        let mut run: Vec<String> = Vec::new();
        for line in workflow.lines().map(str::trim) {
            if let Some((_, list)) = line.split_once("step: [") {
                run.extend(list.trim_end_matches(']').split(", ").map(str::to_owned));
            } else if let Some((_, arguments)) = line.split_once("run: cargo xtask test ") {
                // Between quotes is one argument, outside of them each word.
                for (index, piece) in arguments.split('"').enumerate() {
                    if index % 2 == 1 {
                        run.push(piece.to_owned());
                    } else {
                        run.extend(piece.split_whitespace().map(str::to_owned));
                    }
                }
            }
        }
        run.retain(|it| it != "$STEP");
        assert_eq!(steps(), run.iter().map(String::as_str).collect());
    }
}
