//! The log: JSON lines on standard output, which Lambda sends to CloudWatch.

use shared::config::Env;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{filter::Targets, layer::SubscriberExt, util::SubscriberInitExt};

/// The crates whose events follow the configured level. Libraries stay at warnings whatever is
/// configured: at their finest level some of them write headers and bodies.
const OURS: [&str; 5] = ["adapter", "health", "proxy", "shared", "usage"];

/// Starts logging at the level that `RUST_LOG` names (`error`, `warn`, `info`, `debug`, `trace`;
/// otherwise `info`).
pub(crate) fn init() {
    let level = Env::process().log_level().unwrap_or(LevelFilter::INFO);
    let targets = OURS.into_iter().fold(
        Targets::new().with_default(LevelFilter::WARN.min(level)),
        |targets, name| targets.with_target(name, level),
    );
    let lines = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false);
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
