//! From a fuzzer's bytes to the arguments of a target.

/// The document, and the `N` bytes at the end that steer the target. The document comes first so that seeds stay
/// readable files.
pub(crate) fn steered<const N: usize>(data: &[u8]) -> (&[u8], [u8; N]) {
    data.split_last_chunk()
        .map_or((data, [0; N]), |(document, steering)| (document, *steering))
}

/// A document and the seed of its [cuts](cut).
pub(crate) fn seeded(data: &[u8]) -> (&[u8], u32) {
    let (document, seed) = steered(data);
    (document, u32::from_le_bytes(seed))
}

/// Several inputs in one, separated by a byte that no text has.
#[derive(Debug, Clone)]
pub(crate) struct Fields<'a>(Vec<&'a [u8]>);

impl<'a> Fields<'a> {
    pub(crate) fn of(data: &'a [u8]) -> Self {
        Self(data.split(|byte| *byte == 0xff).collect())
    }

    /// The bytes of a field; none where it is missing.
    pub(crate) fn bytes(&self, index: usize) -> &'a [u8] {
        self.0.get(index).copied().unwrap_or_default()
    }

    pub(crate) fn text(&self, index: usize) -> String {
        text(self.bytes(index))
    }

    pub(crate) fn texts(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|field| text(field))
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The document in pieces, some of them empty. The seed decides where it is cut.
pub(crate) fn cut(document: &[u8], seed: u32) -> Vec<&[u8]> {
    let mut pieces = Vec::new();
    let mut rest = document;
    let mut state = u64::from(seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let widest = 1 + (seed as usize & 31);
    while !rest.is_empty() {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let length = 1 + ((state >> 33) as usize % widest);
        let (piece, after) = rest.split_at(length.min(rest.len()));
        pieces.push(piece);
        if state >> 60 == 0 {
            pieces.push(&[]);
        }
        rest = after;
    }
    pieces
}
