//! `migrations/apply.sh` and its secret: every user of a machine can read a command line.

#![expect(
    clippy::unwrap_used,
    reason = "in tests' helpers, too, what does not work fails the test"
)]

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

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
