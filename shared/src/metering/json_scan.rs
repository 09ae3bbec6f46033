//! Reads a few members out of one JSON text while it streams by.
//!
//! The text comes in slices cut anywhere, also inside an escape or a UTF-8 sequence. What is wanted
//! is a constant tree of [`Want`]s; everything else is skipped without being kept, so that memory
//! is bounded by [`CAPTURE_LIMIT`] and time is linear in the bytes, however they are split.
//!
//! The scanner accepts the grammar of RFC 8259, with two liberties inside strings: control
//! characters and invalid UTF-8 pass. It guards nobody: the text is forwarded anyway.

use std::fmt;

pub use self::want::{Want, decode_string};
use self::{
    nesting::Nesting, number::Number, plain::find_end_of_plain, span::Span, want::find_member,
};

mod nesting;
mod number;
mod plain;
mod span;
mod want;

/// Most bytes of a captured value's text; a longer one is [`Found::TooLong`].
pub const CAPTURE_LIMIT: usize = 64 * 1024;
/// Most containers open at once.
pub const DEPTH_LIMIT: usize = nesting::LIMIT;

/// Most bytes of a key's text, quotes and escapes included, that can still be a wanted key.
const KEY_LIMIT: usize = 256;

/// The text of a wanted value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found<'a> {
    /// The value's JSON text, without the whitespace around it.
    Text(&'a [u8]),
    /// The value's text is longer than [`CAPTURE_LIMIT`].
    TooLong,
}

/// The completeness of a JSON text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Nothing but whitespace so far.
    Blank,
    /// Correct so far, but the value's end was not seen.
    Incomplete,
    /// One whole value and nothing but whitespace around it.
    Complete,
    /// Not JSON.
    Malformed(Fault),
}

/// Why a text is not JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A byte that the grammar does not allow where it stands.
    #[error("a byte that JSON does not allow there")]
    Syntax,
    /// More than [`DEPTH_LIMIT`] containers inside each other: legal, but not followed.
    #[error("containers nested deeper than {DEPTH_LIMIT}")]
    TooDeep,
}

/// Scans one JSON text; [`reset`](Self::reset) makes it ready for another.
#[derive(Clone)]
pub struct Scanner<M: 'static> {
    root: &'static Want<M>,
    state: State,
    nesting: Nesting,
    /// Wants of the open containers, outermost first. Only a wanted container's content can be
    /// wanted, so this covers the outer containers and is shorter than the nesting inside others.
    open: Vec<&'static Want<M>>,
    /// The wants for the next value.
    next: Option<&'static Want<M>>,
    /// The value being captured and the nesting at which it ends.
    capture: Option<(M, usize)>,
    captured: Span<CAPTURE_LIMIT>,
    key: Span<KEY_LIMIT>,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Value,
    FirstElement,
    FirstKey,
    Key,
    Colon,
    Text { is_key: bool, escape: Escape },
    Number(Number),
    Literal(&'static [u8]),
    AfterValue,
    Failed(Fault),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Escape {
    None,
    Started,
    /// So many hexadecimal digits to come.
    Hex(u8),
}

impl<M: Copy> Scanner<M> {
    /// A scanner that looks for what `root` wants of the text's value.
    #[must_use]
    pub const fn new(root: &'static Want<M>) -> Self {
        Self {
            root,
            state: State::Value,
            nesting: Nesting::new(),
            open: Vec::new(),
            next: Some(root),
            capture: None,
            captured: Span::new(),
            key: Span::new(),
        }
    }

    /// Forgets the text read so far; what comes next is another one.
    pub fn reset(&mut self) {
        self.state = State::Value;
        self.nesting.clear();
        self.open.clear();
        self.next = Some(self.root);
        self.capture = None;
        self.captured.clear();
        self.key.clear();
    }

    /// Reads on. `found` is called for each wanted value as soon as its last byte was read (for a
    /// number: the byte after it).
    pub fn feed(&mut self, bytes: &[u8], mut found: impl FnMut(M, Found<'_>)) {
        self.captured.enter_slice();
        self.key.enter_slice();
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            at = match self.state {
                State::Text { is_key, escape } => self.text(bytes, at, is_key, escape, &mut found),
                State::Number(number) => self.number(number, bytes, at, &mut found),
                State::Literal(rest) => self.literal(rest, bytes, at, &mut found),
                State::Failed(_) => break,
                _ if matches!(byte, b' ' | b'\t' | b'\n' | b'\r') => at + 1,
                State::FirstElement if byte == b']' => self.close(bytes, at, &mut found),
                State::FirstElement | State::Value => self.value(bytes, at, byte, &mut found),
                State::FirstKey if byte == b'}' => self.close(bytes, at, &mut found),
                State::FirstKey | State::Key => self.start_key(bytes, at, byte, &mut found),
                State::Colon => {
                    self.expect(byte == b':', State::Value);
                    at + 1
                }
                State::AfterValue => self.after_value(bytes, at, byte, &mut found),
            };
        }
        self.captured.leave_slice(bytes);
        self.key.leave_slice(bytes);
    }

    /// Whether what was fed so far, taken as the whole text, is JSON.
    #[must_use]
    pub fn status(&self) -> Status {
        match self.state {
            State::Failed(fault) => Status::Malformed(fault),
            State::Value if self.nesting.depth() == 0 => Status::Blank,
            State::AfterValue if self.nesting.depth() == 0 => Status::Complete,
            State::Number(number) if self.nesting.depth() == 0 && number.may_end() => {
                Status::Complete
            }
            State::Value
            | State::FirstElement
            | State::FirstKey
            | State::Key
            | State::Colon
            | State::Text { .. }
            | State::Number(_)
            | State::Literal(_)
            | State::AfterValue => Status::Incomplete,
        }
    }

    fn expect(&mut self, holds: bool, next: State) {
        self.state = if holds {
            next
        } else {
            State::Failed(Fault::Syntax)
        };
    }

    /// A value from its first byte on. What is not a container is read to its end at once, if it is
    /// there.
    fn value(
        &mut self,
        bytes: &[u8],
        at: usize,
        byte: u8,
        found: &mut impl FnMut(M, Found<'_>),
    ) -> usize {
        let container = match byte {
            b'{' => Some(true),
            b'[' => Some(false),
            _ => None,
        };
        let within = self.next.take().and_then(|want| match (want, container) {
            (Want::Members(_) | Want::ValueOrMembers(..), Some(true))
            | (Want::Elements(_), Some(false)) => Some(want),
            (Want::Value(member) | Want::ValueOrMembers(member, _), _) => {
                self.capture = Some((*member, self.nesting.depth()));
                self.captured.start(at);
                None
            }
            (Want::Members(_) | Want::Elements(_), _) => None,
        });
        let rest = at + 1;
        match (byte, container) {
            (_, Some(is_object)) => self.open(is_object, within),
            (b'"', _) => return self.text(bytes, rest, false, Escape::None, found),
            (b't', _) => return self.literal(b"rue", bytes, rest, found),
            (b'f', _) => return self.literal(b"alse", bytes, rest, found),
            (b'n', _) => return self.literal(b"ull", bytes, rest, found),
            _ => match Number::start(byte) {
                Some(number) => return self.number(number, bytes, rest, found),
                None => self.state = State::Failed(Fault::Syntax),
            },
        }
        rest
    }

    fn open(&mut self, is_object: bool, within: Option<&'static Want<M>>) {
        if !self.nesting.push(is_object) {
            self.state = State::Failed(Fault::TooDeep);
            return;
        }
        if let Some(want) = within {
            self.open.push(want);
        }
        if is_object {
            self.state = State::FirstKey;
        } else {
            self.next_element();
            self.state = State::FirstElement;
        }
    }

    fn close(&mut self, bytes: &[u8], at: usize, found: &mut impl FnMut(M, Found<'_>)) -> usize {
        if self.wanted().is_some() {
            self.open.pop();
        }
        self.nesting.pop();
        self.end_value(bytes, at + 1, found);
        at + 1
    }

    /// The wants for the innermost open container's content.
    fn wanted(&self) -> Option<&'static Want<M>> {
        if self.open.len() == self.nesting.depth() {
            self.open.last().copied()
        } else {
            None
        }
    }

    fn next_element(&mut self) {
        self.next = match self.wanted() {
            Some(Want::Elements(want)) => Some(want),
            Some(Want::Value(_) | Want::Members(_) | Want::ValueOrMembers(..)) | None => None,
        };
    }

    fn start_key(
        &mut self,
        bytes: &[u8],
        at: usize,
        byte: u8,
        found: &mut impl FnMut(M, Found<'_>),
    ) -> usize {
        if byte != b'"' {
            self.state = State::Failed(Fault::Syntax);
            return at + 1;
        }
        if self.wanted().is_some() {
            self.key.start(at);
        }
        self.text(bytes, at + 1, true, Escape::None, found)
    }

    fn after_value(
        &mut self,
        bytes: &[u8],
        at: usize,
        byte: u8,
        found: &mut impl FnMut(M, Found<'_>),
    ) -> usize {
        match (byte, self.nesting.in_object()) {
            (b',', Some(true)) => self.state = State::Key,
            (b',', Some(false)) => {
                self.next_element();
                self.state = State::Value;
            }
            (b'}', Some(true)) | (b']', Some(false)) => return self.close(bytes, at, found),
            _ => self.state = State::Failed(Fault::Syntax),
        }
        at + 1
    }

    /// A string's bytes after its opening quote.
    fn text(
        &mut self,
        bytes: &[u8],
        mut at: usize,
        is_key: bool,
        mut escape: Escape,
        found: &mut impl FnMut(M, Found<'_>),
    ) -> usize {
        while let Some(&byte) = bytes.get(at) {
            escape = match escape {
                Escape::None => {
                    let rest = bytes.get(at..).unwrap_or_default();
                    let Some(plain) = find_end_of_plain(rest) else {
                        at = bytes.len();
                        break;
                    };
                    at += plain;
                    if bytes.get(at) == Some(&b'"') {
                        let end = at + 1;
                        if is_key {
                            return self.end_key(bytes, end);
                        }
                        self.end_value(bytes, end, found);
                        return end;
                    }
                    Escape::Started
                }
                Escape::Started if byte == b'u' => Escape::Hex(4),
                Escape::Started if b"\"\\/bfnrt".contains(&byte) => Escape::None,
                Escape::Hex(1) if byte.is_ascii_hexdigit() => Escape::None,
                Escape::Hex(digits) if byte.is_ascii_hexdigit() => Escape::Hex(digits - 1),
                Escape::Started | Escape::Hex(_) => {
                    self.state = State::Failed(Fault::Syntax);
                    return at;
                }
            };
            at += 1;
        }
        self.state = State::Text { is_key, escape };
        at
    }

    /// A key ended before `end`. The colon is read, too, where it stands right behind it.
    fn end_key(&mut self, bytes: &[u8], end: usize) -> usize {
        self.next = match self.wanted() {
            Some(Want::Members(members) | Want::ValueOrMembers(_, members)) => self
                .key
                .end(bytes, end)
                .and_then(|key| find_member(members, key)),
            Some(Want::Value(_) | Want::Elements(_)) | None => None,
        };
        if bytes.get(end) == Some(&b':') {
            self.state = State::Value;
            return end + 1;
        }
        self.state = State::Colon;
        end
    }

    fn number(
        &mut self,
        mut number: Number,
        bytes: &[u8],
        mut at: usize,
        found: &mut impl FnMut(M, Found<'_>),
    ) -> usize {
        while let Some(&byte) = bytes.get(at) {
            match number.next(byte) {
                Some(longer) => number = longer,
                None if number.may_end() => {
                    self.end_value(bytes, at, found);
                    return at;
                }
                None => {
                    self.state = State::Failed(Fault::Syntax);
                    return at;
                }
            }
            at += 1;
        }
        self.state = State::Number(number);
        at
    }

    fn literal(
        &mut self,
        rest: &'static [u8],
        bytes: &[u8],
        at: usize,
        found: &mut impl FnMut(M, Found<'_>),
    ) -> usize {
        let here = bytes.get(at..).unwrap_or_default();
        let end = at + rest.len().min(here.len());
        if here.starts_with(rest) {
            self.end_value(bytes, end, found);
        } else if let Some(rest) = rest.strip_prefix(here) {
            self.state = State::Literal(rest);
        } else {
            self.state = State::Failed(Fault::Syntax);
        }
        end
    }

    /// A value ended before `end`.
    fn end_value(&mut self, bytes: &[u8], end: usize, found: &mut impl FnMut(M, Found<'_>)) {
        self.state = State::AfterValue;
        if let Some((member, depth)) = self.capture
            && depth == self.nesting.depth()
        {
            self.capture = None;
            let text = self.captured.end(bytes, end);
            found(member, text.map_or(Found::TooLong, Found::Text));
        }
    }
}

impl<M: Copy + fmt::Debug> fmt::Debug for Scanner<M> {
    /// Without the text: it is the user's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scanner")
            .field("state", &self.state)
            .field("depth", &self.nesting.depth())
            .field("capture", &self.capture)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
