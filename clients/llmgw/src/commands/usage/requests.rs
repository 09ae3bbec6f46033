//! Single requests.

use std::io::Write;

use anyhow::Result;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::query::{Output, Query};
use crate::{
    api::{self, Money},
    client::Client,
    table::{Align, Table},
    terminal::{Terminal, printable},
};

const REQUESTS: &str = "/api/v1/usage/requests";
/// The characters of a message that are shown.
const LONGEST_MESSAGE: usize = 80;

/// Lists single requests, the latest first.
pub(super) async fn requests(
    client: &Client,
    query: &Query,
    limit: usize,
    output: Output,
    terminal: Terminal,
    (out, err): (&mut dyn Write, &mut dyn Write),
) -> Result<()> {
    let mut cursor: Option<String> = None;
    let mut left = limit;
    let mut all = Vec::new();
    while left > 0 {
        // The largest page of the gateway.
        let size = left.min(1000).to_string();
        let parameters = |format| {
            query.parameters(&[
                ("model", query.model.as_deref()),
                ("limit", Some(&size)),
                ("cursor", cursor.as_deref()),
                ("format", format),
            ])
        };
        if output == Output::Csv {
            // Only JSON has the cursor of the next page, so CSV is one page.
            let draft = api::get(REQUESTS, &parameters(Some("csv")))?;
            out.write_all(&api::fetch(client, draft).await?)?;
            return Ok(());
        }
        let page: Page = api::ask(client, api::get(REQUESTS, &parameters(None))?).await?;
        left -= page.requests.len().min(left);
        all.extend(page.requests);
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    if output == Output::Json {
        serde_json::to_writer(&mut *out, &all)?;
        writeln!(out)?;
        return Ok(());
    }
    let mut table = Table::new([
        ("TIME", Align::Left),
        ("MODEL", Align::Left),
        ("STATUS", Align::Left),
        ("HTTP", Align::Right),
        ("IN", Align::Right),
        ("OUT", Align::Right),
        ("COST", Align::Right),
        ("MESSAGE", Align::Left),
    ]);
    for request in all {
        let Listed {
            request_time,
            model,
            status,
            error_reason,
            http_status,
            error_message,
            input_tokens,
            output_tokens,
            cost_state,
            total_cost,
        } = api::read(&request)?;
        let count = |count: Option<u64>| count.map_or_else(String::new, |it| it.to_string());
        let cost = match (cost_state.as_str(), total_cost) {
            ("pending" | "unknown", _) => format!("{cost_state}?"),
            (_, Some(cost)) => cost.to_string(),
            (_, None) => String::new(),
        };
        table.row([
            query.local(&request_time),
            printable(&model.unwrap_or_default()),
            printable(&error_reason.unwrap_or(status)),
            count(http_status),
            count(input_tokens),
            count(output_tokens),
            cost,
            shortened(&printable(&error_message.unwrap_or_default())),
        ]);
    }
    table.write(terminal, out)?;
    if cursor.is_some() {
        writeln!(
            err,
            "llmgw: there are more; --limit NUMBER lists more of them"
        )?;
    }
    Ok(())
}

/// The beginning of a message that would fill the line.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(LONGEST_MESSAGE) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[derive(Deserialize)]
struct Page {
    requests: Vec<Box<RawValue>>,
    next_cursor: Option<String>,
}

#[derive(Deserialize)]
struct Listed {
    request_time: String,
    model: Option<String>,
    status: String,
    error_reason: Option<String>,
    http_status: Option<u64>,
    error_message: Option<String>,
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cost_state: String,
    total_cost: Option<Money>,
}
