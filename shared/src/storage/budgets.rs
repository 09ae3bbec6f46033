//! Budgets, as the storage keeps them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::metering::money::Usd;

/// US dollars for each period.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Budget {
    /// How often it begins again.
    pub period: BudgetPeriod,
    /// US dollars, more than nothing.
    pub amount: Usd,
    /// The IANA time zone in which its days begin.
    pub time_zone: String,
}

/// The period of a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BudgetPeriod {
    /// From midnight.
    Day,
    /// From Monday.
    Week,
    /// From the first of the month.
    Month,
    /// All time.
    Total,
}

impl BudgetPeriod {
    /// Every period, the shortest first.
    pub const ALL: [Self; 4] = [Self::Day, Self::Week, Self::Month, Self::Total];

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Total => "total",
        }
    }
}

/// A budget in its present period. Money is US dollars, decimal text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetState {
    /// How often it begins again.
    pub period: BudgetPeriod,
    /// The IANA time zone in which its days begin.
    pub time_zone: String,
    /// The budget.
    pub amount: String,
    /// The cost of the period's finished requests.
    pub spent: String,
    /// The sum held for its requests in flight and for costs that are not known yet.
    pub held: String,
    /// The rest of the amount, not below zero.
    pub remaining: String,
    /// When the period began; `None`: all time.
    pub starts: Option<Timestamp>,
    /// When the next one begins; `None`: never.
    pub resets_at: Option<Timestamp>,
}

/// A budget that does not cover a request.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ReachedBudget {
    /// The budget, without the request.
    #[serde(flatten)]
    pub budget: BudgetState,
    /// Whose it is: `did` or `token`.
    pub of: String,
    /// The sum that would have been reserved for the request.
    pub hold: String,
}
