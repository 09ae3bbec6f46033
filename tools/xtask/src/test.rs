//! `cargo xtask test`: every check and test, each timed, one table at the end.

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use stack::process::{run as run_quietly, run_visibly};
use stack::{Database, Functions, Port, RunDir, Tools, Workspace, cargo, clients, install};

use crate::dev::FUNCTIONS;
use crate::needs::Needs;
use crate::package;

#[derive(Args)]
pub(crate) struct Options {
    /// Run only these steps; `--list` names them
    steps: Vec<String>,
    /// Name the steps and stop
    #[arg(long)]
    list: bool,
    /// Stop at the first step that fails
    #[arg(long)]
    fail_fast: bool,
    /// Folder with the cryptographic test vectors [default: ../shared/data/vectors, if there]
    #[arg(long, env = "TEST_VECTORS")]
    test_vectors: Option<PathBuf>,
    /// Folder with recorded exchanges [default: ../shared/data/openrouter, if there]
    #[arg(long, env = "OPENROUTER_RECORDINGS")]
    openrouter_recordings: Option<PathBuf>,
}

/// The steps; cheap ones first.
const STEPS: [Step; 16] = [
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

struct Step(&'static str, fn(&Bench) -> Result<Outcome>);

/// A step that didn't fail.
#[derive(Default)]
struct Outcome {
    /// What was left out of it, and why.
    not_run: Vec<String>,
    /// Whether that is all of it.
    skipped: bool,
}

impl Outcome {
    fn skipped(reason: impl Into<String>) -> Self {
        Self {
            not_run: vec![reason.into()],
            skipped: true,
        }
    }
}

struct Line {
    name: &'static str,
    took: Duration,
    result: Result<Outcome>,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    if options.list {
        for Step(name, _) in STEPS {
            println!("{name}");
        }
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(unknown) = options
        .steps
        .iter()
        .find(|wanted| !STEPS.iter().any(|Step(name, _)| name == wanted))
    {
        bail!("there is no step {unknown:?}; `cargo xtask test --list` names them");
    }
    let bench = Bench::new(options)?;
    let mut lines = Vec::new();
    for Step(name, work) in STEPS {
        if !options.steps.is_empty() && !options.steps.iter().any(|it| it == name) {
            continue;
        }
        eprintln!("\n──── {name}");
        let start = Instant::now();
        let result = work(&bench);
        if let Err(error) = &result {
            eprintln!("{name} failed: {error:#}");
        }
        let failed = result.is_err();
        lines.push(Line {
            name,
            took: start.elapsed(),
            result,
        });
        if failed && options.fail_fast {
            break;
        }
    }
    Ok(report(&lines))
}

/// Prints the table.
fn report(lines: &[Line]) -> ExitCode {
    eprintln!("\n──── summary");
    for Line { name, took, result } in lines {
        let verdict = match result {
            Ok(outcome) if outcome.skipped => "NOT RUN",
            Ok(_) => "ok",
            Err(_) => "FAILED",
        };
        eprintln!("{verdict:<8} {:>6.1} s  {name}", took.as_secs_f32());
    }
    for Line { name, result, .. } in lines {
        for gap in result.iter().flat_map(|outcome| &outcome.not_run) {
            eprintln!("not run: {name}: {gap}");
        }
    }
    let failed: Vec<&str> = lines
        .iter()
        .filter(|line| line.result.is_err())
        .map(|line| line.name)
        .collect();
    if failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        eprintln!("failed: {}", failed.join(", "));
        ExitCode::FAILURE
    }
}

/// What the steps share.
struct Bench {
    workspace: Workspace,
    tools: Tools,
    needs: Needs,
    /// What tests may need, as environment variables.
    available: Vec<(&'static str, PathBuf)>,
}

impl Bench {
    fn new(options: &Options) -> Result<Self> {
        let workspace = Workspace::locate();
        let tools = Tools::install(&workspace)?;
        let needs = Needs::of_workspace(workspace.root()).context("can't read the sources")?;
        let data = workspace.root().join("../shared/data");
        let folders = [
            ("TEST_VECTORS", &options.test_vectors, "vectors"),
            (
                "OPENROUTER_RECORDINGS",
                &options.openrouter_recordings,
                "openrouter",
            ),
        ];
        let mut available = vec![
            ("ORACLE_PYTHON", tools.python()),
            ("TOOLS", workspace.tools()),
            // What the step "package" builds.
            ("ARTIFACTS", workspace.root().join(package::ARTIFACTS)),
        ];
        for (name, given, default) in folders {
            if let Some(folder) = given {
                available.push((name, folder.clone()));
            } else if let Ok(folder) = data.join(default).canonicalize() {
                available.push((name, folder));
            }
        }
        Ok(Self {
            workspace,
            tools,
            needs,
            available,
        })
    }

    fn cargo(&self, arguments: &[&str]) -> Result<Outcome> {
        check(cargo::command(&self.workspace).args(arguments))?;
        Ok(Outcome::default())
    }

    /// Runs the tests of some packages, also those that need something that is available.
    fn test(&self, packages: &[&str]) -> Result<Outcome> {
        let mut outcome = Outcome::default();
        let mut skip = Vec::new();
        if self.list(packages, &[])?.is_empty() {
            bail!("there are no tests");
        }
        let ignored = self.list(packages, &["--ignored"])?;
        for need in self.needs.all() {
            if self.available.iter().any(|(name, _)| *name == need) {
                continue;
            }
            let unmet = matching(&ignored, self.needs.tests(need));
            // Storage has steps of its own.
            if !unmet.is_empty() && need != STORAGE {
                outcome
                    .not_run
                    .push(format!("{} tests that need {need}", unmet.len()));
            }
            skip.extend(unmet);
        }
        let mut command = cargo::command(&self.workspace);
        command
            .arg("test")
            .args(packages)
            .args(["--", "--include-ignored", "--exact"])
            .envs(self.available.iter().map(|(name, path)| (name, path)));
        for test in skip {
            command.args(["--skip", &test]);
        }
        check(&mut command)?;
        Ok(outcome)
    }

    /// The full paths of the tests that `options` select. Compiles them.
    fn list(&self, packages: &[&str], options: &[&str]) -> Result<Vec<String>> {
        let output = run_quietly(
            cargo::command(&self.workspace)
                .args(["test", "--quiet"])
                .args(packages)
                .args(["--", "--list", "--format", "terse"])
                .args(options),
        )?;
        Ok(String::from_utf8_lossy(&output.stdout)
            .lines()
            .filter_map(|line| line.strip_suffix(": test"))
            .map(str::to_owned)
            .collect())
    }
}

const STORAGE: &str = "STORAGE_URL";
const WITHOUT_E2E: [&str; 3] = ["--workspace", "--exclude", "e2e"];

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

fn tests(bench: &Bench) -> Result<Outcome> {
    bench.test(&WITHOUT_E2E)
}

fn end_to_end(bench: &Bench) -> Result<Outcome> {
    bench.test(&["--package", "e2e"])
}

/// A short run with a seed that never changes; `cargo xtask ledger` makes longer ones, and others.
fn ledger(_bench: &Bench) -> Result<Outcome> {
    if ::ledger::run(&::ledger::Options::default())? {
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

/// Those of the full test paths that end in one of the names.
fn matching(paths: &[String], names: &[String]) -> Vec<String> {
    paths
        .iter()
        .filter(|path| {
            let name = path.rsplit("::").next().unwrap_or(path);
            names.iter().any(|it| it == name)
        })
        .cloned()
        .collect()
}

/// Runs a command with its output visible.
fn check(command: &mut Command) -> Result<()> {
    let status = run_visibly(command)?;
    if status.success() {
        return Ok(());
    }
    let program = command.get_program().to_string_lossy().into_owned();
    bail!("{program}: {status}")
}
