-- Usage that answers questions: the index for them, and the single requests, page by page. The sums
-- (usage_report) come with retention, 20260111000000, whose sums belong to them.
--
-- usage_summary (20260102000000) stays for the running release; the release after drops it.

-- ---------------------------------------------------------------------------------------------
-- One index for everything that one DID asks about its own requests
-- ---------------------------------------------------------------------------------------------
-- It holds every column that is summed or filtered by, so that a million rows are read from it
-- alone; pages read it backwards. An index row has to fit in a third of a page, so a model of the
-- original system that would not is cut as begin_request cuts it.
--
-- On a large live table, build it beforehand, without blocking writes (CREATE INDEX CONCURRENTLY,
-- under the same name): then nothing is done here.
UPDATE public.request_logs SET model = left(model, 255) WHERE length(model) > 255;

CREATE INDEX IF NOT EXISTS idx_request_logs_usage
  ON public.request_logs (did, request_time, id)
  INCLUDE (model, endpoint, status, cost_state, total_cost, input_tokens, output_tokens, cached_tokens,
           reasoning_tokens, response_time, first_byte_ms);

-- The same key without the columns: whatever used it uses the other.
DROP INDEX public.idx_request_logs_did_request_time;

-- To read from an index alone takes a table that was vacuumed since it was written to. The default is
-- to wait until it has grown by a fifth.
ALTER TABLE public.request_logs
  SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.02);

-- ---------------------------------------------------------------------------------------------
-- usage_requests
-- ---------------------------------------------------------------------------------------------
-- One DID's requests, the newest first. Members of `request`: those of usage_summary, and
--
--   limit                 how many at most, 1 to 1000
--   before                null, or {"request_time" (RFC 3339), "id"}: what was the last one before
--   model, endpoint, status, cost_state   null, or what it has to be
--   min_cost              null, or what total_cost has to be at least; decimal text
--
-- Returns {"requests": [...], "more": whether there are more}. A page may be shorter than `limit`
-- while there are more: it ends before two megabytes. Money is text, times are RFC 3339 in UTC.
--
-- A place in the order of (request_time, id) never changes, so pages that follow each other's last
-- row name no request twice, and each that was there when the first page was read. PT401
-- replayed_request.
CREATE FUNCTION public.usage_requests(request jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = ''
SET plan_cache_mode = force_custom_plan SET jit = off SET random_page_cost = 1.1 AS $$
DECLARE
  c_rfc3339    CONSTANT text := 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"';
  v_in         jsonb       := CASE jsonb_typeof(request) WHEN 'string' THEN (request #>> '{}')::jsonb ELSE request END;
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
  v_min_cost   numeric     := (v_in ->> 'min_cost')::numeric;
BEGIN
  IF v_did IS NULL OR v_limit IS NULL OR v_limit NOT BETWEEN 1 AND 1000 THEN
    RAISE EXCEPTION 'usage_requests: a member is missing or out of range'
      USING ERRCODE = 'PT400', DETAIL = 'invalid_argument';
  END IF;
  IF v_in ->> 'fingerprint' IS NOT NULL AND public.use_fingerprint(v_in) = 'replayed' THEN
    RAISE EXCEPTION 'this signed request has been used before'
      USING ERRCODE = 'PT401', DETAIL = 'replayed_request';
  END IF;

  -- The index is entered at the one bound that is nearest; of two, PostgreSQL may pick the other.
  v_end := least(v_end, v_before + interval '1 microsecond');

  RETURN (
    WITH page AS MATERIALIZED (
      -- From the index alone, so that rows which a filter drops cost little.
      SELECT l.request_time, l.id
        FROM public.request_logs AS l
       WHERE l.did = v_did
         AND l.request_time >= v_start AND l.request_time < v_end
         AND (l.request_time, l.id) < (v_before, v_before_id)
         AND (v_model      IS NULL OR l.model      = v_model)
         AND (v_endpoint   IS NULL OR l.endpoint   = v_endpoint)
         AND (v_status     IS NULL OR l.status     = v_status)
         AND (v_cost_state IS NULL OR l.cost_state = v_cost_state)
         AND (v_min_cost   IS NULL OR l.total_cost >= v_min_cost)
       ORDER BY l.request_time DESC, l.id DESC
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
               'status', l.status,
               'http_status', l.http_status,
               'error_reason', l.error_reason,
               'error_message', l.error_message,
               'input_tokens', l.input_tokens,
               'output_tokens', l.output_tokens,
               'cached_tokens', l.cached_tokens,
               'reasoning_tokens', l.reasoning_tokens,
               'cost_state', l.cost_state,
               'unknown_cost_reason', l.unknown_cost_reason,
               'total_cost', trim_scale(l.total_cost)::text,
               'openrouter_cost', trim_scale(l.openrouter_cost)::text,
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

-- ---------------------------------------------------------------------------------------------
-- Who may do what: see 20260102000000.
-- ---------------------------------------------------------------------------------------------

REVOKE ALL ON FUNCTION public.usage_requests(jsonb)
  FROM PUBLIC, anon, authenticated, service_role;
GRANT EXECUTE ON FUNCTION public.usage_requests(jsonb) TO service_role;

NOTIFY pgrst, 'reload schema';
