//! `llmgw models`.

use anyhow::Result;
use clap::{Args, ValueEnum};
use serde::Deserialize;
use serde_json::value::RawValue;
use shared::metering::money::Usd;

use super::completions::remember_models;
use crate::context::{Context, Outcome, block_on};
use crate::{
    api::{self, MODELS},
    args::GatewayArgs,
    table::{Align, Table},
    terminal::printable,
};

/// Prices are per token; people compare them per million.
const MILLION_ZEROS: usize = 6;

/// Arguments of `models`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ModelsArgs {
    /// The gateway.
    #[command(flatten)]
    pub gateway: GatewayArgs,
    /// Words that the model's id or name contains, all of them
    pub words: Vec<String>,
    /// Only free models
    #[arg(long)]
    pub free: bool,
    /// The sort order
    #[arg(long, value_enum, default_value_t = Order::Id)]
    pub sort: Order,
    /// Print OpenRouter's descriptions as JSON
    #[arg(long)]
    pub json: bool,
}

/// The sort orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Order {
    /// By id
    Id,
    /// By the price of output, the cheapest first
    Price,
    /// By the size of the context, the largest first
    Context,
}

const EXAMPLES: &str = "Examples:
  llmgw models claude
  llmgw models gpt mini --sort price
  llmgw models --free --sort context
  llmgw models --json llama | jq -r '.[].id'

Prices are US dollars per million tokens of input and of output.";

/// Prints the models.
pub(super) fn run(args: &ModelsArgs, context: &mut Context<'_>) -> Result<Outcome> {
    let client = context.client(args.gateway.clone())?;
    let listed: Vec<Box<RawValue>> =
        block_on(async { api::ask(&client, api::get(MODELS, &[])?).await })?;
    let words: Vec<_> = args.words.iter().map(|word| word.to_lowercase()).collect();
    let (mut chosen, mut ids) = (Vec::new(), Vec::new());
    for description in listed {
        let model: Model = api::read(&description)?;
        ids.push(model.id.clone());
        if model.contains(&words) && (!args.free || model.is_free()) {
            chosen.push((model, description));
        }
    }
    remember_models(&context.settings, &args.gateway, &ids);
    match args.sort {
        Order::Id => chosen.sort_by(|(a, _), (b, _)| a.id.cmp(&b.id)),
        Order::Price => chosen.sort_by(|(a, _), (b, _)| {
            let by_price = a.price_key().cmp(&b.price_key());
            by_price.then_with(|| a.id.cmp(&b.id))
        }),
        Order::Context => {
            chosen.sort_by_key(|(model, _)| std::cmp::Reverse(model.context_length));
        }
    }
    if args.json {
        let descriptions: Vec<_> = chosen.into_iter().map(|(_, it)| it).collect();
        serde_json::to_writer(&mut *context.stdout, &descriptions)?;
        writeln!(context.stdout)?;
        return Ok(Outcome::Success);
    }
    if chosen.is_empty() {
        writeln!(context.stderr, "llmgw: no model matches")?;
    }
    let mut table = Table::new([
        ("MODEL", Align::Left),
        ("CONTEXT", Align::Right),
        ("INPUT $/M", Align::Right),
        ("OUTPUT $/M", Align::Right),
    ]);
    for (model, _) in &chosen {
        table.row([
            printable(&model.id),
            model
                .context_length
                .map_or_else(String::new, |tokens| tokens.to_string()),
            per_million(&model.pricing.prompt),
            per_million(&model.pricing.completion),
        ]);
    }
    table.write(context.terminal, context.stdout)?;
    Ok(Outcome::Success)
}

#[derive(Deserialize)]
struct Model {
    id: String,
    #[serde(default)]
    name: String,
    context_length: Option<u64>,
    #[serde(default)]
    pricing: Pricing,
}

/// Decimal text, US dollars per token. -1 for routers, whose price depends on the model they choose.
#[derive(Default, Deserialize)]
struct Pricing {
    #[serde(default)]
    prompt: String,
    #[serde(default)]
    completion: String,
}

impl Model {
    fn contains(&self, words: &[String]) -> bool {
        let text = format!("{} {}", self.id, self.name).to_lowercase();
        words.iter().all(|word| text.contains(word))
    }

    fn is_free(&self) -> bool {
        let Pricing { prompt, completion } = &self.pricing;
        [prompt, completion].map(|price| price.parse()) == [Ok(Usd::ZERO); 2]
    }

    /// The sort key: models without a price come last.
    fn price_key(&self) -> (bool, Usd) {
        let price = self.pricing.completion.parse();
        (price.is_err(), price.unwrap_or_default())
    }
}

/// The exact price of a million tokens: the decimal point moves.
fn per_million(price: &str) -> String {
    let Ok(amount) = price.parse::<Usd>() else {
        return "varies".to_owned();
    };
    let plain = amount.to_string();
    let (whole, fraction) = plain.split_once('.').unwrap_or((&plain, ""));
    let padded = format!("{fraction:0<MILLION_ZEROS$}");
    let (moved, rest) = padded.split_at(MILLION_ZEROS);
    let whole = format!("{whole}{moved}");
    let whole = match whole.trim_start_matches('0') {
        "" => "0",
        digits => digits,
    };
    let rest = rest.trim_end_matches('0');
    // Prices have at least two decimals.
    format!("{whole}.{rest:0<2}")
}

#[cfg(test)]
mod tests;
