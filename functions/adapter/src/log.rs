//! The log: JSON lines on standard output, which Lambda sends to CloudWatch.
//!
//! Every event is one line. So is every request, when all of its work is done: the span [`REQUEST`],
//! into which the stages record what they learn, becomes a line when it closes. Members have the same
//! dotted names wherever they occur. Those listed as metrics in [`mod@line`] are metrics, too: their
//! lines carry the `_aws` member of CloudWatch's embedded metric format
//! (<https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>),
//! so that a figure in a graph and in a line are the same figure.

mod line;

use std::{
    io::{self, Write},
    time::Instant,
};

use shared::{clock::Clock, config::Env, observe::REQUEST};
use tracing::{
    Event, Level, Subscriber,
    level_filters::LevelFilter,
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{
    Layer,
    filter::Targets,
    layer::{Context, SubscriberExt},
    registry::LookupSpan,
    util::SubscriberInitExt,
};

use self::line::{Fields, Line};

/// The crates whose events follow the configured level. Libraries stay at warnings whatever is
/// configured: at their finest level some of them write headers and bodies.
const OURS: [&str; 8] = [
    "adapter",
    "health",
    "keys",
    "proxy",
    "reconcile",
    "shared",
    "tokens",
    "usage",
];

/// Starts logging at the level that `RUST_LOG` names (`error`, `warn`, `info`, `debug`, `trace`;
/// otherwise `info`).
pub(crate) fn init() {
    let level = Env::process().log_level().unwrap_or(LevelFilter::INFO);
    let targets = OURS.into_iter().fold(
        Targets::new().with_default(LevelFilter::WARN.min(level)),
        |targets, name| targets.with_target(name, level),
    );
    let lines = Lines {
        clock: Clock::system(),
        function: Env::process().optional("AWS_LAMBDA_FUNCTION_NAME"),
        write: |line: &str| {
            // One write for a whole line; nobody is left to tell if it fails.
            let _ = io::stdout().lock().write_all(line.as_bytes());
        },
    };
    tracing_subscriber::registry()
        .with(lines)
        .with(targets)
        .init();
    // A panic's own message may quote data; its place is enough to find it.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic
            .location()
            .map(ToString::to_string)
            .unwrap_or_default();
        tracing::error!(place, "panic");
    }));
}

/// Writes events, and requests that are done, as lines.
struct Lines<W> {
    clock: Clock,
    /// The function's name, by which its metrics are told from others'.
    function: Option<String>,
    write: W,
}

/// The fields of a request's span, kept until it closes.
struct Running {
    fields: Fields,
    since: Instant,
}

impl<W: Fn(&str)> Lines<W> {
    fn line(&self, level: Level, target: &str, fields: Fields) {
        let line = Line {
            now: self.clock.now(),
            level,
            target,
            function: self.function.as_deref(),
            fields,
        };
        if let Some(line) = line.text() {
            (self.write)(&line);
        }
    }
}

impl<S, W> Layer<S> for Lines<W>
where
    S: Subscriber + for<'lookup> LookupSpan<'lookup>,
    W: Fn(&str) + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id).filter(|span| span.name() == REQUEST) {
            let mut fields = Fields::default();
            attributes.record(&mut fields);
            span.extensions_mut().insert(Running {
                fields,
                since: Instant::now(),
            });
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(running) = span.extensions_mut().get_mut::<Running>()
        {
            values.record(&mut running.fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let request = context
            .event_scope(event)
            .into_iter()
            .flatten()
            .find(|span| span.name() == REQUEST);
        if let Some(span) = request
            && let Some(running) = span.extensions().get::<Running>()
        {
            fields.inherit(&running.fields);
        }
        let metadata = event.metadata();
        self.line(*metadata.level(), metadata.target(), fields);
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let Some(span) = context.span(&id) else {
            return;
        };
        if let Some(mut running) = span.extensions_mut().remove::<Running>() {
            running.fields.set_duration(running.since.elapsed());
            let metadata = span.metadata();
            self.line(*metadata.level(), metadata.target(), running.fields);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use serde_json::{Value, json};
    use tracing::field::Empty;

    use super::*;

    /// Runs `work` and gives the lines that it logs, with the time-dependent members checked and
    /// removed.
    fn written(work: impl FnOnce()) -> Vec<Value> {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let sink = lines.clone();
        let subscriber = tracing_subscriber::registry().with(Lines {
            clock: Clock::system(),
            function: Some("stack-proxy".to_owned()),
            write: move |line: &str| sink.lock().unwrap().push(line.to_owned()),
        });
        tracing::subscriber::with_default(subscriber, work);
        let lines = lines.lock().unwrap();
        lines
            .iter()
            .map(|line| {
                assert_eq!(line.find('\n'), Some(line.len() - 1), "{line:?}");
                let mut line: Value = serde_json::from_str(line).unwrap();
                let members = line.as_object_mut().unwrap();
                assert!(members.remove("timestamp").is_some());
                members.remove("request.duration_ms");
                line
            })
            .collect()
    }

    #[test]
    fn an_event_is_a_line_with_its_members() {
        let lines =
            written(|| tracing::warn!(function = "begin_request", attempt = 2, "again\n\"now\""));
        assert_eq!(
            lines,
            [json!({
                "level": "WARN", "message": "again\n\"now\"", "target": "adapter::log::tests",
                "function": "begin_request", "attempt": 2
            })]
        );
    }

    #[test]
    fn a_request_is_one_line_of_all_that_was_recorded_when_it_is_done() {
        let lines = written(|| {
            let span = tracing::info_span!(
                REQUEST,
                message = "request",
                request.id = "id-1",
                http.status = Empty,
                usage.cost = Empty,
                request.reason = Empty
            );
            span.in_scope(|| tracing::info!("inside"));
            span.record("http.status", 500);
            span.record("http.status", 200);
            span.record("usage.cost", "7.434e-07");
        });
        let [inside, request] = lines.as_slice() else {
            panic!("{lines:?}");
        };
        assert_eq!(inside["request.id"], "id-1");
        assert_eq!(inside["message"], "inside");
        assert!(inside.get("http.status").is_none());
        assert_eq!(request["message"], "request");
        assert_eq!(request["http.status"], 200);
        assert_eq!(request["usage.cost"], "7.434e-07");
        assert_eq!(request["usage.cost_usd"], 7.434e-07);
        assert!(request.get("request.reason").is_none());
    }

    #[test]
    fn metrics_are_declared_in_the_line_that_holds_them() {
        let lines = written(|| {
            tracing::info!(
                reconcile.claimed = 3,
                reconcile.settled = 2,
                unrelated = 1,
                "run"
            );
            tracing::info!("nothing to count");
        });
        assert_eq!(lines[0]["faas.name"], "stack-proxy");
        let declared = &lines[0]["_aws"];
        assert!(declared["Timestamp"].as_i64().unwrap() > 1_700_000_000_000);
        assert_eq!(
            declared["CloudWatchMetrics"],
            json!([{
                "Namespace": "LlmGateway",
                "Dimensions": [["faas.name"]],
                "Metrics": [
                    {"Name": "reconcile.claimed", "Unit": "Count"},
                    {"Name": "reconcile.settled", "Unit": "Count"}
                ]
            }])
        );
        assert!(lines[1].get("_aws").is_none());
    }
}
