use super::*;

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    pairs
        .iter()
        .fold(HeaderMap::new(), |mut map, (name, value)| {
            map.append(
                HeaderName::try_from(*name).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
            map
        })
}

fn names(headers: &HeaderMap) -> Vec<&str> {
    let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    names
}

#[test]
fn many_names_in_connection_are_looked_up_not_searched() {
    let mut sent = HeaderMap::new();
    for number in 0..10_000 {
        let name = HeaderName::try_from(format!("x-{number}")).unwrap();
        sent.append(name, HeaderValue::from_static("1"));
    }
    let listed: Vec<_> = (0..10_000).map(|number| format!("x-{number}")).collect();
    let listed = HeaderValue::try_from(listed.join(",")).unwrap();
    sent.insert(header::CONNECTION, listed);
    assert_eq!(names(&forwarded_headers(&sent)), ["accept-encoding"]);
}

#[test]
fn nothing_that_identifies_or_authorises_the_client_goes_upstream() {
    let sent = forwarded_headers(&headers(&[
        ("x-did", "did:key:z"),
        ("x-did-signature", "s"),
        ("x-did-timestamp", "1"),
        ("signature-input", "s"),
        ("content-digest", "d"),
        ("authorization", "Bearer sk-other"),
        ("x-api-key", "sk"),
        ("api-key", "sk"),
        ("apikey", "sk"),
        ("x-goog-api-key", "sk"),
        ("ocp-apim-subscription-key", "sk"),
        ("x-access-token", "sk"),
        ("x-auth-token", "sk"),
        ("cookie", "a=b"),
        ("host", "gw"),
        ("forwarded", "for=1"),
        ("x-forwarded-for", "1.2.3.4"),
        ("x-amzn-trace-id", "Root=1"),
        ("x-amz-date", "1"),
        ("cloudfront-viewer-country", "CH"),
        ("connection", "close, X-Hop"),
        ("x-hop", "1"),
        ("te", "trailers"),
        ("transfer-encoding", "chunked"),
        ("content-length", "3"),
        ("accept-encoding", "gzip, br"),
        ("http-referer", "https://app.example"),
        ("x-title", "App"),
        ("anthropic-version", "2023-06-01"),
        ("content-type", "application/json"),
        ("user-agent", "openai-python"),
    ]));
    assert_eq!(
        names(&sent),
        [
            "accept-encoding",
            "anthropic-version",
            "content-type",
            "http-referer",
            "user-agent",
            "x-title"
        ]
    );
    assert_eq!(sent["accept-encoding"], "identity");
}

#[test]
fn answers_lose_cookies_and_hops_and_repeat_no_name() {
    let returned = returned_headers(&headers(&[
        ("set-cookie", "__cf_bm=1"),
        ("connection", "keep-alive"),
        ("keep-alive", "timeout=5"),
        ("content-length", "12"),
        ("access-control-allow-origin", "*"),
        ("x-gateway-upstream", "forged"),
        ("vary", "Accept-Encoding"),
        ("vary", "Origin"),
        ("retry-after", "7"),
        ("x-generation-id", "gen-1"),
    ]));
    assert_eq!(names(&returned), ["retry-after", "vary", "x-generation-id"]);
    assert_eq!(returned["vary"], "Accept-Encoding, Origin");
}

#[test]
fn headers_that_do_not_fit_are_left_out_and_counted() {
    let long = "x".repeat(5000);
    let returned = returned_headers(&headers(&[
        ("x-a", &long),
        ("x-b", &long),
        ("x-c", "1"),
        ("link", &"y".repeat(20_000)),
        ("x-gateway-omitted-headers", "0"),
        ("x-generation-id", "gen-1"),
        ("content-type", "application/json"),
        ("retry-after", "7"),
    ]));
    let room: usize = returned
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum();
    assert!(room < 9 * 1024, "{room}");
    assert_eq!(returned["x-gateway-omitted-headers"], "2");
    for (name, value) in [
        ("content-type", "application/json"),
        ("retry-after", "7"),
        ("x-generation-id", "gen-1"),
        ("x-c", "1"),
    ] {
        assert_eq!(returned[name], value);
    }
    let returned = returned_headers(&headers(&[("x-a", &long), ("x-c", "1")]));
    assert_eq!(names(&returned), ["x-a", "x-c"]);
}
