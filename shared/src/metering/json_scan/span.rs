//! A stretch of the text that may run over several slices.

/// Borrows the stretch from the slice where it lies in one, and copies only what a slice's end
/// would lose, up to `LIMIT` bytes.
#[derive(Debug, Clone, Default)]
pub(super) struct Span<const LIMIT: usize> {
    /// The place in the current slice at which the stretch, or the part of it that is not yet held,
    /// begins.
    from: Option<usize>,
    /// The bytes from earlier slices.
    held: Vec<u8>,
    too_long: bool,
}

impl<const LIMIT: usize> Span<LIMIT> {
    pub(super) const fn new() -> Self {
        Self {
            from: None,
            held: Vec::new(),
            too_long: false,
        }
    }

    pub(super) fn clear(&mut self) {
        self.from = None;
        self.held.clear();
        self.too_long = false;
    }

    pub(super) fn start(&mut self, at: usize) {
        self.clear();
        self.from = Some(at);
    }

    /// A stretch begun in an earlier slice goes on at this one's beginning.
    pub(super) fn enter_slice(&mut self) {
        self.from = self.from.map(|_| 0);
    }

    /// Holds what lies in the slice that ends here.
    pub(super) fn leave_slice(&mut self, bytes: &[u8]) {
        if let Some(from) = self.from {
            self.hold(bytes.get(from..).unwrap_or_default());
        }
    }

    /// The whole stretch, unless it is longer than the limit.
    pub(super) fn end<'a>(&'a mut self, bytes: &'a [u8], end: usize) -> Option<&'a [u8]> {
        let rest = bytes.get(self.from.take()?..end)?;
        if self.held.is_empty() && !self.too_long {
            return (rest.len() <= LIMIT).then_some(rest);
        }
        self.hold(rest);
        (!self.too_long).then_some(&self.held)
    }

    fn hold(&mut self, bytes: &[u8]) {
        self.too_long |= bytes.len() > LIMIT.saturating_sub(self.held.len());
        if self.too_long {
            self.held.clear();
        } else {
            self.held.extend_from_slice(bytes);
        }
    }
}
