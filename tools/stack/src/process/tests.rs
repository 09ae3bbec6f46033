use super::*;
use crate::workspace::Workspace;

fn run_dir() -> RunDir {
    RunDir::unique(&Workspace::locate(), "unit").unwrap()
}

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

#[test]
fn dropping_a_process_ends_its_whole_group() {
    let process = Launch::new("sleeper", shell("sleep 60 & sleep 60"), &run_dir())
        .start()
        .unwrap();
    let group = process.group.id;
    assert!(test_kill_process_group(group).is_ok());

    drop(process);

    assert!(test_kill_process_group(group).is_err());
}

#[test]
fn one_that_ignores_the_signal_is_killed() {
    let run = run_dir();
    let ready = run.path().join("trapped");
    let script = format!(
        "trap '' TERM; touch {}; while :; do sleep 1; done",
        ready.display()
    );
    let process = Launch::new("stubborn", shell(&script), &run)
        .ready(Probe::file(ready), Duration::from_secs(10))
        .start()
        .unwrap();
    let group = process.group.id;

    drop(process);

    assert!(test_kill_process_group(group).is_err());
}

#[test]
fn one_that_dies_at_the_start_shows_the_end_of_its_log() {
    let error = Launch::new("broken", shell("echo no such setting; exit 3"), &run_dir())
        .ready(Probe::file("/nonexistent"), Duration::from_secs(10))
        .start()
        .unwrap_err();
    let message = error.to_string();
    assert!(
        message.contains("broken ended while it was starting (exit status: 3)"),
        "{message}"
    );
    assert!(message.contains("no such setting"), "{message}");
}

#[test]
fn one_that_never_gets_ready_is_ended() {
    let error = Launch::new("slow", shell("echo still at it; sleep 60"), &run_dir())
        .ready(Probe::file("/nonexistent"), Duration::from_millis(300))
        .start()
        .unwrap_err();
    assert!(matches!(error, ProcessError::NotReady { .. }), "{error}");
}

#[test]
fn a_failed_command_shows_the_end_of_its_output() {
    let error = run(&mut shell("seq 1 100; echo oh no >&2; exit 1")).unwrap_err();
    let message = error.to_string();
    assert!(message.contains("oh no"), "{message}");
    assert!(!message.contains("\n50\n"), "{message}");
}
