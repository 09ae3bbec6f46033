-- Requests over a year, made in one statement: {rows} of which {mine} belong to one DID and the rest to 997
-- others, in random order. 20 models, whose use falls with their number; each is used at one endpoint. Four in
-- a hundred failed, one in ten thousand has an unknown cost.
ALTER TABLE public.request_logs DISABLE TRIGGER USER;
INSERT INTO public.request_logs
  (id, did, model, requested_model, method, path, endpoint, streamed, generation_id, http_status, input_tokens,
   output_tokens, cached_tokens, reasoning_tokens, openrouter_cost, upstream_inference_cost, is_byok, total_cost,
   cost_state, first_byte_ms, request_time, response_time, status)
SELECT gen_random_uuid(),
       CASE WHEN mine THEN '{did}' ELSE 'did:key:z6MkqRYqQiSgvZQdnBytw86Qbs2ZWUkGv22od935Ybcd' || n % 997 END,
       'vendor/model-' || model, 'vendor/model-' || model, 'POST', '/chat/completions',
       (ARRAY['chat.completions', 'messages', 'chat.completions', 'responses', 'embeddings'])[model % 5 + 1], true,
       'gen-1779897543-' || substr(md5(n::text), 1, 20), CASE WHEN failed THEN 429 ELSE 200 END,
       CASE WHEN NOT failed THEN 100 + n % 5000 END, CASE WHEN NOT failed THEN 10 + n % 900 END,
       CASE WHEN NOT failed THEN n % 100 END, CASE WHEN NOT failed THEN n % 30 END,
       CASE WHEN NOT failed THEN cost END, CASE WHEN NOT failed THEN 0 END, CASE WHEN NOT failed THEN false END,
       CASE WHEN NOT failed THEN cost END,
       CASE WHEN failed THEN 'none' WHEN n % 9973 = 0 THEN 'unknown' ELSE 'final' END,
       CASE WHEN NOT failed THEN least(100 + n * 31 % 4000, 300 + n * 17 % 60000) END, began,
       began + (300 + n * 17 % 60000) * interval '1 millisecond',
       CASE WHEN failed THEN 'failed' ELSE 'completed' END
  FROM generate_series(1::bigint, {rows}) AS n,
       LATERAL (SELECT (n * {mine}) / {rows} <> ((n - 1) * {mine}) / {rows} AS mine, n % 25 = 0 AS failed,
                       floor(20 * power((n * 7919 % 1000003) / 1000003.0, 3))::integer AS model,
                       (n * 104729 % 1000003)::numeric / 100000000 + 0.0000000000000000005 AS cost,
                       timestamptz '2026-01-01Z' + n * interval '1 year' / {rows} AS began) AS drawn;
ALTER TABLE public.request_logs ENABLE TRIGGER USER;
INSERT INTO public.user_api_keys (did, openrouter_key_hash, encrypted_api_key, key_name)
SELECT d.did, 'hash', 'v1.sealed', 'bench' FROM (
  SELECT '{did}' AS did UNION SELECT '{did}' || n FROM generate_series(1, 100) AS n) AS d
ON CONFLICT (did) DO NOTHING;
