use std::time::Duration;

use serde_json::Value;
use shared::http_client;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::timeout;

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

/// A gateway behind the front, whose answers stay open until the test ends them.
struct World {
    base: String,
    client: reqwest::Client,
    answering: UnboundedReceiver<Answering>,
    front: Front,
}

fn client() -> reqwest::Client {
    http_client::build(http_client::web_roots(), PATIENCE).unwrap()
}

/// One answer; dropping it ends the response.
type Answering = UnboundedSender<Bytes>;

impl World {
    async fn start(limit: usize) -> Self {
        let (answers, answering) = unbounded_channel();
        let hold = async |State(answers): State<UnboundedSender<Answering>>, request: Request| {
            let (answer, mut chunks) = unbounded_channel::<Bytes>();
            let mut head = vec![format!("{} {} ", request.method(), request.uri())];
            for name in ["host", "connection"] {
                head.push(format!("{:?} ", request.headers().get(name)));
            }
            let body = axum::body::to_bytes(request.into_body(), 1 << 20).await;
            head.push(String::from_utf8(body.unwrap().to_vec()).unwrap());
            answer.send(head.concat().into()).unwrap();
            answers.send(answer).unwrap();
            let body = stream::poll_fn(move |context| chunks.poll_recv(context));
            http::Response::new(Body::from_stream(body.map(Ok::<_, axum::Error>)))
        };
        let router = Router::new().fallback(hold).with_state(answers);
        let target = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let front = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", front.local_addr().unwrap());
        let forwarder = Front::new(target.local_addr().unwrap().port(), limit);
        tokio::spawn(serve(front, forwarder.clone()));
        tokio::spawn(async { axum::serve(target, router).await });
        Self {
            base,
            client: client(),
            answering,
            front: forwarder,
        }
    }

    async fn ask(&self, path: &str) -> reqwest::Response {
        let request = self.client.post(format!("{}{path}", self.base)).body("{}");
        request.send().await.unwrap()
    }

    /// The function's end of the next answer.
    async fn answering(&mut self) -> Answering {
        let next = timeout(PATIENCE, self.answering.recv()).await;
        next.unwrap().unwrap()
    }
}

#[tokio::test]
async fn what_has_no_instance_is_refused_at_once_and_says_so() {
    let mut world = World::start(2).await;
    let (first, _second) = (world.ask("/a").await, world.ask("/b").await);
    let (ends_first, _ends_second) = (world.answering().await, world.answering().await);
    let refused = world.ask("/api/v1/openrouter/messages").await;
    assert_eq!(refused.status(), 429);
    assert_eq!(refused.headers()["retry-after"], "1");
    let body: Value = serde_json::from_slice(&refused.bytes().await.unwrap()).unwrap();
    assert_eq!(body["type"], "error");
    assert_eq!(body["error"]["type"], "rate_limit_error");
    assert_eq!(body["error"]["code"], 429);
    assert_eq!(body["error"]["metadata"]["reason"], "over_capacity");
    let message = body["error"]["message"].as_str().unwrap();
    assert!(message.starts_with("All 2 instances of this local gateway are busy"));

    // One that ends makes room.
    drop(ends_first);
    first.bytes().await.unwrap();
    let begun = tokio::time::Instant::now();
    while world.ask("/c").await.status() == 429 {
        assert!(begun.elapsed() < PATIENCE);
    }
}

#[tokio::test]
async fn a_client_that_leaves_keeps_its_instance_until_the_function_ends() {
    let mut world = World::start(1).await;
    let left = world.ask("/a").await;
    let function = world.answering().await;
    drop(left);
    for _ in 0..20 {
        function.send(Bytes::from_static(b"more")).unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(world.ask("/b").await.status(), 429);
    drop(function);
    let begun = tokio::time::Instant::now();
    while world.ask("/c").await.status() == 429 {
        assert!(begun.elapsed() < PATIENCE);
    }
}

#[tokio::test]
async fn requests_and_responses_pass_as_they_are_and_as_they_arrive() {
    let mut world = World::start(1).await;
    let mut response = world.ask("/api/v1/usage?a=%2F").await;
    let function = world.answering().await;
    let host = world.base.trim_start_matches("http://");
    let head = format!("POST /api/v1/usage?a=%2F Some({host:?}) None {{}}");
    assert_eq!(response.chunk().await.unwrap().unwrap(), head);
    for chunk in ["data: 1", "data: 2"] {
        function.send(chunk.into()).unwrap();
        let arrived = timeout(PATIENCE, response.chunk()).await.unwrap();
        assert_eq!(arrived.unwrap().unwrap(), chunk);
    }
    drop(function);
    assert_eq!(response.chunk().await.unwrap(), None);
}

#[tokio::test]
async fn a_request_ends_where_it_began() {
    let (mut before, mut after) = (World::start(2).await, World::start(2).await);
    let port = |base: &str| base.rsplit(':').next().unwrap().parse().unwrap();
    let mut begun = before.ask("/a").await;
    let function = before.answering().await;
    begun.chunk().await.unwrap().unwrap();

    let former = before.front.redirect(port(&after.base));
    let next = before.ask("/b").await;
    drop(after.answering().await);
    assert!(next.text().await.unwrap().starts_with("POST /b"));
    assert!(!former.is_idle());
    function.send(Bytes::from_static(b"to the end")).unwrap();
    assert_eq!(begun.chunk().await.unwrap().unwrap(), "to the end");
    drop(function);
    assert_eq!(begun.chunk().await.unwrap(), None);
    let ended = tokio::time::Instant::now();
    while !former.is_idle() {
        assert!(ended.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn without_the_functions_it_says_so() {
    let front = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (base, target) = (front.local_addr().unwrap(), nobody.local_addr().unwrap());
    drop(nobody);
    tokio::spawn(serve(front, Front::new(target.port(), 1)));
    for _ in 0..2 {
        let asked = client().get(format!("http://{base}/")).send().await;
        let response = asked.unwrap();
        assert_eq!(response.status(), 502);
        let body = response.text().await.unwrap();
        assert!(body.contains("gateway_unreachable"), "{body}");
    }
}
