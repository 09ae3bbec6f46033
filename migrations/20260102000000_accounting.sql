-- Exact accounting: one call begins a request, one ends it, one sums them up.
--
-- Money is unconstrained `numeric`. OpenRouter's costs are printed doubles (19 decimals and
-- `7.434e-07` have been recorded), and any numeric(p,s) would round some of them. The checks
-- `x >= 0 AND x < 'Infinity'` also keep out NaN, which PostgreSQL sorts above every number: it
-- would pass `x >= 0` and poison every sum it enters.
--
-- Rules that every PostgREST-compatible backend agrees on:
--   * a function takes one named jsonb argument (or named scalars) and returns one jsonb;
--   * such a jsonb argument may arrive as a string that holds the object (@supabase/lite's
--     `postgres` driver encodes it twice), so it is unwrapped first;
--   * in what it returns, money and bigint are text;
--   * a refusal is SQLSTATE `PTxyz` (HTTP status xyz) with one machine-readable word in DETAIL.

-- ---------------------------------------------------------------------------------------------
-- Keys: what was spent, what is held for requests in flight
-- ---------------------------------------------------------------------------------------------

-- No table rewrite: only the declared precision goes.
ALTER TABLE public.user_api_keys ALTER COLUMN credit_limit TYPE numeric;
ALTER TABLE public.user_api_keys
  ADD CONSTRAINT user_api_keys_credit_limit_check CHECK (credit_limit < 'Infinity');  -- NaN would be no limit

ALTER TABLE public.user_api_keys
  ADD COLUMN spent       numeric NOT NULL DEFAULT 0 CHECK (spent >= 0 AND spent < 'Infinity'),
  ADD COLUMN reserved    numeric NOT NULL DEFAULT 0 CHECK (reserved >= 0 AND reserved < 'Infinity'),
  ADD COLUMN disabled    boolean NOT NULL DEFAULT false,
  ADD COLUMN seal_key_id bigint;

COMMENT ON COLUMN public.user_api_keys.spent IS
  'Sum of total_cost of all finished requests, in US dollars.';
COMMENT ON COLUMN public.user_api_keys.reserved IS
  'Sum of hold of all pending requests, in US dollars.';
COMMENT ON COLUMN public.user_api_keys.seal_key_id IS
  'Id of the keyset''s key that sealed encrypted_api_key; null where it was never recorded.';

-- ---------------------------------------------------------------------------------------------
-- Requests: what was asked, what came back, what it cost
-- ---------------------------------------------------------------------------------------------

ALTER TABLE public.request_logs ALTER COLUMN total_cost TYPE numeric;

ALTER TABLE public.request_logs
  ADD COLUMN method                  text,
  ADD COLUMN path                    text,
  ADD COLUMN endpoint                text,
  ADD COLUMN requested_model         text,
  ADD COLUMN generation_id           text,
  ADD COLUMN http_status             integer,
  ADD COLUMN streamed                boolean,
  ADD COLUMN cached_tokens           integer,
  ADD COLUMN reasoning_tokens        integer,
  ADD COLUMN openrouter_cost         numeric CHECK (openrouter_cost >= 0 AND openrouter_cost < 'Infinity'),
  ADD COLUMN upstream_inference_cost numeric CHECK (upstream_inference_cost >= 0 AND upstream_inference_cost < 'Infinity'),
  ADD COLUMN is_byok                 boolean,
  ADD COLUMN cost_state              text NOT NULL DEFAULT 'none' CHECK (cost_state IN ('none', 'pending', 'final')),
  ADD COLUMN hold                    numeric NOT NULL DEFAULT 0 CHECK (hold >= 0 AND hold < 'Infinity'),
  ADD COLUMN key_id                  uuid,
  ADD COLUMN first_byte_ms           integer,
  ADD COLUMN error_reason            text;

COMMENT ON COLUMN public.request_logs.model IS
  'The model that answered; until that is known the one asked for, or ''unknown''.';
COMMENT ON COLUMN public.request_logs.total_cost IS
  'openrouter_cost, plus upstream_inference_cost when is_byok; null while unknown. US dollars.';
COMMENT ON COLUMN public.request_logs.openrouter_cost IS 'usage.cost as OpenRouter reported it.';
COMMENT ON COLUMN public.request_logs.cost_state IS
  'none: nothing to pay; pending: the stream was cut before its cost was known (not free); final.';
COMMENT ON COLUMN public.request_logs.hold IS
  'What was reserved against the limit while the request was pending. US dollars.';
COMMENT ON COLUMN public.request_logs.key_id IS
  'The user_api_keys row that carries the hold. No foreign key: the books outlive the key.';

-- Usage of one user over a time, and its pages from the newest row on.
CREATE INDEX idx_request_logs_did_request_time ON public.request_logs (did, request_time DESC, id DESC);
-- What reconciliation looks for.
CREATE INDEX idx_request_logs_cost_pending ON public.request_logs (request_time) WHERE cost_state = 'pending';

-- Rows of the original system carry a cost that nobody will revise, and it counts towards the limit.
UPDATE public.request_logs SET cost_state = 'final' WHERE total_cost IS NOT NULL;
UPDATE public.user_api_keys AS k
   SET spent = past.total
  FROM (SELECT did, sum(total_cost) AS total
          FROM public.request_logs
         WHERE total_cost > 0 AND total_cost < 'Infinity'
         GROUP BY did) AS past
 WHERE past.did = k.did;

-- ---------------------------------------------------------------------------------------------
-- Replays: the digest of every signed request that was let through
-- ---------------------------------------------------------------------------------------------

CREATE TABLE public.request_fingerprints (
  fingerprint bytea PRIMARY KEY,
  request_id  uuid NOT NULL,
  expires_at  timestamptz NOT NULL
);
CREATE INDEX idx_request_fingerprints_expires_at ON public.request_fingerprints (expires_at);

COMMENT ON COLUMN public.request_fingerprints.request_id IS
  'The request it let through: only that one may repeat it (a retry after a lost answer).';

-- Lets a signed request pass once. `request` holds id, request_time, fingerprint (64 hex digits) and
-- fingerprint_expires_at. Returns 'first', 'again' (the same request, whose answer was lost) or
-- 'replayed' (any other).
CREATE FUNCTION public.use_fingerprint(request jsonb) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_id          uuid  := (request ->> 'id')::uuid;
  v_fingerprint bytea := decode(request ->> 'fingerprint', 'hex');
  v_now         timestamptz := timestamptz 'epoch' + (request ->> 'request_time')::bigint * interval '1 millisecond';
  v_expires     timestamptz := timestamptz 'epoch' + (request ->> 'fingerprint_expires_at')::bigint * interval '1 millisecond';
BEGIN
  -- Waits for another transaction that is inserting the same one, so of many equal requests
  -- exactly one gets past this point.
  INSERT INTO public.request_fingerprints (fingerprint, request_id, expires_at)
  VALUES (v_fingerprint, v_id, v_expires)
  ON CONFLICT (fingerprint) DO NOTHING;

  IF NOT FOUND THEN
    RETURN CASE WHEN EXISTS (
      SELECT FROM public.request_fingerprints AS f WHERE f.fingerprint = v_fingerprint AND f.request_id = v_id
    ) THEN 'again' ELSE 'replayed' END;
  END IF;

  -- Every insert clears away a few expired ones, so the table stays as large as one window's
  -- traffic without a scheduled job. Expired by both clocks, the gateway's and the database's:
  -- neither alone may forget a request that the other would still let through.
  DELETE FROM public.request_fingerprints
   WHERE fingerprint = ANY (ARRAY(
           SELECT f.fingerprint FROM public.request_fingerprints AS f
            WHERE f.expires_at < least(now(), v_now)
            ORDER BY f.expires_at
            LIMIT 20
              FOR UPDATE SKIP LOCKED));  -- never wait for another call's clearing
  RETURN 'first';
END
$$;

-- ---------------------------------------------------------------------------------------------
-- begin_request
-- ---------------------------------------------------------------------------------------------
-- The one round trip before the upstream request. Members of `request`:
--
--   id, did                 the gateway's id of the request, the verified caller
--   request_time            epoch ms
--   fingerprint             64 hex digits, or null; a billable request must have one
--   fingerprint_expires_at  epoch ms
--   billable                false: look up the key and refuse a replay, but write no row
--   method, path, endpoint, model, streamed, hold   for the row of a billable request
--
-- Returns {"id", "sealed_key", "key_name"}. Refuses, and then leaves no trace, with
--   PT404 no_key_for_did, PT401 replayed_request, PT403 key_disabled,
--   PT402 credit_limit_reached (HINT: {"limit", "spent", "held"} as text).
--
-- A call repeated with the same id, did and fingerprint while the request is still pending gets
-- the same answer and changes nothing.
--
-- Locks, here and in finish_request, in this order: the DID's key row, then everything else. So
-- calls for one DID queue up, calls for different DIDs never meet, and none can deadlock.
CREATE FUNCTION public.begin_request(request jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_in          jsonb   := CASE jsonb_typeof(request) WHEN 'string' THEN (request #>> '{}')::jsonb ELSE request END;
  v_id          uuid    := (v_in ->> 'id')::uuid;
  v_did         text    := v_in ->> 'did';
  v_billable    boolean := coalesce((v_in ->> 'billable')::boolean, true);
  v_fingerprint bytea   := decode(v_in ->> 'fingerprint', 'hex');
  v_hold        numeric := coalesce((v_in ->> 'hold')::numeric, 0);
  v_model       text    := nullif(left(v_in ->> 'model', 255), '');
  v_time        timestamptz := timestamptz 'epoch' + (v_in ->> 'request_time')::bigint * interval '1 millisecond';
  v_key         public.user_api_keys%ROWTYPE;
  v_use         text;
  v_answer      jsonb;
BEGIN
  IF v_id IS NULL OR v_did IS NULL OR v_time IS NULL
     OR (v_billable AND v_fingerprint IS NULL)
     OR NOT (v_hold >= 0 AND v_hold < 'Infinity')
  THEN
    RAISE EXCEPTION 'begin_request: a member is missing or out of range'
      USING ERRCODE = 'PT400', DETAIL = 'invalid_argument';
  END IF;

  IF v_billable THEN
    SELECT * INTO v_key FROM public.user_api_keys WHERE did = v_did FOR UPDATE;
  ELSE
    SELECT * INTO v_key FROM public.user_api_keys WHERE did = v_did;
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

  IF v_billable THEN
    IF v_key.spent >= v_key.credit_limit OR v_key.spent + v_key.reserved + v_hold > v_key.credit_limit THEN
      RAISE EXCEPTION 'the credit limit of this DID is reached'
        USING ERRCODE = 'PT402', DETAIL = 'credit_limit_reached',
              HINT = jsonb_build_object(
                'limit', trim_scale(v_key.credit_limit)::text,
                'spent', trim_scale(v_key.spent)::text,
                'held',  trim_scale(v_key.reserved)::text)::text;
    END IF;

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

    UPDATE public.user_api_keys SET reserved = reserved + v_hold WHERE id = v_key.id AND v_hold > 0;
  END IF;

  RETURN v_answer;
END
$$;

-- ---------------------------------------------------------------------------------------------
-- finish_request
-- ---------------------------------------------------------------------------------------------
-- Closes the books of one pending request, exactly once. Members of `outcome`:
--
--   id; status 'completed' | 'failed'; cost_state 'none' | 'pending' | 'final'; response_time (epoch ms)
--   and, each of them null where unknown: http_status, model, generation_id, input_tokens,
--   output_tokens, cached_tokens, reasoning_tokens, openrouter_cost, upstream_inference_cost,
--   is_byok, error_reason, error_message, first_byte_ms.
--
-- Releases the hold and adds the total to `spent` in the same transaction. Returns
-- {"finished": true, "status"}; a later call changes nothing and returns {"finished": false} with
-- the stored status. PT404 no_such_request.
CREATE FUNCTION public.finish_request(outcome jsonb) RETURNS jsonb
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
  v_key_id     uuid;
  v_hold       numeric;
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
    error_reason            = left(v_in ->> 'error_reason', 255),
    error_message           = left(v_in ->> 'error_message', 2000),
    first_byte_ms           = (v_in ->> 'first_byte_ms')::integer,
    response_time           = timestamptz 'epoch' + (v_in ->> 'response_time')::bigint * interval '1 millisecond'
  WHERE id = v_id AND status = 'pending'
  RETURNING key_id, hold INTO v_key_id, v_hold;

  IF NOT FOUND THEN
    SELECT status INTO v_status FROM public.request_logs WHERE id = v_id;
    RETURN jsonb_build_object('finished', false, 'status', v_status);
  END IF;

  -- The cost is the DID's; the hold lies on the row that begin_request found, which may since
  -- have been deleted and made anew.
  UPDATE public.user_api_keys SET
    spent    = spent + coalesce(v_total, 0),
    reserved = CASE WHEN id = v_key_id THEN greatest(reserved - v_hold, 0) ELSE reserved END
  WHERE did = v_did;

  RETURN jsonb_build_object('finished', true, 'status', v_status);
END
$$;

-- ---------------------------------------------------------------------------------------------
-- usage_summary
-- ---------------------------------------------------------------------------------------------
-- Totals of one DID over [start, end) of request_time. Members of `request`: id, did, request_time,
-- fingerprint (null: may be asked again) and fingerprint_expires_at as in begin_request; start and
-- end, RFC 3339 with an offset, null leaves that side open. All numbers are text. Pending requests
-- count as requests; they have no tokens and no cost yet. PT401 replayed_request.
CREATE FUNCTION public.usage_summary(request jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_in    jsonb       := CASE jsonb_typeof(request) WHEN 'string' THEN (request #>> '{}')::jsonb ELSE request END;
  v_did   text        := v_in ->> 'did';
  v_start timestamptz := (v_in ->> 'start')::timestamptz;
  v_end   timestamptz := (v_in ->> 'end')::timestamptz;
BEGIN
  IF v_did IS NULL THEN
    RAISE EXCEPTION 'usage_summary: did is missing'
      USING ERRCODE = 'PT400', DETAIL = 'invalid_argument';
  END IF;
  IF v_in ->> 'fingerprint' IS NOT NULL AND public.use_fingerprint(v_in) = 'replayed' THEN
    RAISE EXCEPTION 'this signed request has been used before'
      USING ERRCODE = 'PT401', DETAIL = 'replayed_request';
  END IF;

  RETURN (
    WITH by_model AS (
      SELECT l.model,
             count(*)                                       AS requests,
             count(*) FILTER (WHERE l.status = 'completed') AS completed,
             count(*) FILTER (WHERE l.status = 'failed')    AS failed,
             sum(l.input_tokens)  AS input_tokens,
             sum(l.output_tokens) AS output_tokens,
             sum(l.total_cost)    AS cost
        FROM public.request_logs AS l
       WHERE l.did = v_did
         AND (v_start IS NULL OR l.request_time >= v_start)
         AND (v_end   IS NULL OR l.request_time <  v_end)
       GROUP BY l.model
    )
    SELECT jsonb_build_object(
      'total_requests',      coalesce(sum(requests), 0)::text,
      'successful_requests', coalesce(sum(completed), 0)::text,
      'failed_requests',     coalesce(sum(failed), 0)::text,
      'total_input_tokens',  coalesce(sum(input_tokens), 0)::text,
      'total_output_tokens', coalesce(sum(output_tokens), 0)::text,
      'total_cost',          trim_scale(coalesce(sum(cost), 0))::text,
      'requests_by_model',   coalesce(jsonb_object_agg(model, requests::text) FILTER (WHERE model IS NOT NULL), '{}'))
      FROM by_model);
END
$$;

-- ---------------------------------------------------------------------------------------------
-- Who may do what: the gateway's secret key (service_role), nobody else
-- ---------------------------------------------------------------------------------------------
-- Supabase's default privileges give everything new in `public` to anon, authenticated and
-- service_role, PostgreSQL's give EXECUTE to PUBLIC. Row level security without policies is the
-- second lock, should a later GRANT slip in.

ALTER TABLE public.user_api_keys        ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.request_logs         ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.request_fingerprints ENABLE ROW LEVEL SECURITY;

REVOKE ALL ON public.user_api_keys, public.request_logs, public.request_fingerprints
  FROM PUBLIC, anon, authenticated, service_role;
-- DELETE is for erasing a user and for retention; UPDATE on fingerprints is what FOR UPDATE asks for.
GRANT SELECT, INSERT, UPDATE, DELETE
  ON public.user_api_keys, public.request_logs, public.request_fingerprints TO service_role;

REVOKE ALL ON FUNCTION public.begin_request(jsonb), public.finish_request(jsonb), public.usage_summary(jsonb), public.use_fingerprint(jsonb)
  FROM PUBLIC, anon, authenticated, service_role;
GRANT EXECUTE
  ON FUNCTION public.begin_request(jsonb), public.finish_request(jsonb), public.usage_summary(jsonb), public.use_fingerprint(jsonb) TO service_role;

-- A bare PostgREST learns of new functions from this; elsewhere nobody listens.
NOTIFY pgrst, 'reload schema';
