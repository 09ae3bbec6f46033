//! The qualification of the subjects: each gives the same bytes, and the books tell their cost.

use anyhow::{Result, ensure};
use serde_json::Value;
use stack::lambda::lock;
use stub::load::{COST, Load};

use crate::{
    measure::Bench,
    subject::{Kind, Subject},
};

/// Fails if a byte or a value of the row is wrong.
pub async fn qualify(bench: &Bench) -> Result<()> {
    for load in [Load::Json, Load::Stream, Load::Bulk(1)] {
        let expected = body(&bench.direct, load, Kind::Billed).await?;
        ensure!(expected.len() > 500, "the stub's answer is no answer");
        for (name, subject) in bench.intermediaries() {
            for kind in [Kind::Billed, Kind::Free] {
                *lock(&bench.stubs.calls.outcome) = Value::Null;
                ensure!(
                    body(subject, load, kind).await? == expected,
                    "{name} changes bytes of {load:?}"
                );
                if name == "gateway" {
                    check_row(&lock(&bench.stubs.calls.outcome), kind)?;
                }
            }
        }
    }
    let violations = bench.gateway.violations();
    ensure!(violations.is_empty(), "{violations:?}");
    Ok(())
}

async fn body(subject: &Subject, load: Load, kind: Kind) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    let request = subject.prepare(load, kind)?;
    subject
        .send(request, |_, bytes| body.extend_from_slice(bytes))
        .await?;
    subject.rest().await;
    Ok(body)
}

fn check_row(row: &Value, kind: Kind) -> Result<()> {
    if kind == Kind::Free {
        ensure!(row.is_null(), "a free request is in the books: {row}");
        return Ok(());
    }
    ensure!(
        row["status"] == "completed"
            && row["cost_state"] == "final"
            && row["openrouter_cost"] == COST
            && row["input_tokens"] == 11
            && row["output_tokens"] == 53
            && row["model"] == "bench/model-1",
        "the row is wrong: {row}"
    );
    Ok(())
}
