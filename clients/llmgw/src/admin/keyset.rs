//! The keyset and its rotation, step by step.
//!
//! Each step refuses what would lose data or break requests. Waiting times count from the last
//! change of the keyset (see [`Snapshot::changed_at`](super::keyset_store::Snapshot)).

mod report;
mod status;

use anyhow::{Context, Result, bail};
use jiff::SignedDuration;
use shared::{
    storage::administration::SealCount,
    vault::{
        keyset::{Change, KeyMaterial, KeyStatus, Keyset, KeysetEdit},
        secret::KeyId,
    },
};

use self::report::{Are, Done, clock_time, span};
use super::{
    cli::{KeysetCommand, StepArgs},
    keyset_store::{KeysetStore, Snapshot},
    output::{Output, Rows},
    services::{Services, rows_by_key, rows_of},
};
use crate::commands::Outcome;

/// What is under way when a function's keyset has just reached the end of its life: a fetch, or a
/// request that still seals. Storing a key takes up to 20 s, all of it with the keyset of its beginning.
///
/// Ages compare two clocks: ours, which has to be right, and that of Secrets Manager, or of the file's
/// machine. One of ours that is ahead makes a wait as much shorter.
const MARGIN: SignedDuration = SignedDuration::from_secs(30);
/// How long a disabled key can be had back: backups of the database hold rows that it sealed.
const GRACE: SignedDuration = SignedDuration::from_hours(7 * 24);

type Random = fn(&mut [u8]) -> Result<(), getrandom::Error>;

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
    let read = store.read().await?;
    let step = Step {
        age: services.clock.now().duration_since(read.changed_at),
        lifetime: Services::keyset_lifetime(),
        services,
        store,
        keyset: read.edit().context("the keyset cannot be used")?,
        read,
    };
    match command {
        KeysetCommand::New => Ok(Outcome::Done),
        KeysetCommand::Add => step.add(random, output).await,
        KeysetCommand::Promote(args) => step.promote(*args, output).await,
        KeysetCommand::Disable(args) => step.disable(*args, output).await,
        KeysetCommand::Enable { id } => step.enable(*id, output).await,
        KeysetCommand::Destroy(args) => step.destroy(*args, output).await,
        KeysetCommand::Status => step.status(output).await,
    }
}

async fn new(store: &KeysetStore, random: Random, output: &mut Output<'_>) -> Result<Outcome> {
    let (material, id) = fresh(random, |_| false)?;
    store.create(&Keyset::generate(&material, id)).await?;
    output.report(&Done {
        id,
        changed: true,
        what: format!("key {id} seals now, in {store}"),
        next: "keep a copy of it where the database's backups are not: without it users' keys are \
               lost, and with it and the database anybody can read them"
            .to_owned(),
    })?;
    Ok(Outcome::Done)
}

/// A random key and an id that is not `taken`; 0 is no id for Tink.
fn fresh(random: Random, taken: impl Fn(KeyId) -> bool) -> Result<(KeyMaterial, KeyId)> {
    let fill = |bytes: &mut [u8]| random(bytes).context("the system has no randomness to give");
    let mut material = KeyMaterial::new([0; 64]);
    fill(&mut material[..])?;
    loop {
        let mut bytes = [0; 4];
        fill(&mut bytes)?;
        let id = KeyId(u32::from_be_bytes(bytes));
        if id.0 != 0 && !taken(id) {
            return Ok((material, id));
        }
    }
}

/// One step, with the keyset that it changes.
struct Step<'a> {
    services: &'a Services,
    store: KeysetStore,
    read: Snapshot,
    keyset: KeysetEdit,
    /// Since the keyset was last changed.
    age: SignedDuration,
    lifetime: SignedDuration,
}

impl Step<'_> {
    async fn add(mut self, random: Random, output: &mut Output<'_>) -> Result<Outcome> {
        if let Some(other) = self.with(KeyStatus::Enabled).next() {
            bail!(
                "key {other} is enabled beside the primary one: a rotation is under way. Finish it \
                 first; `llmgw admin keyset status` says how"
            );
        }
        // Rows may still name a key that is no longer in the keyset.
        let rows = self.rows_if_known().await.unwrap_or_default();
        let (material, id) = fresh(random, |id| rows_of(&rows, id) > 0)?;
        self.keyset.add(&material, id)?;
        self.save().await?;
        let at = self.services.clock.now() + self.wait();
        done(
            output,
            id,
            Change::Made,
            "opens now, and does not seal yet",
            format!(
                "after {}, when every function knows it: `llmgw admin keyset promote`",
                clock_time(at)
            ),
        )
    }

    async fn promote(mut self, args: StepArgs, output: &mut Output<'_>) -> Result<Outcome> {
        let id = self.chosen(args.id, KeyStatus::Enabled, "promote", "add")?;
        let change = self.keyset.promote(id)?;
        if change == Change::Made {
            self.waited(
                args.now,
                self.wait(),
                output,
                "functions read the keyset once in that time, and one that does not know the new \
                 key cannot open what another has sealed with it",
                "requests of users whose keys are sealed with it may fail, for up to 30 seconds each \
                 time, until every function has read the keyset",
            )?;
            self.save().await?;
        }
        let at = self.services.clock.now() + self.wait();
        done(
            output,
            id,
            change,
            "seals now",
            format!(
                "`llmgw admin rewrap`; and after {}, when no function seals with the old key any more, \
             `llmgw admin rewrap` once more and `llmgw admin keyset disable`",
                clock_time(at)
            ),
        )
    }

    async fn disable(mut self, args: StepArgs, output: &mut Output<'_>) -> Result<Outcome> {
        let id = self.chosen(args.id, KeyStatus::Enabled, "disable", "promote")?;
        let change = self.keyset.disable(id)?;
        if change == Change::Made {
            self.unused(id).await?;
            self.waited(
                args.now,
                self.wait(),
                output,
                "a function may seal with the key that was primary until it has read the keyset \
                 anew",
                "keys that users store within that time may be sealed with a disabled key and not \
                 open until it is enabled again",
            )?;
            self.save().await?;
            // What was sealed between the look and the change.
            let left = rows_of(&self.rows().await?, id);
            if left > 0 {
                bail!(
                    "key {id} is disabled, but {} came to use it at the last moment: run `llmgw \
                     admin keyset enable {id}` now, then `llmgw admin rewrap`",
                    Rows(left)
                );
            }
        }
        done(
            output,
            id,
            change,
            "opens nothing any more",
            format!(
                "should anything still need it, `llmgw admin keyset enable {id}`; in {} days `llmgw \
             admin keyset destroy {id}`",
                GRACE.as_hours() / 24
            ),
        )
    }

    async fn enable(mut self, id: Option<KeyId>, output: &mut Output<'_>) -> Result<Outcome> {
        let id = self.chosen(id, KeyStatus::Disabled, "enable", "disable")?;
        let change = self.keyset.enable(id)?;
        if change == Change::Made {
            self.save().await?;
        }
        done(
            output,
            id,
            change,
            "opens again",
            format!("functions know it within {} seconds", self.wait().as_secs()),
        )
    }

    async fn destroy(mut self, args: StepArgs, output: &mut Output<'_>) -> Result<Outcome> {
        let id = self.chosen(args.id, KeyStatus::Disabled, "destroy", "disable")?;
        let change = self.keyset.destroy(id)?;
        if change == Change::Made {
            self.unused(id).await?;
            self.waited(
                args.now,
                GRACE,
                output,
                "until then a mistake can be undone, and a backup of the database that was made \
                 before `rewrap` can be restored",
                "rows in backups that this key sealed can never be opened again",
            )?;
            self.save().await?;
        }
        done(
            output,
            id,
            change,
            "is destroyed",
            "copies of the old keyset still hold it: backups, files, and in Secrets Manager the \
             version before this one, until the next change"
                .to_owned(),
        )
    }

    /// Longer than any function uses a keyset.
    fn wait(&self) -> SignedDuration {
        self.lifetime + MARGIN
    }

    /// Refuses to go on before the keyset has been as it is for `needed`.
    fn waited(
        &self,
        now: bool,
        needed: SignedDuration,
        output: &mut Output<'_>,
        reason: &str,
        risk: &str,
    ) -> Result<()> {
        // A clock that is behind is no reason to hurry.
        let left = needed - self.age.max(SignedDuration::ZERO);
        if !left.is_positive() {
            return Ok(());
        }
        if now {
            output.note(&format!(
                "warning: not waiting another {}: {risk}",
                span(left)
            ))?;
            return Ok(());
        }
        bail!(
            "too early: the keyset was last changed at {}, and this step is safe {} after that. \
             Wait another {}: {reason}. --now does not wait",
            clock_time(self.read.changed_at),
            span(needed),
            span(left),
        )
    }

    /// Refuses to take away a key that rows still need.
    async fn unused(&self, id: KeyId) -> Result<()> {
        let rows = rows_of(&self.rows().await?, id);
        if rows > 0 {
            bail!(
                "{} still sealed with key {id}, and could not be opened any more: run `llmgw admin \
                 rewrap` first. What that cannot open, `llmgw admin doctor` lists",
                Are(rows)
            );
        }
        Ok(())
    }

    async fn rows(&self) -> Result<Vec<SealCount>> {
        rows_by_key(&self.services.storage()?).await
    }

    async fn rows_if_known(&self) -> Option<Vec<SealCount>> {
        match self.rows().await {
            Ok(rows) => Some(rows),
            Err(error) => {
                tracing::debug!(error = format!("{error:#}"), "rows are not known");
                None
            }
        }
    }

    async fn save(&self) -> Result<()> {
        Ok(self.store.replace(&self.read, &self.keyset).await?)
    }

    /// The key that was named, or the only one in question.
    fn chosen(
        &self,
        named: Option<KeyId>,
        status: KeyStatus,
        step: &str,
        before: &str,
    ) -> Result<KeyId> {
        if let Some(id) = named.or_else(|| self.only(status)) {
            return Ok(id);
        }
        let word = if status == KeyStatus::Enabled {
            "enabled and not primary"
        } else {
            "disabled"
        };
        let keys: Vec<_> = self.with(status).map(|id| id.to_string()).collect();
        if keys.is_empty() {
            bail!("no key is {word}; `llmgw admin keyset {before}` comes first");
        }
        bail!(
            "keys {} are {word}: name the one to {step}",
            keys.join(", ")
        )
    }

    fn with(&self, status: KeyStatus) -> impl Iterator<Item = KeyId> {
        self.keyset
            .keys()
            .filter(move |(_, it)| *it == status)
            .map(|(id, _)| id)
    }

    fn only(&self, status: KeyStatus) -> Option<KeyId> {
        let mut all = self.with(status);
        all.next().filter(|_| all.next().is_none())
    }
}

fn done(
    output: &mut Output<'_>,
    id: KeyId,
    change: Change,
    what: &str,
    next: String,
) -> Result<Outcome> {
    let changed = change == Change::Made;
    let already = if changed { "" } else { " (it was so already)" };
    output.report(&Done {
        id,
        changed,
        what: format!("key {id} {what}{already}"),
        next,
    })?;
    Ok(Outcome::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_key_avoids_ids_that_are_taken() {
        let (material, id) = fresh(getrandom::fill, |id| id.0 % 2 == 0).unwrap();
        assert!(id.0 % 2 == 1);
        assert_ne!(*material, [0; 64]);
        let (other, _) = fresh(getrandom::fill, |_| false).unwrap();
        assert_ne!(*material, *other);
    }
}
