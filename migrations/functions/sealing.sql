-- Seals: which master key sealed which row, and sealing again (`llmgw admin`).

-- The id of the master key that sealed a key. A sealed key names it: 'v1.' and base64url without padding
-- of
--
--   01, key id (4 bytes, big endian), SIV (16 bytes), ciphertext (at least 1 byte)
--
-- so eight characters hold the id. Null for any other text.
CREATE OR REPLACE FUNCTION public.seal_key_id_of(p_sealed text) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_head bytea;
BEGIN
  IF p_sealed IS NULL OR p_sealed !~ '^v1\.[A-Za-z0-9_-]{30,}$' THEN
    RETURN NULL;
  END IF;
  v_head := decode(translate(substr(p_sealed, 4, 8), '-_', '+/'), 'base64');
  IF get_byte(v_head, 0) <> 1 THEN
    RETURN NULL;
  END IF;
  RETURN (get_byte(v_head, 1)::bigint << 24) + (get_byte(v_head, 2) << 16)
       + (get_byte(v_head, 3) << 8) + get_byte(v_head, 4);
END
$$;

-- Writes seal_key_id, so that no writer has to remember the column and none can write it wrong: a
-- rotation disables a master key when no row names it.
CREATE OR REPLACE FUNCTION public.derive_seal_key_id() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
BEGIN
  NEW.seal_key_id := public.seal_key_id_of(NEW.encrypted_api_key);
  RETURN NEW;
END
$$;

CREATE OR REPLACE TRIGGER derive_seal_key_id BEFORE INSERT OR UPDATE OF encrypted_api_key, seal_key_id
  ON public.user_api_keys FOR EACH ROW EXECUTE FUNCTION public.derive_seal_key_id();
CREATE OR REPLACE TRIGGER derive_seal_key_id BEFORE INSERT OR UPDATE OF encrypted_api_key, seal_key_id
  ON public.retired_keys FOR EACH ROW EXECUTE FUNCTION public.derive_seal_key_id();

-- How many rows, retired keys included, each master key seals: an array of {"seal_key_id", "rows"}, both
-- text; seal_key_id is null for rows that hold no sealed key. `request` has no fields.
CREATE OR REPLACE FUNCTION public.keys_by_seal(request jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY INVOKER SET search_path = '' AS $$
BEGIN
  RETURN (
    SELECT coalesce(jsonb_agg(jsonb_build_object('seal_key_id', s.seal_key_id::text, 'rows', s.n::text)
                              ORDER BY s.seal_key_id), '[]')
      FROM (SELECT every.seal_key_id, count(*) AS n
              FROM (SELECT k.seal_key_id FROM public.user_api_keys AS k
                    UNION ALL SELECT r.seal_key_id FROM public.retired_keys AS r) AS every
             GROUP BY every.seal_key_id) AS s);
END
$$;

-- A page of sealed keys in the order of their DIDs, retired keys after their DID's present one. Fields of
-- `request`:
--
--   other_than  leave out what this master key sealed (its id as text); null: every row
--   after       the last DID of the page before; null: from the first
--   limit       number of DIDs, 1 to 1000; all keys of each
--
-- Returns an array of {"did", "sealed_key", "retired"}.
CREATE OR REPLACE FUNCTION public.sealed_keys(request jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_in    jsonb   := public.decoded(request);
  v_other bigint  := (v_in ->> 'other_than')::bigint;
  v_after text    := v_in ->> 'after';
  v_limit integer := (v_in ->> 'limit')::integer;
  v_last  text;
BEGIN
  IF v_limit IS NULL OR v_limit NOT BETWEEN 1 AND 1000 THEN
    RAISE EXCEPTION 'sealed_keys: limit is missing or out of range'
      USING ERRCODE = 'PT400', DETAIL = 'invalid_argument';
  END IF;
  -- Each table's index gives its first ones, so that a page does not cost the whole of both.
  SELECT max(d.did) INTO v_last
    FROM (SELECT b.did
            FROM ((SELECT k.did FROM public.user_api_keys AS k
                    WHERE (v_after IS NULL OR k.did > v_after)
                      AND (v_other IS NULL OR k.seal_key_id IS DISTINCT FROM v_other)
                    ORDER BY k.did LIMIT v_limit)
                  UNION
                  (SELECT DISTINCT r.did FROM public.retired_keys AS r
                    WHERE (v_after IS NULL OR r.did > v_after)
                      AND (v_other IS NULL OR r.seal_key_id IS DISTINCT FROM v_other)
                    ORDER BY r.did LIMIT v_limit)) AS b
           ORDER BY b.did
           LIMIT v_limit) AS d;
  RETURN (
    SELECT coalesce(jsonb_agg(jsonb_build_object('did', p.did, 'sealed_key', p.sealed, 'retired', p.retired)
                              ORDER BY p.did, p.retired, p.sealed), '[]')
      FROM (SELECT k.did, k.encrypted_api_key AS sealed, false AS retired
              FROM public.user_api_keys AS k
             WHERE k.did <= v_last AND (v_after IS NULL OR k.did > v_after)
               AND (v_other IS NULL OR k.seal_key_id IS DISTINCT FROM v_other)
            UNION ALL
            SELECT r.did, r.encrypted_api_key, true
              FROM public.retired_keys AS r
             WHERE r.did <= v_last AND (v_after IS NULL OR r.did > v_after)
               AND (v_other IS NULL OR r.seal_key_id IS DISTINCT FROM v_other)) AS p);
END
$$;

-- Whether a DID had this key and gave it up, or an operator took it away.
CREATE OR REPLACE FUNCTION public.key_was_given_up(p_did text, p_key_hash text) RETURNS boolean
LANGUAGE sql STABLE SECURITY INVOKER SET search_path = '' AS $$
  SELECT EXISTS (
    SELECT FROM public.key_events AS e
     WHERE e.did = p_did
       AND ((e.action IN ('revoked', 'deleted') AND e.key_hash = p_key_hash)
            OR (e.action = 'replaced' AND e.details ->> 'replaced_key_hash' = p_key_hash)))
$$;

-- Replaces keys by the same keys sealed again, unless the column has changed meanwhile: a key that its
-- owner has just replaced is never overwritten. A DID's retired keys count, too: the old text is replaced
-- wherever the DID has it, also if the key was retired after it was read. Fields of `request`:
--
--   action  'rewrapped' (another master key) | 'imported' (from the original system)
--   keys    at most 500 of {"did", "old", "new"}: the column as it was read, and its new text;
--           'imported' may add {"key_name", "key_hash", "credit_limit" (text or null)}, and then a DID
--           without a row gets one, but for a key that was given up since ('gone'). The row has what was
--           set for the DID; its credit_limit counts only where none was.
--
-- Returns an array of {"did", "outcome"}: 'resealed', 'inserted', 'already' (done by an earlier call),
-- 'replaced' (another key is there; nothing was done), 'gone' (no row). Repeating a call changes
-- nothing.
CREATE OR REPLACE FUNCTION public.reseal_keys(request jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = '' AS $$
DECLARE
  v_in      jsonb := public.decoded(request);
  v_action  text  := v_in ->> 'action';
  v_answer  jsonb := '[]';
  v_item    jsonb;
  v_did     text;
  v_old     text;
  v_new     text;
  v_hash    text;
  v_row     public.user_api_keys;
  v_retired text;
  v_outcome text;
BEGIN
  IF v_action IS NULL OR v_action NOT IN ('rewrapped', 'imported')
     OR v_in -> 'keys' IS NULL OR jsonb_typeof(v_in -> 'keys') <> 'array' OR jsonb_array_length(v_in -> 'keys') > 500
  THEN
    RAISE EXCEPTION 'reseal_keys: a member is missing or out of range'
      USING ERRCODE = 'PT400', DETAIL = 'invalid_argument';
  END IF;

  FOR v_item IN SELECT i.item FROM jsonb_array_elements(v_in -> 'keys') AS i(item) ORDER BY i.item ->> 'did'
  LOOP
    v_did  := v_item ->> 'did';
    v_old  := v_item ->> 'old';
    v_new  := v_item ->> 'new';
    v_hash := v_item ->> 'key_hash';
    IF v_did IS NULL OR v_old IS NULL OR public.seal_key_id_of(v_new) IS NULL THEN
      RAISE EXCEPTION 'reseal_keys: a key lacks a member, or is not sealed'
        USING ERRCODE = 'PT400', DETAIL = 'invalid_argument';
    END IF;

    -- An inserted key is the DID's business, a key that is only sealed again is not.
    IF v_action = 'imported' THEN
      v_row := public.lock_key(v_did);
    ELSE
      SELECT * INTO v_row FROM public.user_api_keys AS k WHERE k.did = v_did FOR UPDATE;
    END IF;
    IF v_row.id IS NULL AND (v_action <> 'imported' OR v_item ->> 'key_name' IS NULL OR v_hash IS NULL
                             OR public.key_was_given_up(v_did, v_hash)) THEN
      v_outcome := 'gone';
    ELSIF v_row.id IS NULL THEN
      PERFORM public.insert_key(v_item || jsonb_build_object('sealed_key', v_new), NULL);
      UPDATE public.user_api_keys SET credit_limit = (v_item ->> 'credit_limit')::numeric
       WHERE did = v_did AND credit_limit IS NULL;
      v_outcome := 'inserted';
    ELSIF v_row.encrypted_api_key = v_new THEN
      v_outcome := 'already';
    ELSIF v_row.encrypted_api_key = v_old THEN
      -- updated_at stays: it is still the same key.
      UPDATE public.user_api_keys SET encrypted_api_key = v_new WHERE id = v_row.id;
      v_outcome := 'resealed';
      v_hash    := v_row.openrouter_key_hash;
    ELSE
      v_outcome := 'replaced';
    END IF;

    IF v_old <> v_new THEN
      WITH resealed AS (
        UPDATE public.retired_keys AS r SET encrypted_api_key = v_new
         WHERE r.did = v_did AND r.encrypted_api_key = v_old
        RETURNING r.key_hash
      )
      SELECT max(s.key_hash) INTO v_retired FROM resealed AS s;
      IF v_retired IS NOT NULL AND v_outcome IN ('gone', 'replaced', 'already') THEN
        v_outcome := 'resealed';
        v_hash    := v_retired;
      END IF;
    END IF;
    IF v_outcome IN ('gone', 'replaced')
       AND EXISTS (SELECT FROM public.retired_keys AS r WHERE r.did = v_did AND r.encrypted_api_key = v_new)
    THEN
      v_outcome := 'already';
    END IF;

    IF v_outcome IN ('resealed', 'inserted') THEN
      INSERT INTO public.key_events (did, actor, action, key_hash, seal_key_id)
      VALUES (v_did, 'operator', v_action, v_hash, public.seal_key_id_of(v_new));
    END IF;
    v_answer := v_answer || jsonb_build_object('did', v_did, 'outcome', v_outcome);
  END LOOP;

  RETURN v_answer;
END
$$;

REVOKE ALL ON FUNCTION public.seal_key_id_of(text), public.derive_seal_key_id(),
    public.keys_by_seal(jsonb), public.sealed_keys(jsonb), public.key_was_given_up(text, text),
    public.reseal_keys(jsonb)
  FROM PUBLIC, anon, authenticated, service_role;
GRANT EXECUTE ON FUNCTION public.seal_key_id_of(text), public.keys_by_seal(jsonb),
    public.sealed_keys(jsonb), public.key_was_given_up(text, text), public.reseal_keys(jsonb)
  TO service_role;
