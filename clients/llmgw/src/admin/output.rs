//! Reports for people and for programs, and progress for whoever waits.

use std::{
    fmt,
    io::{self, IsTerminal, Write},
};

use serde::Serialize;
use shared::config::Env;

const BAR: usize = 30;

/// What a check came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Good,
    Bad,
    /// Nobody can say: something is missing that checking takes.
    NotChecked,
}

/// Where an operator's command tells what it did.
pub(super) struct Output<'a> {
    json: bool,
    stdout: &'a mut dyn Write,
    stderr: &'a mut dyn Write,
    /// Whether stdout, and whether stderr is looked at by a person.
    colour: bool,
    bar: bool,
}

impl<'a> Output<'a> {
    pub(super) fn new(json: bool, stdout: &'a mut dyn Write, stderr: &'a mut dyn Write) -> Self {
        let env = Env::process();
        // <https://no-color.org>; a dumb terminal can do neither.
        let dumb = env.optional("TERM").is_some_and(|term| term == "dumb");
        Self {
            json,
            stdout,
            stderr,
            colour: io::stdout().is_terminal() && !env.is_set("NO_COLOR") && !dumb,
            bar: io::stderr().is_terminal() && !dumb,
        }
    }

    /// Prints the report of a command: its only output on stdout.
    pub(super) fn report(&mut self, report: &(impl Serialize + fmt::Display)) -> io::Result<()> {
        if self.json {
            serde_json::to_writer(&mut *self.stdout, report)?;
            writeln!(self.stdout)
        } else {
            writeln!(self.stdout, "{report}")
        }
    }

    /// Tells a person something that is no result.
    pub(super) fn note(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.stderr, "{text}")
    }

    /// Asks a person; what follows is typed on the same line.
    pub(super) fn prompt(&mut self, text: &str) -> io::Result<()> {
        write!(self.stderr, "{text}")?;
        self.stderr.flush()
    }

    /// How many of `total` rows are `done`: a bar on a terminal, or else a line.
    pub(super) fn progress(&mut self, what: &str, done: u64, total: u64) -> io::Result<()> {
        // Rows come and go meanwhile.
        let total = total.max(done);
        if !self.bar {
            return writeln!(self.stderr, "{what}: {done} of {total} rows");
        }
        let width = u64::try_from(BAR).unwrap_or(u64::MAX);
        let filled = (done * width).checked_div(total).unwrap_or(width);
        let filled = usize::try_from(filled).unwrap_or(BAR);
        write!(
            self.stderr,
            "\r{what} [{}{}] {done}/{total}",
            "#".repeat(filled),
            "-".repeat(BAR - filled),
        )?;
        self.stderr.flush()
    }

    /// Ends the line of a progress bar.
    pub(super) fn progress_ends(&mut self) -> io::Result<()> {
        if self.bar {
            writeln!(self.stderr)
        } else {
            Ok(())
        }
    }

    /// One line that is good or bad, in its colour, unless the report is JSON.
    pub(super) fn verdict(&mut self, verdict: Verdict, text: &str) -> io::Result<()> {
        if self.json {
            return Ok(());
        }
        let word = match (verdict, self.colour) {
            (Verdict::Good, true) => "\x1b[32mok\x1b[0m  ",
            (Verdict::Good, false) => "ok  ",
            (Verdict::Bad, true) => "\x1b[31mFAIL\x1b[0m",
            (Verdict::Bad, false) => "FAIL",
            (Verdict::NotChecked, true) => "\x1b[33mskip\x1b[0m",
            (Verdict::NotChecked, false) => "skip",
        };
        writeln!(self.stdout, "{word}  {text}")
    }

    /// Prints what only programs read.
    pub(super) fn json(&mut self, report: &impl Serialize) -> io::Result<()> {
        if !self.json {
            return Ok(());
        }
        serde_json::to_writer(&mut *self.stdout, report)?;
        writeln!(self.stdout)
    }
}

/// `1 row`, `2 rows`.
pub(super) struct Rows(pub(super) u64);

impl fmt::Display for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => f.write_str("1 row"),
            n => write!(f, "{n} rows"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Report {
        rows: u64,
    }

    impl fmt::Display for Report {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{} sealed", Rows(self.rows))
        }
    }

    fn printed(json: bool, bar: bool, print: impl FnOnce(&mut Output<'_>)) -> (String, String) {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let mut output = Output {
            json,
            stdout: &mut stdout,
            stderr: &mut stderr,
            colour: bar,
            bar,
        };
        print(&mut output);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (text(stdout), text(stderr))
    }

    #[test]
    fn a_report_is_text_or_json() {
        let report = |json| printed(json, false, |it| it.report(&Report { rows: 1 }).unwrap()).0;
        assert_eq!(report(false), "1 row sealed\n");
        assert_eq!(report(true), "{\"rows\":1}\n");
    }

    #[test]
    fn progress_is_a_bar_on_a_terminal_and_lines_elsewhere() {
        let progress = |bar| {
            printed(false, bar, |it| {
                it.progress("rewrapped", 0, 0).unwrap();
                it.progress("rewrapped", 15, 30).unwrap();
                it.progress_ends().unwrap();
            })
            .1
        };
        assert_eq!(
            progress(false),
            "rewrapped: 0 of 0 rows\nrewrapped: 15 of 30 rows\n"
        );
        let full = "#".repeat(30);
        let half = format!("{}{}", "#".repeat(15), "-".repeat(15));
        assert_eq!(
            progress(true),
            format!("\rrewrapped [{full}] 0/0\rrewrapped [{half}] 15/30\n")
        );
    }

    #[test]
    fn verdicts_have_colours_only_on_a_terminal() {
        let verdict =
            |colour, verdict| printed(false, colour, |it| it.verdict(verdict, "x").unwrap()).0;
        assert_eq!(verdict(false, Verdict::Good), "ok    x\n");
        assert_eq!(verdict(false, Verdict::Bad), "FAIL  x\n");
        assert_eq!(verdict(false, Verdict::NotChecked), "skip  x\n");
        assert_eq!(verdict(true, Verdict::Bad), "\x1b[31mFAIL\x1b[0m  x\n");
        assert_eq!(
            printed(true, true, |it| it.verdict(Verdict::Good, "x").unwrap()).0,
            ""
        );
    }
}
