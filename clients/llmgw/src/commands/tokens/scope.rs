//! The scope of a token, from arguments to JSON.

use std::str::FromStr;

use anyhow::{Result, ensure};
use clap::Args;
use jiff::{SignedDuration, Timestamp, civil::Date, tz::TimeZone};
use serde_json::{Map, Value, json};
use shared::{metering::money::Usd, storage::BudgetPeriod};

/// Arguments that bound what a token may do.
#[derive(Debug, Args)]
pub struct ScopeArgs {
    /// US dollars per day, week, month or in total, as in 5/day; may be repeated [edit: `none` for none]
    #[arg(long, value_name = "AMOUNT/PERIOD")]
    pub budget: Vec<BudgetArg>,
    /// The IANA time zone in which budgets begin again [default: this machine's]
    #[arg(long, value_name = "ZONE")]
    pub time_zone: Option<String>,
    /// A model, or a pattern with * such as openai/*; may be repeated [default: all; `all` on edit]
    #[arg(long, value_name = "MODEL")]
    pub models: Vec<String>,
    /// An endpoint such as chat.completions; may be repeated [default: all; `all` on edit]
    #[arg(long, value_name = "ENDPOINT")]
    pub endpoints: Vec<String>,
    /// A span such as 90d or 12h, a day, a time, or never [default: 90d]
    #[arg(long, value_name = "WHEN")]
    pub expires: Option<Expiry>,
    /// Requests per minute, beside those of your DID
    #[arg(long, value_name = "NUMBER")]
    pub rate: Option<u32>,
    /// A word that each of its requests gets in the books
    #[arg(long)]
    pub tag: Option<String>,
    /// Whether it may read the usage of its own requests
    #[arg(long, value_name = "BOOL")]
    pub read_usage: Option<bool>,
}

/// A budget: `5/day`, or `none`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BudgetArg {
    /// No budget.
    None,
    /// US dollars for each period.
    Of(Usd, BudgetPeriod),
}

impl FromStr for BudgetArg {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str =
            "must be US dollars per day, week, month or total, such as 5/day or 0.50/week";
        if text == "none" {
            return Ok(Self::None);
        }
        let (amount, period) = text.split_once('/').ok_or(FORM)?;
        let amount: Usd = amount.trim_start_matches('$').parse().map_err(|_| FORM)?;
        let period = BudgetPeriod::ALL
            .into_iter()
            .find(|it| it.as_str() == period);
        if amount == Usd::ZERO {
            return Err(FORM);
        }
        Ok(Self::Of(amount, period.ok_or(FORM)?))
    }
}

/// A length of time: `90d`, `12h`, `30m`, `10s`, `2w`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(SignedDuration);

impl Span {
    /// Its seconds.
    pub(super) fn seconds(self) -> i64 {
        self.0.as_secs()
    }
}

impl FromStr for Span {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "must be a number and s, m, h, d or w, such as 90d or 12h";
        let (number, unit) = text
            .split_at_checked(text.len().saturating_sub(1))
            .ok_or(FORM)?;
        let number: u32 = number.parse().map_err(|_| FORM)?;
        let unit = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            "d" => 86_400,
            "w" => 604_800,
            _ => return Err(FORM),
        };
        Ok(Self(SignedDuration::from_secs(i64::from(number) * unit)))
    }
}

/// The end of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// None.
    Never,
    /// After some time.
    After(Span),
    /// At the end of a day, by this machine's clock.
    Day(Date),
    /// At a time.
    At(Timestamp),
}

impl Expiry {
    const DEFAULT: Self = Self::After(Span(SignedDuration::from_hours(90 * 24)));

    fn time(self, now: Timestamp) -> Result<Option<Timestamp>> {
        Ok(match self {
            Self::Never => None,
            Self::After(Span(span)) => Some(now.checked_add(span)?),
            Self::Day(day) => Some(day.tomorrow()?.to_zoned(TimeZone::system())?.timestamp()),
            Self::At(time) => Some(time),
        })
    }
}

impl FromStr for Expiry {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "never" {
            return Ok(Self::Never);
        }
        let span = || text.parse().ok().map(Self::After);
        let day = || text.parse().ok().map(Self::Day);
        let time = || text.parse().ok().map(Self::At);
        // A time first: a day is the beginning of one.
        time().or_else(day).or_else(span).ok_or(
            "must be a span such as 90d, a day (2027-01-31), a time (2027-01-31T12:00:00Z) or never",
        )
    }
}

impl ScopeArgs {
    /// The body that makes a token.
    pub(super) fn of_new(&self, name: &str, now: Timestamp) -> Result<String> {
        let mut body = self.fields(now)?;
        body.insert("name".to_owned(), name.into());
        if self.expires.is_none() {
            body.insert("expires_at".to_owned(), expiry(Expiry::DEFAULT, now)?);
        }
        Ok(Value::Object(body).to_string())
    }

    /// The body that changes a token.
    pub(super) fn of_change(
        &self,
        name: Option<&str>,
        disabled: Option<bool>,
        now: Timestamp,
    ) -> Result<String> {
        let mut body = self.fields(now)?;
        if let Some(name) = name {
            body.insert("name".to_owned(), name.into());
        }
        if let Some(disabled) = disabled {
            body.insert("disabled".to_owned(), disabled.into());
        }
        ensure!(
            !body.is_empty(),
            "nothing to change; see `llmgw tokens edit --help`"
        );
        Ok(Value::Object(body).to_string())
    }

    fn fields(&self, now: Timestamp) -> Result<Map<String, Value>> {
        let mut fields = Map::new();
        let mut set = |name: &str, value: Value| fields.insert(name.to_owned(), value);
        if !self.budget.is_empty() {
            set("budgets", self.budgets()?);
        }
        for (name, values) in [("models", &self.models), ("endpoints", &self.endpoints)] {
            match values.as_slice() {
                [] => {}
                [all] if all == "all" => drop(set(name, Value::Null)),
                values => drop(set(name, json!(values))),
            }
        }
        if let Some(expires) = self.expires {
            set("expires_at", expiry(expires, now)?);
        }
        if let Some(rate) = self.rate {
            set(
                "requests_per_minute",
                if rate == 0 { Value::Null } else { rate.into() },
            );
        }
        if let Some(tag) = &self.tag {
            set(
                "tag",
                if tag.is_empty() {
                    Value::Null
                } else {
                    tag.as_str().into()
                },
            );
        }
        if let Some(read_usage) = self.read_usage {
            set("read_usage", read_usage.into());
        }
        Ok(fields)
    }

    fn budgets(&self) -> Result<Value> {
        let zone = match &self.time_zone {
            Some(zone) => zone.clone(),
            None => TimeZone::system().iana_name().unwrap_or("UTC").to_owned(),
        };
        let budgets = self.budget.iter().filter_map(|budget| match budget {
            BudgetArg::None => None,
            BudgetArg::Of(amount, period) => {
                Some(json!({"period": period, "amount": amount, "time_zone": zone}))
            }
        });
        let budgets: Vec<_> = budgets.collect();
        ensure!(
            budgets.is_empty() || budgets.len() == self.budget.len(),
            "--budget none stands alone"
        );
        Ok(Value::Array(budgets))
    }
}

fn expiry(expires: Expiry, now: Timestamp) -> Result<Value> {
    Ok(json!(expires.time(now)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_are_an_amount_and_a_period() {
        assert_eq!(
            "$0.50/week".parse(),
            Ok(BudgetArg::Of("0.5".parse().unwrap(), BudgetPeriod::Week))
        );
        assert_eq!("none".parse(), Ok(BudgetArg::None));
        for text in ["5", "5/year", "0/day", "-1/day", "five/day", "/day"] {
            assert!(text.parse::<BudgetArg>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_expiry_is_a_span_a_day_a_time_or_never() {
        let now: Timestamp = "2026-11-26T12:00:00Z".parse().unwrap();
        let at = |text: &str| text.parse::<Expiry>().unwrap().time(now).unwrap();
        assert_eq!(at("never"), None);
        assert_eq!(at("90d"), Some("2027-02-24T12:00:00Z".parse().unwrap()));
        assert_eq!(
            at("2027-01-31T12:00:00Z"),
            Some("2027-01-31T12:00:00Z".parse().unwrap())
        );
        assert!(matches!("2027-01-31".parse(), Ok(Expiry::Day(_))));
        for text in ["", "90", "d", "soon", "1.5h", "-1d"] {
            assert!(text.parse::<Expiry>().is_err(), "{text}");
        }
    }
}
