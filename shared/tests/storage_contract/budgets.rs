//! Budgets of a DID and of a token, by day, week, month and in all. A request's time is the clock: nothing else
//! tells in which period it counts.

use std::iter::repeat_n;

use futures_util::{
    future::join_all,
    stream::{self, StreamExt as _},
};
use jiff::{SignedDuration, Timestamp};
use reqwest::Method;
use serde_json::{Value, json};
use shared::{
    clock::Clock,
    storage::{
        Begin, Books, Budget, BudgetPeriod, BudgetState, Finish, ReachedBudget, Refusal, Settle,
        StorageError, TokenChange, TokenSettings,
    },
};
use uuid::Uuid;

use crate::{
    tokens::settings,
    user::{
        User, billed, books, completed, cut, fingerprint, refusal, signed, soon, unknown, with_user,
    },
};
use shared::storage::BudgetPeriod::{Day, Month, Week};

const BERLIN: &str = "Europe/Berlin";
const NEW_YORK: &str = "America/New_York";
/// Half an hour of summer time.
const LORD_HOWE: &str = "Australia/Lord_Howe";
/// Clocks are set back to midnight.
const HAVANA: &str = "America/Havana";
const KOLKATA: &str = "Asia/Kolkata";
/// UTC+14.
const KIRITIMATI: &str = "Pacific/Kiritimati";

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn a_budget_counts_what_is_spent_and_held() {
    with_user(json!({}), async |user| {
        let time = at("2026-06-17T10:00:00Z");
        user.set_budgets(&[("day", "1", "UTC")]).await;
        let (first, second) = (user.signed_at(time, "0.4"), user.signed_at(time, "0.6"));
        user.begin(&first).await.unwrap();
        user.begin(&second).await.unwrap();
        assert_eq!(
            reached(user.begin(&user.signed_at(time, "0.000001")).await),
            ReachedBudget {
                budget: BudgetState {
                    period: BudgetPeriod::Day,
                    time_zone: "UTC".to_owned(),
                    amount: "1".to_owned(),
                    spent: "0".to_owned(),
                    held: "1".to_owned(),
                    remaining: "0".to_owned(),
                    starts: Some(at("2026-06-17T00:00:00Z")),
                    resets_at: Some(at("2026-06-18T00:00:00Z")),
                },
                of: "did".to_owned(),
                hold: "0.000001".to_owned(),
            }
        );
        user.finish(&completed(first.id, "7.434e-07"))
            .await
            .unwrap();
        let refused = reached(user.begin(&user.signed_at(time, "0.4")).await);
        assert_eq!(
            (&*refused.budget.spent, &*refused.budget.held),
            ("0.0000007434", "0.6")
        );
        assert_eq!(
            (&*refused.budget.remaining, &*refused.hold),
            ("0.3999992566", "0.4")
        );
        user.finish(&completed(second.id, "1.5")).await.unwrap();
        // Even what holds nothing is refused when all is spent; what is free, and what is not billable, is not.
        let refused = reached(user.begin(&user.signed_at(time, "0")).await);
        assert_eq!(
            (
                &*refused.budget.spent,
                &*refused.budget.held,
                &*refused.budget.remaining
            ),
            ("1.5000007434", "0", "0")
        );
        user.begin(&free(user.signed_at(time, "9"))).await.unwrap();
        user.begin(&user.look_up()).await.unwrap();
        // The next day is another.
        let next = user.signed_at(at("2026-06-18T00:00:00Z"), "1");
        user.begin(&unlearned(next, "1")).await.unwrap();
        assert_eq!(
            refusal(user.begin(&user.signed_at(time, "0")).await).reason(),
            "budget_reached"
        );
        user.agrees().await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn all_budgets_of_did_and_token_must_hold() {
    with_user(json!({"credit_limit": "100"}), async |user| {
        let time = at("2026-06-17T10:00:00Z");
        user.set_budgets(&[("month", "10", "UTC"), ("total", "12", "UTC")])
            .await;
        let wanted = TokenSettings {
            budgets: vec![
                budget(BudgetPeriod::Day, "2", "UTC"),
                budget(BudgetPeriod::Week, "5", "UTC"),
            ],
            ..settings("a")
        };
        let (made, digest) = user.token_at(&wanted, time).await;
        let (_, other) = user.token_at(&settings("b"), time).await;
        let spend = async |begin: Begin<'_>, cost: &'static str| {
            user.begin(&begin).await?;
            user.finish(&completed(begin.id, cost)).await
        };
        let of = |digest, time, hold| Begin {
            request_time: time,
            ..user.by_token(digest, hold)
        };
        spend(of(digest, time, "2"), "2").await.unwrap();
        let refused = reached(spend(of(digest, time, "0.01"), "0").await);
        assert_eq!(
            (refused.budget.period, &*refused.of),
            (BudgetPeriod::Day, "token")
        );
        let day = SignedDuration::from_hours(24);
        spend(of(digest, time + day, "2"), "2").await.unwrap();
        let refused = reached(user.begin(&of(digest, time + day * 2, "1.5")).await);
        assert_eq!(
            (refused.budget.period, &*refused.budget.remaining),
            (BudgetPeriod::Week, "1")
        );
        // From Monday.
        assert_eq!(refused.budget.resets_at, Some(at("2026-06-22T00:00:00Z")));
        // Signed requests and other tokens count in the DID's budgets only.
        spend(user.signed_at(time, "0.5"), "3").await.unwrap();
        spend(of(other, time, "0.5"), "2").await.unwrap();
        let refused = reached(user.begin(&of(digest, time + day * 6, "1.5")).await);
        assert_eq!(
            (
                refused.budget.period,
                &*refused.of,
                &*refused.budget.remaining
            ),
            (BudgetPeriod::Month, "did", "1")
        );
        let refused = reached(
            user.begin(&user.signed_at(at("2026-07-01T00:00:00Z"), "3.5"))
                .await,
        );
        assert_eq!(
            (
                refused.budget.period,
                &*refused.budget.remaining,
                refused.budget.resets_at
            ),
            (BudgetPeriod::Total, "3", None)
        );
        assert_eq!(refused.budget.starts, None);

        let shown = user
            .storage
            .show_token(&user.asking_at(time), made.id, soon())
            .await
            .unwrap();
        let figures: Vec<_> = shown
            .budgets
            .iter()
            .map(|it| (it.period, &*it.spent, &*it.held))
            .collect();
        assert_eq!(
            figures,
            [
                (BudgetPeriod::Day, "2", "0"),
                (BudgetPeriod::Week, "4", "0")
            ]
        );
        // The credit limit has its own refusal.
        user.change_account(json!({"credit_limit": "9"})).await;
        assert_eq!(
            refusal(user.begin(&of(digest, time + day * 9, "0.1")).await).reason(),
            "credit_limit_reached"
        );
        user.agrees().await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn a_late_settlement_lands_in_the_period_of_its_request() {
    with_user(json!({}), async |user| {
        user.set_budgets(&[("day", "1", BERLIN)]).await;
        let (before, after) = (at("2026-06-16T21:59:59Z"), at("2026-06-16T22:00:00Z"));
        let (settled, given_up, running) = (
            user.signed_at(before, "0.25"),
            user.signed_at(before, "0.25"),
            user.signed_at(before, "0.25"),
        );
        for begin in [&settled, &given_up, &running] {
            user.begin(begin).await.unwrap();
        }
        user.finish(&cut(settled.id)).await.unwrap();
        user.finish(&cut(given_up.id)).await.unwrap();
        // The new day has all of its money.
        let whole = user.signed_at(after, "1");
        user.begin(&whole).await.unwrap();
        assert_eq!(
            user.periods().await,
            [
                ("2026-06-15T22:00:00Z", "0", "0.75"),
                ("2026-06-16T22:00:00Z", "0", "1")
            ]
            .map(row)
        );

        user.settle(&Settle {
            finding: billed("0.5", Some(false)),
            ..unknown(settled.id)
        })
        .await;
        assert_eq!(
            user.periods().await,
            [
                ("2026-06-15T22:00:00Z", "0.5", "0.5"),
                ("2026-06-16T22:00:00Z", "0", "1")
            ]
            .map(row)
        );
        user.settle(&unknown(given_up.id)).await;
        user.finish(&Finish {
            response_time: after,
            ..completed(running.id, "0.125")
        })
        .await
        .unwrap();
        user.finish(&completed(whole.id, "0.0625")).await.unwrap();
        assert_eq!(
            user.periods().await,
            [
                ("2026-06-15T22:00:00Z", "0.625", "0"),
                ("2026-06-16T22:00:00Z", "0.0625", "0")
            ]
            .map(row)
        );
        user.agrees().await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn a_free_request_that_costs_something_is_booked() {
    with_user(json!({}), async |user| {
        let time = at("2026-06-17T10:00:00Z");
        user.set_budgets(&[("total", "1", "UTC")]).await;
        let begin = free(user.signed_at(time, "5"));
        user.begin(&begin).await.unwrap();
        assert_eq!(user.account().await, ("0".into(), "0".into()));
        user.finish(&completed(begin.id, "2")).await.unwrap();
        assert_eq!(user.account().await, ("2".into(), "0".into()));
        let refused = reached(user.begin(&user.signed_at(time, "0")).await);
        assert_eq!(&*refused.budget.spent, "2");
        user.begin(&free(user.signed_at(time, "5"))).await.unwrap();
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn each_crossing_is_an_event_once() {
    with_user(json!({}), async |user| {
        let time = at("2026-06-17T10:00:00Z");
        user.set_budgets(&[("day", "10", "UTC")]).await;
        let wanted = TokenSettings {
            budgets: vec![budget(BudgetPeriod::Total, "100", "UTC")],
            ..settings("a")
        };
        let (made, digest) = user.token_at(&wanted, time).await;
        let spend = async |time, cost: &'static str| {
            let begin = Begin {
                request_time: time,
                ..user.by_token(digest, "0")
            };
            user.begin(&begin).await.unwrap();
            user.finish(&completed(begin.id, cost)).await.unwrap();
        };
        spend(time, "4.999999").await;
        assert_eq!(user.alerts().await, Vec::<String>::new());
        spend(time, "0.000001").await;
        assert_eq!(user.alerts().await, ["day 50 5 signed"]);
        spend(time, "2").await;
        // Two at once.
        let overshooting = [
            free(user.signed_at(time, "0")),
            free(user.signed_at(time, "0")),
        ];
        for begin in &overshooting {
            user.begin(begin).await.unwrap();
        }
        let finishes = overshooting.each_ref().map(|it| completed(it.id, "4"));
        for answer in join_all(finishes.iter().map(|it| user.finish(it))).await {
            answer.unwrap();
        }
        user.finish(&completed(overshooting[0].id, "4"))
            .await
            .unwrap();
        assert_eq!(
            user.alerts().await,
            ["day 50 5 signed", "day 80 11 signed", "day 100 11 signed"]
        );
        // Another day, another alert; and all three in one step.
        spend(time + SignedDuration::from_hours(24), "60").await;
        let mut alerts = user.alerts().await;
        alerts.drain(..3);
        alerts.sort();
        let token = format!("total 50 67 {}", made.id);
        assert_eq!(
            alerts,
            [
                "day 100 60 signed",
                "day 50 60 signed",
                "day 80 60 signed",
                &*token
            ]
        );
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn a_change_counts_from_what_was_spent_in_the_period() {
    with_user(json!({}), async |user| {
        let time = at("2026-06-17T10:00:00Z");
        let (made, digest) = user.token_at(&settings("a"), time).await;
        let by_token = |time, hold| Begin {
            request_time: time,
            ..user.by_token(digest, hold)
        };
        let spend = async |time: &str, cost: &'static str| {
            let begin = by_token(at(time), "0");
            user.begin(&begin).await.unwrap();
            user.finish(&completed(begin.id, cost)).await.unwrap();
        };
        // Before there is a budget; 18:30 is midnight in India, within an hour of the rollup.
        spend("2026-05-31T12:00:00Z", "32").await;
        spend("2026-06-16T18:29:00Z", "16").await;
        spend("2026-06-16T18:30:00Z", "8").await;
        spend("2026-06-16T23:59:59Z", "4").await;
        spend("2026-06-17T00:00:00Z", "2").await;
        spend("2026-06-17T09:00:00Z", "1").await;
        // It is none of the token's.
        let signed = user.signed_at(time, "0");
        user.begin(&signed).await.unwrap();
        user.finish(&completed(signed.id, "64")).await.unwrap();
        let change = async |budgets: Vec<Budget>| {
            let change = TokenChange {
                budgets: Some(budgets),
                ..TokenChange::default()
            };
            let asked = user.asking_at(time);
            let changed = user.storage.edit_token(&asked, made.id, &change, soon());
            changed.await.unwrap()
        };
        for (period, amount, zone, spent) in [
            (Day, "5", "UTC", "3"),
            (Day, "1", "UTC", "3"),
            (Day, "1", KOLKATA, "15"),
            (Day, "500", KOLKATA, "15"),
            (Month, "1", "UTC", "31"),
            (BudgetPeriod::Total, "1", "UTC", "63"),
            (Week, "1", "UTC", "31"),
        ] {
            let changed = change(vec![budget(period, amount, zone)]).await;
            let refused = reached(user.begin(&by_token(time, "1000")).await);
            assert_eq!(refused.budget, changed.budgets[0]);
            assert_eq!(
                (
                    &*refused.budget.amount,
                    &*refused.budget.time_zone,
                    &*refused.budget.spent,
                    &*refused.budget.held
                ),
                (amount, zone, spent, "0"),
                "{period:?}"
            );
        }

        // What is held counts on, too.
        change(vec![budget(Day, "100", "UTC")]).await;
        let running = unlearned(by_token(time, "0.75"), "0.75");
        user.begin(&running).await.unwrap();
        let changed = change(vec![budget(Day, "100", KOLKATA)]).await;
        assert_eq!(
            (&*changed.budgets[0].spent, &*changed.budgets[0].held),
            ("15", "0.75")
        );
        user.finish(&completed(running.id, "0.25")).await.unwrap();
        let refused = reached(user.begin(&by_token(time, "100")).await);
        assert_eq!(
            (&*refused.budget.spent, &*refused.budget.held),
            ("15.25", "0")
        );
        // No budget, no hold.
        change(Vec::new()).await;
        user.begin(&by_token(time, "1000")).await.unwrap();
        assert_eq!(user.account().await, ("127.25".into(), "0".into()));
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn a_tokens_budget_is_changed_by_its_owner() {
    with_user(json!({}), async |user| {
        let wanted = TokenSettings {
            budgets: vec![budget(BudgetPeriod::Total, "1", "UTC")],
            ..settings("a")
        };
        let (made, digest) = user.token(&wanted).await;
        let change = async |budgets| {
            let change = TokenChange {
                budgets: Some(budgets),
                ..TokenChange::default()
            };
            user.edit(made.id, change).await.unwrap()
        };
        let begin = user.by_token(digest, "1");
        user.begin(&begin).await.unwrap();
        assert_eq!(
            &*reached(user.begin(&user.by_token(digest, "0.5")).await).of,
            "token"
        );
        let changed = change(vec![budget(BudgetPeriod::Total, "1.5", "UTC")]).await;
        assert_eq!(
            (&*changed.budgets[0].held, &*changed.budgets[0].remaining),
            ("1", "0.5")
        );
        user.begin(&user.by_token(digest, "0.5")).await.unwrap();
        assert_eq!(
            &*reached(user.begin(&user.by_token(digest, "0.1")).await).of,
            "token"
        );
        let changed = change(vec![budget(BudgetPeriod::Month, "2", "UTC")]).await;
        assert_eq!(
            (changed.budgets.len(), &*changed.budgets[0].held),
            (1, "1.5")
        );
        change(Vec::new()).await;
        user.begin(&user.by_token(digest, "100")).await.unwrap();
        user.finish(&completed(begin.id, "3")).await.unwrap();
    })
    .await;
}

/// Periods with their first moments and those of the next ones.
const PERIODS: [(BudgetPeriod, &str, &str, &str); 24] = [
    // Midnight.
    (Day, BERLIN, "2026-06-16T22:00:00Z", "2026-06-17T22:00:00Z"),
    (
        Day,
        NEW_YORK,
        "2026-01-15T05:00:00Z",
        "2026-01-16T05:00:00Z",
    ),
    (Day, KOLKATA, "2026-06-16T18:30:00Z", "2026-06-17T18:30:00Z"),
    (
        Day,
        KIRITIMATI,
        "2026-06-16T10:00:00Z",
        "2026-06-17T10:00:00Z",
    ),
    // A day of 23 hours, and one of 25.
    (Day, BERLIN, "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"),
    (Day, BERLIN, "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"),
    (
        Day,
        NEW_YORK,
        "2026-03-08T05:00:00Z",
        "2026-03-09T04:00:00Z",
    ),
    (
        Day,
        NEW_YORK,
        "2026-11-01T04:00:00Z",
        "2026-11-02T05:00:00Z",
    ),
    // 24 and a half, and 23 and a half.
    (
        Day,
        LORD_HOWE,
        "2026-04-04T13:00:00Z",
        "2026-04-05T13:30:00Z",
    ),
    (
        Day,
        LORD_HOWE,
        "2026-10-03T13:30:00Z",
        "2026-10-04T13:00:00Z",
    ),
    // Weeks and months with such a day, and month's ends.
    (Week, BERLIN, "2026-03-22T23:00:00Z", "2026-03-29T22:00:00Z"),
    (
        Week,
        NEW_YORK,
        "2026-10-26T04:00:00Z",
        "2026-11-02T05:00:00Z",
    ),
    (
        Week,
        KIRITIMATI,
        "2026-06-14T10:00:00Z",
        "2026-06-21T10:00:00Z",
    ),
    (Week, "UTC", "2025-12-29T00:00:00Z", "2026-01-05T00:00:00Z"),
    (
        Month,
        BERLIN,
        "2026-02-28T23:00:00Z",
        "2026-03-31T22:00:00Z",
    ),
    (
        Month,
        NEW_YORK,
        "2026-11-01T04:00:00Z",
        "2026-12-01T05:00:00Z",
    ),
    (
        Month,
        LORD_HOWE,
        "2026-03-31T13:00:00Z",
        "2026-04-30T13:30:00Z",
    ),
    (
        Month,
        KIRITIMATI,
        "2026-01-31T10:00:00Z",
        "2026-02-28T10:00:00Z",
    ),
    (Month, "UTC", "2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z"),
    // A day that begins at one o'clock.
    (
        Day,
        "Africa/Cairo",
        "2026-04-23T22:00:00Z",
        "2026-04-24T21:00:00Z",
    ),
    // Days with two midnights, an hour apart: the first one counts.
    (Day, HAVANA, "2026-10-31T04:00:00Z", "2026-11-01T04:00:00Z"),
    (Day, HAVANA, "2026-11-01T04:00:00Z", "2026-11-02T05:00:00Z"),
    (
        Month,
        HAVANA,
        "2026-11-01T04:00:00Z",
        "2026-12-01T05:00:00Z",
    ),
    (
        Day,
        "Atlantic/Azores",
        "2026-10-25T00:00:00Z",
        "2026-10-26T01:00:00Z",
    ),
];

/// Each period with its first moment, its last one and the first one after it.
#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn periods_begin_by_the_local_clock() {
    with_user(json!({}), async |user| {
        let moment = SignedDuration::from_millis(1);
        for (period, zone, starts, ends) in PERIODS {
            let (starts, ends) = (at(starts), at(ends));
            user.set_budgets(&[(period.as_str(), "1", zone)]).await;
            for time in [starts, ends - moment] {
                let refused = reached(user.begin(&user.signed_at(time, "2")).await);
                let bounds = (refused.budget.starts, refused.budget.resets_at);
                assert_eq!(
                    bounds,
                    (Some(starts), Some(ends)),
                    "{period:?} {zone} {time}"
                );
            }
            for (time, is_before) in [(starts - moment, true), (ends, false)] {
                let refused = reached(user.begin(&user.signed_at(time, "2")).await).budget;
                let bound = if is_before {
                    refused.resets_at
                } else {
                    refused.starts
                };
                assert_eq!(
                    bound,
                    Some(if is_before { starts } else { ends }),
                    "{period:?} {zone} {time}"
                );
            }
        }
    })
    .await;
}

/// Moments that requests cross while they are in flight, half of them on either side: those at which a period
/// begins, and those at which only a clock is set.
const CROSSED: [(&str, &str, &str, bool); 18] = [
    // Midnight.
    ("day", BERLIN, "2026-06-16T22:00:00Z", true),
    ("day", NEW_YORK, "2026-01-16T05:00:00Z", true),
    ("day", LORD_HOWE, "2026-01-15T13:00:00Z", true),
    // The end of a month.
    ("month", BERLIN, "2026-03-31T22:00:00Z", true),
    ("month", NEW_YORK, "2026-12-01T05:00:00Z", true),
    ("month", LORD_HOWE, "2026-04-30T13:30:00Z", true),
    // The midnights after a clock was set forward, and back.
    ("day", BERLIN, "2026-03-29T22:00:00Z", true),
    ("day", BERLIN, "2026-10-25T23:00:00Z", true),
    ("day", NEW_YORK, "2026-03-09T04:00:00Z", true),
    ("day", NEW_YORK, "2026-11-02T05:00:00Z", true),
    ("day", LORD_HOWE, "2026-10-04T13:00:00Z", true),
    ("day", LORD_HOWE, "2026-04-05T13:30:00Z", true),
    // The changes themselves.
    ("day", BERLIN, "2026-03-29T01:00:00Z", false),
    ("day", BERLIN, "2026-10-25T01:00:00Z", false),
    ("day", NEW_YORK, "2026-03-08T07:00:00Z", false),
    ("day", NEW_YORK, "2026-11-01T06:00:00Z", false),
    ("day", LORD_HOWE, "2026-10-03T15:30:00Z", false),
    ("day", LORD_HOWE, "2026-04-04T15:00:00Z", false),
];

/// Forty requests of a DID cross each moment, those of five moments at once, so that 200 are in flight. Each would take
/// a tenth of the budget, and ends while others begin.
#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn at_a_boundary_of_time_each_period_has_its_own_money() {
    let cases = CROSSED.map(async |(period, zone, moment, begins)| {
        with_user(json!({}), async |user| {
            let what = format!("{period} {zone} {moment}");
            let after = at(moment);
            let before = after - SignedDuration::from_millis(1);
            user.set_budgets(&[(period, "1", zone)]).await;
            let (_, digest) = user.token_at(&settings("a"), before).await;
            let requests: Vec<_> = (0..40)
                .map(|number| {
                    let time = if number % 2 == 0 { before } else { after };
                    if number % 3 == 0 {
                        Begin {
                            request_time: time,
                            ..user.by_token(digest, "0.1")
                        }
                    } else {
                        user.signed_at(time, "0.1")
                    }
                })
                .collect();
            let ends = requests.iter().map(async |begin| {
                user.begin(begin).await?;
                user.finish(&completed(begin.id, "0.1")).await
            });
            let mut passed = [0, 0];
            for (begin, answer) in requests.iter().zip(join_all(ends).await) {
                match answer {
                    Ok(_) => passed[usize::from(begin.request_time == after)] += 1,
                    refused => drop(reached(refused)),
                }
            }
            let periods = user.periods().await;
            let spent: Vec<_> = periods.iter().map(|it| (&*it.1, &*it.2)).collect();
            if begins {
                assert_eq!(passed, [10, 10], "{what}");
                assert_eq!(spent, [("1", "0"), ("1", "0")], "{what}");
                assert_eq!(periods[1].0, after, "{what}");
            } else {
                assert_eq!(passed[0] + passed[1], 10, "{what}");
                assert_eq!(spent, [("1", "0")], "{what}");
            }
            // Once each, in each period.
            let mut alerts = user.alerts().await;
            alerts.sort();
            let times = if begins { 2 } else { 1 };
            let due = [("100", "1"), ("50", "0.5"), ("80", "0.8")];
            let due: Vec<_> = due
                .iter()
                .flat_map(|(percent, spent)| {
                    repeat_n(format!("{period} {percent} {spent} signed"), times)
                })
                .collect();
            assert_eq!(alerts, due, "{what}");
            user.agrees().await;
        })
        .await;
    });
    // 200 at a time.
    stream::iter(cases.map(Box::pin))
        .buffer_unordered(5)
        .collect::<Vec<()>>()
        .await;
}

/// A budget that is made while requests of the next period are there: a gateway whose clock is ahead.
#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn a_new_budget_counts_each_period_by_itself() {
    with_user(json!({"credit_limit": "100"}), async |user| {
        // Noon, about, so that the day does not end meanwhile.
        let now = Clock::system().now();
        let hour = now.as_second() / 3600 % 24;
        let zone = format!("Etc/GMT{:+}", hour - 12);
        let day = SignedDuration::from_hours(24);
        for (time, cost) in [(now, "0.25"), (now + day, "4"), (now - day, "16")] {
            let begin = user.signed_at(time, "0");
            user.begin(&begin).await.unwrap();
            user.finish(&completed(begin.id, cost)).await.unwrap();
            user.begin(&unlearned(user.signed_at(time, "0"), "0.5"))
                .await
                .unwrap();
        }
        user.set_budgets(&[("day", "50", &zone)]).await;
        let counted = async || -> Vec<_> {
            let periods = user.periods().await;
            periods.into_iter().map(|it| (it.1, it.2)).collect()
        };
        let amounts = |rows: &[(&str, &str)]| -> Vec<_> {
            rows.iter()
                .map(|(spent, held)| ((*spent).to_owned(), (*held).to_owned()))
                .collect()
        };
        assert_eq!(counted().await, amounts(&[("0.25", "0.5"), ("4", "0.5")]));
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn budgets_that_stay_are_not_recorded_again() {
    with_user(json!({}), async |user| {
        let day = [("day", "5", BERLIN)];
        for budgets in [&day[..], &[("day", "5.00", BERLIN)], &day, &[]] {
            user.set_budgets(budgets).await;
        }
        let events = user.rows("key_events", "details&order=id").await;
        let set = json!([{"period": "day", "amount": "5", "time_zone": BERLIN}]);
        assert_eq!(
            events,
            [
                json!({"details": {"from": [], "to": set}}),
                json!({"details": {"from": set, "to": []}})
            ]
        );
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn of_parallel_requests_exactly_as_many_pass_as_fit_a_tokens_budget() {
    with_user(json!({}), async |user| {
        let wanted = TokenSettings {
            budgets: vec![budget(BudgetPeriod::Day, "1", "UTC")],
            ..settings("a")
        };
        let (_, digest) = user.token(&wanted).await;
        let begins: Vec<_> = (0..200).map(|_| user.by_token(digest, "0.03")).collect();
        assert_eq!(user.passing(&begins).await.len(), 33);
        assert_eq!(user.held().await, ["0.99"]);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn the_owner_sees_the_dids_budgets_with_the_key() {
    with_user(json!({}), async |user| {
        user.set_budgets(&[("total", "5", "UTC"), ("month", "1", KIRITIMATI)])
            .await;
        user.token(&TokenSettings {
            budgets: vec![budget(BudgetPeriod::Day, "0.4", "UTC")],
            ..settings("its own")
        })
        .await;
        let (first, second) = (user.billable("0.4"), user.billable("0.1"));
        user.begin(&first).await.unwrap();
        user.begin(&second).await.unwrap();
        user.finish(&completed(first.id, "0.25")).await.unwrap();
        let key = user.describe().await.unwrap();
        let seen: Vec<_> = key
            .budgets
            .iter()
            .map(|it| {
                (
                    it.period,
                    &*it.amount,
                    &*it.spent,
                    &*it.held,
                    &*it.remaining,
                )
            })
            .collect();
        assert_eq!(
            seen,
            [
                (BudgetPeriod::Month, "1", "0.25", "0.1", "0.65"),
                (BudgetPeriod::Total, "5", "0.25", "0.1", "4.65"),
            ]
        );
        let resets: Vec<_> = key
            .budgets
            .iter()
            .map(|it| it.resets_at.is_some())
            .collect();
        assert_eq!(resets, [true, false]);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn of_parallel_requests_exactly_as_many_pass_as_fit_a_dids_budget() {
    with_user(json!({}), async |user| {
        user.set_budgets(&[("week", "1", "UTC")]).await;
        let (_, digest) = user.token(&settings("a")).await;
        let begins: Vec<_> = (0..200)
            .map(|number| {
                if number % 2 == 0 {
                    user.by_token(digest, "0.03")
                } else {
                    user.billable("0.03")
                }
            })
            .collect();
        assert_eq!(user.passing(&begins).await.len(), 33);
        assert_eq!(user.held().await, ["0.99"]);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn of_parallel_requests_exactly_as_many_pass_as_fit_both_budgets() {
    with_user(json!({"credit_limit": "5"}), async |user| {
        user.set_budgets(&[("month", "1", "UTC")]).await;
        let wanted = |name| TokenSettings {
            budgets: vec![budget(BudgetPeriod::Day, "0.4", "UTC")],
            ..settings(name)
        };
        let (_, first) = user.token(&wanted("first")).await;
        let (_, second) = user.token(&wanted("second")).await;
        let begins: Vec<_> = (0..200)
            .map(|number| user.by_token(if number % 2 == 0 { first } else { second }, "0.03"))
            .collect();
        // 13 of each token fit, and the DID's budget would have room for more.
        let passed = user.passing(&begins).await;
        assert_eq!(passed.len(), 26);
        assert_eq!(user.held().await, ["0.39", "0.39", "0.78"]);
        // What is signed has the rest.
        let begins: Vec<_> = (0..200).map(|_| user.billable("0.03")).collect();
        assert_eq!(user.passing(&begins).await.len(), 7);
        assert_eq!(user.held().await, ["0.39", "0.39", "0.99"]);
        // Half of them cost less than was held, which makes room.
        let finishes: Vec<_> = passed.iter().map(|id| completed(*id, "0.02")).collect();
        for answer in join_all(finishes.iter().map(|it| user.finish(it))).await {
            answer.unwrap();
        }
        // 26 × 0.02 + 7 × 0.03 = 0.73; of each token 0.26. Holds have learned 0.02.
        let begins: Vec<_> = (0..200).map(|_| user.by_token(first, "0.02")).collect();
        assert_eq!(user.passing(&begins).await.len(), 7);
        user.agrees().await;
    })
    .await;
}

impl User {
    /// Sets the DID's budgets as the operator does: period, amount, time zone.
    async fn set_budgets(&self, budgets: &[(&str, &str, &str)]) {
        let budgets: Vec<_> = budgets.iter().map(to_json).collect();
        let request = json!({"request": {"did": self.did, "budgets": budgets}});
        self.rest(Method::POST, "rpc/set_account", Some(&request))
            .await;
    }

    /// A billable request that was signed at a time.
    fn signed_at(&self, time: Timestamp, hold: &'static str) -> Begin<'_> {
        Begin {
            request_time: time,
            sender: signed(&self.did, Some(fingerprint(time))),
            ..self.billable(hold)
        }
    }

    /// Begins all at once; the ids of those that pass. All others are refused by a budget.
    async fn passing(&self, begins: &[Begin<'_>]) -> Vec<Uuid> {
        let answers = join_all(begins.iter().map(|begin| self.begin(begin))).await;
        let mut passed = Vec::new();
        for (begin, answer) in begins.iter().zip(answers) {
            match answer {
                Ok(_) => passed.push(begin.id),
                refused => drop(reached(refused)),
            }
        }
        passed
    }

    async fn budget_ids(&self) -> String {
        let budgets = self.rows("budgets", "id").await;
        let ids: Vec<_> = budgets.iter().map(|it| it["id"].to_string()).collect();
        ids.join(",")
    }

    /// The beginning of each period of its budgets, what was spent and what is held.
    async fn periods(&self) -> Vec<(Timestamp, String, String)> {
        let ids = self.budget_ids().await;
        let path = format!(
            "budget_periods?select=starts,spent::text,held::text&budget_id=in.({ids})&order=starts"
        );
        let rows: Vec<Value> =
            serde_json::from_str(&self.rest(Method::GET, &path, None).await).unwrap();
        let rows = rows.iter().map(|row| {
            let starts = row["starts"].as_str().unwrap().parse().unwrap();
            (
                starts,
                crate::user::amount(&row["spent"]),
                crate::user::amount(&row["held"]),
            )
        });
        // Where a budget was made, it was filled.
        rows.filter(|(_, spent, held)| (&**spent, &**held) != ("0", "0"))
            .collect()
    }

    /// What each budget holds, the least first.
    async fn held(&self) -> Vec<String> {
        let mut held: Vec<_> = self
            .periods()
            .await
            .into_iter()
            .map(|(_, _, held)| held)
            .collect();
        held.sort();
        held
    }

    /// The events of its budgets, in their order: period, percent, spent and whose it is.
    async fn alerts(&self) -> Vec<String> {
        let events = self
            .rows(
                "budget_events",
                "period,percent,spent::text,token_id&order=id",
            )
            .await;
        let events = events.iter().map(|it| {
            let spent = crate::user::amount(&it["spent"]);
            format!(
                "{} {} {spent} {}",
                it["period"].as_str().unwrap(),
                it["percent"],
                it["token_id"].as_str().unwrap_or("signed")
            )
        });
        events.collect()
    }
}

fn row((starts, spent, held): (&str, &str, &str)) -> (Timestamp, String, String) {
    (at(starts), spent.to_owned(), held.to_owned())
}

pub(crate) fn budget(period: BudgetPeriod, amount: &str, time_zone: &str) -> Budget {
    Budget {
        period,
        amount: amount.parse().unwrap(),
        time_zone: time_zone.to_owned(),
    }
}

fn to_json((period, amount, time_zone): &(&str, &str, &str)) -> Value {
    json!({"period": period, "amount": amount, "time_zone": time_zone})
}

/// A request of a kind that has cost nothing yet, so that its hold is the least one.
fn unlearned<'a>(begin: Begin<'a>, hold: &str) -> Begin<'a> {
    Begin {
        books: Some(Books {
            endpoint: "other",
            model: None,
            ..books(hold)
        }),
        ..begin
    }
}

fn free(begin: Begin<'_>) -> Begin<'_> {
    Begin {
        books: Some(Books {
            is_free: true,
            ..books("5")
        }),
        ..begin
    }
}

fn reached<T: std::fmt::Debug>(answer: Result<T, StorageError>) -> ReachedBudget {
    match answer {
        // Under load an attempt may get no answer, and the next one is refused.
        Err(StorageError::RefusedInDoubt(Refusal::BudgetReached(reached))) => *reached,
        answer => match refusal(answer) {
            Refusal::BudgetReached(reached) => *reached,
            other => panic!("not a budget's: {other:?}"),
        },
    }
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}
