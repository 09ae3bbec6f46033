//! `llmgw models`.

use anyhow::Result;
use clap::{Args, ValueEnum};
use serde::Deserialize;
use serde_json::value::RawValue;
use shared::metering::money::Usd;

use super::{Outcome, Surroundings, block_on};
use crate::{
    api,
    cli::GatewayArgs,
    settings::Settings,
    table::{Align, Table},
    terminal::printable,
};

const MODELS: &str = "/api/v1/openrouter/models";
/// Prices are per token; people compare them per million.
const MILLION_ZEROS: usize = 6;

/// Arguments of `models`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ModelsArgs {
    /// The gateway.
    #[command(flatten)]
    pub gateway: GatewayArgs,
    /// Words that the model's id or name must contain, all of them
    pub words: Vec<String>,
    /// Only what costs nothing
    #[arg(long)]
    pub free: bool,
    /// The order
    #[arg(long, value_enum, default_value_t = Order::Id)]
    pub sort: Order,
    /// Print OpenRouter's descriptions of them, as JSON
    #[arg(long)]
    pub json: bool,
}

/// What to sort by.
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

/// Prints what can be asked.
pub fn run(
    settings: &Settings,
    args: ModelsArgs,
    around: &mut Surroundings<'_>,
) -> Result<Outcome> {
    let client = around.client(settings.gateway(args.gateway)?, &settings.identity()?)?;
    let listed: Vec<Box<RawValue>> =
        block_on(async { api::ask(&client, api::get(MODELS, &[])?).await })?;
    let words: Vec<_> = args.words.iter().map(|word| word.to_lowercase()).collect();
    let mut chosen = Vec::new();
    for description in listed {
        let model: Model = api::read(&description)?;
        if model.contains(&words) && (!args.free || model.is_free()) {
            chosen.push((model, description));
        }
    }
    match args.sort {
        Order::Id => chosen.sort_by(|(a, _), (b, _)| a.id.cmp(&b.id)),
        Order::Price => chosen.sort_by(|(a, _), (b, _)| {
            let by_price = a.place_by_price().cmp(&b.place_by_price());
            by_price.then_with(|| a.id.cmp(&b.id))
        }),
        Order::Context => {
            chosen.sort_by_key(|(model, _)| std::cmp::Reverse(model.context_length));
        }
    }
    if args.json {
        let descriptions: Vec<_> = chosen.into_iter().map(|(_, it)| it).collect();
        serde_json::to_writer(&mut *around.stdout, &descriptions)?;
        writeln!(around.stdout)?;
        return Ok(Outcome::Done);
    }
    if chosen.is_empty() {
        writeln!(around.stderr, "llmgw: no model is like that")?;
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
    table.write(around.terminal, around.stdout)?;
    Ok(Outcome::Done)
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

/// Decimal text, US dollars per token. -1 where it depends on the model that is chosen.
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

    /// What is no price is dearer than anything.
    fn place_by_price(&self) -> (bool, Usd) {
        let price = self.pricing.completion.parse();
        (price.is_err(), price.unwrap_or_default())
    }
}

/// The price of a million tokens, exactly: the decimal point moves.
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
    // As prices are written.
    format!("{whole}.{rest:0<2}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices() {
        for (token, million) in [
            ("0", "0.00"),
            ("0.00000015", "0.15"),
            ("0.000003", "3.00"),
            ("0.0000005625", "0.5625"),
            ("1e-7", "0.10"),
            ("2", "2000000.00"),
            ("1.5", "1500000.00"),
            ("-1", "varies"),
            ("", "varies"),
        ] {
            assert_eq!(per_million(token), million, "{token}");
        }
    }
}
