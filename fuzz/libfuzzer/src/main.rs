//! One target of [`fuzz::TARGETS`] under libFuzzer: the one that `FUZZ_TARGET` names, with a bug in it if
//! `FUZZ_PLANTED` is set.

#![no_main]

use std::{env, sync::LazyLock};

use fuzz::{TARGETS, Target};
use libfuzzer_sys::fuzz_target;

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    if env::var_os("FUZZ_PLANTED").is_some() {
        fuzz::plant_bugs();
    }
    let name = env::var("FUZZ_TARGET").expect("FUZZ_TARGET names a target");
    *TARGETS
        .iter()
        .find(|target| target.name == name)
        .expect("FUZZ_TARGET is not in the table")
});

fuzz_target!(|data: &[u8]| (TARGET.run)(data));
