//! The operator's command line puts the books in order.

use std::{
    fs,
    io::Write,
    process::{Output, Stdio},
};

use e2e::{
    chaos_proxy::Mode,
    world::{World, with_world},
};
use serde_json::{Value, json};
use stub::scripted::{COST_PLAIN, CUT_COST_PLAIN};

use crate::{
    accounting::{emergency_record, unwritten},
    reconciliation::books,
};

fn llmgw(world: &World, args: &[&str], changes: &[(&'static str, String)]) -> Output {
    let mut command = world.operator(changes).unwrap();
    command.arg("admin").args(args).output().unwrap()
}

fn said(output: &Output) -> (Option<i32>, String) {
    let text = String::from_utf8_lossy(&output.stdout);
    (output.status.code(), text.trim_end().to_owned())
}

#[test]
fn a_record_out_of_the_log_is_restored_once() {
    with_world(async |world| {
        let user = world.user().unwrap();
        let proxy = unwritten(world, &user, Mode::Refuse).await;
        let id = emergency_record(&proxy).await;
        let id: Value = serde_json::from_str(&id).unwrap();
        let id = id["id"].as_str().unwrap();
        let log = world.logs.join("restore.log");
        fs::write(&log, proxy.log("proxy").unwrap()).unwrap();
        let log = log.to_str().unwrap();

        let dry = llmgw(world, &["restore", "--dry-run", log], &[]);
        assert_eq!(said(&dry), (Some(0), format!("{id}  found")), "{dry:?}");
        assert_eq!(books(world, &user), "pending|none||||||0|0.01");

        for outcome in ["restored", "already closed"] {
            let output = llmgw(world, &["restore", log], &[]);
            assert_eq!(said(&output), (Some(0), format!("{id}  {outcome}")));
            assert_eq!(
                books(world, &user),
                format!("completed|final|{COST_PLAIN}|11|7|||{COST_PLAIN}|0.00")
            );
        }
    });
}

#[test]
fn a_record_that_comes_after_reconciliation_is_restored_all_the_same() {
    with_world(async |world| {
        let user = world.user().unwrap();
        // The storage is gone before the generation can be noted: nothing can be asked.
        let proxy = unwritten(world, &user, Mode::Reset).await;
        let did = user.did.as_str();
        world
            .sql(&format!(
                "UPDATE public.request_logs SET generation_id = NULL WHERE did = '{did}'"
            ))
            .unwrap();
        let impatient = [("ABANDONED_AFTER_SECONDS", "1".to_owned())];
        let args = [
            "reconcile",
            "--json",
            "--did",
            did,
            "--abandoned-after",
            "1",
        ];
        let refused = llmgw(world, &args, &[]);
        assert_eq!(refused.status.code(), Some(1));
        let why = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(why.contains("must be at least 1200"), "{why}");
        tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
        let given_up = llmgw(world, &args, &impatient);
        let (status, summary) = said(&given_up);
        assert_eq!(status, Some(0), "{given_up:?}");
        assert_eq!(
            serde_json::from_str::<Value>(&summary).unwrap(),
            json!({"claimed": 1, "settled": 0, "given_up": 1, "retried": 0, "failed": 0})
        );
        assert_eq!(
            books(world, &user),
            "failed|unknown||||abandoned|no_generation_id|0|0.00"
        );

        let record = emergency_record(&proxy).await;
        let unknown = record.replace(&record[7..43], "00000000-0000-4000-8000-000000000000");
        let mut command = world.operator(&[]).unwrap();
        let mut child = command
            .args(["admin", "restore", "--json", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = format!("{record}\n{unknown}\n{{\"emergency_record\":\"torn");
        child
            .stdin
            .take()
            .unwrap()
            .write_all(lines.as_bytes())
            .unwrap();
        let (status, report) = said(&child.wait_with_output().unwrap());
        let mut report: Value = serde_json::from_str(&report).unwrap();
        let outcomes: Vec<_> = report["records"]
            .as_array_mut()
            .unwrap()
            .iter()
            .map(|record| record["outcome"].clone())
            .collect();
        assert_eq!(outcomes, ["restored", "unknown"]);
        assert_eq!((status, &report["unreadable"]), (Some(1), &json!(1)));
        assert_eq!(
            books(world, &user),
            format!("completed|final|{COST_PLAIN}|11|7|||{COST_PLAIN}|0.00")
        );
    });
}

#[test]
fn the_operator_reconciles_by_hand() {
    with_world(async |world| {
        let user = world.user().unwrap();
        let answer = user
            .chat("proxy", "stub/cut-billed", true, "gen-by-hand")
            .await
            .unwrap();
        answer.bytes().await.unwrap();
        user.row().await.unwrap();
        let output = llmgw(world, &["reconcile", "--did", user.did.as_str()], &[]);
        assert_eq!(
            said(&output),
            (
                Some(0),
                "1 rows: 1 settled, 0 given up, 0 to be asked again, 0 failed".to_owned()
            ),
            "{output:?}"
        );
        let total = CUT_COST_PLAIN;
        assert_eq!(
            books(world, &user),
            format!("failed|final|{total}|11|21|upstream_cut||{total}|0")
        );
        let everything = format!("{output:?}");
        assert!(!everything.contains(user.api_key.expose_secret()));
    });
}
