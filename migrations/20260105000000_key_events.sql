-- Who did what to which key, when. Never a secret, never changed, never deleted.

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

ALTER TABLE public.key_events ENABLE ROW LEVEL SECURITY;
REVOKE ALL ON public.key_events FROM PUBLIC, anon, authenticated, service_role;
GRANT SELECT, INSERT ON public.key_events TO service_role;

NOTIFY pgrst, 'reload schema';
