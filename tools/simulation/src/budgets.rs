//! Budgets: those of some users and tokens are reached, and their days and weeks turn while requests are in
//! flight.
//!
//! Real midnights are far from most runs. So budgets have time zones of their own, in POSIX's form, which
//! PostgreSQL takes as any other: such that it is midnight there in the middle of the run.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use stack::Postgres;
use uuid::Uuid;

use crate::amount::Amount;

const DAY: i64 = 24 * 60 * 60;
const WEEK: i64 = 7 * DAY;
/// The first Monday, which the first of January 1970 was not.
const MONDAY: i64 = 4 * DAY;

/// The period of a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Period {
    Day,
    Week,
    Total,
}

/// A time zone without daylight saving time: seconds to the east.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Zone(i64);

/// A budget that is set before the run.
#[derive(Debug, Clone, Copy)]
pub struct BudgetPlan {
    /// Whether it is the token's, or the DID's.
    pub of_token: bool,
    pub period: Period,
    pub zone: Zone,
    pub amount: Amount,
    /// Whether the run may reach it.
    pub is_tight: bool,
}

/// The moments at which periods end: the beginning of the run, and its estimated time.
#[derive(Debug, Clone, Copy)]
pub struct Turns {
    /// Unix time in seconds.
    pub begin: i64,
    pub traffic: Duration,
}

impl Turns {
    /// The moment at which a share of the run has passed.
    fn after(self, percent: u32) -> i64 {
        let passed = (self.traffic * percent / 100).as_secs();
        self.begin.saturating_add_unsigned(passed)
    }
}

impl Period {
    fn name(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Total => "total",
        }
    }

    /// The period of a name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let of_name = |period: &Self| period.name() == name;
        [Self::Day, Self::Week, Self::Total]
            .into_iter()
            .find(of_name)
    }

    /// The beginning of the period that has a moment, both as Unix time in seconds; `None`: all time.
    #[must_use]
    pub fn start(self, zone: Zone, time: i64) -> Option<i64> {
        let (length, origin) = match self {
            Self::Day => (DAY, 0),
            Self::Week => (WEEK, MONDAY),
            Self::Total => return None,
        };
        let since = (time + zone.0 - origin).rem_euclid(length);
        Some(time - since)
    }
}

impl Zone {
    const UTC: Self = Self(0);

    /// The zone in which a period begins at a moment.
    fn turning(period: Period, moment: i64) -> Self {
        let (length, origin) = match period {
            Period::Day => (DAY, 0),
            Period::Week => (WEEK, MONDAY),
            Period::Total => return Self::UTC,
        };
        let east = (origin - moment).rem_euclid(length);
        Self(if east > length / 2 {
            east - length
        } else {
            east
        })
    }

    /// Its name for `PostgreSQL`. POSIX counts to the west.
    #[must_use]
    pub fn name(self) -> String {
        let (sign, of) = if self.0 > 0 {
            ('-', self.0)
        } else {
            ('+', -self.0)
        };
        format!(
            "<ledger>{sign}{:02}:{:02}:{:02}",
            of / 3600,
            of / 60 % 60,
            of % 60
        )
    }
}

/// The budgets of user n and of its token, who sends `share` of the requests.
#[must_use]
pub fn of_user(user: usize, share: usize, turns: &Turns) -> Vec<BudgetPlan> {
    let percent = 20 + 7 * u32::try_from(user % 8).unwrap_or_default();
    let budget = |of_token, period, amount, is_tight| BudgetPlan {
        of_token,
        period,
        zone: Zone::turning(period, turns.after(percent)),
        amount,
        is_tight,
    };
    let requests = u64::try_from(share).unwrap_or(u64::MAX).max(10);
    // Of a DID's requests, and of a token's, who sends a third of them.
    let tight = Amount::new(requests * 5, 4);
    let tight_of_token = Amount::new((requests * 2).max(60), 4);
    let plenty = Amount::new(1000, 0);
    match user {
        1 => vec![budget(true, Period::Total, tight_of_token, true)],
        3 | 4 => vec![budget(false, Period::Day, tight, true)],
        5 => vec![budget(true, Period::Day, tight_of_token, true)],
        6 => vec![budget(true, Period::Week, tight_of_token, true)],
        7 => vec![
            budget(false, Period::Week, tight, true),
            budget(true, Period::Day, tight_of_token, true),
            budget(true, Period::Total, plenty, false),
        ],
        8 | 12 | 16 => vec![
            budget(false, Period::Day, plenty, false),
            budget(false, Period::Week, plenty, false),
            budget(false, Period::Total, plenty, false),
            budget(true, Period::Day, plenty, false),
            budget(true, Period::Total, plenty, false),
        ],
        _ => Vec::new(),
    }
}

/// Sets the budgets of a DID and of its token.
pub(crate) fn set(
    database: &Postgres,
    did: &str,
    token: Uuid,
    planned: &[BudgetPlan],
) -> Result<()> {
    for of_token in [false, true] {
        let budgets: Vec<_> = planned
            .iter()
            .filter(|it| it.of_token == of_token)
            .map(|it| {
                json!({"period": it.period.name(), "amount": it.amount.to_string(), "time_zone": it.zone.name()})
            })
            .collect();
        let of = if of_token {
            format!("'{token}'")
        } else {
            "NULL".to_owned()
        };
        let budgets = serde_json::Value::from(budgets);
        database.query(&format!(
            "SELECT public.set_budgets('{did}', {of}, '{budgets}', now())"
        ))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_turns_at_its_moment() {
        for moment in [1_790_000_000, 1_790_043_217, 1_790_086_399] {
            for period in [Period::Day, Period::Week] {
                let zone = Zone::turning(period, moment);
                assert_eq!(period.start(zone, moment), Some(moment));
                assert!(period.start(zone, moment - 1).unwrap() < moment - DAY + 1);
                assert_eq!(period.start(zone, moment + DAY - 1), Some(moment));
            }
        }
        // 1970-01-05 was a Monday.
        assert_eq!(Period::Week.start(Zone::UTC, MONDAY + 1), Some(MONDAY));
        assert_eq!(Period::Total.start(Zone::UTC, 5), None);
    }

    #[test]
    fn posix_counts_to_the_west() {
        assert_eq!(Zone(19043).name(), "<ledger>-05:17:23");
        assert_eq!(Zone(-3600).name(), "<ledger>+01:00:00");
    }
}
