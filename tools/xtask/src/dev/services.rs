//! The services of `cargo xtask dev`, kept running until a signal.

use std::mem;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::Request;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use stack::progress::step;
use stack::{Database, Env, Functions, Moto, Port, RunDir, Tools, Vault, Watch};

use super::FUNCTIONS;
use super::front::{Former, Front};
use super::sources::Sources;
use crate::demo;

/// The pause between two looks at the services.
const LOOK: Duration = Duration::from_millis(500);
/// The time between two runs of reconciliation, as in the template.
pub(super) const RECONCILE: Duration = Duration::from_mins(5);
/// The pause before a service that does not start is tried again.
const AGAIN: Duration = Duration::from_secs(10);
/// The scheduler's event; the function reads nothing of it.
const SCHEDULED: &[u8] =
    br#"{"detail-type":"Scheduled Event","source":"aws.scheduler","detail":"{}"}"#;

/// The running services.
pub(super) struct Services<'a> {
    pub(super) tools: &'a Tools,
    pub(super) run: &'a RunDir,
    pub(super) database: &'a mut Database,
    pub(super) secrets: &'a mut Moto,
    /// What Secrets Manager's stand-in loses when it ends, and its name there.
    pub(super) keyset: (&'a Vault, &'static str),
    pub(super) gateway: &'a mut Watch,
    pub(super) front: Front,
    pub(super) env: &'a Env,
    pub(super) sources: Sources,
    /// Functions of former code, which finish their answers.
    pub(super) former: Vec<(Watch, Former)>,
}

impl Services<'_> {
    /// Starts services again that end, builds the functions again when their code changes, and runs reconciliation,
    /// until Ctrl-C or SIGTERM.
    pub(super) fn keep_until_signal(mut self) -> Result<()> {
        // Before this line a signal ends this process at once, and its watchdog ends the services.
        let mut signals = Signals::new([SIGINT, SIGTERM]).context("can't wait for Ctrl-C")?;
        let (mut reconciled, mut wait_until) = (Instant::now(), Instant::now());
        while signals.pending().next().is_none() {
            sleep(LOOK);
            let now = Instant::now();
            if now < wait_until {
                continue;
            }
            if let Err(error) = self.revive() {
                eprintln!("error: a service ended and does not start again: {error:#}");
                wait_until = now + AGAIN;
            }
            if self.sources.have_changed() {
                self.sources.take();
                match self.renew() {
                    Ok(()) => eprintln!("New requests meet the new code."),
                    Err(error) => eprintln!("error: the functions stay as they were: {error:#}"),
                }
            }
            self.former.retain(|(_, former)| !former.is_idle());
            if now.duration_since(reconciled) >= RECONCILE {
                reconciled = now;
                self.reconcile();
            }
        }
        Ok(())
    }

    fn revive(&mut self) -> Result<()> {
        let told = |name: &str| eprintln!("{name} had ended, and was started again.");
        if self.database.revive(self.tools, self.run)? {
            told("Supabase's stand-in");
        }
        if self.secrets.revive(self.tools, self.run)? {
            let (vault, name) = self.keyset;
            vault.restore(self.secrets, name)?;
            told("Secrets Manager's stand-in");
        }
        if self.gateway.revive(self.tools, self.run, self.env)? {
            told("The gateway");
        }
        Ok(())
    }

    /// Builds the functions, and sends new requests to them. Those that are being answered end where they began.
    fn renew(&mut self) -> Result<()> {
        let workspace = self.run.workspace();
        step("The code of functions has changed (cargo build)", || {
            Functions::build(workspace, &FUNCTIONS)
        })?;
        let next = Watch::functions(self.tools, self.run, Port::free()?, self.env)?;
        let former = self.front.redirect(next.port().number());
        let before = mem::replace(self.gateway, next);
        self.former.push((before, former));
        Ok(())
    }

    /// Invokes the function in the background: its first start takes a while.
    fn reconcile(&self) {
        let url = format!(
            "{}/2015-03-31/functions/reconcile/invocations",
            self.gateway.url()
        );
        std::thread::spawn(move || {
            let ran = demo::wait_for(async {
                let request = Request::post(url).body(Bytes::from_static(SCHEDULED))?;
                Ok(demo::send(request).await?.error_for_status()?)
            });
            if let Err(error) = ran {
                eprintln!("error: reconciliation did not run: {error:#}");
            }
        });
    }
}
