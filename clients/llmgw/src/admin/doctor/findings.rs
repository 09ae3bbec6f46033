//! The results of the checks, printed as they come.

use std::fmt;

use anyhow::Result;
use serde::Serialize;

use super::super::output::{Output, Verdict};

/// The result of one check.
#[derive(Serialize)]
pub(super) struct Finding {
    check: &'static str,
    ok: bool,
    /// The check was not possible, so it is not `ok` either.
    #[serde(skip_serializing_if = "is_false")]
    skipped: bool,
    /// The DID that it concerns.
    #[serde(skip_serializing_if = "Option::is_none")]
    did: Option<String>,
    found: String,
    /// The remedy.
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.check)?;
        if let Some(did) = &self.did {
            write!(f, "{did}: ")?;
        }
        f.write_str(&self.found)?;
        match &self.advice {
            Some(advice) if self.skipped => write!(f, ": {advice}"),
            Some(advice) => write!(f, " → {advice}"),
            None => Ok(()),
        }
    }
}

/// All results so far.
pub(super) struct Findings<'a, 'b> {
    output: &'a mut Output<'b>,
    all: Vec<Finding>,
}

impl<'a, 'b> Findings<'a, 'b> {
    pub(super) fn new(output: &'a mut Output<'b>) -> Self {
        let all = Vec::new();
        Self { output, all }
    }

    pub(super) fn ok(&mut self, check: &'static str, found: &str) -> Result<()> {
        self.add(
            Verdict::Ok,
            Finding {
                check,
                ok: true,
                skipped: false,
                did: None,
                found: found.to_owned(),
                advice: None,
            },
        )
    }

    pub(super) fn fail(&mut self, check: &'static str, found: &str, advice: &str) -> Result<()> {
        self.fail_for(check, None, found, advice)
    }

    /// Reports a fault that concerns the key of `did`.
    pub(super) fn fail_for(
        &mut self,
        check: &'static str,
        did: Option<String>,
        found: &str,
        advice: &str,
    ) -> Result<()> {
        self.add(
            Verdict::Failed,
            Finding {
                check,
                ok: false,
                skipped: false,
                did,
                found: found.to_owned(),
                advice: Some(advice.to_owned()),
            },
        )
    }

    pub(super) fn skip(&mut self, check: &'static str, advice: &str) -> Result<()> {
        self.add(
            Verdict::Skipped,
            Finding {
                check,
                ok: false,
                skipped: true,
                did: None,
                found: "not checked".to_owned(),
                advice: Some(advice.to_owned()),
            },
        )
    }

    fn add(&mut self, verdict: Verdict, finding: Finding) -> Result<()> {
        self.output.verdict(verdict, &finding.to_string())?;
        self.all.push(finding);
        Ok(())
    }

    /// Prints the JSON report. Returns whether no check failed; skipped checks are not failures.
    pub(super) fn finish(self) -> Result<bool> {
        #[derive(Serialize)]
        struct Report {
            ok: bool,
            checks: Vec<Finding>,
        }

        let ok = self.all.iter().all(|finding| finding.ok || finding.skipped);
        self.output.json(&Report {
            ok,
            checks: self.all,
        })?;
        Ok(ok)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_false(flag: &bool) -> bool {
    !flag
}
