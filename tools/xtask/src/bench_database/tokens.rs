//! Refusals of tokens: whoever tries one must not learn from the time whether it has ever been one.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use stack::Postgres;

use super::DID;

/// Makes a token for each kind of refusal, and times calls of `begin_request` with each. Everything is undone.
/// The digests of four tokens begin with the same zeros and end with their number; the first of them is nobody's.
const TIMED: &str = "
BEGIN;
INSERT INTO public.access_tokens (id, did, label, name, created_at, revoked_at, disabled, expires_at)
SELECT ('00000000-0000-4000-8000-00000000000' || n)::uuid, '{did}', 'label', 'bench-' || n, now(),
       CASE n WHEN 1 THEN now() END, n = 2, CASE n WHEN 3 THEN now() - interval '1 day' END
  FROM generate_series(1, 3) AS n;
INSERT INTO public.token_digests (digest, token_id)
SELECT decode(lpad(n::text, 64, '0'), 'hex'), ('00000000-0000-4000-8000-00000000000' || n)::uuid
  FROM generate_series(1, 3) AS n;
CREATE FUNCTION pg_temp.refused(token integer) RETURNS double precision LANGUAGE plpgsql AS $$
DECLARE
  began timestamptz := clock_timestamp();
  request jsonb := jsonb_build_object('id', gen_random_uuid(), 'token_digest', lpad(token::text, 64, '0'),
    'request_time', (extract(epoch FROM now()) * 1000)::bigint, 'method', 'POST', 'path', '/chat/completions',
    'endpoint', 'chat.completions', 'model', 'vendor/model-1', 'streamed', true, 'hold', '0.01');
BEGIN
  FOR n IN 1..500 LOOP
    BEGIN
      PERFORM public.begin_request(request);
      RAISE EXCEPTION 'a token was not refused';
    EXCEPTION WHEN SQLSTATE 'PT401' OR SQLSTATE 'PT403' THEN NULL;
    END;
  END LOOP;
  RETURN extract(epoch FROM clock_timestamp() - began) * 1000000 / 500;
END $$;
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY us)
  FROM (SELECT token, pg_temp.refused(token) AS us
          FROM generate_series(1, {runs}) AS run, generate_series(0, 3) AS token) AS timed
 GROUP BY token ORDER BY token;
ROLLBACK";

/// The median times of refusals.
pub(super) fn refusals(server: &Postgres, runs: u32) -> Result<String> {
    let script = TIMED
        .replace("{did}", DID)
        .replace("{runs}", &runs.to_string());
    let answer = server.query(&script)?;
    let times: Vec<f64> = answer
        .lines()
        .filter_map(|it| it.trim().parse().ok())
        .collect();
    let unknown = times.first().context("no time")?;
    let mut text = String::new();
    for (what, time) in std::iter::zip(["unknown", "revoked", "disabled", "expired"], &times) {
        writeln!(
            text,
            "  {:<44} {time:>9.1} µs ({:.2} ×)",
            format!("refuse a token: {what}"),
            time / unknown
        )?;
    }
    Ok(text)
}
