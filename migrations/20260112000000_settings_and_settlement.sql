-- What an operator set for a DID, and what its user gave up, holds also where the DID has no key row:
-- for an import that is repeated, and for a block, limit or rate that is set then. And what is known of
-- a row belongs to its total; what was found out of an earlier state of it does not close it.
--
-- The rules of 20260102000000 apply. Needs 20260110000000. Locks: the DID's key row; where there is
-- none, lock_absent_key, so that of a setting and a key that is being inserted the later one sees the
-- earlier one.

-- Whoever inserts a DID's key row, or sets something for a DID without one, holds this until the end
-- of the transaction. Both have looked for the row before, and look again.
CREATE FUNCTION public.lock_absent_key(p_did text) RETURNS void
LANGUAGE sql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
  SELECT pg_advisory_xact_lock(hashtextextended('llmgw.key.' || p_did, 0))
$$;

-- As before (20260107000000), but no setting is missed that is made at the same time.
CREATE OR REPLACE FUNCTION public.insert_key(p_in jsonb, p_provisioning uuid) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_saved public.key_settings%ROWTYPE;
BEGIN
  PERFORM public.lock_absent_key(p_in ->> 'did');
  SELECT * INTO v_saved FROM public.key_settings WHERE did = p_in ->> 'did';
  INSERT INTO public.user_api_keys
    (did, openrouter_key_hash, encrypted_api_key, seal_key_id, key_name, provisioning_id,
     credit_limit, requests_per_minute, rate_tat, disabled, spent)
  VALUES
    (p_in ->> 'did', p_in ->> 'key_hash', p_in ->> 'sealed_key', (p_in ->> 'seal_key_id')::bigint,
     coalesce(left(p_in ->> 'key_name', 255), 'default'), p_provisioning,
     v_saved.credit_limit, v_saved.requests_per_minute, v_saved.rate_tat,
     coalesce(v_saved.disabled, false), coalesce(v_saved.spent, 0))
  ON CONFLICT (did) DO NOTHING;
  RETURN FOUND;
END
$$;

-- ---------------------------------------------------------------------------------------------
-- reseal_keys
-- ---------------------------------------------------------------------------------------------
-- Whether a DID had this key and gave it up, or an operator took it away.
CREATE FUNCTION public.key_was_given_up(p_did text, p_key_hash text) RETURNS boolean
LANGUAGE sql STABLE SECURITY INVOKER SET search_path = '' AS $$
  SELECT EXISTS (
    SELECT FROM public.key_events AS e
     WHERE e.did = p_did
       AND ((e.action IN ('revoked', 'deleted') AND e.key_hash = p_key_hash)
            OR (e.action = 'replaced' AND e.details ->> 'replaced_key_hash' = p_key_hash)))
$$;

-- As before (20260108000000), but a DID's retired keys are places, too: what was read is replaced
-- wherever the DID has it. So a key that was retired after it was read is sealed anew all the same. And
-- an import inserts no key that was given up since ('gone'), and a row that it inserts has what was set
-- for the DID: its credit_limit counts only where none was.
CREATE OR REPLACE FUNCTION public.reseal_keys(request jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_in      jsonb := CASE jsonb_typeof(request) WHEN 'string' THEN (request #>> '{}')::jsonb ELSE request END;
  v_action  text  := v_in ->> 'action';
  v_answer  jsonb := '[]';
  v_item    jsonb;
  v_did     text;
  v_old     text;
  v_new     text;
  v_hash    text;
  v_row     public.user_api_keys%ROWTYPE;
  v_retired text;
  v_outcome text;
BEGIN
  IF v_action IS NULL OR v_action NOT IN ('rewrapped', 'imported')
     OR v_in -> 'keys' IS NULL OR jsonb_typeof(v_in -> 'keys') <> 'array' OR jsonb_array_length(v_in -> 'keys') > 500
  THEN
    RAISE EXCEPTION 'reseal_keys: a member is missing or out of range'
      USING ERRCODE = 'PT400', DETAIL = 'invalid_argument';
  END IF;

  FOR v_item IN SELECT i.item FROM jsonb_array_elements(v_in -> 'keys') AS i(item) ORDER BY i.item ->> 'did'
  LOOP
    v_did  := v_item ->> 'did';
    v_old  := v_item ->> 'old';
    v_new  := v_item ->> 'new';
    v_hash := v_item ->> 'key_hash';
    IF v_did IS NULL OR v_old IS NULL OR public.seal_key_id_of(v_new) IS NULL THEN
      RAISE EXCEPTION 'reseal_keys: a key lacks a member, or is not sealed'
        USING ERRCODE = 'PT400', DETAIL = 'invalid_argument';
    END IF;

    SELECT * INTO v_row FROM public.user_api_keys AS k WHERE k.did = v_did FOR UPDATE;
    IF NOT FOUND AND (v_action <> 'imported' OR v_item ->> 'key_name' IS NULL OR v_hash IS NULL
                      OR public.key_was_given_up(v_did, v_hash)) THEN
      v_outcome := 'gone';
    ELSIF NOT FOUND THEN
      IF public.insert_key(v_item || jsonb_build_object('sealed_key', v_new), NULL) THEN
        UPDATE public.user_api_keys SET credit_limit = (v_item ->> 'credit_limit')::numeric
         WHERE did = v_did AND credit_limit IS NULL;
        v_outcome := 'inserted';
      ELSE
        v_outcome := 'replaced';
      END IF;
    ELSIF v_row.encrypted_api_key = v_new THEN
      v_outcome := 'already';
    ELSIF v_row.encrypted_api_key = v_old THEN
      -- updated_at stays: it is still the same key.
      UPDATE public.user_api_keys SET encrypted_api_key = v_new WHERE id = v_row.id;
      v_outcome := 'resealed';
      v_hash    := v_row.openrouter_key_hash;
    ELSE
      v_outcome := 'replaced';
    END IF;

    IF v_old <> v_new THEN
      WITH resealed AS (
        UPDATE public.retired_keys AS r SET encrypted_api_key = v_new
         WHERE r.did = v_did AND r.encrypted_api_key = v_old
        RETURNING r.key_hash
      )
      SELECT max(s.key_hash) INTO v_retired FROM resealed AS s;
      IF v_retired IS NOT NULL AND v_outcome IN ('gone', 'replaced', 'already') THEN
        v_outcome := 'resealed';
        v_hash    := v_retired;
      END IF;
    END IF;
    IF v_outcome IN ('gone', 'replaced')
       AND EXISTS (SELECT FROM public.retired_keys AS r WHERE r.did = v_did AND r.encrypted_api_key = v_new)
    THEN
      v_outcome := 'already';
    END IF;

    IF v_outcome IN ('resealed', 'inserted') THEN
      INSERT INTO public.key_events (did, actor, action, key_hash, seal_key_id)
      VALUES (v_did, 'operator', v_action, v_hash, public.seal_key_id_of(v_new));
    END IF;
    v_answer := v_answer || jsonb_build_object('did', v_did, 'outcome', v_outcome);
  END LOOP;

  RETURN v_answer;
END
$$;

-- ---------------------------------------------------------------------------------------------
-- set_account, show_account
-- ---------------------------------------------------------------------------------------------
-- What the next key of a DID without one will have: {"did", "credit_limit", "requests_per_minute",
-- "disabled", "spent"}, of its key_settings row.
CREATE FUNCTION public.settings_json(settings jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY INVOKER SET search_path = '' AS $$
BEGIN
  RETURN jsonb_build_object(
    'did',                 settings -> 'did',
    'credit_limit',        trim_scale((settings ->> 'credit_limit')::numeric)::text,
    'requests_per_minute', settings -> 'requests_per_minute',
    'disabled',            settings -> 'disabled',
    'spent',               trim_scale((settings ->> 'spent')::numeric)::text);
END
$$;

-- As before (20260108000000), but where no key is stored, what is set is kept for the next one: then
-- returns settings_json. Nothing is PT404 any more.
CREATE OR REPLACE FUNCTION public.set_account(request jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_in       jsonb   := CASE jsonb_typeof(request) WHEN 'string' THEN (request #>> '{}')::jsonb ELSE request END;
  v_did      text    := v_in ->> 'did';
  v_limit    numeric := (v_in ->> 'credit_limit')::numeric;
  v_rate     integer := (v_in ->> 'requests_per_minute')::integer;
  v_disabled boolean := (v_in ->> 'disabled')::boolean;
  v_row      public.user_api_keys%ROWTYPE;
  v_old      public.key_settings%ROWTYPE;
  v_new      public.key_settings%ROWTYPE;
BEGIN
  IF v_did IS NULL OR NOT (v_limit >= 0 AND v_limit < 'Infinity') OR v_rate NOT BETWEEN 1 AND 1000000
     OR (v_in ? 'disabled' AND v_disabled IS NULL)
  THEN
    RAISE EXCEPTION 'set_account: a member is missing or out of range'
      USING ERRCODE = 'PT400', DETAIL = 'invalid_argument';
  END IF;

  SELECT * INTO v_row FROM public.user_api_keys AS k WHERE k.did = v_did FOR UPDATE;
  IF NOT FOUND THEN
    PERFORM public.lock_absent_key(v_did);
    SELECT * INTO v_row FROM public.user_api_keys AS k WHERE k.did = v_did FOR UPDATE;
  END IF;
  IF v_row.id IS NOT NULL THEN
    v_old.credit_limit        := v_row.credit_limit;
    v_old.requests_per_minute := v_row.requests_per_minute;
    v_old.disabled            := v_row.disabled;
  ELSE
    SELECT * INTO v_old FROM public.key_settings AS s WHERE s.did = v_did FOR UPDATE;
    v_old.did      := v_did;
    v_old.disabled := coalesce(v_old.disabled, false);
    v_old.spent    := coalesce(v_old.spent, 0);
  END IF;
  v_new := v_old;

  IF v_in ? 'credit_limit' AND v_old.credit_limit IS DISTINCT FROM v_limit THEN
    v_new.credit_limit := v_limit;
    INSERT INTO public.key_events (did, actor, action, key_hash, details)
    VALUES (v_did, 'operator', 'limit_changed', v_row.openrouter_key_hash, jsonb_build_object(
      'from', trim_scale(v_old.credit_limit)::text, 'to', trim_scale(v_limit)::text));
  END IF;
  IF v_in ? 'requests_per_minute' AND v_old.requests_per_minute IS DISTINCT FROM v_rate THEN
    v_new.requests_per_minute := v_rate;
    INSERT INTO public.key_events (did, actor, action, key_hash, details)
    VALUES (v_did, 'operator', 'rate_changed', v_row.openrouter_key_hash, jsonb_build_object(
      'from', v_old.requests_per_minute, 'to', v_rate));
  END IF;
  IF v_in ? 'disabled' AND v_old.disabled <> v_disabled THEN
    v_new.disabled := v_disabled;
    INSERT INTO public.key_events (did, actor, action, key_hash)
    VALUES (v_did, 'operator', CASE WHEN v_disabled THEN 'disabled' ELSE 'enabled' END, v_row.openrouter_key_hash);
  END IF;

  IF v_row.id IS NOT NULL THEN
    UPDATE public.user_api_keys
       SET credit_limit = v_new.credit_limit, requests_per_minute = v_new.requests_per_minute,
           disabled = v_new.disabled
     WHERE id = v_row.id AND v_new IS DISTINCT FROM v_old;
    RETURN (SELECT public.account_json(k) FROM public.user_api_keys AS k WHERE k.did = v_did);
  END IF;
  IF v_new IS DISTINCT FROM v_old THEN
    INSERT INTO public.key_settings (did, credit_limit, requests_per_minute, disabled)
    VALUES (v_did, v_new.credit_limit, v_new.requests_per_minute, v_new.disabled)
    ON CONFLICT (did) DO UPDATE SET
      credit_limit = EXCLUDED.credit_limit, requests_per_minute = EXCLUDED.requests_per_minute,
      disabled = EXCLUDED.disabled, saved_at = clock_timestamp();
  END IF;
  RETURN public.settings_json(to_jsonb(v_new));
END
$$;

-- As before (20260108000000), and "settings": see settings_json; null where a key is stored or nothing
-- is set.
CREATE OR REPLACE FUNCTION public.show_account(request jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_in  jsonb := CASE jsonb_typeof(request) WHEN 'string' THEN (request #>> '{}')::jsonb ELSE request END;
  v_did text  := v_in ->> 'did';
BEGIN
  IF v_did IS NULL THEN
    RAISE EXCEPTION 'show_account: did is missing'
      USING ERRCODE = 'PT400', DETAIL = 'invalid_argument';
  END IF;
  RETURN jsonb_build_object(
    'account',  (SELECT public.account_json(k) FROM public.user_api_keys AS k WHERE k.did = v_did),
    'settings', (SELECT public.settings_json(to_jsonb(s)) FROM public.key_settings AS s
                  WHERE s.did = v_did
                    AND NOT EXISTS (SELECT FROM public.user_api_keys AS k WHERE k.did = v_did)),
    'events',   (SELECT coalesce(jsonb_agg(e.event ORDER BY e.id DESC), '[]')
                   FROM (SELECT v.id, jsonb_build_object(
                                  'time', v.time, 'actor', v.actor, 'action', v.action, 'key_hash', v.key_hash,
                                  'seal_key_id', v.seal_key_id::text, 'details', v.details) AS event
                           FROM public.key_events AS v
                          WHERE v.did = v_did
                          ORDER BY v.id DESC
                          LIMIT 50) AS e));
END
$$;

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
-- Who may do what: see 20260102000000. Replaced functions keep their privileges.
-- ---------------------------------------------------------------------------------------------

REVOKE ALL ON FUNCTION public.lock_absent_key(text), public.key_was_given_up(text, text),
    public.settings_json(jsonb)
  FROM PUBLIC, anon, authenticated, service_role;
GRANT EXECUTE ON FUNCTION public.lock_absent_key(text), public.key_was_given_up(text, text),
    public.settings_json(jsonb) TO service_role;

NOTIFY pgrst, 'reload schema';
