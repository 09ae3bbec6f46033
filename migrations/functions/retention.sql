-- Retention: requests that are settled and old are deleted, so that the table does not grow without bound. No
-- sum is lost: they stay in the rollup (rollup.sql).
--
-- What remains true when rows go: `spent` does not change, and usage_report returns the same sums, by the
-- hour. What goes: the single requests (usage_requests), percentiles, and what hold_for learns from.

-- Deletes settled requests that began before a time, the oldest first, in one transaction. Fields of
-- `request`:
--
--   before   epoch ms; at least 35 days ago by the database's clock
--   limit    maximum number of requests, 1 to 10000
--
-- Never deleted: a request that is pending, or whose cost is. One whose cost is unknown is deleted 90 days
-- later than the others, because until then its emergency record may still turn up in a log.
--
-- Returns {"expired", "more": whether there may be more}. A call whose answer was lost has done its
-- work; repeated, it does the next piece.
--
-- Concurrent calls share the rows: it locks them without waiting. It locks no account and no sum, so no
-- request waits for more than the rows that it is itself about.
CREATE OR REPLACE FUNCTION public.expire_requests(request jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_in      jsonb       := public.decoded(request);
  v_before  timestamptz := timestamptz 'epoch' + (v_in ->> 'before')::bigint * interval '1 millisecond';
  v_limit   integer     := (v_in ->> 'limit')::integer;
  v_expired integer;
BEGIN
  IF v_before IS NULL OR v_before > clock_timestamp() - interval '35 days'
     OR v_limit IS NULL OR v_limit NOT BETWEEN 1 AND 10000
  THEN
    RAISE EXCEPTION 'expire_requests: a member is missing or out of range'
      USING ERRCODE = 'PT400', DETAIL = 'invalid_argument';
  END IF;

  -- From here on check_rollup expects that requests are missing.
  UPDATE public.retention SET expired_before = v_before WHERE expired_before < v_before;

  DELETE FROM public.request_logs AS l
   USING (SELECT d.id
            FROM public.request_logs AS d
           WHERE d.request_time < v_before
             AND d.status <> 'pending'
             AND (d.cost_state IN ('none', 'final')
                  OR (d.cost_state = 'unknown' AND d.request_time < v_before - interval '90 days'))
           ORDER BY d.request_time
           LIMIT v_limit
             FOR UPDATE SKIP LOCKED) AS due
   WHERE l.id = due.id;
  GET DIAGNOSTICS v_expired = ROW_COUNT;

  RETURN jsonb_build_object('expired', v_expired, 'more', v_expired = v_limit);
END
$$;

REVOKE ALL ON FUNCTION public.expire_requests(jsonb)
  FROM PUBLIC, anon, authenticated, service_role;
GRANT EXECUTE ON FUNCTION public.expire_requests(jsonb)
  TO service_role;
