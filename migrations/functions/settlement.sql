-- Settlement: costs that were not known when a request ended, each booked exactly once.
--
-- POST /videos and POST /batches answer with a job whose cost is known hours later. The row that created
-- the job carries it (job_id); it is settled by whichever first learns the cost: the user's own poll
-- (settle_job) or reconciliation (settle_request). A cost that cannot be found out becomes 'unknown', with
-- the reason: it is never taken for free.

-- Closes a row that claim_unsettled handed out, exactly once. Fields of `outcome`:
--
--   id; cost_state 'final' | 'unknown'; settled_at (epoch ms)
--   final:   openrouter_cost, and, each of them null where unknown: upstream_inference_cost,
--            server_tool_cost, is_byok, model, input_tokens, output_tokens, cached_tokens, cache_write_tokens,
--            reasoning_tokens, service_tier. Where is_byok or the provider's charge is null, the row's own value
--            is summed.
--   unknown: unknown_cost_reason, and
--            known_cost the part of the cost that is known, or null
--            attempts   the claim (its "attempts") that found it out. A row that was finished, from the
--                       log's emergency record, or claimed again since stays as it is. Null or absent:
--                       any claim.
--
-- Adds the total to `spent`; a row that is still pending becomes failed ('abandoned') and gives its
-- hold back. All in one transaction. Returns {"settled": true, "cost_state"}; where nothing is open
-- it changes nothing and returns {"settled": false} with the stored cost_state. An unknown cost may
-- still become final, once: that is how an operator enters what the log's emergency record says.
-- PT404 no_such_request.
CREATE OR REPLACE FUNCTION public.settle_request(outcome jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_in         jsonb       := public.decoded(outcome);
  v_id         uuid        := (v_in ->> 'id')::uuid;
  v_cost_state text        := v_in ->> 'cost_state';
  v_time       timestamptz := timestamptz 'epoch' + (v_in ->> 'settled_at')::bigint * interval '1 millisecond';
  v_openrouter numeric     := (v_in ->> 'openrouter_cost')::numeric;
  v_upstream   numeric     := (v_in ->> 'upstream_inference_cost')::numeric;
  v_is_byok    boolean     := (v_in ->> 'is_byok')::boolean;
  v_tool       numeric     := (v_in ->> 'server_tool_cost')::numeric;
  v_known      numeric     := (v_in ->> 'known_cost')::numeric;
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
     OR NOT (coalesce(v_tool, 0) >= 0 AND coalesce(v_tool, 0) < 'Infinity')
     OR NOT (coalesce(v_known, 0) >= 0 AND coalesce(v_known, 0) < 'Infinity')
  THEN
    RAISE EXCEPTION 'settle_request: a member is missing or out of range'
      USING ERRCODE = 'PT400', DETAIL = 'invalid_argument';
  END IF;

  SELECT did INTO v_did FROM public.request_logs WHERE id = v_id;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'no request has this id'
      USING ERRCODE = 'PT404', DETAIL = 'no_such_request';
  END IF;

  PERFORM public.lock_account(v_did);
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
  IF v_cost_state = 'unknown' AND v_row.reconcile_attempts <> (v_in ->> 'attempts')::integer THEN
    RETURN jsonb_build_object('settled', false, 'cost_state', v_row.cost_state);
  END IF;

  -- As in finish_request. What the row knows already belongs to its total, too.
  v_is_byok  := coalesce(v_is_byok, v_row.is_byok);
  v_upstream := coalesce(v_upstream, v_row.upstream_inference_cost);
  v_total := CASE WHEN v_cost_state <> 'final' THEN NULL
                  WHEN v_is_byok AND v_upstream IS NOT NULL THEN v_openrouter + v_upstream
                  ELSE v_openrouter END;

  UPDATE public.request_logs SET
    cost_state              = v_cost_state,
    unknown_cost_reason     = left(v_in ->> 'unknown_cost_reason', 255),
    known_cost              = CASE v_cost_state WHEN 'unknown' THEN v_known END,
    openrouter_cost         = coalesce(v_openrouter, openrouter_cost),
    server_tool_cost        = coalesce(v_tool, server_tool_cost),
    upstream_inference_cost = v_upstream,
    is_byok                 = v_is_byok,
    total_cost              = v_total,
    model                   = coalesce(nullif(left(v_in ->> 'model', 255), ''), model),
    input_tokens            = coalesce((v_in ->> 'input_tokens')::integer, input_tokens),
    output_tokens           = coalesce((v_in ->> 'output_tokens')::integer, output_tokens),
    cached_tokens           = coalesce((v_in ->> 'cached_tokens')::integer, cached_tokens),
    cache_write_tokens      = coalesce((v_in ->> 'cache_write_tokens')::integer, cache_write_tokens),
    reasoning_tokens        = coalesce((v_in ->> 'reasoning_tokens')::integer, reasoning_tokens),
    service_tier            = coalesce(left(v_in ->> 'service_tier', 255), service_tier),
    status                  = CASE status WHEN 'pending' THEN 'failed' ELSE status END,
    error_reason            = CASE status WHEN 'pending' THEN 'abandoned' ELSE error_reason END,
    error_message           = CASE status WHEN 'pending' THEN 'The gateway ended before it closed the books of this request.'
                                          ELSE error_message END,
    hold                    = 0,
    next_reconcile_at       = NULL,
    settled_at              = v_time
  WHERE id = v_id;

  UPDATE public.accounts SET
    spent = spent + coalesce(v_total, 0),
    held  = greatest(held - v_row.hold, 0)
  WHERE did = v_did AND (v_total > 0 OR v_row.hold > 0);
  IF v_total IS NOT NULL THEN
    PERFORM public.note_cost(v_did, v_row.requested_model, v_row.endpoint, v_total);
  END IF;

  RETURN jsonb_build_object('settled', true, 'cost_state', v_cost_state);
END
$$;

-- Closes the row that created a job, exactly once: the first of the DID's requests that did. Fields of
-- `outcome`: did, endpoint, job_id, and those of settle_request but id. Answers as settle_request does;
-- {"settled": false, "cost_state": null} where no row of the DID created such a job.
CREATE OR REPLACE FUNCTION public.settle_job(outcome jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_in jsonb := public.decoded(outcome);
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

-- Settling a cost releases its hold, in the statement that takes a row's cost_state away from 'pending',
-- whoever runs it. A statement that releases the hold by itself (held -= hold) sets it to zero, and
-- nothing is left to do here. Callers lock the DID first, as everywhere.
CREATE OR REPLACE FUNCTION public.release_hold() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
BEGIN
  UPDATE public.accounts AS a SET held = greatest(a.held - NEW.hold, 0) WHERE a.did = NEW.did;
  UPDATE public.request_logs AS l SET hold = 0 WHERE l.id = NEW.id;
  RETURN NULL;
END
$$;

-- It changes the row once more, so its name lets it come after the triggers that count the first change. None comes
-- before an update: one that did would have every update lock its row first, and write that to the WAL.
CREATE OR REPLACE TRIGGER then_release_hold AFTER UPDATE OF cost_state ON public.request_logs
  FOR EACH ROW WHEN (OLD.cost_state = 'pending' AND NEW.cost_state <> 'pending' AND NEW.hold > 0)
  EXECUTE FUNCTION public.release_hold();

REVOKE ALL ON FUNCTION public.settle_request(jsonb), public.settle_job(jsonb), public.release_hold()
  FROM PUBLIC, anon, authenticated, service_role;
GRANT EXECUTE ON FUNCTION public.settle_request(jsonb), public.settle_job(jsonb)
  TO service_role;
