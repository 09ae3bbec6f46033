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
    // The text after the last line end is not a line.
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
