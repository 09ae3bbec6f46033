//! Wall-clock time as an argument.

use std::{fmt, sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::time::Instant;

/// Tells the wall-clock time. Handlers take one, so that tests choose it.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// The machine's clock; the only place that reads it.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "this is where the ambient clock enters"
    )]
    pub fn system() -> Self {
        Self(Arc::new(Timestamp::now))
    }

    /// A clock that stands still.
    #[must_use]
    pub fn fixed(at: Timestamp) -> Self {
        Self(Arc::new(move || at))
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }

    /// The moment now.
    #[must_use]
    pub fn moment(&self) -> Moment {
        Moment {
            time: self.now(),
            instant: Instant::now(),
        }
    }
}

/// The origin of a request's times: a date, and the instant from which its durations are measured. Later
/// dates are reckoned from it, so that a date and a duration never contradict each other.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// The date.
    pub time: Timestamp,
    /// The same on the monotonic clock.
    pub instant: Instant,
}

impl Moment {
    /// The time that has passed since.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.instant.elapsed()
    }

    /// The date now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.time.checked_add(self.elapsed()).unwrap_or(self.time)
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Clock").field(&self.now()).finish()
    }
}
