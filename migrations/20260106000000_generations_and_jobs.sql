-- What a request costs survives the function that made it, and jobs that outlive their request.
--
--   * The generation's id is stored while the answer still streams (note_generation), so that a row
--     whose function was killed can be priced.
--   * POST /videos and POST /batches answer with a job whose cost is known hours later. The row that
--     created the job carries it (job_id); it is settled by whoever first learns the cost: the user's
--     own poll (settle_job) or reconciliation (settle_request).
--   * A late finish_request, from the log's emergency record, takes a row back from 'abandoned'.

ALTER TABLE public.request_logs ADD COLUMN job_id text;
COMMENT ON COLUMN public.request_logs.job_id IS
  'The asynchronous job that the request created; its cost is this row''s.';

-- How settle_job finds the row of a job, and finish_request an earlier one.
CREATE INDEX idx_request_logs_job ON public.request_logs (did, job_id) WHERE job_id IS NOT NULL;

-- ---------------------------------------------------------------------------------------------
-- note_generation
-- ---------------------------------------------------------------------------------------------
-- Names the generation of a request that is still running. Members of `request`: id, generation_id.
--
-- Returns {"noted": true}, or false and changes nothing where the row is not pending, names one
-- already, or does not exist. So it may come before finish_request, after it, or twice.
--
-- It locks nothing but the row, in one statement, so it cannot deadlock with those who lock the key
-- row first, and requests of the same DID do not wait for it.
CREATE FUNCTION public.note_generation(request jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_in         jsonb := CASE jsonb_typeof(request) WHEN 'string' THEN (request #>> '{}')::jsonb ELSE request END;
  v_id         uuid  := (v_in ->> 'id')::uuid;
  v_generation text  := nullif(left(v_in ->> 'generation_id', 255), '');
BEGIN
  IF v_id IS NULL OR v_generation IS NULL THEN
    RAISE EXCEPTION 'note_generation: a member is missing'
      USING ERRCODE = 'PT400', DETAIL = 'invalid_argument';
  END IF;
  UPDATE public.request_logs SET generation_id = v_generation
   WHERE id = v_id AND status = 'pending' AND generation_id IS NULL;
  RETURN jsonb_build_object('noted', FOUND);
END
$$;

-- ---------------------------------------------------------------------------------------------
-- finish_request
-- ---------------------------------------------------------------------------------------------
-- As before (20260103000000), and:
--
--   generation_id   null or absent keeps what note_generation stored
--   job_id          null or absent: the request created no job. Where an earlier request of the DID
--                   created the same job, that one carries its cost and this one none.
--
-- It also closes, once, a row that reconciliation has given up as 'abandoned': the function lived
-- longer than thought, or its record came from the log. What was released then stays released.
CREATE OR REPLACE FUNCTION public.finish_request(outcome jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_in         jsonb   := CASE jsonb_typeof(outcome) WHEN 'string' THEN (outcome #>> '{}')::jsonb ELSE outcome END;
  v_id         uuid    := (v_in ->> 'id')::uuid;
  v_status     text    := v_in ->> 'status';
  v_cost_state text    := v_in ->> 'cost_state';
  v_job        text    := nullif(left(v_in ->> 'job_id', 255), '');
  v_openrouter numeric := (v_in ->> 'openrouter_cost')::numeric;
  v_upstream   numeric := (v_in ->> 'upstream_inference_cost')::numeric;
  v_is_byok    boolean := (v_in ->> 'is_byok')::boolean;
  v_total      numeric;
  v_did        text;
  v_row        public.request_logs%ROWTYPE;
  v_released   numeric;
BEGIN
  IF v_id IS NULL
     OR v_status IS NULL OR v_status NOT IN ('completed', 'failed')
     OR v_cost_state IS NULL OR v_cost_state NOT IN ('none', 'pending', 'final')
     OR NOT (coalesce(v_openrouter, 0) >= 0 AND coalesce(v_openrouter, 0) < 'Infinity')
     OR NOT (coalesce(v_upstream, 0) >= 0 AND coalesce(v_upstream, 0) < 'Infinity')
  THEN
    RAISE EXCEPTION 'finish_request: a member is missing or out of range'
      USING ERRCODE = 'PT400', DETAIL = 'invalid_argument';
  END IF;

  SELECT did INTO v_did FROM public.request_logs WHERE id = v_id;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'no request has this id'
      USING ERRCODE = 'PT404', DETAIL = 'no_such_request';
  END IF;

  -- The key row first, as in begin_request. It may be gone by now; the row is finished all the same.
  PERFORM 1 FROM public.user_api_keys WHERE did = v_did FOR UPDATE;

  SELECT * INTO v_row FROM public.request_logs
   WHERE id = v_id AND (status = 'pending' OR (error_reason = 'abandoned' AND cost_state = 'unknown')) FOR UPDATE;
  IF NOT FOUND THEN
    SELECT status INTO v_status FROM public.request_logs WHERE id = v_id;
    RETURN jsonb_build_object('finished', false, 'status', v_status);
  END IF;

  -- Under the key row's lock, so of two that tell of the same job one is the first.
  IF v_job IS NOT NULL AND v_cost_state = 'pending' AND EXISTS (
       SELECT FROM public.request_logs AS l
        WHERE l.did = v_did AND l.job_id = v_job AND l.endpoint = v_row.endpoint AND l.id <> v_id)
  THEN
    v_cost_state := 'none';
  END IF;

  -- A cost that is still to be asked for has no total yet, though a part of it may be known.
  v_total := CASE WHEN v_cost_state <> 'final' THEN NULL
                  WHEN v_is_byok AND v_upstream IS NOT NULL THEN coalesce(v_openrouter, 0) + v_upstream
                  ELSE v_openrouter END;
  v_released := CASE WHEN v_cost_state = 'pending' THEN 0 ELSE v_row.hold END;

  UPDATE public.request_logs SET
    status                  = v_status,
    http_status             = (v_in ->> 'http_status')::integer,
    model                   = coalesce(nullif(left(v_in ->> 'model', 255), ''), model),
    generation_id           = coalesce(nullif(left(v_in ->> 'generation_id', 255), ''), generation_id),
    job_id                  = v_job,
    input_tokens            = (v_in ->> 'input_tokens')::integer,
    output_tokens           = (v_in ->> 'output_tokens')::integer,
    cached_tokens           = (v_in ->> 'cached_tokens')::integer,
    reasoning_tokens        = (v_in ->> 'reasoning_tokens')::integer,
    openrouter_cost         = v_openrouter,
    upstream_inference_cost = v_upstream,
    is_byok                 = v_is_byok,
    total_cost              = v_total,
    cost_state              = v_cost_state,
    hold                    = hold - v_released,
    error_reason            = left(v_in ->> 'error_reason', 255),
    error_message           = left(v_in ->> 'error_message', 2000),
    first_byte_ms           = (v_in ->> 'first_byte_ms')::integer,
    response_time           = timestamptz 'epoch' + (v_in ->> 'response_time')::bigint * interval '1 millisecond',
    unknown_cost_reason     = NULL,
    reconcile_attempts      = 0,
    next_reconcile_at       = NULL,
    settled_at              = NULL
  WHERE id = v_id;

  -- The account is the DID's, whichever key row it began with: a new one has taken it over.
  UPDATE public.user_api_keys SET
    spent    = spent + coalesce(v_total, 0),
    reserved = greatest(reserved - v_released, 0)
  WHERE did = v_did;

  RETURN jsonb_build_object('finished', true, 'status', v_status);
END
$$;

-- ---------------------------------------------------------------------------------------------
-- claim_unsettled
-- ---------------------------------------------------------------------------------------------
-- As before (20260104000000), and:
--
--   abandoned_after   seconds after which a row that is still pending counts as abandoned, 1 to
--                     86400; null or absent: 1200 (a function lives 15 minutes at most)
--
-- Its rows also have "job_id".
CREATE OR REPLACE FUNCTION public.claim_unsettled(request jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_in        jsonb       := CASE jsonb_typeof(request) WHEN 'string' THEN (request #>> '{}')::jsonb ELSE request END;
  v_now       timestamptz := timestamptz 'epoch' + (v_in ->> 'now')::bigint * interval '1 millisecond';
  v_limit     integer     := (v_in ->> 'limit')::integer;
  v_did       text        := v_in ->> 'did';
  v_leases    jsonb       := v_in -> 'leases';
  v_abandoned integer     := coalesce((v_in ->> 'abandoned_after')::integer, 1200);
  v_last      integer;
  v_answer    jsonb;
BEGIN
  IF v_now IS NULL OR v_limit IS NULL OR v_limit NOT BETWEEN 1 AND 1000
     OR v_leases IS NULL OR jsonb_typeof(v_leases) <> 'array' OR jsonb_array_length(v_leases) = 0
     OR v_abandoned NOT BETWEEN 1 AND 86400
  THEN
    RAISE EXCEPTION 'claim_unsettled: a member is missing or out of range'
      USING ERRCODE = 'PT400', DETAIL = 'invalid_argument';
  END IF;
  v_last := jsonb_array_length(v_leases) - 1;

  WITH due AS (
    SELECT l.id
      FROM public.request_logs AS l
     WHERE (l.cost_state = 'pending' OR l.status = 'pending')
       AND (l.status <> 'pending' OR l.request_time < v_now - v_abandoned * interval '1 second')
       AND (l.next_reconcile_at IS NULL OR l.next_reconcile_at <= v_now)
       AND (v_did IS NULL OR l.did = v_did)
     ORDER BY l.next_reconcile_at NULLS FIRST, l.request_time
     LIMIT v_limit
       FOR UPDATE SKIP LOCKED
  ), leased AS (
    UPDATE public.request_logs AS l
       SET reconcile_attempts = l.reconcile_attempts + 1,
           next_reconcile_at  = v_now
             + (v_leases ->> least(l.reconcile_attempts, v_last))::integer * interval '1 second'
      FROM due
     WHERE l.id = due.id
    RETURNING l.id, l.did, l.status, l.endpoint, l.generation_id, l.job_id, l.request_time, l.reconcile_attempts
  )
  SELECT coalesce(jsonb_agg(jsonb_build_object(
           'id',            l.id,
           'did',           l.did,
           'abandoned',     l.status = 'pending',
           'endpoint',      l.endpoint,
           'generation_id', l.generation_id,
           'job_id',        l.job_id,
           'age_seconds',   greatest(floor(extract(epoch FROM v_now - l.request_time)), 0)::bigint::text,
           'attempts',      l.reconcile_attempts,
           'sealed_key',    k.encrypted_api_key)), '[]')
    INTO v_answer
    FROM leased AS l
    LEFT JOIN public.user_api_keys AS k ON k.did = l.did;

  RETURN v_answer;
END
$$;

-- ---------------------------------------------------------------------------------------------
-- settle_job
-- ---------------------------------------------------------------------------------------------
-- Closes the row that created a job, exactly once: the first of the DID's requests that did. Members
-- of `outcome`: did, endpoint, job_id, and those of settle_request but id. Answers as settle_request
-- does; {"settled": false, "cost_state": null} where no row of the DID created such a job.
CREATE FUNCTION public.settle_job(outcome jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_in jsonb := CASE jsonb_typeof(outcome) WHEN 'string' THEN (outcome #>> '{}')::jsonb ELSE outcome END;
  v_id uuid;
BEGIN
  IF v_in ->> 'did' IS NULL OR v_in ->> 'endpoint' IS NULL OR v_in ->> 'job_id' IS NULL THEN
    RAISE EXCEPTION 'settle_job: a member is missing'
      USING ERRCODE = 'PT400', DETAIL = 'invalid_argument';
  END IF;
  -- The first to be finished carries the cost; those after it have cost_state 'none'.
  SELECT l.id INTO v_id FROM public.request_logs AS l
   WHERE l.did = v_in ->> 'did' AND l.endpoint = v_in ->> 'endpoint' AND l.job_id = v_in ->> 'job_id'
   ORDER BY l.cost_state = 'none', l.request_time, l.id
   LIMIT 1;
  IF NOT FOUND THEN
    RETURN jsonb_build_object('settled', false, 'cost_state', NULL);
  END IF;
  RETURN public.settle_request(v_in || jsonb_build_object('id', v_id));
END
$$;

-- ---------------------------------------------------------------------------------------------
-- Who may do what: see 20260102000000. Replaced functions keep their privileges.
-- ---------------------------------------------------------------------------------------------

REVOKE ALL ON FUNCTION public.note_generation(jsonb), public.settle_job(jsonb)
  FROM PUBLIC, anon, authenticated, service_role;
GRANT EXECUTE ON FUNCTION public.note_generation(jsonb), public.settle_job(jsonb) TO service_role;

NOTIFY pgrst, 'reload schema';
