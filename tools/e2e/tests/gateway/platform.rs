//! Requests and answers that the platform ends: the user's answer, and the books.
//! `docs/operate/platform-limits.md` has it as a table.

use std::{
    fs,
    time::{Duration, Instant},
};

use e2e::{
    chaos_proxy::{ChaosProxy, Fault, OneCall},
    lambda::{Answer, End, Lambda},
    user::User,
    world::{CHAT, World, chat_body, with_world},
};
use futures_util::future::join_all;
use http::Method;
use serde_json::{Value, json};
use shared::request::MAX_BODY;
use stack::lambda::{Bandwidth, Failure, Limits};
use stub::{
    long::{Form, Long},
    scripted::{CUT_COST_PLAIN, json_bytes},
};
use tokio::time::sleep;

use crate::{
    reconciliation::{books, run},
    told::Told,
};

const MIB: usize = 1024 * 1024;
/// More than any of these answers takes.
const LONG: Duration = Duration::from_mins(2);

/// Limits that bind an answer's speed alone.
fn at_most(burst: u64, rate: u64) -> Limits {
    Limits {
        bandwidth: Some(Bandwidth { burst, rate }),
        ..Limits::NONE
    }
}

fn long(form: Form, id: &str, filling: usize) -> Long {
    Long {
        form,
        id: id.to_owned(),
        filling,
    }
}

/// Asks for it.
fn ask(lambda: &Lambda, user: &User<'_>, long: &Long, time: Duration) -> Answer {
    let path = match long.form {
        Form::Speech => "/api/v1/openrouter/audio/speech",
        Form::Messages => "/api/v1/openrouter/messages",
        Form::Json | Form::Chat => CHAT,
    };
    let body = json!({
        "model": format!("stub/long-{}", long.filling),
        "stream": matches!(long.form, Form::Chat | Form::Messages),
        "user": long.id,
    });
    let body = body.to_string();
    let event = user.event(&Method::POST, path, body.as_bytes());
    lambda.invoke(event.unwrap(), time)
}

/// An answer to a chat completion.
async fn chat(lambda: &Lambda, user: &User<'_>, model: &str, id: &str, time: Duration) -> Answer {
    let body = chat_body(model, false, id);
    let event = user.event(&Method::POST, CHAT, &body).unwrap();
    let mut answer = lambda.invoke(event, time);
    assert_eq!(answer.end().await.unwrap(), End::Clean, "{model}");
    answer
}

/// Runs reconciliation, after which the books must say what OpenRouter has billed.
async fn settled(world: &World, user: &User<'_>, verdict: &str, reason: &str) {
    user.rows().await.unwrap();
    run(world, "reconcile", user).await;
    assert_eq!(
        books(world, user),
        format!("{verdict}|final|{CUT_COST_PLAIN}|11|21|{reason}||{CUT_COST_PLAIN}|0")
    );
}

/// The environment is as good as before.
async fn goes_on(lambda: &Lambda, world: &World) {
    let user = world.user().unwrap();
    let answer = chat(lambda, &user, "stub/ok", "gen-next", LONG).await;
    assert_eq!(answer.body, json_bytes("gen-next"));
    assert_eq!(lambda.environments(), 1, "it was killed");
    assert!(lambda.violations().is_empty(), "{:?}", lambda.violations());
}

/// The most memory that the environment's process ever had.
fn peak(lambda: &Lambda) -> usize {
    let status = format!(
        "/proc/{}/status",
        lambda.process().unwrap().as_raw_nonzero()
    );
    let status = fs::read_to_string(status).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = peak.unwrap().trim().trim_end_matches(" kB");
    kilobytes.parse::<usize>().unwrap() * 1024
}

#[test]
fn an_answer_that_is_too_long_ends_there_and_is_booked_to_its_end() {
    with_world(async |world| {
        let limits = Limits {
            answer: 3 * MIB as u64,
            ..Limits::NONE
        };
        // The books before reconciliation: speech does not tell its cost.
        let whole = format!("completed|final|{CUT_COST_PLAIN}|11|21|||{CUT_COST_PLAIN}|0");
        let silent = "completed|pending||||||0|0".to_owned();
        join_all(
            [
                (Form::Chat, &whole),
                (Form::Messages, &whole),
                (Form::Json, &whole),
                (Form::Speech, &silent),
            ]
            .map(async |(form, booked)| {
                let lambda = world.lambda(limits, &[]).unwrap();
                let user = world.user().unwrap();
                let long = long(form, &format!("gen-cap-{form:?}"), 6 * MIB);
                let mut answer = ask(&lambda, &user, &long, LONG);
                let end = answer.end().await.unwrap();

                assert_eq!(end, End::Failed(Failure::AnswerTooLarge), "{form:?}");
                assert_eq!(answer.status.unwrap(), 200, "{form:?}");
                // But for its head, that is what passes, and none of it is the gateway's own.
                let room = 3 * MIB - answer.body.len();
                assert!((1..2_000).contains(&room), "{form:?}: {room}");
                assert!(long.starts_with(&answer.body), "{form:?}");

                user.rows().await.unwrap();
                assert_eq!(&books(world, &user), booked, "{form:?}");
                assert_eq!(world.upstream.taken(&long.id), long.length() as u64);
                settled(world, &user, "completed", "").await;
                goes_on(&lambda, world).await;
            }),
        )
        .await;
    });
}

#[test]
fn the_rest_of_an_answer_that_is_too_long_is_not_read_for_nobody() {
    with_world(async |world| {
        let limits = Limits {
            answer: 3 * MIB as u64,
            ..Limits::NONE
        };
        let lambda = world.lambda(limits, &[]).unwrap();
        let user = world.user().unwrap();
        // It costs nothing, so the books do not need its end.
        let path = "/models/stub/long-104857600";
        let event = user.event(&Method::GET, &format!("/api/v1/openrouter{path}"), b"");
        let mut answer = lambda.invoke(event.unwrap(), LONG);
        let end = answer.end().await.unwrap();
        assert_eq!(end, End::Failed(Failure::AnswerTooLarge));
        goes_on(&lambda, world).await;
        let taken = world.upstream.taken(&format!("/api/v1{path}"));
        assert!(taken < 50 * MIB as u64, "{taken}");
        assert!(user.rows().await.unwrap().is_empty());
    });
}

#[test]
fn a_platform_that_reads_slowly_slows_openrouter_and_nothing_else() {
    with_world(async |world| {
        // While it does not read, OpenRouter is silent for longer than it may be.
        let idle = [("UPSTREAM_IDLE_TIMEOUT_MS", "400")];
        let mib = MIB as u64;
        let lambda = world.lambda(at_most(2 * mib, 16 * mib), &idle).unwrap();
        goes_on(&lambda, world).await;
        let before = peak(&lambda);

        let user = world.user().unwrap();
        let long = long(Form::Chat, "gen-slow", 48 * MIB);
        let mut answer = ask(&lambda, &user, &long, LONG);
        assert_eq!(answer.read(4 * MIB).await.unwrap(), End::NotYet);
        sleep(Duration::from_millis(1500)).await;
        let taken = world.upstream.taken(&long.id);
        sleep(Duration::from_secs(1)).await;
        assert_eq!(world.upstream.taken(&long.id), taken, "it is read on");
        assert!(taken < long.length() as u64, "all of it waits somewhere");

        assert_eq!(answer.end().await.unwrap(), End::Clean);
        assert_eq!(answer.body.len(), long.length());
        assert!(long.starts_with(&answer.body));
        let grown = peak(&lambda) - before;
        assert!(grown < 4 * MIB, "{grown} bytes more");
        settled(world, &user, "completed", "").await;
    });
}

#[test]
fn the_deadline_ends_an_answer_that_is_still_coming() {
    with_world(async |world| {
        let mib = MIB as u64;
        join_all([Form::Chat, Form::Speech].map(async |form| {
            let lambda = world.lambda(at_most(2 * mib, 8 * mib), &[]).unwrap();
            let user = world.user().unwrap();
            let long = long(form, &format!("gen-deadline-{form:?}"), 200 * MIB);
            let begun = Instant::now();
            let mut answer = ask(&lambda, &user, &long, Duration::from_secs(5));
            let end = answer.end().await.unwrap();

            assert!(begun.elapsed() > Duration::from_secs(2), "{form:?}");
            let sent = if form == Form::Chat {
                assert_eq!(end, End::Clean, "the platform had to end it");
                let text = String::from_utf8_lossy(&answer.body);
                let (_, event) = text.rsplit_once("data: ").unwrap();
                let event: Value = serde_json::from_str(event).unwrap();
                assert_eq!(event["error"]["metadata"]["reason"], "deadline_reached");
                let (sent, _) = text.split_once("\n\ndata: {\"choices\":[],").unwrap();
                sent.to_owned().into_bytes()
            } else {
                // An answer that is not text has no place for an error, so Lambda is told.
                let error = json!({
                    "errorType": "Function.deadline_reached",
                    "errorMessage": "the answer broke off",
                });
                assert_eq!(end, End::Failed(Failure::Reported(error)));
                answer.body
            };
            assert!(long.starts_with(&sent), "{form:?}");
            user.rows().await.unwrap();
            let failed = "failed|pending||||deadline_reached||0|0";
            assert_eq!(books(world, &user), failed, "{form:?}");
            settled(world, &user, "failed", "deadline_reached").await;
            goes_on(&lambda, world).await;
        }))
        .await;
    });
}

#[test]
fn the_books_are_closed_before_the_platform_kills_who_cannot_finish() {
    with_world(async |world| {
        // The bytes between the gateway and its client take longer than the time that is left.
        let lambda = world.lambda(at_most(100_000, 100_000), &[]).unwrap();
        let user = world.user().unwrap();
        let long = long(Form::Messages, "gen-killed", 60 * MIB);
        let mut answer = ask(&lambda, &user, &long, Duration::from_secs(5));
        let end = answer.end().await.unwrap();
        assert_eq!(end, End::Failed(Failure::TimedOut));
        assert!(long.starts_with(&answer.body));
        // The tokens that the stream's beginning tells.
        let failed = "failed|pending||11|1|deadline_reached||0|0";
        assert_eq!(books(world, &user), failed);
        settled(world, &user, "failed", "deadline_reached").await;
    });
}

#[test]
fn the_deadline_before_the_first_byte_is_a_504() {
    with_world(async |world| {
        let lambda = world.lambda(Limits::LAMBDA, &[]).unwrap();
        // The second has named its generation.
        for model in ["stub/silent", "stub/head-silent"] {
            let user = world.user().unwrap();
            let begun = Instant::now();
            let time = Duration::from_secs(4);
            let answer = chat(&lambda, &user, model, "gen-no-byte", time).await;
            assert!(begun.elapsed() < time, "{model}");
            let reason = answer.reason().unwrap();
            assert_eq!(
                (answer.status.unwrap().as_u16(), reason.as_str()),
                (504, "upstream_timeout"),
                "{model}"
            );
            assert!(!answer.headers.contains_key("x-gateway-upstream"));
            user.rows().await.unwrap();
            let failed = "failed|pending||||upstream_timeout||0|0";
            assert_eq!(books(world, &user), failed, "{model}");
            if model == "stub/head-silent" {
                settled(world, &user, "failed", "upstream_timeout").await;
            }
        }
        goes_on(&lambda, world).await;
    });
}

#[test]
fn an_event_that_is_too_long_reaches_nobody() {
    with_world(async |world| {
        let lambda = world.lambda(Limits::LAMBDA, &[]).unwrap();
        let user = world.user().unwrap();
        let event = |length| {
            let path = "/api/v1/openrouter/echo";
            let body = vec![b'x'; length];
            user.event(&Method::POST, path, &body).unwrap()
        };
        let longest = usize::try_from(Limits::LAMBDA.event).unwrap();
        // Three bytes are four in base64.
        let around = event(3).1.len() - 4;
        let fits = (longest - around) / 4 * 3;
        assert!((4_700_000..4_720_000).contains(&fits), "{fits}");

        let mut answer = lambda.invoke(event(fits), LONG);
        assert_eq!(answer.end().await.unwrap(), End::Clean);
        assert_eq!(
            (answer.status.unwrap().as_u16(), answer.body.len()),
            (200, fits)
        );
        assert_eq!(user.rows().await.unwrap().len(), 1);

        let mut answer = lambda.invoke(event(fits + 1), LONG);
        let refused = End::Failed(Failure::EventTooLarge);
        assert_eq!(answer.end().await.unwrap(), refused);
        assert_eq!(user.rows().await.unwrap().len(), 1);
    });
}

#[test]
fn a_body_beyond_lambdas_limit_is_refused_wherever_it_comes_in() {
    with_world(async |world| {
        // As a server that is no Lambda might let it in.
        let lambda = world.lambda(Limits::NONE, &[]).unwrap();
        for (length, refused) in [(MAX_BODY, false), (MAX_BODY + 1, true)] {
            let user = world.user().unwrap();
            let path = "/api/v1/openrouter/echo";
            let event = user.event(&Method::POST, path, &vec![b'x'; length]);
            let mut answer = lambda.invoke(event.unwrap(), LONG);
            assert_eq!(answer.end().await.unwrap(), End::Clean);
            let rows = user.rows().await.unwrap().len();
            if refused {
                let body: Value = serde_json::from_slice(&answer.body).unwrap();
                assert_eq!(answer.status.unwrap(), 413);
                assert_eq!(
                    body["error"]["metadata"],
                    json!({"reason": "body_too_large", "max_bytes": MAX_BODY})
                );
                assert_eq!(rows, 0);
            } else {
                assert_eq!((answer.body.len(), rows), (length, 1));
            }
        }
    });
}

#[test]
fn the_time_to_the_first_byte_counts_from_the_request() {
    with_world(async |world| {
        let policy = OneCall {
            function: "begin_request",
            fault: Fault::DelayResponse(Duration::from_millis(1500)),
        };
        let storage = ChaosProxy::start(&world.storage_url(), policy)
            .await
            .unwrap();
        let url = storage.url();
        let changes = [
            ("SUPABASE_URL", url.as_str()),
            ("UPSTREAM_FIRST_BYTE_TIMEOUT_MS", "2000"),
        ];
        let lambda = world.lambda(Limits::LAMBDA, &changes).unwrap();
        let user = world.user().unwrap();
        let begun = Instant::now();
        let answer = chat(&lambda, &user, "stub/silent", "gen-late", LONG).await;
        assert_eq!(answer.status.unwrap(), 504);
        assert!(
            begun.elapsed() < Duration::from_secs(3),
            "{:?}",
            begun.elapsed()
        );
    });
}

#[test]
fn usage_says_that_the_database_is_slow_before_api_gateway_gives_up() {
    with_world(async |world| {
        let policy = OneCall {
            function: "usage_report",
            fault: Fault::Hold,
        };
        let storage = ChaosProxy::start(&world.storage_url(), policy)
            .await
            .unwrap();
        let deployed = world
            .deploy(&["usage"], &[("SUPABASE_URL", storage.url())])
            .unwrap();
        let user = world.user().unwrap();
        let path = "/api/v1/usage";
        let begun = Instant::now();
        let request = user.request_at(&deployed.url("usage", path), Method::GET, path, Vec::new());
        let answer = request.unwrap().send().await.unwrap();
        assert!(begun.elapsed() < Duration::from_secs(15));
        assert_eq!(answer.status(), 503);
        assert!(answer.headers().contains_key("retry-after"));
        let body = answer.json_value().await;
        assert_eq!(body["error"]["metadata"]["reason"], "storage_unavailable");
    });
}
