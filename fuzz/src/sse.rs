//! The reader of server-sent events, beside the standard's algorithm.
//! <https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation>

use std::mem;

use shared::metering::sse::{Framer, NAME_LIMIT, Piece};

use crate::{
    input::{cut, seeded},
    planted,
};

/// An event's name and data.
pub(crate) type Event = (Vec<u8>, Vec<u8>);

/// Any way to cut the stream gives the same events, and they are the standard's.
pub(crate) fn agrees_with_the_standard(data: &[u8]) {
    let (document, seed) = seeded(data);
    // The byte 1 stands for a run, so that a name reaches its limit.
    let mut stream = Vec::new();
    for &byte in document {
        match byte {
            1 => stream.extend([b'n'; 60]),
            _ => stream.push(byte),
        }
    }
    let stream = &stream[..];
    let mut whole = frame([stream]);
    if planted() && stream.contains(&b'\r') {
        whole.0.pop();
    }
    assert_eq!(whole, frame(cut(stream, seed)), "cut");
    assert_eq!(whole, frame(stream.chunks(1)), "in bytes");
    let (events, unfinished) = events(stream);
    let marked = |event: Event| {
        let done = is_end_mark(&event.1);
        (event, done)
    };
    assert_eq!(whole.0, events.into_iter().map(marked).collect::<Vec<_>>());
    assert_eq!(whole.1, unfinished.map(marked));
}

/// An event, and whether it is the end mark.
type Framed = (Event, bool);

/// The events with their end marks, and the one that is cut off.
fn frame<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Framed>, Option<Framed>) {
    let mut framer = Framer::new();
    let (mut events, mut data) = (Vec::new(), Vec::new());
    for piece in pieces {
        framer.feed(piece, |piece| match piece {
            Piece::Data(bytes) => data.extend_from_slice(bytes),
            Piece::End(event) => {
                events.push(((event.name.to_vec(), mem::take(&mut data)), event.done));
            }
        });
    }
    let unfinished = framer
        .unfinished()
        .map(|event| ((event.name.to_vec(), data.clone()), event.done));
    (events, unfinished)
}

/// The events of a stream, and the one that is cut off, if it has data.
pub(crate) fn events(stream: &[u8]) -> (Vec<Event>, Option<Event>) {
    let stream = stream.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(stream);
    let (mut events, mut name, mut data) = (Vec::new(), Vec::new(), None::<Vec<u8>>);
    for (line, has_end) in lines(stream) {
        let (field, value) = match line.iter().position(|byte| *byte == b':') {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            // The name of a field may go on in what was cut off.
            None if !has_end => continue,
            None => (&line[..], &[][..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"" if line.is_empty() => {
                let name = mem::take(&mut name);
                events.extend(data.take().map(|data| (within_limit(&name), data)));
            }
            b"data" => match &mut data {
                Some(data) => {
                    data.push(b'\n');
                    data.extend_from_slice(value);
                }
                None => data = Some(value.to_vec()),
            },
            b"event" => name = if has_end { value.to_vec() } else { Vec::new() },
            _ => {}
        }
    }
    (events, data.map(|data| (within_limit(&name), data)))
}

/// The lines, and whether their end is there.
fn lines(stream: &[u8]) -> Vec<(Vec<u8>, bool)> {
    let mut lines = Vec::new();
    let mut line = Vec::new();
    let mut bytes = stream.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\r' => {
                bytes.next_if_eq(&b'\n');
                lines.push((mem::take(&mut line), true));
            }
            b'\n' => lines.push((mem::take(&mut line), true)),
            _ => line.push(byte),
        }
    }
    if !line.is_empty() {
        lines.push((line, false));
    }
    lines
}

fn within_limit(name: &[u8]) -> Vec<u8> {
    if name.len() > NAME_LIMIT {
        Vec::new()
    } else {
        name.to_vec()
    }
}

/// Whether an event's data is the end mark of `OpenAI`'s streams.
pub(crate) fn is_end_mark(data: &[u8]) -> bool {
    data.strip_prefix(b"[DONE]")
        .is_some_and(|rest| rest.iter().all(u8::is_ascii_whitespace))
}
