//! The report of a run.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use crate::{
    books::Books,
    journal::{Group, Journal},
    options::Options,
    plan::Plan,
    verdict::Verdict,
};

/// The number of requests whose history is printed after a failed run.
const HISTORIES: usize = 3;

#[derive(Debug)]
pub struct Report {
    pub verdict: Verdict,
    pub books: Books,
    pub journal: Arc<Journal>,
    pub plans: Arc<Vec<Plan>>,
    /// The time that the requests took.
    pub traffic: Duration,
    /// The time that the settlement took.
    pub settling: Duration,
    pub logs: PathBuf,
}

impl Report {
    pub(crate) fn print(&self, options: &Options, took: Duration) {
        self.tables();
        let verdict = &self.verdict;
        self.mismatches(options);
        eprintln!(
            "\nrequests     {} (seed {})",
            options.requests, options.seed
        );
        eprintln!("rows         {}", self.books.rows.len());
        eprintln!("by token     {}", verdict.by_token);
        eprintln!("bills        {}", verdict.bills);
        eprintln!("billed       {} USD", verdict.billed);
        eprintln!("booked       {} USD", verdict.booked);
        eprintln!(
            "budgets      {} of DIDs and tokens, {} periods that turned",
            self.books.budgets.len(),
            verdict.turned_periods
        );
        eprintln!("pending      {}", verdict.pending);
        eprintln!("holds        {}", verdict.holds);
        eprintln!(
            "unknown      {} (cancelled before they cost anything)",
            verdict.unknown_and_free
        );
        eprintln!(
            "time         {:.1} s: requests {:.1} s, settling {:.1} s",
            took.as_secs_f64(),
            self.traffic.as_secs_f64(),
            self.settling.as_secs_f64()
        );
        let faults = verdict.mismatches.len();
        if faults == 0 {
            eprintln!("\nThe ledgers are equal, for each DID, model, token and budget period.");
        } else {
            eprintln!("\nTHE LEDGERS DIFFER: {faults} mismatches.");
        }
    }

    fn tables(&self) {
        let mut kinds: BTreeMap<String, u64> = BTreeMap::new();
        for plan in self.plans.iter() {
            *kinds.entry(plan.kind.name(plan.streamed)).or_default() += 1;
        }
        table("requests", kinds);
        table("faults that occurred", self.journal.counts(Group::Fault));
        table("what the clients saw", self.journal.counts(Group::Client));
        let mut ends: BTreeMap<String, u64> = BTreeMap::new();
        for row in &self.books.rows {
            let reason = row.error_reason.as_deref().unwrap_or_default();
            let unknown = row.unknown_cost_reason.as_deref().unwrap_or_default();
            let end = format!("{} {} {reason} {unknown}", row.status, row.cost_state);
            *ends.entry(end.trim().to_owned()).or_default() += 1;
        }
        table("how the rows ended: status, cost, reasons", ends);
        table("settlement", self.journal.counts(Group::Settlement));
    }

    /// Prints the mismatches, and the history of the first few requests.
    fn mismatches(&self, options: &Options) {
        let mismatches = &self.verdict.mismatches;
        if mismatches.is_empty() {
            return;
        }
        eprintln!("\nmismatches");
        for mismatch in mismatches.iter().take(60) {
            match mismatch.number {
                Some(number) => eprintln!("  request {number}: {}", mismatch.text),
                None => eprintln!("  {}", mismatch.text),
            }
        }
        let mut numbers: Vec<usize> = mismatches.iter().filter_map(|it| it.number).collect();
        numbers.dedup();
        for plan in numbers
            .into_iter()
            .take(HISTORIES)
            .filter_map(|it| self.plans.get(it))
        {
            eprintln!(
                "\nthe history of request {} (seed {})",
                plan.number, options.seed
            );
            let shown = Plan {
                body: Vec::new(),
                ..plan.clone()
            };
            eprintln!("{shown:#?}");
            eprint!("{}", self.journal.history(plan.number));
            for row in self
                .books
                .rows
                .iter()
                .filter(|row| plan.ids.contains(&row.id))
            {
                eprintln!("  row {row:?}");
            }
        }
        eprintln!("\nlogs: {}", self.logs.display());
    }
}

fn table(title: &str, lines: impl IntoIterator<Item = (String, u64)>) {
    eprintln!("\n{title}");
    for (name, times) in lines {
        eprintln!("  {times:>6}  {name}");
    }
}
