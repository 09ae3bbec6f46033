//! The project's tasks: `cargo xtask dev`, `cargo xtask test` and those that `--help` names.

mod bench;
mod bench_database;
mod clients;
mod demo;
mod deployment;
mod dev;
mod fuzz;
mod ledger;
mod migrations;
mod needs;
mod package;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "The project's tasks", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Run the gateway and everything it needs on this machine, and show it at work
    Dev(dev::Options),
    /// Build the artifacts that are deployed, and compare their sizes with the targets
    Package(package::Options),
    /// Run every check and test that continuous integration runs
    Test(test::Options),
    /// Measure what the gateway adds to a request, beside a bare pass-through and a proxy in C++
    Bench(bench::Options),
    /// Measure requests, sizes and questions about usage in a database of up to five million requests
    BenchDatabase(bench_database::Options),
    /// Generate the migration that declares all functions, from `migrations/functions/`
    Migrations(migrations::Options),
    /// Run other people's programs against the gateway, one task each, and read what the books have of it
    Clients(clients::Options),
    /// Run the console's checks, and copy the pictures that the documentation shows into it
    Screenshots,
    /// Search for inputs that break a parser, with libFuzzer
    Fuzz(fuzz::Options),
    /// Drive the built functions through faults of every kind, and compare what OpenRouter's stub
    /// billed with what the books say
    Ledger(simulation::Options),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().task {
        Task::Dev(options) => dev::run(&options).map(|()| ExitCode::SUCCESS),
        Task::Package(options) => package::run(&options).map(|()| ExitCode::SUCCESS),
        Task::Test(options) => test::run(&options),
        Task::Bench(options) => bench::run(&options).map(|()| ExitCode::SUCCESS),
        Task::BenchDatabase(options) => bench_database::run(&options).map(|()| ExitCode::SUCCESS),
        Task::Migrations(options) => migrations::run(&options).map(|()| ExitCode::SUCCESS),
        Task::Clients(options) => clients::run(&options).map(|()| ExitCode::SUCCESS),
        Task::Screenshots => test::screenshots().map(|()| ExitCode::SUCCESS),
        Task::Fuzz(options) => fuzz::run(&options).map(|()| ExitCode::SUCCESS),
        Task::Ledger(options) => ledger::run(&options),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
