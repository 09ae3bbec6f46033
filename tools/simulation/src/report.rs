//! What a run tells.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use crate::{
    books::Books,
    chronicle::{Chronicle, Group},
    plan::Plan,
    run::Options,
    verdict::Verdict,
};

/// How many stories are told of a failed run.
const STORIES: usize = 3;

#[derive(Debug)]
pub struct Report {
    pub verdict: Verdict,
    pub books: Books,
    pub chronicle: Arc<Chronicle>,
    pub plans: Arc<Vec<Plan>>,
    /// How long requests ran.
    pub traffic: Duration,
    /// How long it took to settle what they left open.
    pub settling: Duration,
    pub logs: PathBuf,
}

impl Report {
    pub(crate) fn print(&self, options: &Options, took: Duration) {
        self.tables();
        let verdict = &self.verdict;
        self.stories(options);
        eprintln!(
            "\nrequests     {} (seed {})",
            options.requests, options.seed
        );
        eprintln!("rows         {}", self.books.rows.len());
        eprintln!("bills        {}", verdict.bills);
        eprintln!("billed       {} USD", verdict.billed);
        eprintln!("booked       {} USD", verdict.booked);
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
            eprintln!("\nThe ledgers are equal, for each DID and each model.");
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
        table(
            "faults that came about",
            self.chronicle.counts(Group::Fault),
        );
        table("what the clients saw", self.chronicle.counts(Group::Client));
        let mut ends: BTreeMap<String, u64> = BTreeMap::new();
        for row in &self.books.rows {
            let reason = row.error_reason.as_deref().unwrap_or_default();
            let unknown = row.unknown_cost_reason.as_deref().unwrap_or_default();
            let end = format!("{} {} {reason} {unknown}", row.status, row.cost_state);
            *ends.entry(end.trim().to_owned()).or_default() += 1;
        }
        table("how the rows ended: status, cost, reasons", ends);
        table("settlement", self.chronicle.counts(Group::Settlement));
    }

    /// What does not agree, and the whole story of the first few.
    fn stories(&self, options: &Options) {
        let mismatches = &self.verdict.mismatches;
        if mismatches.is_empty() {
            return;
        }
        eprintln!("\nmismatches");
        for mismatch in mismatches.iter().take(60) {
            match mismatch.number {
                Some(number) => eprintln!("  request {number}: {}", mismatch.what),
                None => eprintln!("  {}", mismatch.what),
            }
        }
        let mut numbers: Vec<usize> = mismatches.iter().filter_map(|it| it.number).collect();
        numbers.dedup();
        for plan in numbers
            .into_iter()
            .take(STORIES)
            .filter_map(|it| self.plans.get(it))
        {
            eprintln!(
                "\nthe story of request {} (seed {})",
                plan.number, options.seed
            );
            let told = Plan {
                body: Vec::new(),
                ..plan.clone()
            };
            eprintln!("{told:#?}");
            eprint!("{}", self.chronicle.story(plan.number));
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
