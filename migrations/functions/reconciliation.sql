-- Reconciliation: a run claims a few rows whose cost is open (claim_unsettled), asks OpenRouter what they
-- cost, and closes each (settle_request, in settlement.sql).

-- Takes rows that are due: those whose cost is pending, and those that are still pending long after they
-- began (their function was killed). Fields of `request`:
--
--   now               epoch ms
--   limit             maximum number of rows, 1 to 1000
--   leases            seconds until a row is due again, after its first, second, ... claim; the last repeats
--   did               this DID's rows only; null: every DID's
--   abandoned_after   seconds after which a row that is still pending counts as abandoned, 1 to 86400;
--                     null or absent: 1200 (a function lives 15 minutes at most)
--
-- Returns an array of {"id", "did", "abandoned", "endpoint", "generation_id", "job_id", "age_seconds",
-- "attempts", "several_generations", "sealed_key"}. sealed_key is the key that made the request, also if it was retired
-- meanwhile; null where the DID has no key and that one was not kept. Forgets retired keys that are no
-- longer needed.
--
-- Concurrent runs skip each other's rows, and a claimed row belongs to its claim until the lease is over.
-- It waits for no lock, so it can take rows in any order: of each DID one after the other, so that nobody's
-- rows wait for all of another's.
CREATE OR REPLACE FUNCTION public.claim_unsettled(request jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_in        jsonb       := public.decoded(request);
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

  WITH candidate AS (
    SELECT l.id, row_number() OVER (PARTITION BY l.did
                                    ORDER BY l.next_reconcile_at NULLS FIRST, l.request_time) AS turn
      FROM public.open_requests AS o
      JOIN public.request_logs AS l ON l.id = o.request_id
     WHERE NOT o.abandoned AND (v_did IS NULL OR o.did = v_did)
       AND (l.status <> 'pending' OR l.request_time < v_now - v_abandoned * interval '1 second')
       AND (l.next_reconcile_at IS NULL OR l.next_reconcile_at <= v_now)
  ), due AS (
    SELECT l.id
      FROM candidate AS c
      JOIN public.request_logs AS l ON l.id = c.id
     -- Once more, of the row as it is when it is locked.
     WHERE (l.cost_state = 'pending' OR l.status = 'pending')
       AND (l.next_reconcile_at IS NULL OR l.next_reconcile_at <= v_now)
     ORDER BY c.turn, l.next_reconcile_at NULLS FIRST, l.request_time
     LIMIT v_limit
       FOR UPDATE OF l SKIP LOCKED
  ), leased AS (
    UPDATE public.request_logs AS l
       SET reconcile_attempts = l.reconcile_attempts + 1,
           next_reconcile_at  = v_now
             + (v_leases ->> least(l.reconcile_attempts, v_last))::integer * interval '1 second'
      FROM due
     WHERE l.id = due.id
    RETURNING l.id, l.did, l.status, l.endpoint, l.generation_id, l.job_id, l.request_time,
              l.reconcile_attempts, l.several_generations, l.retired_key_id
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
           'several_generations', coalesce(l.several_generations, false),
           'sealed_key',    CASE WHEN l.retired_key_id IS NULL THEN k.encrypted_api_key
                                ELSE r.encrypted_api_key END)), '[]')
    INTO v_answer
    FROM leased AS l
    LEFT JOIN public.user_api_keys AS k ON k.did = l.did
    LEFT JOIN public.retired_keys AS r ON r.id = l.retired_key_id;

  RETURN v_answer;
END
$$;

REVOKE ALL ON FUNCTION public.claim_unsettled(jsonb)
  FROM PUBLIC, anon, authenticated, service_role;
GRANT EXECUTE ON FUNCTION public.claim_unsettled(jsonb)
  TO service_role;
