-- Retention: requests that are settled and old become sums, so that the table does not grow without bound
-- and no sum is lost.
--
-- What stays true when rows go: `spent` is a column of the account and does not change; usage_report still
-- returns the sums. What goes: the single requests (usage_requests), percentiles and hours.

-- Takes settled requests that began before a time out of request_logs and adds them to usage_history,
-- the oldest first, in one transaction. Fields of `request`:
--
--   before   epoch ms; at least 35 days ago by the database's clock
--   limit    maximum number of requests, 1 to 10000
--
-- Never taken: a request that is pending, or whose cost is. One whose cost is unknown is taken 90 days
-- later than the others, because until then its emergency record may still turn up in a log.
--
-- Returns {"expired", "more": whether there may be more}. A call whose answer was lost has done its
-- work; repeated, it does the next piece.
--
-- Concurrent calls share the rows. It locks those rows, without waiting, and then sums in the
-- order of their key, and no DID: so it cannot deadlock with callers that lock the DID first, and
-- no request waits for more than the rows that it is itself about.
CREATE OR REPLACE FUNCTION public.expire_requests(request jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_in      jsonb       := public.decoded(request);
  v_before  timestamptz := timestamptz 'epoch' + (v_in ->> 'before')::bigint * interval '1 millisecond';
  v_limit   integer     := (v_in ->> 'limit')::integer;
  v_expired integer;
BEGIN
  IF v_before IS NULL OR v_before > clock_timestamp() - interval '35 days'
     OR v_limit IS NULL OR v_limit NOT BETWEEN 1 AND 10000
  THEN
    RAISE EXCEPTION 'expire_requests: a member is missing or out of range'
      USING ERRCODE = 'PT400', DETAIL = 'invalid_argument';
  END IF;

  WITH due AS (
    SELECT l.id
      FROM public.request_logs AS l
     WHERE l.request_time < v_before
       AND l.status <> 'pending'
       AND (l.cost_state IN ('none', 'final')
            OR (l.cost_state = 'unknown' AND l.request_time < v_before - interval '90 days'))
     ORDER BY l.request_time
     LIMIT v_limit
       FOR UPDATE SKIP LOCKED
  ), gone AS (
    DELETE FROM public.request_logs AS l
     USING due
     WHERE l.id = due.id
    RETURNING l.*
  ), rolled AS (
    INSERT INTO public.usage_history AS h
      (did, day, model, endpoint, requests, successful, failed, cost_unknown,
       input_tokens, output_tokens, cached_tokens, reasoning_tokens, cost)
    SELECT g.did, (g.request_time AT TIME ZONE 'UTC')::date, g.model, coalesce(g.endpoint, ''),
           count(*),
           count(*) FILTER (WHERE g.status = 'completed'),
           count(*) FILTER (WHERE g.status = 'failed'),
           count(*) FILTER (WHERE g.cost_state = 'unknown'),
           coalesce(sum(g.input_tokens), 0),
           coalesce(sum(g.output_tokens), 0),
           coalesce(sum(g.cached_tokens), 0),
           coalesce(sum(g.reasoning_tokens), 0),
           -- The same rows as open_account counts: the original system's may hold anything.
           coalesce(sum(g.total_cost) FILTER (WHERE g.total_cost > 0 AND g.total_cost < 'Infinity'), 0)
      FROM gone AS g
     GROUP BY 1, 2, 3, 4
     ORDER BY 1, 2, 3, 4
    ON CONFLICT (did, day, model, endpoint) DO UPDATE SET
      requests         = h.requests         + EXCLUDED.requests,
      successful       = h.successful       + EXCLUDED.successful,
      failed           = h.failed           + EXCLUDED.failed,
      cost_unknown     = h.cost_unknown     + EXCLUDED.cost_unknown,
      input_tokens     = h.input_tokens     + EXCLUDED.input_tokens,
      output_tokens    = h.output_tokens    + EXCLUDED.output_tokens,
      cached_tokens    = h.cached_tokens    + EXCLUDED.cached_tokens,
      reasoning_tokens = h.reasoning_tokens + EXCLUDED.reasoning_tokens,
      cost             = h.cost             + EXCLUDED.cost
  )
  SELECT count(*) INTO v_expired FROM gone;

  RETURN jsonb_build_object('expired', v_expired, 'more', v_expired = v_limit);
END
$$;

REVOKE ALL ON FUNCTION public.expire_requests(jsonb)
  FROM PUBLIC, anon, authenticated, service_role;
GRANT EXECUTE ON FUNCTION public.expire_requests(jsonb)
  TO service_role;
