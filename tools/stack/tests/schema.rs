//! The database that the migrations make, held against `migrations/functions/` and the rules of
//! `migrations/README.md`.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail as the test does"
)]

use std::{collections::BTreeSet, fs, path::PathBuf};

use stack::{Database, Port, RunDir, Tools, Workspace};

/// Definition and privileges of every function, and every trigger.
const FUNCTIONS: &str = "
    SELECT json_agg(d ORDER BY d) FROM (
      SELECT pg_get_functiondef(p.oid) || p.proowner::regrole || array(SELECT a::text FROM unnest(p.proacl) AS a ORDER BY 1)::text AS d
        FROM pg_proc AS p WHERE p.pronamespace = 'public'::regnamespace
       UNION ALL
      SELECT pg_get_triggerdef(t.oid) || t.tgenabled::text FROM pg_trigger AS t WHERE NOT t.tgisinternal) AS all_of_them";

#[test]
#[ignore = "needs TOOLS"]
fn the_database_is_as_declared() {
    let workspace = Workspace::locate();
    let tools = Tools::install(&workspace).unwrap();
    let run = RunDir::unique(&workspace, "schema").unwrap();
    let database = Database::postgres(&tools, &run, Port::free().unwrap()).unwrap();
    let server = database.server().unwrap();
    let query = |sql: &str| server.query(sql).unwrap();
    let names = |sql: &str| -> BTreeSet<String> { query(sql).lines().map(str::to_owned).collect() };

    // The folder declares each function once, and nothing else has made one.
    let mut declared = Vec::new();
    let sources = sources(&workspace);
    for source in &sources {
        let text = fs::read_to_string(source).unwrap();
        declared.extend(
            text.lines()
                .filter_map(|line| line.strip_prefix("CREATE OR REPLACE FUNCTION public."))
                .map(|rest| rest.split('(').next().unwrap().to_owned()),
        );
    }
    // The generated one.
    declared.push("gateway_schema_version".to_owned());
    let once: BTreeSet<String> = declared.iter().cloned().collect();
    assert_eq!(once.len(), declared.len(), "{declared:?}");
    let functions = "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace";
    assert_eq!(names(functions), once);

    // The migrations' functions equal those of the folder, to the letter.
    let before = query(FUNCTIONS);
    for source in &sources {
        server.apply(source).unwrap();
    }
    assert_eq!(query(FUNCTIONS), before);

    // Every function runs as its caller and finds nothing by the caller's search_path; an expression is
    // parsed when it is declared.
    let lax = "
        SELECT proname FROM pg_proc
         WHERE pronamespace = 'public'::regnamespace
           AND (prosecdef OR NOT (prosqlbody IS NOT NULL OR coalesce('search_path=\"\"' = ANY (proconfig), false)))";
    assert_eq!(query(lax), "");

    // Sums of usage end when the gateway gives up: ANSWER_TIMEOUT of functions/usage.
    let patient = "
        SELECT proname FROM pg_proc
         WHERE pronamespace = 'public'::regnamespace AND 'statement_timeout=10s' = ANY (proconfig)";
    assert_eq!(
        names(patient),
        ["usage_report", "usage_requests"].map(str::to_owned).into()
    );

    // A request that finishes changes no index of its table, and locks its row once: docs/adr/0009.
    let indexed = "
        SELECT DISTINCT a.attname FROM pg_index AS i
          JOIN pg_depend AS d ON d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid AND d.refobjid = i.indrelid
          JOIN pg_attribute AS a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
         WHERE i.indrelid = 'public.request_logs'::regclass";
    assert_eq!(
        names(indexed),
        // The last two change for jobs, and when a key is retired.
        ["did", "id", "request_time", "job_id", "retired_key_id"]
            .map(str::to_owned)
            .into()
    );
    let before_updates = "
        SELECT tgname FROM pg_trigger
         WHERE tgrelid = 'public.request_logs'::regclass AND tgtype & 2 > 0 AND tgtype & 16 > 0";
    assert_eq!(query(before_updates), "");

    // The public may use no table, sequence or function, and no role may use a trigger's function.
    let public = "
        SELECT kind || ' ' || name || ' ' || grantee::text
          FROM (SELECT CASE c.relkind WHEN 'S' THEN 'sequence' ELSE 'relation' END AS kind, c.relname AS name, (aclexplode(c.relacl)).grantee::regrole AS grantee
                  FROM pg_class AS c WHERE c.relnamespace = 'public'::regnamespace
                UNION ALL
                SELECT 'function', p.proname,
                       (aclexplode(coalesce(p.proacl, acldefault('f', p.proowner)))).grantee::regrole
                  FROM pg_proc AS p WHERE p.pronamespace = 'public'::regnamespace) AS granted
         WHERE grantee::text NOT IN ('postgres', 'service_role', 'authenticator')
            OR (kind = 'sequence' AND grantee::text = 'service_role')
        UNION ALL
        SELECT 'trigger ' || p.proname FROM pg_proc AS p
         WHERE p.pronamespace = 'public'::regnamespace AND p.prorettype = 'trigger'::regtype
           AND has_function_privilege('service_role', p.oid, 'EXECUTE')
        UNION ALL
        SELECT 'without row level security ' || c.relname FROM pg_class AS c
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relrowsecurity";
    assert_eq!(query(public), "");

    // The database says of itself what there is.
    let version = "SET ROLE service_role; SELECT public.gateway_schema_version()";
    let version: serde_json::Value = serde_json::from_str(&query(version)).unwrap();
    assert_eq!(version["missing"], serde_json::json!([]));
    let told = |member: &str| -> BTreeSet<String> {
        let features = version["features"].as_array().unwrap().iter();
        features
            .filter_map(|feature| feature[member].as_str())
            .map(str::to_owned)
            .collect()
    };
    let tables = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')";
    assert_eq!(told("table"), names(tables));
    let rpcs = "
        SELECT proname FROM pg_proc
         WHERE pronamespace = 'public'::regnamespace AND prorettype = 'jsonb'::regtype
           AND proargtypes::text = ('jsonb'::regtype::oid)::text";
    assert_eq!(told("name"), names(rpcs));
}

fn sources(workspace: &Workspace) -> Vec<PathBuf> {
    let mut sources: Vec<PathBuf> = fs::read_dir(workspace.root().join("migrations/functions"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    sources.sort();
    sources
}
