//! The steps.

use std::process::Command;

use anyhow::{Result, bail};
use stack::process::run as run_quietly;
use stack::{Database, Functions, Port, RunDir, Tools, cargo, clients, install};

use super::console;
use super::context::{Context, Outcome, STORAGE, check, matching};
use super::executables::{self, Executable};
use crate::dev::FUNCTIONS;
use crate::{migrations as migration_files, package};

/// The steps; cheap ones first.
pub(super) const STEPS: [Step; 21] = [
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
    Step("corpus", corpus),
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
        // It is compiled into one of them.
        clients::console(&it.workspace)?;
        Functions::build(&it.workspace, &FUNCTIONS)?;
        Ok(Outcome::default())
    }),
    Step("package", |it| {
        package::build(&it.workspace, &it.tools, None)?;
        Ok(Outcome::default())
    }),
    Step("end to end", end_to_end),
    Step("console", console::run),
    Step("ledger", ledger),
];

/// A step: its name, and its work.
pub(super) struct Step(
    pub(super) &'static str,
    pub(super) fn(&Context) -> Result<Outcome>,
);

/// Whether the tests are of a package without a step of its own.
fn is_unit(executable: &Executable) -> bool {
    !executable.is_of("docs") && !executable.is_of("e2e")
}

fn deny(context: &Context) -> Result<Outcome> {
    check(&mut deny_command(
        context,
        &["check", "bans", "licenses", "sources"],
    )?)?;
    Ok(Outcome::default())
}

/// Known vulnerabilities, if their list can be fetched.
fn advisories(context: &Context) -> Result<Outcome> {
    if run_quietly(&mut deny_command(context, &["fetch", "db"])?).is_err() {
        return Ok(Outcome::skipped(
            "the database of advisories can't be fetched; is this machine offline?",
        ));
    }
    check(&mut deny_command(
        context,
        &["check", "--disable-fetch", "advisories"],
    )?)?;
    Ok(Outcome::default())
}

fn deny_command(context: &Context, arguments: &[&str]) -> Result<Command> {
    let program = install::cargo_plugin(&context.workspace, "cargo-deny", "0.20.2")?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir(context.workspace.root());
    Ok(command)
}

fn machete(context: &Context) -> Result<Outcome> {
    let program = install::cargo_plugin(&context.workspace, "cargo-machete", "0.9.2")?;
    check(Command::new(program).current_dir(context.workspace.root()))?;
    Ok(Outcome::default())
}

/// Links of the code's documentation; links and tables of the Markdown files.
fn documentation(context: &Context) -> Result<Outcome> {
    check(
        cargo::command(&context.workspace)
            .args([
                "doc",
                "--workspace",
                "--no-deps",
                "--document-private-items",
            ])
            .env("RUSTDOCFLAGS", "--deny=warnings"),
    )?;
    context.test(|it| it.is_of("docs"))
}

/// GitHub's workflows: their form by its own schemas, and audits of their security. Both are offline.
fn workflows(context: &Context) -> Result<Outcome> {
    let root = context.workspace.root();
    let requirements = root.join("tools/workflows/requirements.txt");
    let python = install::python_packages(&context.workspace, &requirements, "workflows")?;
    for (schema, files) in [
        (
            "github-workflows",
            vec![
                "workflows/clients.yml",
                "workflows/deploy.yml",
                "workflows/fuzz.yml",
                "workflows/release.yml",
                "workflows/test.yml",
            ],
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

/// The Python client's types, its tests against the shared vectors, and its packages.
fn python_client(context: &Context) -> Result<Outcome> {
    let python = clients::python(&context.workspace)?;
    let source = clients::python_source(&context.workspace);
    let run = |arguments: &[&str]| {
        let mut command = Command::new(&python);
        check(
            command
                .args(arguments)
                .env("PYTHONPATH", "src")
                .env(
                    "MYPY_CACHE_DIR",
                    context.workspace.tools().join("clients/mypy"),
                )
                .current_dir(&source),
        )
    };
    run(&["-m", "mypy"])?;
    run(&["-m", "unittest", "discover", "--start-directory", "tests"])?;
    clients::python_package(&context.workspace)?;
    Ok(Outcome::default())
}

/// The TypeScript client's tests and package; the compiler checks its types.
fn typescript_client(context: &Context) -> Result<Outcome> {
    let package = clients::typescript_package(&context.workspace)?;
    let mut command = Command::new("node");
    command
        .args(["--test", "--test-reporter", "dot"])
        // Before Node 21 it took folders, later it takes patterns; it has always taken files.
        .args(
            ["fetch", "identity", "interop", "scheme"]
                .map(|it| package.join(format!("dist/test/{it}.test.js"))),
        )
        .current_dir(clients::typescript_source(&context.workspace));
    check(&mut command)?;
    Ok(Outcome::default())
}

fn template(context: &Context) -> Result<Outcome> {
    // An environment of its own, because it and `sam` require different versions of the same packages.
    let requirements = context
        .workspace
        .root()
        .join("tools/template/requirements.txt");
    let checkov = install::python_packages(&context.workspace, &requirements, "checkov")?;
    let mut command = Command::new(context.tools.python());
    command
        .arg("tools/template/check.py")
        .arg("--checkov")
        .arg(checkov.with_file_name("checkov"))
        .current_dir(context.workspace.root());
    check(&mut command)?;
    Ok(Outcome::default())
}

/// The generated migration is up to date, and no released one has changed.
fn migrations(context: &Context) -> Result<Outcome> {
    migration_files::check(&context.workspace)?;
    let mut outcome = Outcome::default();
    if migration_files::check_released(context.workspace.root())?.is_none() {
        outcome
            .not_run
            .push("released migrations: this is no git repository".to_owned());
    }
    Ok(outcome)
}

fn tests(context: &Context) -> Result<Outcome> {
    let outcome = context.test(is_unit)?;
    context.cargo(&["test", "--workspace", "--doc"])?;
    Ok(outcome)
}

/// Replays the fuzz targets' corpus. Not in the fuzzer, whose instrumented build takes minutes: only our own crates are
/// built once more, so that their private parsers are exposed.
fn corpus(context: &Context) -> Result<Outcome> {
    let expose = context.workspace.root().join("fuzz/expose.sh");
    let mut command = cargo::command(&context.workspace);
    command
        .args(["test", "--workspace"])
        .args(["--test", "corpus", "--test", "planted"])
        .env("RUSTC_WORKSPACE_WRAPPER", expose);
    check(&mut command)?;
    Ok(Outcome::default())
}

fn end_to_end(context: &Context) -> Result<Outcome> {
    context.test(|it| it.is_of("e2e"))
}

/// A short run with a seed that never changes; `cargo xtask ledger` makes longer ones, and others.
fn ledger(_: &Context) -> Result<Outcome> {
    if simulation::run(&simulation::Options::default())? {
        return Ok(Outcome::default());
    }
    bail!("the ledgers differ")
}

/// PGlite runs as the tables' owner, so `anon` has all privileges again; only row level security
/// remains.
const PGLITE_EXCEPTIONS: [&str; 1] = ["the_public_is_refused_at_the_door"];

/// The tests of the storage contract but for `exceptions`, against a database of their own.
fn storage<E: std::error::Error + Send + Sync + 'static>(
    context: &Context,
    name: &str,
    start: fn(&Tools, &RunDir, Port) -> Result<Database, E>,
    exceptions: &[&str],
) -> Result<Outcome> {
    let built = context.executables(is_unit)?;
    let mut runs = Vec::new();
    for executable in &built {
        let mut contract = matching(
            &executable.list(&["--ignored"])?,
            context.needs.tests(STORAGE),
        );
        contract.retain(|path| !exceptions.iter().any(|name| path.ends_with(name)));
        if !contract.is_empty() {
            contract.extend(["--ignored".to_owned(), "--exact".to_owned()]);
            runs.push((executable, contract));
        }
    }
    if runs.is_empty() {
        bail!("there are no tests that need {STORAGE}");
    }
    let run = RunDir::unique(&context.workspace, &format!("storage-{name}"))?;
    let database = start(&context.tools, &run, Port::free()?)?;
    let environment = [
        (STORAGE, format!("{}/rest/v1", database.url())),
        ("STORAGE_KEY", database.secret_key().to_owned()),
        ("STORAGE_ANON_KEY", database.publishable_key().to_owned()),
    ];
    executables::run(runs, &environment)?;
    Ok(Outcome {
        not_run: exceptions.iter().map(|&it| it.to_owned()).collect(),
        skipped: false,
    })
}

#[cfg(test)]
mod tests;
