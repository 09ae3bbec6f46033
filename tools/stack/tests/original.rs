//! A live database of the original system gets the gateway's schema.
//!
//! `ORIGINAL_ROWS` says how many requests it has: 20,000 unless it is set. With `--nocapture` the test
//! prints how long the migrations took and the longest time that a writer waited; it judges neither.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "the helpers of a test fail as the test does, and its environment is not the gateway's"
)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use stack::{Postgres, RunDir, Tools, Workspace};

/// Keys and finished requests, a few of them failed, as the original system wrote them.
const FILL: &str = "
    INSERT INTO user_api_keys (did, openrouter_key_hash, encrypted_api_key, key_name, credit_limit)
    SELECT 'did:key:o' || n, 'h' || n, 'aa:bb', 'k', CASE WHEN n % 3 = 0 THEN 10.5 END FROM generate_series(1, 500) AS n;
    INSERT INTO request_logs (did, model, input_tokens, output_tokens, total_cost, request_time, response_time, status)
    SELECT 'did:key:o' || 1 + n % 600, CASE n WHEN 1 THEN repeat('m', 3000) ELSE 'm/' || n % 20 END, 3, 4,
           CASE WHEN n = 2 THEN 'NaN' WHEN n % 25 > 0 THEN (n % 100000) / 1e6 END,
           now() - n * interval '30 seconds', now() - n * interval '30 seconds' + interval '2 seconds',
           CASE WHEN n % 25 = 0 THEN 'failed' ELSE 'completed' END
      FROM generate_series(1, {rows}) AS n;
    INSERT INTO request_logs (did, model, request_time, status)
    SELECT 'did:key:o' || n, 'm', now(), 'pending' FROM generate_series(1, 100) AS n";

/// DIDs whose account is not what the requests say, or whose limit is not their key's.
const WRONG: &str = "
    SELECT count(*) FROM (SELECT did FROM user_api_keys UNION SELECT did FROM accounts) AS d
      LEFT JOIN user_api_keys AS k USING (did)
      LEFT JOIN accounts AS a USING (did)
     WHERE k.credit_limit IS DISTINCT FROM a.credit_limit
        OR a.spent IS DISTINCT FROM (SELECT coalesce(sum(l.total_cost), 0) FROM request_logs AS l
                                      WHERE l.did = d.did AND l.total_cost < 'Infinity')";

#[test]
#[ignore = "needs TOOLS"]
fn a_live_database_is_migrated_while_its_writers_go_on() {
    let workspace = Workspace::locate();
    let tools = Tools::install(&workspace).unwrap();
    let run = RunDir::unique(&workspace, "original").unwrap();
    let server = Postgres::bare(&tools, &run).unwrap();
    let rows = std::env::var("ORIGINAL_ROWS").unwrap_or_else(|_| "20000".to_owned());
    let migrations = workspace.root().join("migrations");
    server
        .apply(&migrations.join("20260101000000_original_schema.sql"))
        .unwrap();
    server.query(&FILL.replace("{rows}", &rows)).unwrap();
    let file = "SELECT pg_relation_filenode('request_logs'), pg_relation_filenode('user_api_keys')";
    let before = server.query(file).unwrap();

    let done = AtomicBool::new(false);
    let (told, took, writers) = thread::scope(|scope| {
        let writers: Vec<_> = (1..=3)
            .map(|writer| {
                let (server, done) = (&server, &done);
                scope.spawn(move || write(server, writer, done))
            })
            .collect();
        let start = Instant::now();
        let told = server.migrate(&workspace);
        let took = start.elapsed();
        // They can write afterwards, too.
        thread::sleep(Duration::from_secs(1));
        done.store(true, Ordering::Relaxed);
        let writers: Vec<_> = writers.into_iter().map(|it| it.join().unwrap()).collect();
        (told.unwrap(), took, writers)
    });
    let count: u32 = writers.iter().map(|(count, _)| count).sum();
    let longest = writers.iter().map(|(_, longest)| *longest).max().unwrap();
    println!("{rows} requests: {took:.1?}; of {count} writes the longest took {longest:.1?}");

    assert!(
        told.starts_with("20260101000000_original_schema is there already\n"),
        "{told}"
    );
    assert_eq!(server.query(file).unwrap(), before, "a table was rewritten");
    let unfinished = "
        SELECT (SELECT count(*) FROM pg_constraint WHERE NOT convalidated),
               (SELECT count(*) FROM pg_index WHERE NOT indisvalid)";
    assert_eq!(server.query(unfinished).unwrap(), "0|0");
    assert_eq!(server.query(WRONG).unwrap(), "0");
    let states = "
        SELECT string_agg(DISTINCT cost_state || ' ' || (total_cost IS NULL), ', ') FROM request_logs";
    assert_eq!(server.query(states).unwrap(), "final false, none true");
    assert_eq!(server.migrate(&workspace).unwrap(), "0 applied\n");
}

/// Writes as the original system does until `done`. Returns the number of writes and the longest time that
/// one took.
fn write(server: &Postgres, writer: u32, done: &AtomicBool) -> (u32, Duration) {
    let (mut count, mut longest) = (0, Duration::ZERO);
    let mut round = 0;
    while !done.load(Ordering::Relaxed) {
        round += 1;
        let did = format!("did:key:o{}", 1 + (round * 7 + writer) % 100);
        let new = format!("did:key:new-{writer}-{round}");
        for statement in [
            format!(
                "INSERT INTO request_logs (did, model, request_time, status)
                 VALUES ('{did}', 'w{writer}-{round}', now(), 'pending')"
            ),
            format!(
                "UPDATE request_logs SET status = 'completed', input_tokens = 1, output_tokens = 2,
                        total_cost = 0.000125, response_time = now()
                  WHERE did = '{did}' AND model = 'w{writer}-{round}'"
            ),
            format!(
                "INSERT INTO user_api_keys (did, openrouter_key_hash, encrypted_api_key, key_name, credit_limit)
                 VALUES ('{new}', 'h', 'aa:bb', 'k', 5)"
            ),
            format!("UPDATE user_api_keys SET credit_limit = 7.25 WHERE did = '{did}'"),
        ] {
            let start = Instant::now();
            server
                .query(&format!("SET ROLE service_role; {statement}"))
                .unwrap();
            longest = longest.max(start.elapsed());
            count += 1;
        }
    }
    (count, longest)
}
