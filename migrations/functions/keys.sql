-- Keys by request of their owners: brought (store_key), shown (describe_key), revoked (revoke_key). Each
-- change writes key_events in its transaction.

-- A key as its owner may see it. Money and ids are text, times are RFC 3339. Null where the DID has none.
CREATE OR REPLACE FUNCTION public.key_description(p_did text) RETURNS jsonb
LANGUAGE sql STABLE SECURITY INVOKER SET search_path = '' AS $$
  SELECT jsonb_build_object(
           'key_name',       k.key_name,
           'hash',           k.openrouter_key_hash,
           'source',         CASE WHEN k.provisioning_id IS NULL THEN 'own' ELSE 'provisioned' END,
           'disabled',       a.disabled,
           'limit',          trim_scale(a.credit_limit)::text,
           'spent',          trim_scale(a.spent)::text,
           'held',           trim_scale(a.held)::text,
           -- greatest() passes over nulls.
           'remaining',      CASE WHEN a.credit_limit IS NOT NULL THEN
                               trim_scale(greatest(a.credit_limit - a.spent - a.held, 0))::text END,
           'budgets',        public.budgets_json(p_did, NULL, now()),
           'openrouter_limit', trim_scale(p.limit_usd)::text,
           'openrouter_limit_reset', CASE WHEN p.limit_usd IS NOT NULL THEN coalesce(p.limit_reset, 'never') END,
           'created_at',     k.created_at,
           'updated_at',     k.updated_at,
           'seal_key_id',    k.seal_key_id::text)
    FROM public.user_api_keys AS k
    JOIN public.accounts AS a ON a.did = k.did
    LEFT JOIN public.key_provisionings AS p ON p.id = k.provisioning_id
   WHERE k.did = p_did
$$;

-- Writes one row of key_events for the request `p_in` (its did and id).
CREATE OR REPLACE FUNCTION public.note_key_event(
  p_in jsonb, p_actor text, p_action text, p_key_hash text, p_seal_key_id bigint, p_details jsonb
) RETURNS void
LANGUAGE sql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
  INSERT INTO public.key_events (did, actor, action, key_hash, seal_key_id, request_id, details)
  VALUES (p_in ->> 'did', p_actor, p_action, p_key_hash, p_seal_key_id, (p_in ->> 'id')::uuid, p_details)
$$;

-- Inserts the key of a DID that has none, as the caller has found under lock_key.
CREATE OR REPLACE FUNCTION public.insert_key(p_in jsonb, p_provisioning uuid) RETURNS void
LANGUAGE sql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
  INSERT INTO public.user_api_keys
    (did, openrouter_key_hash, encrypted_api_key, seal_key_id, key_name, provisioning_id)
  VALUES
    (p_in ->> 'did', p_in ->> 'key_hash', p_in ->> 'sealed_key', (p_in ->> 'seal_key_id')::bigint,
     coalesce(left(p_in ->> 'key_name', 255), 'default'), p_provisioning)
$$;

-- Returns the key's description (key_description). Fields of `request`, here and below: id, did,
-- request_time (epoch ms), fingerprint and fingerprint_expires_at as in begin_request; only describe_key
-- accepts a null fingerprint. PT401 replayed_request, PT404 no_key_for_did.
CREATE OR REPLACE FUNCTION public.describe_key(request jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_in     jsonb := public.decoded(request);
  v_answer jsonb := public.key_description(v_in ->> 'did');
BEGIN
  IF v_answer IS NULL THEN
    RAISE EXCEPTION 'no key is stored for this DID' USING ERRCODE = 'PT404', DETAIL = 'no_key_for_did';
  END IF;
  PERFORM public.pass_once(v_in);
  RETURN v_answer;
END
$$;

-- Stores a key that its owner brings, or puts it in the place of another; spent, what is held and what
-- the operator set stay. Further fields: key_hash, sealed_key, seal_key_id, key_name (null: unchanged).
-- Returns {"key": its description, "condemned": null, or {"id", "upstream_hash"} of the provisioned key
-- that it replaced}. A provisioned key that is still needed to ask for costs is not "condemned" yet. PT401
-- replayed_request, PT403 key_disabled.
--
-- A call repeated with the same id and fingerprint gets the same answer and changes nothing.
CREATE OR REPLACE FUNCTION public.store_key(request jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_in        jsonb := public.decoded(request);
  v_did       text  := v_in ->> 'did';
  v_old       public.user_api_keys;
  v_use       text;
  v_condemned jsonb;
BEGIN
  IF v_in ->> 'id' IS NULL OR v_did IS NULL OR v_in ->> 'fingerprint' IS NULL OR v_in ->> 'key_hash' IS NULL
     OR v_in ->> 'sealed_key' IS NULL OR v_in ->> 'seal_key_id' IS NULL
  THEN
    RAISE EXCEPTION 'store_key: a member is missing' USING ERRCODE = 'PT400', DETAIL = 'invalid_argument';
  END IF;

  v_old := public.lock_key(v_did);
  v_use := public.pass_once(v_in);
  IF v_use = 'again' THEN
    RETURN jsonb_build_object('key', public.key_description(v_did), 'condemned', NULL);
  END IF;
  IF EXISTS (SELECT FROM public.accounts AS a WHERE a.did = v_did AND a.disabled) THEN
    RAISE EXCEPTION 'the key of this DID is disabled' USING ERRCODE = 'PT403', DETAIL = 'key_disabled';
  END IF;

  IF v_old.id IS NULL THEN
    PERFORM public.insert_key(v_in, NULL);
  ELSE
    SELECT jsonb_build_object('id', p.id, 'upstream_hash', p.upstream_hash) INTO v_condemned
      FROM public.key_provisionings AS p WHERE p.id = v_old.provisioning_id AND p.state = 'live';
    UPDATE public.user_api_keys SET
      openrouter_key_hash = v_in ->> 'key_hash',
      encrypted_api_key   = v_in ->> 'sealed_key',
      seal_key_id         = (v_in ->> 'seal_key_id')::bigint,
      key_name            = coalesce(left(v_in ->> 'key_name', 255), key_name),
      provisioning_id     = NULL,
      updated_at          = clock_timestamp()
    WHERE did = v_did;
    IF public.provisioning_is_awaited((v_condemned ->> 'id')::uuid, clock_timestamp()) THEN
      v_condemned := NULL;
    END IF;
  END IF;

  PERFORM public.note_key_event(
    v_in, 'user', CASE WHEN v_old.id IS NULL THEN 'stored' ELSE 'replaced' END,
    v_in ->> 'key_hash', (v_in ->> 'seal_key_id')::bigint,
    jsonb_build_object('source', 'own', 'replaced_key_hash', v_old.openrouter_key_hash));
  RETURN jsonb_build_object('key', public.key_description(v_did), 'condemned', v_condemned);
END
$$;

-- Deletes the DID's key row. Its books, what it spent and what the operator set stay. Returns
-- {"hash", "condemned"} (see store_key). PT401 replayed_request, PT404 no_key_for_did. Repeated calls as
-- in store_key.
CREATE OR REPLACE FUNCTION public.revoke_key(request jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_in        jsonb := public.decoded(request);
  v_did       text  := v_in ->> 'did';
  v_key       public.user_api_keys;
  v_use       text;
  v_condemned jsonb;
BEGIN
  IF v_in ->> 'id' IS NULL OR v_did IS NULL OR v_in ->> 'fingerprint' IS NULL THEN
    RAISE EXCEPTION 'revoke_key: a member is missing' USING ERRCODE = 'PT400', DETAIL = 'invalid_argument';
  END IF;

  v_key := public.lock_key(v_did);
  v_use := public.pass_once(v_in);
  IF v_use = 'again' THEN
    RETURN (SELECT jsonb_build_object('hash', e.key_hash, 'condemned', NULL)
              FROM public.key_events AS e
             WHERE e.did = v_did AND e.request_id = (v_in ->> 'id')::uuid AND e.action = 'revoked');
  END IF;
  IF v_key.id IS NULL THEN
    RAISE EXCEPTION 'no key is stored for this DID' USING ERRCODE = 'PT404', DETAIL = 'no_key_for_did';
  END IF;

  SELECT jsonb_build_object('id', p.id, 'upstream_hash', p.upstream_hash) INTO v_condemned
    FROM public.key_provisionings AS p WHERE p.id = v_key.provisioning_id AND p.state = 'live';
  DELETE FROM public.user_api_keys WHERE did = v_did;
  IF public.provisioning_is_awaited((v_condemned ->> 'id')::uuid, clock_timestamp()) THEN
    v_condemned := NULL;
  END IF;
  PERFORM public.note_key_event(
    v_in, 'user', 'revoked', v_key.openrouter_key_hash, v_key.seal_key_id,
    jsonb_build_object('source', CASE WHEN v_key.provisioning_id IS NULL THEN 'own' ELSE 'provisioned' END));
  RETURN jsonb_build_object('hash', v_key.openrouter_key_hash, 'condemned', v_condemned);
END
$$;

REVOKE ALL ON FUNCTION public.key_description(text),
    public.note_key_event(jsonb, text, text, text, bigint, jsonb), public.insert_key(jsonb, uuid),
    public.describe_key(jsonb), public.store_key(jsonb), public.revoke_key(jsonb)
  FROM PUBLIC, anon, authenticated, service_role;
GRANT EXECUTE ON FUNCTION public.key_description(text),
    public.note_key_event(jsonb, text, text, text, bigint, jsonb), public.insert_key(jsonb, uuid),
    public.describe_key(jsonb), public.store_key(jsonb), public.revoke_key(jsonb)
  TO service_role;
