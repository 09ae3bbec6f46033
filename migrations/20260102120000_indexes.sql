-- The indexes of request_logs, and what has to read its rows.
--
-- On a large live table apply.sh first builds each index without blocking writers (CREATE INDEX
-- CONCURRENTLY, from the statements below, which therefore begin a line and end in a semicolon at the end of
-- one). Then these find them there.

-- A request of the original system without a cost has none to be revised. A model that would not fit into
-- an index row is cut as begin_request cuts it.
UPDATE public.request_logs SET cost_state = 'none' WHERE total_cost IS NULL AND cost_state = 'final';
UPDATE public.request_logs SET model = left(model, 255) WHERE length(model) > 255;

ALTER TABLE public.request_logs
  VALIDATE CONSTRAINT request_logs_hold_check,
  VALIDATE CONSTRAINT request_logs_openrouter_cost_check,
  VALIDATE CONSTRAINT request_logs_server_tool_cost_check,
  VALIDATE CONSTRAINT request_logs_upstream_inference_cost_check,
  VALIDATE CONSTRAINT request_logs_first_byte_check,
  VALIDATE CONSTRAINT request_logs_known_cost_check,
  VALIDATE CONSTRAINT request_logs_cost_state_check;

-- One index for everything that one DID asks about its own requests: pages read it backwards. Sums come from the
-- rollup, so it needs no further columns, and none that changes when a request finishes.
CREATE INDEX IF NOT EXISTS idx_request_logs_usage ON public.request_logs (did, request_time, id);
-- How settle_job finds the row of a job, and finish_request an earlier one.
CREATE INDEX IF NOT EXISTS idx_request_logs_job ON public.request_logs (did, job_id) WHERE job_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS idx_request_logs_retired_key ON public.request_logs (retired_key_id)
  WHERE retired_key_id IS NOT NULL;

-- Those of the original schema that nothing scans any more: the first is the beginning of
-- idx_request_logs_usage, the second has three values, and open_requests has the requests with the rare one,
-- the third is the same as the index of UNIQUE (did).
DROP INDEX public.idx_request_logs_did;
DROP INDEX public.idx_request_logs_status;
DROP INDEX public.idx_user_api_keys_did;
