//! The functions' configuration, and the command line's.

use std::path::Path;

use llmgw::{config::ProfileName, identity::Identity, target::Target};
use shared::config::{AccountConfig, Env, Faults, KeysConfig, ProxyConfig, ReconcileConfig};

use crate::{input::Fields, planted};

/// The variables that functions read, with values that are accepted.
const VARIABLES: [(&str, &str); 22] = [
    ("GATEWAY_AUDIENCES", "https://gw.example.com"),
    ("SUPABASE_URL", "https://abc.supabase.co"),
    ("SUPABASE_SECRET_KEY", "sb_secret_0123456789"),
    ("KEYSET_SECRET_NAME", "keyset"),
    ("AWS_REGION", "eu-central-1"),
    ("AWS_ACCESS_KEY_ID", "AKIA"),
    ("AWS_SECRET_ACCESS_KEY", "secret"),
    ("SUPABASE_REST_URL", ""),
    ("GATEWAY_OPENROUTER_URL", ""),
    ("KEYSET_CACHE_SECONDS", ""),
    ("MANAGEMENT_KEY_SECRET_NAME", ""),
    ("PROVISION_KEYS_FOR", ""),
    ("PROVISION_ON_FIRST_REQUEST", ""),
    ("PROVISIONED_KEY_LIMIT_USD", ""),
    ("PROVISIONED_KEY_LIMIT_RESET", ""),
    ("HOLD_USD", ""),
    ("VIDEO_HOLD_USD", ""),
    ("MAX_OPEN_JOBS", ""),
    ("REQUESTS_PER_MINUTE", ""),
    ("ALLOWED_PATH_FAMILIES", ""),
    ("ABANDONED_AFTER_SECONDS", ""),
    ("RETENTION_DAYS", ""),
];

/// A value is taken or its variable is named, and no fault quotes it: a secret may stand in the wrong place.
pub(crate) fn faults_quote_no_value(data: &[u8]) {
    let Some((which, rest)) = data.split_first() else {
        return;
    };
    let fields = Fields::of(rest);
    let first = usize::from(*which) % VARIABLES.len();
    let second =
        usize::from(fields.bytes(1).first().copied().unwrap_or_default()) % VARIABLES.len();
    let values = [(first, fields.text(0)), (second, fields.text(2))];
    let lookup = |name: &str| {
        let at = VARIABLES.iter().position(|(it, _)| *it == name)?;
        let given = values.iter().find(|(index, _)| *index == at);
        Some(given.map_or_else(|| VARIABLES[at].1.to_owned(), |(_, value)| value.clone()))
    };
    let env = || Env::new(lookup);
    let named = [first, second].map(|at| VARIABLES[at].0);
    check(ProxyConfig::read(env()), &values, named);
    check(AccountConfig::read(env()), &values, named);
    check(KeysConfig::read(env()), &values, named);
    check(ReconcileConfig::read(env()), &values, named);
    command_line(fields.bytes(0), &fields.text(0));
}

fn check<T>(read: Result<T, Faults>, values: &[(usize, String)], named: [&str; 2]) {
    let Err(faults) = read else {
        return;
    };
    for fault in &faults.0 {
        let is_of_another = !named.contains(&fault.variable);
        // A variable that another one asks for.
        let is_asked_for = fault.problem.contains("is not set");
        assert!(is_asked_for || !is_of_another, "{}", fault.variable);
    }
    let mut sentences = faults.to_string();
    if planted() && sentences.contains("HOLD_USD") {
        sentences.extend(values.iter().map(|(_, value)| value.as_str()));
    }
    for (_, value) in values {
        let is_telling = value.len() >= 12 && value.bytes().all(|byte| byte.is_ascii_digit());
        assert!(
            !is_telling || !sentences.contains(value.as_str()),
            "{sentences}"
        );
    }
}

fn command_line(bytes: &[u8], text: &str) {
    if let Ok(target) = text.parse::<Target>() {
        assert_eq!(target.to_string().parse(), Ok(target));
    }
    if let Ok(name) = text.parse::<ProfileName>() {
        assert!(!name.to_string().contains(['/', '\0', '\n']));
    }
    if let Ok(identity) = Identity::parse(bytes, Path::new("identity.json")) {
        let again = Identity::parse(&identity.to_json(), Path::new("again.json")).unwrap();
        assert_eq!(again.did(), identity.did());
    }
}
