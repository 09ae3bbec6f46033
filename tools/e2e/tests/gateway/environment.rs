//! The functions read the variables that the template sets.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use shared::config::{
    AccountConfig, Env, Faults, HealthConfig, KeysConfig, ProxyConfig, ReconcileConfig,
};

/// The variables that the template sets for each function, and those that it does not, with the
/// reason. `tools/template/rules.py` holds the template to it.
#[derive(Deserialize)]
struct Environment {
    set: BTreeMap<String, BTreeSet<String>>,
    #[serde(rename = "not set")]
    not_set: BTreeMap<String, String>,
}

/// The names that a function asks for: with a value for each, for none, and for each but one that
/// stands in the place of another.
fn asked<T>(read: impl Fn(Env<'_>) -> Result<T, Faults>) -> BTreeSet<String> {
    let asked = RefCell::new(BTreeSet::new());
    let answers: [fn(&str) -> bool; 3] = [|_| true, |_| false, |name| name != "SUPABASE_REST_URL"];
    for given in answers {
        // Whether the values are right does not matter to what is asked.
        let _ = read(Env::new(|name| {
            asked.borrow_mut().insert(name.to_owned());
            given(name).then(|| sample(name).to_owned())
        }));
    }
    asked.into_inner()
}

/// Values with which the variables that depend on others are read, too.
fn sample(name: &str) -> &'static str {
    match name {
        "PROVISION_KEYS_FOR" => "anyone",
        "PROVISION_ON_FIRST_REQUEST" => "true",
        _ => "https://example.com",
    }
}

#[test]
fn the_template_sets_what_the_functions_read_and_nothing_else() {
    let text = include_str!("../../../template/environment.json");
    let environment: Environment = serde_json::from_str(text).unwrap();
    let read = BTreeMap::from([
        ("proxy", asked(ProxyConfig::read)),
        ("usage", asked(AccountConfig::read)),
        ("keys", asked(KeysConfig::read)),
        ("tokens", asked(AccountConfig::read)),
        ("health", asked(HealthConfig::read)),
        ("reconcile", asked(ReconcileConfig::read)),
    ]);

    let mut left_to_others = BTreeSet::new();
    for (function, mut names) in read {
        // The adapter reads it for all of them.
        names.insert("RUST_LOG".to_owned());
        let set = &environment.set[function];
        let unset: BTreeSet<_> = names.difference(set).cloned().collect();
        assert!(
            set.is_subset(&names),
            "{function} is given what it does not read: {set:?}"
        );
        left_to_others.extend(unset);
    }
    assert_eq!(left_to_others, environment.not_set.into_keys().collect());
}
