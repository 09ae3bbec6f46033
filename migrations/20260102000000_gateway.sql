-- The gateway's tables, columns, constraints, row level security and grants. The indexes and the functions
-- follow in the next migrations. README.md has the rules that stand above all of it.
--
-- The original's tables may have millions of rows and writers at work, so nothing here reads or rewrites
-- them: each statement on them holds its lock for a moment. Constraints are checked for new rows only, and
-- for the others by the next migration.
--
-- Money is unconstrained `numeric`, in US dollars. OpenRouter's costs are printed doubles (19 decimals
-- and `7.434e-07` have been recorded), and any numeric(p,s) would round some of them. The checks
-- `x >= 0 AND x < 'Infinity'` also keep out NaN, which PostgreSQL sorts above every number: it would
-- pass `x >= 0` and poison every sum it enters.

-- ---------------------------------------------------------------------------------------------
-- accounts: what belongs to a DID rather than to its key
-- ---------------------------------------------------------------------------------------------

CREATE TABLE public.accounts (
  did                 text PRIMARY KEY,
  credit_limit        numeric CHECK (credit_limit < 'Infinity'),  -- NaN would be no limit
  spent               numeric NOT NULL DEFAULT 0 CHECK (spent >= 0 AND spent < 'Infinity'),
  held                numeric NOT NULL DEFAULT 0 CHECK (held >= 0 AND held < 'Infinity'),
  requests_per_minute integer CHECK (requests_per_minute > 0),
  rate_tat            timestamptz,
  account_rate_tat    timestamptz,
  disabled            boolean NOT NULL DEFAULT false,
  approved            boolean NOT NULL DEFAULT false,
  created_at          timestamptz NOT NULL DEFAULT now()
)
-- Each request updates its account, in the same page as long as that has room.
WITH (fillfactor = 50);

COMMENT ON TABLE public.accounts IS
  'Money, rate and block of each DID. It outlives the key, so that nobody can shake off a limit by storing another one. To erase a user, delete here, too.';
COMMENT ON COLUMN public.accounts.credit_limit IS
  'US dollars over all time; null: none. user_api_keys.credit_limit is kept equal to it.';
COMMENT ON COLUMN public.accounts.spent IS 'Sum of total_cost of all finished requests, in US dollars.';
COMMENT ON COLUMN public.accounts.held IS 'Sum of hold of all requests of the DID, in US dollars.';
COMMENT ON COLUMN public.accounts.requests_per_minute IS
  'The rate that the DID may keep up, and the most it may send at once; null: the gateway''s default.';
COMMENT ON COLUMN public.accounts.rate_tat IS
  'When the requests so far would have ended at the permitted rate (GCRA''s theoretical arrival time).';
COMMENT ON COLUMN public.accounts.account_rate_tat IS
  'As rate_tat, of the requests to the gateway''s own routes, /keys and /usage, which have a rate of their own.';
COMMENT ON COLUMN public.accounts.disabled IS 'Whether requests and new keys are refused.';
COMMENT ON COLUMN public.accounts.approved IS
  'Whether an operator lets the DID use a gateway that is for approved DIDs only.';

-- The costs of a DID's last 20 settled requests to a model at an endpoint, the last one first: hold_for takes
-- the highest.
CREATE TABLE public.recent_costs (
  did      text NOT NULL,
  model    text NOT NULL,
  endpoint text NOT NULL,
  costs    numeric[] NOT NULL,
  PRIMARY KEY (did, model, endpoint)
)
WITH (fillfactor = 50);

COMMENT ON TABLE public.recent_costs IS
  'Costs of each DID''s last 20 settled requests to a model at an endpoint. To erase a user, delete here, too.';
COMMENT ON COLUMN public.recent_costs.model IS 'The model asked for; empty where none was named.';

-- ---------------------------------------------------------------------------------------------
-- user_api_keys: the key of each DID
-- ---------------------------------------------------------------------------------------------

-- No table rewrite: only the declared precision goes.
ALTER TABLE public.user_api_keys ALTER COLUMN credit_limit TYPE numeric;

ALTER TABLE public.user_api_keys
  ADD COLUMN seal_key_id     bigint,
  ADD COLUMN provisioning_id uuid;

COMMENT ON COLUMN public.user_api_keys.credit_limit IS
  'accounts.credit_limit, for users of the original system: may be read and set here as well.';
COMMENT ON COLUMN public.user_api_keys.seal_key_id IS
  'Id of the keyset''s key that sealed encrypted_api_key, derived from it; null where that is no sealed key.';
COMMENT ON COLUMN public.user_api_keys.provisioning_id IS
  'The key_provisionings row of a key that the gateway made; null for one that the user brought.';

-- ---------------------------------------------------------------------------------------------
-- request_logs: each request, its answer and its cost
-- ---------------------------------------------------------------------------------------------

ALTER TABLE public.request_logs ALTER COLUMN total_cost TYPE numeric;

ALTER TABLE public.request_logs
  -- The response.
  ADD COLUMN generation_id           text,
  ADD COLUMN job_id                  text,
  ADD COLUMN http_status             integer,
  ADD COLUMN first_byte_ms           integer,
  ADD COLUMN error_reason            text,
  ADD COLUMN cached_tokens           integer,
  ADD COLUMN cache_write_tokens      integer,
  ADD COLUMN reasoning_tokens        integer,
  ADD COLUMN service_tier            text,
  -- The cost.
  ADD COLUMN hold                    numeric NOT NULL DEFAULT 0,
  ADD COLUMN openrouter_cost         numeric,
  ADD COLUMN server_tool_cost        numeric,
  ADD COLUMN upstream_inference_cost numeric,
  ADD COLUMN is_byok                 boolean,
  -- For the rows that are there: a cost of the original system is never revised. No row is rewritten.
  ADD COLUMN cost_state              text NOT NULL DEFAULT 'final',
  ADD COLUMN unknown_cost_reason     text,
  ADD COLUMN known_cost              numeric,
  -- Reconciliation.
  ADD COLUMN reconcile_attempts      integer NOT NULL DEFAULT 0,
  ADD COLUMN next_reconcile_at       timestamptz,
  ADD COLUMN settled_at              timestamptz,
  ADD COLUMN retired_key_id          uuid,
  -- The request. Last, because an update writes what lies between the first and the last column that it changes.
  ADD COLUMN method                  text,
  ADD COLUMN path                    text,
  ADD COLUMN endpoint                text,
  ADD COLUMN requested_model         text,
  ADD COLUMN streamed                boolean,
  ADD COLUMN several_generations     boolean,
  ADD COLUMN token_id                uuid,
  ADD COLUMN app                     text,
  ADD COLUMN tag                     text,
  ADD CONSTRAINT request_logs_hold_check CHECK (hold >= 0 AND hold < 'Infinity') NOT VALID,
  ADD CONSTRAINT request_logs_openrouter_cost_check
    CHECK (openrouter_cost >= 0 AND openrouter_cost < 'Infinity') NOT VALID,
  ADD CONSTRAINT request_logs_server_tool_cost_check
    CHECK (server_tool_cost >= 0 AND server_tool_cost < 'Infinity') NOT VALID,
  ADD CONSTRAINT request_logs_upstream_inference_cost_check
    CHECK (upstream_inference_cost >= 0 AND upstream_inference_cost < 'Infinity') NOT VALID,
  ADD CONSTRAINT request_logs_first_byte_check
    CHECK (first_byte_ms <= greatest(extract(epoch FROM response_time - request_time) * 1000, 0)) NOT VALID,
  ADD CONSTRAINT request_logs_known_cost_check CHECK (known_cost >= 0 AND known_cost < 'Infinity') NOT VALID,
  ADD CONSTRAINT request_logs_cost_state_check
    CHECK (cost_state IN ('none', 'pending', 'final', 'unknown')) NOT VALID;
ALTER TABLE public.request_logs ALTER COLUMN cost_state SET DEFAULT 'none';

COMMENT ON COLUMN public.request_logs.model IS
  'The model that answered; until that is known the one asked for, or ''unknown''.';
COMMENT ON COLUMN public.request_logs.total_cost IS
  'openrouter_cost, plus upstream_inference_cost when is_byok; null while unknown. US dollars.';
COMMENT ON COLUMN public.request_logs.hold IS
  'What is reserved against the limit: until the request has finished and its cost is known. US dollars.';
COMMENT ON COLUMN public.request_logs.job_id IS
  'The asynchronous job that the request created; its cost is this row''s.';
COMMENT ON COLUMN public.request_logs.service_tier IS 'The service tier that OpenRouter says the request ran on.';
COMMENT ON COLUMN public.request_logs.openrouter_cost IS 'usage.cost as OpenRouter reported it.';
COMMENT ON COLUMN public.request_logs.server_tool_cost IS
  'The part of openrouter_cost that tools run by OpenRouter cost, where it says so. US dollars.';
COMMENT ON COLUMN public.request_logs.cost_state IS
  'none: nothing to pay; pending: the stream was cut before its cost was known (not free); final; unknown: asked for in vain (not free either).';
COMMENT ON COLUMN public.request_logs.unknown_cost_reason IS 'Why the cost could not be found out, while cost_state is ''unknown''.';
COMMENT ON COLUMN public.request_logs.known_cost IS
  'A part of an unknown cost: the whole is that or more. In no sum. US dollars.';
COMMENT ON COLUMN public.request_logs.token_id IS 'The access token that the request came with; null: signed.';
COMMENT ON COLUMN public.request_logs.app IS 'The client''s own name for itself (X-Title, or the origin of HTTP-Referer).';
COMMENT ON COLUMN public.request_logs.tag IS 'The token''s tag, or the request''s x-gateway-tag.';
COMMENT ON COLUMN public.request_logs.several_generations IS
  'The request may make several generations (tools that OpenRouter runs); generation_id names one of them.';
COMMENT ON COLUMN public.request_logs.cache_write_tokens IS
  'Tokens of the prompt written to the provider''s cache. Like cached_tokens, a part of input_tokens.';
COMMENT ON COLUMN public.request_logs.next_reconcile_at IS
  'A run that claims the row moves it into the future: until then no other run takes it. Null: due at once, or settled.';
COMMENT ON COLUMN public.request_logs.settled_at IS 'When reconciliation closed the row; null where the request did so itself.';
COMMENT ON COLUMN public.request_logs.retired_key_id IS
  'The key that made the request, if it was retired while the request was open. No foreign key: that row is deleted.';

-- A row grows when its request finishes, and finds room in its page: no index then changes with it, because none
-- has a column that changes. To read from an index alone takes a table that was vacuumed since it was written to;
-- the default is to wait until it has grown by a fifth.
ALTER TABLE public.request_logs
  SET (fillfactor = 90, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.02);

-- ---------------------------------------------------------------------------------------------
-- open_requests: the requests that are open (functions/open_requests.sql)
-- ---------------------------------------------------------------------------------------------

CREATE TABLE public.open_requests (
  did        text NOT NULL,
  abandoned  boolean NOT NULL,
  request_id uuid NOT NULL,
  PRIMARY KEY (did, abandoned, request_id)
);
COMMENT ON TABLE public.open_requests IS
  'The rows of request_logs that are pending, or whose cost is. A trigger keeps it.';
COMMENT ON COLUMN public.open_requests.abandoned IS
  'The request was given up with an unknown cost, and may still be finished.';

-- ---------------------------------------------------------------------------------------------
-- request_fingerprints: the digest of every signed request that was let through
-- ---------------------------------------------------------------------------------------------

CREATE TABLE public.request_fingerprints (
  fingerprint bytea PRIMARY KEY,
  request_id  uuid NOT NULL,
  expires_at  timestamptz NOT NULL
);
CREATE INDEX idx_request_fingerprints_expires_at ON public.request_fingerprints (expires_at);

COMMENT ON COLUMN public.request_fingerprints.request_id IS
  'The request it let through: only that one may repeat it (a retry after a lost answer).';

-- ---------------------------------------------------------------------------------------------
-- usage_series and usage_hours: the rollup, sums of finished requests (functions/rollup.sql)
-- ---------------------------------------------------------------------------------------------

CREATE TABLE public.usage_series (
  id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  did        text NOT NULL,
  model      text NOT NULL,
  endpoint   text NOT NULL,
  status     text NOT NULL CHECK (status IN ('completed', 'failed')),
  cost_state text NOT NULL CHECK (cost_state IN ('none', 'pending', 'final', 'unknown')),
  token_id   uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
  app        text NOT NULL DEFAULT '',
  tag        text NOT NULL DEFAULT '',
  UNIQUE (did, model, endpoint, status, cost_state, token_id, app, tag)
);
COMMENT ON TABLE public.usage_series IS
  'What usage is grouped and filtered by. To erase a user, delete here, too; the sums go with it.';
COMMENT ON COLUMN public.usage_series.endpoint IS 'Empty where none was recorded; so are app and tag.';
COMMENT ON COLUMN public.usage_series.token_id IS 'Zero where the request was signed.';

-- Without CHECKs: PostgreSQL parses them at each statement, which would take longer than the change itself.
CREATE TABLE public.usage_hours (
  series_id          bigint      NOT NULL REFERENCES public.usage_series ON DELETE CASCADE,
  hour               timestamptz NOT NULL,
  requests           integer     NOT NULL,
  input_tokens       bigint      NOT NULL,
  output_tokens      bigint      NOT NULL,
  cached_tokens      bigint      NOT NULL,
  cache_write_tokens bigint      NOT NULL,
  reasoning_tokens   bigint      NOT NULL,
  cost               numeric     NOT NULL,
  highest_cost       numeric     NOT NULL,
  PRIMARY KEY (series_id, hour)
-- Room for a new version of a row on its page: then no index changes with it.
) WITH (fillfactor = 90);
-- The check reads by time. Rows come in the order of time, so an index of a few pages is enough.
CREATE INDEX idx_usage_hours_hour ON public.usage_hours USING brin (hour) WITH (pages_per_range = 16, autosummarize = on);
COMMENT ON COLUMN public.usage_hours.hour IS 'Start of the full hour (UTC) of request_time.';
COMMENT ON COLUMN public.usage_hours.cost IS 'Sum of total_cost, in US dollars.';
COMMENT ON COLUMN public.usage_hours.highest_cost IS
  'No request of the hour cost more; usage_requests passes over hours by it.';

-- ---------------------------------------------------------------------------------------------
-- retention: one row, how far requests have expired
-- ---------------------------------------------------------------------------------------------

CREATE TABLE public.retention (
  only_row       boolean PRIMARY KEY DEFAULT true CHECK (only_row),
  expired_before timestamptz NOT NULL DEFAULT '-infinity'
);
INSERT INTO public.retention DEFAULT VALUES;
COMMENT ON COLUMN public.retention.expired_before IS
  'Requests that began before may be gone from request_logs; their sums are kept.';

-- ---------------------------------------------------------------------------------------------
-- access_tokens and token_digests: what a DID has made for clients that cannot sign (functions/tokens.sql)
-- ---------------------------------------------------------------------------------------------

CREATE TABLE public.access_tokens (
  id                  uuid PRIMARY KEY,
  did                 text NOT NULL,
  label               text NOT NULL,
  name                text NOT NULL,
  created_at          timestamptz NOT NULL,
  expires_at          timestamptz,
  revoked_at          timestamptz,
  last_used_at        timestamptz,
  models              text[],
  endpoints           text[],
  requests_per_minute integer CHECK (requests_per_minute > 0),
  rate_tat            timestamptz,
  read_rate_tat       timestamptz,
  read_usage          boolean NOT NULL DEFAULT true,
  tag                 text,
  disabled            boolean NOT NULL DEFAULT false
)
WITH (fillfactor = 50);
CREATE INDEX idx_access_tokens_did ON public.access_tokens (did);
COMMENT ON TABLE public.access_tokens IS 'Tokens that spend from a DID''s account. To erase a user, delete here, too.';
COMMENT ON COLUMN public.access_tokens.label IS 'The beginning and the end of the secret, to recognise it by.';
COMMENT ON COLUMN public.access_tokens.models IS 'Patterns of the models that it may use, * for any run of characters; null: all.';
COMMENT ON COLUMN public.access_tokens.endpoints IS 'The endpoints that it may use; null: all.';
COMMENT ON COLUMN public.access_tokens.tag IS 'Written into each of its requests.';
COMMENT ON COLUMN public.access_tokens.rate_tat IS 'As accounts.rate_tat, of its own rate.';
COMMENT ON COLUMN public.access_tokens.read_rate_tat IS
  'As accounts.account_rate_tat, of what it reads of itself. Not the DID''s, which a lost token could use up.';
COMMENT ON COLUMN public.access_tokens.last_used_at IS 'When a request last began with it, to the minute.';

CREATE TABLE public.token_digests (
  digest      bytea PRIMARY KEY CHECK (length(digest) = 32),
  token_id    uuid NOT NULL REFERENCES public.access_tokens ON DELETE CASCADE,
  valid_until timestamptz,
  ended       boolean NOT NULL DEFAULT false
);
CREATE INDEX idx_token_digests_token_id ON public.token_digests (token_id);
COMMENT ON COLUMN public.token_digests.digest IS 'SHA-256 of a token''s text, which is nowhere.';
COMMENT ON COLUMN public.token_digests.valid_until IS 'How long an old secret passes after a rotation; null: the present one.';
COMMENT ON COLUMN public.token_digests.ended IS 'Whether a rotation has ended it, whatever time it is.';

-- ---------------------------------------------------------------------------------------------
-- budgets, budget_periods and budget_events (functions/budgets.sql)
-- ---------------------------------------------------------------------------------------------

CREATE TABLE public.budgets (
  id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  did       text NOT NULL,
  token_id  uuid REFERENCES public.access_tokens ON DELETE CASCADE,
  period    text NOT NULL CHECK (period IN ('day', 'week', 'month', 'total')),
  amount    numeric NOT NULL CHECK (amount > 0 AND amount < 'Infinity'),
  time_zone text NOT NULL,
  UNIQUE NULLS NOT DISTINCT (did, token_id, period)
);
COMMENT ON TABLE public.budgets IS
  'US dollars by period, of a DID (token_id null) or of a token. To erase a user, delete here, too.';
COMMENT ON COLUMN public.budgets.time_zone IS 'IANA name: where its days begin.';

CREATE TABLE public.budget_periods (
  budget_id bigint NOT NULL REFERENCES public.budgets ON DELETE CASCADE,
  starts    timestamptz NOT NULL,
  spent     numeric NOT NULL,
  held      numeric NOT NULL,
  PRIMARY KEY (budget_id, starts)
)
WITH (fillfactor = 50);
COMMENT ON TABLE public.budget_periods IS
  'What a budget''s requests of one period have cost, and what those hold whose cost is not known. US dollars.';

CREATE TABLE public.budget_events (
  id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  time      timestamptz NOT NULL DEFAULT clock_timestamp(),
  budget_id bigint NOT NULL,
  did       text NOT NULL,
  token_id  uuid,
  period    text NOT NULL,
  starts    timestamptz NOT NULL,
  percent   smallint NOT NULL,
  amount    numeric NOT NULL,
  spent     numeric NOT NULL,
  UNIQUE (budget_id, starts, percent)
);
CREATE INDEX idx_budget_events_did ON public.budget_events (did, id);
COMMENT ON TABLE public.budget_events IS
  'A budget''s spent crossed a share of its amount: once for each period. Outlives the budget.';

-- ---------------------------------------------------------------------------------------------
-- key_events: the record of what was done to keys. Never a secret, never changed, never deleted.
-- ---------------------------------------------------------------------------------------------

CREATE TABLE public.key_events (
  id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  did         text NOT NULL,
  time        timestamptz NOT NULL DEFAULT clock_timestamp(),
  actor       text NOT NULL CHECK (actor IN ('user', 'operator', 'gateway')),
  action      text NOT NULL,
  key_hash    text,
  seal_key_id bigint,
  request_id  uuid,
  details     jsonb
);
CREATE INDEX idx_key_events_did ON public.key_events (did, id);

COMMENT ON TABLE public.key_events IS
  'Append-only: what happened to the keys of users. No foreign key: it outlives the key.';
COMMENT ON COLUMN public.key_events.actor IS
  'user: a request signed by the DID; operator: the command line; gateway: by itself.';
COMMENT ON COLUMN public.key_events.key_hash IS 'openrouter_key_hash of the key that it concerns.';
COMMENT ON COLUMN public.key_events.seal_key_id IS 'Id of the keyset''s key that seals it from then on.';
COMMENT ON COLUMN public.key_events.request_id IS 'The gateway''s id of the request that did it.';

-- ---------------------------------------------------------------------------------------------
-- key_provisionings: keys that the gateway makes with OpenRouter's management API
-- ---------------------------------------------------------------------------------------------

CREATE TABLE public.key_provisionings (
  id              uuid PRIMARY KEY,
  did             text NOT NULL,
  state           text NOT NULL CHECK (state IN ('reserved', 'live', 'to_delete', 'deleted')),
  upstream_hash   text,
  limit_usd       numeric CHECK (limit_usd > 0 AND limit_usd < 'Infinity'),
  limit_reset     text CHECK (limit_reset IN ('daily', 'weekly', 'monthly')),
  reserved_at     timestamptz NOT NULL,
  lease_until     timestamptz NOT NULL,
  live_at         timestamptz,
  ended_at        timestamptz,
  deleted_at      timestamptz,
  attempts        integer NOT NULL DEFAULT 0,
  next_attempt_at timestamptz
);
-- One at a time for each DID: of simultaneous reservations one wins.
CREATE UNIQUE INDEX idx_key_provisionings_active ON public.key_provisionings (did)
  WHERE state IN ('reserved', 'live');
CREATE INDEX idx_key_provisionings_ended ON public.key_provisionings (did, ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX idx_key_provisionings_unfinished ON public.key_provisionings (next_attempt_at NULLS FIRST, lease_until)
  WHERE state IN ('reserved', 'to_delete');

COMMENT ON TABLE public.key_provisionings IS
  'Keys that the gateway made, or was about to make, with OpenRouter''s management API. Rows are kept.';
COMMENT ON COLUMN public.key_provisionings.id IS
  'The id of the request that asked for it. The key''s name with OpenRouter is made of it.';
COMMENT ON COLUMN public.key_provisionings.upstream_hash IS
  'OpenRouter''s name of the key; null until it is known, and where no key was made.';
COMMENT ON COLUMN public.key_provisionings.limit_reset IS 'When limit_usd begins anew (UTC); null: never.';
COMMENT ON COLUMN public.key_provisionings.live_at IS 'When user_api_keys got its row.';
COMMENT ON COLUMN public.key_provisionings.ended_at IS 'When that row went, or got another key.';
COMMENT ON COLUMN public.key_provisionings.lease_until IS
  'A reservation that is not live by then was given up: its function was killed.';
COMMENT ON COLUMN public.key_provisionings.next_attempt_at IS
  'While to_delete: when the deletion is due again; null: at once.';

-- ---------------------------------------------------------------------------------------------
-- retired_keys: keys that are needed only to ask for the costs of requests they made
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

-- ---------------------------------------------------------------------------------------------
-- Privileges: the gateway's secret key (service_role), and no other role
-- ---------------------------------------------------------------------------------------------

ALTER TABLE public.accounts             ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.recent_costs         ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.user_api_keys        ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.request_logs         ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.open_requests        ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.request_fingerprints ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.usage_series         ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.usage_hours          ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.retention            ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.access_tokens        ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.token_digests        ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.budgets              ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.budget_periods       ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.budget_events        ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.key_events           ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.key_provisionings    ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.retired_keys         ENABLE ROW LEVEL SECURITY;

REVOKE ALL ON public.accounts, public.recent_costs, public.user_api_keys, public.request_logs,
    public.open_requests, public.request_fingerprints, public.usage_series, public.usage_hours, public.access_tokens,
    public.token_digests, public.budgets, public.budget_periods, public.budget_events, public.retention,
    public.key_events, public.key_provisionings, public.retired_keys
  FROM PUBLIC, anon, authenticated, service_role;
-- DELETE is for erasing a user and for retention; UPDATE on fingerprints is what FOR UPDATE asks for.
GRANT SELECT, INSERT, UPDATE, DELETE
  ON public.accounts, public.recent_costs, public.user_api_keys, public.request_logs, public.open_requests,
     public.request_fingerprints, public.usage_series, public.usage_hours, public.access_tokens,
     public.token_digests, public.budgets, public.budget_periods, public.key_provisionings, public.retired_keys
  TO service_role;
GRANT SELECT, UPDATE ON public.retention TO service_role;
GRANT SELECT, INSERT ON public.key_events TO service_role;
GRANT SELECT, INSERT, DELETE ON public.budget_events TO service_role;
-- An identity column needs no privilege on its sequence.
REVOKE ALL ON SEQUENCE public.key_events_id_seq, public.usage_series_id_seq, public.budgets_id_seq,
    public.budget_events_id_seq
  FROM PUBLIC, anon, authenticated, service_role;
