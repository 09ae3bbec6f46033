-- Keys that the gateway makes with OpenRouter's management API.
--
-- The promise of provisioning: in the end OpenRouter has a key of ours exactly where user_api_keys has a
-- row with that provisioning's id. A reservation is written before OpenRouter is asked; the key's name
-- is made of the reservation's id, so that a key whose hash was never learned can still be found.
--
--   reserved --activate--> live --(its key row goes, or gets another key)--> to_delete --> deleted
--      \--abandon, or its lease ends-----------------------------------------^

-- Marks a provisioned key that is no longer used for deletion with OpenRouter, whichever statement ends
-- its key row or puts another key there.
CREATE OR REPLACE FUNCTION public.condemn_provisioning() RETURNS trigger
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

CREATE OR REPLACE TRIGGER condemn_provisioning
  BEFORE DELETE OR UPDATE OF openrouter_key_hash, provisioning_id ON public.user_api_keys
  FOR EACH ROW WHEN (OLD.provisioning_id IS NOT NULL)
  EXECUTE FUNCTION public.condemn_provisioning();

-- Reserves the provisioning of a key before OpenRouter is asked for one. Further fields: lease (seconds
-- until the reservation counts as given up), limit (US dollars as text, null: none), limit_reset
-- ('daily' | 'weekly' | 'monthly', null: never). A null fingerprint is for a reservation that another signed request brings about.
--
-- Returns {"reserved": true}, or {"reserved": false, "key": its description} for a DID that has a
-- provisioned key already. Refuses, and then leaves no trace, with
--   PT401 replayed_request, PT403 key_disabled,
--   PT409 key_exists (the DID brought one), PT409 provisioning_in_progress (another call's),
--   PT403 provisioning_used_up (HINT: {"available_at": epoch seconds as text, null: never}): a key of
--   this DID had the limit of the present day, week (from Monday) or month in UTC, and is gone. A new
--   one would have it once more.
CREATE OR REPLACE FUNCTION public.reserve_provisioning(request jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_in      jsonb       := public.decoded(request);
  v_id      uuid        := (v_in ->> 'id')::uuid;
  v_did     text        := v_in ->> 'did';
  v_now     timestamptz := timestamptz 'epoch' + (v_in ->> 'request_time')::bigint * interval '1 millisecond';
  v_lease   interval    := (v_in ->> 'lease')::integer * interval '1 second';
  v_limit   numeric     := (v_in ->> 'limit')::numeric;
  v_reset   text        := v_in ->> 'limit_reset';
  v_unit    text        := CASE v_reset WHEN 'daily' THEN 'day' WHEN 'weekly' THEN 'week' WHEN 'monthly' THEN 'month' END;
  v_begin   timestamptz;
  v_use     text        := 'first';
  v_key     public.user_api_keys;
BEGIN
  IF v_id IS NULL OR v_did IS NULL OR v_now IS NULL OR NOT coalesce(v_lease > interval '0', false)
     OR (v_reset IS NOT NULL AND v_unit IS NULL)
  THEN
    RAISE EXCEPTION 'reserve_provisioning: a member is missing or out of range'
      USING ERRCODE = 'PT400', DETAIL = 'invalid_argument';
  END IF;

  v_key := public.lock_key(v_did);
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

  IF EXISTS (SELECT FROM public.accounts AS a WHERE a.did = v_did AND a.disabled) THEN
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

-- Stores the key that OpenRouter has made. Fields: id, did, upstream_hash; key_hash, sealed_key,
-- seal_key_id, key_name as in store_key. Returns {"key": its description}, also when repeated, or
-- {"key": null} where the reservation was given up or the DID has brought a key meanwhile: then the
-- new key is to be deleted. PT404 no_such_provisioning.
CREATE OR REPLACE FUNCTION public.activate_provisioning(request jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_in    jsonb := public.decoded(request);
  v_id    uuid  := (v_in ->> 'id')::uuid;
  v_did   text  := v_in ->> 'did';
  v_key   public.user_api_keys;
  v_state text;
BEGIN
  IF v_id IS NULL OR v_did IS NULL OR v_in ->> 'upstream_hash' IS NULL OR v_in ->> 'key_hash' IS NULL
     OR v_in ->> 'sealed_key' IS NULL OR v_in ->> 'seal_key_id' IS NULL
  THEN
    RAISE EXCEPTION 'activate_provisioning: a member is missing' USING ERRCODE = 'PT400', DETAIL = 'invalid_argument';
  END IF;

  v_key := public.lock_key(v_did);
  SELECT p.state INTO v_state FROM public.key_provisionings AS p WHERE p.id = v_id AND p.did = v_did FOR UPDATE;
  IF v_state IS NULL THEN
    RAISE EXCEPTION 'no provisioning has this id' USING ERRCODE = 'PT404', DETAIL = 'no_such_provisioning';
  ELSIF v_state = 'live' THEN
    RETURN jsonb_build_object('key', public.key_description(v_did));
  ELSIF v_state = 'reserved' AND v_key.id IS NULL THEN
    PERFORM public.insert_key(v_in, v_id);
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

-- Gives a reservation up. Fields: id; made (false: OpenRouter has certainly made no key, so nothing
-- is left to delete). Returns {"abandoned": whether this call did}.
CREATE OR REPLACE FUNCTION public.abandon_provisioning(request jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_in jsonb := public.decoded(request);
BEGIN
  UPDATE public.key_provisionings
     SET state      = CASE WHEN (v_in ->> 'made')::boolean IS FALSE THEN 'deleted' ELSE 'to_delete' END,
         deleted_at = CASE WHEN (v_in ->> 'made')::boolean IS FALSE THEN clock_timestamp() END
   WHERE id = (v_in ->> 'id')::uuid AND state = 'reserved';
  RETURN jsonb_build_object('abandoned', FOUND);
END
$$;

-- Takes keys that are to be deleted and due, and reservations whose lease has ended; not those that are
-- still needed to ask for costs. Fields and leases as in claim_unsettled. Returns an array of {"id",
-- "upstream_hash", "age_seconds", "attempts"}, the age since the reservation. A row belongs to its claim
-- until the lease is over.
CREATE OR REPLACE FUNCTION public.claim_provisionings(request jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_in     jsonb       := public.decoded(request);
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
       AND NOT public.provisioning_is_awaited(p.id, v_now)
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

-- Ends a provisioning whose key OpenRouter no longer has, or never had. Fields: id. Returns {"finished":
-- whether this call ended it}.
CREATE OR REPLACE FUNCTION public.finish_provisioning(request jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_in   jsonb := public.decoded(request);
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

REVOKE ALL ON FUNCTION public.condemn_provisioning(), public.reserve_provisioning(jsonb),
    public.activate_provisioning(jsonb), public.abandon_provisioning(jsonb),
    public.claim_provisionings(jsonb), public.finish_provisioning(jsonb)
  FROM PUBLIC, anon, authenticated, service_role;
GRANT EXECUTE ON FUNCTION public.reserve_provisioning(jsonb), public.activate_provisioning(jsonb),
    public.abandon_provisioning(jsonb), public.claim_provisionings(jsonb),
    public.finish_provisioning(jsonb)
  TO service_role;
