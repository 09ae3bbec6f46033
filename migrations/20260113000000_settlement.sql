-- What is known of a row belongs to its total, and what was found out of an earlier state of it does
-- not close it.

-- ---------------------------------------------------------------------------------------------
-- settle_request
-- ---------------------------------------------------------------------------------------------
-- As before (20260104000000), and:
--
--   attempts   with 'unknown': the claim (its "attempts") that found it out. A row that was finished,
--              from the log's emergency record, or claimed again since stays as it is. Null or absent:
--              whichever it was.
--
-- Where the finding does not tell is_byok or the provider's charge, what the row has is summed.
CREATE OR REPLACE FUNCTION public.settle_request(outcome jsonb) RETURNS jsonb
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
    openrouter_cost         = coalesce(v_openrouter, openrouter_cost),
    upstream_inference_cost = v_upstream,
    is_byok                 = v_is_byok,
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

-- ---------------------------------------------------------------------------------------------
-- take_over_account
-- ---------------------------------------------------------------------------------------------
-- As before (20260111000000), and it waits for those who enter an unknown cost, too.
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

-- Replaced functions keep their privileges.
NOTIFY pgrst, 'reload schema';
