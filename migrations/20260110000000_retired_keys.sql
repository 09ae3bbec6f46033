-- A cost can be asked for only with the key that made the request. So a key that its owner replaces
-- or revokes while such costs are open is retired: it stays sealed, for reconciliation only, until
-- nobody needs it any more, and is then forgotten.
--
--   * A key is retired by the statement that takes its place or its row away, whoever makes it, under
--     the lock of the DID's key row: the open requests of that moment are those that it made.
--   * It is forgotten by the statement that closes the last of them, or by the next claim_unsettled.
--   * A provisioned key is not deleted with OpenRouter as long as it is needed here, but at the latest
--     when reconciliation loses patience (shared/src/reconcile.rs): who can say what a deleted key
--     may still be asked.
--   * Sealing anew takes retired keys, too, so that no master key is disabled which they need.
--
-- The rules of 20260102000000 apply. Locks: the DID's key row, its log rows, then retired_keys; those
-- who forget skip what others hold.

-- ---------------------------------------------------------------------------------------------
-- Tables
-- ---------------------------------------------------------------------------------------------

CREATE TABLE public.retired_keys (
  id                uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  did               text NOT NULL,
  key_hash          text NOT NULL,
  encrypted_api_key text NOT NULL,
  seal_key_id       bigint,
  provisioning_id   uuid,
  retired_at        timestamptz NOT NULL DEFAULT clock_timestamp(),
  UNIQUE (did, key_hash)
);
CREATE INDEX idx_retired_keys_provisioning ON public.retired_keys (provisioning_id) WHERE provisioning_id IS NOT NULL;

COMMENT ON TABLE public.retired_keys IS
  'Keys that were replaced or revoked while costs of theirs were open. For reconciliation only.';
COMMENT ON COLUMN public.retired_keys.key_hash IS 'openrouter_key_hash of its user_api_keys row.';
COMMENT ON COLUMN public.retired_keys.seal_key_id IS
  'Id of the keyset''s key that sealed encrypted_api_key, derived from it.';
COMMENT ON COLUMN public.retired_keys.provisioning_id IS
  'The key_provisionings row of a key that the gateway made.';

ALTER TABLE public.request_logs ADD COLUMN retired_key_id uuid;
COMMENT ON COLUMN public.request_logs.retired_key_id IS
  'The key that made the request, if it was retired while the request was open. No foreign key: that row is deleted.';
CREATE INDEX idx_request_logs_retired_key ON public.request_logs (retired_key_id) WHERE retired_key_id IS NOT NULL;

CREATE TRIGGER derive_seal_key_id BEFORE INSERT OR UPDATE OF encrypted_api_key, seal_key_id
  ON public.retired_keys FOR EACH ROW EXECUTE FUNCTION public.derive_seal_key_id();

-- ---------------------------------------------------------------------------------------------
-- Who needs a key
-- ---------------------------------------------------------------------------------------------

-- Whether a request's cost may have to be asked for: it is open, or was given up as abandoned less
-- than a day ago, so that finish_request may open it again.
CREATE FUNCTION public.may_be_asked_for(
  p_status text, p_cost_state text, p_error_reason text, p_request_time timestamptz, p_now timestamptz) RETURNS boolean
LANGUAGE plpgsql STABLE SECURITY INVOKER SET search_path = '' AS $$
BEGIN
  RETURN p_status = 'pending' OR p_cost_state = 'pending'
      OR (p_cost_state = 'unknown' AND coalesce(p_error_reason = 'abandoned', false)
          AND p_request_time > p_now - interval '24 hours');
END
$$;

-- Whether a provisioned key that was retired is needed, and reconciliation has not lost patience. False
-- for null.
CREATE FUNCTION public.provisioning_is_awaited(p_provisioning uuid, p_now timestamptz) RETURNS boolean
LANGUAGE plpgsql STABLE SECURITY INVOKER SET search_path = '' AS $$
BEGIN
  RETURN EXISTS (
    SELECT FROM public.retired_keys AS r JOIN public.request_logs AS l ON l.retired_key_id = r.id
     WHERE r.provisioning_id = p_provisioning
       AND public.may_be_asked_for(l.status, l.cost_state, l.error_reason, l.request_time, p_now)
       AND l.request_time > p_now - CASE WHEN l.job_id IS NULL THEN interval '24 hours' ELSE interval '7 days' END);
END
$$;

-- ---------------------------------------------------------------------------------------------
-- Retiring
-- ---------------------------------------------------------------------------------------------
-- What holds no sealed key is of no use. The key's hash tells another key from the same one that is
-- sealed anew, as in condemn_provisioning.
CREATE FUNCTION public.retire_key() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_now   timestamptz := clock_timestamp();
  v_id    uuid;
  v_count bigint;
BEGIN
  -- Those that have a retired key already were made with that one.
  IF NOT EXISTS (SELECT FROM public.request_logs AS l
                  WHERE l.did = OLD.did AND l.retired_key_id IS NULL AND public.may_be_asked_for(l.status, l.cost_state, l.error_reason, l.request_time, v_now))
  THEN
    RETURN NULL;
  END IF;
  INSERT INTO public.retired_keys AS r (did, key_hash, encrypted_api_key, provisioning_id)
  VALUES (OLD.did, OLD.openrouter_key_hash, OLD.encrypted_api_key, OLD.provisioning_id)
  ON CONFLICT (did, key_hash) DO UPDATE SET
    encrypted_api_key = EXCLUDED.encrypted_api_key,
    provisioning_id   = coalesce(EXCLUDED.provisioning_id, r.provisioning_id),
    retired_at        = EXCLUDED.retired_at
  RETURNING r.id INTO v_id;
  UPDATE public.request_logs AS l SET retired_key_id = v_id
   WHERE l.did = OLD.did AND l.retired_key_id IS NULL AND public.may_be_asked_for(l.status, l.cost_state, l.error_reason, l.request_time, v_now);
  GET DIAGNOSTICS v_count = ROW_COUNT;
  INSERT INTO public.key_events (did, actor, action, key_hash, seal_key_id, details)
  VALUES (OLD.did, 'gateway', 'retired', OLD.openrouter_key_hash, OLD.seal_key_id,
          jsonb_build_object('open_requests', v_count));
  RETURN NULL;
END
$$;

CREATE TRIGGER retire_replaced_key AFTER UPDATE OF encrypted_api_key ON public.user_api_keys
  FOR EACH ROW WHEN (OLD.seal_key_id IS NOT NULL AND NEW.encrypted_api_key <> OLD.encrypted_api_key
                     AND NEW.openrouter_key_hash <> OLD.openrouter_key_hash)
  EXECUTE FUNCTION public.retire_key();

CREATE TRIGGER retire_deleted_key AFTER DELETE ON public.user_api_keys
  FOR EACH ROW WHEN (OLD.seal_key_id IS NOT NULL) EXECUTE FUNCTION public.retire_key();

-- ---------------------------------------------------------------------------------------------
-- Forgetting
-- ---------------------------------------------------------------------------------------------

-- Deletes retired keys that nobody needs any more: this one, those of this DID, or (null) all. One
-- that another transaction holds is left to the next call.
CREATE FUNCTION public.forget_retired_keys(p_did text, p_id uuid, p_now timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_id uuid;
BEGIN
  FOR v_id IN
    SELECT r.id FROM public.retired_keys AS r
     WHERE (p_did IS NULL OR r.did = p_did) AND (p_id IS NULL OR r.id = p_id)
       AND NOT EXISTS (SELECT FROM public.request_logs AS l
                        WHERE l.retired_key_id = r.id AND public.may_be_asked_for(l.status, l.cost_state, l.error_reason, l.request_time, p_now))
       FOR UPDATE SKIP LOCKED
  LOOP
    -- Looked at once more: retire_key may have given it requests until the lock was had, not since.
    WITH gone AS (
      DELETE FROM public.retired_keys AS r
       WHERE r.id = v_id
         AND NOT EXISTS (SELECT FROM public.request_logs AS l
                          WHERE l.retired_key_id = r.id AND public.may_be_asked_for(l.status, l.cost_state, l.error_reason, l.request_time, p_now))
      RETURNING r.did, r.key_hash, r.seal_key_id
    )
    INSERT INTO public.key_events (did, actor, action, key_hash, seal_key_id)
    SELECT g.did, 'gateway', 'forgotten', g.key_hash, g.seal_key_id FROM gone AS g;
  END LOOP;
END
$$;

CREATE FUNCTION public.forget_retired_key() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
BEGIN
  PERFORM public.forget_retired_keys(NEW.did, NEW.retired_key_id, clock_timestamp());
  RETURN NULL;
END
$$;

CREATE TRIGGER forget_retired_key AFTER UPDATE OF status, cost_state ON public.request_logs
  FOR EACH ROW WHEN (NEW.retired_key_id IS NOT NULL AND NEW.status <> 'pending' AND NEW.cost_state <> 'pending')
  EXECUTE FUNCTION public.forget_retired_key();

-- ---------------------------------------------------------------------------------------------
-- claim_unsettled
-- ---------------------------------------------------------------------------------------------
-- As before (20260106000000), but sealed_key is the key that made the request, also if it was retired
-- meanwhile; null where the DID has no key and that one was not kept. Forgets retired keys.
CREATE OR REPLACE FUNCTION public.claim_unsettled(request jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_in        jsonb       := CASE jsonb_typeof(request) WHEN 'string' THEN (request #>> '{}')::jsonb ELSE request END;
  v_now       timestamptz := timestamptz 'epoch' + (v_in ->> 'now')::bigint * interval '1 millisecond';
  v_limit     integer     := (v_in ->> 'limit')::integer;
  v_did       text        := v_in ->> 'did';
  v_leases    jsonb       := v_in -> 'leases';
  v_abandoned integer     := coalesce((v_in ->> 'abandoned_after')::integer, 1200);
  v_last      integer;
  v_answer    jsonb;
BEGIN
  IF v_now IS NULL OR v_limit IS NULL OR v_limit NOT BETWEEN 1 AND 1000
     OR v_leases IS NULL OR jsonb_typeof(v_leases) <> 'array' OR jsonb_array_length(v_leases) = 0
     OR v_abandoned NOT BETWEEN 1 AND 86400
  THEN
    RAISE EXCEPTION 'claim_unsettled: a member is missing or out of range'
      USING ERRCODE = 'PT400', DETAIL = 'invalid_argument';
  END IF;
  v_last := jsonb_array_length(v_leases) - 1;

  PERFORM public.forget_retired_keys(v_did, NULL, v_now);

  WITH due AS (
    SELECT l.id
      FROM public.request_logs AS l
     WHERE (l.cost_state = 'pending' OR l.status = 'pending')
       AND (l.status <> 'pending' OR l.request_time < v_now - v_abandoned * interval '1 second')
       AND (l.next_reconcile_at IS NULL OR l.next_reconcile_at <= v_now)
       AND (v_did IS NULL OR l.did = v_did)
     ORDER BY l.next_reconcile_at NULLS FIRST, l.request_time
     LIMIT v_limit
       FOR UPDATE SKIP LOCKED
  ), leased AS (
    UPDATE public.request_logs AS l
       SET reconcile_attempts = l.reconcile_attempts + 1,
           next_reconcile_at  = v_now
             + (v_leases ->> least(l.reconcile_attempts, v_last))::integer * interval '1 second'
      FROM due
     WHERE l.id = due.id
    RETURNING l.id, l.did, l.status, l.endpoint, l.generation_id, l.job_id, l.request_time,
              l.reconcile_attempts, l.retired_key_id
  )
  SELECT coalesce(jsonb_agg(jsonb_build_object(
           'id',            l.id,
           'did',           l.did,
           'abandoned',     l.status = 'pending',
           'endpoint',      l.endpoint,
           'generation_id', l.generation_id,
           'job_id',        l.job_id,
           'age_seconds',   greatest(floor(extract(epoch FROM v_now - l.request_time)), 0)::bigint::text,
           'attempts',      l.reconcile_attempts,
           'sealed_key',    CASE WHEN l.retired_key_id IS NULL THEN k.encrypted_api_key
                                ELSE r.encrypted_api_key END)), '[]')
    INTO v_answer
    FROM leased AS l
    LEFT JOIN public.user_api_keys AS k ON k.did = l.did
    LEFT JOIN public.retired_keys AS r ON r.id = l.retired_key_id;

  RETURN v_answer;
END
$$;

-- ---------------------------------------------------------------------------------------------
-- store_key, revoke_key, claim_provisionings
-- ---------------------------------------------------------------------------------------------
-- As before (20260107000000), but a provisioned key that is still needed is not "condemned" yet, and
-- not claimed.
CREATE OR REPLACE FUNCTION public.store_key(request jsonb) RETURNS jsonb
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

CREATE OR REPLACE FUNCTION public.revoke_key(request jsonb) RETURNS jsonb
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
  IF public.provisioning_is_awaited((v_condemned ->> 'id')::uuid, clock_timestamp()) THEN
    v_condemned := NULL;
  END IF;
  PERFORM public.note_key_event(
    v_in, 'user', 'revoked', v_key.openrouter_key_hash, v_key.seal_key_id,
    jsonb_build_object('source', CASE WHEN v_key.provisioning_id IS NULL THEN 'own' ELSE 'provisioned' END));
  RETURN jsonb_build_object('hash', v_key.openrouter_key_hash, 'condemned', v_condemned);
END
$$;

CREATE OR REPLACE FUNCTION public.claim_provisionings(request jsonb) RETURNS jsonb
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

-- ---------------------------------------------------------------------------------------------
-- keys_by_seal, sealed_keys, reseal_keys
-- ---------------------------------------------------------------------------------------------
-- As before (20260108000000), but retired keys count, too.
CREATE OR REPLACE FUNCTION public.keys_by_seal(request jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY INVOKER SET search_path = '' AS $$
BEGIN
  RETURN (
    SELECT coalesce(jsonb_agg(jsonb_build_object('seal_key_id', s.seal_key_id::text, 'rows', s.n::text)
                              ORDER BY s.seal_key_id), '[]')
      FROM (SELECT every.seal_key_id, count(*) AS n
              FROM (SELECT k.seal_key_id FROM public.user_api_keys AS k
                    UNION ALL SELECT r.seal_key_id FROM public.retired_keys AS r) AS every
             GROUP BY every.seal_key_id) AS s);
END
$$;

-- As before (20260108000000), but with retired keys after their DID's present one: of so many DIDs as
-- `limit` says, all keys. Returns an array of {"did", "sealed_key", "retired"}.
CREATE OR REPLACE FUNCTION public.sealed_keys(request jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_in    jsonb   := CASE jsonb_typeof(request) WHEN 'string' THEN (request #>> '{}')::jsonb ELSE request END;
  v_other bigint  := (v_in ->> 'other_than')::bigint;
  v_after text    := v_in ->> 'after';
  v_limit integer := (v_in ->> 'limit')::integer;
  v_last  text;
BEGIN
  IF v_limit IS NULL OR v_limit NOT BETWEEN 1 AND 1000 THEN
    RAISE EXCEPTION 'sealed_keys: limit is missing or out of range'
      USING ERRCODE = 'PT400', DETAIL = 'invalid_argument';
  END IF;
  -- Each table's index gives its first ones, so that a page does not cost the whole of both.
  SELECT max(d.did) INTO v_last
    FROM (SELECT b.did
            FROM ((SELECT k.did FROM public.user_api_keys AS k
                    WHERE (v_after IS NULL OR k.did > v_after)
                      AND (v_other IS NULL OR k.seal_key_id IS DISTINCT FROM v_other)
                    ORDER BY k.did LIMIT v_limit)
                  UNION
                  (SELECT DISTINCT r.did FROM public.retired_keys AS r
                    WHERE (v_after IS NULL OR r.did > v_after)
                      AND (v_other IS NULL OR r.seal_key_id IS DISTINCT FROM v_other)
                    ORDER BY r.did LIMIT v_limit)) AS b
           ORDER BY b.did
           LIMIT v_limit) AS d;
  RETURN (
    SELECT coalesce(jsonb_agg(jsonb_build_object('did', p.did, 'sealed_key', p.sealed, 'retired', p.retired)
                              ORDER BY p.did, p.retired, p.sealed), '[]')
      FROM (SELECT k.did, k.encrypted_api_key AS sealed, false AS retired
              FROM public.user_api_keys AS k
             WHERE k.did <= v_last AND (v_after IS NULL OR k.did > v_after)
               AND (v_other IS NULL OR k.seal_key_id IS DISTINCT FROM v_other)
            UNION ALL
            SELECT r.did, r.encrypted_api_key, true
              FROM public.retired_keys AS r
             WHERE r.did <= v_last AND (v_after IS NULL OR r.did > v_after)
               AND (v_other IS NULL OR r.seal_key_id IS DISTINCT FROM v_other)) AS p);
END
$$;

-- ---------------------------------------------------------------------------------------------
-- delete_account
-- ---------------------------------------------------------------------------------------------
-- Deletes everything of a DID but its books and the record of events: its key, its retired keys (open
-- costs of theirs become unknown) and what was set for it, a block included. A key that is stored anew
-- takes over what was spent. Members of `request`: did. Returns {"deleted"}: false where there was
-- nothing.
CREATE OR REPLACE FUNCTION public.delete_account(request jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_in      jsonb := CASE jsonb_typeof(request) WHEN 'string' THEN (request #>> '{}')::jsonb ELSE request END;
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

-- ---------------------------------------------------------------------------------------------
-- Who may do what: see 20260102000000. Replaced functions keep their privileges.
-- ---------------------------------------------------------------------------------------------

ALTER TABLE public.retired_keys ENABLE ROW LEVEL SECURITY;
REVOKE ALL ON public.retired_keys FROM PUBLIC, anon, authenticated, service_role;
GRANT SELECT, INSERT, UPDATE, DELETE ON public.retired_keys TO service_role;

REVOKE ALL ON FUNCTION public.may_be_asked_for(text, text, text, timestamptz, timestamptz),
    public.provisioning_is_awaited(uuid, timestamptz), public.retire_key(),
    public.forget_retired_keys(text, uuid, timestamptz), public.forget_retired_key()
  FROM PUBLIC, anon, authenticated, service_role;
GRANT EXECUTE ON FUNCTION public.may_be_asked_for(text, text, text, timestamptz, timestamptz),
    public.provisioning_is_awaited(uuid, timestamptz),
    public.forget_retired_keys(text, uuid, timestamptz) TO service_role;

NOTIFY pgrst, 'reload schema';
