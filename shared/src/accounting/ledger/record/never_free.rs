//! Answers that cost something without saying so, or say so in a form that cannot be read: none is
//! free.

use super::*;
use crate::metering::meter::{AnswerFormat, BodyEnd, Meter};
use CostState::{Final, None as Free, Pending};
use Ending::{Complete, Cut};
use Endpoint::{ChatCompletions, Messages, Other, Responses};

const STREAM: AnswerFormat = AnswerFormat::EventStream;
const BODY: AnswerFormat = AnswerFormat::Json;

/// The error's reason, the state of the cost, and the charge.
type Books = (Option<&'static str>, CostState, Option<String>);

fn books(
    endpoint: Endpoint,
    http_status: u16,
    ending: Ending,
    format: AnswerFormat,
    body: &str,
) -> Books {
    let mut meter = Meter::new(format);
    meter.feed(body.as_bytes());
    let end = match ending {
        Complete => BodyEnd::Clean,
        _ => BodyEnd::Cut,
    };
    written(Record::of(
        endpoint,
        Outcome::Answered {
            http_status,
            ending,
            reading: meter.finish(end),
            generation_id: None,
            cache_hit: false,
            first_byte: Duration::ZERO,
        },
    ))
}

fn written(record: Record) -> Books {
    let state = record.cost_state.unwrap_or(Free);
    (record.failure.map(|failure| failure.0), state, record.cost)
}

#[test]
fn an_error_after_a_usage_is_not_free() {
    let late = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":9}}\n\n\
                data: {\"error\":{\"code\":502,\"message\":\"boom\"}}\n\n";
    for (status, format, body) in [
        (200, STREAM, late.to_owned()),
        (200, STREAM, late.replace('9', "0")),
        (200, STREAM, format!("{late}data: [DONE]\n\n")),
    ]
    .into_iter()
    .chain(
        [200, 202, 400, 429, 500, 502]
            .into_iter()
            .flat_map(|status| {
                [
                    r#""prompt_tokens":9"#,
                    r#""prompt_tokens":9,"cost":null"#,
                    r#""cost":0,"is_byok":true"#,
                    r#""cost":"free""#,
                ]
                .map(|usage| {
                    let body =
                        format!(r#"{{"error":{{"code":502,"message":"m"}},"usage":{{{usage}}}}}"#);
                    (status, BODY, body)
                })
            }),
    ) {
        for endpoint in [ChatCompletions, Responses, Messages, Other] {
            let (reason, state, _) = books(endpoint, status, Complete, format, &body);
            assert!(reason.is_some(), "{body}");
            assert_eq!(state, Pending, "{endpoint:?} {status} {body}");
        }
    }
    // A final cost is final.
    for (status, usage, state) in [
        (200, r#"{"cost":0}"#, Final),
        (500, r#"{"cost":0.5,"is_byok":false}"#, Final),
        (200, "null", Free),
        (500, "null", Free),
    ] {
        let body = format!(r#"{{"error":{{"code":502}},"usage":{usage}}}"#);
        assert_eq!(
            books(ChatCompletions, status, Complete, BODY, &body).1,
            state,
            "{body}"
        );
    }
}

#[test]
fn an_error_event_after_content_is_not_free() {
    let chat = r#"data: {"choices":[{"delta":{"content":"Hel"}}]}"#;
    let messages = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"text\":\"Hel\"}}";
    let responses = r#"data: {"type":"response.output_text.delta","delta":"Hel"}"#;
    let comment = ": OPENROUTER PROCESSING\n\n";
    for (endpoint, content, error) in [
        (
            ChatCompletions,
            chat,
            r#"data: {"error":{"code":502,"message":"boom"},"choices":[]}"#,
        ),
        (
            ChatCompletions,
            chat,
            r#"data: {"choices":[{"error":{"code":502}}]}"#,
        ),
        (
            Messages,
            messages,
            "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\"}}",
        ),
        (Messages, messages, "event: error\ndata: overloaded"),
        (
            Responses,
            responses,
            r#"data: {"type":"error","code":"server_error","message":"boom"}"#,
        ),
        (
            Responses,
            responses,
            r#"data: {"type":"response.failed","response":{"error":{"code":"x"}}}"#,
        ),
        (Other, chat, r#"data: {"error":"boom"}"#),
    ] {
        for ending in [Complete, Cut] {
            for after in ["", "\n\n", "\n\ndata: [DONE]\n\n"] {
                let body = format!("{comment}{content}\n\n{comment}{error}{after}");
                let (reason, state, _) = books(endpoint, 200, ending, STREAM, &body);
                assert_eq!((reason, state), (Some("upstream_error"), Pending), "{body}");
                // Content that follows the error was delivered, too.
                let body = format!("{comment}{error}\n\n{content}{after}");
                let (_, state, _) = books(endpoint, 200, ending, STREAM, &body);
                assert_eq!(state, Pending, "{body}");
            }
        }
    }
    for (endpoint, error) in [
        (
            ChatCompletions,
            "data: {\"error\":{\"code\":429,\"message\":\"slow\"}}\n\n",
        ),
        (
            Messages,
            "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"}}\n\n",
        ),
        (
            Responses,
            "data: {\"type\":\"error\",\"code\":\"x\"}\n\ndata: {\"type\":\"response.failed\",\"response\":{\"error\":{\"code\":\"x\"}}}\n\n",
        ),
    ] {
        for before in ["", comment, &comment.repeat(3)] {
            for after in ["", ": bye\n\n", "data: [DONE]\n\n"] {
                for ending in [Complete, Cut] {
                    let body = format!("{before}{error}{after}");
                    let (reason, state, _) = books(endpoint, 200, ending, STREAM, &body);
                    assert_eq!((reason, state), (Some("upstream_error"), Free), "{body}");
                }
            }
        }
    }
    // A choice exists only where a generation was begun.
    let body = r#"{"choices":[{"message":{"content":"Hel"},"error":{"code":502}}]}"#;
    assert_eq!(books(ChatCompletions, 200, Complete, BODY, body).1, Pending);
}

#[test]
fn a_charge_with_an_unreadable_part_is_not_final() {
    let provider = r#""cost_details":{"upstream_inference_cost":0.1}"#;
    for is_byok in [
        r#""true""#,
        "1",
        r#""yes""#,
        "{}",
        "[]",
        "0",
        r#""""#,
        r#""false""#,
    ] {
        for usage in [
            format!(r#""cost":0,"is_byok":{is_byok},{provider}"#),
            format!(r#""is_byok":{is_byok},{provider},"cost":0.5"#),
            format!(r#""cost":0,"is_byok":{is_byok}"#),
            format!(r#""cost":0,"is_byok":{is_byok},"is_byok":null"#),
        ] {
            let body = format!(r#"{{"id":"gen-1","usage":{{{usage}}}}}"#);
            assert_eq!(
                books(ChatCompletions, 200, Complete, BODY, &body).1,
                Pending,
                "{body}"
            );
            let body = format!("data: {body}\n\ndata: [DONE]\n\n");
            assert_eq!(
                books(ChatCompletions, 200, Complete, STREAM, &body).1,
                Pending,
                "{body}"
            );
            let body = format!(
                "data: {{\"type\":\"message_start\",\"message\":{{\"usage\":{{\"input_tokens\":1}}}}}}\n\n\
                 data: {{\"type\":\"message_delta\",\"usage\":{{{usage}}}}}\n\n\
                 data: {{\"type\":\"message_stop\"}}\n\n"
            );
            assert_eq!(
                books(Messages, 200, Complete, STREAM, &body).1,
                Pending,
                "{body}"
            );
        }
    }
    for usage in [
        // The provider's charge may be the whole of it.
        r#""cost":0,"cost_details":{"upstream_inference_cost":"dear"}"#,
        r#""cost":0,"cost_details":{"upstream_inference_cost":0.1}"#,
        r#""cost":0,"cost_details":"dear""#,
        r#""cost":0,"is_byok":true,"cost_details":{"upstream_inference_cost":null}"#,
        r#""cost":1,"cost":"free""#,
        r#""cost":"free","cost":null"#,
    ] {
        let body = format!(r#"{{"id":"gen-1","usage":{{{usage}}}}}"#);
        assert_eq!(
            books(ChatCompletions, 200, Complete, BODY, &body).1,
            Pending,
            "{body}"
        );
    }
    for (usage, charge) in [
        (
            r#""cost":0,"is_byok":false,"cost_details":{"upstream_inference_cost":0.1}"#,
            "0",
        ),
        (
            r#""cost":0.5,"is_byok":false,"cost_details":{"upstream_inference_cost":{}}"#,
            "0.5",
        ),
        (r#""cost":0,"is_byok":null,"cost_details":null"#, "0"),
        (
            r#""cost":0,"cost_details":{"upstream_inference_cost":0}"#,
            "0",
        ),
    ] {
        let body = format!(r#"{{"id":"gen-1","usage":{{{usage}}}}}"#);
        let (_, state, cost) = books(ChatCompletions, 200, Complete, BODY, &body);
        assert_eq!((state, cost.as_deref()), (Final, Some(charge)), "{body}");
    }
}

#[test]
fn a_choice_that_ended_with_an_error_fails() {
    let choice = r#"{"index":0,"message":{"content":"Hel"},"finish_reason":"error"}"#;
    let body = format!(r#"{{"id":"gen-1","choices":[{choice}],"usage":{{"cost":0.5}}}}"#);
    let expected = (Some("upstream_error"), Final, Some("0.5".to_owned()));
    assert_eq!(books(ChatCompletions, 200, Complete, BODY, &body), expected);
    let stream = format!("data: {body}\n\ndata: [DONE]\n\n");
    assert_eq!(
        books(ChatCompletions, 200, Complete, STREAM, &stream),
        expected
    );
    let apart = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"error\"}]}\n\n\
                 data: {\"choices\":[],\"usage\":{\"cost\":0.5}}\n\ndata: [DONE]\n\n";
    assert_eq!(
        books(ChatCompletions, 200, Complete, STREAM, apart),
        expected
    );
    // Without a cost it is not free, named or not.
    let body = format!(r#"{{"choices":[{choice}]}}"#);
    let expected = (Some("upstream_error"), Pending, None);
    assert_eq!(books(ChatCompletions, 200, Complete, BODY, &body), expected);
    for (choices, reason) in [
        ("null", None),
        ("[]", None),
        (r#"[{"finish_reason":"stop"}]"#, None),
        (
            r#"[{"finish_reason":"length","native_finish_reason":"error"}]"#,
            None,
        ),
        (r#"[{"finish_reason":null}]"#, None),
        (
            r#"[null,{"finish_reason":"error"}]"#,
            Some("upstream_error"),
        ),
    ] {
        let body = format!(r#"{{"id":"gen-1","choices":{choices},"usage":{{"cost":0}}}}"#);
        let (got, state, _) = books(ChatCompletions, 200, Complete, BODY, &body);
        assert_eq!((got, state), (reason, Final), "{body}");
    }
}

#[test]
fn a_timeout_behind_the_generation_is_not_free() {
    let named = r#"{"id":"gen-1","error":{"code":408,"message":"Request timed out"}}"#;
    let unnamed = r#"{"error":{"code":408,"message":"Request timed out"}}"#;
    for (status, body, state) in [
        (408, named, Pending),
        (499, named, Pending),
        (504, named, Pending),
        (524, named, Pending),
        (408, unnamed, Free),
        (499, unnamed, Free),
        (504, unnamed, Pending),
        (524, unnamed, Pending),
        (400, named, Free),
        (429, named, Free),
    ] {
        let (reason, got, _) = books(ChatCompletions, status, Complete, BODY, body);
        assert_eq!(
            (reason, got),
            (Some("upstream_status"), state),
            "{status} {body}"
        );
    }
}
