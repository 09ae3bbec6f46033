-- Opens the accounts of keys that the original system stored, with what its requests cost.
--
-- Its writers wait meanwhile, less than a second for a million requests: a cost that one of them writes
-- before is in the sum, and one after is booked by book_original_cost. The same holds for limits.
LOCK TABLE public.user_api_keys, public.request_logs IN SHARE ROW EXCLUSIVE MODE;

-- Written since the columns are there, and before that trigger was.
UPDATE public.request_logs SET cost_state = 'final' WHERE cost_state = 'none' AND total_cost IS NOT NULL;

-- What the original system has open. A trigger keeps it from here on.
SELECT public.fill_open_requests();

INSERT INTO public.accounts (did, credit_limit, spent, created_at)
SELECT k.did, k.credit_limit, coalesce(past.spent, 0), coalesce(k.created_at, now())
  FROM public.user_api_keys AS k
  LEFT JOIN (SELECT s.did, sum(h.cost) AS spent
               FROM public.usage_series AS s JOIN public.usage_hours AS h ON h.series_id = s.id
              GROUP BY s.did) AS past USING (did)
    ON CONFLICT (did) DO NOTHING;

ALTER TABLE public.user_api_keys
  ADD CONSTRAINT user_api_keys_account FOREIGN KEY (did) REFERENCES public.accounts;
