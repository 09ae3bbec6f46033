use super::*;

/// RFC 7636, appendix B.
#[test]
fn the_challenge() {
    let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    let verifier = Verifier(Zeroizing::new(verifier.to_owned()));
    let challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
    assert_eq!(verifier.challenge(), challenge);
    let openrouter = "https://openrouter.ai".parse().unwrap();
    assert_eq!(
        verifier.address(&openrouter, "http://localhost:3000/x"),
        format!(
            "https://openrouter.ai/auth?callback_url=http%3A%2F%2Flocalhost%3A3000%2Fx\
             &code_challenge={challenge}&code_challenge_method=S256"
        )
    );
}

#[test]
fn what_people_paste() {
    for text in [
        "a-b_c",
        " a-b_c\n",
        "http://localhost:3000/x?code=a-b_c",
        "http://localhost:3000/x?state=1&code=a-b_c#top",
    ] {
        assert_eq!(parse_pasted(text).unwrap().as_str(), "a-b_c", "{text}");
    }
    for text in [
        "",
        "\n",
        "http://localhost:3000/x",
        "http://localhost:3000/x?error=denied",
        "x?code=",
    ] {
        assert!(parse_pasted(text).is_err(), "{text}");
    }
}

#[tokio::test]
async fn the_callback_takes_its_own_request_only() {
    let (listeners, port) = listen(0).await.unwrap();
    for listener in &listeners {
        assert!(listener.local_addr().unwrap().ip().is_loopback());
        assert_eq!(listener.local_addr().unwrap().port(), port);
    }
    // Where there is IPv6, the port is taken there, too.
    let addresses: Vec<_> = listeners
        .iter()
        .map(|it| it.local_addr().unwrap())
        .collect();
    for address in &addresses {
        assert!(TcpListener::bind(address).await.is_err(), "{address}");
    }
    let code = tokio::spawn(receive(
        listeners,
        port,
        "/secret".to_owned(),
        Box::new(code_of),
    ));
    let client = http_client::without_tls(Duration::from_secs(5)).unwrap();
    let ask = async |method: Method, path: &str, host: String| {
        let url = format!("http://{}{path}", addresses.last().unwrap());
        let request = client.request(method, url).header("host", host);
        request.send().await.unwrap().status().as_u16()
    };
    let own = format!("localhost:{port}");
    assert_eq!(ask(Method::GET, "/other?code=a", own.clone()).await, 404);
    assert_eq!(
        ask(Method::GET, "/secret?code=a", "attacker.example".to_owned()).await,
        404
    );
    assert_eq!(
        ask(Method::GET, "/secret?code=a", "localhost".to_owned()).await,
        404
    );
    assert_eq!(ask(Method::POST, "/secret?code=a", own.clone()).await, 405);
    assert_eq!(ask(Method::GET, "/secret", own.clone()).await, 404);
    assert_eq!(ask(Method::GET, "/secret?code=b", own).await, 200);
    assert_eq!(code.await.unwrap().unwrap().as_str(), "b");
}

#[test]
fn openrouter_is_asked_over_plain_http_on_this_machine_only() {
    for (url, is_allowed) in [
        ("https://openrouter.ai", true),
        ("http://127.0.0.1:9", true),
        ("http://openrouter.ai", false),
        ("http://localhost.example.com", false),
    ] {
        assert_eq!(private_url(url).is_ok(), is_allowed, "{url}");
    }
}
