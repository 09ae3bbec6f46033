-- Usage of one DID: sums (usage_report) and single requests, page by page (usage_requests).

-- Totals of one DID over [start, end) of request_time. Fields of `request`: id, did, request_time,
-- fingerprint (null: may be asked again) and fingerprint_expires_at as in begin_request; start and
-- end, RFC 3339 with an offset, null leaves that side open. All numbers are text. Pending requests
-- count as requests; they have no tokens and no cost yet. PT401 replayed_request.
CREATE OR REPLACE FUNCTION public.usage_summary(request jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_report jsonb := public.usage_report(public.decoded(request) || '{"group_by": [], "max_groups": 1000000}');
BEGIN
  RETURN jsonb_build_object(
    'total_requests',      v_report -> 'total_requests',
    'successful_requests', v_report -> 'successful_requests',
    'failed_requests',     v_report -> 'failed_requests',
    'total_input_tokens',  v_report -> 'total_input_tokens',
    'total_output_tokens', v_report -> 'total_output_tokens',
    'total_cost',          v_report -> 'total_cost',
    'requests_by_model',   v_report -> 'requests_by_model');
END
$$;

-- One DID's requests, the newest first. Fields of `request`: those of usage_summary, and
--
--   limit                 maximum number of requests, 1 to 1000
--   before                null, or {"request_time" (RFC 3339), "id"} of the last request of the page before
--   model, endpoint, status, cost_state, token_id, app, tag   null or absent, or the value to match
--   min_cost              null, or the least total_cost; decimal text
--
-- Returns {"requests": [...], "more": whether there are more}. A page may be shorter than `limit`
-- while there are more: it ends before two megabytes. Money is text, times are RFC 3339 in UTC.
--
-- A place in the order of (request_time, id) never changes, so pages that follow each other's last
-- row name no request twice, and every request that was there when the first page was read. PT401
-- replayed_request.
CREATE OR REPLACE FUNCTION public.usage_requests(request jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = ''
-- PostgREST sets this before it calls the function. Longer, and nobody waits for the answer any more; by
-- default Supabase's roles have 8 s, less than the gateway promises.
SET statement_timeout = '10s'
SET plan_cache_mode = force_custom_plan SET jit = off SET random_page_cost = 1.1 AS $$
DECLARE
  c_rfc3339    CONSTANT text := 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"';
  v_in         jsonb       := public.decoded(request);
  v_did        text        := v_in ->> 'did';
  v_start      timestamptz := coalesce((v_in ->> 'start')::timestamptz, '-infinity');
  v_end        timestamptz := coalesce((v_in ->> 'end')::timestamptz, 'infinity');
  v_before     timestamptz := coalesce((v_in #>> '{before,request_time}')::timestamptz, 'infinity');
  v_before_id  uuid        := coalesce((v_in #>> '{before,id}')::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff');
  v_limit      integer     := (v_in ->> 'limit')::integer;
  v_model      text        := v_in ->> 'model';
  v_endpoint   text        := v_in ->> 'endpoint';
  v_status     text        := v_in ->> 'status';
  v_cost_state text        := v_in ->> 'cost_state';
  v_token      uuid        := (v_in ->> 'token_id')::uuid;
  v_app        text        := v_in ->> 'app';
  v_tag        text        := v_in ->> 'tag';
  v_min_cost   numeric     := (v_in ->> 'min_cost')::numeric;
  v_filtered   boolean     := coalesce(v_model, v_endpoint, v_status, v_cost_state, v_token::text, v_app, v_tag,
                                       v_min_cost::text) IS NOT NULL;
BEGIN
  IF v_did IS NULL OR v_limit IS NULL OR v_limit NOT BETWEEN 1 AND 1000 THEN
    RAISE EXCEPTION 'usage_requests: a member is missing or out of range'
      USING ERRCODE = 'PT400', DETAIL = 'invalid_argument';
  END IF;
  PERFORM public.pass_once(v_in);

  -- The index is entered at the one bound that is nearest; of two, PostgreSQL may pick the other.
  v_end := least(v_end, v_before + interval '1 microsecond');

  RETURN (
    WITH spans AS (
      -- Without a filter one span of time. With one, the hours that have a request that passes it: the rollup
      -- knows, so that a filter that nothing passes costs little.
      SELECT v_start AS first, v_end AS until WHERE NOT v_filtered
       UNION
      SELECT h.hour, h.hour + interval '1 hour'
        FROM public.usage_hours AS h
       WHERE v_filtered
         AND h.series_id = ANY (ARRAY(
               SELECT s.id FROM public.usage_series AS s
                WHERE s.did = v_did
                  AND (v_model      IS NULL OR s.model      = v_model)
                  AND (v_endpoint   IS NULL OR s.endpoint   = v_endpoint)
                  AND (v_status     IS NULL OR s.status     = v_status)
                  AND (v_cost_state IS NULL OR s.cost_state = v_cost_state)
                  AND (v_token      IS NULL OR s.token_id   = v_token)
                  -- What is in '(other)' may have any.
                  AND (v_app        IS NULL OR s.app IN (v_app, '(other)'))
                  AND (v_tag        IS NULL OR s.tag IN (v_tag, '(other)'))))
         AND (v_min_cost IS NULL OR h.highest_cost >= v_min_cost)
         AND h.hour > v_start - interval '1 hour' AND h.hour < v_end
       UNION
      SELECT date_trunc('hour', l.request_time, 'UTC'), date_trunc('hour', l.request_time, 'UTC') + interval '1 hour'
        FROM public.open_requests AS o JOIN public.request_logs AS l ON l.id = o.request_id
       WHERE v_filtered AND o.did = v_did AND NOT o.abandoned AND l.status = 'pending'
         AND l.request_time >= v_start AND l.request_time < v_end
    ), page AS MATERIALIZED (
      SELECT l.request_time, l.id
        -- In the order of the page, so that the hours behind it are never looked at.
        FROM (SELECT * FROM spans ORDER BY spans.first DESC) AS s
       CROSS JOIN LATERAL (
         SELECT r.request_time, r.id
           FROM public.request_logs AS r
          WHERE r.did = v_did
            AND r.request_time >= greatest(v_start, s.first) AND r.request_time < least(v_end, s.until)
            AND (r.request_time, r.id) < (v_before, v_before_id)
            AND (v_model      IS NULL OR r.model      = v_model)
            AND (v_endpoint   IS NULL OR r.endpoint   = v_endpoint)
            AND (v_status     IS NULL OR r.status     = v_status)
            AND (v_cost_state IS NULL OR r.cost_state = v_cost_state)
            AND (v_token      IS NULL OR r.token_id   = v_token)
            AND (v_app        IS NULL OR r.app        = v_app)
            AND (v_tag        IS NULL OR r.tag        = v_tag)
            AND (v_min_cost   IS NULL OR r.total_cost >= v_min_cost)
          ORDER BY r.request_time DESC, r.id DESC
          LIMIT v_limit + 1) AS l
       ORDER BY s.first DESC, l.request_time DESC, l.id DESC
       LIMIT v_limit + 1
    ), listed AS (
      SELECT row_number() OVER (ORDER BY p.request_time DESC, p.id DESC) AS place,
             jsonb_build_object(
               'id', l.id,
               'request_time', to_char(l.request_time AT TIME ZONE 'UTC', c_rfc3339),
               'response_time', to_char(l.response_time AT TIME ZONE 'UTC', c_rfc3339),
               'duration_ms', round(extract(epoch FROM l.response_time - l.request_time) * 1000)::text,
               'first_byte_ms', l.first_byte_ms,
               'method', l.method,
               'path', l.path,
               'endpoint', l.endpoint,
               'requested_model', l.requested_model,
               'model', l.model,
               'generation_id', l.generation_id,
               'streamed', l.streamed,
               'token_id', l.token_id,
               'app', l.app,
               'tag', l.tag,
               'status', l.status,
               'http_status', l.http_status,
               'error_reason', l.error_reason,
               'error_message', l.error_message,
               'input_tokens', l.input_tokens,
               'output_tokens', l.output_tokens,
               'cached_tokens', l.cached_tokens,
               'cache_write_tokens', l.cache_write_tokens,
               'reasoning_tokens', l.reasoning_tokens,
               'service_tier', l.service_tier,
               'cost_state', l.cost_state,
               'unknown_cost_reason', l.unknown_cost_reason,
               'known_cost', trim_scale(l.known_cost)::text,
               'total_cost', trim_scale(l.total_cost)::text,
               'openrouter_cost', trim_scale(l.openrouter_cost)::text,
               'server_tool_cost', trim_scale(l.server_tool_cost)::text,
               'upstream_inference_cost', trim_scale(l.upstream_inference_cost)::text,
               'is_byok', l.is_byok) AS entry
        FROM page AS p
        JOIN public.request_logs AS l ON l.id = p.id
    ), measured AS (
      SELECT place, entry,
             place <= v_limit
               AND (place = 1 OR sum(octet_length(entry::text)) OVER (ORDER BY place) <= 2000000) AS fits
        FROM listed
    )
    SELECT jsonb_build_object(
      'requests', coalesce(jsonb_agg(entry ORDER BY place) FILTER (WHERE fits), '[]'),
      'more',     coalesce(NOT bool_and(fits), false))
      FROM measured);
END
$$;

-- The first and the last hour of some series. Its own settings: usage_report does without index scans.
CREATE OR REPLACE FUNCTION public.usage_span(p_series bigint[], OUT earliest timestamptz, OUT latest timestamptz)
LANGUAGE sql STABLE SECURITY INVOKER SET search_path = '' SET enable_indexscan = on AS $$
  SELECT min(f.hour), max(l.hour)
    FROM unnest(p_series) AS s (id)
   CROSS JOIN LATERAL (
     SELECT h.hour FROM public.usage_hours AS h WHERE h.series_id = s.id ORDER BY h.hour LIMIT 1) AS f
   CROSS JOIN LATERAL (
     SELECT h.hour FROM public.usage_hours AS h WHERE h.series_id = s.id ORDER BY h.hour DESC LIMIT 1) AS l
$$;

-- Sums of one DID over [start, end) of request_time. Fields of `request`: id, did, request_time,
-- fingerprint, fingerprint_expires_at, start and end as in usage_summary, and
--
--   token_id, app, tag   null or absent, or the value to match
--   group_by     array of 'model', 'endpoint', 'token', 'app', 'tag', 'day', 'hour', in the order in which to sort
--   offsets      array of {"from", "seconds"}, in the order of time: the local clock's offset from
--                UTC from that moment on (RFC 3339; null: from the beginning); needed for days and hours.
--                The caller's own time zone data, so that the database's is never mixed in.
--   max_groups   maximum number of groups and of models to return
--   percentiles  whether to compute them: they cost more than all the rest. Absent: false
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
--   models              number of models
--   groups              array of {"keys", sums}, `keys` in the order of group_by: a model, an endpoint, an app, a
--                       tag (null: not recorded), a token's id (null: signed), a day (2026-01-31), the start of an hour with its offset
--                       (2026-01-31T13:00:00+01:00). All groups, or none where there are too many
--   group_count         number of groups
--   token_names         {id: name} of the tokens, where they are grouped by
--
-- Pending requests count as requests; they have no tokens and no cost yet. PT401 replayed_request.
--
-- All of it is added up from the rollup, hour by hour: a sum counts for the time in which the middle of its
-- hour lies. Only where an hour is split, between groups or by `start` or `end`, are requests themselves looked
-- at: those of the parts that do not have the middle move to where they belong. Requests that have expired stay
-- where the middle lies, so of adjacent periods exactly one has them.
-- Percentiles are those of the requests that are kept.
CREATE OR REPLACE FUNCTION public.usage_report(request jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = ''
-- A plan for unknown values would not fold the CASEs away; compiling takes longer than the query; and
-- PostgreSQL's default price of a random page is that of a turning disk. Sums of many series are read page by
-- page, not series by series, which would return to each page for each of them: three times as fast. A year by
-- day and model has some ten thousand sums at a time, which the default work_mem would write to disk.
SET plan_cache_mode = force_custom_plan SET jit = off SET random_page_cost = 1.1 SET enable_indexscan = off
SET work_mem = '64MB'
-- As for usage_requests.
SET statement_timeout = '10s' AS $$
DECLARE
  c_middle      CONSTANT interval := '30 minutes';
  v_in          jsonb       := public.decoded(request);
  v_did         text        := v_in ->> 'did';
  v_start       timestamptz := coalesce((v_in ->> 'start')::timestamptz, '-infinity');
  v_end         timestamptz := coalesce((v_in ->> 'end')::timestamptz, 'infinity');
  v_group_by    text[]      := ARRAY(SELECT jsonb_array_elements_text(v_in -> 'group_by'));
  v_max_groups  integer     := (v_in ->> 'max_groups')::integer;
  v_by_model    boolean     := 'model'    = ANY (v_group_by);
  v_by_endpoint boolean     := 'endpoint' = ANY (v_group_by);
  v_by_token    boolean     := 'token'    = ANY (v_group_by);
  v_by_app      boolean     := 'app'      = ANY (v_group_by);
  v_by_tag      boolean     := 'tag'      = ANY (v_group_by);
  v_token       uuid        := (v_in ->> 'token_id')::uuid;
  v_app         text        := v_in ->> 'app';
  v_tag         text        := v_in ->> 'tag';
  v_by_day      boolean     := 'day'      = ANY (v_group_by);
  v_by_hour     boolean     := 'hour'     = ANY (v_group_by);
  -- Whether the DID had more series than are kept, so that some apps and tags are '(other)'.
  v_crowded     boolean     := EXISTS (
    SELECT FROM public.usage_series AS s WHERE s.did = v_did AND '(other)' IN (s.app, s.tag));
  v_percentiles boolean     := coalesce((v_in ->> 'percentiles')::boolean, false);
  -- Element n of both is the n-th stretch of time with one offset.
  v_from        timestamptz[];
  v_offset      interval[];
  -- The offset, where there is but one: far cheaper than to look for it.
  v_only        interval;
  v_first       timestamptz := v_start - c_middle;
  v_last        timestamptz := v_end - c_middle;
  v_finest      interval    := CASE WHEN v_by_hour THEN interval '1 hour' ELSE interval '1 day' END;
  v_series      bigint[];
  -- First and last hour (UTC) of what is asked for.
  v_earliest    timestamptz;
  v_latest      timestamptz;
  -- Moments within an hour at which what is asked for begins or ends, or a group does.
  v_cuts        timestamptz[];
  v_too_many    bigint;
BEGIN
  SELECT array_agg(coalesce((o ->> 'from')::timestamptz, '-infinity') ORDER BY n),
         array_agg((o ->> 'seconds')::integer * interval '1 second' ORDER BY n)
    INTO v_from, v_offset
    FROM jsonb_array_elements(v_in -> 'offsets') WITH ORDINALITY AS listed (o, n);
  v_only := CASE WHEN cardinality(v_offset) = 1 THEN v_offset[1] END;

  IF v_did IS NULL OR v_max_groups IS NULL
     OR NOT v_group_by <@ ARRAY['model', 'endpoint', 'token', 'app', 'tag', 'day', 'hour']
     OR ((v_by_day OR v_by_hour) AND v_from[1] IS DISTINCT FROM '-infinity')
  THEN
    RAISE EXCEPTION 'usage_report: a member is missing or out of range'
      USING ERRCODE = 'PT400', DETAIL = 'invalid_argument';
  END IF;
  PERFORM public.pass_once(v_in);

  v_series := ARRAY(
    SELECT s.id FROM public.usage_series AS s
     WHERE s.did = v_did AND (v_token IS NULL OR s.token_id = v_token) AND (v_app IS NULL OR s.app = v_app)
       AND (v_tag IS NULL OR s.tag = v_tag));
  v_cuts   := ARRAY(
    SELECT u.bound FROM unnest(ARRAY[v_start, v_end]) AS u (bound)
     WHERE isfinite(u.bound) AND date_bin('1 hour', u.bound, 'epoch') <> u.bound);
  IF v_by_day OR v_by_hour THEN
    SELECT s.earliest, s.latest INTO v_earliest, v_latest FROM public.usage_span(v_series) AS s;
    -- Null where there is no series: greatest and least would ignore that, and the hours be without end.
    v_earliest := CASE WHEN v_earliest IS NOT NULL THEN greatest(v_earliest, date_trunc('hour', v_start, 'UTC')) END;
    v_latest   := CASE WHEN v_latest IS NOT NULL THEN least(v_latest, date_trunc('hour', v_end, 'UTC')) END;
  END IF;
  -- There are too many groups even if each local hour has two hours of UTC.
  IF v_by_hour AND v_latest - v_earliest > 2 * v_max_groups * interval '1 hour' THEN
    SELECT nullif(greatest(count(DISTINCT h.hour), 2 * v_max_groups), 2 * v_max_groups) INTO v_too_many
      FROM public.usage_hours AS h
     WHERE h.series_id = ANY (v_series) AND h.hour >= v_earliest AND h.hour <= v_latest;
  END IF;
  IF v_too_many IS NOT NULL THEN
    v_group_by := '{}';
    v_by_model := false; v_by_endpoint := false; v_by_day := false; v_by_hour := false;
    v_by_token := false; v_by_app := false; v_by_tag := false;
  ELSIF v_earliest IS NOT NULL THEN
    -- Where the clock does not differ from UTC by whole hours, groups end within an hour, and where the offset changes.
    v_cuts := v_cuts || ARRAY(
      SELECT c.cut
        FROM (SELECT greatest(o.since, v_earliest) AS since, o.seconds,
                     least(lead(o.since) OVER (ORDER BY o.since), v_latest + interval '1 hour') AS until
                FROM unnest(v_from, v_offset) AS o (since, seconds)) AS s
       CROSS JOIN LATERAL (
         SELECT s.since
          UNION
         SELECT generate_series(date_bin(v_finest, s.since + s.seconds, 'epoch') + v_finest - s.seconds, s.until, v_finest)
       ) AS c (cut)
       WHERE c.cut < s.until AND date_bin('1 hour', c.cut, 'epoch') <> c.cut);
  END IF;

  RETURN (
  WITH parts AS (
    -- Hours that are cut, in parts.
    SELECT b.hour, b.first, coalesce(lead(b.first) OVER (PARTITION BY b.hour ORDER BY b.first),
                                     b.hour + interval '1 hour') AS until
      FROM (SELECT date_bin('1 hour', c.cut, 'epoch') AS hour, c.cut AS first FROM unnest(v_cuts) AS c (cut)
             UNION
            SELECT date_bin('1 hour', c.cut, 'epoch'), date_bin('1 hour', c.cut, 'epoch')
              FROM unnest(v_cuts) AS c (cut)) AS b
  ), moved AS MATERIALIZED (
    -- What moves from group to group inside [start, end) leaves the totals by model as they are. Its model and
    -- endpoint then only matter as keys, and few rows are left.
    SELECT CASE WHEN v_by_model OR least(p.first, p.hour + c_middle) < v_start
                  OR greatest(p.first, p.hour + c_middle) >= v_end THEN l.model END AS model,
           CASE WHEN v_by_endpoint THEN l.endpoint END AS endpoint,
           l.status, l.cost_state, p.first, p.hour + c_middle AS middle,
           CASE WHEN v_by_token THEN l.token_id END AS token_id,
           CASE WHEN NOT v_by_app THEN NULL WHEN v_crowded THEN nullif(l.labels[1], '') ELSE l.app END AS app,
           CASE WHEN NOT v_by_tag THEN NULL WHEN v_crowded THEN nullif(l.labels[2], '') ELSE l.tag END AS tag,
           count(*) AS requests,
           sum(l.input_tokens) AS input_tokens, sum(l.output_tokens) AS output_tokens,
           sum(l.cached_tokens) AS cached_tokens, sum(l.cache_write_tokens) AS cache_write_tokens,
           sum(l.reasoning_tokens) AS reasoning_tokens,
           sum(l.total_cost) FILTER (WHERE l.total_cost > 0 AND l.total_cost < 'Infinity') AS cost
      FROM parts AS p
     CROSS JOIN LATERAL (
       -- Under the labels by which the rollup has it, as roll_up_request finds them.
       SELECT r.*, CASE WHEN v_crowded THEN (
                SELECT ARRAY[s.app, s.tag]
                  FROM public.usage_series AS s
                 WHERE s.did = r.did AND s.model = r.model AND s.endpoint = coalesce(r.endpoint, '')
                   AND s.status = r.status AND s.cost_state = r.cost_state
                   AND s.token_id = coalesce(r.token_id, '00000000-0000-0000-0000-000000000000')
                   AND (s.app, s.tag) IN (
                     (coalesce(r.app, ''), coalesce(r.tag, '')),
                     (public.other_label(coalesce(r.app, '')), public.other_label(coalesce(r.tag, ''))))
                 ORDER BY (s.app, s.tag) = (coalesce(r.app, ''), coalesce(r.tag, '')) DESC
                 LIMIT 1) END AS labels
         FROM public.request_logs AS r
        WHERE r.did = v_did AND r.request_time >= p.first AND r.request_time < p.until AND r.status <> 'pending'
          AND (v_token IS NULL OR r.token_id = v_token)
          AND (v_crowded OR v_app IS NULL OR r.app = v_app) AND (v_crowded OR v_tag IS NULL OR r.tag = v_tag)
       OFFSET 0) AS l  -- part by part, from the index
     WHERE NOT (p.hour + c_middle >= p.first AND p.hour + c_middle < p.until)
       AND (NOT v_crowded OR v_app IS NULL OR l.labels[1] = v_app) AND (NOT v_crowded OR v_tag IS NULL OR l.labels[2] = v_tag)
     GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9
  ), single AS (
    SELECT l.model, l.endpoint, l.status, l.cost_state, l.token_id, l.app, l.tag, m.at, m.sign * l.requests AS requests,
           m.sign * l.input_tokens AS input_tokens, m.sign * l.output_tokens AS output_tokens,
           m.sign * l.cached_tokens AS cached_tokens, m.sign * l.cache_write_tokens AS cache_write_tokens,
           m.sign * l.reasoning_tokens AS reasoning_tokens, m.sign * l.cost AS cost
      FROM moved AS l
     CROSS JOIN LATERAL (VALUES (l.first, 1), (l.middle, -1)) AS m (at, sign)
     WHERE m.at >= v_start AND m.at < v_end
     UNION ALL
    -- The rollup does not have what is not finished.
    SELECT l.model, l.endpoint, l.status, l.cost_state, l.token_id, l.app, l.tag, l.request_time, 1,
           l.input_tokens, l.output_tokens, l.cached_tokens, l.cache_write_tokens, l.reasoning_tokens, NULL
      FROM public.open_requests AS o JOIN public.request_logs AS l ON l.id = o.request_id
     WHERE o.did = v_did AND NOT o.abandoned AND l.status = 'pending' AND l.request_time >= v_start AND l.request_time < v_end
       AND (v_token IS NULL OR l.token_id = v_token) AND (v_app IS NULL OR l.app = v_app)
       AND (v_tag IS NULL OR l.tag = v_tag)
  ), sums AS MATERIALIZED (
    -- By series first: there are far fewer of them than of hours. The model stands twice, as a key of groups only
    -- where they have it.
    SELECT s.model, CASE WHEN v_by_model THEN s.model END AS model_key,
           CASE WHEN v_by_endpoint THEN nullif(s.endpoint, '') END AS endpoint,
           CASE WHEN v_by_token THEN nullif(s.token_id, '00000000-0000-0000-0000-000000000000') END AS token_id,
           CASE WHEN v_by_app THEN nullif(s.app, '') END AS app,
           CASE WHEN v_by_tag THEN nullif(s.tag, '') END AS tag, s.status, s.cost_state, h.day, h.hour, h.stretch, h.requests,
           h.input_tokens, h.output_tokens, h.cached_tokens, h.cache_write_tokens, h.reasoning_tokens, h.cost
      FROM (SELECT h.series_id,
                   -- Local time, in the shape of UTC.
                   CASE WHEN v_by_day
                        THEN date_bin('1 day', h.hour + c_middle + coalesce(v_only, v_offset[width_bucket(h.hour + c_middle, v_from)]), 'epoch') END AS day,
                   CASE WHEN v_by_hour
                        THEN date_bin('1 hour', h.hour + c_middle + coalesce(v_only, v_offset[width_bucket(h.hour + c_middle, v_from)]), 'epoch') END AS hour,
                   -- Where a clock is set back, the same hour comes twice.
                   CASE WHEN v_by_hour THEN width_bucket(h.hour + c_middle, v_from) END AS stretch,
                   sum(h.requests) AS requests, sum(h.input_tokens) AS input_tokens,
                   sum(h.output_tokens) AS output_tokens, sum(h.cached_tokens) AS cached_tokens,
                   sum(h.cache_write_tokens) AS cache_write_tokens, sum(h.reasoning_tokens) AS reasoning_tokens, sum(h.cost) AS cost
              FROM public.usage_hours AS h
             WHERE h.series_id = ANY (v_series) AND h.hour >= v_first AND h.hour < v_last
             GROUP BY 1, 2, 3, 4) AS h
      JOIN public.usage_series AS s ON s.id = h.series_id
     UNION ALL
    SELECT l.model, CASE WHEN v_by_model THEN l.model END, CASE WHEN v_by_endpoint THEN l.endpoint END,
           CASE WHEN v_by_token THEN l.token_id END, CASE WHEN v_by_app THEN l.app END,
           CASE WHEN v_by_tag THEN l.tag END, l.status, l.cost_state,
           CASE WHEN v_by_day THEN date_bin('1 day', l.at + coalesce(v_only, v_offset[width_bucket(l.at, v_from)]), 'epoch') END,
           CASE WHEN v_by_hour THEN date_bin('1 hour', l.at + coalesce(v_only, v_offset[width_bucket(l.at, v_from)]), 'epoch') END,
           CASE WHEN v_by_hour THEN width_bucket(l.at, v_from) END,
           l.requests, l.input_tokens, l.output_tokens, l.cached_tokens, l.cache_write_tokens, l.reasoning_tokens,
           l.cost
      FROM single AS l
  ), added AS MATERIALIZED (
    SELECT grouping(p.model) = 1 AS is_group, coalesce(p.model, p.model_key) AS model, p.endpoint,
           p.token_id, p.app, p.tag, p.day, p.hour, p.stretch, sum(p.requests) AS requests,
           coalesce(sum(p.requests) FILTER (WHERE p.status = 'completed'), 0)   AS completed,
           coalesce(sum(p.requests) FILTER (WHERE p.status = 'failed'), 0)      AS failed,
           coalesce(sum(p.requests) FILTER (WHERE p.status = 'pending'), 0)     AS pending,
           coalesce(sum(p.requests) FILTER (WHERE p.cost_state = 'pending'), 0) AS cost_pending,
           coalesce(sum(p.requests) FILTER (WHERE p.cost_state = 'unknown'), 0) AS cost_unknown,
           coalesce(sum(p.input_tokens), 0)       AS input_tokens,
           coalesce(sum(p.output_tokens), 0)      AS output_tokens,
           coalesce(sum(p.cached_tokens), 0)      AS cached_tokens,
           coalesce(sum(p.cache_write_tokens), 0) AS cache_write_tokens,
           coalesce(sum(p.reasoning_tokens), 0)   AS reasoning_tokens,
           coalesce(sum(p.cost), 0)               AS cost
      FROM sums AS p
     GROUP BY GROUPING SETS (
       (p.model), (p.model_key, p.endpoint, p.token_id, p.app, p.tag, p.day, p.hour, p.stretch))
    HAVING sum(p.requests) <> 0
  ), models AS (
    SELECT model, requests, count(*) OVER () AS how_many
      FROM added
     WHERE NOT is_group
     ORDER BY requests DESC, model COLLATE "C"
     LIMIT v_max_groups
  ), groups AS (
    SELECT a.*, count(*) OVER () AS how_many FROM added AS a WHERE a.is_group AND v_group_by <> '{}' LIMIT v_max_groups
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
                   WHEN 'token'    THEN g.token_id::text
                   WHEN 'app'      THEN g.app
                   WHEN 'tag'      THEN g.tag
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
       AND (v_token IS NULL OR l.token_id = v_token) AND (v_app IS NULL OR l.app = v_app)
       AND (v_tag IS NULL OR l.tag = v_tag)
     GROUP BY 1
  ), durations AS (
    SELECT duration, sum(requests) OVER (ORDER BY duration) AS up_to, sum(requests) OVER () AS total
      FROM counted_durations
     WHERE duration IS NOT NULL
  ), counted_first_bytes AS MATERIALIZED (
    SELECT l.first_byte_ms, count(*) AS requests
      FROM public.request_logs AS l
     WHERE v_percentiles AND l.did = v_did AND l.request_time >= v_start AND l.request_time < v_end
       AND (v_token IS NULL OR l.token_id = v_token) AND (v_app IS NULL OR l.app = v_app)
       AND (v_tag IS NULL OR l.tag = v_tag)
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
           'total_cache_write_tokens', coalesce(sum(cache_write_tokens), 0)::text,
           'total_reasoning_tokens', coalesce(sum(reasoning_tokens), 0)::text,
           'total_cost',             trim_scale(coalesce(sum(cost), 0))::text,
           'models',                 (SELECT coalesce(max(how_many), 0)::text FROM models),
           'requests_by_model',      (SELECT coalesce(jsonb_object_agg(model, m.requests::text), '{}') FROM models AS m),
           'token_names', (
             SELECT coalesce(jsonb_object_agg(t.id, t.name), '{}') FROM public.access_tokens AS t
              WHERE v_by_token AND t.did = v_did AND t.id IN (SELECT a.token_id FROM added AS a)),
           'group_count',            coalesce(v_too_many, (SELECT coalesce(max(how_many), 0) FROM groups))::text,
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
                      'cache_write_tokens',    g.cache_write_tokens::text,
                      'reasoning_tokens',      g.reasoning_tokens::text,
                      'cost',                  trim_scale(g.cost)::text) ORDER BY place), '[]')
               FROM listed AS g))
    FROM added
   WHERE NOT is_group)
    || coalesce((
      SELECT jsonb_build_object(
        'limit',     trim_scale(a.credit_limit)::text,
        'spent',     trim_scale(a.spent)::text,
        'held',      trim_scale(a.held)::text,
        'remaining', CASE WHEN a.credit_limit IS NOT NULL
                          THEN trim_scale(greatest(a.credit_limit - a.spent - a.held, 0)) END::text)
        FROM public.accounts AS a
       WHERE a.did = v_did AND EXISTS (SELECT FROM public.user_api_keys AS k WHERE k.did = v_did)), '{}');
END
$$;

REVOKE ALL ON FUNCTION public.usage_summary(jsonb), public.usage_requests(jsonb),
    public.usage_span(bigint[]), public.usage_report(jsonb)
  FROM PUBLIC, anon, authenticated, service_role;
GRANT EXECUTE ON FUNCTION public.usage_summary(jsonb), public.usage_requests(jsonb),
    public.usage_span(bigint[]), public.usage_report(jsonb)
  TO service_role;
