-- Accounts, as the operator's command line (`llmgw admin`) shows and changes them. Every change is written
-- to key_events in its transaction.

-- A key and its account as the operator sees them: {"did", "key_name", "key_hash", "credit_limit", "spent",
-- "held", "requests_per_minute", "disabled", "approved", "budgets", "seal_key_id", "created_at", "updated_at"}, the times those
-- of the key. Nothing of the key itself.
CREATE OR REPLACE FUNCTION public.account_json(p_key public.user_api_keys, p_account public.accounts) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY INVOKER SET search_path = '' AS $$
BEGIN
  RETURN jsonb_build_object(
    'did',                 p_key.did,
    'key_name',            p_key.key_name,
    'key_hash',            p_key.openrouter_key_hash,
    'credit_limit',        trim_scale(p_account.credit_limit)::text,
    'spent',               trim_scale(p_account.spent)::text,
    'held',                trim_scale(p_account.held)::text,
    'requests_per_minute', p_account.requests_per_minute,
    'disabled',            p_account.disabled,
    'approved',            p_account.approved,
    'budgets',             public.budgets_json(p_key.did, NULL, clock_timestamp()),
    'seal_key_id',         p_key.seal_key_id::text,
    'created_at',          p_key.created_at,
    'updated_at',          p_key.updated_at);
END
$$;

-- The account of a DID that has no key, which its next key gets: {"did", "credit_limit",
-- "requests_per_minute", "disabled", "approved", "budgets", "spent"}.
CREATE OR REPLACE FUNCTION public.settings_json(p_account public.accounts) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY INVOKER SET search_path = '' AS $$
BEGIN
  RETURN jsonb_build_object(
    'did',                 p_account.did,
    'credit_limit',        trim_scale(p_account.credit_limit)::text,
    'requests_per_minute', p_account.requests_per_minute,
    'disabled',            p_account.disabled,
    'approved',            p_account.approved,
    'budgets',             public.budgets_json(p_account.did, NULL, clock_timestamp()),
    'spent',               trim_scale(p_account.spent)::text);
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
      FROM (SELECT k.did, public.account_json(k, a) AS account
              FROM public.user_api_keys AS k
              JOIN public.accounts AS a ON a.did = k.did
             WHERE v_after IS NULL OR k.did > v_after
             ORDER BY k.did
             LIMIT v_limit) AS p);
END
$$;

-- One account and the events of its keys: {"account" (account_json; null where no key is stored),
-- "settings" (settings_json; null where a key is stored, or nothing is set or spent), "events": the last 50, newest
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
    'account',  (SELECT public.account_json(k, a)
                   FROM public.user_api_keys AS k JOIN public.accounts AS a ON a.did = k.did
                  WHERE k.did = v_did),
    'settings', (SELECT public.settings_json(a) FROM public.accounts AS a
                  WHERE a.did = v_did
                    AND (a.credit_limit IS NOT NULL OR a.requests_per_minute IS NOT NULL OR a.disabled OR a.approved
                         OR a.spent > 0
                         OR EXISTS (SELECT FROM public.budgets AS b WHERE b.did = a.did AND b.token_id IS NULL))
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

-- The budgets of a DID as they were set: an array of {"period", "amount", "time_zone"}.
CREATE OR REPLACE FUNCTION public.set_budgets_json(p_did text) RETURNS jsonb
LANGUAGE sql STABLE SECURITY INVOKER SET search_path = '' AS $$
  SELECT coalesce(jsonb_agg(jsonb_build_object('period', b.period, 'amount', trim_scale(b.amount)::text,
                                               'time_zone', b.time_zone) ORDER BY b.period), '[]')
    FROM public.budgets AS b
   WHERE b.did = p_did AND b.token_id IS NULL
$$;

-- Ends tokens of a DID for the operator: the one with token_id, or all live ones (null). Fields of `request`: did,
-- token_id. Returns those that it ended, as token_json, the newest first. PT404 no_such_token: the DID has no live
-- one with the id.
CREATE OR REPLACE FUNCTION public.end_tokens(request jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_in     jsonb       := public.decoded(request);
  v_did    text        := v_in ->> 'did';
  v_token  uuid        := (v_in ->> 'token_id')::uuid;
  v_now    timestamptz;
  v_answer jsonb;
BEGIN
  IF v_did IS NULL THEN
    RAISE EXCEPTION 'end_tokens: did is missing'
      USING ERRCODE = 'PT400', DETAIL = 'invalid_argument';
  END IF;
  PERFORM public.lock_account(v_did);
  v_now := clock_timestamp();
  WITH ended AS (
    UPDATE public.access_tokens AS t SET revoked_at = v_now
     WHERE t.did = v_did AND t.revoked_at IS NULL AND (v_token IS NULL OR t.id = v_token)
    RETURNING t.*
  ), noted AS (
    INSERT INTO public.key_events (did, actor, action, details)
    SELECT e.did, 'operator', 'token_revoked', jsonb_build_object('token', e.id, 'label', e.label, 'name', e.name)
      FROM ended AS e
  )
  SELECT coalesce(jsonb_agg(public.token_json(ROW(e.*)::public.access_tokens, v_now) ORDER BY e.created_at DESC, e.id), '[]')
    INTO v_answer
    FROM ended AS e;
  IF v_token IS NOT NULL AND v_answer = '[]' THEN
    RAISE EXCEPTION 'this DID has no such token' USING ERRCODE = 'PT404', DETAIL = 'no_such_token';
  END IF;
  RETURN v_answer;
END
$$;

-- Changes what an operator may change. Fields of `request`: did, and of these the ones to change:
--
--   credit_limit         US dollars as text, at least 0; null for none
--   requests_per_minute  1 to 1000000; null for the gateway's default
--   disabled             boolean
--   budgets              those of the DID (set_budgets), in place of the ones it has
--   approved             boolean
--
-- Returns the account (account_json); settings_json where no key is stored. A value that is already set is not recorded again.
CREATE OR REPLACE FUNCTION public.set_account(request jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_in       jsonb   := public.decoded(request);
  v_did      text    := v_in ->> 'did';
  v_limit    numeric := (v_in ->> 'credit_limit')::numeric;
  v_rate     integer := (v_in ->> 'requests_per_minute')::integer;
  v_disabled boolean := (v_in ->> 'disabled')::boolean;
  v_budgets  jsonb   := v_in -> 'budgets';
  v_had      jsonb;
  v_approved boolean := (v_in ->> 'approved')::boolean;
  v_key      public.user_api_keys;
  v_old      public.accounts;
  v_new      public.accounts;
BEGIN
  IF v_did IS NULL OR NOT (v_limit >= 0 AND v_limit < 'Infinity') OR v_rate NOT BETWEEN 1 AND 1000000
     OR (v_in ? 'disabled' AND v_disabled IS NULL) OR (v_in ? 'approved' AND v_approved IS NULL)
  THEN
    RAISE EXCEPTION 'set_account: a member is missing or out of range'
      USING ERRCODE = 'PT400', DETAIL = 'invalid_argument';
  END IF;

  v_key := public.lock_key(v_did);
  SELECT * INTO v_old FROM public.accounts AS a WHERE a.did = v_did;
  IF NOT FOUND THEN
    -- Opened below if anything is set.
    v_old.did      := v_did;
    v_old.disabled := false;
    v_old.approved := false;
    v_old.spent    := 0;
  END IF;
  v_new := v_old;

  IF v_in ? 'credit_limit' AND v_old.credit_limit IS DISTINCT FROM v_limit THEN
    v_new.credit_limit := v_limit;
    INSERT INTO public.key_events (did, actor, action, key_hash, details)
    VALUES (v_did, 'operator', 'limit_changed', v_key.openrouter_key_hash, jsonb_build_object(
      'from', trim_scale(v_old.credit_limit)::text, 'to', trim_scale(v_limit)::text));
  END IF;
  IF v_in ? 'requests_per_minute' AND v_old.requests_per_minute IS DISTINCT FROM v_rate THEN
    v_new.requests_per_minute := v_rate;
    INSERT INTO public.key_events (did, actor, action, key_hash, details)
    VALUES (v_did, 'operator', 'rate_changed', v_key.openrouter_key_hash, jsonb_build_object(
      'from', v_old.requests_per_minute, 'to', v_rate));
  END IF;
  IF v_in ? 'disabled' AND v_old.disabled <> v_disabled THEN
    v_new.disabled := v_disabled;
    INSERT INTO public.key_events (did, actor, action, key_hash)
    VALUES (v_did, 'operator', CASE WHEN v_disabled THEN 'disabled' ELSE 'enabled' END, v_key.openrouter_key_hash);
  END IF;

  IF v_in ? 'approved' AND v_old.approved <> v_approved THEN
    v_new.approved := v_approved;
    INSERT INTO public.key_events (did, actor, action, key_hash)
    VALUES (v_did, 'operator', CASE WHEN v_approved THEN 'approved' ELSE 'approval_withdrawn' END,
            v_key.openrouter_key_hash);
  END IF;

  IF v_new IS DISTINCT FROM v_old THEN
    PERFORM public.open_account(v_did);
    -- First the key, as share_credit_limit does.
    UPDATE public.user_api_keys AS k SET credit_limit = v_new.credit_limit
     WHERE k.did = v_did AND k.credit_limit IS DISTINCT FROM v_new.credit_limit;
    UPDATE public.accounts
       SET credit_limit = v_new.credit_limit, requests_per_minute = v_new.requests_per_minute,
           disabled = v_new.disabled, approved = v_new.approved
     WHERE did = v_did;
  END IF;
  IF jsonb_typeof(v_budgets) = 'array' THEN
    PERFORM public.open_account(v_did);
    v_had := public.set_budgets_json(v_did);
    PERFORM public.set_budgets(v_did, NULL, v_budgets, clock_timestamp());
    IF v_had <> public.set_budgets_json(v_did) THEN
      INSERT INTO public.key_events (did, actor, action, key_hash, details)
      VALUES (v_did, 'operator', 'budgets_changed', v_key.openrouter_key_hash, jsonb_build_object(
        'from', v_had, 'to', public.set_budgets_json(v_did)));
    END IF;
  END IF;
  RETURN coalesce(
    (SELECT public.account_json(k, a)
       FROM public.user_api_keys AS k JOIN public.accounts AS a ON a.did = k.did
      WHERE k.did = v_did),
    public.settings_json(v_new));
END
$$;

-- Deletes everything of a DID but its books and the record of events: its key, its retired keys (open
-- costs of theirs become unknown) and what was set for it, a block and an approval included. What it spent stays. Fields
-- of `request`: did. Returns {"deleted"}: false where there was nothing.
CREATE OR REPLACE FUNCTION public.delete_account(request jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_in      jsonb := public.decoded(request);
  v_did     text  := v_in ->> 'did';
  v_key     public.user_api_keys;
  v_retired bigint;
  v_any     boolean;
BEGIN
  IF v_did IS NULL THEN
    RAISE EXCEPTION 'delete_account: did is missing'
      USING ERRCODE = 'PT400', DETAIL = 'invalid_argument';
  END IF;
  v_key := public.lock_key(v_did);
  DELETE FROM public.user_api_keys AS k WHERE k.did = v_did;
  -- What that has just put there, and what was there before.
  DELETE FROM public.retired_keys AS r WHERE r.did = v_did;
  GET DIAGNOSTICS v_retired = ROW_COUNT;
  UPDATE public.accounts AS a SET credit_limit = NULL, requests_per_minute = NULL, disabled = false, approved = false
   WHERE a.did = v_did
     AND (a.credit_limit IS NOT NULL OR a.requests_per_minute IS NOT NULL OR a.disabled OR a.approved);
  v_any := FOUND OR v_key.id IS NOT NULL OR v_retired > 0;
  UPDATE public.access_tokens AS t SET revoked_at = clock_timestamp() WHERE t.did = v_did AND t.revoked_at IS NULL;
  v_any := v_any OR FOUND;
  DELETE FROM public.budgets AS b WHERE b.did = v_did;
  DELETE FROM public.accounts AS a WHERE a.did = v_did AND a.spent = 0 AND a.held = 0;
  IF v_any THEN
    INSERT INTO public.key_events (did, actor, action, key_hash, details)
    VALUES (v_did, 'operator', 'deleted', v_key.openrouter_key_hash,
            jsonb_build_object('retired_keys', v_retired));
  END IF;
  RETURN jsonb_build_object('deleted', v_any);
END
$$;

REVOKE ALL ON FUNCTION public.account_json(public.user_api_keys, public.accounts), public.settings_json(public.accounts),
    public.list_accounts(jsonb), public.show_account(jsonb), public.set_account(jsonb),
    public.set_budgets_json(text), public.end_tokens(jsonb), public.delete_account(jsonb)
  FROM PUBLIC, anon, authenticated, service_role;
GRANT EXECUTE ON FUNCTION public.account_json(public.user_api_keys, public.accounts), public.settings_json(public.accounts),
    public.list_accounts(jsonb), public.show_account(jsonb), public.set_account(jsonb),
    public.set_budgets_json(text), public.end_tokens(jsonb), public.delete_account(jsonb)
  TO service_role;
