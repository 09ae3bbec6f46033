-- The operator's command line (`llmgw admin`): which master key sealed which row, sealing anew, and
-- accounts. Whatever it changes is written to key_events in the same transaction.
--
-- The rules of 20260102000000 apply. Locks: only key rows, and where there are several, in the order
-- of their DIDs; nothing else locks more than one.

-- ---------------------------------------------------------------------------------------------
-- seal_key_id tells the truth
-- ---------------------------------------------------------------------------------------------
-- A sealed key names the master key that sealed it: 'v1.' and base64url without padding of
--
--   01, key id (4 bytes, big endian), SIV (16 bytes), ciphertext (at least 1 byte)
--
-- so eight characters hold the id. Null for whatever else stands there.
CREATE FUNCTION public.seal_key_id_of(p_sealed text) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_head bytea;
BEGIN
  IF p_sealed IS NULL OR p_sealed !~ '^v1\.[A-Za-z0-9_-]{30,}$' THEN
    RETURN NULL;
  END IF;
  v_head := decode(translate(substr(p_sealed, 4, 8), '-_', '+/'), 'base64');
  IF get_byte(v_head, 0) <> 1 THEN
    RETURN NULL;
  END IF;
  RETURN (get_byte(v_head, 1)::bigint << 24) + (get_byte(v_head, 2) << 16)
       + (get_byte(v_head, 3) << 8) + get_byte(v_head, 4);
END
$$;

-- Nobody has to remember to write the column, and nobody can write it wrong: a rotation disables a
-- master key when no row names it.
CREATE FUNCTION public.derive_seal_key_id() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
BEGIN
  NEW.seal_key_id := public.seal_key_id_of(NEW.encrypted_api_key);
  RETURN NEW;
END
$$;

CREATE TRIGGER derive_seal_key_id BEFORE INSERT OR UPDATE OF encrypted_api_key, seal_key_id
  ON public.user_api_keys FOR EACH ROW EXECUTE FUNCTION public.derive_seal_key_id();

UPDATE public.user_api_keys AS k
   SET seal_key_id = public.seal_key_id_of(k.encrypted_api_key)
 WHERE k.seal_key_id IS DISTINCT FROM public.seal_key_id_of(k.encrypted_api_key);

COMMENT ON COLUMN public.user_api_keys.seal_key_id IS
  'Id of the keyset''s key that sealed encrypted_api_key, derived from it; null where that is no sealed key.';

-- ---------------------------------------------------------------------------------------------
-- keys_by_seal, sealed_keys
-- ---------------------------------------------------------------------------------------------
-- How many rows each master key seals: an array of {"seal_key_id", "rows"}, both text; seal_key_id is
-- null for rows that hold no sealed key. `request` has no members.
CREATE FUNCTION public.keys_by_seal(request jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY INVOKER SET search_path = '' AS $$
BEGIN
  RETURN (
    SELECT coalesce(jsonb_agg(jsonb_build_object('seal_key_id', s.seal_key_id::text, 'rows', s.n::text)
                              ORDER BY s.seal_key_id), '[]')
      FROM (SELECT k.seal_key_id, count(*) AS n FROM public.user_api_keys AS k GROUP BY k.seal_key_id) AS s);
END
$$;

-- A page of stored keys, in the order of their DIDs. Members of `request`:
--
--   other_than  leave out what this master key sealed (its id as text); null: every row
--   after       the last DID of the page before; null: from the first
--   limit       1 to 1000
--
-- Returns an array of {"did", "sealed_key"}.
CREATE FUNCTION public.sealed_keys(request jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_in    jsonb   := CASE jsonb_typeof(request) WHEN 'string' THEN (request #>> '{}')::jsonb ELSE request END;
  v_other bigint  := (v_in ->> 'other_than')::bigint;
  v_after text    := v_in ->> 'after';
  v_limit integer := (v_in ->> 'limit')::integer;
BEGIN
  IF v_limit IS NULL OR v_limit NOT BETWEEN 1 AND 1000 THEN
    RAISE EXCEPTION 'sealed_keys: limit is missing or out of range'
      USING ERRCODE = 'PT400', DETAIL = 'invalid_argument';
  END IF;
  RETURN (
    SELECT coalesce(jsonb_agg(jsonb_build_object('did', p.did, 'sealed_key', p.encrypted_api_key)
                              ORDER BY p.did), '[]')
      FROM (SELECT k.did, k.encrypted_api_key
              FROM public.user_api_keys AS k
             WHERE (v_after IS NULL OR k.did > v_after)
               AND (v_other IS NULL OR k.seal_key_id IS DISTINCT FROM v_other)
             ORDER BY k.did
             LIMIT v_limit) AS p);
END
$$;

-- ---------------------------------------------------------------------------------------------
-- reseal_keys
-- ---------------------------------------------------------------------------------------------
-- Puts keys that were sealed anew in the place of what they were made of, unless that has changed
-- meanwhile: a key that its owner has just replaced is never overwritten. Members of `request`:
--
--   action  'rewrapped' (another master key) | 'imported' (from the original system)
--   keys    at most 500 of {"did", "old", "new"}: the column as it was read, and as it shall be;
--           'imported' may add {"key_name", "key_hash", "credit_limit" (text or null)}, and then a DID
--           without a row gets one
--
-- Returns an array of {"did", "outcome"}: 'resealed', 'inserted', 'already' (it is there, from an
-- earlier call), 'replaced' (something else is there; nothing was done), 'gone' (no row). Repeating a
-- call changes nothing.
CREATE FUNCTION public.reseal_keys(request jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_in      jsonb := CASE jsonb_typeof(request) WHEN 'string' THEN (request #>> '{}')::jsonb ELSE request END;
  v_action  text  := v_in ->> 'action';
  v_answer  jsonb := '[]';
  v_item    jsonb;
  v_did     text;
  v_new     text;
  v_hash    text;
  v_row     public.user_api_keys%ROWTYPE;
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
    v_new  := v_item ->> 'new';
    v_hash := v_item ->> 'key_hash';
    IF v_did IS NULL OR v_item ->> 'old' IS NULL OR public.seal_key_id_of(v_new) IS NULL THEN
      RAISE EXCEPTION 'reseal_keys: a key lacks a member, or is not sealed'
        USING ERRCODE = 'PT400', DETAIL = 'invalid_argument';
    END IF;

    SELECT * INTO v_row FROM public.user_api_keys AS k WHERE k.did = v_did FOR UPDATE;
    IF NOT FOUND AND (v_action <> 'imported' OR v_item ->> 'key_name' IS NULL OR v_hash IS NULL) THEN
      v_outcome := 'gone';
    ELSIF NOT FOUND THEN
      INSERT INTO public.user_api_keys (did, openrouter_key_hash, encrypted_api_key, key_name, credit_limit)
      VALUES (v_did, v_hash, v_new, left(v_item ->> 'key_name', 255), (v_item ->> 'credit_limit')::numeric)
      ON CONFLICT (did) DO NOTHING;
      v_outcome := CASE WHEN FOUND THEN 'inserted' ELSE 'replaced' END;
    ELSIF v_row.encrypted_api_key = v_new THEN
      v_outcome := 'already';
    ELSIF v_row.encrypted_api_key = v_item ->> 'old' THEN
      -- updated_at stays: it is still the same key.
      UPDATE public.user_api_keys SET encrypted_api_key = v_new WHERE id = v_row.id;
      v_outcome := 'resealed';
      v_hash    := v_row.openrouter_key_hash;
    ELSE
      v_outcome := 'replaced';
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
-- list_accounts, show_account
-- ---------------------------------------------------------------------------------------------
-- A key row as the operator sees it: {"did", "key_name", "key_hash", "credit_limit", "spent",
-- "reserved", "requests_per_minute", "disabled", "seal_key_id", "created_at", "updated_at"}. Nothing
-- of the key itself.
CREATE FUNCTION public.account_json(p_key public.user_api_keys) RETURNS jsonb
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

-- A page of accounts in the order of their DIDs. Members of `request`: after (a DID, or null) and
-- limit (1 to 1000). Returns an array; see account_json.
CREATE FUNCTION public.list_accounts(request jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_in    jsonb   := CASE jsonb_typeof(request) WHEN 'string' THEN (request #>> '{}')::jsonb ELSE request END;
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

-- One account and what happened to its keys: {"account" (null where no key is stored), "events": the
-- last 50, newest first, of {"time", "actor", "action", "key_hash", "seal_key_id", "details"}}.
-- Members of `request`: did.
CREATE FUNCTION public.show_account(request jsonb) RETURNS jsonb
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
    'account', (SELECT public.account_json(k) FROM public.user_api_keys AS k WHERE k.did = v_did),
    'events',  (SELECT coalesce(jsonb_agg(e.event ORDER BY e.id DESC), '[]')
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
-- set_account, delete_account
-- ---------------------------------------------------------------------------------------------
-- Changes what an operator may change. Members of `request`: did, and of these the ones to change:
--
--   credit_limit         US dollars as text, at least 0; null for none
--   requests_per_minute  1 to 1000000; null for the gateway's default
--   disabled             boolean
--
-- Returns the account (see account_json). What is so already is not recorded again. PT404 no_key_for_did.
CREATE FUNCTION public.set_account(request jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_in       jsonb   := CASE jsonb_typeof(request) WHEN 'string' THEN (request #>> '{}')::jsonb ELSE request END;
  v_did      text    := v_in ->> 'did';
  v_limit    numeric := (v_in ->> 'credit_limit')::numeric;
  v_rate     integer := (v_in ->> 'requests_per_minute')::integer;
  v_disabled boolean := (v_in ->> 'disabled')::boolean;
  v_row      public.user_api_keys%ROWTYPE;
BEGIN
  IF v_did IS NULL OR NOT (v_limit >= 0 AND v_limit < 'Infinity') OR v_rate NOT BETWEEN 1 AND 1000000
     OR (v_in ? 'disabled' AND v_disabled IS NULL)
  THEN
    RAISE EXCEPTION 'set_account: a member is missing or out of range'
      USING ERRCODE = 'PT400', DETAIL = 'invalid_argument';
  END IF;

  SELECT * INTO v_row FROM public.user_api_keys AS k WHERE k.did = v_did FOR UPDATE;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'no key is stored for this DID'
      USING ERRCODE = 'PT404', DETAIL = 'no_key_for_did';
  END IF;

  IF v_in ? 'credit_limit' AND v_row.credit_limit IS DISTINCT FROM v_limit THEN
    INSERT INTO public.key_events (did, actor, action, key_hash, details)
    VALUES (v_did, 'operator', 'limit_changed', v_row.openrouter_key_hash, jsonb_build_object(
      'from', trim_scale(v_row.credit_limit)::text, 'to', trim_scale(v_limit)::text));
    UPDATE public.user_api_keys SET credit_limit = v_limit WHERE id = v_row.id;
  END IF;
  IF v_in ? 'requests_per_minute' AND v_row.requests_per_minute IS DISTINCT FROM v_rate THEN
    INSERT INTO public.key_events (did, actor, action, key_hash, details)
    VALUES (v_did, 'operator', 'rate_changed', v_row.openrouter_key_hash, jsonb_build_object(
      'from', v_row.requests_per_minute, 'to', v_rate));
    UPDATE public.user_api_keys SET requests_per_minute = v_rate WHERE id = v_row.id;
  END IF;
  IF v_in ? 'disabled' AND v_row.disabled <> v_disabled THEN
    INSERT INTO public.key_events (did, actor, action, key_hash)
    VALUES (v_did, 'operator', CASE WHEN v_disabled THEN 'disabled' ELSE 'enabled' END, v_row.openrouter_key_hash);
    UPDATE public.user_api_keys SET disabled = v_disabled WHERE id = v_row.id;
  END IF;

  RETURN (SELECT public.account_json(k) FROM public.user_api_keys AS k WHERE k.did = v_did);
END
$$;

-- Deletes a DID's key. Its requests stay in the books, so a key that is stored anew takes over what
-- was spent. Members of `request`: did. Returns {"deleted"}: false where there was none.
CREATE FUNCTION public.delete_account(request jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_in  jsonb := CASE jsonb_typeof(request) WHEN 'string' THEN (request #>> '{}')::jsonb ELSE request END;
  v_did text  := v_in ->> 'did';
  v_row public.user_api_keys%ROWTYPE;
BEGIN
  IF v_did IS NULL THEN
    RAISE EXCEPTION 'delete_account: did is missing'
      USING ERRCODE = 'PT400', DETAIL = 'invalid_argument';
  END IF;
  DELETE FROM public.user_api_keys AS k WHERE k.did = v_did RETURNING * INTO v_row;
  IF NOT FOUND THEN
    RETURN jsonb_build_object('deleted', false);
  END IF;
  INSERT INTO public.key_events (did, actor, action, key_hash)
  VALUES (v_did, 'operator', 'deleted', v_row.openrouter_key_hash);
  RETURN jsonb_build_object('deleted', true);
END
$$;

-- ---------------------------------------------------------------------------------------------
-- Who may do what: see 20260102000000
-- ---------------------------------------------------------------------------------------------

REVOKE ALL ON FUNCTION public.seal_key_id_of(text), public.derive_seal_key_id(), public.keys_by_seal(jsonb),
    public.sealed_keys(jsonb), public.reseal_keys(jsonb), public.account_json(public.user_api_keys),
    public.list_accounts(jsonb), public.show_account(jsonb), public.set_account(jsonb), public.delete_account(jsonb)
  FROM PUBLIC, anon, authenticated, service_role;
GRANT EXECUTE ON FUNCTION public.seal_key_id_of(text), public.keys_by_seal(jsonb),
    public.sealed_keys(jsonb), public.reseal_keys(jsonb), public.account_json(public.user_api_keys),
    public.list_accounts(jsonb), public.show_account(jsonb), public.set_account(jsonb), public.delete_account(jsonb)
  TO service_role;

NOTIFY pgrst, 'reload schema';
