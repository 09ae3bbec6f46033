//! Policies with one fault for many calls.

use std::{sync::Mutex, time::Duration};

use anyhow::Result;
use tokio::{net::TcpListener, sync::watch};

use super::{Call, ChaosProxy, Fault, FaultPolicy, lock};

/// A fault of one database function's calls; all others pass.
#[derive(Debug, Clone, Copy)]
pub struct OneCall {
    /// The function.
    pub function: &'static str,
    /// The fault of its calls.
    pub fault: Fault,
}

impl FaultPolicy for OneCall {
    type Context = ();

    fn decide(&self, call: &Call) -> (Fault, ()) {
        let fault = if call.function == self.function {
            self.fault
        } else {
            Fault::None
        };
        (fault, ())
    }
}

/// The mode of a [`SwitchedProxy`]. A change breaks the connections of the calls that are unanswered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// All calls pass.
    Pass,
    /// Connections are refused.
    Refuse,
    /// Connections are accepted and reset.
    Reset,
    /// All calls pass after a delay.
    Slow(Duration),
    /// Each call is answered with a plain 500 that `PostgREST` did not write.
    Answer500,
    /// Each call is executed, but the response never arrives.
    HoldResponses,
}

/// One mode for all calls; those that passed are remembered.
#[derive(Debug)]
pub struct Switch {
    mode: watch::Sender<Mode>,
    calls: Mutex<Vec<String>>,
}

impl FaultPolicy for Switch {
    type Context = ();

    fn decide(&self, call: &Call) -> (Fault, ()) {
        let fault = match *self.mode.borrow() {
            Mode::Pass => {
                lock(&self.calls).push(call.function.clone());
                Fault::None
            }
            Mode::Refuse | Mode::Reset => Fault::Reset,
            Mode::Slow(wait) => Fault::Delay(wait),
            Mode::Answer500 => Fault::Refuse(500),
            Mode::HoldResponses => Fault::HoldResponse,
        };
        (fault, ())
    }

    async fn release(&self) {
        let _ = self.mode.subscribe().changed().await;
    }
}

/// A proxy with a [`Switch`].
pub type SwitchedProxy = ChaosProxy<Switch>;

impl SwitchedProxy {
    /// Starts a proxy of `target`, in the mode [`Mode::Pass`].
    pub async fn passing(target: &str) -> Result<Self> {
        let switch = Switch {
            mode: watch::Sender::new(Mode::Pass),
            calls: Mutex::default(),
        };
        Self::start(target, switch).await
    }

    /// The database functions whose calls passed, in order.
    #[must_use]
    pub fn calls(&self) -> Vec<String> {
        lock(&self.policy.calls).clone()
    }

    /// Changes the mode.
    pub async fn set(&self, mode: Mode) -> Result<()> {
        let before = self.policy.mode.send_replace(mode);
        match (before == Mode::Refuse, mode == Mode::Refuse) {
            (false, true) => self.close().await,
            (true, false) => self.listen(TcpListener::bind(self.address).await?),
            (true, true) | (false, false) => {}
        }
        Ok(())
    }
}
