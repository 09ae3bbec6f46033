//! `cargo xtask fuzz`: searches for inputs that break a parser, with libFuzzer.
//!
//! It works with the pinned toolchain: `fuzz/libfuzzer/instrument.sh` asks LLVM itself for the counters that the search
//! follows, instead of a compiler option that only nightly versions have.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use stack::process::run_visibly;
use stack::{Workspace, cargo};

/// The longest input; the targets make long ones of short ones where length matters.
const MAX_LENGTH: &str = "-max_len=4096";

#[derive(Args)]
pub(crate) struct Options {
    /// Run only these targets; `--list` names them
    targets: Vec<String>,
    /// Name the targets and stop
    #[arg(long)]
    list: bool,
    /// Search in each target for so long; 0 only replays the corpus
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Keep of the corpus only what reaches code that nothing smaller reaches, and add what the searches found
    #[arg(long, conflicts_with = "self_check")]
    minimize: bool,
    /// Plant a bug in each target, and search until it is found
    #[arg(long)]
    self_check: bool,
}

/// The built fuzzer and its folders.
struct Fuzzer {
    executable: PathBuf,
    /// `fuzz/`
    sources: PathBuf,
    /// What searches find: new inputs and those that fail.
    found: PathBuf,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let workspace = Workspace::locate();
    let targets = selected(&workspace, &options.targets)?;
    if options.list {
        for name in &targets {
            println!("{name}");
        }
        return Ok(());
    }
    let fuzzer = Fuzzer::build(&workspace)?;
    let mut failed = Vec::new();
    for target in &targets {
        eprintln!("\n──── {target}");
        let result = if options.minimize {
            fuzzer.minimize(target)
        } else if options.self_check {
            fuzzer.finds_planted_bug(target, options.seconds)
        } else {
            fuzzer.search(target, options.seconds)
        };
        if let Err(error) = result {
            eprintln!("{target} failed: {error:#}");
            failed.push(target.as_str());
        }
    }
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(())
}

/// The targets, as the folders of the corpus name them; a test of the corpus holds that each has one.
fn selected(workspace: &Workspace, wanted: &[String]) -> Result<Vec<String>> {
    let corpus = workspace.root().join("fuzz/corpus");
    let mut names = Vec::new();
    for entry in fs::read_dir(&corpus).with_context(|| corpus.display().to_string())? {
        names.extend(entry?.file_name().into_string());
    }
    names.sort();
    if let Some(unknown) = wanted.iter().find(|name| !names.contains(name)) {
        bail!("there is no target {unknown:?}; `cargo xtask fuzz --list` names them");
    }
    if !wanted.is_empty() {
        names.retain(|name| wanted.contains(name));
    }
    Ok(names)
}

impl Fuzzer {
    /// Builds the fuzzer, instrumented. Its dependencies are built for it alone, which takes minutes once.
    fn build(workspace: &Workspace) -> Result<Self> {
        let sources = workspace.root().join("fuzz");
        let target_directory = workspace.root().join("target/fuzz");
        let triple = host_triple(workspace)?;
        let mut command = cargo::command(workspace);
        command
            // With a target, the options of the wrapper reach neither macros nor build scripts.
            .args(["build", "--release", "--locked", "--target", &triple])
            .env("RUSTC_WRAPPER", sources.join("libfuzzer/instrument.sh"))
            .env("CARGO_TARGET_DIR", &target_directory)
            .current_dir(sources.join("libfuzzer"));
        ensure!(
            run_visibly(&mut command)?.success(),
            "the fuzzer isn't built"
        );
        Ok(Self {
            executable: target_directory.join(triple).join("release/libfuzzer"),
            sources,
            found: target_directory.join("found"),
        })
    }

    fn command(&self, target: &str) -> Command {
        let mut command = Command::new(&self.executable);
        command
            .env("FUZZ_TARGET", target)
            .arg(MAX_LENGTH)
            .arg(format!(
                "-dict={}",
                self.sources.join("dictionary.txt").display()
            ));
        command
    }

    fn corpus(&self, target: &str) -> PathBuf {
        self.sources.join("corpus").join(target)
    }

    /// The inputs that searches of a target have found, beside its corpus.
    fn found(&self, target: &str) -> Result<PathBuf> {
        let folder = self.found.join(target);
        fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    /// Searches from the corpus and from what earlier searches found. An input that fails is kept, and its path printed.
    fn search(&self, target: &str, seconds: u64) -> Result<()> {
        let failing = self.found.join("failing");
        fs::create_dir_all(&failing)?;
        let mut command = self.command(target);
        command
            .arg(if seconds == 0 {
                "-runs=0".to_owned()
            } else {
                format!("-max_total_time={seconds}")
            })
            // Of one input, in seconds.
            .args(["-timeout=20", "-print_final_stats=1"])
            .arg(format!("-artifact_prefix={}/{target}-", failing.display()))
            .arg(self.found(target)?)
            .arg(self.corpus(target));
        observe(&mut command)?.check()?;
        Ok(())
    }

    /// Searches with a bug in the target until the bug is found.
    fn finds_planted_bug(&self, target: &str, seconds: u64) -> Result<()> {
        let found = self.found(&format!("planted-{target}"))?;
        let start = Instant::now();
        let mut command = self.command(target);
        command
            .env("FUZZ_PLANTED", "1")
            .arg(format!("-max_total_time={seconds}"))
            .arg(format!("-artifact_prefix={}/", found.display()))
            .args([&found, &self.corpus(target)]);
        let end = observe(&mut command)?;
        ensure!(end.panicked, "the planted bug is not found in {seconds} s");
        eprintln!("found after {:.1} s", start.elapsed().as_secs_f32());
        fs::remove_dir_all(found)?;
        Ok(())
    }

    /// Merges what the searches found into the corpus, and keeps the fewest and smallest inputs that reach the same code.
    fn minimize(&self, target: &str) -> Result<()> {
        let corpus = self.corpus(target);
        let smallest = self.found.join(format!("smallest-{target}"));
        if smallest.exists() {
            fs::remove_dir_all(&smallest)?;
        }
        fs::create_dir_all(&smallest)?;
        let mut command = self.command(target);
        command
            // The fewest inputs that reach each edge; how often they do would keep three times as many.
            .args(["-set_cover_merge=1", "-use_counters=0"])
            .args([&smallest, &corpus, &self.found(target)?]);
        observe(&mut command)?.check()?;
        let bytes = replace(&corpus, &smallest)?;
        eprintln!("{target}: {bytes} bytes");
        Ok(())
    }
}

/// Replaces the files of a folder by another's, and returns their size.
fn replace(folder: &Path, by: &Path) -> Result<u64> {
    fs::remove_dir_all(folder)?;
    fs::create_dir_all(folder)?;
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(by)? {
        let path = entry?.path();
        files.insert(path.file_name().map(ToOwned::to_owned), path);
    }
    let mut bytes = 0;
    for (name, path) in files {
        bytes += fs::copy(path, folder.join(name.unwrap_or_default()))?;
    }
    fs::remove_dir_all(by)?;
    Ok(bytes)
}

/// The facts about a run of the fuzzer.
struct End {
    succeeded: bool,
    sees_coverage: bool,
    panicked: bool,
}

impl End {
    /// Refuses a failing input, and a search without coverage: it is blind, and would pass.
    fn check(&self) -> Result<()> {
        ensure!(self.succeeded, "an input fails");
        ensure!(
            self.sees_coverage,
            "the fuzzer sees no coverage: is it instrumented?"
        );
        Ok(())
    }
}

/// Runs the fuzzer with its output visible.
fn observe(command: &mut Command) -> Result<End> {
    use std::io::{BufRead as _, BufReader};

    let mut child = command
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("can't start the fuzzer")?;
    let (mut sees_coverage, mut panicked) = (false, false);
    if let Some(output) = child.stderr.take() {
        for line in BufReader::new(output).split(b'\n') {
            let line = String::from_utf8_lossy(&line?).into_owned();
            sees_coverage |= line.contains("cov: ");
            panicked |= line.contains("panicked at");
            if !line.contains(" REDUCE ") && !line.contains(" NEW ") {
                eprintln!("{line}");
            }
        }
    }
    let succeeded = child.wait()?.success();
    Ok(End {
        succeeded,
        sees_coverage,
        panicked,
    })
}

/// The compiler's name of this machine.
fn host_triple(workspace: &Workspace) -> Result<String> {
    let output = Command::new("rustc")
        .arg("-vV")
        .current_dir(workspace.root())
        .output()?;
    String::from_utf8(output.stdout)?
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .map(str::to_owned)
        .context("rustc doesn't tell the host's triple")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_that_fails_or_is_blind_does_not_pass() {
        let passes = |script: &str| {
            let end = observe(Command::new("sh").args(["-c", script])).unwrap();
            end.check().is_ok()
        };
        assert!(passes("echo '#2 INITED cov: 3 ft: 4' >&2"));
        assert!(!passes("echo '#2 INITED exec/s: 0' >&2"));
        assert!(!passes("echo '#2 INITED cov: 3 ft: 4' >&2; exit 77"));
    }
}
