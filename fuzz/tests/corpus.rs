//! Replays the corpus: every input that a search has kept, in the normal build.

#![cfg(fuzzing)]

use fuzz::{TARGETS, TIMED};

#[test]
fn every_input_of_the_corpus_passes() {
    let mut failing = Vec::new();
    for target in TARGETS.iter().filter(|it| it.name != TIMED) {
        let corpus = target.corpus().unwrap();
        assert!(!corpus.is_empty(), "{} has no corpus", target.name);
        let fails = |input: &(_, Vec<u8>)| !target.passes(&input.1);
        failing.extend(corpus.into_iter().filter(fails).map(|(file, _)| file));
    }
    assert!(failing.is_empty(), "{failing:#?}");
}
