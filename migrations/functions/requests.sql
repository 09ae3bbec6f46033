-- The life of a request: begin_request, note_generation, finish_request.
--
-- The promise of a credit limit. A request begins only if spent + held + its own hold stay within the
-- limit, judged under the lock of the DID. So, however many run at once and whichever path,
-- alias or function they take, in the end
--
--   spent  <=  credit_limit + sum over the requests in flight of max(total_cost - hold, 0)
--
-- A request whose cost is not known yet (cost_state 'pending') counts as in flight: its hold stays until
-- the cost is settled. Requests that began before there was a limit have no hold.

-- Lets a signed request pass once. `request` has id, request_time (epoch ms), fingerprint (64 hex
-- digits) and fingerprint_expires_at (epoch ms). Returns 'first', 'again' (the same request, whose
-- answer was lost) or 'replayed' (a different request).
CREATE OR REPLACE FUNCTION public.use_fingerprint(request jsonb) RETURNS text
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

  -- One insert of about 20 clears expired ones away, so the table stays as large as one window's
  -- traffic without a scheduled job. Expired by both clocks, the gateway's and the database's:
  -- neither alone may forget a request that the other would still let through. One call at a time, so that
  -- none waits for another's clearing; locking the rows instead would write to each of them once more.
  IF random() < 0.05 AND pg_try_advisory_xact_lock(hashtextextended('llmgw.clear_fingerprints', 0)) THEN
    DELETE FROM public.request_fingerprints
     WHERE fingerprint = ANY (ARRAY(
             SELECT f.fingerprint FROM public.request_fingerprints AS f
              WHERE f.expires_at < least(now(), v_now)
              ORDER BY f.expires_at
              LIMIT 400));
  END IF;
  RETURN 'first';
END
$$;

-- As use_fingerprint, and refuses a replay with PT401 replayed_request. A request without a fingerprint may be
-- asked again: null.
CREATE OR REPLACE FUNCTION public.pass_once(request jsonb) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_use text;
BEGIN
  IF request ->> 'fingerprint' IS NULL THEN
    RETURN NULL;
  END IF;
  v_use := public.use_fingerprint(request);
  IF v_use = 'replayed' THEN
    RAISE EXCEPTION 'this signed request has been used before'
      USING ERRCODE = 'PT401', DETAIL = 'replayed_request';
  END IF;
  RETURN v_use;
END
$$;

-- The hold of a new request: the highest cost among the DID's last 20 settled requests to the same
-- model, for a model that it has not used yet among those to the same endpoint, and at least p_least.
-- Requests without a model learn from each other.
CREATE OR REPLACE FUNCTION public.hold_for(p_did text, p_model text, p_endpoint text, p_least numeric) RETURNS numeric
LANGUAGE plpgsql STABLE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_dearest numeric;
BEGIN
  SELECT max(c.cost) INTO v_dearest FROM public.recent_costs AS r CROSS JOIN unnest(r.costs) AS c (cost)
   WHERE r.did = p_did AND r.model = coalesce(p_model, '');
  IF v_dearest IS NULL THEN
    SELECT max(c.cost) INTO v_dearest FROM public.recent_costs AS r CROSS JOIN unnest(r.costs) AS c (cost)
     WHERE r.did = p_did AND r.endpoint = coalesce(p_endpoint, '');
  END IF;
  RETURN greatest(p_least, v_dearest);
END
$$;

-- What hold_for learns from: called under the lock of the DID, once for each cost that becomes final.
CREATE OR REPLACE FUNCTION public.note_cost(p_did text, p_model text, p_endpoint text, p_cost numeric) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
BEGIN
  UPDATE public.recent_costs AS r SET costs = (p_cost || r.costs)[1:20]
   WHERE r.did = p_did AND r.model = coalesce(p_model, '') AND r.endpoint = coalesce(p_endpoint, '');
  IF NOT FOUND THEN
    INSERT INTO public.recent_costs (did, model, endpoint, costs)
    VALUES (p_did, coalesce(p_model, ''), coalesce(p_endpoint, ''), ARRAY[p_cost]);
  END IF;
END
$$;

-- The value of rate_tat after one more request (GCRA, as in ITU-T I.371): it may run ahead of the
-- database's clock by one minute's worth of requests. Refuses with PT429 rate_limited (HINT:
-- {"requests_per_minute", "retry_after" in whole seconds}, numbers).
CREATE OR REPLACE FUNCTION public.next_tat(p_tat timestamptz, p_requests_per_minute integer) RETURNS timestamptz
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

-- Judges one more request of an account: returns its rate_tat after it. p_rate is the rate of an account
-- that names none, p_hold what a billable request would hold. Refuses as begin_request says.
CREATE OR REPLACE FUNCTION public.judge_request(p_account public.accounts, p_rate integer, p_hold numeric) RETURNS timestamptz
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_rate integer     := coalesce(p_account.requests_per_minute, p_rate);
  v_tat  timestamptz := p_account.rate_tat;
BEGIN
  IF p_account.disabled THEN
    RAISE EXCEPTION 'the key of this DID is disabled'
      USING ERRCODE = 'PT403', DETAIL = 'key_disabled';
  END IF;
  IF v_rate IS NOT NULL THEN
    v_tat := public.next_tat(v_tat, v_rate);
  END IF;
  IF p_account.spent >= p_account.credit_limit AND p_hold IS NOT NULL
     OR p_account.spent + p_account.held + p_hold > p_account.credit_limit
  THEN
    RAISE EXCEPTION 'the credit limit of this DID is reached'
      USING ERRCODE = 'PT402', DETAIL = 'credit_limit_reached',
            HINT = jsonb_build_object(
              'limit', trim_scale(p_account.credit_limit)::text,
              'spent', trim_scale(p_account.spent)::text,
              'held',  trim_scale(p_account.held)::text,
              'hold',  trim_scale(p_hold)::text)::text;
  END IF;
  RETURN v_tat;
END
$$;

-- The one round trip before the upstream request. Fields of `request`:
--
--   id                      the gateway's id of the request
--   did                     the verified caller; null: the one to whom the token belongs
--   token_digest            SHA-256 of the access token that came with the request, 64 hex digits; null: signed
--   request_time            epoch ms
--   fingerprint             64 hex digits, or null; a billable request without a token must have one
--   fingerprint_expires_at  epoch ms
--   owners                  with a token: the DIDs of which its owner must be one (judge_owner); absent: any
--   app, tag                the client's name for itself, and for the request; a token's own tag comes first
--   models, models_unreadable   see judge_scope; for a token that is for some models only
--   billable                false: look up the key and refuse a replay, but write no row
--   method, path, endpoint, model, streamed   for the row of a billable request
--   hold                    the least hold; see hold_for. Without a credit limit nothing is held.
--   free                    true: the model costs nothing, so nothing is held and no credit limit refuses it
--   several_generations     true: the request may make several generations
--   max_open_requests       how many billable requests the DID may have that have not ended; null or absent: no limit
--   max_open_jobs           the request creates a job, and the DID may have at most so many whose cost is not
--                           known; null or absent: no limit
--   job_endpoints           with it, an array of the endpoints that create jobs
--   requests_per_minute     the rate of a DID whose account does not name one; null or absent: no limit.
--                           Counts every request that passes, billable or not, and none that is refused.
--   uncounted               true: no rate counts this request
--   approved_only           true: the DID must be one that the operator has approved
--   own_key_only            true: the DID must have brought its key, because the path reaches what all
--                           provisioned keys share
--
-- Returns {"id", "did", "sealed_key", "key_name"}. Refuses, and then leaves no trace, with
--   the refusals of find_token and judge_scope, PT402 budget_reached (judge_budgets),
--   PT403 did_not_allowed, PT404 no_key_for_did, PT403 path_needs_own_key, PT401 replayed_request,
--   PT403 key_disabled, PT409 request_id_taken,
--   PT429 rate_limited (see next_tat),
--   PT429 too_many_open_requests (HINT: {"open_requests", "max_open_requests"}, numbers),
--   PT429 too_many_open_jobs (HINT: {"open_jobs", "max_open_jobs"}, numbers),
--   PT402 credit_limit_reached (HINT: {"limit", "spent", "held", "hold"} as text, where hold is what
--   this request would have reserved).
--
-- A call repeated with the same id, did and fingerprint (or token) while the request is still pending gets the
-- same answer and changes nothing.
--
-- A refusal is judged first without a lock and without a write, so that a caller who sends what will be
-- refused anyway keeps nobody waiting; then, if what it was judged by has changed, once more under the lock of the
-- DID. A token is looked up twice for the same reason: the first time tells the DID, and refuses a million guesses
-- without a lock; by the second one a revocation, a rotation or an edit that ended meanwhile counts.
CREATE OR REPLACE FUNCTION public.begin_request(request jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_in          jsonb   := public.decoded(request);
  v_id          uuid    := (v_in ->> 'id')::uuid;
  v_did         text    := v_in ->> 'did';
  v_billable    boolean := coalesce((v_in ->> 'billable')::boolean, true);
  v_fingerprint bytea   := decode(v_in ->> 'fingerprint', 'hex');
  v_least       numeric := coalesce((v_in ->> 'hold')::numeric, 0);
  v_rate        integer := (v_in ->> 'requests_per_minute')::integer;
  v_uncounted   boolean := coalesce((v_in ->> 'uncounted')::boolean, false);
  v_limited     boolean := v_billable AND NOT coalesce((v_in ->> 'free')::boolean, false);
  v_max_open    integer := (v_in ->> 'max_open_requests')::integer;
  v_open        integer;
  v_max_jobs    integer := (v_in ->> 'max_open_jobs')::integer;
  v_jobs        integer;
  v_model       text    := nullif(left(v_in ->> 'model', 255), '');
  v_time        timestamptz := timestamptz 'epoch' + (v_in ->> 'request_time')::bigint * interval '1 millisecond';
  v_digest      bytea   := decode(v_in ->> 'token_digest', 'hex');
  v_token       public.access_tokens;
  v_locked_token public.access_tokens;
  v_token_tat   timestamptz;
  v_budgets     boolean := false;
  v_account     public.accounts;
  v_locked      public.accounts;
  v_key         public.user_api_keys;
  v_passed      uuid;
  v_judged      boolean;
  v_use         text;
  v_hold        numeric;
  v_tat         timestamptz;
BEGIN
  IF v_id IS NULL OR v_time IS NULL
     OR (v_did IS NULL) = (v_digest IS NULL)
     OR (v_billable AND v_digest IS NULL AND v_fingerprint IS NULL)
     OR NOT (v_least >= 0 AND v_least < 'Infinity')
     OR v_rate <= 0
     OR (v_max_jobs IS NOT NULL AND coalesce(jsonb_typeof(v_in -> 'job_endpoints') <> 'array', true))
  THEN
    RAISE EXCEPTION 'begin_request: a member is missing or out of range'
      USING ERRCODE = 'PT400', DETAIL = 'invalid_argument';
  END IF;

  IF v_digest IS NOT NULL THEN
    v_token := public.find_token(v_digest, v_time);
    v_did   := v_token.did;
    v_in    := v_in || public.judge_owner(v_did, v_in -> 'owners');
    IF v_billable THEN
      PERFORM public.judge_scope(v_token, v_in);
    END IF;
  END IF;

  -- The account before the fingerprint: an account that counts an earlier attempt of the same request
  -- implies that its fingerprint is seen, too.
  SELECT * INTO v_account FROM public.accounts AS a WHERE a.did = v_did;
  IF (v_in ->> 'approved_only')::boolean THEN
    PERFORM public.require_approval(v_account);
  END IF;
  IF v_uncounted THEN
    v_rate := NULL;
    v_account.requests_per_minute := NULL;
  END IF;
  SELECT * INTO v_key FROM public.user_api_keys AS k WHERE k.did = v_did;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'no key is stored for this DID'
      USING ERRCODE = 'PT404', DETAIL = 'no_key_for_did';
  END IF;
  SELECT f.request_id INTO v_passed FROM public.request_fingerprints AS f WHERE f.fingerprint = v_fingerprint;
  IF v_passed <> v_id THEN
    RAISE EXCEPTION 'this signed request has been used before'
      USING ERRCODE = 'PT401', DETAIL = 'replayed_request';
  END IF;
  -- A token has no fingerprint: a repetition is known by its id alone.
  IF v_billable AND v_digest IS NOT NULL THEN
    SELECT l.id INTO v_passed FROM public.request_logs AS l WHERE l.id = v_id;
  END IF;
  v_budgets := EXISTS (
    SELECT FROM public.budgets AS b WHERE b.did = v_did AND (b.token_id IS NULL OR b.token_id = v_token.id));
  v_hold := CASE WHEN v_limited AND (v_budgets OR v_account.credit_limit IS NOT NULL)
                 THEN public.hold_for(v_did, v_model, v_in ->> 'endpoint', v_least) END;
  v_judged := v_passed IS NULL;
  IF v_judged THEN
    v_tat := public.judge_request(v_account, v_rate, v_hold);
    IF v_budgets THEN
      PERFORM public.judge_budgets(v_did, v_token.id, v_time, v_hold);
    END IF;
  END IF;

  -- A look-up that is not counted waits for no other call.
  IF v_billable OR coalesce(v_account.requests_per_minute, v_rate, v_token.requests_per_minute) IS NOT NULL THEN
    v_locked := public.lock_account(v_did);
    IF v_uncounted THEN
      v_locked.requests_per_minute := NULL;
    END IF;
    SELECT * INTO v_key FROM public.user_api_keys AS k WHERE k.did = v_did;
    IF NOT FOUND THEN
      RAISE EXCEPTION 'no key is stored for this DID'
        USING ERRCODE = 'PT404', DETAIL = 'no_key_for_did';
    END IF;
    -- Where nothing has been begun or finished since, the judgement stands: but that of budgets, which may have been
    -- changed, and that of a token whose scope was.
    IF v_digest IS NOT NULL THEN
      v_locked_token := public.find_token(v_digest, v_time);
      IF v_billable AND (v_locked_token.models, v_locked_token.endpoints) IS DISTINCT FROM (v_token.models, v_token.endpoints) THEN
        PERFORM public.judge_scope(v_locked_token, v_in);
      END IF;
      v_token := v_locked_token;
    END IF;
    v_budgets := EXISTS (
      SELECT FROM public.budgets AS b WHERE b.did = v_did AND (b.token_id IS NULL OR b.token_id = v_token.id));
    IF v_budgets OR v_locked IS DISTINCT FROM v_account THEN
      v_judged  := false;
      v_account := v_locked;
      v_hold    := CASE WHEN v_limited AND (v_budgets OR v_account.credit_limit IS NOT NULL)
                        THEN public.hold_for(v_did, v_model, v_in ->> 'endpoint', v_least) END;
    END IF;
  END IF;

  IF (v_in ->> 'own_key_only')::boolean AND v_key.provisioning_id IS NOT NULL THEN
    RAISE EXCEPTION 'this path takes a key that the DID has brought'
      USING ERRCODE = 'PT403', DETAIL = 'path_needs_own_key';
  END IF;

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
      RETURN jsonb_build_object('id', v_id, 'did', v_did, 'sealed_key', v_key.encrypted_api_key,
                                'key_name', v_key.key_name);
    END IF;
  ELSIF v_billable AND EXISTS (
    SELECT FROM public.request_logs AS l
     WHERE l.id = v_id AND l.did = v_did AND l.token_id = v_token.id AND l.status = 'pending')
  THEN
    RETURN jsonb_build_object('id', v_id, 'did', v_did, 'sealed_key', v_key.encrypted_api_key,
                              'key_name', v_key.key_name);
  END IF;

  IF NOT v_judged THEN
    v_tat := public.judge_request(v_account, v_rate, v_hold);
    IF v_budgets THEN
      PERFORM public.judge_budgets(v_did, v_token.id, v_time, v_hold);
    END IF;
  END IF;
  IF v_token.requests_per_minute IS NOT NULL AND NOT v_uncounted THEN
    v_token_tat := public.next_tat(v_token.rate_tat, v_token.requests_per_minute);
  END IF;

  -- Under the lock of the DID, as the credit limit.
  IF v_billable AND (v_max_open IS NOT NULL OR v_max_jobs IS NOT NULL) THEN
    SELECT count(*) FILTER (WHERE l.status = 'pending'), count(*) FILTER (WHERE v_in -> 'job_endpoints' ? l.endpoint)
      INTO v_open, v_jobs
      FROM public.open_requests AS o JOIN public.request_logs AS l ON l.id = o.request_id
     WHERE o.did = v_did AND NOT o.abandoned;
    IF v_open >= v_max_open THEN
      RAISE EXCEPTION 'this DID has as many open requests as it may'
        USING ERRCODE = 'PT429', DETAIL = 'too_many_open_requests',
              HINT = jsonb_build_object('open_requests', v_open, 'max_open_requests', v_max_open)::text;
    ELSIF v_jobs >= v_max_jobs THEN
      RAISE EXCEPTION 'this DID has as many open jobs as it may'
        USING ERRCODE = 'PT429', DETAIL = 'too_many_open_jobs',
              HINT = jsonb_build_object('open_jobs', v_jobs, 'max_open_jobs', v_max_jobs)::text;
    END IF;
  END IF;

  IF v_billable THEN
    INSERT INTO public.request_logs
      (id, did, model, requested_model, method, path, endpoint, streamed, several_generations, token_id, app, tag,
       hold, request_time, status)
    SELECT
       v_id, v_did, coalesce(v_model, 'unknown'), v_model, v_in ->> 'method', v_in ->> 'path',
       v_in ->> 'endpoint', (v_in ->> 'streamed')::boolean, (v_in ->> 'several_generations')::boolean,
       v_token.id, nullif(left(v_in ->> 'app', 64), ''), coalesce(v_token.tag, left(v_in ->> 'tag', 64)),
       coalesce(v_hold, 0), v_time, 'pending'
     WHERE NOT EXISTS (SELECT FROM public.request_logs AS l WHERE l.id = v_id);
    IF NOT FOUND THEN
      RAISE EXCEPTION 'another request has this id'
        USING ERRCODE = 'PT409', DETAIL = 'request_id_taken';
    END IF;
  END IF;

  IF v_hold > 0 OR v_tat IS DISTINCT FROM v_account.rate_tat THEN
    UPDATE public.accounts SET held = held + coalesce(v_hold, 0), rate_tat = v_tat WHERE did = v_did;
  END IF;

  IF v_budgets AND v_hold > 0 THEN
    PERFORM public.book_budgets(v_did, v_token.id, v_time, 0, v_hold);
  END IF;
  IF v_token_tat IS NOT NULL
     OR v_token.id IS NOT NULL AND coalesce(v_token.last_used_at, '-infinity') < date_trunc('minute', v_time)
  THEN
    UPDATE public.access_tokens
       SET last_used_at = greatest(last_used_at, date_trunc('minute', v_time)),
           rate_tat     = coalesce(v_token_tat, rate_tat)
     WHERE id = v_token.id;
  END IF;

  RETURN jsonb_build_object('id', v_id, 'did', v_did, 'sealed_key', v_key.encrypted_api_key, 'key_name', v_key.key_name);
END
$$;

-- Names the generation of a request that is still running, so that a row whose function was killed can
-- be priced. Fields of `request`: id, generation_id.
--
-- Returns {"noted": true}, or false and changes nothing where the row is not pending, names a
-- generation already, or does not exist. So it may come before finish_request, after it, or twice.
--
-- It locks nothing but the row, in one statement, so it cannot deadlock with callers that lock the DID
-- first, and requests of the same DID do not wait for it.
CREATE OR REPLACE FUNCTION public.note_generation(request jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_in         jsonb := public.decoded(request);
  v_id         uuid  := (v_in ->> 'id')::uuid;
  v_generation text  := nullif(left(v_in ->> 'generation_id', 255), '');
BEGIN
  IF v_id IS NULL OR v_generation IS NULL THEN
    RAISE EXCEPTION 'note_generation: a member is missing'
      USING ERRCODE = 'PT400', DETAIL = 'invalid_argument';
  END IF;
  -- Losing it in a crash of the database costs no more than asking for it once, so nobody waits for the
  -- disk. For the rest of this transaction, which has only this call.
  PERFORM set_config('synchronous_commit', 'off', true);
  UPDATE public.request_logs SET generation_id = v_generation
   WHERE id = v_id AND status = 'pending' AND generation_id IS NULL;
  RETURN jsonb_build_object('noted', FOUND);
END
$$;

-- Closes the books of one pending request, exactly once. Fields of `outcome`:
--
--   id; status 'completed' | 'failed'; cost_state 'none' | 'pending' | 'final'; response_time (epoch ms)
--   and, each of them null where unknown: http_status, model, input_tokens, output_tokens,
--   cached_tokens, cache_write_tokens, reasoning_tokens, service_tier, openrouter_cost, server_tool_cost,
--   upstream_inference_cost, is_byok, error_reason, error_message, first_byte_ms, and
--   generation_id   null or absent keeps what note_generation stored
--   job_id          null or absent: the request created no job. Where an earlier request of the DID
--                   created the same job, that one carries its cost and this one none.
--
-- Adds the total to `spent` and releases the hold in the same transaction, but with cost_state
-- 'pending' the hold stays in request_logs.hold and accounts.held until the cost is settled.
--
-- Returns {"finished": true, "status"}; a later call changes nothing and returns {"finished": false} with
-- the stored status. PT404 no_such_request.
--
-- It also closes, once, a row that reconciliation has given up as 'abandoned': the function lived longer
-- than expected, or its record came from the log. What was released then stays released.
CREATE OR REPLACE FUNCTION public.finish_request(outcome jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_in         jsonb   := public.decoded(outcome);
  v_id         uuid    := (v_in ->> 'id')::uuid;
  v_status     text    := v_in ->> 'status';
  v_cost_state text    := v_in ->> 'cost_state';
  v_job        text    := nullif(left(v_in ->> 'job_id', 255), '');
  v_openrouter numeric := (v_in ->> 'openrouter_cost')::numeric;
  v_upstream   numeric := (v_in ->> 'upstream_inference_cost')::numeric;
  v_tool       numeric := (v_in ->> 'server_tool_cost')::numeric;
  v_is_byok    boolean := (v_in ->> 'is_byok')::boolean;
  v_time       timestamptz := timestamptz 'epoch' + (v_in ->> 'response_time')::bigint * interval '1 millisecond';
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
     OR NOT (coalesce(v_tool, 0) >= 0 AND coalesce(v_tool, 0) < 'Infinity')
  THEN
    RAISE EXCEPTION 'finish_request: a member is missing or out of range'
      USING ERRCODE = 'PT400', DETAIL = 'invalid_argument';
  END IF;

  SELECT did INTO v_did FROM public.request_logs WHERE id = v_id;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'no request has this id'
      USING ERRCODE = 'PT404', DETAIL = 'no_such_request';
  END IF;

  PERFORM public.lock_account(v_did);

  -- Without a lock of its own, which would be written to the WAL: what is read here changes under the DID's only.
  SELECT * INTO v_row FROM public.request_logs
   WHERE id = v_id AND (status = 'pending' OR (error_reason = 'abandoned' AND cost_state = 'unknown'));
  IF NOT FOUND THEN
    SELECT status INTO v_status FROM public.request_logs WHERE id = v_id;
    RETURN jsonb_build_object('finished', false, 'status', v_status);
  END IF;

  -- Under the lock of the DID, so of two that tell of the same job one is the first.
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
    cache_write_tokens      = (v_in ->> 'cache_write_tokens')::integer,
    reasoning_tokens        = (v_in ->> 'reasoning_tokens')::integer,
    service_tier            = left(v_in ->> 'service_tier', 255),
    openrouter_cost         = v_openrouter,
    server_tool_cost        = v_tool,
    upstream_inference_cost = v_upstream,
    is_byok                 = v_is_byok,
    total_cost              = v_total,
    cost_state              = v_cost_state,
    hold                    = hold - v_released,
    error_reason            = left(v_in ->> 'error_reason', 255),
    error_message           = left(v_in ->> 'error_message', 2000),
    -- Both count from the request's arrival; a record that says otherwise must not keep the books open.
    first_byte_ms           = CASE WHEN v_in ->> 'first_byte_ms' IS NOT NULL THEN
                                trunc(least((v_in ->> 'first_byte_ms')::numeric,
                                            greatest(extract(epoch FROM v_time - request_time) * 1000, 0)))::integer
                              END,
    response_time           = v_time,
    unknown_cost_reason     = NULL,
    known_cost              = NULL,
    reconcile_attempts      = 0,
    next_reconcile_at       = NULL,
    settled_at              = NULL
  WHERE id = v_id;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'the request was deleted' USING ERRCODE = 'PT404', DETAIL = 'no_such_request';
  END IF;

  UPDATE public.accounts SET
    spent = spent + coalesce(v_total, 0),
    held  = greatest(held - v_released, 0)
  WHERE did = v_did AND (v_total > 0 OR v_released > 0);
  IF v_total IS NOT NULL THEN
    PERFORM public.note_cost(v_did, v_row.requested_model, v_row.endpoint, v_total);
  END IF;

  RETURN jsonb_build_object('finished', true, 'status', v_status);
END
$$;

REVOKE ALL ON FUNCTION public.use_fingerprint(jsonb), public.pass_once(jsonb), public.hold_for(text, text, text, numeric),
    public.note_cost(text, text, text, numeric), public.judge_request(public.accounts, integer, numeric),
    public.next_tat(timestamptz, integer), public.begin_request(jsonb), public.note_generation(jsonb),
    public.finish_request(jsonb)
  FROM PUBLIC, anon, authenticated, service_role;
GRANT EXECUTE ON FUNCTION public.use_fingerprint(jsonb), public.pass_once(jsonb), public.hold_for(text, text, text, numeric),
    public.note_cost(text, text, text, numeric), public.judge_request(public.accounts, integer, numeric),
    public.next_tat(timestamptz, integer), public.begin_request(jsonb), public.note_generation(jsonb),
    public.finish_request(jsonb)
  TO service_role;
