-- Limits that hold under load: a hold that learns what a request costs, a rate per DID, and an
-- account that outlives the key it belongs to.
--
-- What a credit limit promises. A request begins only if spent + reserved + its own hold stay within
-- the limit, judged under the lock of the DID's key row. So, however many run at once and whichever
-- path, alias or function they take, in the end
--
--   spent  <=  credit_limit + sum over the requests in flight of max(total_cost - hold, 0)
--
-- A request whose cost is not known yet (cost_state 'pending') counts as in flight: its hold stays
-- until the cost is settled. Requests that began before there was a limit have no hold.

-- ---------------------------------------------------------------------------------------------
-- Tables
-- ---------------------------------------------------------------------------------------------

ALTER TABLE public.user_api_keys
  ADD COLUMN requests_per_minute integer CHECK (requests_per_minute > 0),
  ADD COLUMN rate_tat            timestamptz;

COMMENT ON COLUMN public.user_api_keys.reserved IS
  'Sum of hold of all requests of the DID, in US dollars.';
COMMENT ON COLUMN public.user_api_keys.requests_per_minute IS
  'The rate that the DID may keep up, and the most it may send at once; null: the gateway''s default.';
COMMENT ON COLUMN public.user_api_keys.rate_tat IS
  'When the requests so far would have ended at the permitted rate (GCRA''s theoretical arrival time).';

-- From here on `hold` is what is reserved now: releasing it sets it to zero, so that nobody releases
-- it again.
UPDATE public.request_logs SET hold = 0 WHERE status <> 'pending' AND hold > 0;
COMMENT ON COLUMN public.request_logs.hold IS
  'What is reserved against the limit: until the request has finished and its cost is known. US dollars.';

-- What a DID's last requests to a model cost. Those without a model learn from each other.
CREATE INDEX idx_request_logs_recent_costs
  ON public.request_logs (did, (coalesce(requested_model, '')), request_time DESC) INCLUDE (total_cost)
  WHERE cost_state = 'final';

-- ---------------------------------------------------------------------------------------------
-- A key that is deleted and stored anew takes over the DID's account
-- ---------------------------------------------------------------------------------------------
-- Replacing encrypted_api_key in place keeps spent and reserved by itself. An inserted row gets them
-- from the books, as far back as those go. Locks in the order of begin_request: the key row, then
-- the open requests, whose finish_request then sees the new row.
CREATE FUNCTION public.take_over_account() RETURNS trigger
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
    WHERE l.did = NEW.did AND (l.status = 'pending' OR l.cost_state = 'pending') FOR UPDATE;
  SELECT sum(l.total_cost) FILTER (WHERE l.total_cost > 0 AND l.total_cost < 'Infinity'),
         sum(l.hold) FILTER (WHERE l.status = 'pending' OR l.cost_state = 'pending')
    INTO v_spent, v_reserved
    FROM public.request_logs AS l WHERE l.did = NEW.did;
  NEW.spent    := greatest(NEW.spent, v_spent);
  NEW.reserved := greatest(NEW.reserved, v_reserved);
  RETURN NEW;
END
$$;

CREATE TRIGGER take_over_account BEFORE INSERT ON public.user_api_keys
  FOR EACH ROW EXECUTE FUNCTION public.take_over_account();

-- ---------------------------------------------------------------------------------------------
-- hold_for, next_tat
-- ---------------------------------------------------------------------------------------------
-- The hold of a new request: the most that one of the DID's last 20 settled requests to the same
-- model cost, and at least `least`.
CREATE FUNCTION public.hold_for(p_did text, p_model text, p_least numeric) RETURNS numeric
LANGUAGE plpgsql STABLE SECURITY INVOKER SET search_path = '' AS $$
BEGIN
  RETURN greatest(p_least, (
    SELECT max(recent.total_cost)
      FROM (SELECT l.total_cost
              FROM public.request_logs AS l
             WHERE l.did = p_did AND coalesce(l.requested_model, '') = coalesce(p_model, '')
               AND l.cost_state = 'final'
             ORDER BY l.request_time DESC
             LIMIT 20) AS recent
     WHERE recent.total_cost < 'Infinity'));
END
$$;

-- What rate_tat becomes by letting one more request through (GCRA, as in ITU-T I.371): it may run
-- ahead of the database's clock by one minute's worth of requests. Refuses with PT429 rate_limited
-- (HINT: {"requests_per_minute", "retry_after" in whole seconds}, numbers).
CREATE FUNCTION public.next_tat(p_tat timestamptz, p_requests_per_minute integer) RETURNS timestamptz
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  -- Not now(): that is when the transaction began to wait for its turn.
  v_now   timestamptz := clock_timestamp();
  v_each  interval    := interval '1 minute' / p_requests_per_minute;
  v_tat   timestamptz := greatest(p_tat, v_now);
  v_wait  interval    := v_tat - v_each * (p_requests_per_minute - 1) - v_now;
BEGIN
  IF v_wait > interval '0' THEN
    RAISE EXCEPTION 'this DID sends more requests than it may'
      USING ERRCODE = 'PT429', DETAIL = 'rate_limited',
            HINT = jsonb_build_object(
              'requests_per_minute', p_requests_per_minute,
              'retry_after', ceil(extract(epoch FROM v_wait))::integer)::text;
  END IF;
  RETURN v_tat + v_each;
END
$$;

-- ---------------------------------------------------------------------------------------------
-- begin_request
-- ---------------------------------------------------------------------------------------------
-- As before (20260102000000), and:
--
--   hold                 the least hold; see hold_for. Without a credit limit there is none.
--   requests_per_minute  the rate of a DID whose key row does not name one; null or absent: no limit.
--                        Counts every request that passes, billable or not; not those refused.
--
-- Further refusal: PT429 rate_limited (see next_tat). The HINT of PT402 credit_limit_reached also has
-- "hold", what this request would have reserved.
CREATE OR REPLACE FUNCTION public.begin_request(request jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_in          jsonb   := CASE jsonb_typeof(request) WHEN 'string' THEN (request #>> '{}')::jsonb ELSE request END;
  v_id          uuid    := (v_in ->> 'id')::uuid;
  v_did         text    := v_in ->> 'did';
  v_billable    boolean := coalesce((v_in ->> 'billable')::boolean, true);
  v_fingerprint bytea   := decode(v_in ->> 'fingerprint', 'hex');
  v_hold        numeric := coalesce((v_in ->> 'hold')::numeric, 0);
  v_rate        integer := (v_in ->> 'requests_per_minute')::integer;
  v_model       text    := nullif(left(v_in ->> 'model', 255), '');
  v_time        timestamptz := timestamptz 'epoch' + (v_in ->> 'request_time')::bigint * interval '1 millisecond';
  v_key         public.user_api_keys%ROWTYPE;
  v_use         text;
  v_answer      jsonb;
BEGIN
  IF v_id IS NULL OR v_did IS NULL OR v_time IS NULL
     OR (v_billable AND v_fingerprint IS NULL)
     OR NOT (v_hold >= 0 AND v_hold < 'Infinity')
     OR v_rate <= 0
  THEN
    RAISE EXCEPTION 'begin_request: a member is missing or out of range'
      USING ERRCODE = 'PT400', DETAIL = 'invalid_argument';
  END IF;

  SELECT * INTO v_key FROM public.user_api_keys WHERE did = v_did;
  -- A look-up that nothing is counted for waits for nobody.
  IF v_billable OR coalesce(v_key.requests_per_minute, v_rate) IS NOT NULL THEN
    SELECT * INTO v_key FROM public.user_api_keys WHERE did = v_did FOR UPDATE;
  END IF;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'no key is stored for this DID'
      USING ERRCODE = 'PT404', DETAIL = 'no_key_for_did';
  END IF;

  v_answer := jsonb_build_object(
    'id', v_id, 'sealed_key', v_key.encrypted_api_key, 'key_name', v_key.key_name);

  IF v_fingerprint IS NOT NULL THEN
    v_use := public.use_fingerprint(v_in);
    IF v_use = 'replayed'
       -- Once finished, a second pass would never be charged.
       OR (v_use = 'again' AND v_billable AND NOT EXISTS (
             SELECT FROM public.request_logs AS l WHERE l.id = v_id AND l.did = v_did AND l.status = 'pending'))
    THEN
      RAISE EXCEPTION 'this signed request has been used before'
        USING ERRCODE = 'PT401', DETAIL = 'replayed_request';
    ELSIF v_use = 'again' THEN
      RETURN v_answer;
    END IF;
  END IF;

  IF v_key.disabled THEN
    RAISE EXCEPTION 'the key of this DID is disabled'
      USING ERRCODE = 'PT403', DETAIL = 'key_disabled';
  END IF;

  v_rate := coalesce(v_key.requests_per_minute, v_rate);
  IF v_rate IS NOT NULL THEN
    v_key.rate_tat := public.next_tat(v_key.rate_tat, v_rate);
  END IF;

  IF NOT v_billable OR v_key.credit_limit IS NULL THEN
    v_hold := 0;
  ELSE
    v_hold := public.hold_for(v_did, v_model, v_hold);
    IF v_key.spent >= v_key.credit_limit OR v_key.spent + v_key.reserved + v_hold > v_key.credit_limit THEN
      RAISE EXCEPTION 'the credit limit of this DID is reached'
        USING ERRCODE = 'PT402', DETAIL = 'credit_limit_reached',
              HINT = jsonb_build_object(
                'limit', trim_scale(v_key.credit_limit)::text,
                'spent', trim_scale(v_key.spent)::text,
                'held',  trim_scale(v_key.reserved)::text,
                'hold',  trim_scale(v_hold)::text)::text;
    END IF;
  END IF;

  IF v_billable THEN
    INSERT INTO public.request_logs
      (id, did, key_id, model, requested_model, method, path, endpoint, streamed, hold, request_time, status)
    VALUES
      (v_id, v_did, v_key.id, coalesce(v_model, 'unknown'), v_model, v_in ->> 'method', v_in ->> 'path',
       v_in ->> 'endpoint', (v_in ->> 'streamed')::boolean, v_hold, v_time, 'pending')
    ON CONFLICT (id) DO NOTHING;
    IF NOT FOUND THEN
      RAISE EXCEPTION 'another request has this id'
        USING ERRCODE = 'PT409', DETAIL = 'request_id_taken';
    END IF;
  END IF;

  UPDATE public.user_api_keys SET reserved = reserved + v_hold, rate_tat = v_key.rate_tat
   WHERE id = v_key.id AND (v_hold > 0 OR v_rate IS NOT NULL);

  RETURN v_answer;
END
$$;

-- ---------------------------------------------------------------------------------------------
-- finish_request
-- ---------------------------------------------------------------------------------------------
-- As before (20260102000000), but a hold is released only once the cost is known: with cost_state
-- 'pending' it stays in request_logs.hold and user_api_keys.reserved until that is settled.
CREATE OR REPLACE FUNCTION public.finish_request(outcome jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_in         jsonb   := CASE jsonb_typeof(outcome) WHEN 'string' THEN (outcome #>> '{}')::jsonb ELSE outcome END;
  v_id         uuid    := (v_in ->> 'id')::uuid;
  v_status     text    := v_in ->> 'status';
  v_cost_state text    := v_in ->> 'cost_state';
  v_openrouter numeric := (v_in ->> 'openrouter_cost')::numeric;
  v_upstream   numeric := (v_in ->> 'upstream_inference_cost')::numeric;
  v_is_byok    boolean := (v_in ->> 'is_byok')::boolean;
  v_total      numeric;
  v_did        text;
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

  -- A cost that is still to be asked for has no total yet, though a part of it may be known.
  v_total := CASE WHEN v_cost_state <> 'final' THEN NULL
                  WHEN v_is_byok AND v_upstream IS NOT NULL THEN coalesce(v_openrouter, 0) + v_upstream
                  ELSE v_openrouter END;

  SELECT did INTO v_did FROM public.request_logs WHERE id = v_id;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'no request has this id'
      USING ERRCODE = 'PT404', DETAIL = 'no_such_request';
  END IF;

  -- The key row first, as in begin_request. It may be gone by now; the row is finished all the same.
  PERFORM 1 FROM public.user_api_keys WHERE did = v_did FOR UPDATE;

  SELECT CASE WHEN v_cost_state = 'pending' THEN 0 ELSE hold END INTO v_released
    FROM public.request_logs WHERE id = v_id AND status = 'pending' FOR UPDATE;
  IF NOT FOUND THEN
    SELECT status INTO v_status FROM public.request_logs WHERE id = v_id;
    RETURN jsonb_build_object('finished', false, 'status', v_status);
  END IF;

  UPDATE public.request_logs SET
    status                  = v_status,
    http_status             = (v_in ->> 'http_status')::integer,
    model                   = coalesce(nullif(left(v_in ->> 'model', 255), ''), model),
    generation_id           = left(v_in ->> 'generation_id', 255),
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
    response_time           = timestamptz 'epoch' + (v_in ->> 'response_time')::bigint * interval '1 millisecond'
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
-- Settling a cost releases its hold
-- ---------------------------------------------------------------------------------------------
-- In the statement that takes a row's cost_state away from 'pending', whoever makes it. One that
-- releases the hold by itself (reserved -= hold) sets it to zero, and nothing is left to do here.
-- Whoever settles locks the DID's key row first, as everyone does.
CREATE FUNCTION public.release_hold() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
BEGIN
  UPDATE public.user_api_keys AS k SET reserved = greatest(k.reserved - OLD.hold, 0) WHERE k.did = OLD.did;
  NEW.hold := 0;
  RETURN NEW;
END
$$;

CREATE TRIGGER release_hold BEFORE UPDATE OF cost_state ON public.request_logs
  FOR EACH ROW WHEN (OLD.cost_state = 'pending' AND NEW.cost_state <> 'pending' AND NEW.hold > 0)
  EXECUTE FUNCTION public.release_hold();

-- ---------------------------------------------------------------------------------------------
-- Who may do what: see 20260102000000. Replaced functions keep their privileges.
-- ---------------------------------------------------------------------------------------------

REVOKE ALL ON FUNCTION public.take_over_account(), public.release_hold(),
    public.hold_for(text, text, numeric), public.next_tat(timestamptz, integer)
  FROM PUBLIC, anon, authenticated, service_role;
GRANT EXECUTE ON FUNCTION public.hold_for(text, text, numeric), public.next_tat(timestamptz, integer)
  TO service_role;

NOTIFY pgrst, 'reload schema';
