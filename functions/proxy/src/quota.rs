//! What a token may still spend, in the shape of OpenRouter's `GET /key` and `GET /credits`: the quota displays of
//! other tools read these. A signed request gets OpenRouter's own answers.

use http::Method;
use serde::Serialize;
use serde_json::value::RawValue;
use shared::{
    metering::money::Usd,
    storage::{BudgetPeriod, BudgetState, PresentedToken},
};

/// A question for what may still be spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quota {
    Key,
    Credits,
}

impl Quota {
    /// The question that a request of a token is, if it is one. `path` is the one below the gateway's base URL.
    pub(crate) fn asked(method: &Method, path: &str) -> Option<Self> {
        let path = path.strip_prefix("/api/v1/openrouter")?;
        let path = path.strip_prefix("/v1").unwrap_or(path);
        match path.trim_end_matches('/') {
            _ if *method != Method::GET => None,
            "/key" | "/auth/key" => Some(Self::Key),
            "/credits" => Some(Self::Credits),
            _ => None,
        }
    }

    /// The answer.
    pub(crate) fn answer(self, presented: &PresentedToken) -> Answer {
        match self {
            Self::Key => Answer::Key(Box::new(key(presented))),
            Self::Credits => Answer::Credits(credits(presented)),
        }
    }
}

/// An answer of OpenRouter's shape. Money is JSON numbers, with all their digits.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum Answer {
    Key(Box<Data<Key>>),
    Credits(Data<Credits>),
}

#[derive(Serialize)]
pub(crate) struct Data<T> {
    data: T,
}

#[derive(Serialize)]
#[expect(
    clippy::struct_excessive_bools,
    clippy::struct_field_names,
    reason = "the fields are OpenRouter's"
)]
pub(crate) struct Key {
    label: String,
    limit: Option<Box<RawValue>>,
    limit_remaining: Option<Box<RawValue>>,
    limit_reset: Option<&'static str>,
    include_byok_in_limit: bool,
    usage: Option<Box<RawValue>>,
    usage_daily: Option<Box<RawValue>>,
    usage_weekly: Option<Box<RawValue>>,
    usage_monthly: Option<Box<RawValue>>,
    // The gateway's budgets count what providers charge, too, so there is nothing beside `usage`.
    byok_usage: u8,
    byok_usage_daily: u8,
    byok_usage_weekly: u8,
    byok_usage_monthly: u8,
    is_free_tier: bool,
    is_management_key: bool,
    is_provisioning_key: bool,
    creator_user_id: Option<String>,
    organization_id: Option<String>,
    workspace_id: Option<String>,
    allowed_data_regions: [&'static str; 1],
    budgets: Vec<KeyBudget>,
    effective_budget: Option<KeyBudget>,
    free_model_daily_requests: FreeRequests,
    expires_at: Option<String>,
    rate_limit: RateLimit,
}

/// A budget in OpenRouter's shape, whose periods are UTC's, while those of a token may be another time zone's.
#[derive(Serialize)]
struct KeyBudget {
    scope: &'static str,
    budget_id: Option<String>,
    guardrail_id: Option<String>,
    include_byok: bool,
    limit_usd: Option<Box<RawValue>>,
    spend_usd: Option<Box<RawValue>>,
    remaining_usd: Option<Box<RawValue>>,
    reset_interval: Option<&'static str>,
    resets_at: Option<String>,
}

/// The quota of free models, which is OpenRouter's own for the account behind the gateway: not told here.
#[derive(Serialize)]
struct FreeRequests {
    limit: u8,
    used: u8,
    remaining: u8,
}

#[derive(Serialize)]
struct RateLimit {
    requests: i64,
    interval: &'static str,
    note: &'static str,
}

#[derive(Serialize)]
pub(crate) struct Credits {
    total_credits: Option<Box<RawValue>>,
    total_usage: Option<Box<RawValue>>,
}

fn key(presented: &PresentedToken) -> Data<Key> {
    let token = &presented.token;
    let budget = tightest(&token.budgets);
    Data {
        data: Key {
            label: token.label.clone(),
            limit: budget.and_then(|it| number(&it.amount)),
            limit_remaining: budget.and_then(|it| number(&it.remaining)),
            limit_reset: budget.and_then(|it| reset(it.period)),
            include_byok_in_limit: true,
            usage: number(&token.cost),
            usage_daily: number(&presented.usage_daily),
            usage_weekly: number(&presented.usage_weekly),
            usage_monthly: number(&presented.usage_monthly),
            byok_usage: 0,
            byok_usage_daily: 0,
            byok_usage_weekly: 0,
            byok_usage_monthly: 0,
            is_free_tier: false,
            is_management_key: false,
            is_provisioning_key: false,
            creator_user_id: None,
            organization_id: None,
            workspace_id: None,
            // An empty list would say that no region is allowed.
            allowed_data_regions: ["global"],
            budgets: token.budgets.iter().map(key_budget).collect(),
            effective_budget: budget.map(key_budget),
            free_model_daily_requests: FreeRequests {
                limit: 0,
                used: 0,
                remaining: 0,
            },
            expires_at: token.expires_at.map(|at| at.to_string()),
            rate_limit: RateLimit {
                requests: token.requests_per_minute.map_or(-1, i64::from),
                interval: "1m",
                note: "The gateway's own rate of this token; -1: none.",
            },
        },
    }
}

/// The credit is what the tightest budget still lets the token spend, beside what it has spent.
fn credits(presented: &PresentedToken) -> Data<Credits> {
    let token = &presented.token;
    let total = tightest(&token.budgets).and_then(|budget| {
        let usage: Usd = token.cost.parse().ok()?;
        let total = usage.checked_add(budget.remaining.parse().ok()?)?;
        number(&total.to_string())
    });
    Data {
        data: Credits {
            total_credits: total,
            total_usage: number(&token.cost),
        },
    }
}

fn key_budget(budget: &BudgetState) -> KeyBudget {
    KeyBudget {
        scope: "key_limit",
        budget_id: None,
        guardrail_id: None,
        include_byok: true,
        limit_usd: number(&budget.amount),
        spend_usd: number(&budget.spent),
        remaining_usd: number(&budget.remaining),
        reset_interval: reset(budget.period),
        resets_at: budget.resets_at.map(|at| at.to_string()),
    }
}

/// The budget of which the least is left.
fn tightest(budgets: &[BudgetState]) -> Option<&BudgetState> {
    let remaining = |budget: &BudgetState| {
        let remaining = budget.remaining.parse::<Usd>();
        remaining.ok()
    };
    budgets
        .iter()
        .filter(|budget| remaining(budget).is_some())
        .min_by(|one, other| remaining(one).cmp(&remaining(other)))
}

fn reset(period: BudgetPeriod) -> Option<&'static str> {
    match period {
        BudgetPeriod::Day => Some("daily"),
        BudgetPeriod::Week => Some("weekly"),
        BudgetPeriod::Month => Some("monthly"),
        BudgetPeriod::Total => None,
    }
}

/// Decimal text is a JSON number.
fn number(decimal: &str) -> Option<Box<RawValue>> {
    RawValue::from_string(decimal.to_owned()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_gets_of_the_two_paths_are_questions() {
        for (method, path, asked) in [
            (Method::GET, "/api/v1/openrouter/key", Some(Quota::Key)),
            (
                Method::GET,
                "/api/v1/openrouter/v1/auth/key",
                Some(Quota::Key),
            ),
            (
                Method::GET,
                "/api/v1/openrouter/credits/",
                Some(Quota::Credits),
            ),
            (Method::POST, "/api/v1/openrouter/credits", None),
            (Method::GET, "/api/v1/openrouter/keys", None),
            (Method::GET, "/api/v1/openrouter/key/x", None),
            (Method::GET, "/key", None),
        ] {
            assert_eq!(Quota::asked(&method, path), asked, "{method} {path}");
        }
    }

    #[test]
    fn the_tightest_budget_is_the_limit() {
        let presented: PresentedToken = serde_json::from_str(
            r#"{"did":"did:key:z6Mk","usage_daily":"0.5","usage_weekly":"1","usage_monthly":"2.25","token":{
            "id":"00000000-0000-0000-0000-0000000000aa","label":"sk-lgw-abc…xyz","name":"demo","state":"live",
            "created_at":"2026-01-01T00:00:00Z","expires_at":"2027-01-01T00:00:00Z","revoked_at":null,
            "last_used_at":null,"models":null,"endpoints":null,"requests_per_minute":null,"read_usage":true,
            "tag":null,"requests":"3","cost":"2.25","budgets":[
            {"period":"day","time_zone":"UTC","amount":"5","spent":"0.5","held":"0","remaining":"4.5","starts":null,"resets_at":null},
            {"period":"total","time_zone":"UTC","amount":"3","spent":"2.25","held":"0.05","remaining":"0.7","starts":null,"resets_at":null}]}}"#,
        )
        .unwrap();
        let told = |quota: Quota| serde_json::to_value(quota.answer(&presented)).unwrap();
        let key = told(Quota::Key);
        assert_eq!(key["data"]["limit"], 3);
        assert_eq!(key["data"]["limit_remaining"], 0.7);
        assert_eq!(key["data"]["limit_reset"], serde_json::Value::Null);
        assert_eq!(key["data"]["usage_daily"], 0.5);
        assert_eq!(key["data"]["budgets"][0]["limit_usd"], 5);
        assert_eq!(key["data"]["budgets"][0]["reset_interval"], "daily");
        assert_eq!(key["data"]["effective_budget"], key["data"]["budgets"][1]);
        assert_eq!(told(Quota::Credits)["data"]["total_credits"], 2.95);
    }
}
