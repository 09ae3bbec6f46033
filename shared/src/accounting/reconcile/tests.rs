use http::StatusCode;

use super::*;

#[test]
fn the_backoff_grows_and_gives_up_after_a_day() {
    assert!(LEASES.is_sorted());
    // At least hourly, so that giving up does not come much later than promised.
    assert!(LEASES.iter().all(|lease| *lease <= Duration::from_hours(1)));
    assert!(
        LEASES
            .iter()
            .all(|lease| lease.subsec_nanos() == 0 && !lease.is_zero())
    );
}

#[test]
fn what_may_still_be_told_is_asked_for_a_day_long() {
    let asked = [
        Obstacle::NoKey,
        GenerationError::NotFound.into(),
        GenerationError::Refused(StatusCode::UNAUTHORIZED).into(),
        GenerationError::NoCost.into(),
        Obstacle::Job(GenerationError::NotFound),
        Obstacle::JobRunning,
    ];
    for obstacle in asked {
        for give_up_after in [GIVE_UP_AFTER, GIVE_UP_JOBS_AFTER] {
            let before = give_up_after.saturating_sub(Duration::from_secs(1));
            assert_eq!(
                obstacle.verdict(before, give_up_after),
                Verdict::Retry,
                "{obstacle:?}"
            );
            assert_eq!(
                obstacle.verdict(give_up_after, give_up_after),
                Verdict::GiveUp,
                "{obstacle:?}"
            );
        }
    }
    assert_eq!(
        Obstacle::NoGenerationId.verdict(Duration::ZERO, GIVE_UP_AFTER),
        Verdict::GiveUp
    );
    assert_eq!(
        Obstacle::OutOfTime.verdict(GIVE_UP_AFTER * 2, GIVE_UP_AFTER),
        Verdict::Retry
    );
}

#[test]
fn every_fate_is_counted_once() {
    let results = [
        RowResult::Settled,
        RowResult::GivenUp,
        RowResult::Retried,
        RowResult::Failed,
    ];
    let summary = results.into_iter().fold(Summary::default(), Summary::add);
    assert_eq!(
        serde_json::to_string(&summary).unwrap(),
        r#"{"claimed":0,"settled":1,"given_up":1,"retried":1,"failed":1}"#
    );
}
