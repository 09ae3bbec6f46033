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

/// What was found where something was wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found<'a> {
    /// The value's JSON text, without the whitespace around it.
    Text(&'a [u8]),
    /// The value's text is longer than [`CAPTURE_LIMIT`].
    TooLong,
}

/// How far a JSON text has come.
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
    /// What is wanted of the value that comes next.
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
            _ => Status::Incomplete,
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

    /// What is wanted of the innermost open container's content.
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
            _ => None,
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
            _ => None,
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
mod tests {
    use std::collections::BTreeMap;

    use proptest::{collection::vec, prelude::*, sample::Index};
    use serde::de::IgnoredAny;
    use serde_json::value::RawValue;

    use super::*;

    static WANT: Want<u8> = Want::Members(&[
        ("a", Want::Value(1)),
        (
            "b",
            Want::Members(&[("a", Want::Value(2)), ("é", Want::Value(3))]),
        ),
        (
            "c",
            Want::Elements(&Want::Members(&[("a", Want::Value(4))])),
        ),
        ("d", Want::ValueOrMembers(5, &[("a", Want::Value(6))])),
        ("e", Want::Elements(&Want::Elements(&Want::Value(7)))),
    ]);

    /// What a scanner reports; nothing stands for a value that is too long.
    type Reports = Vec<(u8, Option<String>)>;

    fn scan<'a>(slices: impl IntoIterator<Item = &'a [u8]>) -> (Reports, Status) {
        let mut scanner = Scanner::new(&WANT);
        let reports = scan_with(&mut scanner, slices);
        (reports, scanner.status())
    }

    fn scan_with<'a>(
        scanner: &mut Scanner<u8>,
        slices: impl IntoIterator<Item = &'a [u8]>,
    ) -> Reports {
        let mut reports = Vec::new();
        for slice in slices {
            scanner.feed(slice, |member, found| {
                reports.push(match found {
                    Found::Text(text) => (member, Some(String::from_utf8(text.to_vec()).unwrap())),
                    Found::TooLong => (member, None),
                });
            });
        }
        reports
    }

    fn bytewise(text: &str) -> impl Iterator<Item = &[u8]> {
        text.as_bytes().chunks(1)
    }

    fn texts(reports: &[(u8, &str)]) -> Reports {
        reports
            .iter()
            .map(|(member, text)| (*member, Some((*text).to_owned())))
            .collect()
    }

    #[test]
    fn reports_the_text_of_what_is_wanted_and_nothing_else() {
        let text = r#" {"x": {"a": 1}, "a" : {"a" : [ 1.50 ]} , "a":null, "b": {"\u00e9": "\"ü", "é": 1e5},
            "c":[{"a":1},2,[{"a":3}],{"a":"]"}], "d":"text", "d": {"a":true}, "d": [{"a":1}],
            "e": [[1,2],3,[[4]]], "f":[{"a":2}] } "#;
        let expected = texts(&[
            (1, r#"{"a" : [ 1.50 ]}"#),
            (1, "null"),
            (3, r#""\"ü""#),
            (3, "1e5"),
            (4, "1"),
            (4, r#""]""#),
            (5, r#""text""#),
            (6, "true"),
            (5, r#"[{"a":1}]"#),
            (7, "1"),
            (7, "2"),
            (7, "[4]"),
        ]);
        assert_eq!(
            scan([text.as_bytes()]),
            (expected.clone(), Status::Complete)
        );
        assert_eq!(scan(bytewise(text)), (expected, Status::Complete));
    }

    #[test]
    fn a_value_is_reported_up_to_the_limit_and_not_beyond() {
        for (length, kept) in [(CAPTURE_LIMIT, true), (CAPTURE_LIMIT + 1, false)] {
            let value = format!("\"{}\"", "x".repeat(length - 2));
            let text = format!(r#"{{"a":{value},"b":{{"a":1}}}}"#);
            let expected = vec![(1, kept.then_some(value)), (2, Some("1".to_owned()))];
            assert_eq!(
                scan([text.as_bytes()]),
                (expected.clone(), Status::Complete)
            );
            assert_eq!(scan(bytewise(&text)), (expected, Status::Complete));
        }
    }

    #[test]
    fn an_endless_key_or_value_is_not_kept() {
        let mut scanner = Scanner::new(&WANT);
        let filler = [b'x'; 1000];
        for start in [r#"{""#, r#"":1,"a":""#] {
            scan_with(&mut scanner, [start.as_bytes()]);
            for _ in 0..1000 {
                scan_with(&mut scanner, [filler.as_slice()]);
            }
        }
        let reports = scan_with(&mut scanner, [r#"","a":2}"#.as_bytes()]);
        assert_eq!(reports, [(1, None), (1, Some("2".to_owned()))]);
        assert_eq!(scanner.status(), Status::Complete);
    }

    #[test]
    fn nesting_is_followed_up_to_the_limit() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert_eq!(scan([nested(DEPTH_LIMIT).as_bytes()]).1, Status::Complete);
        assert_eq!(
            scan([nested(DEPTH_LIMIT + 1).as_bytes()]).1,
            Status::Malformed(Fault::TooDeep)
        );
    }

    #[test]
    fn what_is_not_json_is_told_from_what_is_not_finished() {
        for text in ["", " \n"] {
            assert_eq!(scan([text.as_bytes()]).1, Status::Blank, "{text}");
        }
        for text in ["{", "[1", "\"a", "tru", "-", "1.", "1e", "1e+", r#""\u12"#] {
            assert_eq!(scan([text.as_bytes()]).1, Status::Incomplete, "{text}");
        }
        for text in [
            "0",
            "-1.5E+3",
            "null ",
            " [] ",
            "{}",
            "\"\"",
            "[{\"\":[0]}]",
        ] {
            assert_eq!(scan([text.as_bytes()]).1, Status::Complete, "{text}");
        }
        for text in [
            "}",
            "[}",
            "{]",
            "[1,]",
            "{,",
            "[,",
            r#"{"a"}"#,
            r#"{"a":1,}"#,
            "{1",
            "truE",
            "01",
            "-a",
            "1.e",
            "1 1",
            "{}{}",
            r#""\x""#,
            r#""\u12g4""#,
            "nulll",
            "[1 2]",
            "\u{feff}{}",
        ] {
            assert_eq!(
                scan([text.as_bytes()]).1,
                Status::Malformed(Fault::Syntax),
                "{text}"
            );
        }
    }

    #[test]
    fn a_fault_is_final_until_the_next_text() {
        let mut scanner = Scanner::new(&WANT);
        let cut = [
            r#"{"a":1,"b":{"a":"#.as_bytes(),
            br#"2,"c":nope"#,
            br#"{"a":3}"#,
        ];
        assert_eq!(scan_with(&mut scanner, cut), texts(&[(1, "1"), (2, "2")]));
        assert_eq!(scanner.status(), Status::Malformed(Fault::Syntax));
        scanner.reset();
        assert_eq!(scanner.status(), Status::Blank);
        assert_eq!(
            scan_with(&mut scanner, [br#"{"a":4}"#.as_slice()]),
            texts(&[(1, "4")])
        );
        assert_eq!(scanner.status(), Status::Complete);
    }

    #[test]
    fn debug_does_not_show_the_text() {
        let mut scanner = Scanner::new(&WANT);
        scan_with(&mut scanner, [br#"{"a":"private"#.as_slice()]);
        insta::assert_snapshot!(format!("{scanner:?}"), @"Scanner { state: Text { is_key: false, escape: None }, depth: 1, capture: Some((1, 1)), .. }");
    }

    /// The same reports by way of `serde_json`, from the whole text.
    fn reference(want: &'static Want<u8>, value: &RawValue, reports: &mut Reports) {
        let text = value.get();
        match want {
            Want::Members(members) | Want::ValueOrMembers(_, members) if text.starts_with('{') => {
                let Pairs(pairs) = serde_json::from_str(text).unwrap();
                for (key, value) in pairs {
                    if let Some((_, want)) = members.iter().find(|(name, _)| *name == key) {
                        reference(want, &value, reports);
                    }
                }
            }
            Want::Elements(want) if text.starts_with('[') => {
                for element in serde_json::from_str::<Vec<&RawValue>>(text).unwrap() {
                    reference(want, element, reports);
                }
            }
            Want::Value(member) | Want::ValueOrMembers(member, _) => {
                reports.push((*member, Some(text.to_owned())));
            }
            Want::Members(_) | Want::Elements(_) => {}
        }
    }

    /// An object's members in order, those of the same key included.
    struct Pairs(Vec<(String, Box<RawValue>)>);

    impl<'de> serde::Deserialize<'de> for Pairs {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Visitor;
            impl<'de> serde::de::Visitor<'de> for Visitor {
                type Value = Pairs;

                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str("an object")
                }

                fn visit_map<A: serde::de::MapAccess<'de>>(
                    self,
                    mut map: A,
                ) -> Result<Pairs, A::Error> {
                    let mut pairs = Vec::new();
                    while let Some(pair) = map.next_entry()? {
                        pairs.push(pair);
                    }
                    Ok(Pairs(pairs))
                }
            }
            deserializer.deserialize_map(Visitor)
        }
    }

    /// JSON texts with wanted and other keys, duplicates, escapes, odd spacing.
    fn json() -> impl Strategy<Value = String> {
        let scalar = prop_oneof![
            Just("null".to_owned()),
            Just("true".to_owned()),
            Just("false".to_owned()),
            "-?(0|[1-9][0-9]{0,3})(\\.[0-9]{1,3})?([eE][-+]?[0-9]{1,2})?",
            any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap()),
            r#""(\\["\\/bfnrtu]?[a-z€😀]?){0,5}""#.prop_filter("not a string", |text| {
                serde_json::from_str::<String>(text).is_ok()
            }),
        ];
        let space = || "[ \t\r\n]{0,2}";
        let key = prop_oneof![
            "[a-f]".prop_map(|key| format!("\"{key}\"")),
            "[a-eé]".prop_map(|key| {
                let code = key.chars().next().map_or(0, u32::from);
                format!("\"\\u{code:04x}\"")
            }),
            Just("\"é\"".to_owned()),
            any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap()),
        ];
        let value = scalar.prop_recursive(5, 60, 6, move |inner| {
            let element = (space(), inner.clone(), space()).prop_map(|(a, v, b)| a + &v + &b);
            let member = (space(), key.clone(), space(), element.clone())
                .prop_map(|(a, k, b, v)| a + &k + &b + ":" + &v);
            prop_oneof![
                1 => vec(element, 0..5).prop_map(|all| format!("[{}]", all.join(","))),
                2 => vec(member, 0..6).prop_map(|all| format!("{{{}}}", all.join(","))),
            ]
        });
        (space(), value, space()).prop_map(|(a, v, b)| a + &v + &b)
    }

    fn split<'a>(bytes: &'a [u8], cuts: &[Index]) -> Vec<&'a [u8]> {
        let mut places: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        places.extend([0, bytes.len()]);
        places.sort_unstable();
        places
            .windows(2)
            .map(|pair| &bytes[pair[0]..pair[1]])
            .collect()
    }

    proptest! {
        #[test]
        fn agrees_with_serde_json_however_it_is_split(
            text in json(),
            cuts in vec(any::<Index>(), 0..12),
        ) {
            let mut expected = Vec::new();
            let value: &RawValue = serde_json::from_str(&text).unwrap();
            reference(&WANT, value, &mut expected);
            let expected = (expected, Status::Complete);
            prop_assert_eq!(&scan([text.as_bytes()]), &expected);
            prop_assert_eq!(&scan(bytewise(&text)), &expected);
            prop_assert_eq!(&scan(split(text.as_bytes(), &cuts)), &expected);
        }

        #[test]
        fn accepts_what_serde_json_accepts(
            text in json(),
            edits in vec((any::<Index>(), r#"[]\[{}:,"\\0-9eE+.tnu -]?"#), 0..3),
        ) {
            let mut text = text;
            for (place, replacement) in edits {
                let place = place.index(text.len().max(1));
                if text.get(place..=place).is_some() {
                    text.replace_range(place..=place, &replacement);
                }
            }
            // The scanner lets control characters in strings pass.
            let free = !text.contains(|c: char| c < ' ' && !"\t\r\n".contains(c));
            let spaces = text.replace(['\t', '\r', '\n'], " ");
            prop_assume!(free);
            let accepted = serde_json::from_str::<IgnoredAny>(&spaces).is_ok();
            let (reports, status) = scan(bytewise(&spaces));
            prop_assert_eq!(status == Status::Complete, accepted, "{:?}", spaces);
            prop_assert_eq!(scan([spaces.as_bytes()]), (reports, status));
        }

        #[test]
        fn never_panics_and_never_depends_on_the_split(
            bytes in vec(prop_oneof![any::<u8>(), Just(b'"'), Just(b'{'), Just(b':')], 0..60),
            cuts in vec(any::<Index>(), 0..6),
        ) {
            let run = |slices: Vec<&[u8]>| {
                let mut scanner = Scanner::new(&WANT);
                let mut found = BTreeMap::new();
                for slice in slices {
                    scanner.feed(slice, |member, text| {
                        if let Found::Text(text) = text {
                            found.insert(member, text.to_vec());
                        }
                    });
                }
                (found, scanner.status())
            };
            prop_assert_eq!(run(vec![&bytes]), run(split(&bytes, &cuts)));
        }
    }
}
