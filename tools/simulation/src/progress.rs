//! How far a run is: a line that is rewritten on a terminal, otherwise one every few seconds.

use std::{
    io::{IsTerminal as _, Write as _, stderr},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use stack::lambda::lock;

const ON_A_TERMINAL: Duration = Duration::from_millis(100);
const ELSEWHERE: Duration = Duration::from_secs(5);
const WIDTH: usize = 40;

#[derive(Debug)]
pub(crate) struct Progress {
    of: usize,
    done: AtomicUsize,
    begun: Instant,
    shown: Mutex<Instant>,
    terminal: bool,
}

impl Progress {
    pub(crate) fn of(of: usize) -> Self {
        Self {
            of,
            done: AtomicUsize::new(0),
            begun: Instant::now(),
            shown: Mutex::new(Instant::now()),
            terminal: stderr().is_terminal(),
        }
    }

    pub(crate) fn advance(&self) {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        let mut shown = lock(&self.shown);
        let pause = if self.terminal {
            ON_A_TERMINAL
        } else {
            ELSEWHERE
        };
        if shown.elapsed() < pause && done < self.of {
            return;
        }
        *shown = Instant::now();
        let seconds = self.begun.elapsed().as_secs();
        if self.terminal {
            let full = done * WIDTH / self.of.max(1);
            let bar = format!(
                "{}{}",
                "█".repeat(full),
                "·".repeat(WIDTH.saturating_sub(full))
            );
            let end = if done == self.of { "\n" } else { "" };
            eprint!("\r  {bar} {done}/{} requests, {seconds} s{end}", self.of);
            let _ = stderr().flush();
        } else {
            eprintln!("  {done}/{} requests, {seconds} s", self.of);
        }
    }
}
