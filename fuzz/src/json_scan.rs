//! The scanner of JSON, beside `serde_json`.

use std::borrow::Cow;

use shared::metering::json_scan::{
    CAPTURE_LIMIT, Fault, Found, Scanner, Status, Want, decode_string,
};

use crate::{
    input::{cut, seeded},
    json::{elements, is_json, members, trimmed},
    planted,
};

/// Every kind of want, and keys with escapes.
static WANT: Want<u8> = Want::Members(&[
    ("a", Want::Value(1)),
    (
        "b",
        Want::Members(&[
            ("a", Want::Value(2)),
            ("é", Want::Value(3)),
            ("usage", Want::Value(8)),
        ]),
    ),
    (
        "c",
        Want::Elements(&Want::Members(&[("a", Want::Value(4))])),
    ),
    ("d", Want::ValueOrMembers(5, &[("a", Want::Value(6))])),
    ("e", Want::Elements(&Want::Elements(&Want::Value(7)))),
    (
        "usage",
        Want::Members(&[("cost", Want::Value(9)), ("", Want::Value(10))]),
    ),
    ("\"", Want::Value(11)),
]);

/// The wanted values in order, without the text where it is too long.
type Reports = Vec<(u8, Option<Vec<u8>>)>;

/// Any way to cut the text gives one reading, and that is `serde_json`'s. The scanner's liberties are control
/// characters and broken UTF-8 in strings, which pass.
pub(crate) fn agrees_with_serde_json(data: &[u8]) {
    let (document, seed) = seeded(data);
    let document = &expanded(document, seed)[..];
    let mut scanner = Scanner::new(&WANT);
    let mut whole = scan(&mut scanner, [document]);
    if planted() && whole.1 == Status::Complete {
        whole.1 = Status::Incomplete;
    }
    scanner.reset();
    assert_eq!(whole, scan(&mut scanner, cut(document, seed)), "cut");
    if document.len() < 3000 {
        let mut scanner = Scanner::new(&WANT);
        assert_eq!(whole, scan(&mut scanner, document.chunks(1)), "in bytes");
    }
    decodes(document);

    let Ok(text) = str::from_utf8(document) else {
        return;
    };
    let is_valid = is_json(document);
    match whole.1 {
        Status::Malformed(Fault::TooDeep) => return,
        Status::Complete => assert!(
            is_valid || document.iter().any(|byte| *byte < 0x20),
            "complete, but serde_json refuses {text:?}"
        ),
        Status::Blank => assert!(!is_valid && text.trim().is_empty()),
        Status::Incomplete | Status::Malformed(Fault::Syntax) => {
            assert!(!is_valid, "serde_json takes {text:?}");
        }
    }
    if is_valid {
        compare(trimmed(text), &whole.0);
    }
}

fn compare(text: &str, reports: &Reports) {
    let mut expected = Vec::new();
    if walk(&WANT, text, &mut expected).is_none() {
        return;
    }
    // A key of more than 256 bytes, as it is written, is none that is wanted: a short one that is all escapes.
    let may_have_long_keys = text.len() > 256 && text.contains('\\');
    if *reports != expected && !may_have_long_keys {
        assert_eq!(*reports, expected, "{text:?}");
    }
}

/// The wanted values, as `serde_json` finds them; `None` where it finds no JSON.
fn walk(want: &Want<u8>, value: &str, reports: &mut Reports) -> Option<()> {
    let mut report = |member: u8| {
        let text = (value.len() <= CAPTURE_LIMIT).then(|| value.as_bytes().to_vec());
        reports.push((member, text));
    };
    match want {
        Want::Value(member) => report(*member),
        Want::ValueOrMembers(member, _) if !value.starts_with('{') => report(*member),
        Want::ValueOrMembers(_, wanted) | Want::Members(wanted) if value.starts_with('{') => {
            for (name, value) in members(value)? {
                if let Some((_, want)) = wanted.iter().find(|(it, _)| *it == name) {
                    walk(want, value, reports)?;
                }
            }
        }
        Want::Elements(want) if value.starts_with('[') => {
            for element in elements(value)? {
                walk(want, element, reports)?;
            }
        }
        Want::ValueOrMembers(..) | Want::Members(_) | Want::Elements(_) => {}
    }
    Some(())
}

fn scan<'a>(
    scanner: &mut Scanner<u8>,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> (Reports, Status) {
    let mut reports = Vec::new();
    for piece in pieces {
        scanner.feed(piece, |member, found| {
            let text = match found {
                Found::Text(text) => Some(text.to_vec()),
                Found::TooLong => None,
            };
            reports.push((member, text));
        });
    }
    (reports, scanner.status())
}

/// A string that `serde_json` reads is read as it reads it.
fn decodes(document: &[u8]) {
    if let Ok(text) = serde_json::from_slice::<String>(document.trim_ascii()) {
        let decoded = decode_string(document.trim_ascii());
        assert_eq!(decoded.as_ref().map(Cow::as_ref), Some(text.as_str()));
    }
}

/// Makes long what a fuzzer would find too slowly: each of the bytes 1 to 3 stands, once, for a value around the
/// limit of a capture, for blanks, and for nesting around the limit of depth.
pub(crate) fn expanded(document: &[u8], seed: u32) -> Vec<u8> {
    let mut long = Vec::with_capacity(document.len());
    let mut is_used = [false; 4];
    for &byte in document {
        let fill = match byte {
            1 => (b'x', CAPTURE_LIMIT - 8 + (seed as usize >> 8 & 15)),
            2 => (b' ', 300),
            3 => (b'[', 1000 + (seed as usize >> 12 & 31)),
            _ => (byte, 1),
        };
        let is_first = is_used
            .get_mut(usize::from(byte))
            .is_some_and(|used| !std::mem::replace(used, true));
        let (filling, length) = if is_first { fill } else { (byte, 1) };
        long.extend(std::iter::repeat_n(filling, length));
    }
    long
}
