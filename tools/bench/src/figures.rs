//! The figures, and their targets.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

/// The relation of a figure to its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Met,
    Missed,
    /// There is no target, or nothing to compare it with.
    Open,
}

/// A line of the table.
#[derive(Debug)]
pub struct Figure {
    name: String,
    target: String,
    value: String,
    verdict: Verdict,
}

/// All figures, and their raw data.
#[derive(Debug, Default)]
pub struct Figures {
    lines: Vec<Figure>,
    raw: serde_json::Map<String, Value>,
}

impl Figures {
    /// Adds a line.
    pub fn add(
        &mut self,
        name: impl Into<String>,
        target: impl Into<String>,
        figure: impl Into<String>,
        met: Option<bool>,
    ) {
        self.lines.push(Figure {
            name: name.into(),
            target: target.into(),
            value: figure.into(),
            verdict: match met {
                Some(true) => Verdict::Met,
                Some(false) => Verdict::Missed,
                None => Verdict::Open,
            },
        });
    }

    /// Keeps the raw data of a figure.
    pub fn keep(&mut self, name: &str, raw: impl Into<Value>) {
        self.raw.insert(name.to_owned(), raw.into());
    }

    /// Prints the table.
    pub fn print(&self) {
        let width = |of: fn(&Figure) -> &str| {
            let widths = self.lines.iter().map(|it| of(it).chars().count());
            widths.max().unwrap_or_default()
        };
        let (name, target) = (width(|it| &it.name), width(|it| &it.target));
        let figure = width(|it| &it.value);
        println!(
            "\n{:<name$}  {:<target$}  {:<figure$}  verdict",
            "what", "target", "figure"
        );
        for line in &self.lines {
            let verdict = match line.verdict {
                Verdict::Met => "met",
                Verdict::Missed => "MISSED",
                Verdict::Open => "–",
            };
            println!(
                "{:<name$}  {:<target$}  {:<figure$}  {verdict}",
                line.name, line.target, line.value
            );
        }
    }

    /// Writes the lines and the raw data.
    pub fn write(&self, path: &Path) -> Result<()> {
        let lines: Vec<Value> = self
            .lines
            .iter()
            .map(|line| {
                json!({
                    "name": line.name,
                    "target": line.target,
                    "figure": line.value,
                    "verdict": format!("{:?}", line.verdict).to_lowercase(),
                })
            })
            .collect();
        let text = serde_json::to_string_pretty(&json!({"figures": lines, "raw": self.raw}))?;
        fs::write(path, text).with_context(|| path.display().to_string())
    }
}

/// The value below which the share `part` (0 to 1) of a sample lies; 0 for an empty sample.
#[must_use]
pub fn quantile(samples: &[f64], part: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index of a sample"
    )]
    let index = (part * sorted.len() as f64) as usize;
    let last = sorted.len().saturating_sub(1);
    sorted.get(index.min(last)).copied().unwrap_or_default()
}

/// The median of a sample.
#[must_use]
pub fn median(samples: &[f64]) -> f64 {
    quantile(samples, 0.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_samples() {
        let samples = [5.0, 1.0, 4.0, 2.0, 3.0];
        for (part, expected) in [(0.0, 1.0), (0.5, 3.0), (0.99, 5.0), (1.0, 5.0)] {
            assert!(
                (quantile(&samples, part) - expected).abs() < f64::EPSILON,
                "{part}"
            );
        }
        assert!(median(&[]).abs() < f64::EPSILON);
    }
}
