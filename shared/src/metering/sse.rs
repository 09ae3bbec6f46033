//! Incremental framing of server-sent events.
//!
//! Source: <https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream>.
//! The stream comes in slices cut anywhere. Data is handed on as it comes and never collected, so
//! that an event may be of any size. Fields other than `data` and `event` are skipped.

use memchr::memchr2;

/// Most bytes of an event's name; a longer name is taken for none.
pub const NAME_LIMIT: usize = 64;

/// The data that ends the upstream's streams, in all dialects.
const DONE: &[u8] = b"[DONE]";
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// A piece of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    /// The next bytes of the current event's data. Between two `data` lines stands one LF.
    Data(&'a [u8]),
    /// The current event is whole; data after this belongs to the next.
    End(Event<'a>),
}

/// The known facts about an event besides its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event<'a> {
    /// The `event` field; empty without one.
    pub name: &'a [u8],
    /// Whether the data is `[DONE]`, with or without whitespace after it.
    pub done: bool,
}

/// Cuts a stream into events.
#[derive(Debug, Clone)]
pub struct Framer {
    line: Line,
    /// The last line ended with CR: an LF right after it belongs to it.
    after_cr: bool,
    name: Name,
    /// The current event has a `data` field.
    has_data: bool,
    done: DoneMatch,
}

/// The part of the current line that was read last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    /// The stream's beginning: so many bytes of a byte order mark were read.
    Mark(usize),
    Start,
    /// Inside the field's name.
    Field(FieldName),
    /// After the colon: one space here is not part of the value.
    Colon(Field),
    Value(Field),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Data,
    Event,
    Other,
}

impl Framer {
    /// A framer at the beginning of a stream.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            line: Line::Mark(0),
            after_cr: false,
            name: Name::new(),
            has_data: false,
            done: DoneMatch::Prefix(0),
        }
    }

    /// Reads on, and hands each piece to `sink` in order.
    pub fn feed(&mut self, bytes: &[u8], mut sink: impl FnMut(Piece<'_>)) {
        let mut rest = bytes;
        while let Some((&byte, tail)) = rest.split_first() {
            if std::mem::take(&mut self.after_cr) && byte == b'\n' {
                rest = tail;
                continue;
            }
            rest = match self.line {
                Line::Mark(read) => self.mark(read, rest),
                Line::Colon(field) => {
                    self.line = Line::Value(field);
                    if byte == b' ' { tail } else { rest }
                }
                Line::Start | Line::Field(_) | Line::Value(_) if is_line_end(byte) => {
                    self.after_cr = byte == b'\r';
                    self.end_line(&mut sink);
                    tail
                }
                Line::Start => self.start_line(rest, &mut sink),
                Line::Field(name) => self.field(name, rest, &mut sink),
                Line::Value(field) => {
                    let end = memchr2(b'\r', b'\n', rest).unwrap_or(rest.len());
                    let (value, rest) = rest.split_at_checked(end).unwrap_or((rest, &[]));
                    self.value(field, value, &mut sink);
                    rest
                }
            };
        }
    }

    /// The event that the stream's end would cut off: the last one, if it has data and the blank
    /// line after it is missing. (The standard discards such an event; a meter need not.)
    #[must_use]
    pub fn unfinished(&self) -> Option<Event<'_>> {
        let mut event = self.event();
        if self.line == Line::Value(Field::Event) {
            event.name = &[];
        }
        self.has_data.then_some(event)
    }

    fn event(&self) -> Event<'_> {
        Event {
            name: self.name.get(),
            done: self.done.is_match(),
        }
    }

    fn mark<'a>(&mut self, read: usize, rest: &'a [u8]) -> &'a [u8] {
        match (rest.split_first(), BYTE_ORDER_MARK.get(read)) {
            (Some((byte, tail)), Some(expected)) if byte == expected => {
                self.line = Line::Mark(read + 1);
                tail
            }
            // A part of a mark begins a field's name, one that means nothing.
            (_, Some(_)) if read > 0 => {
                self.line = Line::Field(FieldName::OTHER);
                rest
            }
            _ => {
                self.line = Line::Start;
                rest
            }
        }
    }

    /// A line's beginning; nearly all of them begin like this.
    fn start_line<'a>(&mut self, line: &'a [u8], sink: &mut impl FnMut(Piece<'_>)) -> &'a [u8] {
        if let Some(value) = line.strip_prefix(b"data: ") {
            self.start_value(Field::Data, sink);
            self.line = Line::Value(Field::Data);
            return value;
        }
        self.line = Line::Field(FieldName::default());
        line
    }

    fn field<'a>(
        &mut self,
        mut name: FieldName,
        bytes: &'a [u8],
        sink: &mut impl FnMut(Piece<'_>),
    ) -> &'a [u8] {
        let mut rest = bytes;
        while let Some((&byte, tail)) = rest.split_first() {
            if byte == b':' {
                let field = name.field();
                self.start_value(field, sink);
                self.line = Line::Colon(field);
                return tail;
            }
            if is_line_end(byte) {
                break;
            }
            name = name.and(byte);
            rest = tail;
        }
        self.line = Line::Field(name);
        rest
    }

    fn start_value(&mut self, field: Field, sink: &mut impl FnMut(Piece<'_>)) {
        match field {
            Field::Data => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.data(b"\n", sink);
                }
            }
            Field::Event => self.name.clear(),
            Field::Other => {}
        }
    }

    fn value(&mut self, field: Field, value: &[u8], sink: &mut impl FnMut(Piece<'_>)) {
        match field {
            Field::Data => self.data(value, sink),
            Field::Event => self.name.extend(value),
            Field::Other => {}
        }
    }

    fn data(&mut self, bytes: &[u8], sink: &mut impl FnMut(Piece<'_>)) {
        self.done.extend(bytes);
        sink(Piece::Data(bytes));
    }

    fn end_line(&mut self, sink: &mut impl FnMut(Piece<'_>)) {
        match self.line {
            Line::Start => self.dispatch(sink),
            // A line without a colon is a field with an empty value.
            Line::Field(name) => self.start_value(name.field(), sink),
            Line::Mark(_) | Line::Colon(_) | Line::Value(_) => {}
        }
        self.line = Line::Start;
    }

    fn dispatch(&mut self, sink: &mut impl FnMut(Piece<'_>)) {
        if self.has_data {
            sink(Piece::End(self.event()));
        }
        self.name.clear();
        self.has_data = false;
        self.done = DoneMatch::Prefix(0);
    }
}

impl Default for Framer {
    fn default() -> Self {
        Self::new()
    }
}

fn is_line_end(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n')
}

/// A field's name as far as it matters: its first bytes and its length, capped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct FieldName {
    bytes: [u8; 5],
    length: u8,
}

impl FieldName {
    /// A name too long to be one that matters.
    const OTHER: Self = Self {
        bytes: [0; 5],
        length: 6,
    };

    fn and(mut self, byte: u8) -> Self {
        match self.bytes.get_mut(usize::from(self.length)) {
            Some(place) => *place = byte,
            None => return Self::OTHER,
        }
        self.length += 1;
        self
    }

    /// An empty name makes the line a comment.
    fn field(self) -> Field {
        match self.bytes.get(..usize::from(self.length)) {
            Some(b"data") => Field::Data,
            Some(b"event") => Field::Event,
            _ => Field::Other,
        }
    }
}

/// An event's name, bounded.
#[derive(Debug, Clone)]
struct Name {
    bytes: Vec<u8>,
    too_long: bool,
}

impl Name {
    const fn new() -> Self {
        Self {
            bytes: Vec::new(),
            too_long: false,
        }
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.too_long = false;
    }

    fn extend(&mut self, bytes: &[u8]) {
        self.too_long |= bytes.len() > NAME_LIMIT.saturating_sub(self.bytes.len());
        if self.too_long {
            self.bytes.clear();
        } else {
            self.bytes.extend_from_slice(bytes);
        }
    }

    fn get(&self) -> &[u8] {
        &self.bytes
    }
}

/// Compares an event's data with `[DONE]` as it comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DoneMatch {
    /// So many bytes are equal, and perhaps whitespace followed.
    Prefix(usize),
    Different,
}

impl DoneMatch {
    fn extend(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            let Self::Prefix(read) = *self else { return };
            *self = match DONE.get(read) {
                Some(&expected) if expected == byte => Self::Prefix(read + 1),
                None if byte.is_ascii_whitespace() => Self::Prefix(read),
                _ => Self::Different,
            };
        }
    }

    fn is_match(self) -> bool {
        self == Self::Prefix(DONE.len())
    }
}

#[cfg(test)]
mod tests;
