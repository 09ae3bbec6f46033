-- Arguments of functions that are called by HTTP.

-- The object in a function's argument. It may arrive as a string that holds the object: @supabase/lite's
-- `postgres` driver encodes a jsonb argument twice.
--
-- An expression that is parsed here, not in each call, so that it needs no search_path of its own, which
-- would cost more than all of it.
CREATE OR REPLACE FUNCTION public.decoded(argument jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE SECURITY INVOKER
RETURN CASE jsonb_typeof(argument) WHEN 'string' THEN (argument #>> '{}')::jsonb ELSE argument END;

REVOKE ALL ON FUNCTION public.decoded(jsonb)
  FROM PUBLIC, anon, authenticated, service_role;
GRANT EXECUTE ON FUNCTION public.decoded(jsonb)
  TO service_role;
