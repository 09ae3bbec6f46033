//! `cargo xtask clients`: other people's programs, headless and unchanged, one task each, by an access token and through
//! `llmgw serve`; the books have to show the request. `docs/use/programs.md` has the results as a table.

mod books;
mod page;
mod programs;
mod stack;
mod way;

use std::fs;
use std::time::{Duration, Instant};

use ::stack::process::Launch;
use ::stack::{RunDir, Workspace};
use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use stub::demo;

use self::books::Booked;
use self::programs::{Installed, PROGRAMS, Program, Setting};
use self::stack::Gateway;
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
    /// Write the table into docs/use/programs.md, instead of comparing it
    #[arg(long, conflicts_with = "programs")]
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
    let installed = Installed::install(&workspace)?;
    let gateway = Gateway::start(&workspace)?;
    let (mut table, mut failed) = (Vec::new(), Vec::new());
    for program in &PROGRAMS {
        if !options.programs.is_empty() && !options.programs.iter().any(|it| it == program.name) {
            continue;
        }
        let mut cells = Vec::new();
        for way in [Way::Token, Way::Serve] {
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
    if options.programs.is_empty() {
        if options.write {
            page::write(&workspace, &table)?;
        } else {
            page::compare(&workspace, &table)?;
        }
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
    let access = match way {
        Way::Token => gateway.by_token(&user)?,
        Way::Serve => gateway.by_serve(&user, &run)?,
    };
    let setting = Setting {
        access: &access,
        home: &home,
        installed,
    };
    let mut command = (program.task)(&setting).context("can't prepare the program")?;
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
    Booked::read(gateway, &user, way)
}
