//! Real client libraries.

use std::process::Command;

use e2e::world::{AUDIENCE, with_world};
use serde_json::json;

#[test]
fn openai_python_works_with_a_signing_auth() {
    with_world(async |world| {
        let user = world.user().unwrap();
        let output = Command::new(world.tools.python())
            .arg(world.project("tools/e2e/tests/gateway/openai_client.py"))
            .env("PYTHONPATH", world.project("tools/clients/python"))
            .env("GATEWAY", world.url("proxy", ""))
            .env("AUDIENCE", AUDIENCE)
            .env("SEED_HEX", hex::encode(user.seed))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{said}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        insta::assert_snapshot!(said);
        let rows = user.rows().await.unwrap();
        let verdicts: Vec<_> = rows
            .iter()
            .map(|row| (&row["status"], &row["cost_state"]))
            .collect();
        let (ok, failed) = (
            (&json!("completed"), &json!("final")),
            (&json!("failed"), &json!("none")),
        );
        // The last request is refused with 429, and tried twice, each time signed anew.
        assert_eq!(verdicts, [ok, ok, failed, failed]);
    });
}
