//! `llmgw usage`.

mod period;
mod query;
mod requests;

use std::{cmp::Reverse, collections::BTreeMap, io::Write, time::Duration};

use anyhow::Result;
use clap::{Args, ValueEnum, builder::PossibleValue};
use jiff::tz::TimeZone;
use serde::Deserialize;
use tokio::time::sleep;

use self::{
    period::Side,
    query::{Output, Query, UTC_NAMES},
    requests::requests,
};
use crate::context::{Context, Outcome, block_on};
use crate::{
    api::{self, Money, USAGE},
    args::GatewayArgs,
    client::Client,
    table::bar,
    terminal::{Style, Terminal, printable},
};

/// The pause between two reports of `--watch`.
const WATCH: Duration = Duration::from_secs(2);
/// Clears the terminal (ECMA-48 §8.3.39, §8.3.57).
const CLEAR: &str = "\u{1b}[2J\u{1b}[H";
/// The longest bar, in columns.
const WIDEST_BAR: usize = 40;
/// Between label, cost, requests and bar.
const GAPS: usize = 6;

/// Arguments of `usage`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "flags of the command line, each on its own"
)]
pub struct UsageArgs {
    /// The gateway.
    #[command(flatten)]
    pub gateway: GatewayArgs,
    /// The first day or time: 2026-11-01, 2026-11, today, yesterday, or 7d for the last seven days
    #[arg(long, value_name = "DATE")]
    pub since: Option<String>,
    /// The last day or time, in the same forms
    #[arg(long, value_name = "DATE")]
    pub until: Option<String>,
    /// The time zone of days and times, like Europe/Berlin [default: this machine's]
    #[arg(long, value_name = "NAME")]
    pub time_zone: Option<String>,
    /// The grouping; may be repeated [default: by day, and by model]
    #[arg(long, value_enum, value_delimiter = ',', conflicts_with = "requests")]
    pub by: Vec<Dimension>,
    /// List single requests, the latest first
    #[arg(long)]
    pub requests: bool,
    /// The number of requests to list
    #[arg(
        long,
        value_name = "NUMBER",
        default_value_t = 50,
        requires = "requests"
    )]
    pub limit: usize,
    /// Only requests to this model
    #[arg(long, value_name = "MODEL", requires = "requests")]
    pub model: Option<String>,
    /// Show it again every two seconds, until Ctrl-C
    #[arg(long, conflicts_with_all = ["json", "csv"])]
    pub watch: bool,
    /// Print the gateway's response as JSON
    #[arg(long, conflicts_with = "csv")]
    pub json: bool,
    /// Print comma-separated values
    #[arg(long)]
    pub csv: bool,
}

/// The groupings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Dimension {
    /// Model
    Model,
    /// Endpoint
    Endpoint,
    /// Access token
    Token,
    /// The client's name for itself
    App,
    /// The token's or the request's tag
    Tag,
    /// Day
    Day,
    /// Hour
    Hour,
}

const EXAMPLES: &str = "Examples:
  llmgw usage
  llmgw usage --since today
  llmgw usage --since 2026-11 --until 2026-11 --time-zone Europe/Berlin
  llmgw usage --watch --requests --limit 10
  llmgw usage --by model
  llmgw usage --by token,app
  llmgw usage --by day,model --csv > january.csv
  llmgw usage --requests --limit 20 --model openai/gpt-4o-mini
  llmgw usage --json | jq .total_cost";

/// Prints the usage.
pub(super) fn run(args: UsageArgs, context: &mut Context<'_>) -> Result<Outcome> {
    let client = context.client(args.gateway)?;
    let zone = match &args.time_zone {
        // One that only the gateway knows is for it to judge.
        Some(name) => TimeZone::get(name).unwrap_or(TimeZone::UTC),
        None => context.time_zone.clone(),
    };
    let today = context.clock.now().to_zoned(zone.clone()).date();
    let own = zone.iana_name().filter(|name| !UTC_NAMES.contains(name));
    let query = Query {
        since: args.since.map(|it| period::day(&it, Side::First, today)),
        until: args.until.map(|it| period::day(&it, Side::Last, today)),
        time_zone: args.time_zone.or_else(|| own.map(str::to_owned)),
        zone,
        model: args.model,
    };
    let output = if args.csv {
        Output::Csv
    } else if args.json {
        Output::Json
    } else {
        Output::Text
    };
    let terminal = context.terminal;
    let (out, err) = (&mut *context.stdout, &mut *context.stderr);
    block_on(async {
        loop {
            // Whole, so that the terminal is not empty while the gateway is asked.
            let mut report = Vec::new();
            if args.requests {
                let streams: (&mut dyn Write, &mut dyn Write) = (&mut report, err);
                requests(&client, &query, args.limit, output, terminal, streams).await?;
            } else {
                sums(&client, &query, &args.by, output, terminal, &mut report).await?;
            }
            if args.watch && terminal.stdout {
                write!(out, "{CLEAR}")?;
            }
            out.write_all(&report)?;
            out.flush()?;
            if !args.watch {
                return Ok(());
            }
            sleep(WATCH).await;
        }
    })?;
    Ok(Outcome::Success)
}

async fn sums(
    client: &Client,
    query: &Query,
    by: &[Dimension],
    output: Output,
    terminal: Terminal,
    out: &mut dyn Write,
) -> Result<()> {
    let names: Vec<_> = by.iter().filter_map(Dimension::to_possible_value).collect();
    let names: Vec<_> = names.iter().map(PossibleValue::get_name).collect();
    let names = names.join(",");
    let by_given = (!names.is_empty()).then_some(names.as_str());
    let get = |group_by, format| {
        let more = [("group_by", group_by), ("format", format)];
        api::get(USAGE, &query.parameters(&more))
    };
    match output {
        Output::Csv => out.write_all(&api::fetch(client, get(by_given, Some("csv"))?).await?)?,
        Output::Json => {
            let data = api::ask_raw(client, get(by_given, None)?).await?;
            writeln!(out, "{data}")?;
        }
        Output::Text => {
            let groupings = by_given.map_or_else(|| vec!["day", "model"], |names| vec![names]);
            for (place, group_by) in groupings.into_iter().enumerate() {
                let mut summary: Summary = api::ask(client, get(Some(group_by), None)?).await?;
                // What happened when stays in its order.
                if !group_by
                    .split(',')
                    .any(|name| matches!(name, "day" | "hour"))
                {
                    summary.groups.sort_by_key(|group| Reverse(group.cost));
                }
                if place == 0 {
                    summary.write(terminal, out)?;
                }
                let group_by: Vec<_> = group_by.split(',').collect();
                write_groups(&summary, &group_by, terminal, out)?;
            }
        }
    }
    Ok(())
}

#[derive(Deserialize)]
struct Summary {
    total_requests: u64,
    #[serde(default)]
    failed_requests: u64,
    total_input_tokens: u64,
    total_output_tokens: u64,
    total_cost: Money,
    #[serde(default)]
    cost_pending_requests: u64,
    limit: Option<Money>,
    remaining: Option<Money>,
    #[serde(default)]
    groups: Vec<Group>,
    /// The names of tokens by their ids.
    #[serde(default)]
    token_names: BTreeMap<String, String>,
}

impl Summary {
    fn write(&self, terminal: Terminal, out: &mut dyn Write) -> Result<()> {
        let cost = terminal.paint(Style::Bold, self.total_cost);
        let Self {
            total_requests,
            failed_requests,
            total_input_tokens,
            total_output_tokens,
            ..
        } = self;
        writeln!(
            out,
            "{cost} for {} ({failed_requests} failed), {total_input_tokens} tokens in, \
             {total_output_tokens} out",
            requests_text(*total_requests)
        )?;
        if self.cost_pending_requests > 0 {
            let text = format!(
                "The cost of {} is not known yet.",
                requests_text(self.cost_pending_requests)
            );
            writeln!(out, "{}", terminal.paint(Style::Yellow, text))?;
        }
        if let (Some(limit), Some(remaining)) = (self.limit, self.remaining) {
            writeln!(out, "{remaining} of {limit} remaining")?;
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct Group {
    model: Option<String>,
    endpoint: Option<String>,
    token: Option<String>,
    app: Option<String>,
    tag: Option<String>,
    day: Option<String>,
    hour: Option<String>,
    requests: u64,
    cost: Money,
}

impl Group {
    /// The group's value. Tokens are shown by their names.
    fn key(&self, dimension: &str, token_names: &BTreeMap<String, String>) -> String {
        let key = match dimension {
            "model" => &self.model,
            "endpoint" => &self.endpoint,
            "token" => {
                let name = self
                    .token
                    .as_ref()
                    .map(|id| token_names.get(id).unwrap_or(id));
                return printable(name.map_or("signed", String::as_str));
            }
            "app" => &self.app,
            "tag" => &self.tag,
            "day" => &self.day,
            _ => &self.hour,
        };
        printable(key.as_deref().unwrap_or("–"))
    }
}

/// `1 request`, `2 requests`.
fn requests_text(count: u64) -> String {
    match count {
        1 => "1 request".to_owned(),
        _ => format!("{count} requests"),
    }
}

/// Writes a line for each group, with a bar in proportion to its cost.
fn write_groups(
    summary: &Summary,
    group_by: &[&str],
    terminal: Terminal,
    out: &mut dyn Write,
) -> Result<()> {
    let groups = &summary.groups;
    if groups.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    let lines: Vec<_> = groups
        .iter()
        .map(|group| {
            let keys: Vec<_> = group_by
                .iter()
                .map(|name| group.key(name, &summary.token_names))
                .collect();
            let figures = format!("{} req", group.requests);
            (keys.join("  "), group.cost.to_string(), figures)
        })
        .collect();
    let widest = |texts: &mut dyn Iterator<Item = &String>| {
        let widths = texts.map(|text| text.chars().count());
        widths.max().unwrap_or_default()
    };
    let labels = widest(&mut lines.iter().map(|(label, _, _)| label));
    let costs = widest(&mut lines.iter().map(|(_, cost, _)| cost));
    let counts = widest(&mut lines.iter().map(|(_, _, count)| count));
    // A float is exact enough for the length of a bar.
    let length = |cost: Money| cost.0.to_string().parse().unwrap_or(0.0);
    let most = groups.iter().map(|group| length(group.cost));
    let most = most.fold(0.0, f64::max);
    let room = terminal
        .columns
        .saturating_sub(labels + costs + counts + GAPS);
    for (group, (label, cost, count)) in groups.iter().zip(&lines) {
        let bar = bar(length(group.cost), most, room.min(WIDEST_BAR));
        write!(out, "{label:labels$}  {cost:>costs$}  {count:>counts$}")?;
        if terminal.stdout && !bar.is_empty() {
            write!(out, "  {}", terminal.paint(Style::Cyan, bar))?;
        }
        writeln!(out)?;
    }
    Ok(())
}
