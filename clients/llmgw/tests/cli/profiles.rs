//! Identities and profiles, as their user handles them.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
};

use crate::{
    gateway::{AUDIENCE, Gateway},
    user::{User, text},
};

/// The audience that `sign` signs for, which shows the chosen gateway.
fn curl_line(user: &User, args: &[&str], env: &[(&str, &str)]) -> Result<String, String> {
    let mut command = user.command(&["sign", "--curl", "usage"]);
    let output = command.args(args).envs(env.iter().copied()).output();
    let output = output.unwrap();
    if output.status.success() {
        let line = text(&output.stdout).lines().next().unwrap().to_owned();
        Ok(line)
    } else {
        Err(text(&output.stderr).to_owned())
    }
}

fn succeed(user: &User, args: &[&str]) -> String {
    let output = user.run(args);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    text(&output.stdout).to_owned()
}

fn fail(user: &User, args: &[&str]) -> String {
    let output = user.run(args);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(text(&output.stdout), "");
    text(&output.stderr).to_owned()
}

#[test]
fn the_gateway_is_that_of_the_argument_the_variable_or_the_profile() {
    let user = User::new();
    let none = curl_line(&user, &[], &[]).unwrap_err();
    assert!(none.contains("--gateway or LLMGW_GATEWAY"), "{none}");
    assert!(none.contains("`llmgw profile add NAME URL`"), "{none}");

    succeed(
        &user,
        &["profile", "add", "home", "https://home.example.com"],
    );
    succeed(
        &user,
        &["profile", "add", "work", "https://work.example.com/Prod/"],
    );
    let url = |args: &[&str], env: &[(&str, &str)]| {
        let line = curl_line(&user, args, env).unwrap();
        line.split('\'').nth(1).unwrap().to_owned()
    };
    let (home, work) = (
        "https://home.example.com/api/v1/usage",
        "https://work.example.com/Prod/api/v1/usage",
    );
    assert_eq!(url(&[], &[]), home, "the first is used");
    assert_eq!(url(&["--profile", "work"], &[]), work);
    assert_eq!(url(&[], &[("LLMGW_PROFILE", "work")]), work);
    assert_eq!(
        url(&["--profile", "home"], &[("LLMGW_PROFILE", "work")]),
        home
    );
    let variable = [("LLMGW_GATEWAY", "https://variable")];
    assert_eq!(url(&[], &variable), "https://variable/api/v1/usage");
    let argument = ["--gateway", "https://argument"];
    assert_eq!(url(&argument, &variable), "https://argument/api/v1/usage");

    succeed(&user, &["profile", "use", "work"]);
    assert_eq!(url(&[], &[]), work);
    assert_eq!(
        succeed(&user, &["profile", "list"]),
        "  home  https://home.example.com\n* work  https://work.example.com/Prod\n"
    );
    succeed(&user, &["profile", "remove", "work"]);
    assert_eq!(url(&[], &[]), home);
    assert_eq!(url(&["--profile", "home"], &[]), home);

    for args in [
        vec!["profile", "use", "work"],
        vec!["profile", "remove", "work"],
        vec!["sign", "usage", "--profile", "work"],
        vec!["identity", "show", "--profile", "work"],
    ] {
        assert!(fail(&user, &args).contains("there is no profile work; "));
    }
    let again = fail(&user, &["profile", "add", "home", "https://other"]);
    assert!(again.contains("--force"), "{again}");
    succeed(
        &user,
        &["profile", "add", "home", "https://other", "--force"],
    );
    assert_eq!(
        url(&["--profile", "home"], &[]),
        "https://other/api/v1/usage"
    );
    let odd = user.run(&["profile", "add", "a b", "https://other"]);
    assert_eq!(odd.status.code(), Some(2));
}

/// Else a signature for one gateway would be made for another.
#[test]
fn a_profiles_audience_is_for_its_own_gateway_only() {
    let user = User::new();
    let sign = |args: &[&str]| {
        // Ed25519 is deterministic, but the nonce is not: compare by what the gateway would say.
        let output = user
            .command(&["sign", "usage"])
            .args(args)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let printed = text(&output.stdout).to_owned();
        let headers = printed.lines().map(|line| {
            let (name, value) = line.split_once(": ").unwrap();
            let name: http::HeaderName = name.parse().unwrap();
            (name, http::HeaderValue::from_str(value).unwrap())
        });
        shared::request::Incoming {
            method: http::Method::GET,
            raw_path: "/api/v1/usage".to_owned(),
            stage: None,
            query: shared::request::RawQuery::Encoded(String::new()),
            headers: headers.collect(),
            body: bytes::Bytes::new(),
        }
    };
    let holds = |args: &[&str], audience: &str| {
        let audiences = vec![audience.parse().unwrap()];
        let audiences = shared::identity::auth::Audiences::new(audiences).unwrap();
        let now = shared::clock::Clock::system().now();
        shared::identity::auth::authenticate(&sign(args), &audiences, 0, now).is_ok()
    };
    let add = ["profile", "add", "tunnel", "http://127.0.0.1:9"];
    succeed(&user, &[&add[..], &["--audience", "https://gw"]].concat());
    assert!(holds(&[], "https://gw"));
    assert!(holds(&["--gateway", "https://other"], "https://other"));
    assert!(holds(&["--audience", "https://another"], "https://another"));
}

#[test]
fn a_profile_can_have_an_identity_of_its_own() {
    let user = User::new();
    let add = ["profile", "add", "work", "https://gw"];
    succeed(&user, &[&add[..], &["--identity", "work.json"]].concat());
    let work = succeed(&user, &["identity", "new"]);
    assert_ne!(work.trim_end(), user.did);
    assert!(user.home.path().join("work.json").is_file());
    // From wherever it is used.
    let shown = user
        .command(&["identity", "show"])
        .current_dir("/")
        .output()
        .unwrap();
    assert_eq!(text(&shown.stdout), work);
    let config = user.home.path().join(".config/llmgw/config.toml");
    assert_eq!(fs::metadata(config).unwrap().mode() & 0o7777, 0o600);
}

#[test]
fn an_identity_moves_by_a_private_file() {
    let user = User::new();
    let other = User::without_identity();
    let file = user.home.path().join("backup.json");
    let path = file.to_str().unwrap();
    succeed(&user, &["identity", "export", path]);
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o600);
    assert!(fail(&user, &["identity", "export", path]).contains("--force replaces it"));

    // As on a file system without permissions.
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    let imported = succeed(&other, &["identity", "import", path]);
    assert_eq!(imported.trim_end(), user.did);
    let private = fs::metadata(other.identity_file()).unwrap();
    assert_eq!(private.mode() & 0o7777, 0o600);
    assert_eq!(other.secret(), user.secret());
    assert!(fail(&other, &["identity", "import", path]).contains("--force"));

    let piped = succeed(&user, &["identity", "export", "-"]);
    assert_eq!(piped, fs::read_to_string(&file).unwrap());
    fs::write(&file, format!("\"{}\"", user.secret())).unwrap();
    let error = fail(&other, &["identity", "import", path, "--force"]);
    assert!(error.contains("is not an identity file"), "{error}");
    assert!(!error.contains(&user.secret()), "{error}");
}

#[test]
fn removing_the_profile_in_use_chooses_another() {
    let user = User::without_identity();
    let added = user.run(&["profile", "add", "a", "https://a.example.com"]);
    assert_eq!(
        text(&added.stderr),
        "Added a; `llmgw identity new` makes your identity for it.\n"
    );
    user.run(&["identity", "new"]);
    let added = user.run(&["profile", "add", "b", "https://b.example.com"]);
    assert_eq!(
        text(&added.stderr),
        "Added b; `llmgw --profile b doctor` checks it, `llmgw --profile b connect` stores your \
         OpenRouter key there.\n"
    );
    let removed = user.run(&["profile", "remove", "a"]);
    assert_eq!(text(&removed.stderr), "The profile in use is now b.\n");
    assert!(succeed(&user, &["profile", "list"]).starts_with("* b  "));
    let removed = user.run(&["profile", "remove", "b"]);
    assert_eq!(text(&removed.stderr), "No profile is left.\n");
}

/// As with `gh auth login`, somebody begins with it.
#[test]
fn login_leads_through_what_is_missing() {
    let gateway = Gateway::start();
    let user = User::without_identity();
    let login = |args: &[&str]| {
        let output = user.run(&[&["login"], args].concat());
        assert_eq!(text(&output.stderr), "");
        (output.status.code(), text(&output.stdout).to_owned())
    };
    let (status, said) = login(&[]);
    assert_eq!(status, Some(1));
    assert!(said.starts_with("gateway   none\n\nNext: `llmgw profile add NAME URL`"));
    assert!(said.contains("`llmgw login --browser`"), "{said}");

    let url = gateway.url();
    succeed(
        &user,
        &["profile", "add", "dev", &url, "--audience", AUDIENCE],
    );
    let (status, said) = login(&[]);
    assert_eq!(status, Some(1));
    let expected = format!("gateway   {url}\nidentity  none\n\nNext: `llmgw identity new`");
    assert!(said.starts_with(&expected), "{said}");

    let did = succeed(&user, &["identity", "new"]);
    let no_key = r#"{"error":{"message":"Store one.","metadata":{"reason":"no_key_for_did"}}}"#;
    gateway.answer("GET /api/v1/keys", 402, no_key);
    let (status, said) = login(&[]);
    assert_eq!(status, Some(1));
    assert!(said.contains(&format!("identity  {} in ", did.trim_end())));
    assert!(said.contains("key       none\n\nNext: `llmgw connect --browser`"));

    let key = r#"{"data":{"key_name":"a","hash":"b","source":"own","disabled":false}}"#;
    gateway.answer("GET /api/v1/keys", 200, key);
    let (status, said) = login(&["--gateway", &url, "--audience", AUDIENCE]);
    assert_eq!(status, Some(0));
    assert!(
        said.contains("key       stored (own)\n\nYou are logged in."),
        "{said}"
    );

    // What is for tokens alone says so.
    let output = user.run(&["login", "--budget", "5/day"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("--browser"), "{output:?}");
}
