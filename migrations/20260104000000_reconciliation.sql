-- Reconciliation: costs that were not known when a request ended, and requests that never ended.
--
-- A run claims a few such rows (claim_unsettled), asks OpenRouter what they cost, and closes each
-- exactly once (settle_request). What cannot be found out becomes 'unknown', with the reason: it is
-- never taken for free.

ALTER TABLE public.request_logs
  DROP CONSTRAINT request_logs_cost_state_check,
  ADD CONSTRAINT request_logs_cost_state_check CHECK (cost_state IN ('none', 'pending', 'final', 'unknown')),
  ADD COLUMN reconcile_attempts  integer NOT NULL DEFAULT 0,
  ADD COLUMN next_reconcile_at   timestamptz,
  ADD COLUMN settled_at          timestamptz,
  ADD COLUMN unknown_cost_reason text;

COMMENT ON COLUMN public.request_logs.cost_state IS
  'none: nothing to pay; pending: the stream was cut before its cost was known (not free); final; unknown: asked for in vain (not free either).';
COMMENT ON COLUMN public.request_logs.next_reconcile_at IS
  'A run that claims the row moves it into the future: until then no other run takes it. Null: due at once, or settled.';
COMMENT ON COLUMN public.request_logs.settled_at IS 'When reconciliation closed the row; null where the request did so itself.';
COMMENT ON COLUMN public.request_logs.unknown_cost_reason IS 'Why the cost could not be found out, while cost_state is ''unknown''.';

-- What a run looks for, in the order in which it takes it.
CREATE INDEX idx_request_logs_unsettled ON public.request_logs (next_reconcile_at NULLS FIRST, request_time)
  WHERE cost_state = 'pending' OR status = 'pending';

-- ---------------------------------------------------------------------------------------------
-- claim_unsettled
-- ---------------------------------------------------------------------------------------------
-- Takes rows that are due: those whose cost is pending, and those that are still pending 20 minutes
-- after they began (a function lives 15 at most, so its row was abandoned). Members of `request`:
--
--   now      epoch ms
--   limit    how many rows at most, 1 to 1000
--   leases   seconds until a row is due again, after its first, second, ... claim; the last repeats
--   did      this DID's rows only; null: everyone's
--
-- Returns an array of {"id", "did", "abandoned", "endpoint", "generation_id", "age_seconds",
-- "attempts", "sealed_key"}; sealed_key is null where the DID has no key any more.
--
-- Runs at the same time skip each other's rows, and a claimed row is nobody else's until its lease
-- is over. It waits for no lock, so it can take them in any order.
CREATE FUNCTION public.claim_unsettled(request jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_in     jsonb       := CASE jsonb_typeof(request) WHEN 'string' THEN (request #>> '{}')::jsonb ELSE request END;
  v_now    timestamptz := timestamptz 'epoch' + (v_in ->> 'now')::bigint * interval '1 millisecond';
  v_limit  integer     := (v_in ->> 'limit')::integer;
  v_did    text        := v_in ->> 'did';
  v_leases jsonb       := v_in -> 'leases';
  v_last   integer;
  v_answer jsonb;
BEGIN
  IF v_now IS NULL OR v_limit IS NULL OR v_limit NOT BETWEEN 1 AND 1000
     OR v_leases IS NULL OR jsonb_typeof(v_leases) <> 'array' OR jsonb_array_length(v_leases) = 0
  THEN
    RAISE EXCEPTION 'claim_unsettled: a member is missing or out of range'
      USING ERRCODE = 'PT400', DETAIL = 'invalid_argument';
  END IF;
  v_last := jsonb_array_length(v_leases) - 1;

  WITH due AS (
    SELECT l.id
      FROM public.request_logs AS l
     WHERE (l.cost_state = 'pending' OR l.status = 'pending')
       AND (l.status <> 'pending' OR l.request_time < v_now - interval '20 minutes')
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
    RETURNING l.id, l.did, l.status, l.endpoint, l.generation_id, l.request_time, l.reconcile_attempts
  )
  SELECT coalesce(jsonb_agg(jsonb_build_object(
           'id',            l.id,
           'did',           l.did,
           'abandoned',     l.status = 'pending',
           'endpoint',      l.endpoint,
           'generation_id', l.generation_id,
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
-- settle_request
-- ---------------------------------------------------------------------------------------------
-- Closes a row that claim_unsettled handed out, exactly once. Members of `outcome`:
--
--   id; cost_state 'final' | 'unknown'; settled_at (epoch ms)
--   final:   openrouter_cost, and, each of them null where unknown: upstream_inference_cost,
--            is_byok, model, input_tokens, output_tokens, cached_tokens, reasoning_tokens
--   unknown: unknown_cost_reason
--
-- Adds the total to `spent`; a row that is still pending becomes failed ('abandoned') and gives its
-- hold back. All in one transaction. Returns {"settled": true, "cost_state"}; where nothing is open
-- it changes nothing and returns {"settled": false} with the stored cost_state. An unknown cost may
-- still become final, once: that is how an operator enters what the log's emergency record says.
-- PT404 no_such_request.
CREATE FUNCTION public.settle_request(outcome jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_in         jsonb       := CASE jsonb_typeof(outcome) WHEN 'string' THEN (outcome #>> '{}')::jsonb ELSE outcome END;
  v_id         uuid        := (v_in ->> 'id')::uuid;
  v_cost_state text        := v_in ->> 'cost_state';
  v_time       timestamptz := timestamptz 'epoch' + (v_in ->> 'settled_at')::bigint * interval '1 millisecond';
  v_openrouter numeric     := (v_in ->> 'openrouter_cost')::numeric;
  v_upstream   numeric     := (v_in ->> 'upstream_inference_cost')::numeric;
  v_is_byok    boolean     := (v_in ->> 'is_byok')::boolean;
  v_total      numeric;
  v_did        text;
  v_row        public.request_logs%ROWTYPE;
BEGIN
  IF v_id IS NULL OR v_time IS NULL
     OR v_cost_state IS NULL OR v_cost_state NOT IN ('final', 'unknown')
     OR (v_cost_state = 'final') <> (v_openrouter IS NOT NULL)
     OR (v_cost_state = 'unknown') <> (v_in ->> 'unknown_cost_reason' IS NOT NULL)
     OR NOT (coalesce(v_openrouter, 0) >= 0 AND coalesce(v_openrouter, 0) < 'Infinity')
     OR NOT (coalesce(v_upstream, 0) >= 0 AND coalesce(v_upstream, 0) < 'Infinity')
  THEN
    RAISE EXCEPTION 'settle_request: a member is missing or out of range'
      USING ERRCODE = 'PT400', DETAIL = 'invalid_argument';
  END IF;

  -- As in finish_request.
  v_total := CASE WHEN v_cost_state <> 'final' THEN NULL
                  WHEN v_is_byok AND v_upstream IS NOT NULL THEN v_openrouter + v_upstream
                  ELSE v_openrouter END;

  SELECT did INTO v_did FROM public.request_logs WHERE id = v_id;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'no request has this id'
      USING ERRCODE = 'PT404', DETAIL = 'no_such_request';
  END IF;

  -- The key row first, as in begin_request and finish_request.
  PERFORM 1 FROM public.user_api_keys WHERE did = v_did FOR UPDATE;
  SELECT * INTO v_row FROM public.request_logs WHERE id = v_id FOR UPDATE;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'no request has this id'
      USING ERRCODE = 'PT404', DETAIL = 'no_such_request';
  END IF;

  IF NOT (v_row.status = 'pending' OR v_row.cost_state = 'pending'
          OR (v_row.cost_state = 'unknown' AND v_cost_state = 'final'))
  THEN
    RETURN jsonb_build_object('settled', false, 'cost_state', v_row.cost_state);
  END IF;

  UPDATE public.request_logs SET
    cost_state              = v_cost_state,
    unknown_cost_reason     = left(v_in ->> 'unknown_cost_reason', 255),
    openrouter_cost         = coalesce(v_openrouter, openrouter_cost),
    upstream_inference_cost = coalesce(v_upstream, upstream_inference_cost),
    is_byok                 = coalesce(v_is_byok, is_byok),
    total_cost              = v_total,
    model                   = coalesce(nullif(left(v_in ->> 'model', 255), ''), model),
    input_tokens            = coalesce((v_in ->> 'input_tokens')::integer, input_tokens),
    output_tokens           = coalesce((v_in ->> 'output_tokens')::integer, output_tokens),
    cached_tokens           = coalesce((v_in ->> 'cached_tokens')::integer, cached_tokens),
    reasoning_tokens        = coalesce((v_in ->> 'reasoning_tokens')::integer, reasoning_tokens),
    status                  = CASE status WHEN 'pending' THEN 'failed' ELSE status END,
    error_reason            = CASE status WHEN 'pending' THEN 'abandoned' ELSE error_reason END,
    error_message           = CASE status WHEN 'pending' THEN 'The gateway ended before it closed the books of this request.'
                                          ELSE error_message END,
    hold                    = 0,
    next_reconcile_at       = NULL,
    settled_at              = v_time
  WHERE id = v_id;

  UPDATE public.user_api_keys SET
    spent    = spent + coalesce(v_total, 0),
    reserved = greatest(reserved - v_row.hold, 0)
  WHERE did = v_did;

  RETURN jsonb_build_object('settled', true, 'cost_state', v_cost_state);
END
$$;

REVOKE ALL ON FUNCTION public.claim_unsettled(jsonb), public.settle_request(jsonb)
  FROM PUBLIC, anon, authenticated, service_role;
GRANT EXECUTE ON FUNCTION public.claim_unsettled(jsonb), public.settle_request(jsonb) TO service_role;

NOTIFY pgrst, 'reload schema';
