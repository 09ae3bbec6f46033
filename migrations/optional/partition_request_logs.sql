-- OPTIONAL. Makes request_logs a table partitioned by the month of request_time, for gateways whose
-- books grow by millions of rows a day: old months then go by detaching a table, not row by row.
--
-- Nothing applies it by itself. Apply it once, after all migrations, as the tables' owner:
--
--   psql "$DATABASE_URL" -v ON_ERROR_STOP=1 --single-transaction -f migrations/optional/partition_request_logs.sql
--
-- It copies nothing: what is there becomes the oldest partition. It collects the ids while the gateway works
-- on; then it locks the table, for the ids that came meanwhile and for building one index. Afterwards run create_partitions every month (pg_cron, or by hand):
--
--   SELECT public.create_partitions(3);                       -- this month and the next three
--   SELECT public.detach_partition('request_logs_2026_01');   -- see there
--
-- What changes, and why it is right:
--
--   * A partitioned table's primary key has to contain request_time, so it no longer keeps ids unique.
--     request_ids does: a trigger writes each id there, and where it is taken the insert does nothing. Of inserts
--     at the same time the second waits for the first.
--   * Whoever looks a request up by its id alone (finish_request, settle_request, note_generation) asks
--     the index of each partition. That is cheap for some dozens of them; do not keep hundreds.
--   * The partitions live in a schema of their own, which PostgREST does not serve, so that the
--     default privileges of `public` give nobody a way around request_logs.

-- ---------------------------------------------------------------------------------------------
-- Ids, before anything is locked
-- ---------------------------------------------------------------------------------------------

CREATE TABLE public.request_ids (
  id           uuid PRIMARY KEY,
  request_time timestamptz NOT NULL
);
CREATE INDEX idx_request_ids_request_time ON public.request_ids (request_time);
COMMENT ON TABLE public.request_ids IS 'Keeps the ids of request_logs unique, whichever partition they are in.';

INSERT INTO public.request_ids (id, request_time)
SELECT id, request_time FROM public.request_logs;

-- ---------------------------------------------------------------------------------------------
-- The parent, made like the table that is there
-- ---------------------------------------------------------------------------------------------

CREATE SCHEMA request_log_parts;
REVOKE ALL ON SCHEMA request_log_parts FROM PUBLIC, anon, authenticated, service_role;

LOCK TABLE public.request_logs IN ACCESS EXCLUSIVE MODE;

CREATE TEMPORARY TABLE remembered ON COMMIT DROP AS
  SELECT 1 AS place, i.indexname::text AS name, i.indexdef AS definition
    FROM pg_catalog.pg_indexes AS i
   WHERE i.schemaname = 'public' AND i.tablename = 'request_logs' AND i.indexname <> 'request_logs_pkey'
  UNION ALL
  SELECT 2, t.tgname::text, pg_catalog.pg_get_triggerdef(t.oid)
    FROM pg_catalog.pg_trigger AS t
   WHERE t.tgrelid = 'public.request_logs'::regclass AND NOT t.tgisinternal;

DO $$
DECLARE
  v_item record;
BEGIN
  FOR v_item IN SELECT * FROM remembered LOOP
    IF v_item.place = 1 THEN
      EXECUTE format('ALTER INDEX public.%I RENAME TO %I', v_item.name, left('until_now_' || v_item.name, 63));
    ELSE
      EXECUTE format('DROP TRIGGER %I ON public.request_logs', v_item.name);
    END IF;
  END LOOP;
END
$$;

ALTER TABLE public.request_logs RENAME TO request_logs_until_now;
ALTER TABLE public.request_logs_until_now SET SCHEMA request_log_parts;
-- Its place is taken by (id, request_time); request_ids keeps ids unique.
ALTER TABLE request_log_parts.request_logs_until_now DROP CONSTRAINT request_logs_pkey;

CREATE TABLE public.request_logs
  (LIKE request_log_parts.request_logs_until_now INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING COMMENTS,
   PRIMARY KEY (id, request_time))
  PARTITION BY RANGE (request_time);

DO $$
DECLARE
  v_item record;
BEGIN
  FOR v_item IN SELECT * FROM remembered ORDER BY place LOOP
    EXECUTE v_item.definition;
  END LOOP;
END
$$;

-- ---------------------------------------------------------------------------------------------
-- Ids
-- ---------------------------------------------------------------------------------------------

-- Those that came while the others were collected. An id whose request has gone since does no harm.
INSERT INTO public.request_ids (id, request_time)
SELECT l.id, l.request_time FROM request_log_parts.request_logs_until_now AS l
 WHERE NOT EXISTS (SELECT FROM public.request_ids AS i WHERE i.id = l.id);

CREATE FUNCTION public.take_request_id() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
BEGIN
  IF TG_OP = 'DELETE' THEN
    DELETE FROM public.request_ids WHERE id = OLD.id;
    RETURN OLD;
  END IF;
  IF TG_OP = 'UPDATE' THEN
    RAISE EXCEPTION 'the id and the time of a request do not change' USING ERRCODE = 'restrict_violation';
  END IF;
  INSERT INTO public.request_ids (id, request_time) VALUES (NEW.id, NEW.request_time)
  ON CONFLICT (id) DO NOTHING;
  IF NOT FOUND THEN
    RETURN NULL;  -- no row is inserted
  END IF;
  RETURN NEW;
END
$$;

CREATE TRIGGER take_request_id BEFORE INSERT OR DELETE ON public.request_logs
  FOR EACH ROW EXECUTE FUNCTION public.take_request_id();
CREATE TRIGGER keep_request_id BEFORE UPDATE OF id, request_time ON public.request_logs
  FOR EACH ROW WHEN (OLD.id <> NEW.id OR OLD.request_time <> NEW.request_time)
  EXECUTE FUNCTION public.take_request_id();

-- ---------------------------------------------------------------------------------------------
-- Partitions
-- ---------------------------------------------------------------------------------------------

-- Makes the partitions of this month and of so many to come that do not exist yet; how many it made.
-- For the owner. Where request_logs_default holds rows of such a month it fails: move them first.
CREATE FUNCTION public.create_partitions(months_ahead integer) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_this  timestamptz := date_trunc('month', now(), 'UTC');
  v_from  timestamptz;
  v_name  text;
  v_made  integer := 0;
BEGIN
  FOR v_month IN 0 .. months_ahead LOOP
    v_from := (v_this AT TIME ZONE 'UTC' + v_month * interval '1 month') AT TIME ZONE 'UTC';
    v_name := 'request_logs_' || to_char(v_from AT TIME ZONE 'UTC', 'YYYY_MM');
    CONTINUE WHEN to_regclass('request_log_parts.' || v_name) IS NOT NULL
               -- Until its end, the month of the change belongs to the oldest partition.
               OR v_from < (SELECT u.until FROM request_log_parts.until_now AS u);
    EXECUTE format(
      'CREATE TABLE request_log_parts.%I PARTITION OF public.request_logs FOR VALUES FROM (%L) TO (%L)
         WITH (fillfactor = 90, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.02)',
      v_name, v_from, (v_from AT TIME ZONE 'UTC' + interval '1 month') AT TIME ZONE 'UTC');
    EXECUTE format('ALTER TABLE request_log_parts.%I ENABLE ROW LEVEL SECURITY', v_name);
    v_made := v_made + 1;
  END LOOP;
  RETURN v_made;
END
$$;

-- Takes a whole partition out of request_logs; how many requests it had. Their sums stay in the rollup. The table
-- stays as request_log_parts.<name>, to be exported and dropped. For the owner. Refuses while a request in it is
-- open, or its cost is unknown and may still be told, or it is younger than 35 days.
CREATE FUNCTION public.detach_partition(partition_name text) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_count bigint;
  v_open  bigint;
  v_last  timestamptz;
BEGIN
  -- Nobody may add to it, or read half of the change.
  LOCK TABLE public.request_logs IN ACCESS EXCLUSIVE MODE;
  EXECUTE format('ALTER TABLE public.request_logs DETACH PARTITION request_log_parts.%I', partition_name);
  EXECUTE format(
    'SELECT count(*), count(*) FILTER (WHERE status = ''pending'' OR cost_state = ''pending''
                                          OR request_time > now() - interval ''35 days''
                                          OR (cost_state = ''unknown'' AND request_time > now() - interval ''125 days'')),
            max(request_time)
       FROM request_log_parts.%I', partition_name) INTO v_count, v_open, v_last;
  IF v_open > 0 THEN
    RAISE EXCEPTION '% of % requests are open or too young', v_open, v_count USING ERRCODE = 'object_in_use';
  END IF;
  -- From here on check_rollup expects that requests are missing.
  UPDATE public.retention SET expired_before = v_last + interval '1 microsecond' WHERE expired_before <= v_last;
  EXECUTE format('DELETE FROM public.request_ids AS i USING request_log_parts.%I AS g WHERE i.id = g.id', partition_name);
  -- Those that were given up long ago.
  EXECUTE format('DELETE FROM public.open_requests AS o USING request_log_parts.%I AS g
                   WHERE o.did = g.did AND o.abandoned AND o.request_id = g.id', partition_name);
  RETURN v_count;
END
$$;

-- Until when rows belong to the table that was there: to the end of this month.
CREATE TABLE request_log_parts.until_now AS
  SELECT (date_trunc('month', now() AT TIME ZONE 'UTC') + interval '1 month') AT TIME ZONE 'UTC' AS until;

DO $$
BEGIN
  EXECUTE format(
    'ALTER TABLE public.request_logs ATTACH PARTITION request_log_parts.request_logs_until_now
       FOR VALUES FROM (MINVALUE) TO (%L)', (SELECT until FROM request_log_parts.until_now));
END
$$;
-- For whatever comes when nobody has made partitions in time.
CREATE TABLE request_log_parts.request_logs_default PARTITION OF public.request_logs DEFAULT;
ALTER TABLE request_log_parts.request_logs_default ENABLE ROW LEVEL SECURITY;
ALTER TABLE request_log_parts.until_now            ENABLE ROW LEVEL SECURITY;
SELECT public.create_partitions(3);

-- ---------------------------------------------------------------------------------------------
-- Privileges: see ../README.md. A partitioned table's own privileges and policies count.
-- ---------------------------------------------------------------------------------------------

ALTER TABLE public.request_logs ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.request_ids  ENABLE ROW LEVEL SECURITY;
REVOKE ALL ON public.request_logs, public.request_ids FROM PUBLIC, anon, authenticated, service_role;
GRANT SELECT, INSERT, UPDATE, DELETE ON public.request_logs TO service_role;
GRANT SELECT, INSERT, DELETE ON public.request_ids TO service_role;
REVOKE ALL ON FUNCTION public.take_request_id(), public.create_partitions(integer), public.detach_partition(text)
  FROM PUBLIC, anon, authenticated, service_role;

NOTIFY pgrst, 'reload schema';
