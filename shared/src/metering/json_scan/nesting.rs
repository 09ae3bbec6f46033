//! The open containers, at one bit each.

/// Most containers open at once.
pub(super) const LIMIT: usize = 1024;
const WORD: usize = 64;

/// A stack of open containers.
#[derive(Debug, Clone)]
pub(super) struct Nesting {
    depth: usize,
    /// Bit n is set if the container at depth n is an object.
    objects: [u64; LIMIT / WORD],
}

impl Nesting {
    pub(super) const fn new() -> Self {
        Self {
            depth: 0,
            objects: [0; LIMIT / WORD],
        }
    }

    pub(super) fn clear(&mut self) {
        self.depth = 0;
    }

    pub(super) fn depth(&self) -> usize {
        self.depth
    }

    /// Whether the innermost container is an object; nothing outside of all containers.
    pub(super) fn in_object(&self) -> Option<bool> {
        let top = self.depth.checked_sub(1)?;
        self.objects
            .get(top / WORD)
            .map(|word| word >> (top % WORD) & 1 == 1)
    }

    /// Opens a container; false if there are too many.
    pub(super) fn push(&mut self, is_object: bool) -> bool {
        let Some(word) = self.objects.get_mut(self.depth / WORD) else {
            return false;
        };
        let bit = 1 << (self.depth % WORD);
        if is_object {
            *word |= bit;
        } else {
            *word &= !bit;
        }
        self.depth += 1;
        true
    }

    pub(super) fn pop(&mut self) {
        self.depth = self.depth.saturating_sub(1);
    }
}
