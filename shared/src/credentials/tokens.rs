//! The bodies that users send to `/api/v1/tokens`: a token's name and scope, read once and completely.

use std::collections::BTreeSet;

use jiff::{Timestamp, tz::TimeZone};
use serde_json::value::RawValue;

use super::body::{BodyError, json, members, once, unknown, wrong};
use crate::{
    metering::money::Usd,
    storage::{Budget, BudgetPeriod, TokenChange, TokenSettings},
    upstream::{endpoint::Endpoint, labels::is_tag, model_list::ModelPattern},
    vault::secret::without_keys,
};

/// A body, for who sends none of the kind.
const EXAMPLE: &str = r#"{"name":"laptop","budgets":[{"period":"day","amount":"5"}]}"#;
const BUDGET: &str = r#"{"period":"day","amount":"5","time_zone":"Europe/Berlin"}"#;
/// The most patterns of models, and the most endpoints, of a token.
const MOST_ENTRIES: usize = 100;
/// The highest rate that makes a difference.
const HIGHEST_RATE: u32 = 1_000_000;
/// The longest time that an old secret passes after a rotation: a week.
const LONGEST_OVERLAP: u32 = 7 * 24 * 60 * 60;

/// The body of a `POST`: a token to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateTokenBody(pub TokenSettings);

/// The body of a `PATCH`: what is to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EditTokenBody(pub TokenChange);

/// The body of a rotation, which may be empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RotateTokenBody {
    /// How long the old secret still passes.
    pub overlap_seconds: u32,
}

impl CreateTokenBody {
    /// Reads a body. `now` tells whether the expiry lies ahead.
    pub fn from_body(body: &[u8], now: Timestamp) -> Result<Self, BodyError> {
        let change = EditTokenBody::read(body, now, "a POST takes")?.0;
        if change.disabled.is_some() {
            return Err(wrong(
                "disabled",
                "is set by a PATCH, not when a token is made",
            ));
        }
        let settings = TokenSettings {
            name: change
                .name
                .ok_or(wrong("name", "is missing; it says what the token is for"))?,
            expires_at: change.expires_at.flatten(),
            models: change.models.flatten(),
            endpoints: change.endpoints.flatten(),
            requests_per_minute: change.requests_per_minute.flatten(),
            read_usage: change.read_usage.unwrap_or(true),
            tag: change.tag.flatten(),
            budgets: change.budgets.unwrap_or_default(),
        };
        if settings.expires_at.is_none() && settings.budgets.is_empty() {
            return Err(wrong(
                "expires_at",
                "is missing, and so are budgets; a token has one of them or both",
            ));
        }
        Ok(Self(settings))
    }
}

impl EditTokenBody {
    /// Reads a body. `now` tells whether the expiry lies ahead.
    pub fn from_body(body: &[u8], now: Timestamp) -> Result<Self, BodyError> {
        let change = Self::read(body, now, "a PATCH takes")?;
        if change.0 == TokenChange::default() {
            return Err(wrong(
                "name",
                "or another member is missing; nothing would change",
            ));
        }
        Ok(change)
    }

    fn read(body: &[u8], now: Timestamp, takes: &'static str) -> Result<Self, BodyError> {
        let mut change = TokenChange::default();
        for (member, value) in members(body, EXAMPLE)? {
            match member.as_str() {
                "name" => once(&mut change.name, &member, read_name(value)?)?,
                "expires_at" => once(&mut change.expires_at, &member, read_expiry(value, now)?)?,
                "models" => once(&mut change.models, &member, read_models(value)?)?,
                "endpoints" => once(&mut change.endpoints, &member, read_endpoints(value)?)?,
                "requests_per_minute" => {
                    once(&mut change.requests_per_minute, &member, read_rate(value)?)?;
                }
                "read_usage" => once(&mut change.read_usage, &member, flag("read_usage", value)?)?,
                "tag" => once(&mut change.tag, &member, read_tag(value)?)?,
                "budgets" => once(&mut change.budgets, &member, read_budgets(value)?)?,
                "disabled" => once(&mut change.disabled, &member, flag("disabled", value)?)?,
                _ => {
                    return Err(unknown(
                        &member,
                        match takes {
                            "a POST takes" => {
                                "is not known; a POST takes name, expires_at, models, endpoints, \
                                 requests_per_minute, read_usage, tag and budgets"
                            }
                            _ => {
                                "is not known; a PATCH takes name, expires_at, models, endpoints, \
                                 requests_per_minute, read_usage, tag, budgets and disabled"
                            }
                        },
                    ));
                }
            }
        }
        Ok(Self(change))
    }
}

impl RotateTokenBody {
    /// Reads a body, which may be empty.
    pub fn from_body(body: &[u8]) -> Result<Self, BodyError> {
        let mut overlap = None;
        if !body.trim_ascii().is_empty() {
            for (member, value) in members(body, EXAMPLE)? {
                match member.as_str() {
                    "overlap_seconds" => {
                        let seconds = json::<u32>(value).filter(|it| *it <= LONGEST_OVERLAP);
                        let seconds = seconds.ok_or(wrong(
                            "overlap_seconds",
                            "must be a whole number from 0 to 604800 (7 days)",
                        ))?;
                        once(&mut overlap, &member, seconds)?;
                    }
                    _ => {
                        return Err(unknown(
                            &member,
                            "is not known; a rotation takes overlap_seconds",
                        ));
                    }
                }
            }
        }
        Ok(Self {
            overlap_seconds: overlap.unwrap_or(0),
        })
    }
}

fn read_name(value: &RawValue) -> Result<String, BodyError> {
    json::<String>(value)
        .filter(|name| {
            (1..=100).contains(&name.chars().count())
                && !name.chars().any(char::is_control)
                && name.trim() == name
                && without_keys(name) == *name
        })
        .ok_or(wrong(
            "name",
            "must be text of 1 to 100 characters, without control characters, blanks at the ends, and keys",
        ))
}

fn read_expiry(value: &RawValue, now: Timestamp) -> Result<Option<Timestamp>, BodyError> {
    const FORM: &str =
        "must be a time ahead, as RFC 3339 writes it (2027-01-31T00:00:00Z), or null";
    let expiry = json::<Option<Timestamp>>(value).ok_or(wrong("expires_at", FORM))?;
    match expiry {
        Some(expiry) if expiry <= now => Err(wrong("expires_at", FORM)),
        expiry => Ok(expiry),
    }
}

fn read_models(value: &RawValue) -> Result<Option<BTreeSet<String>>, BodyError> {
    let fault = wrong(
        "models",
        "must be 1 to 100 models (openai/gpt-5) or patterns with * (openai/*, *:free), or null for every model",
    );
    entries(value, |text| text.parse::<ModelPattern>().is_ok(), fault)
}

fn read_endpoints(value: &RawValue) -> Result<Option<BTreeSet<String>>, BodyError> {
    let fault = wrong(
        "endpoints",
        "must be 1 to 100 names of endpoints as in the books (chat.completions, responses, messages, …), or null for every one",
    );
    entries(value, |text| Endpoint::names().any(|it| it == text), fault)
}

/// The texts of an array; `null` stands for no list.
fn entries(
    value: &RawValue,
    is_entry: impl Fn(&str) -> bool,
    fault: BodyError,
) -> Result<Option<BTreeSet<String>>, BodyError> {
    match json::<Option<Vec<String>>>(value) {
        Some(None) => Ok(None),
        Some(Some(listed))
            if (1..=MOST_ENTRIES).contains(&listed.len())
                && listed.iter().all(|it| is_entry(it)) =>
        {
            Ok(Some(listed.into_iter().collect()))
        }
        Some(Some(_)) | None => Err(fault),
    }
}

fn read_rate(value: &RawValue) -> Result<Option<u32>, BodyError> {
    json::<Option<u32>>(value)
        .filter(|rate| rate.is_none_or(|rate| (1..=HIGHEST_RATE).contains(&rate)))
        .ok_or(wrong(
            "requests_per_minute",
            "must be a whole number from 1 to 1000000, or null for none of its own",
        ))
}

fn flag(member: &'static str, value: &RawValue) -> Result<bool, BodyError> {
    json(value).ok_or(wrong(member, "must be true or false"))
}

fn read_tag(value: &RawValue) -> Result<Option<String>, BodyError> {
    json::<Option<String>>(value)
        .filter(|tag| tag.as_deref().is_none_or(is_tag))
        .ok_or(wrong(
            "tag",
            "must be 1 to 64 of A-Z, a-z, 0-9, dot, underscore, colon and hyphen, or null",
        ))
}

/// At most one budget for each period; `null` stands for none.
fn read_budgets(value: &RawValue) -> Result<Vec<Budget>, BodyError> {
    const FORM: &str = "must be an array of {\"period\":\"day\",\"amount\":\"5\",\"time_zone\":\"Europe/Berlin\"}, \
                        with one of day, week, month and total, each at most once";
    let fault = || wrong("budgets", FORM);
    let listed: Option<Vec<&RawValue>> = serde_json::from_str(value.get()).map_err(|_| fault())?;
    let mut budgets: Vec<Budget> = Vec::new();
    for entry in listed.unwrap_or_default() {
        let budget = read_budget(entry)?;
        if budgets.iter().any(|it| it.period == budget.period) {
            return Err(fault());
        }
        budgets.push(budget);
    }
    Ok(budgets)
}

fn read_budget(entry: &RawValue) -> Result<Budget, BodyError> {
    let (mut period, mut amount, mut time_zone) = (None, None, None);
    for (member, value) in members(entry.get().as_bytes(), BUDGET)? {
        match member.as_str() {
            "period" => {
                let name = json::<BudgetPeriod>(value)
                    .ok_or(wrong("budgets.period", "must be day, week, month or total"))?;
                once(&mut period, &member, name)?;
            }
            "amount" => {
                let dollars = Usd::from_json(value.get())
                    .ok()
                    .filter(|it| *it > Usd::ZERO)
                    .ok_or(wrong(
                        "budgets.amount",
                        "must be US dollars above 0, as a number or as text",
                    ))?;
                once(&mut amount, &member, dollars)?;
            }
            "time_zone" => {
                let name = json::<String>(value).filter(|it| TimeZone::get(it).is_ok());
                let name = name.ok_or(wrong(
                    "budgets.time_zone",
                    "must be an IANA time zone such as Europe/Berlin",
                ))?;
                once(&mut time_zone, &member, name)?;
            }
            _ => {
                return Err(unknown(
                    &member,
                    "is not known; a budget has period, amount and time_zone",
                ));
            }
        }
    }
    Ok(Budget {
        period: period.ok_or(wrong("budgets.period", "is missing"))?,
        amount: amount.ok_or(wrong("budgets.amount", "is missing"))?,
        time_zone: time_zone.unwrap_or_else(|| "UTC".to_owned()),
    })
}
