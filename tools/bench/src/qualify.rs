//! Before anything is timed: every subject gives the same bytes, and the books say what they cost.

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::{
    answers::{Answer, COST},
    measure::Bench,
    stubs::lock,
    subject::{Kind, Subject},
};

/// Fails where a byte or a figure of the row is wrong.
pub async fn qualify(bench: &Bench) -> Result<()> {
    for answer in [Answer::Json, Answer::Stream, Answer::Bulk(1)] {
        let expected = body(&bench.direct, answer, Kind::Billed).await?;
        ensure!(expected.len() > 500, "the stub's answer is no answer");
        for (name, subject) in bench.others() {
            for kind in [Kind::Billed, Kind::Free] {
                *lock(&bench.stubs.seen.outcome) = Value::Null;
                ensure!(
                    body(subject, answer, kind).await? == expected,
                    "{name} changes bytes of {answer:?}"
                );
                if name == "gateway" {
                    check_row(&lock(&bench.stubs.seen.outcome), kind)?;
                }
            }
        }
    }
    let violations = bench.gateway.violations();
    ensure!(violations.is_empty(), "{violations:?}");
    Ok(())
}

async fn body(subject: &Subject, answer: Answer, kind: Kind) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    let request = subject.prepare(answer, kind)?;
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
