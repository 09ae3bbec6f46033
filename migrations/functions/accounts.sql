-- The account of a DID and its lock.
--
-- Everything that belongs to the DID rather than to its key is in `accounts`: a key that is replaced, or
-- deleted and stored again, changes nothing there.

-- Takes the lock of a DID until the end of the transaction, and returns its account (nulls where it has
-- none). Whatever judges or changes an account, opens a request, or moves open requests to a retired key
-- holds it, so calls for one DID run one after the other.
--
-- The lock is that of the row: under load twice as fast as an advisory lock, which hands itself to one waiter
-- after the other, each of which has to be woken first. Only calls of a DID that has no row yet need one. A
-- call that waits too long gives up: its client has left, and every waiting call keeps a connection.
CREATE OR REPLACE FUNCTION public.lock_account(p_did text) RETURNS public.accounts
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' SET lock_timeout = '2500ms' AS $$
DECLARE
  v_account public.accounts;
BEGIN
  SELECT * INTO v_account FROM public.accounts AS a WHERE a.did = p_did FOR UPDATE;
  IF NOT FOUND THEN
    PERFORM pg_advisory_xact_lock(hashtextextended('llmgw.did.' || p_did, 0));
    -- Another call may have opened it meanwhile.
    SELECT * INTO v_account FROM public.accounts AS a WHERE a.did = p_did FOR UPDATE;
  END IF;
  RETURN v_account;
END
$$;

-- As lock_account, and opens the account where there is none. What the DID has spent by then comes from
-- its requests: those of the original system, or of an account that an operator deleted.
CREATE OR REPLACE FUNCTION public.open_account(p_did text) RETURNS public.accounts
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_account public.accounts := public.lock_account(p_did);
BEGIN
  IF v_account.did IS NULL THEN
    INSERT INTO public.accounts (did, spent, held)
    SELECT p_did,
           -- The rollup also has what has expired.
           coalesce((SELECT sum(h.cost) FROM public.usage_series AS s JOIN public.usage_hours AS h ON h.series_id = s.id
                      WHERE s.did = p_did), 0),
           coalesce((SELECT sum(l.hold)
                       FROM public.open_requests AS o JOIN public.request_logs AS l ON l.id = o.request_id
                      WHERE o.did = p_did AND NOT o.abandoned), 0)
    RETURNING * INTO v_account;
  END IF;
  RETURN v_account;
END
$$;

-- Takes the lock of a DID, then that of its key row, and returns the key (nulls where there is none).
CREATE OR REPLACE FUNCTION public.lock_key(p_did text) RETURNS public.user_api_keys
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' SET lock_timeout = '2500ms' AS $$
DECLARE
  v_key public.user_api_keys;
BEGIN
  PERFORM public.lock_account(p_did);
  SELECT * INTO v_key FROM public.user_api_keys AS k WHERE k.did = p_did FOR UPDATE;
  RETURN v_key;
END
$$;

-- Refuses with PT403 did_not_allowed unless an operator has approved the DID.
CREATE OR REPLACE FUNCTION public.require_approval(p_account public.accounts) RETURNS void
LANGUAGE plpgsql STABLE SECURITY INVOKER SET search_path = '' AS $$
BEGIN
  IF NOT coalesce(p_account.approved, false) THEN
    RAISE EXCEPTION 'the operator has not approved this DID'
      USING ERRCODE = 'PT403', DETAIL = 'did_not_allowed';
  END IF;
END
$$;

-- The round trip before a request to the gateway's own routes, /keys and /usage. Fields of `request`:
--
--   did                  the verified caller
--   requests_per_minute  the rate of these requests
--   approved_only        as in begin_request
--
-- Returns {"admitted": true}. Refuses with PT403 did_not_allowed, PT429 rate_limited (see next_tat). A DID
-- without an account has nothing to count in, and there is nothing to be found for it.
--
-- A transaction of its own: the account's lock must not be held while usage is summed. It waits for no other
-- lock.
CREATE OR REPLACE FUNCTION public.admit_caller(request jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' SET lock_timeout = '2500ms' AS $$
DECLARE
  v_in      jsonb   := public.decoded(request);
  v_did     text    := v_in ->> 'did';
  v_rate    integer := (v_in ->> 'requests_per_minute')::integer;
  v_account public.accounts;
BEGIN
  IF v_did IS NULL OR NOT coalesce(v_rate > 0, false) THEN
    RAISE EXCEPTION 'admit_caller: a member is missing or out of range'
      USING ERRCODE = 'PT400', DETAIL = 'invalid_argument';
  END IF;
  SELECT * INTO v_account FROM public.accounts AS a WHERE a.did = v_did;
  IF (v_in ->> 'approved_only')::boolean THEN
    PERFORM public.require_approval(v_account);
  END IF;
  -- A crash of the database may forget the last ones, so nobody waits for the disk.
  PERFORM set_config('synchronous_commit', 'off', true);
  UPDATE public.accounts AS a SET account_rate_tat = public.next_tat(a.account_rate_tat, v_rate) WHERE a.did = v_did;
  RETURN jsonb_build_object('admitted', true);
END
$$;

-- Keeps user_api_keys.credit_limit, where users of the original system read and set it, equal to the
-- account's. A key gets the limit of an account that is already there, unless it brings one.
CREATE OR REPLACE FUNCTION public.share_credit_limit() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_account public.accounts;
BEGIN
  IF TG_OP = 'INSERT' THEN
    v_account := public.open_account(NEW.did);
    IF EXISTS (SELECT FROM public.user_api_keys AS k WHERE k.did = NEW.did) THEN
      RETURN NEW;  -- An upsert, whose UPDATE follows.
    END IF;
    NEW.credit_limit := coalesce(NEW.credit_limit, v_account.credit_limit);
  END IF;
  -- Without the lock of the DID: an UPDATE has locked the key row already.
  UPDATE public.accounts AS a SET credit_limit = NEW.credit_limit
   WHERE a.did = NEW.did AND a.credit_limit IS DISTINCT FROM NEW.credit_limit;
  RETURN NEW;
END
$$;

CREATE OR REPLACE TRIGGER share_credit_limit BEFORE INSERT OR UPDATE OF credit_limit ON public.user_api_keys
  FOR EACH ROW EXECUTE FUNCTION public.share_credit_limit();

-- Books a cost that the original system writes: it knows no cost_state, which stays 'none', and the
-- gateway never writes a total_cost with that.
CREATE OR REPLACE FUNCTION public.book_original_cost() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
BEGIN
  IF NEW.total_cost > 0 AND NEW.total_cost < 'Infinity' THEN
    PERFORM public.lock_account(NEW.did);
    UPDATE public.accounts SET spent = spent + NEW.total_cost WHERE did = NEW.did;
  END IF;
  UPDATE public.request_logs AS l SET cost_state = 'final' WHERE l.id = NEW.id;
  RETURN NULL;
END
$$;

-- After the others, as then_release_hold.
CREATE OR REPLACE TRIGGER then_book_original_cost AFTER INSERT OR UPDATE OF total_cost ON public.request_logs
  FOR EACH ROW WHEN (NEW.cost_state = 'none' AND NEW.total_cost IS NOT NULL)
  EXECUTE FUNCTION public.book_original_cost();

REVOKE ALL ON FUNCTION public.lock_account(text), public.open_account(text), public.lock_key(text),
    public.require_approval(public.accounts), public.admit_caller(jsonb), public.share_credit_limit(),
    public.book_original_cost()
  FROM PUBLIC, anon, authenticated, service_role;
GRANT EXECUTE ON FUNCTION public.lock_account(text), public.open_account(text), public.lock_key(text),
    public.require_approval(public.accounts), public.admit_caller(jsonb)
  TO service_role;
