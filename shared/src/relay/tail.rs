//! The end of an answer, as far as it has come.

/// The last bytes of the answer, to know whether an event is still open, and how many there were.
#[derive(Debug, Default)]
pub(super) struct Tail {
    last: [u8; 2],
    pub(super) length: usize,
}

impl Tail {
    pub(super) fn is_empty(&self) -> bool {
        self.last == [0, 0]
    }

    pub(super) fn push(&mut self, chunk: &[u8]) {
        self.length += chunk.len();
        for byte in chunk
            .iter()
            .skip(chunk.len().saturating_sub(3))
            .filter(|byte| **byte != b'\r')
        {
            self.last = [self.last[1], *byte];
        }
    }

    /// The bytes that close an open event.
    pub(super) fn separator(&self) -> &'static str {
        if self.is_empty() || self.last == *b"\n\n" {
            ""
        } else {
            "\n\n"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_event_is_closed_before_the_error_event() {
        for (sent, separator) in [
            ("data: {}\n\n", ""),
            ("data: {}\r\n\r\n", ""),
            ("data: {\"cho", "\n\n"),
            ("data: {}\n", "\n\n"),
            ("", ""),
        ] {
            for split in 0..=sent.len() {
                let mut tail = Tail::default();
                tail.push(&sent.as_bytes()[..split]);
                tail.push(&sent.as_bytes()[split..]);
                assert_eq!(tail.separator(), separator, "{sent:?} split at {split}");
            }
        }
    }
}
