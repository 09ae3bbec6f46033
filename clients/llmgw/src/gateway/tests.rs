use proptest::prelude::*;
use serde::Deserialize;
use shared::{
    identity::{
        auth::{Audiences, authenticate},
        signing,
    },
    request::{Incoming, RawQuery},
};

use super::*;

const NOW: i64 = 1_735_689_600;

fn now() -> Timestamp {
    Timestamp::from_second(NOW).unwrap()
}

fn identity() -> Identity {
    Identity::from_seed(&[7; 32])
}

fn gateway(base: &str) -> Gateway {
    Gateway::new(base.parse().unwrap())
}

fn signed(gateway: &Gateway, draft: Draft) -> Request<Bytes> {
    gateway
        .signed(&identity(), draft, now(), &Nonce::from_random([1; 16]))
        .unwrap()
}

/// The gateway's view of the request as the HTTP client sends it.
fn incoming(request: Request<Bytes>) -> Incoming {
    let sent = reqwest::Request::try_from(request).unwrap();
    let body = sent.body().and_then(reqwest::Body::as_bytes);
    Incoming {
        method: sent.method().clone(),
        raw_path: sent.url().path().to_owned(),
        stage: None,
        query: RawQuery::Encoded(sent.url().query().unwrap_or_default().to_owned()),
        headers: sent.headers().clone(),
        body: Bytes::copy_from_slice(body.unwrap_or_default()),
    }
}

fn audiences(audience: &str) -> Audiences {
    Audiences::new(vec![audience.parse().unwrap()]).unwrap()
}

#[derive(Deserialize)]
struct Vectors {
    secret_key_seed_hex: String,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    did: String,
    ts: String,
    nonce: String,
    method: String,
    aud: String,
    path: String,
    query: String,
    body: String,
    sig: String,
}

#[test]
fn vectors() {
    let vectors: Vectors =
        serde_json::from_str(include_str!("../../../../shared/testdata/x_did_v1.json")).unwrap();
    let seed = hex::decode(&vectors.secret_key_seed_hex).unwrap();
    let identity = Identity::from_seed(&seed.try_into().unwrap());
    let with_nonce: Vec<_> = vectors
        .cases
        .iter()
        .filter(|c| !c.nonce.is_empty())
        .collect();
    assert_eq!(with_nonce.len(), 2);
    for case in with_nonce {
        let draft = Draft::new(
            case.method.parse().unwrap(),
            Target::parse(&format!("{}?{}", case.path, case.query)).unwrap(),
            HeaderMap::new(),
            case.body.clone(),
        );
        let signed_at = Timestamp::from_second(case.ts.parse().unwrap()).unwrap();
        let nonce = Nonce::parse(&case.nonce).unwrap();
        let headers = gateway(&case.aud)
            .sign(&identity, &draft, signed_at, &nonce)
            .unwrap();
        let expected = [
            ("x-did", &case.did),
            ("x-did-timestamp", &case.ts),
            ("x-did-signature", &case.sig),
            ("x-did-nonce", &case.nonce),
        ];
        assert_eq!(headers, expected.map(|(name, value)| (name, value.clone())));
    }
}

#[test]
fn both_schemes_and_both_kinds_of_keys_pass() {
    let p256 = Identity::from_p256(&[7; 32]).unwrap();
    for identity in [identity(), p256] {
        for scheme in Scheme::ALL {
            for body in ["", "{}"] {
                let draft = Draft::new(
                    Method::POST,
                    Target::parse("/api/v1/x?b=2&a=%20").unwrap(),
                    HeaderMap::new(),
                    body,
                );
                let gateway = gateway("https://gw.example.com/Prod").with_scheme(scheme);
                let nonce = Nonce::from_random([1; 16]);
                let request = gateway.signed(&identity, draft, now(), &nonce).unwrap();
                let passed = authenticate(
                    &incoming(request),
                    &audiences("https://gw.example.com/Prod"),
                    10,
                    now(),
                );
                assert_eq!(passed.unwrap().caller.did(), identity.did());
            }
        }
    }
}

/// The command of docs/use/command-line.md, with a key that `SoftHSM` keeps.
#[test]
#[ignore = "needs SOFTHSM2"]
fn a_token_with_pkcs11_signs_by_the_documented_command() {
    let module = shared::config::Env::process().optional("SOFTHSM2").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let page = include_str!("../../../../docs/use/command-line.md");
    let (_, script) = page.split_once("cat > sign.sh <<'END'\n").unwrap();
    let (script, _) = script.split_once("\nEND\n").unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("sign.sh", &script.replace("MODULE", &module));
    std::fs::create_dir(folder.path().join("tokens")).unwrap();
    let directory = folder.path().display();
    let settings =
        format!("directories.tokendir = {directory}/tokens\nobjectstore.backend = file\n");
    write("softhsm2.conf", &settings);
    let environment = format!("SOFTHSM2_CONF={directory}/softhsm2.conf PIN=12345678");
    let run = |command: &str| {
        let line = format!("export {environment}; cd {directory}; {command}");
        let output = std::process::Command::new("sh")
            .args(["-c", &line])
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    run("softhsm2-util --init-token --free --label llmgw --pin $PIN --so-pin $PIN");
    let tool = format!("pkcs11-tool --module {module}");
    run(&format!(
        "{tool} --login --pin env:PIN --keypairgen --key-type EC:prime256v1 --id 01"
    ));
    run(&format!(
        "{tool} --read-object --type pubkey --id 01 -o public.der"
    ));

    let public = std::fs::read(folder.path().join("public.der")).unwrap();
    let public = crate::identity::from_pem(&public).unwrap();
    let command = format!("{environment} sh {directory}/sign.sh");
    let identity = Identity::external(command, None, public).unwrap();
    for scheme in Scheme::ALL {
        let target = Target::parse("/api/v1/usage").unwrap();
        let gateway = gateway("https://gw.example.com").with_scheme(scheme);
        let nonce = Nonce::from_random([1; 16]);
        let request = gateway
            .signed(&identity, Draft::get(target), now(), &nonce)
            .unwrap();
        let passed = authenticate(
            &incoming(request),
            &audiences("https://gw.example.com"),
            0,
            now(),
        );
        assert_eq!(passed.unwrap().caller.did(), identity.did());
    }
}

#[test]
fn the_request_goes_to_the_address_and_is_signed_for_the_audience() {
    let audience = "https://abc.execute-api.eu-west-1.amazonaws.com/Prod";
    let gateway = gateway("http://127.0.0.1:9000/").with_audience(audience.parse().unwrap());
    let target = Target::parse("openrouter/models/a%3Afree?b=2&a=1+1").unwrap();
    let request = signed(&gateway, Draft::get(target));
    assert_eq!(
        request.uri(),
        "http://127.0.0.1:9000/api/v1/openrouter/models/a:free?a=1%201&b=2"
    );
    let request = incoming(request);
    assert!(authenticate(&request, &audiences(audience), 0, now()).is_ok());
    let own_address = audiences("http://127.0.0.1:9000");
    assert!(authenticate(&request, &own_address, 0, now()).is_err());
}

#[test]
fn a_body_is_json_unless_it_says_otherwise() {
    let target = || Target::parse("/x").unwrap();
    let content_type = |draft: Draft| {
        let value = draft.headers.get(CONTENT_TYPE)?;
        Some(value.to_str().unwrap().to_owned())
    };
    let json = Some("application/json".to_owned());
    assert_eq!(content_type(Draft::post(target(), "{}")), json);
    assert_eq!(content_type(Draft::post(target(), "")), None);
    assert_eq!(content_type(Draft::get(target())), None);
    let text = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("text/plain"))]);
    let draft = Draft::new(Method::PUT, target(), text, "x");
    assert_eq!(content_type(draft), Some("text/plain".to_owned()));
}

#[test]
fn headers_of_the_draft_do_not_pose_as_the_signature() {
    let forged = HeaderMap::from_iter(
        [signing::DID, signing::NONCE, signing::SIGNATURE]
            .map(|name| (name.parse().unwrap(), HeaderValue::from_static("forged"))),
    );
    let target = Target::parse("/x").unwrap();
    let draft = Draft::new(Method::GET, target, forged, "");
    let request = signed(&gateway("https://gw"), draft);
    assert!(request.headers().values().all(|value| value != "forged"));
    assert_eq!(request.headers().len(), 4);
}

#[test]
fn a_clock_before_1970_is_an_error() {
    let draft = Draft::get(Target::parse("/x").unwrap());
    let nonce = Nonce::from_random([1; 16]);
    let signed = gateway("https://gw").signed(&identity(), draft, Timestamp::MIN, &nonce);
    assert!(matches!(signed, Err(SignError::Clock(_))));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn what_is_sent_is_what_was_signed(
        path in "(/[a-z0-9:@!$&'()*+,;=~_-]{1,6}){1,4}/?",
        query in "[a-c%+&=2F~é ?#'/\"]{0,12}",
        base in prop_oneof![Just("https://gw.example.com"), Just("http://[::1]:8080/a/B")],
        body: Vec<u8>,
    ) {
        if let Ok(target) = Target::parse(&format!("{path}?{query}")) {
            let request = incoming(signed(&gateway(base), Draft::post(target.clone(), body)));
            let authenticated =
                authenticate(&request, &audiences(base), 1 << 20, now()).unwrap();
            prop_assert_eq!(&authenticated.path, target.path());
            prop_assert_eq!(&authenticated.query, target.query());
        }
    }
}
