use std::process::Command;

use http::HeaderMap;
use jiff::Timestamp;
use shared::identity::signing::Nonce;

use super::*;
use crate::{
    gateway::{Draft, Gateway},
    identity::Identity,
    target::Target,
};

fn request(method: Method, target: &str, headers: HeaderMap, body: &[u8]) -> Request<Bytes> {
    let draft = Draft::new(
        method,
        Target::parse(target).unwrap(),
        headers,
        Bytes::copy_from_slice(body),
    );
    Gateway::new("https://gw.example.com".parse().unwrap())
        .signed(
            &Identity::from_seed(&[7; 32]),
            draft,
            Timestamp::from_second(1_735_689_600).unwrap(),
            &Nonce::from_random([1; 16]),
        )
        .unwrap()
}

/// The arguments that a shell passes to curl.
fn words(command: &str) -> Vec<String> {
    let script = format!("curl() {{ printf '%s\\0' \"$@\"; }}\n{command}\n");
    let output = Command::new("sh").args(["-c", &script]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let words = text.strip_suffix('\0').unwrap();
    words.split('\0').map(str::to_owned).collect()
}

#[test]
fn a_command() {
    let body = r#"{"model":"openai/gpt-4o-mini"}"#;
    let request = request(
        Method::POST,
        "openrouter/chat/completions",
        HeaderMap::new(),
        body.as_bytes(),
    );
    insta::assert_snapshot!(command(&request, None).unwrap(), @r#"
    curl --no-buffer 'https://gw.example.com/api/v1/openrouter/chat/completions' \
      --header 'content-type: application/json' \
      --header 'x-did: did:key:z6MkvDqGT54cXesYGvABpF1UapVNwjCqRcafi4Px6Thv5T3Z' \
      --header 'x-did-timestamp: 1735689600' \
      --header 'x-did-signature: Z743-3Z-8IC0HTlkusPhMRb22Isg6HTW1WWhVQOSwDeO37hscrbXwSH-uqUye6XrVWl69V7Mzf4cJmCXl_LoCQ' \
      --header 'x-did-nonce: AQEBAQEBAQEBAQEBAQEBAQ' \
      --data-raw '{"model":"openai/gpt-4o-mini"}'
    "#);
}

#[test]
fn a_shell_gives_curl_what_was_signed() {
    for body in [
        "it's '' \"$HOME\" `id` \\ \\\\ !! %s",
        "@/etc/passwd",
        "two\nlines\n",
        "'",
        "-d",
        "你好",
    ] {
        let mut headers = HeaderMap::new();
        headers.insert("x-title", "a 'title' $1".parse().unwrap());
        headers.insert("x-empty", "".parse().unwrap());
        let request = request(
            Method::PUT,
            "openrouter/m(1)'s&$x?a=*&b=[1-3]{x}",
            headers,
            body.as_bytes(),
        );
        let words = words(&command(&request, None).unwrap());
        let method = words.iter().position(|word| word == "--request").unwrap();
        assert_eq!(words[method + 1], "PUT");
        assert!(
            words.contains(
                &"https://gw.example.com/api/v1/openrouter/m(1)'s&$x?a=%2A&b=%5B1-3%5D%7Bx%7D"
                    .to_owned()
            )
        );
        assert!(words.contains(&"x-title: a 'title' $1".to_owned()));
        assert!(words.contains(&"x-empty;".to_owned()));
        let data = words.iter().position(|word| word == "--data-raw").unwrap();
        assert_eq!(words[data + 1], body);
        for name in ["x-did", "x-did-timestamp", "x-did-nonce", "x-did-signature"] {
            let value = request.headers()[name].to_str().unwrap();
            assert!(words.contains(&format!("{name}: {value}")), "{name}");
        }
    }
}

#[test]
fn methods_that_curl_chooses_are_left_to_it() {
    let first_line = |method: Method, body: &[u8]| {
        let command = command(&request(method, "/x", HeaderMap::new(), body), None).unwrap();
        command.lines().next().unwrap().to_owned()
    };
    let url = "'https://gw.example.com/x' \\";
    assert_eq!(
        first_line(Method::GET, b""),
        format!("curl --no-buffer {url}")
    );
    assert_eq!(
        first_line(Method::POST, b"{}"),
        format!("curl --no-buffer {url}")
    );
    assert_eq!(
        first_line(Method::HEAD, b""),
        format!("curl --no-buffer --head {url}")
    );
    for (method, body) in [
        (Method::GET, "{}"),
        (Method::POST, ""),
        (Method::DELETE, ""),
    ] {
        assert_eq!(
            first_line(method.clone(), body.as_bytes()),
            format!("curl --no-buffer --request '{method}' {url}")
        );
    }
}

#[test]
fn bodies_that_are_no_text_stay_in_their_file() {
    for body in [b"\xff".as_slice(), b"a\0b"] {
        let request = request(Method::POST, "/x", HeaderMap::new(), body);
        assert_eq!(command(&request, None), Err(CurlError::Body));
        let command = command(&request, Some(Path::new("my file.bin"))).unwrap();
        assert!(
            command.ends_with("--data-binary '@my file.bin'"),
            "{command}"
        );
    }
}
