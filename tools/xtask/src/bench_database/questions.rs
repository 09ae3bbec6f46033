//! Questions of one DID, and changes of its key, with and without the indexes that they need.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use stack::Postgres;

use super::DID;

/// Runs a statement in one session, so that neither connecting nor the first look at the catalogue is
/// measured, and undoes what it changes. Answers the median of the elapsed milliseconds.
const TIMED: &str = "
BEGIN; {before};
CREATE FUNCTION pg_temp.timed(question text, runs integer) RETURNS SETOF double precision LANGUAGE plpgsql AS $$
DECLARE began timestamptz; took double precision;
BEGIN
  FOR run IN 0..runs LOOP
    BEGIN
      began := clock_timestamp();
      EXECUTE question;
      took := extract(epoch FROM clock_timestamp() - began) * 1000;
      RAISE EXCEPTION 'undone' USING ERRCODE = 'LG001';
    EXCEPTION WHEN SQLSTATE 'LG001' THEN
      IF run > 0 THEN RETURN NEXT took; END IF;
    END;
  END LOOP;
END $$;
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY ms) FROM pg_temp.timed($q${question}$q$, {runs}) AS ms;
ROLLBACK";

/// The median times of reports and pages.
pub(super) fn measure(server: &Postgres, runs: u32) -> Result<String> {
    let offsets = |seconds: i32| json!([{"from": null, "seconds": seconds}]);
    let grouped = |by: &[&str], seconds| json!({"max_groups": 2000, "group_by": by, "offsets": offsets(seconds)});
    let month = |mut question: Value, start: &str| {
        question["start"] = json!(start);
        question["end"] = json!("2026-10-31T23:00:00Z");
        question
    };
    let mut percentiles = grouped(&[], 0);
    percentiles["percentiles"] = json!(true);
    let questions = [
        ("a year", report(grouped(&[], 0))),
        ("a year by model", report(grouped(&["model"], 0))),
        ("a year by day", report(grouped(&["day"], 0))),
        (
            "a year by day and model",
            report(grouped(&["day", "model"], 0)),
        ),
        ("a year by day, in India", report(grouped(&["day"], 19_800))),
        (
            "a month by hour",
            report(month(grouped(&["hour"], 0), "2026-09-30T22:00:00Z")),
        ),
        (
            "a month by hour, in India",
            report(month(grouped(&["hour"], 19_800), "2026-09-30T22:00:00Z")),
        ),
        (
            "a month that begins within an hour",
            report(month(grouped(&["day"], 0), "2026-09-30T22:17:00Z")),
        ),
        ("a year with percentiles", report(percentiles)),
        ("the first page of 50", page(json!({"limit": 50}))),
        ("the first page of 1000", page(json!({"limit": 1000}))),
        (
            "a page of one model",
            page(json!({"limit": 50, "model": "vendor/model-19"})),
        ),
        (
            "the dearest",
            page(json!({"limit": 50, "min_cost": "0.009999"})),
        ),
        (
            "a filter that nothing passes",
            page(json!({"limit": 50, "min_cost": "1000"})),
        ),
    ];
    let drop = "DROP INDEX public.idx_request_logs_usage";
    let mut text = String::new();
    for (name, question) in questions {
        let with = timed(server, "SELECT", &question, runs)?;
        let without = timed(server, drop, &question, 1)?;
        writeln!(
            text,
            "  {name:<44} {with:>9.1} ms, {without:>9.1} without idx_request_logs_usage ({:.1} ×)",
            without / with
        )?;
    }
    Ok(text)
}

/// The median times of what changes a key, while no request of its DID is open.
pub(super) fn keys(server: &Postgres, runs: u32) -> Result<String> {
    let sealed =
        "UPDATE public.user_api_keys SET seal_key_id = 1 WHERE did = '{did}'".replace("{did}", DID);
    let replace = format!(
        "UPDATE public.user_api_keys SET encrypted_api_key = 'v1.other', openrouter_key_hash = 'other' WHERE did = '{DID}'"
    );
    let delete = format!("DELETE FROM public.user_api_keys WHERE did = '{DID}'");
    let mut text = String::new();
    for (name, change) in [
        ("replace a key", replace),
        ("revoke or delete a key", delete),
    ] {
        let took = timed(server, &sealed, &change, runs)?;
        writeln!(text, "  {name:<44} {took:>9.1} ms")?;
    }
    Ok(text)
}

fn report(question: Value) -> String {
    call("usage_report", question)
}

fn page(question: Value) -> String {
    call("usage_requests", question)
}

fn call(function: &str, mut request: Value) -> String {
    request["did"] = json!(DID);
    format!("SELECT public.{function}('{request}'::jsonb)")
}

fn timed(server: &Postgres, before: &str, question: &str, runs: u32) -> Result<f64> {
    let timed = TIMED
        .replace("{before}", before)
        .replace("{question}", question)
        .replace("{runs}", &runs.to_string());
    let answer = server.query(&timed)?;
    answer
        .lines()
        .find_map(|line| line.trim().parse().ok())
        .context("no time")
}
