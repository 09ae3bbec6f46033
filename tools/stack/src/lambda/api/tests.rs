use std::{
    process::{Child, Command},
    time::Duration,
};

use shared::http_client::without_tls;

use super::*;

/// An API whose function is the test itself.
struct Bench {
    server: Server,
    assign: mpsc::Sender<Assigned>,
    words: mpsc::UnboundedReceiver<Word>,
    violations: Arc<Mutex<Vec<String>>>,
    client: reqwest::Client,
}

impl Bench {
    async fn start() -> Self {
        Self::with(Limits::LAMBDA).await
    }

    async fn with(limits: Limits) -> Self {
        let (assign, assignments) = mpsc::channel(1);
        let (say, words) = mpsc::unbounded_channel();
        let violations = Arc::default();
        let server = Server::start(
            Mode::Streaming,
            limits,
            assignments,
            say,
            Arc::clone(&violations),
        )
        .await
        .unwrap();
        Self {
            server,
            assign,
            words,
            violations,
            client: without_tls(Duration::from_secs(5)).unwrap(),
        }
    }

    /// An invocation that the function has taken.
    async fn invoke(&mut self, time: Duration) -> (Uuid, mpsc::Receiver<Part>) {
        let id = uuid::Builder::from_random_bytes(fastrand::u128(..).to_be_bytes()).into_uuid();
        let (answer, parts) = mpsc::channel(8);
        let assigned = Assigned {
            id,
            event: b"{}".to_vec(),
            deadline: Instant::now() + time,
            deadline_ms: 0,
            abandoned: Abandoned::Drained,
            answer,
        };
        self.assign.send(assigned).await.unwrap();
        let answer = self.client.get(self.url("next")).send().await.unwrap();
        assert_eq!(
            answer.headers()["lambda-runtime-aws-request-id"],
            id.to_string()
        );
        assert!(matches!(self.words.recv().await, Some(Word::Next)));
        (id, parts)
    }

    async fn answer(&self, id: Uuid, body: &'static [u8]) -> StatusCode {
        self.answer_as(
            id,
            body,
            "application/vnd.awslambda.http-integration-response",
        )
        .await
    }

    async fn answer_as(&self, id: Uuid, body: &'static [u8], content_type: &str) -> StatusCode {
        self.client
            .post(self.url(&format!("{id}/response")))
            .header("lambda-runtime-function-response-mode", "streaming")
            .header("content-type", content_type)
            .body(body)
            .send()
            .await
            .unwrap()
            .status()
    }

    fn url(&self, what: &str) -> String {
        format!(
            "http://{}/2018-06-01/runtime/invocation/{what}",
            self.server.address
        )
    }

    fn violations(&self) -> usize {
        lock(&self.violations).len()
    }
}

const ANSWER: &[u8] = b"{\"statusCode\":200,\"headers\":{},\"cookies\":[]}\0\0\0\0\0\0\0\0hello";
const LONG: Duration = Duration::from_mins(1);

#[tokio::test]
async fn an_answer_reaches_its_client_once() {
    let mut bench = Bench::start().await;
    let (id, mut parts) = bench.invoke(LONG).await;
    assert_eq!(bench.answer(id, ANSWER).await, 202);
    assert!(matches!(
        parts.recv().await,
        Some(Part::Head(StatusCode::OK, _))
    ));
    assert!(matches!(parts.recv().await, Some(Part::Data(bytes)) if bytes == "hello"));
    assert!(matches!(parts.recv().await, Some(Part::End)));
    assert_eq!(bench.violations(), 0);

    assert_eq!(bench.answer(id, ANSWER).await, 403, "a second one");
    assert_eq!(bench.answer(Uuid::nil(), ANSWER).await, 403, "to nobody");
    assert_eq!(bench.violations(), 2);
}

#[tokio::test]
async fn an_answer_that_is_too_long_ends_where_it_may() {
    let longest = u64::try_from(ANSWER.len()).unwrap();
    for (answer, seen, status) in [(longest, "hello", 202), (longest - 2, "hel", 413)] {
        let mut bench = Bench::with(Limits {
            answer,
            ..Limits::NONE
        })
        .await;
        let (id, mut parts) = bench.invoke(LONG).await;
        assert_eq!(bench.answer(id, ANSWER).await, status);
        assert!(matches!(parts.recv().await, Some(Part::Head(..))));
        assert!(matches!(parts.recv().await, Some(Part::Data(bytes)) if bytes == seen));
        match parts.recv().await {
            Some(Part::End) => assert_eq!(status, 202),
            Some(Part::Failed(Failure::AnswerTooLarge)) => assert_eq!(status, 413),
            other => panic!("{other:?}"),
        }
        assert_eq!(bench.violations(), 0, "it is no fault of the function's");
    }
}

#[tokio::test]
async fn what_lambda_may_not_take_is_a_violation() {
    let mut bench = Bench::start().await;
    let (late, _late) = bench.invoke(Duration::ZERO).await;
    assert_eq!(bench.answer(late, ANSWER).await, 403);
    let (typed, _typed) = bench.invoke(LONG).await;
    assert_eq!(
        bench.answer_as(typed, ANSWER, "application/json").await,
        403
    );
    let (headless, _headless) = bench.invoke(LONG).await;
    assert_eq!(bench.answer(headless, b"{\"statusCode\":200}").await, 403);
    assert_eq!(bench.violations(), 3);

    let (_, mut parts) = bench.invoke(LONG).await;
    bench.invoke(LONG).await;
    assert!(matches!(
        parts.recv().await,
        Some(Part::Failed(Failure::NotAnswered))
    ));
    assert_eq!(bench.violations(), 4);
}

fn state(process: &Child) -> String {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.id())).unwrap();
    stat.split_whitespace().nth(2).unwrap().to_owned()
}

async fn becomes(process: &Child, frozen: bool) {
    while (state(process) == "T") != frozen {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_process_is_frozen_while_it_waits_for_an_invocation() {
    let mut bench = Bench::start().await;
    let mut process = Command::new("sleep").arg("60").spawn().unwrap();
    bench.server.api.attach(Pid::from_child(&process));
    bench.invoke(LONG).await;
    becomes(&process, false).await;
    let asking = tokio::spawn(bench.client.get(bench.url("next")).send());
    becomes(&process, true).await;
    asking.abort();
    process.kill().unwrap();
    process.wait().unwrap();
}
