//! `migrations/apply.sh`: its secret, because every user of a machine can read a command line, and its runs
//! beside other transactions.

#![expect(
    clippy::unwrap_used,
    reason = "in tests' helpers, too, what does not work fails the test"
)]

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use stack::{Postgres, RunDir, Tools, Workspace};

/// The arguments of a call of `psql`: its command line, and the password in its environment.
fn called(url: &str) -> (String, String) {
    let folder = tempfile::tempdir().unwrap();
    let psql = folder.path().join("psql");
    let (line, password) = (folder.path().join("line"), folder.path().join("password"));
    let script = format!(
        "#!/bin/sh\nprintf '%s\\n' \"$@\" >>{}\nprintf '%s' \"$PGPASSWORD\" >{}\n",
        line.display(),
        password.display()
    );
    fs::write(&psql, script).unwrap();
    fs::set_permissions(&psql, fs::Permissions::from_mode(0o755)).unwrap();
    let apply = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../migrations/apply.sh");
    Command::new(apply)
        .arg("--dry-run")
        .env("DATABASE_URL", url)
        .env("PSQL", &psql)
        .env_remove("PGPASSWORD")
        .output()
        .unwrap();
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    (read(line), read(password))
}

#[test]
fn the_password_is_on_no_command_line_in_any_form_of_the_connection_string() {
    for url in [
        "postgresql://user:p%40ss%20%5Cw@db.example.com:5432/postgres",
        "postgresql://user:p%40ss%20%5Cw@db.example.com/postgres?sslmode=verify-full",
        "postgresql://user@db.example.com/postgres?password=p%40ss%20%5Cw",
        "postgresql://user@db.example.com/postgres?sslmode=require&password=p%40ss%20%5Cw&connect_timeout=3",
        r"host=db.example.com user=u password='p@ss \\w' dbname=postgres",
        r"password='p@ss \\w' host=db.example.com",
        r"host=db.example.com password = 'p@ss \\w'",
    ] {
        let (line, password) = called(url);
        assert!(line.contains("db.example.com"), "{url}: {line}");
        assert!(
            !line.contains("p@ss") && !line.contains("p%40ss"),
            "{url}: {line}"
        );
        assert_eq!(password, r"p@ss \w", "{url}");
    }
}

#[test]
fn a_password_that_cannot_be_taken_out_stops_it() {
    for url in [
        "postgresql://user@db.example.com/postgres?pass%77ord=secret",
        "postgresql://user@db.example.com/postgres?sslpassword=secret",
    ] {
        let (line, _) = called(url);
        assert_eq!(line, "", "{url}");
    }
}

fn script(workspace: &Workspace, server: &Postgres, tools: &Tools) -> Command {
    let mut script = Command::new(workspace.root().join("migrations/apply.sh"));
    script
        .env("DATABASE_URL", server.url("postgres"))
        .env("PSQL", tools.postgres_program("psql"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    script
}

/// What a run printed, if it succeeded.
fn printed(run: Child) -> (String, String) {
    let output = run.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let (out, err) = (text(output.stdout), text(output.stderr));
    assert!(output.status.success(), "{out}{err}");
    (out, err)
}

/// A transaction that runs `sql` and then sleeps, from when it has begun to.
fn transaction(server: &Postgres, tools: &Tools, sql: &str, seconds: u32) -> Child {
    let child = Command::new(tools.postgres_program("psql"))
        .args([
            "--no-psqlrc",
            "--quiet",
            "--dbname",
            &server.url("postgres"),
        ])
        .args(["--single-transaction", "--command", sql])
        .args(["--command", &format!("SELECT pg_sleep({seconds})")])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let sleeps = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(%' AND state = 'active'";
    until(|| server.query(sleeps).unwrap() == "1");
    child
}

fn until(is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < deadline, "it does not come to be");
        thread::sleep(Duration::from_millis(20));
    }
}

fn versions(server: &Postgres) -> String {
    server
        .query("SELECT string_agg(version, ' ' ORDER BY version) FROM supabase_migrations.schema_migrations")
        .unwrap()
}

#[test]
#[ignore = "needs TOOLS"]
fn it_waits_for_another_run_and_for_locks_and_a_dry_run_changes_nothing() {
    let workspace = Workspace::locate();
    let tools = Tools::install(&workspace).unwrap();
    let run = RunDir::unique(&workspace, "apply").unwrap();
    let server = Postgres::bare(&tools, &run).unwrap();
    let start = || script(&workspace, &server, &tools).spawn().unwrap();
    let dry_run = || {
        let mut script = script(&workspace, &server, &tools);
        printed(script.arg("--dry-run").spawn().unwrap()).0
    };

    let pending = dry_run();
    assert!(
        pending.lines().all(|line| line.starts_with("pending ")),
        "{pending}"
    );
    let made = "SELECT count(*) FROM pg_namespace WHERE nspname = 'supabase_migrations'";
    assert_eq!(server.query(made).unwrap(), "0", "a dry run made something");

    // The first of two is held up by a reader of the original's table, and tries again; the second waits for
    // the first, and then finds everything applied.
    let original = workspace
        .root()
        .join("migrations/20260101000000_original_schema.sql");
    server.apply(&original).unwrap();
    let reader = "SELECT FROM public.request_logs";
    let mut reader = transaction(&server, &tools, reader, 5);
    let first = start();
    let holds = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted";
    until(|| server.query(holds).unwrap() == "1");
    let second = start();
    // Its own connection, which asks for the lock again and again.
    let asks = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_try_advisory_xact_lock%'";
    until(|| server.query(asks).unwrap() == "2");
    let (out, err) = printed(first);
    assert!(
        out.ends_with(&format!("{} applied\n", pending.lines().count() - 1)),
        "{out}"
    );
    assert!(
        err.contains("waits for other transactions (1 of 30)"),
        "{err}"
    );
    let (out, err) = printed(second);
    assert_eq!(
        (out.as_str(), err.as_str()),
        ("0 applied\n", "waits for another run\n")
    );
    reader.wait().unwrap();
    assert_eq!(
        versions(&server).split(' ').count(),
        pending.lines().count()
    );
    assert_eq!(server.query(holds).unwrap(), "0", "the lock is held still");

    let applied = dry_run();
    assert_eq!(applied, pending.replace("pending ", "applied "));
}

/// An index that one run is building looks to another like one that was left unfinished.
#[test]
#[ignore = "needs TOOLS"]
fn of_two_runs_the_second_leaves_the_indexes_of_the_first_alone() {
    let workspace = Workspace::locate();
    let tools = Tools::install(&workspace).unwrap();
    let run = RunDir::unique(&workspace, "apply").unwrap();
    let server = Postgres::bare(&tools, &run).unwrap();
    let original = workspace
        .root()
        .join("migrations/20260101000000_original_schema.sql");
    server.apply(&original).unwrap();
    server
        .query(
            "INSERT INTO public.request_logs (did, model, status, request_time, error_message)
             SELECT 'did:key:z' || n % 7, 'm', 'completed', now(), repeat('x', 500) FROM generate_series(1, 30000) AS n",
        )
        .unwrap();
    // An index is not valid before every older transaction has ended.
    let mut older = transaction(&server, &tools, "SELECT FROM public.user_api_keys", 4);
    let first = script(&workspace, &server, &tools).spawn().unwrap();
    let building = "SELECT count(*) FROM pg_index WHERE NOT indisvalid";
    until(|| server.query(building).unwrap() == "1");
    let second = script(&workspace, &server, &tools).spawn().unwrap();
    printed(first);
    let (out, _) = printed(second);
    assert_eq!(out, "0 applied\n");
    older.wait().unwrap();
    let invalid = "SELECT count(*) FROM pg_index WHERE NOT indisvalid";
    assert_eq!(server.query(invalid).unwrap(), "0");
    let built = "SELECT count(*) FROM pg_indexes WHERE indexname = 'idx_request_logs_usage'";
    assert_eq!(server.query(built).unwrap(), "1");
}
