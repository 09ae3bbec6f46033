-- Retired keys. A cost can be asked for only with the key that made the request. So a key that its owner
-- replaces or revokes while such costs are open is retired: it stays sealed, for reconciliation only,
-- until nothing needs it any more, and is then forgotten.
--
--   * A key is retired by the statement that takes its place or its row away, whoever runs it, under
--     the lock of the DID: the open requests of that moment are those that it made.
--   * It is forgotten by the statement that closes the last of them, or by the next claim_unsettled.
--   * A provisioned key is not deleted with OpenRouter as long as it is needed here, but at the latest
--     when reconciliation gives up (shared/src/reconcile.rs), because it is not known what a deleted key
--     may still ask for.
--   * Resealing includes retired keys, so that no master key is disabled while they need it.

-- Whether a request's cost may have to be asked for: it is open, or was given up as abandoned less than a
-- day ago, so that finish_request may open it again.
CREATE OR REPLACE FUNCTION public.may_be_asked_for(
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
CREATE OR REPLACE FUNCTION public.provisioning_is_awaited(p_provisioning uuid, p_now timestamptz) RETURNS boolean
LANGUAGE plpgsql STABLE SECURITY INVOKER SET search_path = '' AS $$
BEGIN
  RETURN EXISTS (
    SELECT FROM public.retired_keys AS r JOIN public.request_logs AS l ON l.retired_key_id = r.id
     WHERE r.provisioning_id = p_provisioning
       AND public.may_be_asked_for(l.status, l.cost_state, l.error_reason, l.request_time, p_now)
       AND l.request_time > p_now - CASE WHEN l.job_id IS NULL THEN interval '24 hours' ELSE interval '7 days' END);
END
$$;

-- Keeps a key that is replaced or deleted in retired_keys while requests that it made are open, and
-- writes its id into those. A text that holds no sealed key is of no use and is not kept. The key's hash
-- tells another key from the same one sealed again, as in condemn_provisioning.
CREATE OR REPLACE FUNCTION public.retire_key() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_now   timestamptz := clock_timestamp();
  v_open  uuid[];
  v_id    uuid;
  v_count bigint;
BEGIN
  PERFORM public.lock_account(OLD.did);
  -- Those that have a retired key already were made with that one.
  v_open := ARRAY(SELECT l.id FROM public.open_requests AS o JOIN public.request_logs AS l ON l.id = o.request_id
                   WHERE o.did = OLD.did AND l.retired_key_id IS NULL
                     AND public.may_be_asked_for(l.status, l.cost_state, l.error_reason, l.request_time, v_now));
  IF v_open = '{}' THEN
    RETURN NULL;
  END IF;
  INSERT INTO public.retired_keys AS r (did, key_hash, encrypted_api_key, provisioning_id)
  VALUES (OLD.did, OLD.openrouter_key_hash, OLD.encrypted_api_key, OLD.provisioning_id)
  ON CONFLICT (did, key_hash) DO UPDATE SET
    encrypted_api_key = EXCLUDED.encrypted_api_key,
    provisioning_id   = coalesce(EXCLUDED.provisioning_id, r.provisioning_id),
    retired_at        = EXCLUDED.retired_at
  RETURNING r.id INTO v_id;
  UPDATE public.request_logs AS l SET retired_key_id = v_id WHERE l.id = ANY (v_open);
  GET DIAGNOSTICS v_count = ROW_COUNT;
  INSERT INTO public.key_events (did, actor, action, key_hash, seal_key_id, details)
  VALUES (OLD.did, 'gateway', 'retired', OLD.openrouter_key_hash, OLD.seal_key_id,
          jsonb_build_object('open_requests', v_count));
  RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER retire_replaced_key AFTER UPDATE OF encrypted_api_key ON public.user_api_keys
  FOR EACH ROW WHEN (OLD.seal_key_id IS NOT NULL AND NEW.encrypted_api_key <> OLD.encrypted_api_key
                     AND NEW.openrouter_key_hash <> OLD.openrouter_key_hash)
  EXECUTE FUNCTION public.retire_key();
CREATE OR REPLACE TRIGGER retire_deleted_key AFTER DELETE ON public.user_api_keys
  FOR EACH ROW WHEN (OLD.seal_key_id IS NOT NULL) EXECUTE FUNCTION public.retire_key();

-- Deletes retired keys that nothing needs any more: this one, those of this DID, or (null) all. One that
-- another transaction holds is left to the next call.
CREATE OR REPLACE FUNCTION public.forget_retired_keys(p_did text, p_id uuid, p_now timestamptz) RETURNS void
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

-- Forgets a retired key in the statement that closes the last of its requests.
CREATE OR REPLACE FUNCTION public.forget_retired_key() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
BEGIN
  PERFORM public.forget_retired_keys(NEW.did, NEW.retired_key_id, clock_timestamp());
  RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER forget_retired_key AFTER UPDATE OF status, cost_state ON public.request_logs
  FOR EACH ROW WHEN (NEW.retired_key_id IS NOT NULL AND NEW.status <> 'pending' AND NEW.cost_state <> 'pending')
  EXECUTE FUNCTION public.forget_retired_key();

REVOKE ALL ON FUNCTION public.may_be_asked_for(text, text, text, timestamptz, timestamptz),
    public.provisioning_is_awaited(uuid, timestamptz), public.retire_key(),
    public.forget_retired_keys(text, uuid, timestamptz), public.forget_retired_key()
  FROM PUBLIC, anon, authenticated, service_role;
GRANT EXECUTE ON FUNCTION public.may_be_asked_for(text, text, text, timestamptz, timestamptz),
    public.provisioning_is_awaited(uuid, timestamptz),
    public.forget_retired_keys(text, uuid, timestamptz)
  TO service_role;
