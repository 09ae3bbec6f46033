//! The services that the gateway needs, on this machine: installed into `.tools/`, started on
//! loopback, stopped again. `cargo xtask` and the end-to-end tests share it.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use stack::{Database, Function, Functions, Moto, Port, RunDir, Tools, Watch, Workspace};
//!
//! let workspace = Workspace::locate();
//! let tools = Tools::install(&workspace)?;
//! let run = RunDir::unique(&workspace, "example")?;
//! let database = Database::postgres(&tools, &run, Port::free()?)?;
//! let secrets = Moto::start(&tools, &run, Port::free()?)?;
//!
//! let functions = Functions::build(&workspace, &["health"])?;
//! let gateway = Watch::only_apis(&tools, &run, Port::free()?)?;
//! let mut env = secrets.env();
//! env.extend(database.env());
//! let _health = Function::spawn(&gateway, &run, "health", functions.binary("health")?, &env)?;
//! // GET {gateway.url()}/api/v1/health
//! # Ok(()) }
//! ```
//!
//! Every service is a value: dropping it stops it. Whatever is not dropped (statics in tests, a
//! panic, `kill -9`) is stopped by [`process`]'s watchdog when this process ends.

pub mod cargo;
pub mod clients;
pub mod database;
pub mod emulator;
pub mod install;
pub mod lambda;
pub mod moto;
pub mod port;
pub mod postgres;
pub mod probe;
pub mod process;
pub mod progress;
pub mod vault;
pub mod watch;
mod watchdog;
pub mod workspace;

pub use cargo::Functions;
pub use database::Database;
pub use emulator::Emulator;
pub use install::Tools;
pub use moto::Moto;
pub use port::Port;
pub use postgres::Postgres;
pub use vault::Vault;
pub use watch::{Function, Watch};
pub use workspace::{RunDir, Workspace};

/// Environment variables for a child process.
pub type Env = Vec<(&'static str, String)>;
