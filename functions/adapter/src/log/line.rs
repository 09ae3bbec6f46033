//! One line of the log: what it holds, and how it is written.

use std::{error::Error, fmt, time::Duration};

use jiff::Timestamp;
use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::Value;
use shared::causes::causes;
use tracing::{
    Level,
    field::{Field, Visit},
};

/// The metrics' namespace in CloudWatch.
const NAMESPACE: &str = "LlmGateway";

/// A metric, as the embedded metric format declares it.
#[derive(Debug, Serialize)]
struct Metric {
    #[serde(rename = "Name")]
    name: &'static str,
    /// CloudWatch's word for it.
    #[serde(rename = "Unit")]
    unit: &'static str,
}

/// Members that are metrics.
static METRICS: [Metric; 15] = [
    metric("request.duration_ms", "Milliseconds"),
    metric("request.first_byte_ms", "Milliseconds"),
    metric("storage.begin_ms", "Milliseconds"),
    metric("storage.finish_ms", "Milliseconds"),
    metric("request.cold_start", "Count"),
    metric("usage.input_tokens", "Count"),
    metric("usage.output_tokens", "Count"),
    metric(COST_METRIC, "None"),
    metric("emergency.records", "Count"),
    metric("reconcile.claimed", "Count"),
    metric("reconcile.settled", "Count"),
    metric("reconcile.given_up", "Count"),
    metric("reconcile.retried", "Count"),
    metric("reconcile.failed", "Count"),
    metric("reconcile.unfinished", "Count"),
];

const fn metric(name: &'static str, unit: &'static str) -> Metric {
    Metric { name, unit }
}

/// The cost as decimal text, which is exact…
const COST: &str = "usage.cost";
/// …and as the number that CloudWatch can add up.
const COST_METRIC: &str = "usage.cost_usd";
const REQUEST_ID: &str = "request.id";
const DURATION: &str = "request.duration_ms";

/// Members in the order in which they were recorded first.
#[derive(Debug, Default)]
pub(super) struct Fields(Vec<(&'static str, Value)>);

impl Fields {
    fn set(&mut self, name: &'static str, value: Value) {
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = value,
            None => self.0.push((name, value)),
        }
    }

    fn get(&self, name: &str) -> Option<&Value> {
        self.0
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value)
    }

    /// Takes over the id of the request that a line belongs to.
    pub(super) fn inherit(&mut self, request: &Self) {
        if self.get(REQUEST_ID).is_none()
            && let Some(id) = request.get(REQUEST_ID)
        {
            self.set(REQUEST_ID, id.clone());
        }
    }

    /// Sets how long the request took, its books included.
    pub(super) fn set_duration(&mut self, duration: Duration) {
        let milliseconds = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        self.set(DURATION, milliseconds.into());
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field.name(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field.name(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field.name(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field.name(), value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field.name(), value.into());
        if field.name() == COST
            && let Ok(cost) = value.parse::<f64>()
        {
            self.set(COST_METRIC, cost.into());
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.set(field.name(), causes(value).into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set(field.name(), format!("{value:?}").into());
    }
}

/// A line, ready to be written.
#[derive(Debug)]
pub(super) struct Line<'a> {
    pub(super) now: Timestamp,
    pub(super) level: Level,
    pub(super) target: &'a str,
    pub(super) function: Option<&'a str>,
    pub(super) fields: Fields,
}

/// The embedded metric format's declaration of the metrics in a line.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Declaration {
    timestamp: i64,
    #[serde(rename = "CloudWatchMetrics")]
    directives: [Directive; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Directive {
    namespace: &'static str,
    dimensions: [[&'static str; 1]; 1],
    metrics: Vec<&'static Metric>,
}

impl Line<'_> {
    /// The line with its line feed. Nothing, if it cannot be written as JSON: there is no such value.
    pub(super) fn text(&self) -> Option<String> {
        let mut text = serde_json::to_string(self).ok()?;
        text.push('\n');
        Some(text)
    }

    /// The declaration of the metrics in this line, if it has any.
    fn metrics(&self) -> Option<Declaration> {
        let metrics: Vec<_> = METRICS
            .iter()
            .filter(|metric| self.fields.get(metric.name).is_some_and(Value::is_number))
            .collect();
        (!metrics.is_empty()).then(|| Declaration {
            timestamp: self.now.as_millisecond(),
            directives: [Directive {
                namespace: NAMESPACE,
                dimensions: [["faas.name"]],
                metrics,
            }],
        })
    }
}

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut line = serializer.serialize_map(None)?;
        line.serialize_entry("timestamp", &format_args!("{:.6}", self.now))?;
        line.serialize_entry("level", self.level.as_str())?;
        for (name, value) in &self.fields.0 {
            line.serialize_entry(name, value)?;
        }
        line.serialize_entry("target", self.target)?;
        if let (Some(function), Some(metrics)) = (self.function, self.metrics()) {
            line.serialize_entry("faas.name", function)?;
            line.serialize_entry("_aws", &metrics)?;
        }
        line.end()
    }
}
