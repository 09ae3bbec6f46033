use serde_json::json;

use super::*;

#[test]
fn a_change_is_one_member() {
    for (change, argument) in [
        (
            AccountChange::CreditLimit(Some("1.5".parse().unwrap())),
            json!({"did": "did:a", "credit_limit": "1.5"}),
        ),
        (
            AccountChange::CreditLimit(None),
            json!({"did": "did:a", "credit_limit": null}),
        ),
        (
            AccountChange::RequestsPerMinute(NonZeroU32::new(6)),
            json!({"did": "did:a", "requests_per_minute": 6}),
        ),
        (
            AccountChange::Disabled(true),
            json!({"did": "did:a", "disabled": true}),
        ),
        (
            AccountChange::Budgets(vec![Budget {
                period: shared::storage::BudgetPeriod::Day,
                amount: "5".parse().unwrap(),
                time_zone: "UTC".to_owned(),
            }]),
            json!({"did": "did:a", "budgets": [{"period": "day", "amount": "5", "time_zone": "UTC"}]}),
        ),
        (
            AccountChange::Approved(false),
            json!({"did": "did:a", "approved": false}),
        ),
    ] {
        let json = SetAccountJson {
            did: "did:a",
            change,
        };
        assert_eq!(serde_json::to_value(json).unwrap(), argument);
    }
}
