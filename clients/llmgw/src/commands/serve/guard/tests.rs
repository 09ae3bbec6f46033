use http::{HeaderName, Request};

use super::*;

const TOKEN: &str = "0123456789abcdef";

fn guard() -> Guard {
    Guard {
        token: Some(TOKEN.parse().unwrap()),
        any_address: false,
        hosts: vec!["host.docker.internal".to_owned()],
        origins: vec!["https://app.example.com".parse().unwrap()],
    }
}

fn head(uri: &str, headers: &[(&str, &str)]) -> Parts {
    let mut request = Request::builder().uri(uri);
    for (name, value) in headers {
        request = request.header(name.parse::<HeaderName>().unwrap(), *value);
    }
    request.body(()).unwrap().into_parts().0
}

#[test]
fn hosts() {
    let guard = guard();
    for host in [
        "127.0.0.1",
        "127.0.0.1:4117",
        "127.8.9.1:1",
        "[::1]:4117",
        "[::1]",
        "localhost",
        "LOCALHOST:80",
        "host.docker.internal:4117",
    ] {
        assert_eq!(
            guard.admit(&head("/", &[("host", host)])),
            Ok(None),
            "{host}"
        );
    }
    for host in [
        "evil.example.com",
        "evil.example.com:4117",
        "localhost.evil.example.com",
        "127.0.0.1.evil.example.com",
        "127.0.0.1@evil.example.com",
        "192.168.0.2:4117",
        "0.0.0.0:4117",
        "",
        "a b",
        "[::2]",
        "[127.0.0.1]",
        "localhost:abc",
        "[::1]m",
    ] {
        let head = head("/", &[("host", host)]);
        assert_eq!(guard.admit(&head), Err(AccessDenied::Host), "{host}");
    }
    assert_eq!(guard.admit(&head("/", &[])), Err(AccessDenied::Host));
    let twice = [("host", "localhost"), ("host", "evil.example.com")];
    assert_eq!(guard.admit(&head("/", &twice)), Err(AccessDenied::Host));
    let localhost = [("host", "localhost")];
    assert_eq!(
        guard.admit(&head("http://127.0.0.1/a", &localhost)),
        Ok(None)
    );
    let other = head("http://evil.example.com/a", &localhost);
    assert_eq!(guard.admit(&other), Err(AccessDenied::Host));
}

#[test]
fn beyond_loopback_any_address_is_this_machine_and_no_other_name() {
    let guard = Guard {
        any_address: true,
        ..guard()
    };
    for (host, admitted) in [
        ("192.168.0.2:4117", Ok(None)),
        ("[fe80::1]:4117", Ok(None)),
        ("evil.example.com", Err(AccessDenied::Host)),
    ] {
        assert_eq!(
            guard.admit(&head("/", &[("host", host)])),
            admitted,
            "{host}"
        );
    }
}

#[test]
fn pages() {
    let guard = guard();
    let admitted = |name: &str, value: &str| {
        let head = head("/", &[("host", "localhost"), (name, value)]);
        guard.admit(&head).map(Option::<&HeaderValue>::cloned)
    };
    let allowed = "https://app.example.com";
    let origin = HeaderValue::from_static("https://app.example.com");
    assert_eq!(admitted("origin", allowed), Ok(Some(origin)));
    for other in [
        "https://app.example.com.evil.example.com",
        "http://app.example.com",
        "https://app.example.com:444",
        "null",
        "",
        "http://localhost:4117",
    ] {
        assert_eq!(
            admitted("origin", other),
            Err(AccessDenied::Origin),
            "{other}"
        );
    }
    for site in ["cross-site", "same-site", "same-origin", ""] {
        assert_eq!(
            admitted("sec-fetch-site", site),
            Err(AccessDenied::Origin),
            "{site}"
        );
    }
    // Typed into the address bar.
    assert_eq!(admitted("sec-fetch-site", "none"), Ok(None));
    let twice = head(
        "/",
        &[
            ("host", "localhost"),
            ("origin", allowed),
            ("origin", "null"),
        ],
    );
    assert_eq!(guard.admit(&twice), Err(AccessDenied::Origin));
}

#[test]
fn tokens() {
    let guard = guard();
    let authorized = |headers: &[(&str, &str)]| guard.authorize(&head("/", headers).headers);
    let bearer = format!("Bearer {TOKEN}");
    for shown in [
        vec![("authorization", bearer.as_str())],
        vec![("authorization", "bearer 0123456789abcdef")],
        vec![("x-api-key", TOKEN)],
        // Anthropic's clients send both with both of their variables set.
        vec![("authorization", "Bearer other"), ("x-api-key", TOKEN)],
        vec![("authorization", &bearer), ("x-api-key", "other")],
    ] {
        assert_eq!(authorized(&shown), Ok(()), "{shown:?}");
    }
    for wrong in [
        vec![],
        vec![("authorization", TOKEN)],
        vec![("authorization", "Basic 0123456789abcdef")],
        vec![("authorization", "Bearer ")],
        vec![("authorization", "Bearer 0123456789abcdeF")],
        vec![("x-api-key", "0123456789abcde")],
        vec![("x-api-key", "0123456789abcdef0")],
        vec![("x-api-key", "")],
        vec![("cookie", TOKEN)],
    ] {
        assert_eq!(authorized(&wrong), Err(AccessDenied::Token), "{wrong:?}");
    }
    let open = Guard {
        token: None,
        ..self::guard()
    };
    assert_eq!(open.authorize(&HeaderMap::new()), Ok(()));
}

#[test]
fn what_is_no_token_and_no_origin() {
    for text in [
        "",
        "short",
        "0123456789abcde\n",
        "0123456789 abcdef",
        &"a".repeat(257),
    ] {
        assert_eq!(text.parse::<Token>().err(), Some(MalformedToken), "{text}");
    }
    assert_eq!(format!("{:?}", TOKEN.parse::<Token>()), "Ok(Token(…))");
    for text in [
        "",
        "*",
        "null",
        "app.example.com",
        "https://a/",
        "https://*.example.com",
    ] {
        assert_eq!(text.parse::<Origin>(), Err(MalformedOrigin), "{text}");
    }
    assert!("app://obsidian.md".parse::<Origin>().is_ok());
}
