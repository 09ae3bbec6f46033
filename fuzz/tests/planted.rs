//! Shows that the corpus reaches what each target checks, and that the target checks it.

#![cfg(fuzzing)]

use fuzz::{TARGETS, TIMED};

#[test]
fn every_target_notices_a_planted_bug() {
    fuzz::plant_bugs();
    let notices_none = |target: &&fuzz::Target| {
        let corpus = target.corpus().unwrap();
        corpus.iter().all(|(_, input)| target.passes(input))
    };
    let targets = TARGETS.iter().filter(|it| it.name != TIMED);
    let blind: Vec<_> = targets.filter(notices_none).collect();
    assert!(blind.is_empty(), "{blind:#?}");
}
