use super::*;

fn told(all: &[Made]) -> Vec<String> {
    all.iter()
        .map(|it| format!("{} {}", it.migration, it.feature))
        .collect()
}

#[test]
fn what_was_made_and_not_removed_is_found() {
    let all = made(&[
        (
            "1",
            "-- CREATE TABLE no (\nCREATE TABLE a (\n  id uuid,\n  did TEXT NOT NULL,\n  UNIQUE (did)\n);\nCREATE FUNCTION public.f(request jsonb) RETURNS jsonb\nCREATE FUNCTION public.g(p text) RETURNS jsonb\n",
        ),
        (
            "2",
            "ALTER TABLE public.a\n  ADD COLUMN b text,\n  ADD COLUMN c text;\nCREATE OR REPLACE FUNCTION public.f(request jsonb) RETURNS jsonb\nCREATE FUNCTION public.h(outcome jsonb) RETURNS jsonb\n",
        ),
        (
            "3",
            "ALTER TABLE public.a\n  DROP COLUMN b;\nDROP FUNCTION public.h(jsonb);\n",
        ),
    ]);
    assert_eq!(told(&all), ["1 a.id", "1 a.did", "1 f()", "2 a.c"]);
}

/// A migration in another style would be taken for applied.
#[test]
fn the_migrations_are_understood() {
    let all = told(&features());
    for expected in [
        "20260101000000_original_schema.sql user_api_keys.encrypted_api_key",
        "20260101000000_original_schema.sql request_logs.total_cost",
        "20260102000000_accounting.sql user_api_keys.seal_key_id",
        "20260102000000_accounting.sql request_fingerprints.expires_at",
        "20260102000000_accounting.sql begin_request()",
        "20260103000000_limits.sql user_api_keys.rate_tat",
        "20260104000000_reconciliation.sql settle_request()",
        "20260105000000_key_events.sql key_events.seal_key_id",
        "20260108000000_administration.sql reseal_keys()",
    ] {
        assert!(
            all.iter().any(|it| it == expected),
            "{expected} in {all:#?}"
        );
    }
    for (migration, _) in MIGRATIONS {
        assert!(
            all.iter().any(|it| it.starts_with(migration)),
            "{migration} makes nothing that can be looked for"
        );
    }
}
