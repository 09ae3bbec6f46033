use std::{fs, path::Path};

use proptest::{collection::vec, prelude::*, sample::Index};
use serde::Deserialize;

use super::*;
use crate::metering::{
    json_scan::{CAPTURE_LIMIT, DEPTH_LIMIT, Fault},
    money::Usd,
};

/// Answers in `testdata/meter`, and what they say: see [`show`].
const FIXTURES: [(&str, &str); 18] = [
    (
        "chat.json",
        "gen-100-chat anthropic/claude-4.6-sonnet-20260217 in=2572 out=63 cached=2000 reasoning=12 \
         cost=0.0076509169000000005 upstream=0.0076509169000000005 byok=false complete",
    ),
    (
        "chat_byok.json",
        "gen-101-byok google/gemini-2.5-flash in=326 out=91 \
         cost=0.000015 upstream=0.0003253 byok=true complete",
    ),
    (
        "chat_bad_cost.json",
        "gen-102-bad m in=7 byok=false complete; usage output tokens has a value that cannot be used",
    ),
    (
        "chat_error.json",
        "error=502 'Provider returned error' complete",
    ),
    (
        "choice_error.json",
        "gen-103-choice m in=5 out=0 cost=0 error=content_filter 'blocked' complete",
    ),
    (
        "embeddings.json",
        "gen-209-emb openai/text-embedding-3-small in=8 cost=0.00000016 complete",
    ),
    ("transcription.json", "cost=0.00046 complete"),
    (
        "rerank.json",
        "gen-210-rerank cohere/rerank-v3.5 cost=0.002 complete",
    ),
    (
        "chat.sse",
        "gen-200-stream openai/o3-2025 in=9 out=104 cached=0 reasoning=64 cost=0.0000007434 \
         byok=false complete",
    ),
    (
        "chat_usage_early.sse",
        "gen-201-early m in=10 cost=0.25 complete",
    ),
    (
        "chat_error.sse",
        "gen-202-error minimax/minimax-m2:free error=server_error 'Provider disconnected' complete",
    ),
    (
        "chat_no_end.sse",
        "gen-203-cut m in=3 cut; not JSON: a byte that JSON does not allow there",
    ),
    (
        "responses.sse",
        "gen-204-resp openai/gpt-oss-20b in=78 out=37 cached=2 reasoning=22 cost=0.0000113 \
         byok=false complete",
    ),
    (
        "responses_failed.sse",
        "gen-205-failed m in=4 out=0 cost=0.000004 error=rate_limit_exceeded 'Too many' complete",
    ),
    (
        "responses_error.sse",
        "gen-206-error m error=ERR_SOMETHING 'Something went wrong' cut",
    ),
    (
        "messages.sse",
        "gen-207-msg anthropic/claude-4.6-sonnet in=25 out=15 cached=11 cost=0.00042 \
         upstream=0.00042 byok=false complete",
    ),
    (
        "messages_error.sse",
        "gen-208-msg m in=25 out=1 error=overloaded_error 'Overloaded' cut",
    ),
    ("images.sse", "in=50 out=1000 cost=0.04 complete"),
];

/// An answer's body and how to read it.
#[derive(Debug)]
struct Answer {
    format: AnswerFormat,
    body: Vec<u8>,
}

impl Answer {
    fn new(format: AnswerFormat, body: impl Into<Vec<u8>>) -> Self {
        Self {
            format,
            body: body.into(),
        }
    }

    fn fixture(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/meter");
        let format = if is_stream(name) {
            AnswerFormat::EventStream
        } else {
            AnswerFormat::Json
        };
        Self::new(format, fs::read(path.join(name)).unwrap())
    }

    fn read<'a>(&self, slices: impl IntoIterator<Item = &'a [u8]>) -> Reading {
        let mut meter = Meter::new(self.format);
        for slice in slices {
            meter.feed(slice);
        }
        meter.finish(BodyEnd::Clean)
    }

    fn read_whole(&self) -> Reading {
        self.read([self.body.as_slice()])
    }

    /// Whatever the slices, the reading is the same.
    fn assert_split_does_not_matter(&self) {
        let whole = self.read_whole();
        assert_eq!(self.read(self.body.chunks(1)), whole, "byte by byte");
        for cut in 0..=self.body.len() {
            let (head, tail) = self.body.split_at(cut);
            assert_eq!(self.read([head, tail]), whole, "split at {cut}");
        }
    }

    /// Cut after any byte, an answer is complete only if nothing is missing, and says nothing but
    /// what one cut between two events (or before a JSON body's end) may say.
    fn assert_cuts_do_no_harm(&self) {
        let whole = self.read_whole();
        let readings = self.read_each_prefix();
        let mut usages = vec![None, whole.usage.clone()];
        if self.format == AnswerFormat::EventStream {
            let ends = (0..=self.body.len()).filter(|end| self.body[..*end].ends_with(b"\n\n"));
            usages.extend(ends.map(|end| readings[end].usage.clone()));
        }
        for (length, reading) in readings.iter().enumerate() {
            assert!(
                usages.contains(&reading.usage),
                "cut at {length}: {reading:?}"
            );
            let id = &reading.generation_id;
            assert!(
                id.is_none() || *id == whole.generation_id,
                "cut at {length}: {reading:?}"
            );
            // Of an event that is itself an error, parts may be missing.
            if let Some(error) = &reading.upstream_error {
                let full = whole.upstream_error.clone().unwrap();
                assert!(
                    (error.code.is_none() || error.code == full.code)
                        && (error.message.is_empty() || error.message == full.message),
                    "cut at {length}: {reading:?}"
                );
            }
            if reading.complete {
                assert_eq!(reading, &whole, "cut at {length}");
            }
        }
        let missing = self.body.trim_ascii_end().len() - 1;
        if self.format == AnswerFormat::Json {
            assert!(!readings[missing].complete);
        }
    }

    fn read_each_prefix(&self) -> Vec<Reading> {
        let mut meter = Meter::new(self.format);
        let mut readings = vec![meter.clone().finish(BodyEnd::Cut)];
        for byte in self.body.chunks(1) {
            meter.feed(byte);
            readings.push(meter.clone().finish(BodyEnd::Cut));
        }
        readings
    }
}

fn is_stream(fixture: &str) -> bool {
    Path::new(fixture)
        .extension()
        .is_some_and(|extension| extension == "sse")
}

/// A reading on one line, without what is absent.
fn show(reading: &Reading) -> String {
    let usage = reading.usage.clone().unwrap_or_default();
    let number = |name: &str, value: Option<u64>| value.map(|value| format!("{name}={value}"));
    let money = |name: &str, value: Option<Usd>| value.map(|value| format!("{name}={value}"));
    let parts = [
        reading.generation_id.clone(),
        reading.model.clone(),
        number("in", usage.input_tokens),
        number("out", usage.output_tokens),
        number("cached", usage.cached_tokens),
        number("reasoning", usage.reasoning_tokens),
        money("cost", usage.cost),
        money("upstream", usage.upstream_inference_cost),
        usage.is_byok.map(|is_byok| format!("byok={is_byok}")),
        reading.upstream_error.as_ref().map(|error| {
            let code = error.code.as_deref().unwrap_or_default();
            format!("error={code} '{}'", error.message)
        }),
        Some(if reading.complete { "complete" } else { "cut" }.to_owned()),
    ];
    let line = parts.into_iter().flatten().collect::<Vec<_>>().join(" ");
    match reading.malformed {
        Some(malformed) => format!("{line}; {malformed}"),
        None => line,
    }
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

fn stream(body: &str) -> String {
    show(&Answer::new(AnswerFormat::EventStream, body).read_whole())
}

fn json(body: &str) -> String {
    show(&Answer::new(AnswerFormat::Json, body).read_whole())
}

#[test]
fn the_service_tier_is_read_wherever_a_dialect_names_it() {
    let json = |body: &str| Answer::new(AnswerFormat::Json, body).read_whole();
    let stream = |body: &str| Answer::new(AnswerFormat::EventStream, body).read_whole();
    for (reading, tier) in [
        (
            json(r#"{"id":"gen-1","service_tier":"priority","usage":{"cost":1}}"#),
            Some("priority"),
        ),
        (
            json(r#"{"id":"msg_1","usage":{"cost":1,"service_tier":"standard"}}"#),
            Some("standard"),
        ),
        // What was asked for, then what it ran on.
        (
            stream(
                "data: {\"type\":\"response.created\",\"response\":{\"service_tier\":\"auto\"}}\n\n\
                 data: {\"type\":\"response.completed\",\"response\":{\"service_tier\":\"flex\"}}\n\n",
            ),
            Some("flex"),
        ),
        (json(r#"{"id":"gen-1","service_tier":null}"#), None),
    ] {
        assert_eq!(reading.service_tier.as_deref(), tier);
        assert_eq!(reading.malformed, None);
    }
}

#[test]
fn reads_each_dialect() {
    for (name, expected) in FIXTURES {
        assert_eq!(
            show(&Answer::fixture(name).read_whole()),
            expected,
            "{name}"
        );
    }
}

#[test]
fn every_fixture_is_read() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/meter");
    assert_eq!(fs::read_dir(folder).unwrap().count(), FIXTURES.len());
}

#[test]
fn line_ends_do_not_matter() {
    for (name, expected) in FIXTURES.iter().filter(|(name, _)| is_stream(name)) {
        let body = String::from_utf8(Answer::fixture(name).body).unwrap();
        for end in ["\r\n", "\r"] {
            let answer = Answer::new(AnswerFormat::EventStream, body.replace('\n', end));
            assert_eq!(show(&answer.read_whole()), *expected, "{name} {end:?}");
            answer.assert_split_does_not_matter();
        }
    }
}

#[test]
fn splits_do_not_matter_and_cuts_do_no_harm() {
    for (name, _) in FIXTURES {
        let answer = Answer::fixture(name);
        answer.assert_split_does_not_matter();
        answer.assert_cuts_do_no_harm();
    }
}

#[test]
fn a_usage_counts_as_soon_as_it_is_whole() {
    let body = r#"data: {"id":"gen-1","usage":{"cost":0.12345}"#;
    assert_eq!(stream(body), "gen-1 cost=0.12345 cut");
    assert_eq!(stream(&body[..body.len() - 1]), "gen-1 cut");
    assert_eq!(json(&body[6..]), "gen-1 cost=0.12345 cut");
    assert_eq!(json(&body[6..body.len() - 1]), "gen-1 cut");
}

#[test]
fn the_end_is_seen_without_the_last_blank_line() {
    for end in ["", "\n", "\r\n"] {
        assert_eq!(stream(&format!("data: [DONE]{end}")), "complete");
        assert_eq!(
            stream(&format!("data: {{\"type\":\"message_stop\"}}{end}")),
            "complete"
        );
    }
    assert_eq!(stream("data: [DONE"), "cut");
    assert_eq!(stream("data: {\"type\":\"message_stop\""), "cut");
    assert_eq!(stream(": data: [DONE]\n\n"), "cut");
}

#[test]
fn the_generation_is_known_before_its_event_ends() {
    let mut meter = Meter::new(AnswerFormat::EventStream);
    meter.feed(b": OPENROUTER PROCESSING\n\ndata: {\"id\":\"gen-");
    assert_eq!(meter.generation_id(), None);
    meter.feed(b"7\",\"model\":");
    assert_eq!(meter.generation_id(), Some("gen-7"));
}

#[test]
fn only_messages_streams_merge_usages() {
    let first = r#"{"usage":{"prompt_tokens":1,"cost":1}}"#;
    let second = r#"{"usage":{"completion_tokens":2}}"#;
    assert_eq!(
        stream(&format!("data: {first}\n\ndata: {second}\n\n")),
        "out=2 cut"
    );
    let start = r#"{"message":{"usage":{"input_tokens":1,"output_tokens":1}}}"#;
    assert_eq!(
        stream(&format!("data: {start}\n\ndata: {second}\n\n")),
        "in=1 out=2 cut"
    );
}

#[test]
fn a_usage_that_cannot_be_read_does_not_leave_an_older_one_in_force() {
    let filler = "x".repeat(crate::metering::json_scan::CAPTURE_LIMIT);
    let body = format!(
        "data: {{\"usage\":{{\"cost\":1}}}}\n\ndata: {{\"usage\":{{\"cost\":2,\"x\":\"{filler}\"}}}}\n\n"
    );
    assert_eq!(stream(&body), "cut; usage is too long");
    assert_eq!(
        stream("data: {\"usage\":{\"cost\":1}}\n\ndata: {\"usage\":7}\n\n"),
        "cut; usage has a value that cannot be used"
    );
}

#[test]
fn an_event_beyond_the_limits_puts_an_older_usage_out_of_date() {
    let deep = "[".repeat(DEPTH_LIMIT + 1);
    let long = "x".repeat(CAPTURE_LIMIT);
    let first = r#"data: {"id":"gen-1","usage":{"cost":1}}"#;
    for second in [
        format!(r#"data: {{"usage":{{"cost":2,"note":"{long}"}}}}"#),
        format!(r#"data: {{"choices":{deep}"#),
        r#"data: {"choices":nonsense,"usage":{"cost":2}}"#.to_owned(),
    ] {
        let body = format!("{first}\n\n{second}\n\ndata: [DONE]\n\n");
        let answer = Answer::new(AnswerFormat::EventStream, body);
        for reading in [answer.read_whole(), answer.read(answer.body.chunks(1000))] {
            assert_eq!((reading.usage, reading.may_hide_cost), (None, true));
            assert_eq!(reading.generation_id.as_deref(), Some("gen-1"));
            assert!(reading.complete && reading.malformed.is_some());
        }
    }
    // Whatever else is large is passed over.
    let large = format!(r#"data: {{"choices":[{{"delta":{{"content":"{long}{long}"}}}}]}}"#);
    let body = format!("{first}\n\n{large}\n\ndata: [DONE]\n\n");
    let reading = Answer::new(AnswerFormat::EventStream, body).read_whole();
    assert_eq!(
        show(&reading),
        "gen-1 cost=1 complete",
        "{:?}",
        reading.malformed
    );
}

#[test]
fn errors_are_reported_in_every_shape() {
    for (body, expected) in [
        (r#"{"error":"plain"}"#, "error= 'plain' complete"),
        (r#"{"error":null,"id":"a"}"#, "a complete"),
        (
            r#"{"type":"error","error":{"type":"t","message":"m"}}"#,
            "error=t 'm' complete",
        ),
        (r#"{"type":"error"}"#, "error= '' complete"),
        (r#"{"message":"no error","code":7}"#, "complete"),
    ] {
        assert_eq!(json(body), expected, "{body}");
    }
    assert_eq!(
        stream("event: error\ndata: overloaded\n\n"),
        "error= '' cut; not JSON: a byte that JSON does not allow there"
    );
    let long = format!(
        r#"{{"error":{{"message":"m","raw":"{}"}}}}"#,
        "x".repeat(crate::metering::json_scan::CAPTURE_LIMIT)
    );
    assert_eq!(json(&long), "error= '' complete; error is too long");
}

#[test]
fn what_is_not_json_is_told_from_what_is_cut() {
    assert_eq!(
        json("<html>"),
        "cut; not JSON: a byte that JSON does not allow there"
    );
    assert_eq!(json(""), "cut");
    assert_eq!(
        json("{} {}"),
        "cut; not JSON: a byte that JSON does not allow there"
    );
    assert_eq!(json("[1, 2]"), "complete");
    assert_eq!(
        stream("data: {\"id\":\"a\"\n\ndata: [DONE]\n\n"),
        "a complete; an event's JSON is not whole"
    );
    let deep = Answer::new(AnswerFormat::Json, "[".repeat(5_000)).read_whole();
    assert_eq!(deep.malformed, Some(Malformed::Json(Fault::TooDeep)));
}

#[test]
fn an_opaque_answer_is_as_complete_as_its_transport_says() {
    for (end, complete) in [(BodyEnd::Clean, true), (BodyEnd::Cut, false)] {
        let mut meter = Meter::new(AnswerFormat::Opaque);
        meter.feed(br#"{"id":"a","usage":{"cost":1}}"#);
        let reading = meter.finish(end);
        assert_eq!(show(&reading), if complete { "complete" } else { "cut" });
    }
}

#[test]
fn the_content_type_names_the_format() {
    for (content_type, format) in [
        (Some("text/event-stream"), AnswerFormat::EventStream),
        (
            Some("Text/Event-Stream ; charset=utf-8"),
            AnswerFormat::EventStream,
        ),
        (Some("application/json; charset=utf-8"), AnswerFormat::Json),
        (Some("application/problem+json"), AnswerFormat::Json),
        (Some("audio/mpeg"), AnswerFormat::Opaque),
        (Some("text/plain; a=application/json"), AnswerFormat::Opaque),
        (None, AnswerFormat::Opaque),
    ] {
        assert_eq!(AnswerFormat::of(content_type), format, "{content_type:?}");
    }
}

proptest! {
    #[test]
    fn random_splits_do_not_matter(which in any::<Index>(), cuts in vec(any::<Index>(), 0..40)) {
        let (name, expected) = FIXTURES[which.index(FIXTURES.len())];
        let answer = Answer::fixture(name);
        prop_assert_eq!(show(&answer.read(split(&answer.body, &cuts))), expected);
    }

    #[test]
    fn no_bytes_make_it_panic(
        bytes in vec(any::<u8>(), 0..200),
        as_stream in any::<bool>(),
        which in any::<Index>(),
        place in any::<Index>(),
    ) {
        let mut answer = Answer::fixture(FIXTURES[which.index(FIXTURES.len())].0);
        if as_stream {
            answer.format = AnswerFormat::EventStream;
        }
        let place = place.index(answer.body.len());
        answer.body.splice(place..place, bytes);
        prop_assert_eq!(answer.read(answer.body.chunks(1)), answer.read_whole());
    }
}

/// An exchange recorded from the real service.
#[derive(Deserialize)]
struct Recording {
    response: RecordedResponse,
    expected: Expected,
}

#[derive(Deserialize)]
struct RecordedResponse {
    headers: std::collections::HashMap<String, String>,
    body: String,
}

#[derive(Deserialize, Debug, PartialEq)]
struct Expected {
    model: Option<String>,
    error: bool,
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cost: Option<Usd>,
    is_byok: Option<bool>,
    upstream_inference_cost: Option<Usd>,
}

impl From<Reading> for Expected {
    fn from(reading: Reading) -> Self {
        let usage = reading.usage.unwrap_or_default();
        Self {
            model: reading.model,
            error: reading.upstream_error.is_some(),
            input_tokens: usage.input_tokens,
            output_tokens: usage.output_tokens,
            cost: usage.cost,
            is_byok: usage.is_byok,
            upstream_inference_cost: usage.upstream_inference_cost,
        }
    }
}

fn recordings() -> Vec<(String, Answer, Expected)> {
    #[expect(clippy::disallowed_methods, reason = "says where the recordings are")]
    let folder = std::env::var("OPENROUTER_RECORDINGS").unwrap();
    let recordings: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "json")
        })
        .map(|path| {
            let Recording { response, expected } =
                serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            let content_type = response.headers.get("content-type");
            let format = AnswerFormat::of(content_type.map(String::as_str));
            let name = path.display().to_string();
            (name, Answer::new(format, response.body), expected)
        })
        .collect();
    assert!(!recordings.is_empty());
    recordings
}

#[test]
#[ignore = "needs OPENROUTER_RECORDINGS"]
fn recordings_come_out_as_expected() {
    for (name, answer, expected) in recordings() {
        let reading = answer.read_whole();
        assert!(reading.complete, "{name}");
        assert_eq!(reading.malformed, None, "{name}");
        assert_eq!(Expected::from(reading), expected, "{name}");
    }
}

#[test]
#[ignore = "needs OPENROUTER_RECORDINGS"]
fn recordings_may_be_split_and_cut_anywhere() {
    for (_, answer, _) in recordings() {
        answer.assert_split_does_not_matter();
        answer.assert_cuts_do_no_harm();
    }
}

#[test]
#[ignore = "needs OPENROUTER_RECORDINGS"]
fn recordings_may_be_split_at_random() {
    for (name, answer, _) in recordings() {
        let whole = answer.read_whole();
        proptest!(|(cuts in vec(any::<Index>(), 0..60))| {
            prop_assert_eq!(&answer.read(split(&answer.body, &cuts)), &whole, "{}", &name);
        });
    }
}
