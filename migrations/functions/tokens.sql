-- Access tokens: made, listed, changed, rotated and revoked by the DID that owns them (create_token and the
-- following), and found by those who present one (find_token). Each change is in key_events.
--
-- The secret is never here, only its SHA-256. One of a token passes, or two while an old one overlaps.

-- A token as its owner sees it. Times are RFC 3339 or null, money and counts text. Requests and cost are those
-- that have finished.
CREATE OR REPLACE FUNCTION public.token_json(p_token public.access_tokens, p_time timestamptz) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY INVOKER SET search_path = '' AS $$
BEGIN
  RETURN jsonb_build_object(
    'id',                  p_token.id,
    'label',               p_token.label,
    'name',                p_token.name,
    'state',               CASE WHEN p_token.revoked_at IS NOT NULL THEN 'revoked'
                                WHEN p_token.expires_at <= p_time THEN 'expired'
                                WHEN p_token.disabled THEN 'disabled'
                                ELSE 'live' END,
    'created_at',          p_token.created_at,
    'expires_at',          p_token.expires_at,
    'revoked_at',          p_token.revoked_at,
    'last_used_at',        p_token.last_used_at,
    'models',              to_jsonb(p_token.models),
    'endpoints',           to_jsonb(p_token.endpoints),
    'requests_per_minute', p_token.requests_per_minute,
    'read_usage',          p_token.read_usage,
    'tag',                 p_token.tag,
    'disabled',            p_token.disabled,
    'budgets',             public.budgets_json(p_token.did, p_token.id, p_time))
    || (SELECT jsonb_build_object(
                 'requests', coalesce(sum(h.requests), 0)::text,
                 'cost',     trim_scale(coalesce(sum(h.cost), 0))::text)
          FROM public.usage_series AS s
          JOIN public.usage_hours AS h ON h.series_id = s.id
         WHERE s.did = p_token.did AND s.token_id = p_token.id);
END
$$;

-- Takes the lock of the DID, lets the signed request pass once, and returns the token `id` of the DID. Refuses
-- with PT404 no_such_token, also for a revoked one, PT401 replayed_request. `p_use` is 'again' where the call is
-- a repetition.
CREATE OR REPLACE FUNCTION public.lock_token(p_in jsonb, OUT p_token public.access_tokens, OUT p_use text)
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
BEGIN
  IF p_in ->> 'id' IS NULL OR p_in ->> 'did' IS NULL OR p_in ->> 'fingerprint' IS NULL OR p_in ->> 'token_id' IS NULL THEN
    RAISE EXCEPTION 'a member is missing' USING ERRCODE = 'PT400', DETAIL = 'invalid_argument';
  END IF;
  PERFORM public.lock_account(p_in ->> 'did');
  p_use := public.pass_once(p_in);
  SELECT * INTO p_token FROM public.access_tokens AS t
   WHERE t.id = (p_in ->> 'token_id')::uuid AND t.did = p_in ->> 'did'
     AND (t.revoked_at IS NULL OR p_use = 'again');
  IF NOT FOUND THEN
    RAISE EXCEPTION 'this DID has no such token' USING ERRCODE = 'PT404', DETAIL = 'no_such_token';
  END IF;
END
$$;

-- Checks a token that was made or changed against the other live ones of its DID. Refuses with PT409
-- token_name_taken if one has its name, PT409 too_many_tokens (HINT: {"max_tokens"}). A token that has expired
-- takes no place and no name, until its expiry is changed.
CREATE OR REPLACE FUNCTION public.check_live_tokens(p_token public.access_tokens, p_time timestamptz) RETURNS void
LANGUAGE plpgsql STABLE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  c_max_tokens CONSTANT integer := 100;
  v_live       integer;
  v_same       integer;
BEGIN
  IF p_token.expires_at <= p_time THEN
    RETURN;
  END IF;
  SELECT count(*), count(*) FILTER (WHERE t.name = p_token.name) INTO v_live, v_same
    FROM public.access_tokens AS t
   WHERE t.did = p_token.did AND t.id <> p_token.id AND t.revoked_at IS NULL
     AND (t.expires_at IS NULL OR t.expires_at > p_time);
  IF v_same > 0 THEN
    RAISE EXCEPTION 'another token has this name' USING ERRCODE = 'PT409', DETAIL = 'token_name_taken';
  ELSIF v_live >= c_max_tokens THEN
    RAISE EXCEPTION 'this DID has as many tokens as it may'
      USING ERRCODE = 'PT409', DETAIL = 'too_many_tokens',
            HINT = jsonb_build_object('max_tokens', c_max_tokens)::text;
  END IF;
END
$$;

-- Makes a token. Fields of `request`: id (of the request, and of the token), did, request_time, fingerprint,
-- fingerprint_expires_at as in begin_request; digest (64 hex digits), label, name; and, each of them null or
-- absent for none: expires_at (RFC 3339), models, endpoints (arrays), requests_per_minute, tag, read_usage
-- (default true), budgets (set_budgets). Returns token_json. PT401 replayed_request, PT404 no_key_for_did, PT409
-- token_name_taken, PT409 too_many_tokens (HINT: {"max_tokens"}), PT403 key_disabled.
--
-- A call repeated with the same id and fingerprint gets the same answer and changes nothing.
CREATE OR REPLACE FUNCTION public.create_token(request jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_in      jsonb       := public.decoded(request);
  v_id      uuid        := (v_in ->> 'id')::uuid;
  v_did     text        := v_in ->> 'did';
  v_digest  bytea       := decode(v_in ->> 'digest', 'hex');
  v_now     timestamptz := timestamptz 'epoch' + (v_in ->> 'request_time')::bigint * interval '1 millisecond';
  v_account public.accounts;
  v_token   public.access_tokens;
  v_use     text;
BEGIN
  IF v_id IS NULL OR v_did IS NULL OR v_now IS NULL OR v_in ->> 'fingerprint' IS NULL
     OR v_in ->> 'name' IS NULL OR v_in ->> 'label' IS NULL OR coalesce(length(v_digest), 0) <> 32
  THEN
    RAISE EXCEPTION 'create_token: a member is missing or out of range'
      USING ERRCODE = 'PT400', DETAIL = 'invalid_argument';
  END IF;

  v_account := public.lock_account(v_did);
  v_use := public.pass_once(v_in);
  IF v_use = 'again' THEN
    SELECT * INTO v_token FROM public.access_tokens AS t WHERE t.id = v_id AND t.did = v_did;
    RETURN public.token_json(v_token, v_now);
  END IF;
  -- Also so that strangers cannot make rows.
  IF NOT EXISTS (SELECT FROM public.user_api_keys AS k WHERE k.did = v_did) THEN
    RAISE EXCEPTION 'no key is stored for this DID' USING ERRCODE = 'PT404', DETAIL = 'no_key_for_did';
  END IF;
  IF v_account.disabled THEN
    RAISE EXCEPTION 'the key of this DID is disabled' USING ERRCODE = 'PT403', DETAIL = 'key_disabled';
  END IF;

  INSERT INTO public.access_tokens
    (id, did, label, name, created_at, expires_at, models, endpoints, requests_per_minute, read_usage, tag)
  VALUES
    (v_id, v_did, v_in ->> 'label', v_in ->> 'name', v_now, (v_in ->> 'expires_at')::timestamptz,
     public.texts(v_in -> 'models'), public.texts(v_in -> 'endpoints'), (v_in ->> 'requests_per_minute')::integer,
     coalesce((v_in ->> 'read_usage')::boolean, true), v_in ->> 'tag')
  RETURNING * INTO v_token;
  PERFORM public.check_live_tokens(v_token, v_now);
  INSERT INTO public.token_digests (digest, token_id) VALUES (v_digest, v_id);
  PERFORM public.set_budgets(v_did, v_id, coalesce(nullif(v_in -> 'budgets', 'null'), '[]'), v_now);
  PERFORM public.note_key_event(v_in, 'user', 'token_created', NULL, NULL,
    jsonb_build_object('token', v_id, 'label', v_token.label, 'name', v_token.name));
  RETURN public.token_json(v_token, v_now);
END
$$;

-- The tokens of a DID, the newest first, or the one with token_id. Fields of `request`: id, did, request_time,
-- fingerprint (null: may be asked again) and fingerprint_expires_at; token_id or null; all: the ended ones, too.
-- Returns an array of token_json. PT404 no_such_token, PT401 replayed_request.
CREATE OR REPLACE FUNCTION public.list_tokens(request jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_in    jsonb       := public.decoded(request);
  v_did   text        := v_in ->> 'did';
  v_token uuid        := (v_in ->> 'token_id')::uuid;
  v_now   timestamptz := timestamptz 'epoch' + (v_in ->> 'request_time')::bigint * interval '1 millisecond';
  v_all   boolean     := coalesce((v_in ->> 'all')::boolean, false) OR v_token IS NOT NULL;
  v_answer jsonb;
BEGIN
  IF v_did IS NULL OR v_now IS NULL THEN
    RAISE EXCEPTION 'list_tokens: a member is missing' USING ERRCODE = 'PT400', DETAIL = 'invalid_argument';
  END IF;
  PERFORM public.pass_once(v_in);
  SELECT coalesce(jsonb_agg(public.token_json(t, v_now) ORDER BY t.created_at DESC, t.id), '[]') INTO v_answer
    FROM public.access_tokens AS t
   WHERE t.did = v_did AND (v_token IS NULL OR t.id = v_token)
     AND (v_all OR t.revoked_at IS NULL AND (t.expires_at IS NULL OR t.expires_at > v_now));
  IF v_token IS NOT NULL AND v_answer = '[]' THEN
    RAISE EXCEPTION 'this DID has no such token' USING ERRCODE = 'PT404', DETAIL = 'no_such_token';
  END IF;
  RETURN v_answer;
END
$$;

-- Changes a token. Fields of `request`: those of lock_token (id, did, request_time, fingerprint,
-- fingerprint_expires_at, token_id), and of these the ones to change, null for none: name, expires_at, models,
-- endpoints, requests_per_minute, read_usage, tag, disabled, budgets. Returns token_json. PT404 no_such_token,
-- PT409 token_name_taken, PT409 too_many_tokens, PT401 replayed_request, PT409 token_unbounded: a token has an expiry or a budget.
CREATE OR REPLACE FUNCTION public.edit_token(request jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_in    jsonb       := public.decoded(request);
  v_now   timestamptz := timestamptz 'epoch' + (v_in ->> 'request_time')::bigint * interval '1 millisecond';
  v_token public.access_tokens;
  v_found record;
BEGIN
  SELECT * INTO v_found FROM public.lock_token(v_in);
  v_token := v_found.p_token;
  IF v_found.p_use = 'again' THEN
    RETURN public.token_json(v_token, v_now);
  END IF;
  UPDATE public.access_tokens AS t SET
    name                = CASE WHEN v_in ? 'name'      THEN v_in ->> 'name'                     ELSE t.name       END,
    expires_at          = CASE WHEN v_in ? 'expires_at' THEN (v_in ->> 'expires_at')::timestamptz ELSE t.expires_at END,
    models              = CASE WHEN v_in ? 'models'    THEN public.texts(v_in -> 'models')      ELSE t.models     END,
    endpoints           = CASE WHEN v_in ? 'endpoints' THEN public.texts(v_in -> 'endpoints')   ELSE t.endpoints  END,
    requests_per_minute = CASE WHEN v_in ? 'requests_per_minute'
                               THEN (v_in ->> 'requests_per_minute')::integer ELSE t.requests_per_minute END,
    read_usage          = CASE WHEN v_in ? 'read_usage' THEN (v_in ->> 'read_usage')::boolean   ELSE t.read_usage END,
    tag                 = CASE WHEN v_in ? 'tag'       THEN v_in ->> 'tag'                      ELSE t.tag        END,
    disabled            = CASE WHEN v_in ? 'disabled'  THEN (v_in ->> 'disabled')::boolean      ELSE t.disabled   END
   WHERE t.id = v_token.id
  RETURNING * INTO v_token;
  PERFORM public.check_live_tokens(v_token, v_now);
  IF v_in ? 'budgets' THEN
    PERFORM public.set_budgets(v_token.did, v_token.id, coalesce(nullif(v_in -> 'budgets', 'null'), '[]'), v_now);
  END IF;
  IF v_token.expires_at IS NULL AND NOT EXISTS (SELECT FROM public.budgets AS b WHERE b.did = v_token.did AND b.token_id = v_token.id) THEN
    RAISE EXCEPTION 'a token has an expiry or a budget' USING ERRCODE = 'PT409', DETAIL = 'token_unbounded';
  END IF;
  PERFORM public.note_key_event(v_in, 'user', 'token_changed', NULL, NULL,
    jsonb_build_object('token', v_token.id, 'label', v_token.label,
      'changed', v_in - ARRAY['id', 'did', 'request_time', 'fingerprint', 'fingerprint_expires_at', 'token_id']));
  RETURN public.token_json(v_token, v_now);
END
$$;

-- Gives a token a new secret. Further fields of `request`: digest, label, overlap_seconds: how long the old
-- secret still passes, 0 to 604800. Even older ones end at once; for 30 days each is known as one that has ended.
-- Returns token_json.
CREATE OR REPLACE FUNCTION public.rotate_token(request jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_in      jsonb       := public.decoded(request);
  v_now     timestamptz := timestamptz 'epoch' + (v_in ->> 'request_time')::bigint * interval '1 millisecond';
  v_digest  bytea       := decode(v_in ->> 'digest', 'hex');
  v_overlap integer     := (v_in ->> 'overlap_seconds')::integer;
  v_token   public.access_tokens;
  v_found record;
BEGIN
  IF coalesce(length(v_digest), 0) <> 32 OR v_in ->> 'label' IS NULL OR v_overlap IS NULL
     OR v_overlap NOT BETWEEN 0 AND 604800
  THEN
    RAISE EXCEPTION 'rotate_token: a member is missing or out of range'
      USING ERRCODE = 'PT400', DETAIL = 'invalid_argument';
  END IF;
  SELECT * INTO v_found FROM public.lock_token(v_in);
  v_token := v_found.p_token;
  IF v_found.p_use = 'again' THEN
    RETURN public.token_json(v_token, v_now);
  END IF;
  DELETE FROM public.token_digests AS d
   WHERE d.token_id = v_token.id AND d.valid_until < v_now - interval '30 days';
  UPDATE public.token_digests AS d
     SET valid_until = least(d.valid_until, v_now + CASE WHEN d.valid_until IS NULL THEN v_overlap ELSE 0 END * interval '1 second'),
         ended       = d.valid_until IS NOT NULL OR v_overlap = 0
   WHERE d.token_id = v_token.id;
  INSERT INTO public.token_digests (digest, token_id) VALUES (v_digest, v_token.id);
  UPDATE public.access_tokens AS t SET label = v_in ->> 'label' WHERE t.id = v_token.id RETURNING * INTO v_token;
  PERFORM public.note_key_event(v_in, 'user', 'token_rotated', NULL, NULL,
    jsonb_build_object('token', v_token.id, 'label', v_token.label, 'overlap_seconds', v_overlap));
  RETURN public.token_json(v_token, v_now);
END
$$;

-- Ends a token: no request begins with it after this. Its rows stay. Returns token_json.
CREATE OR REPLACE FUNCTION public.revoke_token(request jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_in    jsonb       := public.decoded(request);
  v_now   timestamptz := timestamptz 'epoch' + (v_in ->> 'request_time')::bigint * interval '1 millisecond';
  v_token public.access_tokens;
  v_found record;
BEGIN
  SELECT * INTO v_found FROM public.lock_token(v_in);
  v_token := v_found.p_token;
  IF v_found.p_use = 'again' THEN
    RETURN public.token_json(v_token, v_now);
  END IF;
  UPDATE public.access_tokens AS t SET revoked_at = v_now WHERE t.id = v_token.id RETURNING * INTO v_token;
  PERFORM public.note_key_event(v_in, 'user', 'token_revoked', NULL, NULL,
    jsonb_build_object('token', v_token.id, 'label', v_token.label, 'name', v_token.name));
  RETURN public.token_json(v_token, v_now);
END
$$;

-- The token with a digest that passes at p_time. Refuses with PT401 unknown_token, token_revoked (its own, or the
-- secret's overlap is over), token_expired, PT403 token_disabled.
CREATE OR REPLACE FUNCTION public.find_token(p_digest bytea, p_time timestamptz) RETURNS public.access_tokens
LANGUAGE plpgsql STABLE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_token public.access_tokens;
  v_found record;
BEGIN
  SELECT t AS token, d.ended OR d.valid_until <= p_time AS is_over INTO v_found
    FROM public.token_digests AS d JOIN public.access_tokens AS t ON t.id = d.token_id
   WHERE d.digest = p_digest;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'this token is not known' USING ERRCODE = 'PT401', DETAIL = 'unknown_token';
  END IF;
  v_token := v_found.token;
  IF v_token.revoked_at IS NOT NULL OR v_found.is_over THEN
    RAISE EXCEPTION 'this token has been revoked' USING ERRCODE = 'PT401', DETAIL = 'token_revoked';
  ELSIF v_token.expires_at <= p_time THEN
    RAISE EXCEPTION 'this token has expired' USING ERRCODE = 'PT401', DETAIL = 'token_expired';
  ELSIF v_token.disabled THEN
    RAISE EXCEPTION 'this token is disabled' USING ERRCODE = 'PT403', DETAIL = 'token_disabled';
  END IF;
  RETURN v_token;
END
$$;

-- The token that somebody presents, for what it may read of itself: {"did", "token" (token_json), "usage_daily",
-- "usage_weekly", "usage_monthly"}: its costs since the last midnight, Monday and first of a month, UTC. Fields of
-- `request`: token_digest, request_time, owners (judge_owner), requests_per_minute: the rate of these requests, of
-- each token; null or absent: no limit. Refuses as find_token and judge_owner, with PT403 key_disabled and PT429
-- rate_limited (see next_tat).
CREATE OR REPLACE FUNCTION public.describe_token(request jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' SET lock_timeout = '2500ms' AS $$
DECLARE
  v_in      jsonb       := public.decoded(request);
  v_now     timestamptz := timestamptz 'epoch' + (v_in ->> 'request_time')::bigint * interval '1 millisecond';
  v_rate    integer     := (v_in ->> 'requests_per_minute')::integer;
  v_token   public.access_tokens;
  v_account public.accounts;
BEGIN
  IF v_now IS NULL OR v_in ->> 'token_digest' IS NULL OR v_rate <= 0 THEN
    RAISE EXCEPTION 'describe_token: a member is missing or out of range' USING ERRCODE = 'PT400', DETAIL = 'invalid_argument';
  END IF;
  v_token := public.find_token(decode(v_in ->> 'token_digest', 'hex'), v_now);
  SELECT * INTO v_account FROM public.accounts AS a WHERE a.did = v_token.did;
  IF (public.judge_owner(v_token.did, v_in -> 'owners') ->> 'approved_only')::boolean THEN
    PERFORM public.require_approval(v_account);
  END IF;
  IF v_account.disabled THEN
    RAISE EXCEPTION 'the key of this DID is disabled' USING ERRCODE = 'PT403', DETAIL = 'key_disabled';
  END IF;
  IF v_rate IS NOT NULL THEN
    -- A crash of the database may forget the last ones, so nobody waits for the disk.
    PERFORM set_config('synchronous_commit', 'off', true);
    UPDATE public.access_tokens AS t SET read_rate_tat = public.next_tat(t.read_rate_tat, v_rate) WHERE t.id = v_token.id;
  END IF;
  RETURN jsonb_build_object('did', v_token.did, 'token', public.token_json(v_token, v_now))
    || (SELECT jsonb_build_object(
                 'usage_daily',   trim_scale(coalesce(sum(h.cost) FILTER (WHERE h.hour >= date_trunc('day', v_now, 'UTC')), 0))::text,
                 'usage_weekly',  trim_scale(coalesce(sum(h.cost) FILTER (WHERE h.hour >= date_trunc('week', v_now, 'UTC')), 0))::text,
                 'usage_monthly', trim_scale(coalesce(sum(h.cost) FILTER (WHERE h.hour >= date_trunc('month', v_now, 'UTC')), 0))::text)
          FROM public.usage_series AS s
          JOIN public.usage_hours AS h ON h.series_id = s.id
         WHERE s.did = v_token.did AND s.token_id = v_token.id
           AND h.hour >= least(date_trunc('week', v_now, 'UTC'), date_trunc('month', v_now, 'UTC')));
END
$$;

-- Judges the owner of a token by the DIDs that may use the gateway: {"listed": an array of DIDs and of beginnings
-- of some, which end in *, "others": 'allowed', 'if_approved' or 'refused'}; null: anyone. Returns what begin_request
-- is to ask further: {"approved_only"}. Refuses with PT403 did_not_allowed.
CREATE OR REPLACE FUNCTION public.judge_owner(p_did text, p_owners jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_others text := coalesce(p_owners ->> 'others', 'allowed');
BEGIN
  IF v_others = 'allowed' OR EXISTS (
    SELECT FROM jsonb_array_elements_text(p_owners -> 'listed') AS listed (pattern)
     WHERE pattern = p_did OR (right(pattern, 1) = '*' AND starts_with(p_did, left(pattern, -1))))
  THEN
    RETURN '{}';
  ELSIF v_others = 'if_approved' THEN
    RETURN '{"approved_only": true}';
  END IF;
  RAISE EXCEPTION 'the operator does not let this DID use the gateway'
    USING ERRCODE = 'PT403', DETAIL = 'did_not_allowed';
END
$$;

-- Judges a billable request by its token's endpoints and models. Fields of `request` that count: endpoint;
-- models, an array of {"value", "pointer", "literal"} of every model that the body names (literal: only a list
-- that has the value itself lets it pass), or null and models_unreadable, {"problem", "pointer"}. Refuses with
-- PT403 endpoint_not_allowed (HINT: {"endpoint", "endpoints"}), PT403 model_not_allowed (HINT: {"model",
-- "pointer", "problem"}).
CREATE OR REPLACE FUNCTION public.judge_scope(p_token public.access_tokens, p_in jsonb) RETURNS void
LANGUAGE plpgsql STABLE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_refused jsonb;
BEGIN
  IF NOT coalesce(p_in ->> 'endpoint', '') = ANY (coalesce(p_token.endpoints, ARRAY[coalesce(p_in ->> 'endpoint', '')])) THEN
    RAISE EXCEPTION 'this token may not use this endpoint'
      USING ERRCODE = 'PT403', DETAIL = 'endpoint_not_allowed',
            HINT = jsonb_build_object('endpoint', p_in ->> 'endpoint', 'endpoints', to_jsonb(p_token.endpoints))::text;
  END IF;
  IF p_token.models IS NULL THEN
    RETURN;
  END IF;
  IF coalesce(jsonb_typeof(p_in -> 'models') <> 'array', true) THEN
    v_refused := coalesce(nullif(p_in -> 'models_unreadable', 'null'), '{"problem": "names no model"}');
  ELSIF p_in -> 'models' = '[]' THEN
    v_refused := '{"problem": "names no model"}';
  ELSE
    SELECT jsonb_build_object('model', m ->> 'value', 'pointer', m ->> 'pointer') INTO v_refused
      FROM jsonb_array_elements(p_in -> 'models') AS m
     WHERE NOT EXISTS (
       SELECT FROM unnest(p_token.models) AS k (pattern)
        WHERE (k.pattern = m ->> 'value' AND strpos(k.pattern, '*') = 0)
           OR (NOT coalesce((m ->> 'literal')::boolean, false)
               -- `*` stands for any run of characters, everything else for itself.
               AND m ->> 'value' LIKE replace(regexp_replace(k.pattern, '([\\%_])', '\\\1', 'g'), '*', '%')))
     LIMIT 1;
  END IF;
  IF v_refused IS NOT NULL THEN
    RAISE EXCEPTION 'this token may not use this model'
      USING ERRCODE = 'PT403', DETAIL = 'model_not_allowed', HINT = v_refused::text;
  END IF;
END
$$;

-- An array of texts from JSON; null from null.
CREATE OR REPLACE FUNCTION public.texts(p_array jsonb) RETURNS text[]
LANGUAGE sql IMMUTABLE SECURITY INVOKER
RETURN CASE jsonb_typeof(p_array) WHEN 'array'
            THEN ARRAY(SELECT e FROM jsonb_array_elements_text(p_array) WITH ORDINALITY AS listed (e, n) ORDER BY n) END;

REVOKE ALL ON FUNCTION public.token_json(public.access_tokens, timestamptz), public.lock_token(jsonb),
    public.check_live_tokens(public.access_tokens, timestamptz), public.create_token(jsonb), public.list_tokens(jsonb),
    public.edit_token(jsonb), public.rotate_token(jsonb), public.revoke_token(jsonb),
    public.find_token(bytea, timestamptz), public.describe_token(jsonb), public.judge_owner(text, jsonb), public.judge_scope(public.access_tokens, jsonb), public.texts(jsonb)
  FROM PUBLIC, anon, authenticated, service_role;
GRANT EXECUTE ON FUNCTION public.token_json(public.access_tokens, timestamptz), public.lock_token(jsonb),
    public.check_live_tokens(public.access_tokens, timestamptz), public.create_token(jsonb), public.list_tokens(jsonb),
    public.edit_token(jsonb), public.rotate_token(jsonb), public.revoke_token(jsonb),
    public.find_token(bytea, timestamptz), public.describe_token(jsonb), public.judge_owner(text, jsonb), public.judge_scope(public.access_tokens, jsonb), public.texts(jsonb)
  TO service_role;
