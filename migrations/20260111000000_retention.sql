-- Retention: requests that are settled and old become sums, so that the table does not grow for ever
-- and no sum is lost.
--
-- What stays true when rows go: `spent` is a column of the key row and does not change; a key that is
-- stored anew still gets it from the books, which are request_logs and usage_history together
-- (take_over_account); usage_report still tells the sums. What goes: the single requests
-- (usage_requests), percentiles, hours, and what hold_for learns from.

-- ---------------------------------------------------------------------------------------------
-- Tables
-- ---------------------------------------------------------------------------------------------

CREATE TABLE public.usage_history (
  did              text    NOT NULL,
  day              date    NOT NULL,
  model            text    NOT NULL,
  endpoint         text    NOT NULL,
  requests         bigint  NOT NULL CHECK (requests > 0),
  successful       bigint  NOT NULL CHECK (successful >= 0),
  failed           bigint  NOT NULL CHECK (failed >= 0),
  cost_unknown     bigint  NOT NULL CHECK (cost_unknown >= 0),
  input_tokens     bigint  NOT NULL,
  output_tokens    bigint  NOT NULL,
  cached_tokens    bigint  NOT NULL,
  reasoning_tokens bigint  NOT NULL,
  cost             numeric NOT NULL CHECK (cost >= 0 AND cost < 'Infinity'),
  PRIMARY KEY (did, day, model, endpoint)
);
COMMENT ON TABLE public.usage_history IS
  'Sums of the requests that expire_requests has taken out of request_logs. To erase a user, delete here, too.';
COMMENT ON COLUMN public.usage_history.day IS 'Of request_time, in UTC.';
COMMENT ON COLUMN public.usage_history.endpoint IS 'Empty where none was recorded.';
COMMENT ON COLUMN public.usage_history.cost_unknown IS
  'Requests whose cost could not be found out: cost is without them.';
COMMENT ON COLUMN public.usage_history.cost IS 'Sum of total_cost, in US dollars.';

-- ---------------------------------------------------------------------------------------------
-- expire_requests
-- ---------------------------------------------------------------------------------------------
-- Takes settled requests that began before a time out of request_logs and adds them to usage_history,
-- the oldest first, in one transaction. Members of `request`:
--
--   before   epoch ms; at least 35 days ago by the database's clock
--   limit    how many at most, 1 to 10000
--
-- Never taken: a request that is pending, or whose cost is. One whose cost is unknown is taken 90 days
-- later than the others, because until then its emergency record may still turn up in a log.
--
-- Returns {"expired", "more": whether there may be more}. A call whose answer was lost has done its
-- work; repeated, it does the next piece.
--
-- Calls at the same time share the rows. It locks those rows, without waiting, and then sums in the
-- order of their key, and no key row: so it cannot deadlock with those who lock the key row first, and
-- no request waits for more than the rows that it is itself about.
CREATE FUNCTION public.expire_requests(request jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_in      jsonb       := CASE jsonb_typeof(request) WHEN 'string' THEN (request #>> '{}')::jsonb ELSE request END;
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
           -- The same rows as take_over_account counts: the original system's may hold anything.
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

-- ---------------------------------------------------------------------------------------------
-- take_over_account
-- ---------------------------------------------------------------------------------------------
-- As before (20260103000000), with the sums of requests that have expired. One statement reads both
-- tables, so it finds a request in one of them, whoever is moving it meanwhile. It waits for those who
-- enter an unknown cost, too.
CREATE OR REPLACE FUNCTION public.take_over_account() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_spent    numeric;
  v_reserved numeric;
BEGIN
  PERFORM 1 FROM public.user_api_keys AS k WHERE k.did = NEW.did FOR UPDATE;
  IF FOUND THEN
    RETURN NEW;  -- an upsert: the row that is there keeps its account
  END IF;
  PERFORM 1 FROM public.request_logs AS l
    WHERE l.did = NEW.did AND (l.status = 'pending' OR l.cost_state IN ('pending', 'unknown')) FOR UPDATE;
  SELECT coalesce(logged.spent, 0) + coalesce(expired.spent, 0), logged.reserved
    INTO v_spent, v_reserved
    FROM (SELECT sum(l.total_cost) FILTER (WHERE l.total_cost > 0 AND l.total_cost < 'Infinity') AS spent,
                 sum(l.hold) FILTER (WHERE l.status = 'pending' OR l.cost_state = 'pending')     AS reserved
            FROM public.request_logs AS l WHERE l.did = NEW.did) AS logged,
         (SELECT sum(h.cost) AS spent FROM public.usage_history AS h WHERE h.did = NEW.did) AS expired;
  NEW.spent    := greatest(NEW.spent, v_spent);
  NEW.reserved := greatest(NEW.reserved, v_reserved);
  RETURN NEW;
END
$$;

-- ---------------------------------------------------------------------------------------------
-- usage_report
-- ---------------------------------------------------------------------------------------------
-- Sums of one DID over [start, end) of request_time. Members of `request`: id, did, request_time,
-- fingerprint, fingerprint_expires_at, start and end as in usage_summary, and
--
--   group_by     array of 'model', 'endpoint', 'day', 'hour', in the order in which to sort
--   offsets      array of {"from", "seconds"}, in the order of time: the local clock's offset from
--                UTC from that moment on (RFC 3339; null: since ever); needed for days and hours.
--                The caller's own knowledge of time zones, so that no two databases of it meet.
--   max_groups   how many groups and models to return at most
--   percentiles  whether to tell them: they cost more than all the rest. Absent: false
--
-- Counts, sums and money are text. Returns
--
--   limit, spent, held, remaining   the DID's account as it stands now; null or absent where there is
--                       no limit or no key. `remaining` is never below zero
--   total_..., ..._requests         sums over the time
--   duration_ms, first_byte_ms      {"p50", "p90", "p99"}: the smallest value that such a share of the
--                       requests does not exceed, of those that have one; null where none has, or
--                       where they are not asked for
--   requests_by_model   the max_groups models with the most requests
--   models              how many there are
--   groups              array of {"keys", sums}, `keys` in the order of group_by: a model, an endpoint
--                       (null: not recorded), a day (2026-01-31), the start of an hour with its offset
--                       (2026-01-31T13:00:00+01:00). All groups, or none where there are too many
--   group_count         how many there are
--
-- Pending requests count as requests; they have no tokens and no cost yet. PT401 replayed_request.
--
-- The sums of requests that have expired are in it, unless grouped by hour. Of those the day is known,
-- in UTC: it counts for the time in which its noon lies, so that of periods that follow each other
-- exactly one has it, and it is named as it is, whatever the caller's time zone. Percentiles are those
-- of the requests that are kept.
CREATE FUNCTION public.usage_report(request jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = ''
-- A plan for unknown values would not fold the CASEs away; compiling takes longer than the query; and
-- PostgreSQL's default price of a random page is that of a turning disk: with it the whole table is
-- read, rather than the index, where one DID has a good part of it.
SET plan_cache_mode = force_custom_plan SET jit = off SET random_page_cost = 1.1 AS $$
DECLARE
  v_in          jsonb       := CASE jsonb_typeof(request) WHEN 'string' THEN (request #>> '{}')::jsonb ELSE request END;
  v_did         text        := v_in ->> 'did';
  v_start       timestamptz := coalesce((v_in ->> 'start')::timestamptz, '-infinity');
  v_end         timestamptz := coalesce((v_in ->> 'end')::timestamptz, 'infinity');
  v_group_by    text[]      := ARRAY(SELECT jsonb_array_elements_text(v_in -> 'group_by'));
  v_max_groups  integer     := (v_in ->> 'max_groups')::integer;
  v_by_model    boolean     := 'model'    = ANY (v_group_by);
  v_by_endpoint boolean     := 'endpoint' = ANY (v_group_by);
  v_by_day      boolean     := 'day'      = ANY (v_group_by);
  v_by_hour     boolean     := 'hour'     = ANY (v_group_by);
  v_percentiles boolean     := coalesce((v_in ->> 'percentiles')::boolean, false);
  -- Element n of both is the n-th stretch of time with one offset.
  v_from        timestamptz[];
  v_offset      interval[];
BEGIN
  SELECT array_agg(coalesce((o ->> 'from')::timestamptz, '-infinity') ORDER BY n),
         array_agg((o ->> 'seconds')::integer * interval '1 second' ORDER BY n)
    INTO v_from, v_offset
    FROM jsonb_array_elements(v_in -> 'offsets') WITH ORDINALITY AS listed (o, n);

  IF v_did IS NULL OR v_max_groups IS NULL
     OR NOT v_group_by <@ ARRAY['model', 'endpoint', 'day', 'hour']
     OR ((v_by_day OR v_by_hour) AND v_from[1] IS DISTINCT FROM '-infinity')
  THEN
    RAISE EXCEPTION 'usage_report: a member is missing or out of range'
      USING ERRCODE = 'PT400', DETAIL = 'invalid_argument';
  END IF;
  IF v_in ->> 'fingerprint' IS NOT NULL AND public.use_fingerprint(v_in) = 'replayed' THEN
    RAISE EXCEPTION 'this signed request has been used before'
      USING ERRCODE = 'PT401', DETAIL = 'replayed_request';
  END IF;

  RETURN (
  WITH cells AS MATERIALIZED (
    -- The rows are read and added up once; all that follows adds up these few sums. A group may come
    -- twice, once from each table.
    SELECT l.model,
           CASE WHEN v_by_endpoint THEN l.endpoint END AS endpoint,
           -- Local time, in the shape of UTC.
           CASE WHEN v_by_day
                THEN date_bin('1 day', l.request_time + v_offset[width_bucket(l.request_time, v_from)], 'epoch') END AS day,
           CASE WHEN v_by_hour
                THEN date_bin('1 hour', l.request_time + v_offset[width_bucket(l.request_time, v_from)], 'epoch') END AS hour,
           -- Where a clock is set back, the same hour comes twice.
           CASE WHEN v_by_hour THEN width_bucket(l.request_time, v_from) END AS stretch,
           count(*)                                          AS requests,
           count(*) FILTER (WHERE l.status = 'completed')    AS completed,
           count(*) FILTER (WHERE l.status = 'failed')       AS failed,
           count(*) FILTER (WHERE l.status = 'pending')      AS pending,
           count(*) FILTER (WHERE l.cost_state = 'pending')  AS cost_pending,
           count(*) FILTER (WHERE l.cost_state = 'unknown')  AS cost_unknown,
           sum(l.input_tokens)     AS input_tokens,
           sum(l.output_tokens)    AS output_tokens,
           sum(l.cached_tokens)    AS cached_tokens,
           sum(l.reasoning_tokens) AS reasoning_tokens,
           sum(l.total_cost)       AS cost
      FROM public.request_logs AS l
     WHERE l.did = v_did AND l.request_time >= v_start AND l.request_time < v_end
     GROUP BY 1, 2, 3, 4, 5
     UNION ALL
    -- Nobody knows at what hour those were.
    SELECT h.model,
           CASE WHEN v_by_endpoint THEN nullif(h.endpoint, '') END,
           CASE WHEN v_by_day THEN h.day::timestamp AT TIME ZONE 'UTC' END,
           NULL, NULL,
           h.requests, h.successful, h.failed, 0, 0, h.cost_unknown,
           h.input_tokens, h.output_tokens, h.cached_tokens, h.reasoning_tokens, h.cost
      FROM public.usage_history AS h
     WHERE h.did = v_did AND NOT v_by_hour
       AND h.day::timestamp AT TIME ZONE 'UTC' + interval '12 hours' >= v_start
       AND h.day::timestamp AT TIME ZONE 'UTC' + interval '12 hours' <  v_end
  ), models AS (
    SELECT model, sum(requests) AS requests, count(*) OVER () AS how_many
      FROM cells
     GROUP BY model
     ORDER BY sum(requests) DESC, model COLLATE "C"
     LIMIT v_max_groups
  ), groups AS (
    SELECT CASE WHEN v_by_model THEN model END AS model, endpoint, day, hour, stretch,
           count(*) OVER ()   AS how_many,
           sum(requests)      AS requests,
           sum(completed)     AS completed,
           sum(failed)        AS failed,
           sum(pending)       AS pending,
           sum(cost_pending)  AS cost_pending,
           sum(cost_unknown)  AS cost_unknown,
           coalesce(sum(input_tokens), 0)     AS input_tokens,
           coalesce(sum(output_tokens), 0)    AS output_tokens,
           coalesce(sum(cached_tokens), 0)    AS cached_tokens,
           coalesce(sum(reasoning_tokens), 0) AS reasoning_tokens,
           coalesce(sum(cost), 0)             AS cost
      FROM cells
     WHERE v_group_by <> '{}'
     GROUP BY 1, 2, 3, 4, 5
     LIMIT v_max_groups
  ), listed AS (
    SELECT g.*, k.keys, k.place
      FROM groups AS g
     CROSS JOIN LATERAL (
       SELECT array_agg(key ORDER BY n) AS keys, array_agg(coalesce(rank, key) COLLATE "C" ORDER BY n) AS place
         FROM unnest(v_group_by) WITH ORDINALITY AS d (dimension, n)
        CROSS JOIN LATERAL (
          SELECT CASE dimension
                   WHEN 'model'    THEN g.model
                   WHEN 'endpoint' THEN g.endpoint
                   WHEN 'day'      THEN to_char(g.day AT TIME ZONE 'UTC', 'YYYY-MM-DD')
                   ELSE to_char(g.hour AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS')
                        || CASE WHEN v_offset[g.stretch] < '0' THEN '-' ELSE '+' END
                        || to_char(greatest(v_offset[g.stretch], -v_offset[g.stretch]), 'HH24:MI')
                 END AS key,
                 -- Hours are sorted by when they were: the text of one that came twice would not be.
                 CASE WHEN dimension = 'hour'
                      THEN to_char((g.hour - v_offset[g.stretch]) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS')
                 END AS rank) AS named
     ) AS k
     WHERE g.how_many <= v_max_groups
  -- Percentiles are exact without a sort of all rows: how often does each value occur, and then a
  -- running count. MATERIALIZED, or the count's order would have the rows sorted after all.
  ), counted_durations AS MATERIALIZED (
    SELECT l.response_time - l.request_time AS duration, count(*) AS requests
      FROM public.request_logs AS l
     WHERE v_percentiles AND l.did = v_did AND l.request_time >= v_start AND l.request_time < v_end
     GROUP BY 1
  ), durations AS (
    SELECT duration, sum(requests) OVER (ORDER BY duration) AS up_to, sum(requests) OVER () AS total
      FROM counted_durations
     WHERE duration IS NOT NULL
  ), counted_first_bytes AS MATERIALIZED (
    SELECT l.first_byte_ms, count(*) AS requests
      FROM public.request_logs AS l
     WHERE v_percentiles AND l.did = v_did AND l.request_time >= v_start AND l.request_time < v_end
     GROUP BY 1
  ), first_bytes AS (
    SELECT first_byte_ms, sum(requests) OVER (ORDER BY first_byte_ms) AS up_to, sum(requests) OVER () AS total
      FROM counted_first_bytes
     WHERE first_byte_ms IS NOT NULL
  )
  SELECT jsonb_build_object(
           'duration_ms', (
             SELECT jsonb_build_object(
                      'p50', round(extract(epoch FROM min(duration) FILTER (WHERE up_to >= 0.5 * total)) * 1000)::text,
                      'p90', round(extract(epoch FROM min(duration) FILTER (WHERE up_to >= 0.9 * total)) * 1000)::text,
                      'p99', round(extract(epoch FROM min(duration) FILTER (WHERE up_to >= 0.99 * total)) * 1000)::text)
               FROM durations),
           'first_byte_ms', (
             SELECT jsonb_build_object(
                      'p50', (min(first_byte_ms) FILTER (WHERE up_to >= 0.5 * total))::text,
                      'p90', (min(first_byte_ms) FILTER (WHERE up_to >= 0.9 * total))::text,
                      'p99', (min(first_byte_ms) FILTER (WHERE up_to >= 0.99 * total))::text)
               FROM first_bytes),
           'total_requests',         coalesce(sum(requests), 0)::text,
           'successful_requests',    coalesce(sum(completed), 0)::text,
           'failed_requests',        coalesce(sum(failed), 0)::text,
           'pending_requests',       coalesce(sum(pending), 0)::text,
           'cost_pending_requests',  coalesce(sum(cost_pending), 0)::text,
           'cost_unknown_requests',  coalesce(sum(cost_unknown), 0)::text,
           'total_input_tokens',     coalesce(sum(input_tokens), 0)::text,
           'total_output_tokens',    coalesce(sum(output_tokens), 0)::text,
           'total_cached_tokens',    coalesce(sum(cached_tokens), 0)::text,
           'total_reasoning_tokens', coalesce(sum(reasoning_tokens), 0)::text,
           'total_cost',             trim_scale(coalesce(sum(cost), 0))::text,
           'models',                 (SELECT coalesce(max(how_many), 0)::text FROM models),
           'requests_by_model',      (SELECT coalesce(jsonb_object_agg(model, m.requests::text), '{}') FROM models AS m),
           'group_count',            (SELECT coalesce(max(how_many), 0)::text FROM groups),
           'groups', (
             SELECT coalesce(jsonb_agg(jsonb_build_object(
                      'keys',                  keys,
                      'requests',              g.requests::text,
                      'successful_requests',   g.completed::text,
                      'failed_requests',       g.failed::text,
                      'pending_requests',      g.pending::text,
                      'cost_pending_requests', g.cost_pending::text,
                      'cost_unknown_requests', g.cost_unknown::text,
                      'input_tokens',          g.input_tokens::text,
                      'output_tokens',         g.output_tokens::text,
                      'cached_tokens',         g.cached_tokens::text,
                      'reasoning_tokens',      g.reasoning_tokens::text,
                      'cost',                  trim_scale(g.cost)::text) ORDER BY place), '[]')
               FROM listed AS g))
    FROM cells)
    || coalesce((
      SELECT jsonb_build_object(
        'limit',     trim_scale(k.credit_limit)::text,
        'spent',     trim_scale(k.spent)::text,
        'held',      trim_scale(k.reserved)::text,
        'remaining', CASE WHEN k.credit_limit IS NOT NULL
                          THEN trim_scale(greatest(k.credit_limit - k.spent - k.reserved, 0)) END::text)
        FROM public.user_api_keys AS k WHERE k.did = v_did), '{}');
END
$$;

-- ---------------------------------------------------------------------------------------------
-- Who may do what: see 20260102000000. Replaced functions keep their privileges.
-- ---------------------------------------------------------------------------------------------

ALTER TABLE public.usage_history ENABLE ROW LEVEL SECURITY;
REVOKE ALL ON public.usage_history FROM PUBLIC, anon, authenticated, service_role;
GRANT SELECT, INSERT, UPDATE, DELETE ON public.usage_history TO service_role;

REVOKE ALL ON FUNCTION public.expire_requests(jsonb), public.usage_report(jsonb) FROM PUBLIC, anon, authenticated, service_role;
GRANT EXECUTE ON FUNCTION public.expire_requests(jsonb), public.usage_report(jsonb) TO service_role;

NOTIFY pgrst, 'reload schema';
