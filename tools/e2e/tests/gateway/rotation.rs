//! A rotation of the keyset while users are served: nobody notices.
//!
//! The test has a database and a Secrets Manager of its own, because a rotation changes every row.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Output, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use e2e::{
    signer::Signer,
    world::{AUDIENCE, CHAT, chat_body},
};
use http::Method;
use jiff::SignedDuration;
use serde_json::{Value, json};
use shared::{
    clock::Clock,
    http_client,
    vault::{
        secret::ApiKey,
        secrets_manager::{AwsCredentials, KeysetCache, SecretLocation, SecretSource},
    },
};
use stack::{Database, Env, Function, Functions, Moto, Port, RunDir, Tools, Watch, Workspace};
use stub::{
    OpenRouter,
    scripted::{CUT_COST_PLAIN, json_bytes, stream_bytes},
};

const SECRET: &str = "rotation/keyset";
/// The time for which functions keep the keyset: 300 s would make this test take a quarter of an hour.
const CACHE_SECONDS: u32 = 2;
const USERS: usize = 40;
const PATIENCE: Duration = Duration::from_mins(1);

struct World {
    upstream: OpenRouter,
    client: reqwest::Client,
    database: Database,
    secrets: Moto,
    env: Env,
    tools: Tools,
    functions: Functions,
    workspace: Workspace,
    watch: Watch,
    run: RunDir,
    users: Vec<Signer>,
    _proxies: Vec<Function>,
    started: Instant,
    /// All that the command line printed.
    printed: Mutex<String>,
    /// The secrets that must not appear anywhere.
    planted: Mutex<Vec<String>>,
}

impl World {
    async fn start() -> Arc<Self> {
        let workspace = Workspace::locate();
        let tools = Tools::install(&workspace).unwrap();
        let run = RunDir::unique(&workspace, "e2e-rotation").unwrap();
        let functions = Functions::build(&workspace, &["proxy", "llmgw"]).unwrap();
        let upstream = OpenRouter::start().await.unwrap();
        let database = Database::postgres(&tools, &run, Port::free().unwrap()).unwrap();
        let secrets = Moto::start(&tools, &run, Port::free().unwrap()).unwrap();
        let watch = Watch::only_apis(&tools, &run, Port::free().unwrap()).unwrap();
        let mut env = database.env();
        env.extend(secrets.env());
        env.extend([
            ("GATEWAY_AUDIENCES", AUDIENCE.to_owned()),
            ("KEYSET_SECRET_NAME", SECRET.to_owned()),
            ("KEYSET_CACHE_SECONDS", CACHE_SECONDS.to_string()),
            ("GATEWAY_OPENROUTER_URL", upstream.base_url()),
            ("RUST_LOG", "trace".to_owned()),
        ]);
        let proxy = functions.binary("proxy").unwrap();
        let proxies = (0..4)
            .map(|_| Function::spawn(&watch, &run, "proxy", proxy, &env).unwrap())
            .collect();
        let world = Self {
            client: http_client::build(http_client::web_roots(), Duration::from_secs(5)).unwrap(),
            users: (0..USERS).map(|_| Signer::random().unwrap()).collect(),
            _proxies: proxies,
            upstream,
            database,
            secrets,
            env,
            tools,
            functions,
            workspace,
            watch,
            run,
            started: Instant::now(),
            printed: Mutex::default(),
            planted: Mutex::default(),
        };
        Arc::new(world)
    }

    /// One line of the transcript.
    fn tell(&self, text: &str) {
        let seconds = self.started.elapsed().as_secs_f32();
        eprintln!("{seconds:6.1} s  {text}");
    }

    fn command(&self, args: &[&str]) -> Command {
        self.llmgw(&[&["admin"], args].concat())
    }

    fn llmgw(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.functions.binary("llmgw").unwrap());
        command
            .arg("--debug")
            .args(args)
            .env_clear()
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs an operator's command and tells what it said.
    async fn admin(&self, args: &[&str]) -> Output {
        let mut command = self.command(args);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap())
            .await
            .unwrap();
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        self.printed.lock().unwrap().push_str(&[out, err].concat());
        self.tell(&format!("$ llmgw admin {}", args.join(" ")));
        let refusal = err.lines().filter(|line| line.starts_with("llmgw: "));
        for line in out.lines().take(4).chain(refusal) {
            let line: String = line.chars().take(150).collect();
            self.tell(&format!("    {line}"));
        }
        output
    }

    async fn done(&self, args: &[&str]) {
        let output = self.admin(args).await;
        assert!(output.status.success(), "{args:?} {output:?}");
    }

    async fn refused(&self, args: &[&str], part: &str) {
        let output = self.admin(args).await;
        assert_eq!(output.status.code(), Some(1), "{args:?} {output:?}");
        assert!(text(&output.stderr).contains(part), "{part} in {output:?}");
    }

    /// Repeats a step that is refused as too early until it is not.
    async fn when_it_is_time(&self, args: &[&str]) {
        let since = Instant::now();
        loop {
            let mut command = self.command(args);
            let output = command.output().unwrap();
            if output.status.success() {
                self.tell(&format!("$ llmgw admin {}", args.join(" ")));
                return self.tell(&format!(
                    "    {}",
                    text(&output.stdout).lines().next().unwrap()
                ));
            }
            let early = text(&output.stderr).contains("too early: ");
            assert!(early && since.elapsed() < PATIENCE, "{args:?} {output:?}");
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    fn sql(&self, sql: &str) -> String {
        self.database.server().unwrap().query(sql).unwrap()
    }

    fn rows_by_key(&self) -> String {
        self.sql("SELECT string_agg(line, ', ') FROM (SELECT seal_key_id || ': ' || count(*) AS line FROM public.user_api_keys GROUP BY seal_key_id ORDER BY seal_key_id) AS s")
    }

    /// Tink's view of the present keyset: the primary key's id, and whether it opens this
    /// user's row.
    fn tink(&self, user: &Signer) -> u64 {
        let did = user.did.as_str();
        let secret = self.secret();
        let column = self.sql(&format!(
            "SELECT encrypted_api_key FROM public.user_api_keys WHERE did = '{did}'"
        ));
        let request = json!({"keyset": secret, "did": did, "seal": "x", "open": [column]});
        let oracle = self.workspace.root().join("shared/testdata/tink_oracle.py");
        let answer: Value =
            serde_json::from_str(&self.python(&oracle, &request.to_string())).unwrap();
        let opened = answer["opened"][0].as_str().unwrap_or_default();
        let planted = self.planted.lock().unwrap();
        assert!(
            planted.iter().any(|key| key == opened),
            "not one of this test's keys"
        );
        self.tell(&format!(
            "Tink reads the keyset (primary {}) and opens a row",
            answer["primary"]
        ));
        answer["primary"].as_u64().unwrap()
    }

    /// The secret's text, read by Amazon's own library.
    fn secret(&self) -> String {
        let script = self.run.path().join("secret.py");
        let text = format!(
            "import boto3; print(boto3.client('secretsmanager', region_name='us-east-1').get_secret_value(SecretId='{SECRET}')['SecretString'])"
        );
        fs::write(&script, text).unwrap();
        let secret = self.python(&script, "").trim().to_owned();
        let keyset: Value = serde_json::from_str(&secret).unwrap();
        for key in keyset["key"].as_array().unwrap() {
            if let Some(value) = key["keyData"]["value"].as_str() {
                self.planted.lock().unwrap().push(value.to_owned());
            }
        }
        secret
    }

    fn python(&self, script: &Path, input: &str) -> String {
        let mut child = Command::new(self.tools.python())
            .arg(script)
            .envs(self.secrets.env())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).unwrap();
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
        text(&output.stdout).to_owned()
    }

    /// The keyset as a function has it: up to two seconds old.
    fn keyset_of_a_function(&self) -> KeysetCache {
        let location = SecretLocation {
            secret_id: SECRET.to_owned(),
            region: "us-east-1".to_owned(),
            endpoint_url: Some(self.secrets.url()),
            lifetime: SignedDuration::from_secs(CACHE_SECONDS.into()),
        };
        let credentials = AwsCredentials {
            access_key_id: "local".to_owned(),
            secret_access_key: "local".to_owned().into(),
            session_token: None,
        };
        KeysetCache::new(SecretSource::new(
            self.client.clone(),
            location,
            &credentials,
        ))
    }

    /// Stores a new key for a user, as a function does. The old one stays valid for what is under
    /// way.
    async fn store(&self, user: &Signer, keyset: &KeysetCache) {
        let mut tail = [0; 24];
        getrandom::fill(&mut tail).unwrap();
        let key = ApiKey::new(format!("sk-or-v1-planted-{}", hex::encode(tail))).unwrap();
        self.upstream.accept_key(key.expose_secret());
        self.planted
            .lock()
            .unwrap()
            .push(key.expose_secret().to_owned());
        let keyset = keyset.get(Clock::system().now()).await.unwrap();
        let did = user.did.as_str();
        let row = json!({
            "did": did,
            "key_name": "rotation",
            "openrouter_key_hash": key.hash(),
            "encrypted_api_key": keyset.seal(did, &key).to_column(),
        });
        let answer = self
            .client
            .post(format!(
                "{}/rest/v1/user_api_keys?on_conflict=did",
                self.database.url()
            ))
            .header("apikey", self.database.secret_key())
            .header("prefer", "resolution=merge-duplicates")
            .header("content-type", "application/json")
            .body(row.to_string())
            .send()
            .await
            .unwrap();
        assert!(
            answer.status().is_success(),
            "{}",
            answer.text().await.unwrap()
        );
    }

    async fn send(&self, user: &Signer, body: Vec<u8>) -> reqwest::Result<reqwest::Response> {
        let headers = user.headers(&Method::POST, CHAT, &body).unwrap();
        self.client
            .post(format!("{}/lambda-url/proxy{CHAT}", self.watch.url()))
            .headers(headers)
            .header("content-type", "application/json")
            .body(body)
            .send()
            .await
    }

    /// A request whose cost only reconciliation can find out, and then only with the key that made it.
    /// The id of the row of a key that is replaced at once.
    async fn owe(&self, user: &Signer, keyset: &KeysetCache) -> String {
        let body = chat_body("stub/cut-billed", true, "gen-owing");
        let answer = self.send(user, body).await.unwrap();
        answer.bytes().await.unwrap();
        let did = user.did.as_str();
        let sql = format!(
            "SELECT id FROM public.request_logs WHERE did = '{did}' AND cost_state = 'pending'"
        );
        let since = Instant::now();
        let id = loop {
            let id = self.sql(&sql);
            if !id.is_empty() {
                break id;
            }
            assert!(since.elapsed() < PATIENCE, "the row is not closed");
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        self.store(user, keyset).await;
        id
    }

    /// Reconciliation by hand, of this user's rows, which are due whatever their leases say.
    async fn reconcile(&self, user: &Signer) -> String {
        let did = user.did.as_str();
        self.sql(&format!(
            "UPDATE public.request_logs SET next_reconcile_at = NULL WHERE did = '{did}'"
        ));
        let mut command = self.llmgw(&["admin", "reconcile", "--json", "--did", did]);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap())
            .await
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        self.printed.lock().unwrap().push_str(&[out, err].concat());
        out.to_owned()
    }

    /// A signed chat; whatever is wrong with the answer.
    async fn chat(&self, user: &Signer, stream: bool, id: &str) -> Result<(), String> {
        let answer = self
            .send(user, chat_body("stub/ok", stream, id))
            .await
            .map_err(|error| format!("{error:?}"))?;
        let status = answer.status();
        let bytes = answer.bytes().await.map_err(|error| format!("{error:?}"))?;
        let expected = if stream {
            stream_bytes(id)
        } else {
            json_bytes(id)
        };
        if status == 200 && bytes == expected {
            Ok(())
        } else {
            Err(format!("{status} {}", String::from_utf8_lossy(&bytes)))
        }
    }
}

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).unwrap()
}

/// The traffic during the rotation of the keyset.
#[derive(Default)]
struct Load {
    stop: AtomicBool,
    served: AtomicU64,
    replaced: AtomicU64,
    failures: Mutex<Vec<String>>,
}

impl Load {
    /// One caller: request after request, of one user after the other.
    async fn call(self: Arc<Self>, world: Arc<World>, caller: usize) {
        let mut n = 0;
        while !self.stop.load(Ordering::Relaxed) {
            let user = &world.users[(caller * 7 + n) % USERS];
            let id = format!("gen-{caller}-{n}");
            match world.chat(user, n % 2 == 0, &id).await {
                Ok(()) => drop(self.served.fetch_add(1, Ordering::Relaxed)),
                Err(failure) => self.failures.lock().unwrap().push(failure),
            }
            n += 1;
        }
    }

    /// One user after the other stores another key.
    async fn replace(self: Arc<Self>, world: Arc<World>) {
        let keyset = world.keyset_of_a_function();
        let mut n = 0;
        while !self.stop.load(Ordering::Relaxed) {
            world.store(&world.users[(n * 11) % USERS], &keyset).await;
            self.replaced.fetch_add(1, Ordering::Relaxed);
            n += 1;
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }

    fn counts(&self) -> String {
        let count = |it: &AtomicU64| it.load(Ordering::Relaxed);
        format!(
            "so far {} requests served, {} keys replaced, {} failures",
            count(&self.served),
            count(&self.replaced),
            self.failures.lock().unwrap().len()
        )
    }
}

/// Runs `rewrap` until some rows are done, and kills it.
fn killed_rewrap(world: &World) {
    let mut child = world.command(&["rewrap", "--batch", "1"]).spawn().unwrap();
    // A page may have more rows than asked for: a DID's retired keys come with its own.
    let is_reached = |line: &str| {
        let rows = line.strip_prefix("rewrapped: ")?.split(' ').next()?;
        Some(rows.parse::<u32>().ok()? >= 8)
    };
    let mut told = Vec::new();
    let mut reached = false;
    for line in BufReader::new(child.stderr.take().unwrap()).lines() {
        told.push(line.unwrap());
        reached = is_reached(told.last().unwrap()).unwrap_or_default();
        if reached {
            break;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(reached, "it ended by itself: {told:#?}");
    world.tell("$ llmgw admin rewrap --batch 1");
    world.tell("    killed (SIGKILL) after 8 rows");
}

#[test]
fn a_rotation_under_traffic_fails_not_one_request() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let world = World::start().await;
        rotate(&world).await;
        damage(&world).await;
        secrecy(&world);
    });
}

async fn rotate(world: &Arc<World>) {
    world.done(&["keyset", "new"]).await;
    let keyset = world.keyset_of_a_function();
    for user in &world.users {
        world.store(user, &keyset).await;
    }
    let owing = &world.users[4];
    let owed = world.owe(owing, &keyset).await;
    let old = world.tink(&world.users[0]);
    world.tell(&format!(
        "{USERS} users; rows by key: {}",
        world.rows_by_key()
    ));

    let load = Arc::new(Load::default());
    let mut tasks: Vec<_> = (0..6)
        .map(|caller| tokio::spawn(Arc::clone(&load).call(Arc::clone(world), caller)))
        .collect();
    tasks.push(tokio::spawn(Arc::clone(&load).replace(Arc::clone(world))));
    tokio::time::sleep(Duration::from_secs(2)).await;
    world.tell(&load.counts());

    world.done(&["keyset", "add"]).await;
    world.refused(&["keyset", "promote"], "too early").await;
    assert_eq!(world.tink(&world.users[1]), old);
    world.when_it_is_time(&["keyset", "promote"]).await;
    let new = world.tink(&world.users[2]);
    assert_ne!(new, old);
    world.tell(&load.counts());
    world
        .refused(&["keyset", "disable"], "still sealed with key")
        .await;

    killed_rewrap(world);
    world.tell(&format!("rows by key: {}", world.rows_by_key()));
    // Rows that functions sealed with the old key meanwhile may remain; the next run changes them.
    world.admin(&["rewrap", "--batch", "7"]).await;
    tokio::time::sleep(Duration::from_secs(u64::from(CACHE_SECONDS) + 1)).await;
    world.done(&["rewrap"]).await;
    world.tell(&load.counts());
    world.refused(&["keyset", "disable"], "too early").await;
    world.when_it_is_time(&["keyset", "disable"]).await;
    tokio::time::sleep(Duration::from_secs(u64::from(CACHE_SECONDS) + 1)).await;
    world.tell(&load.counts());
    world.refused(&["keyset", "destroy"], "too early").await;
    world.done(&["keyset", "destroy", "--now"]).await;
    tokio::time::sleep(Duration::from_secs(u64::from(CACHE_SECONDS) + 1)).await;
    assert_eq!(world.tink(&world.users[3]), new);
    world.done(&["keyset", "status"]).await;

    load.stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.unwrap();
    }
    world.tell(&load.counts());
    assert_eq!(*load.failures.lock().unwrap(), Vec::<String>::new());
    assert!(load.served.load(Ordering::Relaxed) > 200);
    assert_eq!(world.rows_by_key(), format!("{new}: {USERS}"));
    let rewrapped = world.sql("SELECT count(*), count(DISTINCT (did, seal_key_id, key_hash)) FROM public.key_events WHERE action = 'rewrapped'");
    let (events, distinct) = rewrapped.split_once('|').unwrap();
    assert_eq!(events, distinct, "no key was rewrapped twice");
    world.tell(&format!(
        "{events} rows rewrapped, each once; rows by key: {}",
        world.rows_by_key()
    ));
    collect(world, owing, &owed, new).await;
}

/// An open cost from before the rotation is asked for with the key of that time, sealed again.
async fn collect(world: &World, user: &Signer, row: &str, primary: u64) {
    let kept = format!(
        "SELECT r.seal_key_id FROM public.retired_keys AS r
           JOIN public.request_logs AS l ON l.retired_key_id = r.id WHERE l.id = '{row}'"
    );
    assert_eq!(world.sql(&kept), primary.to_string());
    let cost = format!("SELECT cost_state, total_cost FROM public.request_logs WHERE id = '{row}'");
    // The stub does not know at the first question.
    for _ in 0..2 {
        let summary = world.reconcile(user).await;
        world.tell(&format!("$ llmgw admin reconcile: {}", summary.trim()));
        if world.sql(&cost).starts_with("final") {
            break;
        }
    }
    assert_eq!(world.sql(&cost), format!("final|{CUT_COST_PLAIN}"));
    assert_eq!(world.sql(&kept), "", "it is forgotten");
}

/// Sealed keys that were moved, cut or changed do not open: the gateway refuses, and the doctor names them.
async fn damage(world: &World) {
    let [victim, moved, cut, flipped] = [0, 1, 2, 3].map(|n| &world.users[n]);
    let set = |user: &Signer, value: &str| {
        let did = user.did.as_str();
        world.sql(&format!(
            "UPDATE public.user_api_keys SET encrypted_api_key = {value} WHERE did = '{did}'"
        ));
    };
    let of_victim = format!(
        "(SELECT v.encrypted_api_key FROM public.user_api_keys AS v WHERE v.did = '{}')",
        victim.did.as_str()
    );
    set(moved, &of_victim);
    set(cut, "left(encrypted_api_key, 60)");
    set(
        flipped,
        "overlay(encrypted_api_key PLACING translate(substr(encrypted_api_key, 50, 1), 'AB', 'BA') || CASE WHEN substr(encrypted_api_key, 51, 1) = 'x' THEN 'y' ELSE 'x' END FROM 50 FOR 2)",
    );
    for (user, id) in [
        (moved, "gen-moved"),
        (cut, "gen-cut"),
        (flipped, "gen-flipped"),
    ] {
        let failure = world.chat(user, false, id).await.unwrap_err();
        assert!(
            failure.starts_with("500 ") && failure.contains(r#""reason":"#),
            "{failure}"
        );
        assert!(world.upstream.received(id).is_empty(), "it was sent");
    }
    world.chat(victim, false, "gen-victim").await.unwrap();

    let output = world.admin(&["doctor", "--json"]).await;
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let named: Vec<_> = report["checks"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|check| check["check"] == "sealed keys")
        .map(|check| check["did"].as_str().unwrap())
        .collect();
    assert_eq!(named.len(), 3, "{report:#}");
    for user in [moved, cut, flipped] {
        assert!(named.contains(&user.did.as_str()), "{report:#}");
    }
    world.tell("moved, cut and changed keys are refused by the gateway and named by the doctor");
}

fn secrecy(world: &World) {
    let mut emitted = world.printed.lock().unwrap().clone();
    emitted.push_str(&fs::read_to_string(world.run.path().join("proxy.log")).unwrap());
    emitted.push_str(&world.sql("SELECT json_agg(r) FROM public.retired_keys r"));
    emitted.push_str(&world.sql("SELECT json_agg(l) FROM public.request_logs l"));
    emitted.push_str(&world.sql("SELECT json_agg(k) FROM public.user_api_keys k"));
    emitted.push_str(&world.sql("SELECT json_agg(e) FROM public.key_events e"));
    assert!(emitted.contains("books.recorded") && emitted.contains("rewrapped"));
    let planted = world.planted.lock().unwrap();
    for secret in &*planted {
        assert!(!emitted.contains(secret), "a planted secret shows");
    }
    world.tell(&format!(
        "none of {} planted secrets shows anywhere",
        planted.len()
    ));
}
