//! `llmgw admin keyset`: the keyset and its rotation, step by step.
//!
//! Each step refuses what would lose data or break requests. Waiting times count from the last
//! change of the keyset (see [`Snapshot::changed_at`](super::keyset_store::Snapshot)).

mod report;
mod status;
mod step;

use anyhow::Result;
use clap::{Args, Subcommand};
use shared::vault::{keyset::Keyset, secret::KeyId};

use self::{
    report::Done,
    step::{Random, Step, new_key},
};
use super::{keyset_store::KeysetStore, output::Output, services::Services};
use crate::context::Outcome;

/// The subcommands of `keyset`: the steps of a keyset's life.
#[derive(Debug, Clone, Subcommand)]
pub enum KeysetCommand {
    /// Create a keyset with one key
    New,
    /// Rotation, step 1: add a key that opens and does not seal yet
    Add,
    /// Step 2: seal with the added key, once every function knows it
    Promote(StepArgs),
    /// Step 4, after `rewrap`: stop opening with the old key; `enable` undoes it
    Disable(StepArgs),
    /// Open with a disabled key again
    Enable {
        /// The key's id [default: the only disabled one]
        #[arg(value_parser = parse_key_id)]
        id: Option<KeyId>,
    },
    /// Step 5: delete a disabled key, which cannot be undone
    Destroy(StepArgs),
    /// Show the keys, the rows that each seals, and the next step
    Status,
}

/// Arguments of a step with a waiting time.
#[derive(Debug, Clone, Copy, Args)]
pub struct StepArgs {
    /// The key's id [default: the only candidate]
    #[arg(value_parser = parse_key_id)]
    pub id: Option<KeyId>,
    /// Skip the waiting time; prints the risk
    #[arg(long)]
    pub now: bool,
}

fn parse_key_id(text: &str) -> Result<KeyId, &'static str> {
    text.parse()
        .map(KeyId)
        .map_err(|_| "a key's id is a number, see `llmgw admin keyset status`")
}

pub(super) async fn run(
    command: &KeysetCommand,
    services: &Services,
    random: Random,
    output: &mut Output<'_>,
) -> Result<Outcome> {
    let store = services.keyset()?;
    if let KeysetCommand::New = command {
        return new(&store, random, output).await;
    }
    let step = Step::read(services, store).await?;
    match command {
        KeysetCommand::New => Ok(Outcome::Success),
        KeysetCommand::Add => step.add(random, output).await,
        KeysetCommand::Promote(args) => step.promote(args.id, args.now, output).await,
        KeysetCommand::Disable(args) => step.disable(args.id, args.now, output).await,
        KeysetCommand::Enable { id } => step.enable(*id, output).await,
        KeysetCommand::Destroy(args) => step.destroy(args.id, args.now, output).await,
        KeysetCommand::Status => status::run(step, output).await,
    }
}

async fn new(store: &KeysetStore, random: Random, output: &mut Output<'_>) -> Result<Outcome> {
    let (material, id) = new_key(random, |_| false)?;
    store.create(&Keyset::generate(&material, id)).await?;
    output.report(&Done {
        id,
        changed: true,
        what: format!("key {id} seals now, in {store}"),
        next: "keep a copy of it apart from the database's backups: without it users' keys are \
               lost, and anyone with both it and the database can read every key"
            .to_owned(),
    })?;
    Ok(Outcome::Success)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids() {
        assert!(parse_key_id("4294967295").is_ok_and(|id| id == KeyId(u32::MAX)));
        assert!(parse_key_id("4294967296").is_err());
    }

    #[test]
    fn a_fresh_key_avoids_ids_that_are_taken() {
        let (material, id) = new_key(getrandom::fill, |id| id.0 % 2 == 0).unwrap();
        assert!(id.0 % 2 == 1);
        assert_ne!(*material, [0; 64]);
        let (other, _) = new_key(getrandom::fill, |_| false).unwrap();
        assert_ne!(*material, *other);
    }
}
