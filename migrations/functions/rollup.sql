-- The rollup: sums of finished requests by DID, hour (UTC), model, endpoint, status, cost_state, token, app and
-- tag. Usage reports are added up from it, and it is what remains of requests that have expired.
--
-- A series (usage_series) is one combination of those without the hour; usage_hours has a row for each hour
-- in which the series had requests. A trigger on request_logs keeps both in the transaction that finishes or
-- settles a request, whichever statement does so:
--
--   * A pending request is in no series. Reports count it from request_logs.
--   * A finished request is added to the hour of its request_time. One that changes afterwards (its cost is
--     settled, a function that was given up finishes) leaves its series and enters another, in the same hour.
--   * A deleted request stays in the sums. To erase a user, delete the DID's series, too.
--
-- Callers hold the lock of the DID's account, so the sums of one DID are changed by one transaction at a time,
-- and transactions of different DIDs never meet.
--
-- Sums never outnumber requests, because a series has a row only for hours in which it was used. Callers choose
-- app and tag freely: of a DID that has 1,000 series, new values of those count as '(other)'.
--
-- The same trigger books what changes in the request's budgets (budgets.sql).

-- A cost as it is added up. A row of the original system may hold anything.
CREATE OR REPLACE FUNCTION public.countable_cost(p_cost numeric) RETURNS numeric
LANGUAGE sql IMMUTABLE SECURITY INVOKER
RETURN CASE WHEN p_cost > 0 AND p_cost < 'Infinity' THEN p_cost ELSE 0 END;

-- What an app or a tag counts as beyond a DID's 1,000 series.
CREATE OR REPLACE FUNCTION public.other_label(p_label text) RETURNS text
LANGUAGE sql IMMUTABLE SECURITY INVOKER
RETURN CASE p_label WHEN '' THEN '' ELSE '(other)' END;

-- Adds the new state of a request to its sums and takes the old one out of them.
CREATE OR REPLACE FUNCTION public.roll_up_request() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  c_signed CONSTANT uuid := '00000000-0000-0000-0000-000000000000';
  v_app    text    := coalesce(NEW.app, '');
  v_tag    text    := coalesce(NEW.tag, '');
  v_cost   numeric := public.countable_cost(NEW.total_cost);
  v_spent  numeric := v_cost;
  v_held   numeric := NEW.hold;
  v_hour   timestamptz := date_bin('1 hour', NEW.request_time, 'epoch');
  v_series bigint;
BEGIN
  IF TG_OP = 'UPDATE' THEN
    v_spent := v_cost - public.countable_cost(OLD.total_cost);
    v_held  := NEW.hold - OLD.hold;
  END IF;
  -- A request's DID, token and time never change.
  IF (v_spent <> 0 OR v_held <> 0) AND EXISTS (SELECT FROM public.budgets AS b WHERE b.did = NEW.did) THEN
    PERFORM public.book_budgets(NEW.did, NEW.token_id, NEW.request_time, v_spent, v_held);
  END IF;

  IF TG_OP = 'UPDATE' AND OLD.status <> 'pending' THEN
    -- Out of the sums of the request as it was. It went to '(other)' where there was no series of its own, and
    -- there can be none since. highest_cost stays: it is an upper bound.
    SELECT s.id INTO v_series FROM public.usage_series AS s
     WHERE s.did = OLD.did AND s.model = OLD.model AND s.endpoint = coalesce(OLD.endpoint, '')
       AND s.status = OLD.status AND s.cost_state = OLD.cost_state
       AND s.token_id = coalesce(OLD.token_id, c_signed)
       AND (s.app, s.tag) IN (
         (coalesce(OLD.app, ''), coalesce(OLD.tag, '')),
         (public.other_label(coalesce(OLD.app, '')), public.other_label(coalesce(OLD.tag, ''))))
     ORDER BY (s.app, s.tag) = (coalesce(OLD.app, ''), coalesce(OLD.tag, '')) DESC
     LIMIT 1;
    DELETE FROM public.usage_hours AS h
     WHERE h.series_id = v_series AND h.hour = date_bin('1 hour', OLD.request_time, 'epoch') AND h.requests = 1;
    IF NOT FOUND THEN
      UPDATE public.usage_hours AS h SET
        requests         = h.requests         - 1,
        input_tokens     = h.input_tokens     - coalesce(OLD.input_tokens, 0),
        output_tokens    = h.output_tokens    - coalesce(OLD.output_tokens, 0),
        cached_tokens    = h.cached_tokens    - coalesce(OLD.cached_tokens, 0),
        cache_write_tokens = h.cache_write_tokens - coalesce(OLD.cache_write_tokens, 0),
        reasoning_tokens = h.reasoning_tokens - coalesce(OLD.reasoning_tokens, 0),
        cost             = h.cost             - public.countable_cost(OLD.total_cost)
       WHERE h.series_id = v_series AND h.hour = date_bin('1 hour', OLD.request_time, 'epoch');
    END IF;
  END IF;
  IF NEW.status = 'pending' THEN
    RETURN NULL;
  END IF;

  LOOP
    SELECT s.id INTO v_series FROM public.usage_series AS s
     WHERE s.did = NEW.did AND s.model = NEW.model AND s.endpoint = coalesce(NEW.endpoint, '')
       AND s.status = NEW.status AND s.cost_state = NEW.cost_state
       AND s.token_id = coalesce(NEW.token_id, c_signed) AND s.app = v_app AND s.tag = v_tag;
    EXIT WHEN FOUND;
    IF (v_app NOT IN ('', '(other)') OR v_tag NOT IN ('', '(other)'))
       AND (SELECT count(*) FROM public.usage_series AS s WHERE s.did = NEW.did) >= 1000
    THEN
      v_app := public.other_label(v_app);
      v_tag := public.other_label(v_tag);
      CONTINUE;
    END IF;
    -- The first of its series. Where another transaction makes the same one it is waited for.
    INSERT INTO public.usage_series (did, model, endpoint, status, cost_state, token_id, app, tag)
    VALUES (NEW.did, NEW.model, coalesce(NEW.endpoint, ''), NEW.status, NEW.cost_state,
            coalesce(NEW.token_id, c_signed), v_app, v_tag)
    ON CONFLICT (did, model, endpoint, status, cost_state, token_id, app, tag) DO NOTHING;
  END LOOP;

  LOOP
    UPDATE public.usage_hours AS h SET
      requests           = h.requests           + 1,
      input_tokens       = h.input_tokens       + coalesce(NEW.input_tokens, 0),
      output_tokens      = h.output_tokens      + coalesce(NEW.output_tokens, 0),
      cached_tokens      = h.cached_tokens      + coalesce(NEW.cached_tokens, 0),
      cache_write_tokens = h.cache_write_tokens + coalesce(NEW.cache_write_tokens, 0),
      reasoning_tokens   = h.reasoning_tokens   + coalesce(NEW.reasoning_tokens, 0),
      cost               = h.cost               + v_cost,
      highest_cost       = greatest(h.highest_cost, v_cost)
     WHERE h.series_id = v_series AND h.hour = v_hour;
    EXIT WHEN FOUND;
    -- The first of its hour. An update writes less than an insert that meets a row, so it comes first.
    INSERT INTO public.usage_hours
      (series_id, hour, requests, input_tokens, output_tokens, cached_tokens, cache_write_tokens, reasoning_tokens,
       cost, highest_cost)
    VALUES (v_series, v_hour, 0, 0, 0, 0, 0, 0, 0, 0) ON CONFLICT (series_id, hour) DO NOTHING;
  END LOOP;
  RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER roll_up_inserted_request AFTER INSERT ON public.request_logs
  FOR EACH ROW WHEN (NEW.status <> 'pending') EXECUTE FUNCTION public.roll_up_request();
-- Without WHEN, which would be parsed at each statement: what changes these columns finishes a request, or
-- settles it.
CREATE OR REPLACE TRIGGER roll_up_changed_request
  AFTER UPDATE OF did, request_time, model, endpoint, status, cost_state, input_tokens, output_tokens, cached_tokens,
    cache_write_tokens, reasoning_tokens, total_cost, hold, token_id, app, tag ON public.request_logs
  FOR EACH ROW EXECUTE FUNCTION public.roll_up_request();

-- Sums up all requests that are there, into an empty rollup; how many there were. For the owner: when the
-- rollup is introduced, or has to be made anew while nothing has expired (TRUNCATE usage_series CASCADE).
-- Writers wait meanwhile: about four seconds for a million requests.
CREATE OR REPLACE FUNCTION public.fill_rollup() RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_requests bigint;
BEGIN
  LOCK TABLE public.request_logs IN SHARE ROW EXCLUSIVE MODE;
  IF EXISTS (SELECT FROM public.usage_series) THEN
    RAISE EXCEPTION 'the rollup is not empty' USING ERRCODE = 'PT400', DETAIL = 'invalid_argument';
  END IF;
  WITH summed AS MATERIALIZED (
    SELECT l.did, l.model, coalesce(l.endpoint, '') AS endpoint, l.status, l.cost_state,
           coalesce(l.token_id, '00000000-0000-0000-0000-000000000000') AS token_id,
           coalesce(l.app, '') AS app, coalesce(l.tag, '') AS tag,
           date_bin('1 hour', l.request_time, 'epoch') AS hour,
           count(*)                             AS requests,
           coalesce(sum(l.input_tokens), 0)     AS input_tokens,
           coalesce(sum(l.output_tokens), 0)    AS output_tokens,
           coalesce(sum(l.cached_tokens), 0)    AS cached_tokens,
           coalesce(sum(l.cache_write_tokens), 0) AS cache_write_tokens,
           coalesce(sum(l.reasoning_tokens), 0) AS reasoning_tokens,
           sum(public.countable_cost(l.total_cost)) AS cost,
           max(public.countable_cost(l.total_cost)) AS highest_cost
      FROM public.request_logs AS l
     WHERE l.status <> 'pending'
     GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9
  ), series AS (
    INSERT INTO public.usage_series AS s (did, model, endpoint, status, cost_state, token_id, app, tag)
    SELECT DISTINCT t.did, t.model, t.endpoint, t.status, t.cost_state, t.token_id, t.app, t.tag FROM summed AS t
    RETURNING s.*
  ), hours AS (
    INSERT INTO public.usage_hours
      (series_id, hour, requests, input_tokens, output_tokens, cached_tokens, cache_write_tokens, reasoning_tokens,
       cost, highest_cost)
    SELECT s.id, t.hour, t.requests, t.input_tokens, t.output_tokens, t.cached_tokens, t.cache_write_tokens,
           t.reasoning_tokens, t.cost, t.highest_cost
      FROM summed AS t
      JOIN series AS s USING (did, model, endpoint, status, cost_state, token_id, app, tag)
     ORDER BY t.hour
  )
  SELECT coalesce(sum(t.requests), 0) INTO v_requests FROM summed AS t;
  RETURN v_requests;
END
$$;

-- Compares the rollup, and open_requests, with the requests themselves, to the last digit. Fields of `request`:
--
--   start, end   RFC 3339; whole hours of request_time from `start` on and before `end`; null: all
--   did          of this DID; null: of all
--   limit        maximum number of differences to return, 0 to 1000
--
-- Returns {"requests", "hours", "differences", "examples": [{"did", "hour", "model", "endpoint", "status",
-- "cost_state", "rollup", "logged"}], "untracked"}: counts (text) of the finished requests, of the rollup's rows and of the
-- rows that differ (those of all tokens, apps and tags together), and some of those, with "rollup" and "logged" as
-- arrays of requests, input_tokens, output_tokens, cached_tokens, cache_write_tokens, reasoning_tokens and cost
-- (text). Hours in which requests have expired differ where the rollup has less than is still logged. "untracked" is
-- the number (text) of requests that are open but not in open_requests, and of those there that are not.
--
-- One statement, so one snapshot: requests that run meanwhile make no difference.
CREATE OR REPLACE FUNCTION public.check_rollup(request jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY INVOKER SET search_path = ''
SET plan_cache_mode = force_custom_plan SET jit = off SET random_page_cost = 1.1 AS $$
DECLARE
  v_in    jsonb       := public.decoded(request);
  v_start timestamptz := date_trunc('hour', coalesce((v_in ->> 'start')::timestamptz, '-infinity'), 'UTC');
  v_end   timestamptz := date_trunc('hour', coalesce((v_in ->> 'end')::timestamptz, 'infinity'), 'UTC');
  v_did   text        := v_in ->> 'did';
  v_limit integer     := (v_in ->> 'limit')::integer;
BEGIN
  IF v_limit IS NULL OR v_limit NOT BETWEEN 0 AND 1000 THEN
    RAISE EXCEPTION 'check_rollup: limit is missing or out of range'
      USING ERRCODE = 'PT400', DETAIL = 'invalid_argument';
  END IF;
  RETURN (
    WITH logged AS (
      SELECT l.did, l.model, coalesce(l.endpoint, '') AS endpoint, l.status, l.cost_state,
             date_bin('1 hour', l.request_time, 'epoch') AS hour,
             count(*)                             AS requests,
             coalesce(sum(l.input_tokens), 0)     AS input_tokens,
             coalesce(sum(l.output_tokens), 0)    AS output_tokens,
             coalesce(sum(l.cached_tokens), 0)    AS cached_tokens,
             coalesce(sum(l.cache_write_tokens), 0) AS cache_write_tokens,
             coalesce(sum(l.reasoning_tokens), 0) AS reasoning_tokens,
             sum(public.countable_cost(l.total_cost)) AS cost,
             max(public.countable_cost(l.total_cost)) AS highest_cost
        FROM public.request_logs AS l
       WHERE l.status <> 'pending' AND l.request_time >= v_start AND l.request_time < v_end
         AND (v_did IS NULL OR l.did = v_did)
       GROUP BY 1, 2, 3, 4, 5, 6
    ), rollup AS (
      SELECT s.did, s.model, s.endpoint, s.status, s.cost_state, h.hour, count(*) AS hours,
             sum(h.requests) AS requests, sum(h.input_tokens) AS input_tokens, sum(h.output_tokens) AS output_tokens,
             sum(h.cached_tokens) AS cached_tokens, sum(h.cache_write_tokens) AS cache_write_tokens,
             sum(h.reasoning_tokens) AS reasoning_tokens, sum(h.cost) AS cost,
             max(h.highest_cost) AS highest_cost
        FROM public.usage_hours AS h
        JOIN public.usage_series AS s ON s.id = h.series_id
       WHERE h.hour >= v_start AND h.hour < v_end AND (v_did IS NULL OR s.did = v_did)
       GROUP BY 1, 2, 3, 4, 5, 6
    ), compared AS (
      SELECT did, hour, model, endpoint, status, cost_state, r.hours, coalesce(l.requests, 0) AS requests,
             ARRAY[r.requests, r.input_tokens, r.output_tokens, r.cached_tokens, r.cache_write_tokens,
                   r.reasoning_tokens, trim_scale(r.cost)] AS rollup,
             ARRAY[l.requests, l.input_tokens, l.output_tokens, l.cached_tokens, l.cache_write_tokens,
                   l.reasoning_tokens, trim_scale(l.cost)] AS logged,
             CASE WHEN hour >= date_trunc('hour', e.expired_before, 'UTC')
                       AND (r.requests, r.input_tokens, r.output_tokens, r.cached_tokens, r.cache_write_tokens,
                            r.reasoning_tokens, r.cost)
                           IS DISTINCT FROM
                           (l.requests, l.input_tokens, l.output_tokens, l.cached_tokens, l.cache_write_tokens,
                            l.reasoning_tokens, l.cost)
                  THEN true
                  WHEN l.requests IS NULL THEN false  -- all have expired
                  ELSE coalesce(r.requests < l.requests OR r.input_tokens < l.input_tokens
                                OR r.output_tokens < l.output_tokens OR r.cached_tokens < l.cached_tokens
                                OR r.cache_write_tokens < l.cache_write_tokens
                                OR r.reasoning_tokens < l.reasoning_tokens OR r.cost < l.cost
                                OR r.highest_cost < l.highest_cost, true)
             END AS differs
        FROM logged AS l
        FULL JOIN rollup AS r USING (did, hour, model, endpoint, status, cost_state)
       CROSS JOIN (SELECT max(k.expired_before) AS expired_before FROM public.retention AS k) AS e
    ), examples AS (
      SELECT jsonb_build_object(
               'did', did, 'hour', to_char(hour AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), 'model', model,
               'endpoint', endpoint, 'status', status, 'cost_state', cost_state,
               'rollup', rollup::text[], 'logged', logged::text[]) AS example
        FROM compared
       WHERE differs
       ORDER BY hour, did, model, endpoint, status, cost_state
       LIMIT v_limit
    ), untracked AS (
      SELECT FROM public.request_logs AS l
       WHERE public.open_state(l.status, l.cost_state, l.error_reason) IS NOT NULL
         AND l.request_time >= v_start AND l.request_time < v_end AND (v_did IS NULL OR l.did = v_did)
         AND NOT EXISTS (SELECT FROM public.open_requests AS o
                          WHERE o.did = l.did AND o.request_id = l.id
                            AND o.abandoned = public.open_state(l.status, l.cost_state, l.error_reason))
       UNION ALL
      SELECT FROM public.open_requests AS o
       WHERE (v_did IS NULL OR o.did = v_did)
         AND NOT EXISTS (SELECT FROM public.request_logs AS l
                          WHERE l.id = o.request_id
                            AND public.open_state(l.status, l.cost_state, l.error_reason) = o.abandoned)
    )
    SELECT jsonb_build_object(
             'requests',    coalesce(sum(requests), 0)::text,
             'hours',       coalesce(sum(hours), 0)::text,
             'differences', count(*) FILTER (WHERE differs)::text,
             'examples',    (SELECT coalesce(jsonb_agg(example), '[]') FROM examples),
             'untracked',   (SELECT count(*)::text FROM untracked))
      FROM compared);
END
$$;

REVOKE ALL ON FUNCTION public.countable_cost(numeric), public.other_label(text), public.roll_up_request(),
    public.fill_rollup(), public.check_rollup(jsonb)
  FROM PUBLIC, anon, authenticated, service_role;
GRANT EXECUTE ON FUNCTION public.countable_cost(numeric), public.other_label(text),
    public.check_rollup(jsonb)
  TO service_role;

-- A database that had requests before it had a rollup.
DO $$ BEGIN IF NOT EXISTS (SELECT FROM public.usage_series) THEN PERFORM public.fill_rollup(); END IF; END $$;
