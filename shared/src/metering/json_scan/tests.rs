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

/// A scanner's reports; `None` stands for a value that is too long.
type Reports = Vec<(u8, Option<String>)>;

fn scan<'a>(slices: impl IntoIterator<Item = &'a [u8]>) -> (Reports, Status) {
    let mut scanner = Scanner::new(&WANT);
    let reports = scan_with(&mut scanner, slices);
    (reports, scanner.status())
}

fn scan_with<'a>(scanner: &mut Scanner<u8>, slices: impl IntoIterator<Item = &'a [u8]>) -> Reports {
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

/// The same reports, made with `serde_json` from the whole text.
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
