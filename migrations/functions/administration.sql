-- Accounts, as the operator's command line (`llmgw admin`) shows and changes them. Every change is written
-- to key_events in its transaction.

-- A key row as the operator sees it: {"did", "key_name", "key_hash", "credit_limit", "spent",
-- "reserved", "requests_per_minute", "disabled", "seal_key_id", "created_at", "updated_at"}. Nothing
-- of the key itself.
CREATE OR REPLACE FUNCTION public.account_json(p_key public.user_api_keys) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY INVOKER SET search_path = '' AS $$
BEGIN
  RETURN jsonb_build_object(
    'did',                 p_key.did,
    'key_name',            p_key.key_name,
    'key_hash',            p_key.openrouter_key_hash,
    'credit_limit',        trim_scale(p_key.credit_limit)::text,
    'spent',               trim_scale(p_key.spent)::text,
    'reserved',            trim_scale(p_key.reserved)::text,
    'requests_per_minute', p_key.requests_per_minute,
    'disabled',            p_key.disabled,
    'seal_key_id',         p_key.seal_key_id::text,
    'created_at',          p_key.created_at,
    'updated_at',          p_key.updated_at);
END
$$;

-- What the next key of a DID without one will have: {"did", "credit_limit", "requests_per_minute",
-- "disabled", "spent"}, of its key_settings row.
CREATE OR REPLACE FUNCTION public.settings_json(settings jsonb) RETURNS jsonb
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

-- A page of accounts in the order of their DIDs. Fields of `request`: after (a DID, or null) and
-- limit (1 to 1000). Returns an array; see account_json.
CREATE OR REPLACE FUNCTION public.list_accounts(request jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_in    jsonb   := public.decoded(request);
  v_after text    := v_in ->> 'after';
  v_limit integer := (v_in ->> 'limit')::integer;
BEGIN
  IF v_limit IS NULL OR v_limit NOT BETWEEN 1 AND 1000 THEN
    RAISE EXCEPTION 'list_accounts: limit is missing or out of range'
      USING ERRCODE = 'PT400', DETAIL = 'invalid_argument';
  END IF;
  RETURN (
    SELECT coalesce(jsonb_agg(p.account ORDER BY p.did), '[]')
      FROM (SELECT k.did, public.account_json(k) AS account
              FROM public.user_api_keys AS k
             WHERE v_after IS NULL OR k.did > v_after
             ORDER BY k.did
             LIMIT v_limit) AS p);
END
$$;

-- One account and the events of its keys: {"account" (account_json; null where no key is stored),
-- "settings" (settings_json; null where a key is stored or nothing is set), "events": the last 50, newest
-- first, of {"time", "actor", "action", "key_hash", "seal_key_id", "details"}}. Fields of `request`: did.
CREATE OR REPLACE FUNCTION public.show_account(request jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_in  jsonb := public.decoded(request);
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

-- Changes what an operator may change. Fields of `request`: did, and of these the ones to change:
--
--   credit_limit         US dollars as text, at least 0; null for none
--   requests_per_minute  1 to 1000000; null for the gateway's default
--   disabled             boolean
--
-- Returns the account (account_json). Where no key is stored, the settings are kept for the next one, and
-- settings_json is returned. A value that is already set is not recorded again.
CREATE OR REPLACE FUNCTION public.set_account(request jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_in       jsonb   := public.decoded(request);
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

-- Deletes everything of a DID but its books and the record of events: its key, its retired keys (open
-- costs of theirs become unknown) and what was set for it, a block included. A key that is stored again
-- takes over what was spent. Fields of `request`: did. Returns {"deleted"}: false where there was nothing.
CREATE OR REPLACE FUNCTION public.delete_account(request jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_in      jsonb := public.decoded(request);
  v_did     text  := v_in ->> 'did';
  v_row     public.user_api_keys%ROWTYPE;
  v_any     boolean;
  v_retired bigint;
BEGIN
  IF v_did IS NULL THEN
    RAISE EXCEPTION 'delete_account: did is missing'
      USING ERRCODE = 'PT400', DETAIL = 'invalid_argument';
  END IF;
  DELETE FROM public.user_api_keys AS k WHERE k.did = v_did RETURNING * INTO v_row;
  v_any := FOUND;
  -- What that has just put there, and what was there before.
  DELETE FROM public.key_settings AS s WHERE s.did = v_did;
  v_any := v_any OR FOUND;
  DELETE FROM public.retired_keys AS r WHERE r.did = v_did;
  GET DIAGNOSTICS v_retired = ROW_COUNT;
  v_any := v_any OR v_retired > 0;
  IF v_any THEN
    INSERT INTO public.key_events (did, actor, action, key_hash, details)
    VALUES (v_did, 'operator', 'deleted', v_row.openrouter_key_hash,
            jsonb_build_object('retired_keys', v_retired));
  END IF;
  RETURN jsonb_build_object('deleted', v_any);
END
$$;

REVOKE ALL ON FUNCTION public.account_json(public.user_api_keys), public.settings_json(jsonb),
    public.list_accounts(jsonb), public.show_account(jsonb), public.set_account(jsonb),
    public.delete_account(jsonb)
  FROM PUBLIC, anon, authenticated, service_role;
GRANT EXECUTE ON FUNCTION public.account_json(public.user_api_keys), public.settings_json(jsonb),
    public.list_accounts(jsonb), public.show_account(jsonb), public.set_account(jsonb),
    public.delete_account(jsonb)
  TO service_role;
