//! The client against a scripted server: headers, retries, timeouts and the reading of errors.
//! The database's own part is tested in `tests/storage_contract/`.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use jiff::Timestamp;
use uuid::Uuid;

use super::*;

const KEY: &str = "sb_secret_planted";
const BEGUN: &str = r#"{"id":"x","did":"did:key:z","sealed_key":"v1.sealed","key_name":"mine"}"#;

/// The server's behaviour on one connection.
#[derive(Clone, Copy)]
enum Act {
    Answer(u16, &'static str),
    Drop,
    Hang,
}

/// Plays the acts, one connection each, and keeps the requests it saw.
struct Script {
    url: Url,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Script {
    fn play(acts: &'static [Act]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/rest/v1", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let record = Arc::clone(&seen);
        thread::spawn(move || {
            let mut hanging = Vec::new();
            for act in acts {
                let (mut stream, _) = listener.accept().unwrap();
                record.lock().unwrap().push(read_request(&mut stream));
                match act {
                    Act::Answer(status, body) => write!(
                        stream,
                        "HTTP/1.1 {status} x\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                        body.len()
                    )
                    .unwrap(),
                    Act::Drop => {}
                    Act::Hang => hanging.push(stream),
                }
            }
            thread::sleep(Duration::from_secs(5));
        });
        Self {
            url: url.parse().unwrap(),
            seen,
        }
    }

    /// A client that waits longer for an answer than any machine is busy.
    fn storage(&self) -> Storage {
        Storage::new(client(), &self.url, StorageKey::parse(KEY).unwrap())
            .with_attempt_timeout(Duration::from_mins(1))
    }

    /// One that loses patience with a server that hangs.
    fn impatient_storage(&self) -> Storage {
        self.storage().with_attempt_timeout(Duration::from_secs(2))
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

fn read_request(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
        bytes.extend(byte);
    }
    let head = String::from_utf8(bytes).unwrap().to_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |text| text.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    head + &String::from_utf8(body).unwrap()
}

fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

fn begin() -> Begin<'static> {
    Begin {
        id: Uuid::nil(),
        sender: BeginSender::Signed {
            did: "did:key:z",
            fingerprint: None,
            requires_approval: false,
        },
        request_time: Timestamp::UNIX_EPOCH,
        requests_per_minute: None,
        is_counted: true,
        requires_own_key: false,
        books: None,
    }
}

fn finish() -> Finish<'static> {
    Finish::failed(Uuid::nil(), Timestamp::UNIX_EPOCH)
}

fn within(time: Duration) -> Instant {
    Instant::now() + time
}

/// A deadline that nothing here reaches.
fn soon() -> Instant {
    within(Duration::from_mins(1))
}

async fn begin_against(acts: &'static [Act]) -> (Result<Begun, StorageError>, usize) {
    let script = Script::play(acts);
    let answer = script.storage().begin(&begin(), soon()).await;
    (answer, script.seen().len())
}

#[tokio::test]
async fn a_call_is_one_post_with_our_headers() {
    let script = Script::play(&[Act::Answer(200, BEGUN)]);
    let begun = script.storage().begin(&begin(), soon()).await.unwrap();
    assert_eq!(begun.sealed_key, "v1.sealed");

    let seen = script.seen();
    let [request] = seen.as_slice() else {
        panic!("{} requests", seen.len())
    };
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("post /rest/v1/rpc/begin_request http/1.1\r\n"));
    for line in [
        "apikey: sb_secret_planted",
        "content-type: application/json",
        "accept: application/json",
        concat!("user-agent: llm-gateway/", env!("CARGO_PKG_VERSION")),
    ] {
        assert!(head.lines().any(|l| l == line), "{line} is not in {head}");
    }
    assert!(!head.contains("authorization"));
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["request"]["did"], "did:key:z");
}

#[tokio::test]
async fn what_passes_by_itself_is_tried_again() {
    let acts = &[Act::Drop, Act::Answer(503, "{}"), Act::Answer(200, BEGUN)];
    let (answer, attempts) = begin_against(acts).await;
    assert!(answer.is_ok());
    assert_eq!(attempts, 3);

    let script = Script::play(&[Act::Hang, Act::Answer(200, BEGUN)]);
    let answer = script.impatient_storage().begin(&begin(), soon()).await;
    assert!(answer.is_ok());
    assert_eq!(script.seen().len(), 2);
}

#[tokio::test]
async fn begin_gives_up_after_three_attempts() {
    let (answer, attempts) = begin_against(&[Act::Answer(502, "<html>"); 5]).await;
    assert!(matches!(
        answer,
        Err(StorageError::Unavailable(Unavailable::Status { status, code: None })) if status == 502
    ));
    assert_eq!(attempts, 3);
}

#[tokio::test]
async fn begin_gives_up_in_time() {
    let script = Script::play(&[Act::Hang; 3]);
    let deadline = within(Duration::from_secs(3));
    let answer = script.impatient_storage().begin(&begin(), deadline).await;
    assert!(matches!(
        answer,
        Err(StorageError::Unavailable(Unavailable::Timeout))
    ));
    assert!(
        script.seen().len() < 3,
        "a third attempt was made after the deadline"
    );

    // The deadline ends an attempt that might go on.
    let script = Script::play(&[Act::Hang]);
    let answer = script
        .storage()
        .with_attempt_timeout(Duration::MAX)
        .begin(&begin(), within(Duration::from_millis(300)))
        .await;
    assert!(matches!(
        answer,
        Err(StorageError::Unavailable(Unavailable::Timeout))
    ));
}

#[tokio::test]
async fn finish_goes_on_until_its_deadline() {
    let script = Script::play(&[
        Act::Answer(503, "{}"),
        Act::Answer(503, "{}"),
        Act::Answer(503, "{}"),
        Act::Answer(503, "{}"),
        Act::Answer(200, r#"{"finished":false,"status":"completed"}"#),
    ]);
    let finished = script.storage().finish(&finish(), soon()).await.unwrap();
    assert_eq!(
        finished,
        Finished {
            by_this_call: false,
            status: Status::Completed
        }
    );
    assert_eq!(script.seen().len(), 5);

    let script = Script::play(&[Act::Answer(503, "{}"); 9]);
    let answer = script
        .storage()
        .finish(&finish(), within(Duration::from_millis(250)))
        .await;
    assert!(matches!(answer, Err(StorageError::Unavailable(_))));
    assert!(
        script.seen().len() <= 3,
        "at 0, 50 and 150 ms, if not later"
    );
}

#[tokio::test]
async fn what_will_not_pass_is_tried_once() {
    let unexpected = r#"{"code":"PGRST202","details":"Searched for …","hint":null,"message":"…"}"#;
    let failed = r#"{"code":"SUP","details":null,"hint":null,"message":"secret"}"#;
    let denied = r#"{"code":"42501","details":null,"hint":null,"message":"permission denied"}"#;
    let text = |answer: Result<Begun, StorageError>| answer.unwrap_err().to_string();

    let (answer, attempts) =
        begin_against(Box::leak(Box::new([Act::Answer(500, failed), Act::Drop]))).await;
    assert_eq!(
        text(answer),
        "the storage is unavailable: HTTP 500 Internal Server Error SUP"
    );
    assert_eq!(attempts, 1);

    let (answer, attempts) =
        begin_against(Box::leak(Box::new([Act::Answer(404, unexpected)]))).await;
    assert_eq!(
        text(answer),
        "the storage broke the contract: begin_request answered HTTP 404 Not Found PGRST202"
    );
    assert_eq!(attempts, 1);

    for status in [401, 403] {
        let acts = Box::leak(Box::new([Act::Answer(status, denied)]));
        let (answer, attempts) = begin_against(acts).await;
        assert!(matches!(answer, Err(StorageError::Unauthorized { .. })));
        assert_eq!(attempts, 1);
    }
}

#[tokio::test]
async fn refusals_need_status_and_word() {
    let cases: [(u16, &str, Option<Refusal>); 15] = [
        (
            404,
            r#"{"details":"no_key_for_did"}"#,
            Some(Refusal::NoKeyForDid),
        ),
        (
            403,
            r#"{"details":"key_disabled"}"#,
            Some(Refusal::KeyDisabled),
        ),
        (
            403,
            r#"{"details":"did_not_allowed"}"#,
            Some(Refusal::DidNotAllowed),
        ),
        (
            403,
            r#"{"details":"path_needs_own_key"}"#,
            Some(Refusal::PathNeedsOwnKey),
        ),
        (
            429,
            r#"{"details":"too_many_open_requests","hint":"{\"open_requests\":9,\"max_open_requests\":9}"}"#,
            Some(Refusal::TooManyOpenRequests {
                open_requests: 9,
                max_open_requests: 9,
            }),
        ),
        (
            401,
            r#"{"details":"replayed_request"}"#,
            Some(Refusal::Replayed),
        ),
        (
            402,
            r#"{"details":"credit_limit_reached","hint":"{\"limit\":\"5\",\"spent\":\"4.9\",\"held\":\"0.2\",\"hold\":\"0.01\"}"}"#,
            Some(Refusal::CreditLimitReached {
                limit: "5".to_owned(),
                spent: "4.9".to_owned(),
                held: "0.2".to_owned(),
                hold: "0.01".to_owned(),
            }),
        ),
        (
            429,
            r#"{"details":"rate_limited","hint":"{\"requests_per_minute\":60,\"retry_after\":7}"}"#,
            Some(Refusal::RateLimited {
                requests_per_minute: 60,
                retry_after: 7,
            }),
        ),
        (
            409,
            r#"{"details":"provisioning_in_progress"}"#,
            Some(Refusal::ProvisioningInProgress),
        ),
        (
            403,
            r#"{"details":"provisioning_used_up","hint":"{\"available_at\":\"1798761600\"}"}"#,
            Some(Refusal::ProvisioningUsedUp {
                available_at: Some(Timestamp::constant(1_798_761_600, 0)),
            }),
        ),
        (403, r#"{"details":"provisioning_used_up"}"#, None),
        (429, r#"{"details":"rate_limited","hint":"soon"}"#, None),
        (402, r#"{"details":"rate_limited","hint":"{}"}"#, None),
        (404, r#"{"details":"replayed_request"}"#, None),
        (
            402,
            r#"{"details":"credit_limit_reached","hint":null}"#,
            None,
        ),
    ];
    for (status, body, expected) in cases {
        let acts = Box::leak(Box::new([Act::Answer(status, body)]));
        let (answer, _) = begin_against(acts).await;
        match (answer.unwrap_err(), expected) {
            (StorageError::Refused(refusal), Some(expected)) => assert_eq!(refusal, expected),
            (StorageError::Protocol(_), None) => {}
            (error, expected) => panic!("{error:?} is not {expected:?}"),
        }
    }
}

#[tokio::test]
async fn nothing_that_is_printed_holds_a_secret() {
    let acts = &[Act::Answer(
        200,
        r#"{"sealed_key":["v1.planted"],"key_name":1}"#,
    )];
    let script = Script::play(acts);
    let storage = script.storage();
    let error = storage.begin(&begin(), soon()).await.unwrap_err();
    assert!(matches!(
        error,
        StorageError::Protocol(Protocol::UnexpectedBody {
            function: "begin_request"
        })
    ));
    assert!(!format!("{error} {error:?} {storage:?}").contains("planted"));
}

#[tokio::test]
async fn nobody_there_is_unavailable() {
    let url: Url = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
            .parse()
            .unwrap()
    };
    let storage = Storage::new(client(), &url, StorageKey::parse(KEY).unwrap());
    let deadline = soon();
    assert!(matches!(
        storage
            .usage_report(
                &ReportQuery {
                    asked: UsageQuery {
                        id: Uuid::nil(),
                        did: "did:key:z",
                        request_time: Timestamp::UNIX_EPOCH,
                        fingerprint: None,
                        period: Period::default(),
                    },
                    group_by: &[],
                    offsets: &[],
                    max_groups: 1,
                    percentiles: false,
                    labels: &UsageLabels::default(),
                },
                deadline
            )
            .await,
        Err(StorageError::Unavailable(Unavailable::Transport(_)))
    ));
    assert!(ping(&client(), &url, Duration::from_secs(1)).await.is_err());
}

#[tokio::test]
async fn a_ping_asks_for_an_answer_only() {
    for (status, alive) in [(200, true), (401, true), (404, true), (503, false)] {
        let script = Script::play(Box::leak(Box::new([Act::Answer(status, "")])));
        let pong = ping(&client(), &script.url, Duration::from_secs(1)).await;
        assert_eq!(pong.is_ok(), alive, "{status}");
        assert!(script.seen().iter().all(|request| {
            request.starts_with("get /rest/v1/ http/1.1") && !request.contains("apikey")
        }));
    }
}
