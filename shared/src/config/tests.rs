use super::*;
use crate::{storage::LimitReset, upstream::endpoint::Endpoint};

fn complete(name: &str) -> Option<String> {
    Some(
        match name {
            "GATEWAY_AUDIENCES" => {
                "https://gw.example.com, https://abc.execute-api.us-east-1.amazonaws.com/Prod"
            }
            "SUPABASE_URL" => "https://abc.supabase.co/",
            "SUPABASE_SECRET_KEY" => "sb_secret_planted",
            "KEYSET_SECRET_NAME" => "llm-gateway/keyset",
            "AWS_REGION" => "us-east-1",
            "AWS_ACCESS_KEY_ID" => "AKIAPLANTED",
            "AWS_SECRET_ACCESS_KEY" => "planted-secret-access-key",
            "AWS_SESSION_TOKEN" => "planted-session-token",
            _ => return None,
        }
        .to_owned(),
    )
}

#[test]
fn reads_a_complete_environment_with_defaults() {
    let config = ProxyConfig::read(Env::new(complete)).unwrap();
    assert_eq!(config.openrouter.as_str(), "https://openrouter.ai/api/v1");
    assert_eq!(
        config.storage.url.as_str(),
        "https://abc.supabase.co/rest/v1"
    );
    assert_eq!(config.timeouts.idle, Duration::from_secs(290));
    assert_eq!(config.max_open_jobs.get(), 20);
    assert_eq!(config.max_open_requests.get(), 100);
    assert_eq!(config.allowed_dids, AllowedDids::ANYONE);
    let keys = KeysConfig::read(Env::new(complete)).unwrap();
    assert_eq!(keys.account_requests_per_minute.get(), 120);
    assert!(!keys.allow_unverified_keys);
    for (endpoint, requests, hold) in [
        (Endpoint::ChatCompletions, 0, "0.01"),
        (Endpoint::Videos, 0, "1"),
        (Endpoint::Batches, 0, "0.01"),
        (Endpoint::Batches, 1, "0.01"),
        (Endpoint::Batches, 1000, "10"),
    ] {
        let held = config.holds.of(endpoint, requests);
        assert_eq!(held.to_string(), hold, "{endpoint:?} {requests}");
    }
    assert_eq!(config.requests_per_minute, None);
    assert_eq!(config.ledger_timeout, Duration::from_mins(1));
    assert!(
        !format!("{config:?}").to_lowercase().contains("planted"),
        "{config:?}"
    );
}

#[test]
fn reports_every_fault_at_once_and_no_value() {
    let env = Env::new(|name| match name {
        "GATEWAY_OPENROUTER_URL" => Some("http://openrouter.ai/api/v1".to_owned()),
        "UPSTREAM_IDLE_TIMEOUT_MS" => Some("soon".to_owned()),
        "SUPABASE_SECRET_KEY" => Some("pl\nanted".to_owned()),
        "ALLOWED_PATH_FAMILIES" => Some("models".to_owned()),
        "HOLD_USD" => Some("-0.01".to_owned()),
        "REQUESTS_PER_MINUTE" => Some("0".to_owned()),
        "ALLOWED_DIDS" => Some("planted".to_owned()),
        "MAX_OPEN_REQUESTS" => Some("none".to_owned()),
        _ => None,
    });
    let faults = ProxyConfig::read(env).unwrap_err();
    let variables: Vec<_> = faults.0.iter().map(|fault| fault.variable).collect();
    assert_eq!(
        variables,
        [
            "GATEWAY_AUDIENCES",
            "ALLOWED_DIDS",
            "SUPABASE_URL",
            "SUPABASE_SECRET_KEY",
            "KEYSET_SECRET_NAME",
            "AWS_REGION",
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
            "GATEWAY_OPENROUTER_URL",
            "ALLOWED_PATH_FAMILIES",
            "UPSTREAM_IDLE_TIMEOUT_MS",
            "HOLD_USD",
            "REQUESTS_PER_MINUTE",
            "MAX_OPEN_REQUESTS",
        ]
    );
    assert!(!faults.to_string().contains("anted"), "{faults}");
}

#[test]
fn no_fault_quotes_the_value_of_any_variable() {
    for planted in [
        "sk-or-v1-planted",
        "https://user:planted@x/?planted#planted",
        "did:key:planted",
        "1planted",
        "credits,planted",
    ] {
        let env = || Env::new(|_| Some(planted.to_owned()));
        for faults in [
            ProxyConfig::read(env()).map(drop),
            KeysConfig::read(env()).map(drop),
            AccountConfig::read(env()).map(drop),
            HealthConfig::read(env()).map(drop),
            ReconcileConfig::read(env()).map(drop),
        ] {
            let said = faults.unwrap_err().to_string();
            assert!(!said.contains("planted"), "{planted}: {said}");
        }
    }
}

#[test]
fn a_request_in_flight_is_not_abandoned_by_default() {
    let with = |value: Option<&'static str>| {
        ReconcileConfig::read(Env::new(move |name| match name {
            "ABANDONED_AFTER_SECONDS" => value.map(str::to_owned),
            name => complete(name),
        }))
    };
    let config = with(None).unwrap();
    // A function lives 15 minutes, and clocks differ.
    assert_eq!(config.abandoned_after, Duration::from_mins(20));
    assert_eq!(with(Some("1")).unwrap().abandoned_after.as_secs(), 1);
    for value in ["0", "-1", "86401", "soon", "1.5"] {
        let faults = with(Some(value)).unwrap_err();
        assert_eq!(faults.0[0].variable, "ABANDONED_AFTER_SECONDS", "{value}");
    }
}

#[test]
fn requests_are_kept_for_ever_unless_told_otherwise() {
    let with = |value: Option<&'static str>| {
        ReconcileConfig::read(Env::new(move |name| match name {
            "RETENTION_DAYS" => value.map(str::to_owned),
            name => complete(name),
        }))
    };
    assert_eq!(with(None).unwrap().retention, None);
    assert_eq!(with(Some("")).unwrap().retention, None);
    assert_eq!(
        with(Some("90")).unwrap().retention,
        Some("90".parse().unwrap())
    );
    let faults = with(Some("34")).unwrap_err();
    assert_eq!(faults.0[0].variable, "RETENTION_DAYS");
}

#[test]
fn keys_are_provisioned_only_as_configured() {
    let with = |name: &'static str, value: &'static str| {
        KeysConfig::read(Env::new(move |asked| match asked {
            _ if asked == name => Some(value.to_owned()),
            "MANAGEMENT_KEY_SECRET_NAME" if name != "PROVISION_KEYS_FOR" => {
                Some("llm-gateway/management".to_owned())
            }
            _ => complete(asked),
        }))
    };
    let config = with("PROVISIONED_KEY_LIMIT_USD", "2.50").unwrap();
    assert_eq!(config.policy, Policy::Off);
    assert_eq!(config.grant.limit.to_string(), "2.5");
    assert_eq!(config.grant.reset, Some(LimitReset::Monthly));
    let management = config.management.unwrap();
    assert_eq!(management.location.secret_id, "llm-gateway/management");
    assert_eq!(management.location.region, "us-east-1");

    let config = with("PROVISIONED_KEY_LIMIT_RESET", "never").unwrap();
    assert_eq!(config.grant.reset, None);
    for (name, value, faulty) in [
        ("PROVISION_KEYS_FOR", "anyone", "MANAGEMENT_KEY_SECRET_NAME"),
        ("PROVISION_KEYS_FOR", "everyone", "PROVISION_KEYS_FOR"),
        (
            "PROVISIONED_KEY_LIMIT_USD",
            "0",
            "PROVISIONED_KEY_LIMIT_USD",
        ),
        (
            "PROVISIONED_KEY_LIMIT_RESET",
            "yearly",
            "PROVISIONED_KEY_LIMIT_RESET",
        ),
    ] {
        let faults = with(name, value).unwrap_err();
        assert_eq!(faults.0[0].variable, faulty, "{name}={value}");
    }
}

#[test]
fn no_function_needs_more_than_it_uses() {
    let without = |hidden: &'static [&'static str]| {
        Env::new(move |name| {
            if hidden.contains(&name) {
                None
            } else {
                complete(name)
            }
        })
    };
    AccountConfig::read(without(&["KEYSET_SECRET_NAME", "AWS_REGION"])).unwrap();
    KeysConfig::read(without(&["MANAGEMENT_KEY_SECRET_NAME"])).unwrap();
    HealthConfig::read(without(&["SUPABASE_SECRET_KEY", "KEYSET_SECRET_NAME"])).unwrap();
    ReconcileConfig::read(without(&["GATEWAY_AUDIENCES"])).unwrap();
}
