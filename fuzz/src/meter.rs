//! The meter of answers, beside one that reads whole texts with `serde_json`.

mod reference;

use shared::metering::{
    json_scan::CAPTURE_LIMIT,
    meter::{AnswerFormat, BodyEnd, Meter, Reading, Usage},
};

pub(crate) use self::reference::usage;
use self::reference::{Reference, is_last};
use crate::{
    input::{cut, seeded, text},
    json::{decoded, is_json, members, trimmed},
    json_scan::expanded,
    planted,
    sse::{self, events, is_end_mark},
};

/// Any way to cut a JSON body gives one reading, and that is the reference's; a strict prefix of it is never final.
pub(crate) fn json(data: &[u8]) {
    let (document, seed) = seeded(data);
    let document = &expanded(document, seed)[..];
    let whole = any_cut(AnswerFormat::Json, document, seed);
    if is_beyond_limits(document) {
        return;
    }
    let Ok(text) = str::from_utf8(document) else {
        return;
    };
    let is_valid = is_json(document);
    if is_clean(document) {
        assert_eq!(whole.complete, is_valid, "{text:?}");
    }
    let mut reference = Reference::default();
    if is_valid && reference.body(trimmed(text)).is_some() {
        reference.check(&whole, trimmed(text));
        prefixes_are_not_final(trimmed(text), &reference, &whole);
    }
}

/// Any way to cut a stream gives one reading, and that is the reference's; it is final exactly if it holds an end
/// mark, and so is each of its prefixes.
pub(crate) fn stream(data: &[u8]) {
    let (document, seed) = seeded(data);
    let document = &expanded(document, seed)[..];
    let whole = any_cut(AnswerFormat::EventStream, document, seed);
    if is_beyond_limits(document) {
        return;
    }
    is_final_by_its_end(document, &whole);
    for n in 0..4 {
        let Some(length) = (seed.rotate_left(n * 8) as usize)
            .wrapping_mul(2_654_435_761)
            .checked_rem(document.len())
        else {
            continue;
        };
        let prefix = &document[..length];
        is_final_by_its_end(prefix, &read(AnswerFormat::EventStream, [prefix]).0);
    }
    let mut reference = Reference::default();
    if is_read_whole(document, &mut reference).is_some() {
        assert_eq!(whole.complete, reference.end);
        assert_eq!(whole.delivered, reference.delivered, "{:?}", text(document));
        reference.check(&whole, &text(document));
    }
}

/// Gives the reference every event; `None` where one is not JSON as `serde_json` has it.
fn is_read_whole(document: &[u8], reference: &mut Reference) -> Option<()> {
    let (events, unfinished) = events(document);
    for (name, data) in events.into_iter().chain(unfinished) {
        let is_blank = data.trim_ascii().is_empty();
        if is_end_mark(&data) || is_blank && is_clean(&data) {
            reference.empty_event(&name, !is_blank);
            continue;
        }
        let text = str::from_utf8(&data).ok()?;
        if !is_clean(&data) || !is_json(&data) {
            return None;
        }
        reference.event(trimmed(text), &name)?;
    }
    Some(())
}

fn any_cut(format: AnswerFormat, document: &[u8], seed: u32) -> Reading {
    let mut whole = read(format, [document]);
    if planted() {
        // The end is overlooked.
        whole.0.complete = false;
    }
    assert_eq!(whole, read(format, cut(document, seed)), "cut");
    if document.len() < 2000 {
        assert_eq!(whole, read(format, document.chunks(1)), "in bytes");
        // Of a stream, the end counts also where its event is not closed.
        let (reading, is_complete) = &whole;
        match format {
            AnswerFormat::Json => assert_eq!(*is_complete, reading.complete),
            AnswerFormat::EventStream | AnswerFormat::Opaque => {
                assert!(!is_complete || reading.complete);
            }
        }
    }
    let charge = whole.0.usage.as_ref().and_then(Usage::charge);
    let unreadable = whole.0.usage.as_ref().is_some_and(|it| it.unreadable.cost);
    assert!(charge.is_none() || !unreadable, "free or cheap by a fault");
    whole.0
}

fn read<'a>(format: AnswerFormat, pieces: impl IntoIterator<Item = &'a [u8]>) -> (Reading, bool) {
    let mut meter = Meter::new(format);
    for piece in pieces {
        meter.feed(piece);
    }
    let is_complete = meter.is_complete();
    (meter.finish(BodyEnd::Cut), is_complete)
}

/// Whether it is too long or too deep to be read whole.
fn is_beyond_limits(document: &[u8]) -> bool {
    let brackets = document.iter().filter(|byte| b"[{".contains(byte)).count();
    document.len() > CAPTURE_LIMIT || brackets > 1000
}

/// Whether it takes none of the scanner's liberties.
fn is_clean(text: &[u8]) -> bool {
    str::from_utf8(text).is_ok() && text.iter().all(|byte| *byte >= 0x20)
}

/// No strict prefix is complete, and none has a usage or a generation that is not the whole text's.
fn prefixes_are_not_final(document: &str, reference: &Reference, whole: &Reading) {
    if !document.starts_with(['{', '[', '"']) || document.len() > 1500 {
        return;
    }
    let mut meter = Meter::new(AnswerFormat::Json);
    for byte in document.as_bytes().chunks(1) {
        let reading = meter.clone().finish(BodyEnd::Cut);
        assert!(!reading.complete, "a prefix is final: {document}");
        if let Some(usage) = &reading.usage {
            assert!(reference.usages.contains(usage), "{usage:?} of {document}");
        }
        if reading.generation_id.is_some() {
            assert_eq!(reading.generation_id, whole.generation_id);
        }
        meter.feed(byte);
    }
}

/// A stream is complete exactly if one of its events is an end mark.
fn is_final_by_its_end(document: &[u8], reading: &Reading) {
    let (events, unfinished) = events(document);
    let mut ends = false;
    for event in events.into_iter().chain(unfinished) {
        match is_end(&event) {
            Some(is_end) => ends |= is_end,
            // It may be one.
            None if reading.complete => return,
            None => {}
        }
    }
    assert_eq!(reading.complete, ends, "{:?}", text(document));
}

/// `None` where the scanner takes a liberty that `serde_json` does not.
fn is_end((_, data): &sse::Event) -> Option<bool> {
    if is_end_mark(data) {
        return Some(true);
    }
    if !is_clean(data) {
        return None;
    }
    let text = trimmed(str::from_utf8(data).ok()?);
    if !is_json(data) || !text.starts_with('{') {
        return Some(false);
    }
    let members = members(text)?;
    let kind = members
        .iter()
        .rfind(|(name, value)| name == "type" && *value != "null");
    Some(kind.is_some_and(|(_, value)| decoded(value).is_some_and(|kind| is_last(&kind))))
}
