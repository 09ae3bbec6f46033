-- Budgets: US dollars by day, week, month or in all, of a DID or of one of its tokens.
--
-- No job resets anything. The period that a request belongs to follows from its request_time; spent and held
-- are kept by budget and period (budget_periods), changed in the transaction that changes the request:
-- begin_request adds its hold, and a trigger (roll_up_request) books what finishing or settling it changes. So a
-- cost that is settled late lands in the period in which its request began.
--
-- The promise is that of the credit limit (requests.sql), for each budget and period.
--
-- Callers hold the lock of the DID's account.

-- The first moment at which a local clock shows a time. Where clocks are set back by an hour at midnight it comes
-- twice, of which PostgreSQL takes the second; where they skip it, it is the moment after.
CREATE OR REPLACE FUNCTION public.first_moment(p_local timestamp, p_time_zone text) RETURNS timestamptz
LANGUAGE sql STABLE SECURITY INVOKER
RETURN CASE WHEN (p_local AT TIME ZONE p_time_zone - interval '1 hour') AT TIME ZONE p_time_zone = p_local
            THEN p_local AT TIME ZONE p_time_zone - interval '1 hour'
            ELSE p_local AT TIME ZONE p_time_zone END;

-- The beginning of the period that has a moment. Weeks begin on Monday.
CREATE OR REPLACE FUNCTION public.period_start(p_period text, p_time_zone text, p_time timestamptz) RETURNS timestamptz
LANGUAGE sql STABLE SECURITY INVOKER
RETURN CASE p_period WHEN 'total' THEN '-infinity'::timestamptz
            ELSE public.first_moment(date_trunc(p_period, p_time AT TIME ZONE p_time_zone), p_time_zone) END;

-- The end of a period, and the beginning of the next; null: never.
CREATE OR REPLACE FUNCTION public.period_end(p_period text, p_time_zone text, p_start timestamptz) RETURNS timestamptz
LANGUAGE sql STABLE SECURITY INVOKER
RETURN CASE p_period WHEN 'total' THEN NULL
            -- By the local clock, and from the middle of its first day: where a clock is set at midnight, the day
            -- begins later.
            ELSE public.first_moment(
                   date_trunc(p_period, (p_start + interval '12 hours') AT TIME ZONE p_time_zone)
                   + ('1 ' || p_period)::interval, p_time_zone) END;

-- The state of a budget in the period of p_time: {"period", "time_zone", "amount", "spent", "held", "remaining"
-- (not below zero), "starts", "resets_at"}; money is text, times are RFC 3339 or null.
CREATE OR REPLACE FUNCTION public.budget_json(p_budget public.budgets, p_time timestamptz) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_start timestamptz := public.period_start(p_budget.period, p_budget.time_zone, p_time);
  v_state public.budget_periods;
BEGIN
  SELECT * INTO v_state FROM public.budget_periods AS p WHERE p.budget_id = p_budget.id AND p.starts = v_start;
  RETURN jsonb_build_object(
    'period',    p_budget.period,
    'time_zone', p_budget.time_zone,
    'amount',    trim_scale(p_budget.amount)::text,
    'spent',     trim_scale(coalesce(v_state.spent, 0))::text,
    'held',      trim_scale(coalesce(v_state.held, 0))::text,
    'remaining', trim_scale(greatest(p_budget.amount - coalesce(v_state.spent, 0) - coalesce(v_state.held, 0), 0))::text,
    'starts',    CASE WHEN isfinite(v_start) THEN v_start END,
    'resets_at', public.period_end(p_budget.period, p_budget.time_zone, v_start));
END
$$;

-- The budgets of a DID (p_token null) or of a token, each as budget_json, the shortest period first.
CREATE OR REPLACE FUNCTION public.budgets_json(p_did text, p_token uuid, p_time timestamptz) RETURNS jsonb
LANGUAGE sql STABLE SECURITY INVOKER SET search_path = '' AS $$
  SELECT coalesce(jsonb_agg(public.budget_json(b, p_time)
                            ORDER BY array_position(ARRAY['day', 'week', 'month', 'total'], b.period)), '[]')
    FROM public.budgets AS b
   WHERE b.did = p_did AND b.token_id IS NOT DISTINCT FROM p_token
$$;

-- Judges one more request by the budgets of its DID and its token. p_hold is what it would hold; null: it costs
-- nothing. Returns whether there are budgets. Refuses with PT402 budget_reached (HINT: budget_json, and
-- "of" ('did' or 'token'), "hold").
CREATE OR REPLACE FUNCTION public.judge_budgets(p_did text, p_token uuid, p_time timestamptz, p_hold numeric)
RETURNS boolean
LANGUAGE plpgsql STABLE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_budget public.budgets;
  v_any    boolean := false;
BEGIN
  FOR v_budget IN
    SELECT b.* FROM public.budgets AS b
     WHERE b.did = p_did AND (b.token_id IS NULL OR b.token_id = p_token)
     ORDER BY b.token_id NULLS FIRST, b.id
  LOOP
    v_any := true;
    IF EXISTS (
      SELECT FROM (SELECT public.period_start(v_budget.period, v_budget.time_zone, p_time) AS starts) AS s
        LEFT JOIN public.budget_periods AS p ON p.budget_id = v_budget.id AND p.starts = s.starts
       WHERE p_hold IS NOT NULL
         AND (coalesce(p.spent, 0) >= v_budget.amount
              OR coalesce(p.spent, 0) + coalesce(p.held, 0) + p_hold > v_budget.amount))
    THEN
      RAISE EXCEPTION 'a budget is reached'
        USING ERRCODE = 'PT402', DETAIL = 'budget_reached',
              HINT = (public.budget_json(v_budget, p_time)
                || jsonb_build_object('of', CASE WHEN v_budget.token_id IS NULL THEN 'did' ELSE 'token' END,
                                      'hold', trim_scale(p_hold)::text))::text;
    END IF;
  END LOOP;
  RETURN v_any;
END
$$;

-- Adds to spent and held of each budget that a request counts in, in the period of its request_time. Where
-- spent crosses 50, 80 or 100 % of the amount, budget_events gets a row: once per budget and period.
CREATE OR REPLACE FUNCTION public.book_budgets(
  p_did text, p_token uuid, p_time timestamptz, p_spent numeric, p_held numeric) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
BEGIN
  WITH booked AS (
    INSERT INTO public.budget_periods AS p (budget_id, starts, spent, held)
    SELECT b.id, public.period_start(b.period, b.time_zone, p_time), greatest(p_spent, 0), greatest(p_held, 0)
      FROM public.budgets AS b
     WHERE b.did = p_did AND (b.token_id IS NULL OR b.token_id = p_token)
    ON CONFLICT (budget_id, starts) DO UPDATE SET
      spent = greatest(p.spent + p_spent, 0),
      held  = greatest(p.held + p_held, 0)
    RETURNING p.budget_id, p.starts, p.spent
  )
  INSERT INTO public.budget_events (budget_id, did, token_id, period, starts, percent, amount, spent)
  SELECT b.id, b.did, b.token_id, b.period, k.starts, t.percent, b.amount, k.spent
    FROM booked AS k
    JOIN public.budgets AS b ON b.id = k.budget_id
   CROSS JOIN (VALUES (50), (80), (100)) AS t (percent)
   WHERE p_spent > 0 AND k.spent * 100 >= b.amount * t.percent
  ON CONFLICT (budget_id, starts, percent) DO NOTHING;
END
$$;

-- Counts anew what a budget has spent and holds, from its present period on: when the budget is made, or its time
-- zone changes. From the rollup, and from requests in an hour that the period splits. Requests of a later period are
-- there where p_time is of a clock that is behind.
CREATE OR REPLACE FUNCTION public.fill_budget(p_budget public.budgets, p_time timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_start timestamptz := public.period_start(p_budget.period, p_budget.time_zone, p_time);
  v_end   timestamptz := coalesce(public.period_end(p_budget.period, p_budget.time_zone, v_start), 'infinity');
  -- The first and the last full hour.
  v_hour  timestamptz := CASE WHEN isfinite(v_start)
                              THEN date_bin('1 hour', v_start + interval '1 hour' - interval '1 microsecond', 'epoch')
                              ELSE v_start END;
  v_last  timestamptz := CASE WHEN isfinite(v_end) THEN date_bin('1 hour', v_end, 'epoch') ELSE v_end END;
BEGIN
  DELETE FROM public.budget_periods AS p WHERE p.budget_id = p_budget.id;
  INSERT INTO public.budget_periods (budget_id, starts, spent, held)
  SELECT p_budget.id, v_start,
         coalesce((SELECT sum(h.cost)
                     FROM public.usage_series AS s
                     JOIN public.usage_hours AS h ON h.series_id = s.id
                    WHERE s.did = p_budget.did AND (p_budget.token_id IS NULL OR s.token_id = p_budget.token_id)
                      AND h.hour >= v_hour AND h.hour < v_last), 0)
         + coalesce((SELECT sum(public.countable_cost(l.total_cost))
                       FROM (VALUES (v_start, v_hour), (v_last, v_end)) AS split (first, until)
                       JOIN public.request_logs AS l
                         ON l.did = p_budget.did AND l.request_time >= split.first AND l.request_time < split.until
                      WHERE p_budget.token_id IS NULL OR l.token_id = p_budget.token_id), 0),
         coalesce((SELECT sum(l.hold)
                     FROM public.open_requests AS o JOIN public.request_logs AS l ON l.id = o.request_id
                    WHERE o.did = p_budget.did AND NOT o.abandoned
                      AND (p_budget.token_id IS NULL OR l.token_id = p_budget.token_id)
                      AND l.request_time >= v_start AND l.request_time < v_end), 0);
  INSERT INTO public.budget_periods (budget_id, starts, spent, held)
  SELECT p_budget.id, public.period_start(p_budget.period, p_budget.time_zone, l.request_time),
         sum(public.countable_cost(l.total_cost)), sum(l.hold)
    FROM public.request_logs AS l
   WHERE l.did = p_budget.did AND (p_budget.token_id IS NULL OR l.token_id = p_budget.token_id)
     AND l.request_time >= v_end
   GROUP BY 2;
END
$$;

-- Replaces the budgets of a DID (p_token null) or of a token by p_budgets: an array of {"period", "amount",
-- "time_zone"}, one per period. What was spent in a period that stays is kept. Refuses with PT400
-- invalid_argument, which the gateway has checked before.
CREATE OR REPLACE FUNCTION public.set_budgets(p_did text, p_token uuid, p_budgets jsonb, p_time timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_wanted record;
  v_budget public.budgets;
BEGIN
  DELETE FROM public.budgets AS b
   WHERE b.did = p_did AND b.token_id IS NOT DISTINCT FROM p_token
     AND b.period NOT IN (SELECT w ->> 'period' FROM jsonb_array_elements(p_budgets) AS w);
  FOR v_wanted IN
    SELECT w ->> 'period' AS period, (w ->> 'amount')::numeric AS amount, w ->> 'time_zone' AS time_zone
      FROM jsonb_array_elements(p_budgets) AS w
  LOOP
    SELECT * INTO v_budget FROM public.budgets AS b
     WHERE b.did = p_did AND b.token_id IS NOT DISTINCT FROM p_token AND b.period = v_wanted.period;
    IF FOUND AND v_budget.time_zone = v_wanted.time_zone THEN
      UPDATE public.budgets AS b SET amount = v_wanted.amount WHERE b.id = v_budget.id;
    ELSIF FOUND THEN
      UPDATE public.budgets AS b SET amount = v_wanted.amount, time_zone = v_wanted.time_zone WHERE b.id = v_budget.id
      RETURNING * INTO v_budget;
      PERFORM public.fill_budget(v_budget, p_time);
    ELSE
      INSERT INTO public.budgets (did, token_id, period, amount, time_zone)
      VALUES (p_did, p_token, v_wanted.period, v_wanted.amount, v_wanted.time_zone)
      RETURNING * INTO v_budget;
      PERFORM public.fill_budget(v_budget, p_time);
    END IF;
  END LOOP;
END
$$;

REVOKE ALL ON FUNCTION public.first_moment(timestamp, text), public.period_start(text, text, timestamptz), public.period_end(text, text, timestamptz),
    public.budget_json(public.budgets, timestamptz), public.budgets_json(text, uuid, timestamptz),
    public.judge_budgets(text, uuid, timestamptz, numeric),
    public.book_budgets(text, uuid, timestamptz, numeric, numeric),
    public.fill_budget(public.budgets, timestamptz), public.set_budgets(text, uuid, jsonb, timestamptz)
  FROM PUBLIC, anon, authenticated, service_role;
GRANT EXECUTE ON FUNCTION public.first_moment(timestamp, text), public.period_start(text, text, timestamptz), public.period_end(text, text, timestamptz),
    public.budget_json(public.budgets, timestamptz), public.budgets_json(text, uuid, timestamptz),
    public.judge_budgets(text, uuid, timestamptz, numeric),
    public.book_budgets(text, uuid, timestamptz, numeric, numeric),
    public.fill_budget(public.budgets, timestamptz), public.set_budgets(text, uuid, jsonb, timestamptz)
  TO service_role;
