//! The steps that change a keyset.

use anyhow::{Context as _, Result, bail};
use jiff::SignedDuration;
use shared::vault::{keyset::KeyMaterial, secret::KeyId};

use super::{
    super::{
        keyset_edit::{Change, KeyStatus, KeysetEdit},
        keyset_store::{KeysetStore, Snapshot},
        output::{Output, Rows},
        services::{Services, rows_by_key, rows_of},
        storage::SealCount,
    },
    report::{Are, Done, clock_time, span},
};
use crate::{client::NO_RANDOMNESS, context::Outcome};

/// The time that a function needs for work begun with a keyset at the end of its lifetime: a fetch, or
/// a request that still seals. Storing a key takes up to 20 s with the keyset of its beginning.
///
/// A keyset's age compares two clocks, this machine's and that of Secrets Manager or of the file's
/// machine. If this one is ahead, waiting times are that much shorter.
const MARGIN: SignedDuration = SignedDuration::from_secs(30);
/// The time for which a disabled key can be enabled again: database backups contain rows that it
/// sealed.
pub(super) const GRACE: SignedDuration = SignedDuration::from_hours(7 * 24);

pub(super) type Random = fn(&mut [u8]) -> Result<(), getrandom::Error>;

/// Generates a key with an id that is not `taken`. Tink does not use the id 0.
pub(super) fn new_key(
    random: Random,
    taken: impl Fn(KeyId) -> bool,
) -> Result<(KeyMaterial, KeyId)> {
    let fill = |bytes: &mut [u8]| random(bytes).context(NO_RANDOMNESS);
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

/// A step, with the keyset that it changes.
pub(super) struct Step<'a> {
    services: &'a Services,
    pub(super) store: KeysetStore,
    pub(super) read: Snapshot,
    pub(super) keyset: KeysetEdit,
    /// The time since the last change of the keyset.
    age: SignedDuration,
    lifetime: SignedDuration,
}

impl<'a> Step<'a> {
    pub(super) async fn read(services: &'a Services, store: KeysetStore) -> Result<Self> {
        let read = store.read().await?;
        Ok(Self {
            age: services.clock.now().duration_since(read.changed_at),
            lifetime: Services::keyset_lifetime(),
            services,
            store,
            keyset: read.edit().context("the keyset cannot be used")?,
            read,
        })
    }

    pub(super) async fn add(mut self, random: Random, output: &mut Output<'_>) -> Result<Outcome> {
        if let Some(other) = self.with(KeyStatus::Enabled).next() {
            bail!(
                "key {other} is enabled beside the primary one: a rotation is in progress. Finish it \
                 first; `llmgw admin keyset status` shows the next step"
            );
        }
        // Rows may still name a key that is no longer in the keyset.
        let rows = self.rows_if_known().await.unwrap_or_default();
        let (material, id) = new_key(random, |id| rows_of(&rows, id) > 0)?;
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

    pub(super) async fn promote(
        mut self,
        id: Option<KeyId>,
        now: bool,
        output: &mut Output<'_>,
    ) -> Result<Outcome> {
        let id = self.choose(id, KeyStatus::Enabled, "promote", "add")?;
        let change = self.keyset.promote(id)?;
        if change == Change::Made {
            self.ensure_waited(
                now,
                self.wait(),
                output,
                "functions read the keyset once in that time, and one that does not know the new \
                 key cannot open what another one sealed with it",
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

    pub(super) async fn disable(
        mut self,
        id: Option<KeyId>,
        now: bool,
        output: &mut Output<'_>,
    ) -> Result<Outcome> {
        let id = self.choose(id, KeyStatus::Enabled, "disable", "promote")?;
        let change = self.keyset.disable(id)?;
        if change == Change::Made {
            self.ensure_unused(id).await?;
            self.ensure_waited(
                now,
                self.wait(),
                output,
                "a function may seal with the former primary key until it reads the keyset again",
                "keys that users store within that time may be sealed with a disabled key and do \
                 not open until it is enabled again",
            )?;
            self.save().await?;
            // Rows that were sealed between the check and the change.
            let left = rows_of(&self.rows().await?, id);
            if left > 0 {
                bail!(
                    "key {id} is disabled, but {} began to use it just before: run `llmgw admin keyset \
                     enable {id}` now, then `llmgw admin rewrap`",
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
                "if anything still needs it, `llmgw admin keyset enable {id}`; in {} days `llmgw \
             admin keyset destroy {id}`",
                GRACE.as_hours() / 24
            ),
        )
    }

    pub(super) async fn enable(
        mut self,
        id: Option<KeyId>,
        output: &mut Output<'_>,
    ) -> Result<Outcome> {
        let id = self.choose(id, KeyStatus::Disabled, "enable", "disable")?;
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

    pub(super) async fn destroy(
        mut self,
        id: Option<KeyId>,
        now: bool,
        output: &mut Output<'_>,
    ) -> Result<Outcome> {
        let id = self.choose(id, KeyStatus::Disabled, "destroy", "disable")?;
        let change = self.keyset.destroy(id)?;
        if change == Change::Made {
            self.ensure_unused(id).await?;
            self.ensure_waited(
                now,
                GRACE,
                output,
                "until then a mistake can be undone, and a database backup from before `rewrap` can \
                 be restored",
                "rows in backups that this key sealed can never be opened again",
            )?;
            self.save().await?;
        }
        done(
            output,
            id,
            change,
            "is destroyed",
            "copies of the old keyset still contain it: backups, files, and the previous version in \
             Secrets Manager, until the next change"
                .to_owned(),
        )
    }

    /// The time after which every function has read a change.
    pub(super) fn wait(&self) -> SignedDuration {
        self.lifetime + MARGIN
    }

    /// Refuses a step before the keyset has been unchanged for `needed`.
    fn ensure_waited(
        &self,
        now: bool,
        needed: SignedDuration,
        output: &mut Output<'_>,
        reason: &str,
        risk: &str,
    ) -> Result<()> {
        // A clock that is behind must not shorten the wait.
        let left = needed - self.age.max(SignedDuration::ZERO);
        if !left.is_positive() {
            return Ok(());
        }
        if now {
            output.warn(&format!(
                "warning: not waiting another {}: {risk}",
                span(left)
            ))?;
            return Ok(());
        }
        bail!(
            "too early: the keyset was last changed at {}, and this step is safe {} after that. \
             Wait another {}: {reason}. --now skips the wait",
            clock_time(self.read.changed_at),
            span(needed),
            span(left),
        )
    }

    /// Refuses to disable or delete a key that rows need.
    async fn ensure_unused(&self, id: KeyId) -> Result<()> {
        let rows = rows_of(&self.rows().await?, id);
        if rows > 0 {
            bail!(
                "{} still sealed with key {id} and could not be opened without it: run `llmgw admin \
                 rewrap` first. `llmgw admin doctor` lists rows that it cannot open",
                Are(rows)
            );
        }
        Ok(())
    }

    async fn rows(&self) -> Result<Vec<SealCount>> {
        rows_by_key(&self.services.storage()?).await
    }

    pub(super) async fn rows_if_known(&self) -> Option<Vec<SealCount>> {
        match self.rows().await {
            Ok(rows) => Some(rows),
            Err(error) => {
                tracing::debug!(
                    error = format!("{error:#}"),
                    "the rows of each key are unknown"
                );
                None
            }
        }
    }

    async fn save(&self) -> Result<()> {
        Ok(self.store.replace(&self.read, &self.keyset).await?)
    }

    /// The named key, by default the only one with `status`.
    fn choose(
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
    let already = if changed { "" } else { " (unchanged)" };
    output.report(&Done {
        id,
        changed,
        what: format!("key {id} {what}{already}"),
        next,
    })?;
    Ok(Outcome::Success)
}
