//! `cargo xtask clients`: other people's programs, headless and unchanged, one task each, by an access token, through
//! `llmgw serve` and by `llmgw run`; the books have to show the request. `docs/use/programs.md` has the results as a table.

mod books;
mod install;
mod installed;
mod page;
mod programs;
mod stack;
mod tasks;
mod way;

use std::fs;
use std::time::{Duration, Instant};

use ::stack::process::Launch;
use ::stack::{RunDir, Workspace};
use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use stub::demo;

use self::books::Booked;
use self::install::install;
use self::installed::Installed;
use self::programs::{PROGRAMS, Program, Source};
use self::stack::Gateway;
use self::tasks::Setting;
use self::way::Way;

/// The longest time for a task.
const TASK_TIMEOUT: Duration = Duration::from_mins(5);
/// A part of the stand-in's response to [`demo::PROMPT`].
const RESPONSE: &str = "came through the gateway";

#[derive(Args)]
pub(crate) struct Options {
    /// Run only these programs; `--list` names them
    programs: Vec<String>,
    /// Name the programs and stop
    #[arg(long)]
    list: bool,
    /// Run those, too, whose installation takes gigabytes
    #[arg(long)]
    heavy: bool,
    /// Write the table into docs/use/programs.md, instead of comparing it
    #[arg(long, conflicts_with = "programs", requires = "heavy")]
    write: bool,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let names = || PROGRAMS.iter().map(|program| program.name);
    if options.list {
        names().for_each(|name| println!("{name}"));
        return Ok(());
    }
    if let Some(unknown) = options
        .programs
        .iter()
        .find(|it| !names().any(|name| name == *it))
    {
        bail!("there is no program {unknown:?}; `cargo xtask clients --list` names them");
    }
    let workspace = Workspace::locate();
    let is_wanted = |program: &&Program| {
        if options.programs.is_empty() {
            options.heavy || program.source != Source::Heavy
        } else {
            options.programs.iter().any(|it| it == program.name)
        }
    };
    let wanted: Vec<_> = PROGRAMS.iter().filter(is_wanted).collect();
    let installed = install(&workspace, &wanted)?;
    let gateway = Gateway::start(&workspace)?;
    let (mut table, mut failed) = (Vec::new(), Vec::new());
    for program in wanted {
        let mut cells = Vec::new();
        for way in Way::ALL {
            let start = Instant::now();
            let result = try_program(&gateway, &installed, program, way);
            let took = start.elapsed().as_secs_f32();
            match &result {
                Ok(booked) => println!(
                    "ok      {took:>5.1} s  {} ({way:?}): {booked}",
                    program.name
                ),
                Err(error) => {
                    println!(
                        "FAILED  {took:>5.1} s  {} ({way:?}): {error:#}",
                        program.name
                    );
                    failed.push(format!("{} ({way:?})", program.name));
                }
            }
            cells.push(result.map_or_else(|_| "fails".to_owned(), |it| it.endpoints()));
        }
        table.push(page::row(program, &cells));
    }
    if options.write {
        page::write(&workspace, &table)?;
    } else {
        page::compare(&workspace, &table)?;
    }
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(())
}

/// Gives a program a user of its own and a task, and reads what the books have of it.
fn try_program(
    gateway: &Gateway,
    installed: &Installed,
    program: &Program,
    way: Way,
) -> Result<Booked> {
    let user = gateway.user()?;
    let run = RunDir::unique(gateway.workspace(), &format!("client-{}", program.command))?;
    let home = run.path().join("home");
    fs::create_dir_all(home.join("work")).context("can't make the program's home")?;
    let access = gateway.access(way, &user, &run)?;
    let setting = Setting {
        home: &home,
        installed,
    };
    let task = (program.task)(&setting).context("can't prepare the program")?;
    let mut command = access.give(&task);
    command.current_dir(home.join("work"));
    let mut process = Launch::new("program", command, &run).start()?;
    let start = Instant::now();
    let status = loop {
        if let Some(status) = process.exit_status() {
            break status;
        }
        ensure!(
            start.elapsed() < TASK_TIMEOUT,
            "no end after {} s: {}",
            TASK_TIMEOUT.as_secs(),
            process.log().display()
        );
        std::thread::sleep(Duration::from_millis(50));
    };
    let output = fs::read(process.log())?;
    let output = String::from_utf8_lossy(&output).replace(['\n', '\r'], " ");
    ensure!(
        status.success(),
        "{status}; see {}",
        process.log().display()
    );
    ensure!(
        output.contains(RESPONSE),
        "no response to {:?} in {}",
        demo::PROMPT,
        process.log().display()
    );
    ensure!(
        way != Way::Run || output.contains(" tokens in, "),
        "llmgw run does not tell the cost in {}",
        process.log().display()
    );
    Booked::read(gateway, &user, way)
}
