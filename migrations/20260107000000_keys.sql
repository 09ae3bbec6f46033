-- Keys by request of their owners: brought (store_key), provisioned by the gateway with OpenRouter's
-- management API (reserve_, activate_, abandon_, claim_, finish_provisioning), shown (describe_key)
-- and revoked (revoke_key). Each writes key_events in the transaction of its change.
--
-- What provisioning promises: in the end OpenRouter has a key of ours exactly where user_api_keys has
-- a row with that provisioning's id. A reservation is written before OpenRouter is asked; the key's
-- name is made of the reservation's id, so that a key whose hash nobody learned can still be found.
--
--   reserved ──activate──> live ──(its key row goes, or gets another key)──> to_delete ──> deleted
--      └──abandon, or its lease ends──────────────────────────────────────────^
--
-- Locks, in the order of begin_request: the DID's key row, then key_provisionings.

-- ---------------------------------------------------------------------------------------------
-- Tables
-- ---------------------------------------------------------------------------------------------

CREATE TABLE public.key_provisionings (
  id              uuid PRIMARY KEY,
  did             text NOT NULL,
  state           text NOT NULL CHECK (state IN ('reserved', 'live', 'to_delete', 'deleted')),
  upstream_hash   text,
  limit_usd       numeric CHECK (limit_usd > 0 AND limit_usd < 'Infinity'),
  limit_reset     text CHECK (limit_reset IN ('daily', 'weekly', 'monthly')),
  reserved_at     timestamptz NOT NULL,
  lease_until     timestamptz NOT NULL,
  live_at         timestamptz,
  ended_at        timestamptz,
  deleted_at      timestamptz,
  attempts        integer NOT NULL DEFAULT 0,
  next_attempt_at timestamptz
);
-- One at a time for each DID: of simultaneous reservations one wins.
CREATE UNIQUE INDEX idx_key_provisionings_active ON public.key_provisionings (did)
  WHERE state IN ('reserved', 'live');
CREATE INDEX idx_key_provisionings_ended ON public.key_provisionings (did, ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX idx_key_provisionings_unfinished ON public.key_provisionings (next_attempt_at NULLS FIRST, lease_until)
  WHERE state IN ('reserved', 'to_delete');

COMMENT ON TABLE public.key_provisionings IS
  'Keys that the gateway made, or was about to make, with OpenRouter''s management API. Rows are kept.';
COMMENT ON COLUMN public.key_provisionings.id IS
  'The id of the request that asked for it. The key''s name with OpenRouter is made of it.';
COMMENT ON COLUMN public.key_provisionings.upstream_hash IS
  'OpenRouter''s name of the key; null until it is known, and where no key was made.';
COMMENT ON COLUMN public.key_provisionings.limit_reset IS 'When limit_usd begins anew (UTC); null: never.';
COMMENT ON COLUMN public.key_provisionings.live_at IS 'When user_api_keys got its row.';
COMMENT ON COLUMN public.key_provisionings.ended_at IS 'When that row went, or got another key.';
COMMENT ON COLUMN public.key_provisionings.lease_until IS
  'A reservation that is not live by then was given up: its function was killed.';
COMMENT ON COLUMN public.key_provisionings.next_attempt_at IS
  'While to_delete: when the deletion is due again; null: at once.';

ALTER TABLE public.user_api_keys ADD COLUMN provisioning_id uuid;
COMMENT ON COLUMN public.user_api_keys.provisioning_id IS
  'The key_provisionings row of a key that the gateway made; null for one that the user brought.';

-- What an operator set for a DID outlives its key: otherwise whoever may delete and store keys could
-- shake off a limit, a rate or a block.
CREATE TABLE public.key_settings (
  did                 text PRIMARY KEY,
  credit_limit        numeric,
  requests_per_minute integer,
  rate_tat            timestamptz,
  disabled            boolean NOT NULL DEFAULT false,
  spent               numeric NOT NULL DEFAULT 0,
  saved_at            timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE public.key_settings IS
  'Settings of DIDs whose key row is gone, for the next key that they store. To erase a user, delete here, too.';

-- ---------------------------------------------------------------------------------------------
-- What follows from a key row's end, whoever brings it about
-- ---------------------------------------------------------------------------------------------

-- A provisioned key that nobody uses any more is to be deleted.
CREATE FUNCTION public.condemn_provisioning() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
BEGIN
  IF TG_OP = 'UPDATE' AND NEW.openrouter_key_hash = OLD.openrouter_key_hash
     AND NEW.provisioning_id IS NOT DISTINCT FROM OLD.provisioning_id
  THEN
    RETURN NEW;  -- the same key, perhaps sealed anew
  END IF;
  UPDATE public.key_provisionings SET state = 'to_delete', ended_at = clock_timestamp(), next_attempt_at = NULL
   WHERE id = OLD.provisioning_id AND state = 'live';
  IF TG_OP = 'DELETE' THEN
    RETURN OLD;
  END IF;
  IF NEW.provisioning_id = OLD.provisioning_id THEN
    NEW.provisioning_id := NULL;  -- an operator put another key in its place
  END IF;
  RETURN NEW;
END
$$;

CREATE TRIGGER condemn_provisioning
  BEFORE DELETE OR UPDATE OF openrouter_key_hash, provisioning_id ON public.user_api_keys
  FOR EACH ROW WHEN (OLD.provisioning_id IS NOT NULL)
  EXECUTE FUNCTION public.condemn_provisioning();

CREATE FUNCTION public.save_settings() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
BEGIN
  INSERT INTO public.key_settings (did, credit_limit, requests_per_minute, rate_tat, disabled, spent)
  VALUES (OLD.did, OLD.credit_limit, OLD.requests_per_minute, OLD.rate_tat, OLD.disabled, OLD.spent)
  ON CONFLICT (did) DO UPDATE SET
    credit_limit = EXCLUDED.credit_limit, requests_per_minute = EXCLUDED.requests_per_minute,
    rate_tat = EXCLUDED.rate_tat, disabled = EXCLUDED.disabled, spent = EXCLUDED.spent,
    saved_at = clock_timestamp();
  RETURN OLD;
END
$$;

CREATE TRIGGER save_settings BEFORE DELETE ON public.user_api_keys
  FOR EACH ROW EXECUTE FUNCTION public.save_settings();

-- ---------------------------------------------------------------------------------------------
-- Parts
-- ---------------------------------------------------------------------------------------------

-- What its owner may know of a key. Money and ids are text, times are RFC 3339.
CREATE FUNCTION public.key_description(p_did text) RETURNS jsonb
LANGUAGE sql STABLE SECURITY INVOKER SET search_path = '' AS $$
  SELECT jsonb_build_object(
           'key_name',       k.key_name,
           'hash',           k.openrouter_key_hash,
           'source',         CASE WHEN k.provisioning_id IS NULL THEN 'own' ELSE 'provisioned' END,
           'disabled',       k.disabled,
           'limit',          trim_scale(k.credit_limit)::text,
           'spent',          trim_scale(k.spent)::text,
           'held',           trim_scale(k.reserved)::text,
           -- greatest() passes over nulls.
           'remaining',      CASE WHEN k.credit_limit IS NOT NULL THEN
                               trim_scale(greatest(k.credit_limit - k.spent - k.reserved, 0))::text END,
           'openrouter_limit', trim_scale(p.limit_usd)::text,
           'openrouter_limit_reset', CASE WHEN p.limit_usd IS NOT NULL THEN coalesce(p.limit_reset, 'never') END,
           'created_at',     k.created_at,
           'updated_at',     k.updated_at,
           'seal_key_id',    k.seal_key_id::text)
    FROM public.user_api_keys AS k
    LEFT JOIN public.key_provisionings AS p ON p.id = k.provisioning_id
   WHERE k.did = p_did
$$;

-- Inserts the key of a DID that has none, with the settings that its last one left. Returns false,
-- and changes nothing, where another transaction was faster.
CREATE FUNCTION public.insert_key(p_in jsonb, p_provisioning uuid) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_saved public.key_settings%ROWTYPE;
BEGIN
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

CREATE FUNCTION public.note_key_event(
  p_in jsonb, p_actor text, p_action text, p_key_hash text, p_seal_key_id bigint, p_details jsonb
) RETURNS void
LANGUAGE sql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
  INSERT INTO public.key_events (did, actor, action, key_hash, seal_key_id, request_id, details)
  VALUES (p_in ->> 'did', p_actor, p_action, p_key_hash, p_seal_key_id, (p_in ->> 'id')::uuid, p_details)
$$;

-- ---------------------------------------------------------------------------------------------
-- describe_key
-- ---------------------------------------------------------------------------------------------
-- Members of `request`, here and below: id, did, request_time (epoch ms), fingerprint and
-- fingerprint_expires_at as in begin_request; describe_key alone takes a null fingerprint.
-- Returns the key's description. PT401 replayed_request, PT404 no_key_for_did.
CREATE FUNCTION public.describe_key(request jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_in     jsonb := CASE jsonb_typeof(request) WHEN 'string' THEN (request #>> '{}')::jsonb ELSE request END;
  v_answer jsonb := public.key_description(v_in ->> 'did');
BEGIN
  IF v_answer IS NULL THEN
    RAISE EXCEPTION 'no key is stored for this DID' USING ERRCODE = 'PT404', DETAIL = 'no_key_for_did';
  END IF;
  IF v_in ->> 'fingerprint' IS NOT NULL AND public.use_fingerprint(v_in) = 'replayed' THEN
    RAISE EXCEPTION 'this signed request has been used before' USING ERRCODE = 'PT401', DETAIL = 'replayed_request';
  END IF;
  RETURN v_answer;
END
$$;

-- ---------------------------------------------------------------------------------------------
-- store_key
-- ---------------------------------------------------------------------------------------------
-- Stores a key that its owner brings, or puts it in the place of another; spent, what is held and
-- what the operator set stay. Further members: key_hash, sealed_key, seal_key_id, key_name (null: as
-- it was). Returns {"key": its description, "condemned": null, or {"id", "upstream_hash"} of the
-- provisioned key that it replaced}. PT401 replayed_request, PT403 key_disabled.
--
-- A call repeated with the same id and fingerprint gets the same answer and changes nothing.
CREATE FUNCTION public.store_key(request jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_in        jsonb := CASE jsonb_typeof(request) WHEN 'string' THEN (request #>> '{}')::jsonb ELSE request END;
  v_did       text  := v_in ->> 'did';
  v_old       public.user_api_keys%ROWTYPE;
  v_use       text;
  v_condemned jsonb;
BEGIN
  IF v_in ->> 'id' IS NULL OR v_did IS NULL OR v_in ->> 'fingerprint' IS NULL OR v_in ->> 'key_hash' IS NULL
     OR v_in ->> 'sealed_key' IS NULL OR v_in ->> 'seal_key_id' IS NULL
  THEN
    RAISE EXCEPTION 'store_key: a member is missing' USING ERRCODE = 'PT400', DETAIL = 'invalid_argument';
  END IF;

  SELECT * INTO v_old FROM public.user_api_keys WHERE did = v_did FOR UPDATE;
  v_use := public.use_fingerprint(v_in);
  IF v_use = 'replayed' THEN
    RAISE EXCEPTION 'this signed request has been used before' USING ERRCODE = 'PT401', DETAIL = 'replayed_request';
  ELSIF v_use = 'again' THEN
    RETURN jsonb_build_object('key', public.key_description(v_did), 'condemned', NULL);
  END IF;
  IF v_old.disabled OR (v_old.id IS NULL AND EXISTS (
       SELECT FROM public.key_settings AS s WHERE s.did = v_did AND s.disabled))
  THEN
    RAISE EXCEPTION 'the key of this DID is disabled' USING ERRCODE = 'PT403', DETAIL = 'key_disabled';
  END IF;

  IF v_old.id IS NULL AND NOT public.insert_key(v_in, NULL) THEN
    SELECT * INTO v_old FROM public.user_api_keys WHERE did = v_did FOR UPDATE;
  END IF;
  IF v_old.id IS NOT NULL THEN
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
  END IF;

  PERFORM public.note_key_event(
    v_in, 'user', CASE WHEN v_old.id IS NULL THEN 'stored' ELSE 'replaced' END,
    v_in ->> 'key_hash', (v_in ->> 'seal_key_id')::bigint,
    jsonb_build_object('source', 'own', 'replaced_key_hash', v_old.openrouter_key_hash));
  RETURN jsonb_build_object('key', public.key_description(v_did), 'condemned', v_condemned);
END
$$;

-- ---------------------------------------------------------------------------------------------
-- revoke_key
-- ---------------------------------------------------------------------------------------------
-- Deletes the DID's key row. Its books, what it spent and what the operator set stay. Returns
-- {"hash", "condemned"} (see store_key). PT401 replayed_request, PT404 no_key_for_did. Repeated as
-- store_key.
CREATE FUNCTION public.revoke_key(request jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_in        jsonb := CASE jsonb_typeof(request) WHEN 'string' THEN (request #>> '{}')::jsonb ELSE request END;
  v_did       text  := v_in ->> 'did';
  v_key       public.user_api_keys%ROWTYPE;
  v_use       text;
  v_condemned jsonb;
BEGIN
  IF v_in ->> 'id' IS NULL OR v_did IS NULL OR v_in ->> 'fingerprint' IS NULL THEN
    RAISE EXCEPTION 'revoke_key: a member is missing' USING ERRCODE = 'PT400', DETAIL = 'invalid_argument';
  END IF;

  SELECT * INTO v_key FROM public.user_api_keys WHERE did = v_did FOR UPDATE;
  v_use := public.use_fingerprint(v_in);
  IF v_use = 'replayed' THEN
    RAISE EXCEPTION 'this signed request has been used before' USING ERRCODE = 'PT401', DETAIL = 'replayed_request';
  ELSIF v_use = 'again' THEN
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
  PERFORM public.note_key_event(
    v_in, 'user', 'revoked', v_key.openrouter_key_hash, v_key.seal_key_id,
    jsonb_build_object('source', CASE WHEN v_key.provisioning_id IS NULL THEN 'own' ELSE 'provisioned' END));
  RETURN jsonb_build_object('hash', v_key.openrouter_key_hash, 'condemned', v_condemned);
END
$$;

-- ---------------------------------------------------------------------------------------------
-- reserve_provisioning
-- ---------------------------------------------------------------------------------------------
-- Before OpenRouter is asked for a key. Further members: lease (seconds until the reservation counts
-- as given up), limit (US dollars as text, null: none), limit_reset ('daily' | 'weekly' | 'monthly',
-- null: never). A null fingerprint is for a reservation that another signed request brings about.
--
-- Returns {"reserved": true}, or {"reserved": false, "key": its description} for a DID that has a
-- provisioned key already. Refuses, and then leaves no trace, with
--   PT401 replayed_request, PT403 key_disabled,
--   PT409 key_exists (the DID brought one), PT409 provisioning_in_progress (another call's),
--   PT403 provisioning_used_up (HINT: {"available_at": epoch seconds as text, null: never}): a key of
--   this DID had the limit of the present day, week (from Monday) or month in UTC, and is gone. A new
--   one would have it once more.
CREATE FUNCTION public.reserve_provisioning(request jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_in      jsonb       := CASE jsonb_typeof(request) WHEN 'string' THEN (request #>> '{}')::jsonb ELSE request END;
  v_id      uuid        := (v_in ->> 'id')::uuid;
  v_did     text        := v_in ->> 'did';
  v_now     timestamptz := timestamptz 'epoch' + (v_in ->> 'request_time')::bigint * interval '1 millisecond';
  v_lease   interval    := (v_in ->> 'lease')::integer * interval '1 second';
  v_limit   numeric     := (v_in ->> 'limit')::numeric;
  v_reset   text        := v_in ->> 'limit_reset';
  v_unit    text        := CASE v_reset WHEN 'daily' THEN 'day' WHEN 'weekly' THEN 'week' WHEN 'monthly' THEN 'month' END;
  v_begin   timestamptz;
  v_use     text        := 'first';
  v_key     public.user_api_keys%ROWTYPE;
BEGIN
  IF v_id IS NULL OR v_did IS NULL OR v_now IS NULL OR NOT coalesce(v_lease > interval '0', false)
     OR (v_reset IS NOT NULL AND v_unit IS NULL)
  THEN
    RAISE EXCEPTION 'reserve_provisioning: a member is missing or out of range'
      USING ERRCODE = 'PT400', DETAIL = 'invalid_argument';
  END IF;

  SELECT * INTO v_key FROM public.user_api_keys WHERE did = v_did FOR UPDATE;
  IF v_in ->> 'fingerprint' IS NOT NULL THEN
    v_use := public.use_fingerprint(v_in);
  END IF;
  IF v_use = 'replayed' THEN
    RAISE EXCEPTION 'this signed request has been used before' USING ERRCODE = 'PT401', DETAIL = 'replayed_request';
  END IF;
  -- A lost answer is asked for again.
  IF EXISTS (SELECT FROM public.key_provisionings AS p WHERE p.id = v_id AND p.did = v_did AND p.state = 'reserved') THEN
    RETURN jsonb_build_object('reserved', true);
  END IF;

  IF v_key.disabled OR (v_key.id IS NULL AND EXISTS (
       SELECT FROM public.key_settings AS s WHERE s.did = v_did AND s.disabled))
  THEN
    RAISE EXCEPTION 'the key of this DID is disabled' USING ERRCODE = 'PT403', DETAIL = 'key_disabled';
  END IF;
  IF v_key.provisioning_id IS NOT NULL THEN
    RETURN jsonb_build_object('reserved', false, 'key', public.key_description(v_did));
  ELSIF v_key.id IS NOT NULL THEN
    RAISE EXCEPTION 'this DID has brought a key' USING ERRCODE = 'PT409', DETAIL = 'key_exists';
  END IF;

  IF v_limit IS NOT NULL THEN
    v_begin := CASE WHEN v_unit IS NULL THEN '-infinity'
                    ELSE date_trunc(v_unit, v_now AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' END;
    IF EXISTS (SELECT FROM public.key_provisionings AS p
                WHERE p.did = v_did AND p.ended_at >= v_begin)
    THEN
      RAISE EXCEPTION 'this DID has had its key'
        USING ERRCODE = 'PT403', DETAIL = 'provisioning_used_up',
              HINT = jsonb_build_object('available_at', CASE WHEN v_unit IS NOT NULL THEN
                extract(epoch FROM (date_trunc(v_unit, v_now AT TIME ZONE 'UTC') + ('1 ' || v_unit)::interval)
                        AT TIME ZONE 'UTC')::bigint::text END)::text;
    END IF;
  END IF;

  -- Nobody works on those any more.
  UPDATE public.key_provisionings SET state = 'to_delete'
   WHERE did = v_did AND state = 'reserved' AND lease_until <= v_now;
  INSERT INTO public.key_provisionings (id, did, state, limit_usd, limit_reset, reserved_at, lease_until)
  VALUES (v_id, v_did, 'reserved', v_limit, v_reset, v_now, v_now + v_lease)
  ON CONFLICT DO NOTHING;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'another call provisions this DID''s key'
      USING ERRCODE = 'PT409', DETAIL = 'provisioning_in_progress';
  END IF;
  RETURN jsonb_build_object('reserved', true);
END
$$;

-- ---------------------------------------------------------------------------------------------
-- activate_provisioning
-- ---------------------------------------------------------------------------------------------
-- OpenRouter has made the key: stores it. Members: id, did, upstream_hash; key_hash, sealed_key,
-- seal_key_id, key_name as in store_key. Returns {"key": its description}, also when repeated, or
-- {"key": null} where the reservation was given up or the DID has brought a key meanwhile: then the
-- new key is to be deleted. PT404 no_such_provisioning.
CREATE FUNCTION public.activate_provisioning(request jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_in    jsonb := CASE jsonb_typeof(request) WHEN 'string' THEN (request #>> '{}')::jsonb ELSE request END;
  v_id    uuid  := (v_in ->> 'id')::uuid;
  v_did   text  := v_in ->> 'did';
  v_state text;
BEGIN
  IF v_id IS NULL OR v_did IS NULL OR v_in ->> 'upstream_hash' IS NULL OR v_in ->> 'key_hash' IS NULL
     OR v_in ->> 'sealed_key' IS NULL OR v_in ->> 'seal_key_id' IS NULL
  THEN
    RAISE EXCEPTION 'activate_provisioning: a member is missing' USING ERRCODE = 'PT400', DETAIL = 'invalid_argument';
  END IF;

  PERFORM 1 FROM public.user_api_keys WHERE did = v_did FOR UPDATE;
  SELECT p.state INTO v_state FROM public.key_provisionings AS p WHERE p.id = v_id AND p.did = v_did FOR UPDATE;
  IF v_state IS NULL THEN
    RAISE EXCEPTION 'no provisioning has this id' USING ERRCODE = 'PT404', DETAIL = 'no_such_provisioning';
  ELSIF v_state = 'live' THEN
    RETURN jsonb_build_object('key', public.key_description(v_did));
  ELSIF v_state = 'reserved' AND public.insert_key(v_in, v_id) THEN
    UPDATE public.key_provisionings
       SET state = 'live', upstream_hash = v_in ->> 'upstream_hash', live_at = clock_timestamp()
     WHERE id = v_id;
    PERFORM public.note_key_event(
      v_in, 'gateway', 'provisioned', v_in ->> 'key_hash', (v_in ->> 'seal_key_id')::bigint,
      jsonb_build_object('source', 'provisioned'));
    RETURN jsonb_build_object('key', public.key_description(v_did));
  END IF;
  -- It was taken for deleted too early, or is not wanted any more.
  UPDATE public.key_provisionings
     SET state = 'to_delete', upstream_hash = v_in ->> 'upstream_hash', next_attempt_at = NULL, deleted_at = NULL
   WHERE id = v_id;
  RETURN jsonb_build_object('key', NULL);
END
$$;

-- ---------------------------------------------------------------------------------------------
-- abandon_provisioning, claim_provisionings, finish_provisioning
-- ---------------------------------------------------------------------------------------------
-- Gives a reservation up. Members: id; made (false: OpenRouter has certainly made no key, so nothing
-- is left to delete). Returns {"abandoned": whether this call did}.
CREATE FUNCTION public.abandon_provisioning(request jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_in jsonb := CASE jsonb_typeof(request) WHEN 'string' THEN (request #>> '{}')::jsonb ELSE request END;
BEGIN
  UPDATE public.key_provisionings
     SET state      = CASE WHEN (v_in ->> 'made')::boolean IS FALSE THEN 'deleted' ELSE 'to_delete' END,
         deleted_at = CASE WHEN (v_in ->> 'made')::boolean IS FALSE THEN clock_timestamp() END
   WHERE id = (v_in ->> 'id')::uuid AND state = 'reserved';
  RETURN jsonb_build_object('abandoned', FOUND);
END
$$;

-- Takes keys that are to be deleted and due, and reservations whose lease has ended. Members and
-- leases as in claim_unsettled. Returns an array of {"id", "upstream_hash", "age_seconds", "attempts"},
-- the age since the reservation. A lease is over before the row is anyone else's.
CREATE FUNCTION public.claim_provisionings(request jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_in     jsonb       := CASE jsonb_typeof(request) WHEN 'string' THEN (request #>> '{}')::jsonb ELSE request END;
  v_now    timestamptz := timestamptz 'epoch' + (v_in ->> 'now')::bigint * interval '1 millisecond';
  v_limit  integer     := (v_in ->> 'limit')::integer;
  v_did    text        := v_in ->> 'did';
  v_leases jsonb       := v_in -> 'leases';
  v_last   integer;
  v_answer jsonb;
BEGIN
  IF v_now IS NULL OR v_limit IS NULL OR v_limit NOT BETWEEN 1 AND 1000
     OR v_leases IS NULL OR jsonb_typeof(v_leases) <> 'array' OR jsonb_array_length(v_leases) = 0
  THEN
    RAISE EXCEPTION 'claim_provisionings: a member is missing or out of range'
      USING ERRCODE = 'PT400', DETAIL = 'invalid_argument';
  END IF;
  v_last := jsonb_array_length(v_leases) - 1;

  WITH due AS (
    SELECT p.id
      FROM public.key_provisionings AS p
     WHERE ((p.state = 'to_delete' AND (p.next_attempt_at IS NULL OR p.next_attempt_at <= v_now))
            OR (p.state = 'reserved' AND p.lease_until <= v_now))
       AND (v_did IS NULL OR p.did = v_did)
     ORDER BY p.next_attempt_at NULLS FIRST, p.lease_until
     LIMIT v_limit
       FOR UPDATE SKIP LOCKED
  ), leased AS (
    UPDATE public.key_provisionings AS p
       SET state           = 'to_delete',
           attempts        = p.attempts + 1,
           next_attempt_at = v_now + (v_leases ->> least(p.attempts, v_last))::integer * interval '1 second'
      FROM due
     WHERE p.id = due.id
    RETURNING p.id, p.upstream_hash, p.reserved_at, p.attempts
  )
  SELECT coalesce(jsonb_agg(jsonb_build_object(
           'id',            l.id,
           'upstream_hash', l.upstream_hash,
           'age_seconds',   greatest(floor(extract(epoch FROM v_now - l.reserved_at)), 0)::bigint::text,
           'attempts',      l.attempts)), '[]')
    INTO v_answer
    FROM leased AS l;
  RETURN v_answer;
END
$$;

-- OpenRouter has the key no more, or never had it. Members: id. Returns {"finished": whether this
-- call ended it}.
CREATE FUNCTION public.finish_provisioning(request jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_in   jsonb := CASE jsonb_typeof(request) WHEN 'string' THEN (request #>> '{}')::jsonb ELSE request END;
  v_hash text;
  v_did  text;
BEGIN
  UPDATE public.key_provisionings SET state = 'deleted', deleted_at = clock_timestamp()
   WHERE id = (v_in ->> 'id')::uuid AND state = 'to_delete'
  RETURNING did, upstream_hash INTO v_did, v_hash;
  IF NOT FOUND THEN
    RETURN jsonb_build_object('finished', false);
  END IF;
  IF v_hash IS NOT NULL THEN
    PERFORM public.note_key_event(
      v_in || jsonb_build_object('did', v_did), 'gateway', 'deleted_upstream', v_hash, NULL,
      jsonb_build_object('source', 'provisioned'));
  END IF;
  RETURN jsonb_build_object('finished', true);
END
$$;

-- ---------------------------------------------------------------------------------------------
-- Who may do what: see 20260102000000
-- ---------------------------------------------------------------------------------------------

ALTER TABLE public.key_provisionings ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.key_settings      ENABLE ROW LEVEL SECURITY;

REVOKE ALL ON public.key_provisionings, public.key_settings FROM PUBLIC, anon, authenticated, service_role;
GRANT SELECT, INSERT, UPDATE, DELETE ON public.key_provisionings, public.key_settings TO service_role;

REVOKE ALL ON FUNCTION public.condemn_provisioning(), public.save_settings(), public.key_description(text),
    public.insert_key(jsonb, uuid), public.note_key_event(jsonb, text, text, text, bigint, jsonb),
    public.describe_key(jsonb), public.store_key(jsonb), public.revoke_key(jsonb),
    public.reserve_provisioning(jsonb), public.activate_provisioning(jsonb), public.abandon_provisioning(jsonb),
    public.claim_provisionings(jsonb), public.finish_provisioning(jsonb)
  FROM PUBLIC, anon, authenticated, service_role;
GRANT EXECUTE ON FUNCTION public.key_description(text),
    public.insert_key(jsonb, uuid), public.note_key_event(jsonb, text, text, text, bigint, jsonb),
    public.describe_key(jsonb), public.store_key(jsonb), public.revoke_key(jsonb),
    public.reserve_provisioning(jsonb), public.activate_provisioning(jsonb), public.abandon_provisioning(jsonb),
    public.claim_provisionings(jsonb), public.finish_provisioning(jsonb) TO service_role;

NOTIFY pgrst, 'reload schema';
