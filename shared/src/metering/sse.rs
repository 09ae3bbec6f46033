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

/// What is known of an event besides its data.
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

/// How far the current line was read.
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
mod tests {
    use proptest::{collection::vec, prelude::*, sample::Index};

    use super::*;

    /// An event's name, its data, and whether it is `[DONE]`.
    type Seen = (String, String, bool);

    fn text(bytes: &[u8]) -> String {
        String::from_utf8_lossy(bytes).into_owned()
    }

    fn frame<'a>(slices: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Seen>, Option<Seen>) {
        let mut framer = Framer::new();
        let mut events = Vec::new();
        let mut data = Vec::new();
        for slice in slices {
            framer.feed(slice, |piece| match piece {
                Piece::Data(bytes) => data.extend_from_slice(bytes),
                Piece::End(event) => {
                    events.push((text(event.name), text(&data), event.done));
                    data.clear();
                }
            });
        }
        let unfinished = framer
            .unfinished()
            .map(|event| (text(event.name), text(&data), event.done));
        (events, unfinished)
    }

    fn events(stream: &str) -> Vec<Seen> {
        let whole = frame([stream.as_bytes()]);
        assert_eq!(whole, frame(stream.as_bytes().chunks(1)), "byte by byte");
        whole.0
    }

    fn seen(name: &str, data: &str) -> Seen {
        (
            name.to_owned(),
            data.to_owned(),
            data.trim_end() == "[DONE]",
        )
    }

    #[test]
    fn follows_the_standards_examples() {
        let stream = "data: This is the first message.\n\n\
            data: This is the second message, it\ndata: has two lines.\n\n\
            event: add\ndata: 73857293\n\n: test stream\n\n\
            data: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n";
        assert_eq!(
            events(stream),
            [
                seen("", "This is the first message."),
                seen("", "This is the second message, it\nhas two lines."),
                seen("add", "73857293"),
                seen("", "first event"),
                seen("", "second event"),
                seen("", " third event"),
            ]
        );
        // Two empty fields, two events; the block at the end is never dispatched.
        assert_eq!(
            events("data\n\ndata\ndata\n\ndata:"),
            [seen("", ""), seen("", "\n")]
        );
    }

    #[test]
    fn lines_end_with_lf_cr_or_crlf() {
        for end in ["\n", "\r", "\r\n"] {
            let stream = "event: e|data: a|data: b||: comment||data: c||".replace('|', end);
            assert_eq!(
                events(&stream),
                [seen("e", "a\nb"), seen("", "c")],
                "{end:?}"
            );
        }
        assert_eq!(
            events("data: a\r\n\ndata: b\n\r\ndata: c\r\rdata: d\n\n"),
            [seen("", "a"), seen("", "b"), seen("", "c"), seen("", "d")]
        );
    }

    #[test]
    fn skips_comments_other_fields_and_events_without_data() {
        assert_eq!(
            events(
                ": OPENROUTER PROCESSING\n\nevent: ping\n\n:\nid: 7\nretry: 10\ndatax: 1\ndat: 2\n\
                 Data: 3\n data: 4\nevents: no\ndata: yes\n:data: no\n\n"
            ),
            [seen("", "yes")]
        );
    }

    #[test]
    fn a_byte_order_mark_is_skipped_once() {
        assert_eq!(events("\u{feff}data: a\n\n"), [seen("", "a")]);
        assert_eq!(events("\u{feff}\u{feff}data: a\n\n"), []);
        assert_eq!(events("\u{feff}\ndata: a\n\n"), [seen("", "a")]);
        // U+FEC0 begins with two bytes of the mark.
        assert_eq!(events("\u{fec0}data: a\ndata: b\n\n"), [seen("", "b")]);
        assert_eq!(events("data: a\n\n\u{feff}data: b\n\n"), [seen("", "a")]);
    }

    #[test]
    fn the_last_event_field_counts_and_a_long_name_is_none() {
        assert_eq!(
            events("event: a\ndata: 1\nevent: b\n\nevent: c\nevent\ndata: 2\n\n"),
            [seen("b", "1"), seen("", "2")]
        );
        let name = "n".repeat(NAME_LIMIT);
        assert_eq!(
            events(&format!(
                "event: {name}\ndata: 1\n\nevent: {name}n\ndata: 2\n\nevent: ok\ndata: 3\n\n"
            )),
            [seen(&name, "1"), seen("", "2"), seen("ok", "3")]
        );
    }

    #[test]
    fn recognises_done() {
        for data in ["[DONE]", " [DONE]", " [DONE] \t", "[DONE]\ndata:"] {
            assert!(events(&format!("data:{data}\n\n"))[0].2, "{data:?}");
        }
        for data in [
            "",
            "[DONE",
            "[DONE]]",
            "[DONE] x",
            "  [DONE]",
            "[done]",
            "\ndata:[DONE]",
        ] {
            assert!(!events(&format!("data:{data}\n\n"))[0].2, "{data:?}");
        }
    }

    #[test]
    fn the_event_that_is_cut_off_is_not_dispatched_but_known() {
        let cut = |stream: &str| {
            let (events, unfinished) = frame([stream.as_bytes()]);
            assert_eq!(events, []);
            unfinished
        };
        assert_eq!(cut("event: a\n"), None);
        assert_eq!(cut("event: a\ndata: [DONE]"), Some(seen("a", "[DONE]")));
        assert_eq!(cut("data: [DONE]\r"), Some(seen("", "[DONE]")));
        assert_eq!(cut("data: [DON"), Some(seen("", "[DON")));
        assert_eq!(cut("data: x\nevent: err"), Some(seen("", "x")));
        assert_eq!(cut("data: x\nevent: err\n"), Some(seen("err", "x")));
    }

    /// The standard's algorithm on a whole stream, line by line.
    fn reference(stream: &str) -> Vec<Seen> {
        let stream = stream.strip_prefix('\u{feff}').unwrap_or(stream);
        let lines = stream.replace("\r\n", "\n").replace('\r', "\n");
        let (mut events, mut name, mut data) = (Vec::new(), String::new(), String::new());
        // What follows the last line end is not a line.
        let whole = lines.rfind('\n').map_or("", |end| &lines[..end]);
        if !lines.contains('\n') {
            return events;
        }
        for line in whole.split('\n') {
            if line.is_empty() {
                if let Some(data) = data.strip_suffix('\n') {
                    events.push(seen(&name, data));
                }
                name.clear();
                data.clear();
                continue;
            }
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "data" => data.extend([value, "\n"]),
                "event" => value.clone_into(&mut name),
                _ => {}
            }
        }
        events
    }

    proptest! {
        #[test]
        fn agrees_with_the_standards_algorithm_however_it_is_split(
            parts in vec(
                prop_oneof![
                    3 => Just("\n"), 2 => Just("\r"), 1 => Just("\r\n"), 2 => Just("data"),
                    1 => Just("event"), 2 => Just(":"), 1 => Just(" "), 1 => Just("é€😀"),
                    1 => Just("\u{feff}"), 1 => Just("data: x"), 1 => Just("id: 1"), 1 => Just(": c"),
                ],
                0..40,
            ),
            cuts in vec(any::<Index>(), 0..8),
        ) {
            let stream = parts.concat();
            let bytes = stream.as_bytes();
            let mut places: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            places.extend([0, bytes.len()]);
            places.sort_unstable();
            let slices = places.windows(2).map(|pair| &bytes[pair[0]..pair[1]]);
            let whole = frame([bytes]);
            prop_assert_eq!(&whole.0, &reference(&stream));
            prop_assert_eq!(frame(slices), whole);
        }
    }
}
