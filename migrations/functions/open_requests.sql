-- Open requests: those that are pending, those whose cost is, and those that were given up as abandoned with an
-- unknown cost, which finish_request may still close.
--
-- A trigger on request_logs keeps them in a table of their own, whichever statement changes a request. An index of
-- request_logs would do as well, but its predicate would be of columns that change when a request finishes. Then
-- every index of the table would get a new entry for the row's new version, and write more than all the rest does.

-- A request's `abandoned` in open_requests; null: it has no row there, because it is closed.
CREATE OR REPLACE FUNCTION public.open_state(p_status text, p_cost_state text, p_error_reason text) RETURNS boolean
LANGUAGE sql IMMUTABLE SECURITY INVOKER
RETURN CASE WHEN p_status = 'pending' OR p_cost_state = 'pending' THEN false
            WHEN p_cost_state = 'unknown' AND p_error_reason = 'abandoned' THEN true END;

-- Moves a request's row in open_requests to where the request stands now.
CREATE OR REPLACE FUNCTION public.track_open_request() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_old boolean;
  v_new boolean;
BEGIN
  IF TG_OP <> 'INSERT' THEN
    v_old := public.open_state(OLD.status, OLD.cost_state, OLD.error_reason);
  END IF;
  IF TG_OP <> 'DELETE' THEN
    v_new := public.open_state(NEW.status, NEW.cost_state, NEW.error_reason);
  END IF;
  IF v_old IS NOT DISTINCT FROM v_new THEN
    RETURN NULL;
  END IF;
  IF v_old IS NOT NULL THEN
    DELETE FROM public.open_requests AS o
     WHERE o.did = OLD.did AND o.abandoned = v_old AND o.request_id = OLD.id;
  END IF;
  IF v_new IS NOT NULL THEN
    INSERT INTO public.open_requests (did, abandoned, request_id) VALUES (NEW.did, v_new, NEW.id);
  END IF;
  RETURN NULL;
END
$$;

-- Without WHEN, as roll_up_changed_request. A deletion has a trigger of its own, whose WHEN spares retention a call
-- for each closed request.
CREATE OR REPLACE TRIGGER track_open_request AFTER INSERT OR UPDATE OF status, cost_state, error_reason ON public.request_logs
  FOR EACH ROW EXECUTE FUNCTION public.track_open_request();
CREATE OR REPLACE TRIGGER track_deleted_request AFTER DELETE ON public.request_logs
  FOR EACH ROW WHEN (OLD.status = 'pending' OR OLD.cost_state IN ('pending', 'unknown'))
  EXECUTE FUNCTION public.track_open_request();

-- Makes open_requests anew from all requests that are there; how many are open. For the owner: when the table is
-- introduced, or after rows were changed without triggers. Writers wait meanwhile.
CREATE OR REPLACE FUNCTION public.fill_open_requests() RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_count bigint;
BEGIN
  LOCK TABLE public.request_logs IN SHARE ROW EXCLUSIVE MODE;
  DELETE FROM public.open_requests;
  INSERT INTO public.open_requests (did, abandoned, request_id)
  SELECT l.did, public.open_state(l.status, l.cost_state, l.error_reason), l.id
    FROM public.request_logs AS l
   WHERE public.open_state(l.status, l.cost_state, l.error_reason) IS NOT NULL;
  GET DIAGNOSTICS v_count = ROW_COUNT;
  RETURN v_count;
END
$$;

REVOKE ALL ON FUNCTION public.open_state(text, text, text), public.track_open_request(), public.fill_open_requests()
  FROM PUBLIC, anon, authenticated, service_role;
GRANT EXECUTE ON FUNCTION public.open_state(text, text, text) TO service_role;
