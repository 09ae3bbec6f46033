//! The limits of an invocation's size and speed.

use std::time::Duration;

use tokio::time::Instant;

const MIB: u64 = 1024 * 1024;

/// Lambda's limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The longest event, in bytes. A longer one never reaches the function.
    pub event: u64,
    /// The longest streamed answer, in bytes, its head included. The rest of a longer one is not read.
    pub answer: u64,
    /// The speed at which a streamed answer is read.
    pub bandwidth: Option<Bandwidth>,
}

/// A token bucket of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bandwidth {
    /// The bytes that pass at once.
    pub burst: u64,
    /// The bytes per second after those.
    pub rate: u64,
}

impl Limits {
    /// Lambda's limits: <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>,
    /// <https://docs.aws.amazon.com/lambda/latest/dg/configuration-response-streaming.html>.
    pub const LAMBDA: Self = Self {
        event: 6 * MIB,
        answer: 200 * MIB,
        bandwidth: Some(Bandwidth {
            burst: 6 * MIB,
            rate: 2 * MIB,
        }),
    };
    /// No limits, for measuring.
    pub const NONE: Self = Self {
        event: u64::MAX,
        answer: u64::MAX,
        bandwidth: None,
    };
}

/// The way of an answer through its limits.
#[derive(Debug)]
pub(super) struct Passage {
    room: u64,
    bucket: Option<Bucket>,
}

impl Passage {
    pub(super) fn begin(limits: Limits, now: Instant) -> Self {
        Self {
            room: limits.answer,
            bucket: limits.bandwidth.map(|bandwidth| Bucket {
                bandwidth,
                tokens: bandwidth.burst,
                at: now,
            }),
        }
    }

    /// The number of the next `bytes` that pass, and the time from which on they do.
    pub(super) fn admit(&mut self, bytes: usize, now: Instant) -> (usize, Instant) {
        let admitted = usize::try_from(self.room).map_or(bytes, |room| bytes.min(room));
        let count = u64::try_from(admitted).unwrap_or(u64::MAX);
        self.room -= count;
        let from = self
            .bucket
            .as_mut()
            .map_or(now, |bucket| bucket.take(count, now));
        (admitted, from)
    }
}

#[derive(Debug)]
struct Bucket {
    bandwidth: Bandwidth,
    /// The number of bytes that may pass at `at`.
    tokens: u64,
    at: Instant,
}

impl Bucket {
    fn take(&mut self, bytes: u64, now: Instant) -> Instant {
        let Bandwidth { burst, rate } = self.bandwidth;
        let now = now.max(self.at);
        let earned = (now - self.at).as_micros() * u128::from(rate) / 1_000_000;
        let earned = u64::try_from(earned).unwrap_or(u64::MAX);
        let tokens = self.tokens.saturating_add(earned).min(burst);
        let missing = bytes.saturating_sub(tokens);
        let wait = Duration::from_micros(missing.saturating_mul(1_000_000) / rate.max(1));
        (self.tokens, self.at) = (tokens.saturating_sub(bytes), now + wait);
        self.at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_at_once_and_the_rest_at_its_rate() {
        let limits = Limits {
            bandwidth: Some(Bandwidth {
                burst: 600,
                rate: 200,
            }),
            ..Limits::NONE
        };
        let begun = Instant::now();
        let mut passage = Passage::begin(limits, begun);
        assert_eq!(passage.admit(600, begun), (600, begun));
        let second = begun + Duration::from_secs(1);
        assert_eq!(passage.admit(200, begun), (200, second));
        // Waiting bytes delay those after them.
        assert_eq!(
            passage.admit(100, begun),
            (100, second + Duration::from_millis(500))
        );
        // Silence earns no more than a burst.
        let late = begun + Duration::from_mins(5);
        assert_eq!(passage.admit(600, late), (600, late));
        assert_eq!(passage.admit(1, late).1, late + Duration::from_millis(5));
    }

    #[test]
    fn an_answer_ends_in_the_middle_of_what_is_too_much() {
        let limits = Limits {
            answer: 10,
            ..Limits::NONE
        };
        let now = Instant::now();
        let mut passage = Passage::begin(limits, now);
        assert_eq!(passage.admit(7, now).0, 7);
        assert_eq!(passage.admit(3, now).0, 3);
        assert_eq!(passage.admit(1, now).0, 0);
    }
}
