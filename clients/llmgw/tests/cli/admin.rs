//! The operator's commands as they are run, against a real Secrets Manager API (moto) and a real
//! PostgreSQL. The rotation under traffic is in `tools/e2e`.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    process::{Command, Output, Stdio},
    sync::Mutex,
    thread,
};

use jiff::SignedDuration;
use serde_json::{Value, json};
use shared::{
    clock::Clock,
    vault::{
        keyset::Keyset,
        secret::{ApiKey, KeyId},
    },
};
use stack::{Database, Moto, Port, RunDir, Tools, Workspace};
use tempfile::TempDir;

const SECRET: &str = "admin/keyset";
const PASSPHRASE: &str = "planted correct horse battery staple";

/// A machine with a database and a Secrets Manager, and all that was printed on it.
struct World {
    home: TempDir,
    database: Database,
    secrets: Moto,
    tools: Tools,
    workspace: Workspace,
    _run: RunDir,
    printed: Mutex<String>,
    planted: Mutex<Vec<String>>,
}

impl World {
    fn start(name: &str) -> Self {
        let workspace = Workspace::locate();
        let tools = Tools::install(&workspace).unwrap();
        let run = RunDir::unique(&workspace, &format!("admin-{name}")).unwrap();
        Self {
            home: tempfile::tempdir().unwrap(),
            database: Database::postgres(&tools, &run, Port::free().unwrap()).unwrap(),
            secrets: Moto::start(&tools, &run, Port::free().unwrap()).unwrap(),
            tools,
            workspace,
            _run: run,
            printed: Mutex::default(),
            planted: Mutex::new(vec![PASSPHRASE.to_owned()]),
        }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_llmgw"));
        command
            .args(["--debug", "admin"])
            .args(args)
            .env_clear()
            .env("HOME", self.home.path())
            .envs(self.database.env())
            .envs(self.secrets.env())
            .env("KEYSET_SECRET_NAME", SECRET)
            .current_dir(self.home.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.seen(self.command(args).output().unwrap())
    }

    fn with_input(&self, args: &[&str], input: &str) -> Output {
        let mut child = self.command(args).stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).unwrap();
        drop(stdin);
        self.seen(child.wait_with_output().unwrap())
    }

    fn seen(&self, output: Output) -> Output {
        let mut printed = self.printed.lock().unwrap();
        printed.push_str(text(&output.stdout));
        printed.push_str(text(&output.stderr));
        output
    }

    /// The report of a command that succeeds.
    fn ok(&self, args: &[&str]) -> Value {
        let output = self.run(&[args, &["--json"]].concat());
        assert_eq!(output.status.code(), Some(0), "{args:?} {output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// The report of a command that finds something wrong.
    fn wrong(&self, args: &[&str]) -> Value {
        let output = self.run(&[args, &["--json"]].concat());
        assert_eq!(output.status.code(), Some(1), "{args:?} {output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// The reason for which a command refuses.
    fn refused(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert_eq!(output.status.code(), Some(1), "{args:?} {output:?}");
        assert_eq!(text(&output.stdout), "");
        let last = text(&output.stderr).lines().last().unwrap();
        last.strip_prefix("llmgw: ").unwrap().to_owned()
    }

    /// The secret's text, read by Amazon's own library.
    fn secret(&self) -> String {
        let script = format!(
            "import boto3; print(boto3.client('secretsmanager').get_secret_value(SecretId='{SECRET}')['SecretString'])"
        );
        let output = Command::new(self.tools.python())
            .args(["-c", &script])
            .envs(self.secrets.env())
            .env("AWS_DEFAULT_REGION", "us-east-1")
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let secret = text(&output.stdout).trim().to_owned();
        let keyset: Value = serde_json::from_str(&secret).unwrap();
        for key in keyset["key"].as_array().unwrap() {
            if let Some(value) = key["keyData"]["value"].as_str() {
                self.planted.lock().unwrap().push(value.to_owned());
            }
        }
        secret
    }

    fn keyset(&self) -> Keyset {
        Keyset::parse(&self.secret()).unwrap()
    }

    /// Opens the secret and a row with Tink. Returns its primary key, and the API key.
    fn tink(&self, did: &str) -> (u32, Option<String>) {
        let request = json!({
            "keyset": self.secret(), "did": did, "seal": "x", "open": [self.column(did)],
        });
        let mut child = Command::new(self.tools.python())
            .arg(self.workspace.root().join("shared/testdata/tink_oracle.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(request.to_string().as_bytes()).unwrap();
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        let primary = answer["primary"].as_u64().unwrap();
        let opened = answer["opened"][0].as_str().map(str::to_owned);
        (primary.try_into().unwrap(), opened)
    }

    /// Stores a user's key, sealed with the present keyset.
    fn store(&self, did: &str) {
        let key = api_key(did);
        self.planted
            .lock()
            .unwrap()
            .push(key.expose_secret().to_owned());
        self.insert(did, &self.keyset().seal(did, &key).to_column());
    }

    fn insert(&self, did: &str, column: &str) {
        let row = json!({
            "did": did,
            "key_name": "test",
            "openrouter_key_hash": api_key(did).hash(),
            "encrypted_api_key": column,
        });
        self.database.insert("user_api_keys", &row).unwrap();
    }

    fn column(&self, did: &str) -> String {
        self.sql(&format!(
            "SELECT encrypted_api_key FROM public.user_api_keys WHERE did = '{did}'"
        ))
    }

    fn sql(&self, sql: &str) -> String {
        self.database.server().unwrap().query(sql).unwrap()
    }

    fn actions(&self) -> String {
        self.sql("SELECT string_agg(action, ' ' ORDER BY id) FROM public.key_events WHERE actor = 'operator'")
    }

    /// Checks that neither the output nor the records contain a secret.
    fn assert_secrecy(&self) {
        let mut printed = self.printed.lock().unwrap().clone();
        assert!(printed.len() > 100);
        printed.push_str(&self.sql("SELECT json_agg(e) FROM public.key_events e"));
        for secret in self.planted.lock().unwrap().iter() {
            assert!(!printed.contains(secret), "{secret} is in {printed}");
        }
        assert!(!printed.contains("sk-or-"));
    }
}

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).unwrap()
}

/// A key of its own for each DID.
fn api_key(did: &str) -> ApiKey {
    let tail: String = did.chars().filter(char::is_ascii_alphanumeric).collect();
    ApiKey::new(format!("sk-or-v1-planted-{tail}")).unwrap()
}

fn id(value: &Value) -> u32 {
    value.as_u64().unwrap().try_into().unwrap()
}

const ALICE: &str = "did:key:zAlice";
const BOB: &str = "did:key:zBob";

#[test]
#[ignore = "needs TOOLS"]
#[expect(clippy::too_many_lines, reason = "a rotation is one story")]
fn a_keyset_is_rotated_step_by_step_and_no_step_loses_anything() {
    let world = World::start("rotation");
    assert!(
        world
            .refused(&["keyset", "status"])
            .contains("create one with `llmgw admin keyset new`")
    );
    let old = id(&world.ok(&["keyset", "new"])["id"]);
    assert!(world.refused(&["keyset", "new"]).contains("exists already"));
    assert!(
        world
            .refused(&["keyset", "promote"])
            .contains("`llmgw admin keyset add` comes first")
    );
    for did in [ALICE, BOB] {
        world.store(did);
    }
    assert_eq!(
        world.tink(ALICE),
        (old, Some("sk-or-v1-planted-didkeyzAlice".to_owned()))
    );

    // 1. add
    let new = id(&world.ok(&["keyset", "add"])["id"]);
    assert_ne!(new, old);
    assert_eq!(world.tink(ALICE).0, old, "not in use yet");
    assert!(
        world
            .refused(&["keyset", "add"])
            .contains("a rotation is in progress")
    );
    let status = world.ok(&["keyset", "status"]);
    assert_eq!(
        status["keys"],
        json!([
            {"id": old, "status": "primary", "rows": 2},
            {"id": new, "status": "enabled", "rows": 0},
        ])
    );

    // 2. promote, but not before functions know it.
    let early = world.refused(&["keyset", "promote"]);
    assert!(
        early.starts_with("too early: ") && early.contains("Wait another 5 min"),
        "{early}"
    );
    assert_eq!(world.tink(ALICE).0, old);
    let output = world.run(&["keyset", "promote", "--now"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(
        text(&output.stderr).contains("warning: not waiting another 5 min"),
        "{output:?}"
    );
    assert_eq!(
        world.ok(&["keyset", "promote", &new.to_string()])["changed"],
        false
    );
    assert_eq!(
        world.tink(BOB),
        (new, Some("sk-or-v1-planted-didkeyzBob".to_owned()))
    );

    // The old key still seals two rows, and the new one seals.
    let in_use = world.refused(&["keyset", "disable", "--now"]);
    assert!(
        in_use.starts_with(&format!("2 rows are still sealed with key {old}")),
        "{in_use}"
    );
    assert!(
        world
            .refused(&["keyset", "disable", &new.to_string()])
            .contains("primary")
    );
    assert!(
        world
            .refused(&["keyset", "destroy", &old.to_string()])
            .contains("disable it first")
    );

    // 3. rewrap
    let before = world.column(ALICE);
    let tried = world.ok(&["rewrap", "--dry-run"]);
    assert_eq!(
        (&tried["rewrapped"], &tried["remaining"]),
        (&json!(2), &json!(2))
    );
    assert_eq!(world.column(ALICE), before);
    assert_eq!(world.ok(&["rewrap"])["rewrapped"], 2);
    assert_ne!(world.column(ALICE), before);
    let again = world.ok(&["rewrap"]);
    assert_eq!(
        (&again["rewrapped"], &again["remaining"]),
        (&json!(0), &json!(0))
    );
    assert_eq!(
        world.tink(ALICE),
        (new, Some("sk-or-v1-planted-didkeyzAlice".to_owned()))
    );
    assert_eq!(world.actions(), "rewrapped rewrapped");

    // 4. disable, but not before no function seals with it; and back.
    assert!(
        world
            .refused(&["keyset", "disable"])
            .starts_with("too early: ")
    );
    world.ok(&["keyset", "disable", "--now"]);
    world.ok(&["keyset", "enable"]);
    world.ok(&["keyset", "disable", "--now"]);
    assert_eq!(
        world.tink(ALICE).1.as_deref(),
        Some("sk-or-v1-planted-didkeyzAlice")
    );

    // 5. destroy, but not before the grace period is over, nor while a row came back from a backup.
    let grace = world.refused(&["keyset", "destroy"]);
    assert!(
        grace.contains("Wait another 6 d 23 h") || grace.contains("Wait another 7 d"),
        "{grace}"
    );
    world.sql(&format!(
        "UPDATE public.user_api_keys SET encrypted_api_key = '{before}' WHERE did = '{ALICE}'"
    ));
    assert!(
        world
            .refused(&["keyset", "destroy", "--now"])
            .contains("1 row is still sealed")
    );
    let disabled = world.wrong(&["rewrap"]);
    assert!(
        disabled["unusable"][ALICE]
            .as_str()
            .unwrap()
            .contains("is disabled")
    );
    world.ok(&["keyset", "enable"]);
    assert_eq!(world.ok(&["rewrap"])["rewrapped"], 1);
    world.ok(&["keyset", "disable", "--now"]);
    world.ok(&["keyset", "destroy", "--now"]);
    assert_eq!(
        world.ok(&["keyset", "status"])["keys"],
        json!([
            {"id": old, "status": "destroyed", "rows": 0},
            {"id": new, "status": "primary", "rows": 2},
        ])
    );
    assert!(
        world
            .refused(&["keyset", "enable", &old.to_string()])
            .contains("cannot be recovered")
    );
    assert_eq!(
        world.tink(BOB),
        (new, Some("sk-or-v1-planted-didkeyzBob".to_owned()))
    );
    world.assert_secrecy();
}

/// Each of them reads the same version; Secrets Manager lets one of them through.
#[test]
#[ignore = "needs TOOLS"]
fn of_operators_at_the_same_time_one_is_let_through() {
    let world = World::start("race");
    let old = id(&world.ok(&["keyset", "new"])["id"]);
    let adding: Vec<_> = (0..6)
        .map(|_| world.command(&["keyset", "add"]).spawn().unwrap())
        .collect();
    let added = adding
        .into_iter()
        .map(|child| world.seen(child.wait_with_output().unwrap()))
        .filter(|output| output.status.success())
        .count();
    assert_eq!(added, 1);
    let keys = world.ok(&["keyset", "status"])["keys"].clone();
    assert_eq!(keys.as_array().unwrap().len(), 2);
    assert_eq!(keys[0], json!({"id": old, "status": "primary", "rows": 0}));
    world.assert_secrecy();
}

#[test]
#[ignore = "needs TOOLS"]
fn a_rewrap_that_is_killed_goes_on_where_it_was() {
    let world = World::start("kill");
    world.ok(&["keyset", "new"]);
    let keyset = world.keyset();
    for n in 0..60 {
        let did = format!("did:key:zUser{n:02}");
        world.insert(&did, &keyset.seal(&did, &api_key(&did)).to_column());
    }
    world.ok(&["keyset", "add"]);
    world.ok(&["keyset", "promote", "--now"]);

    let mut child = world.command(&["rewrap", "--batch", "1"]).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let reached = lines.any(|line| line.unwrap() == "rewrapped: 10 of 60 rows");
    assert!(reached);
    // SIGKILL.
    child.kill().unwrap();
    child.wait().unwrap();

    let primary = world.keyset().primary_id().0;
    let count = || {
        let sql =
            format!("SELECT count(*) FROM public.user_api_keys WHERE seal_key_id = {primary}");
        world.sql(&sql).parse::<u64>().unwrap()
    };
    let done = count();
    assert!(
        (10..60).contains(&done),
        "{done} rows were done when it was killed"
    );
    let report = world.ok(&["rewrap"]);
    assert_eq!(report["rewrapped"], 60 - done);
    assert_eq!((count(), &report["remaining"]), (60, &json!(0)));
    let recorded = world.sql(
        "SELECT count(*), count(DISTINCT did) FROM public.key_events WHERE action = 'rewrapped'",
    );
    assert_eq!(recorded, "60|60", "each exactly once");
    let did = "did:key:zUser59";
    assert_eq!(
        world.tink(did),
        (primary, Some(api_key(did).expose_secret().to_owned()))
    );
}

#[test]
#[ignore = "needs TOOLS"]
fn damaged_rows_are_named_and_keep_the_old_key_alive() {
    let world = World::start("damage");
    let old = id(&world.ok(&["keyset", "new"])["id"]);
    world.store(ALICE);
    let good = world.column(ALICE);
    let damaged = [
        ("did:key:zMoved", good.clone()),
        ("did:key:zFlipped", flipped(&good)),
        ("did:key:zCut", good[..good.len() - 4].to_owned()),
        ("did:key:zShort", good[..20].to_owned()),
        ("did:key:zUnknown", good.replacen("v1.AQ", "v1.AV", 1)),
    ];
    for (did, column) in &damaged {
        world.insert(did, column);
    }
    world.ok(&["keyset", "add"]);
    world.ok(&["keyset", "promote", "--now"]);
    let report = world.wrong(&["rewrap"]);
    assert_eq!(
        (&report["rewrapped"], &report["remaining"]),
        (&json!(1), &json!(5))
    );
    let unusable = report["unusable"].as_object().unwrap();
    assert_eq!(unusable.len(), 5, "{unusable:?}");
    for (did, column) in &damaged {
        assert!(unusable.contains_key(*did), "{did}");
        assert_eq!(world.column(did), *column, "left as it was");
    }
    assert!(
        world
            .refused(&["keyset", "disable", "--now"])
            .contains("`llmgw admin doctor` lists")
    );

    let report = world.wrong(&["doctor"]);
    let named: Vec<_> = report["checks"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|check| check["check"] == "sealed keys")
        .map(|check| check["did"].as_str().unwrap())
        .collect();
    assert_eq!(named.len(), 5, "{report:#}");
    assert!(
        damaged.iter().all(|(did, _)| named.contains(did)),
        "{named:?}"
    );

    for (did, _) in &damaged {
        assert!(world.refused(&["did", "delete", did]).contains("--yes"));
        world.ok(&["did", "delete", did, "--yes"]);
    }
    world.ok(&["keyset", "disable", &old.to_string(), "--now"]);
    world.assert_secrecy();
}

/// The last character but one carries six whole bits.
fn flipped(column: &str) -> String {
    let mut bytes = column.as_bytes().to_vec();
    let place = bytes.len() - 3;
    bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
    String::from_utf8(bytes).unwrap()
}

/// The ciphertext that the original system would have stored, by Python's own cryptography.
fn legacy(world: &World, keys: &[(&str, &str)]) -> Vec<String> {
    let script = r#"
import hashlib, json, os, sys
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7
request = json.load(sys.stdin)
columns = []
for passphrase, key in request:
    secret = hashlib.scrypt(passphrase.encode(), salt=b"salt", n=16384, r=8, p=1, dklen=32)
    iv, padder = os.urandom(16), PKCS7(128).padder()
    cipher = Cipher(algorithms.AES(secret), modes.CBC(iv)).encryptor()
    padded = padder.update(key.encode()) + padder.finalize()
    columns.append(iv.hex() + ":" + (cipher.update(padded) + cipher.finalize()).hex())
print(json.dumps(columns))
"#;
    let mut child = Command::new(world.tools.python())
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(json!(keys).to_string().as_bytes()).unwrap();
    drop(stdin);
    serde_json::from_slice(&child.wait_with_output().unwrap().stdout).unwrap()
}

#[test]
#[ignore = "needs TOOLS"]
fn keys_of_the_original_system_are_taken_over_once() {
    let world = World::start("import");
    world.ok(&["keyset", "new"]);
    let (carol, dave, erin) = ("did:key:zCarol", "did:key:zDave", "did:key:zErin");
    let keys = [ALICE, BOB, carol, dave, erin].map(api_key);
    let [alice, bob, wrong, file_dave, file_erin]: [String; 5] = legacy(
        &world,
        &[
            (PASSPHRASE, keys[0].expose_secret()),
            (PASSPHRASE, keys[1].expose_secret()),
            ("another passphrase", keys[2].expose_secret()),
            (PASSPHRASE, keys[3].expose_secret()),
            (PASSPHRASE, keys[4].expose_secret()),
        ],
    )
    .try_into()
    .unwrap();
    for (did, column) in [(ALICE, &alice), (BOB, &bob), (carol, &wrong)] {
        world.insert(did, column);
    }
    let nothing = world.run(&["import-legacy"]);
    assert!(
        text(&nothing.stderr).contains("stdin has no passphrase"),
        "{nothing:?}"
    );

    let import = |args: &[&str]| {
        let args = [&["import-legacy", "--json"], args].concat();
        let output = world.with_input(&args, &format!("{PASSPHRASE}\n"));
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code(), report)
    };
    let (code, report) = import(&["--dry-run"]);
    assert_eq!(
        (code, &report["imported"]),
        (Some(1), &json!(2)),
        "{report}"
    );
    assert_eq!(world.column(ALICE), alice);

    let (code, report) = import(&[]);
    assert_eq!(
        (code, &report["imported"]),
        (Some(1), &json!(2)),
        "{report}"
    );
    let fault = report["unusable"][carol].as_str().unwrap();
    assert!(fault.contains("another passphrase"), "{fault}");
    assert_eq!(world.column(carol), wrong);
    assert_eq!(world.tink(BOB).1.as_deref(), Some(keys[1].expose_secret()));

    // Exported from elsewhere: Bob has stored another key since, Dave and Erin are new.
    let rows = json!([
        {"did": BOB, "encrypted_api_key": bob, "key_name": "b"},
        {"did": dave, "encrypted_api_key": file_dave, "key_name": "d", "credit_limit": 12.5},
        {"did": erin, "encrypted_api_key": file_erin},
    ]);
    fs::write(world.home.path().join("rows.json"), rows.to_string()).unwrap();
    world.sql(&format!(
        "UPDATE public.user_api_keys SET encrypted_api_key = 'his new one' WHERE did = '{BOB}'"
    ));
    let (code, report) = import(&["--rows", "rows.json"]);
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(
        (&report["imported"], &report["kept"]),
        (&json!(2), &json!(1))
    );
    assert_eq!(world.column(BOB), "his new one");
    assert_eq!(import(&["--rows", "rows.json"]).1["already"], 2);
    assert_eq!(world.tink(dave).1.as_deref(), Some(keys[3].expose_secret()));
    assert_eq!(
        world.sql(&format!("SELECT credit_limit, openrouter_key_hash FROM public.user_api_keys WHERE did = '{dave}'")),
        format!("12.5|{}", keys[3].hash())
    );
    assert_eq!(world.actions(), "imported imported imported imported");
    world.assert_secrecy();
}

#[test]
#[ignore = "needs TOOLS"]
fn accounts_are_listed_and_changed() {
    let world = World::start("accounts");
    world.ok(&["keyset", "new"]);
    world.store(ALICE);
    world.store(BOB);
    let listed = world.ok(&["did", "list"]);
    assert_eq!(listed["accounts"][1]["did"], BOB);
    assert_eq!(
        world.ok(&["did", "set-limit", ALICE, "25.50"])["credit_limit"],
        "25.5"
    );
    assert_eq!(
        world.ok(&["did", "set-rate", ALICE, "60"])["requests_per_minute"],
        60
    );
    let budgets = [
        "did",
        "set-budgets",
        ALICE,
        "5/day",
        "100/month",
        "--time-zone",
        "Europe/Berlin",
    ];
    let set = world.ok(&budgets);
    assert_eq!(set["budgets"][0]["amount"], "5");
    assert_eq!(set["budgets"][1]["time_zone"], "Europe/Berlin");
    assert_eq!(world.ok(&["did", "disable", ALICE])["disabled"], true);
    let shown = world.run(&["did", "show", ALICE]);
    let printed = text(&shown.stdout);
    for part in [
        "spent 0 of 25.5 USD, 60 per minute, 0 of 5 USD/day, 0 of 100 USD/month, sealed by ",
        ", DISABLED\n",
        "operator  disabled",
        "operator  limit_changed  {\"from\":null,\"to\":\"25.5\"}",
    ] {
        assert!(printed.contains(part), "{part} in {printed}");
    }
    assert_eq!(world.ok(&["did", "enable", ALICE])["disabled"], false);
    assert_eq!(world.ok(&["did", "approve", ALICE])["approved"], true);
    let shown = world.run(&["did", "show", ALICE]);
    assert!(text(&shown.stdout).contains(", approved\n"));
    let withdrawn = world.ok(&["did", "withdraw-approval", ALICE]);
    assert_eq!(withdrawn["approved"], false);
    assert_eq!(
        world.ok(&["did", "set-limit", ALICE, "none"])["credit_limit"],
        Value::Null
    );
    world.ok(&["did", "delete", BOB, "--yes"]);
    let history = world.ok(&["did", "show", BOB]);
    assert_eq!(
        (&history["account"], &history["events"][0]["action"]),
        (&Value::Null, &json!("deleted"))
    );
    for args in [
        vec!["did", "show", "did:key:zNobody"],
        vec!["did", "delete", BOB, "--yes"],
    ] {
        assert!(
            world
                .refused(&args)
                .starts_with("no key is stored for did:key:z"),
            "{args:?}"
        );
    }
    // Also for a DID that has no key at the moment.
    assert_eq!(
        world.ok(&["did", "set-limit", BOB, "1"])["credit_limit"],
        "1"
    );
    world.ok(&["did", "disable", BOB]);
    let shown = world.run(&["did", "show", BOB]);
    let printed = text(&shown.stdout);
    for part in [
        "no key is stored; for the next one: spent 0 of 1 USD, DISABLED",
        "operator  disabled",
    ] {
        assert!(printed.contains(part), "{part} in {printed}");
    }
    let cleared = world.ok(&["did", "set-budgets", ALICE, "none"]);
    assert_eq!(cleared["budgets"], json!([]));
    for (args, reason) in [
        (vec!["5/day", "none"], "none stands alone"),
        (vec!["5/day", "6/day"], "a DID has one budget per day"),
        (
            vec!["5/day", "--time-zone", "Atlantis"],
            "\"Atlantis\" is no IANA time zone",
        ),
    ] {
        let args = [vec!["did", "set-budgets", ALICE], args].concat();
        let refused = world.refused(&args);
        assert!(refused.starts_with(reason), "{refused}");
    }
    let wrong = world.run(&["did", "set-limit", ALICE, "-1"]);
    assert_eq!(wrong.status.code(), Some(2));
    world.assert_secrecy();
}

#[test]
#[ignore = "needs TOOLS"]
fn tokens_are_listed_and_ended() {
    let world = World::start("tokens");
    world.ok(&["keyset", "new"]);
    world.store(ALICE);
    let id = |number: u32| format!("00000000-0000-4000-8000-00000000000{number}");
    for number in [1, 2, 3] {
        let request = json!({
            "id": id(number), "did": ALICE, "request_time": u64::from(number),
            "fingerprint": format!("{number:064}"), "fingerprint_expires_at": 9_000_000_000_000_u64,
            "digest": format!("{number:064}"), "label": "sk-lgw-abc…xyz", "name": format!("token {number}"),
            "budgets": [{"period": "total", "amount": "5", "time_zone": "UTC"}],
        });
        world.sql(&format!("SELECT public.create_token('{request}')"));
    }
    let listed = world.ok(&["did", "tokens", ALICE]);
    assert_eq!(listed["tokens"][2]["id"], id(1));
    let printed = world.run(&["did", "tokens", ALICE]);
    let line = format!(
        "{}  sk-lgw-abc…xyz  \"token 1\"  spent 0 USD in 0 requests, 0 of 5 USD/total\n3 tokens",
        id(1)
    );
    let printed = text(&printed.stdout).to_owned();
    assert!(printed.contains(&line), "{printed}");

    let ended = world.ok(&["did", "revoke-tokens", ALICE, &id(2)]);
    assert_eq!(ended["tokens"][0]["state"], "revoked");
    for args in [[ALICE, &*id(2)], [BOB, &*id(1)]] {
        let refused = world.refused(&[&["did", "revoke-tokens"], &args[..]].concat());
        assert!(
            refused.starts_with("this DID has no live token"),
            "{refused}"
        );
    }
    let ended = world.run(&["did", "revoke-tokens", ALICE, "--all"]);
    assert!(text(&ended.stdout).ends_with("2 tokens revoked\n"));
    assert_eq!(world.ok(&["did", "tokens", ALICE])["tokens"], json!([]));
    let all = world.ok(&["did", "tokens", ALICE, "--all"]);
    assert_eq!(all["tokens"].as_array().unwrap().len(), 3);
    let events = world.ok(&["did", "show", ALICE]);
    assert_eq!(events["events"][0]["actor"], "operator");
    assert_eq!(events["events"][0]["action"], "token_revoked");
    let neither = world.run(&["did", "revoke-tokens", ALICE]);
    assert_eq!(neither.status.code(), Some(2));
    world.assert_secrecy();
}

#[test]
#[ignore = "needs TOOLS"]
fn a_keyset_may_be_kept_in_a_file() {
    let world = World::start("file");
    let path = world.home.path().join("keyset.json");
    let file = ["--keyset-file", "keyset.json"];
    let run = |args: &[&str]| world.ok(&[args, &file].concat());
    run(&["keyset", "new"]);
    let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(), 0o600);
    let added = id(&run(&["keyset", "add"])["id"]);
    assert_eq!(mode(), 0o600);
    assert!(
        world
            .refused(&["keyset", "promote", "--keyset-file", "keyset.json"])
            .starts_with("too early")
    );
    // As far as the file knows.
    let changed = |ago: SignedDuration| {
        let time = Clock::system().now() - ago;
        let file = fs::File::open(&path).unwrap();
        file.set_modified(time.into()).unwrap();
    };
    // A function that got the former keyset at the end of its life stores a key with it for 20 s.
    changed(SignedDuration::from_secs(300 + 20));
    assert!(
        world
            .refused(&["keyset", "promote", "--keyset-file", "keyset.json"])
            .starts_with("too early")
    );
    changed(SignedDuration::from_mins(6));
    run(&["keyset", "promote"]);
    let keyset = Keyset::parse(&fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(keyset.primary_id(), KeyId(added));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(
        world
            .refused(&["keyset", "status", "--keyset-file", "keyset.json"])
            .contains("chmod 600")
    );
    let text = fs::read_to_string(&path).unwrap();
    world.planted.lock().unwrap().push(text);
    world.assert_secrecy();
}

/// A gateway and an OpenRouter, whose clock differs by `clock`: all that `doctor` asks of either is one answer.
fn healthy_server(clock: SignedDuration) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            while lines.next().is_some_and(|line| !line.unwrap().is_empty()) {}
            let body = r#"{"success":true,"data":{"status":"healthy"}}"#;
            let now = (Clock::system().now() + clock)
                .strftime("%a, %d %b %Y %H:%M:%S GMT")
                .to_string();
            let length = body.len();
            let head = format!("HTTP/1.1 200 OK\r\ndate: {now}\r\nconnection: close");
            let _ = write!(stream, "{head}\r\ncontent-length: {length}\r\n\r\n{body}");
        }
    });
    address
}

#[test]
#[ignore = "needs TOOLS"]
#[expect(clippy::too_many_lines, reason = "one table of faults")]
fn the_doctor_finds_nothing_wrong_with_a_good_gateway_and_everything_with_a_bad_one() {
    let world = World::start("doctor");
    world.ok(&["keyset", "new"]);
    world.store(ALICE);
    let server = healthy_server(SignedDuration::ZERO);
    let late = healthy_server(SignedDuration::from_secs(-200));
    // With some variables changed, or without them.
    let doctor = |changes: &[(&str, Option<&str>)]| {
        let mut command = world.command(&["doctor"]);
        command
            .env("GATEWAY_AUDIENCES", &server)
            .env("GATEWAY_OPENROUTER_URL", format!("{server}/api/v1"))
            .env("SUPABASE_ANON_KEY", world.database.publishable_key());
        for (name, value) in changes {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let output = world.seen(command.output().unwrap());
        (output.status.code(), text(&output.stdout).to_owned())
    };
    let (code, printed) = doctor(&[]);
    let names: Vec<_> = printed
        .lines()
        .map(|line| {
            line.strip_prefix("ok    ")
                .unwrap_or(line)
                .split(':')
                .next()
                .unwrap()
        })
        .collect();
    assert_eq!(
        (code, names.as_slice()),
        (
            Some(0),
            &[
                "configuration",
                "keyset",
                "storage",
                "migrations",
                "grants",
                "sealed keys",
                "usage sums",
                "OpenRouter",
                "audience",
                "clock"
            ][..]
        ),
        "{printed}"
    );
    assert!(!printed.contains('\x1b'), "no colours in a pipe");
    // Supabase refuses a request without a key whatever is granted.
    let (code, printed) = doctor(&[("SUPABASE_ANON_KEY", None)]);
    assert!(
        code == Some(0) && printed.contains("\nskip  grants: not checked: set SUPABASE_ANON_KEY\n"),
        "{printed}"
    );

    let fails = |changes: &[(&str, Option<&str>)], part: &str| {
        let (code, printed) = doctor(changes);
        let found = printed
            .lines()
            .any(|line| line.starts_with("FAIL  ") && line.contains(part));
        assert!(found && code == Some(1), "{part} in\n{printed}");
        // The rest is checked nevertheless.
        assert!(printed.contains("OpenRouter: "), "{printed}");
    };
    // A sum that is not that of its requests.
    world.sql(
        "INSERT INTO public.request_logs (did, model, total_cost, request_time, status)
         VALUES ('did:key:zPlanted', 'm', 0.1, now(), 'completed');
         UPDATE public.usage_hours SET cost = cost + 0.0000000000000000001",
    );
    fails(&[], "usage sums: did:key:zPlanted: 1 sums differ");
    // An open request that reconciliation would never find, told beside the sum.
    world.sql(
        "INSERT INTO public.request_logs (did, model, request_time, status)
         VALUES ('did:key:zPlanted', 'm', now(), 'pending');
         DELETE FROM public.open_requests",
    );
    fails(&[], "usage sums: did:key:zPlanted: 1 sums differ");
    fails(
        &[],
        "open requests: open_requests lacks requests that are open, or has some that are not: 1 row →",
    );
    world.sql("DELETE FROM public.usage_series; DELETE FROM public.request_logs");
    let nobody = Some("http://127.0.0.1:9");
    for (name, value, part) in [
        ("HOLD_USD", Some("much"), "configuration: HOLD_USD"),
        (
            "KEYSET_SECRET_NAME",
            None,
            "configuration: KEYSET_SECRET_NAME",
        ),
        (
            "KEYSET_SECRET_NAME",
            Some("no/such"),
            "keyset: there is no keyset in the secret no/such",
        ),
        ("SUPABASE_URL", nobody, "storage: connection failed"),
        (
            "SUPABASE_SECRET_KEY",
            Some("sb_secret_wrong"),
            "storage: it does not accept",
        ),
        ("GATEWAY_OPENROUTER_URL", nobody, "OpenRouter: "),
        ("GATEWAY_AUDIENCES", nobody, "audience: http://127.0.0.1:9"),
    ] {
        fails(&[(name, value)], part);
    }

    fails(
        &[("GATEWAY_OPENROUTER_URL", Some(&late))],
        "clock: the clock of OpenRouter differs from this machine's by -20",
    );

    // As an operator in the console could do it.
    world.sql("GRANT SELECT ON public.user_api_keys TO anon");
    fails(
        &[],
        "grants: with the publishable key anybody may use user_api_keys.id",
    );
    world.sql(
        "REVOKE ALL ON public.user_api_keys FROM anon; DROP FUNCTION public.usage_summary(jsonb)",
    );
    fails(&[], "migrations: no usage_summary() for the gateway");
    let nonsense = r#"{"primaryKeyId":1,"key":[]}"#;
    world.secrets.put_secret(SECRET, nonsense).unwrap();
    fails(&[], "keyset: the primary key 1 is not in the keyset");
    world.assert_secrecy();
}
