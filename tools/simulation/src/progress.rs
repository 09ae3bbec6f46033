//! The progress of a run: a line that is rewritten on a terminal, otherwise a line every few seconds.

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
    total: usize,
    done: AtomicUsize,
    started: Instant,
    shown: Mutex<Instant>,
    terminal: bool,
}

impl Progress {
    pub(crate) fn new(total: usize) -> Self {
        Self {
            total,
            done: AtomicUsize::new(0),
            started: Instant::now(),
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
        if shown.elapsed() < pause && done < self.total {
            return;
        }
        *shown = Instant::now();
        let seconds = self.started.elapsed().as_secs();
        if self.terminal {
            let full = done * WIDTH / self.total.max(1);
            let bar = format!(
                "{}{}",
                "█".repeat(full),
                "·".repeat(WIDTH.saturating_sub(full))
            );
            let end = if done == self.total { "\n" } else { "" };
            eprint!("\r  {bar} {done}/{} requests, {seconds} s{end}", self.total);
            let _ = stderr().flush();
        } else {
            eprintln!("  {done}/{} requests, {seconds} s", self.total);
        }
    }
}
