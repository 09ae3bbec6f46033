//! Events of API Gateway and function URLs, beside `serde_json`.

use data_encoding::BASE64;
use http::{HeaderName, HeaderValue, Method};
use serde_json::{Map, Value, json};
use shared::{
    identity::canonical::{CanonicalPath, CanonicalQuery},
    request::{Incoming, RawQuery},
};

use adapter::fuzzing;

use crate::{
    input::{Fields, text},
    json::members,
    planted,
};

/// The path and the body of a request are those that the event's JSON has.
pub(crate) fn is_what_the_json_says(data: &[u8]) {
    let Ok(mut request) = fuzzing::event(data) else {
        return;
    };
    let is_stage = |stage: &str| !["", "$default"].contains(&stage);
    assert!(request.stage.as_deref().is_none_or(is_stage));
    let (Ok(event), Ok(event_text)) = (serde_json::from_slice::<Value>(data), str::from_utf8(data))
    else {
        return;
    };
    let Some(mut names) =
        members(event_text).map(|it| it.into_iter().map(|(name, _)| name).collect::<Vec<_>>())
    else {
        return;
    };
    names.sort();
    if names.windows(2).any(|pair| pair[0] == pair[1]) {
        return;
    }
    let body = event["body"].as_str().unwrap_or_default();
    let body = if event["isBase64Encoded"] == true {
        BASE64.decode(body.as_bytes()).expect("base64")
    } else {
        body.as_bytes().to_vec()
    };
    if planted() && event["isBase64Encoded"] == true {
        request.body = text(b"planted").into();
    }
    assert_eq!(request.body, body);
    let path = match request.query {
        RawQuery::Decoded(_) => &event["path"],
        RawQuery::Encoded(_) => &event["rawPath"],
    };
    if let Some(path) = path.as_str() {
        assert_eq!(request.raw_path, path);
    }
}

/// One request, as its three kinds of events carry it.
struct Sent {
    method: Method,
    path: String,
    query: String,
    body: Vec<u8>,
    as_base64: bool,
    stage: String,
    headers: Vec<(String, String)>,
}

/// A request is the same from a REST API, an HTTP API and a function URL.
pub(crate) fn kinds_agree(data: &[u8]) {
    let Some(sent) = Sent::read(&Fields::of(data)) else {
        return;
    };
    let [rest, mut url, http] = [sent.rest(), sent.url(), sent.http()].map(|event| {
        let event = event.to_string();
        fuzzing::event(event.as_bytes()).unwrap_or_else(|error| panic!("{error}: {event}"))
    });
    if planted() && sent.query.contains('%') {
        url.query = RawQuery::Encoded(sent.query.to_ascii_lowercase() + "&planted");
    }
    for request in [&rest, &url, &http] {
        assert_eq!(request.method, sent.method);
        assert_eq!(request.body, sent.body);
    }
    assert_eq!((&rest.raw_path, &url.raw_path), (&sent.path, &sent.path));
    assert_eq!(
        (&url.stage, http.stage.as_deref()),
        (&None, Some(&*sent.stage))
    );
    assert_eq!(http.raw_path, format!("/{}{}", sent.stage, sent.path));

    let path = |request: &Incoming| CanonicalPath::from_raw(&request.raw_path);
    assert_eq!(path(&rest), path(&url));
    if let (Ok(staged), Ok(path)) = (path(&http), path(&rest)) {
        assert_eq!(staged.below(&format!("/{}", sent.stage)), Some(path));
    }
    let query = |request: &Incoming| CanonicalQuery::from_raw(&request.query);
    let expected = CanonicalQuery::from_raw(&RawQuery::Encoded(sent.query.clone()));
    assert_eq!((&query(&url), &query(&http)), (&expected, &expected));
    // A REST API has decoded what it could.
    if expected.is_ok() {
        assert_eq!(query(&rest), expected);
    }
    assert_eq!(url.headers, http.headers);
    for (name, _) in &sent.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        if name != "cookie" {
            let values = rest
                .headers
                .get_all(&name)
                .iter()
                .map(HeaderValue::as_bytes);
            let values: Vec<&[u8]> = values.collect();
            let joined = url.headers.get_all(&name).iter();
            let joined: Vec<&[u8]> = joined.map(HeaderValue::as_bytes).collect();
            assert_eq!(joined, [values.join(&b","[..])], "{name}");
        }
    }
}

impl Sent {
    fn read(fields: &Fields<'_>) -> Option<Self> {
        let header = |line: &[u8]| {
            let (name, value) = text(line)
                .split_once(':')
                .map(|(a, b)| (a.to_owned(), b.to_owned()))?;
            HeaderName::from_bytes(name.as_bytes()).ok()?;
            HeaderValue::from_str(&value).ok()?;
            Some((name, value))
        };
        let stage: String = fields
            .text(4)
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .collect();
        let path = fields.text(1);
        let body = fields.bytes(3).to_vec();
        let headers: Vec<_> = fields
            .bytes(5)
            .split(|byte| *byte == b'\n')
            .filter_map(header)
            .collect();
        // API Gateway has one spelling of a name.
        let has_two_spellings = headers.iter().any(|(name, _)| {
            let mut others = headers.iter().map(|(other, _)| other);
            others.any(|other| other != name && other.eq_ignore_ascii_case(name))
        });
        (!has_two_spellings).then(|| Self {
            method: Method::from_bytes(fields.bytes(0)).unwrap_or(Method::POST),
            path: if path.starts_with('/') {
                path
            } else {
                format!("/{path}")
            },
            query: fields.text(2),
            as_base64: str::from_utf8(&body).is_err() || fields.bytes(6).contains(&b'1'),
            body,
            stage: if stage.is_empty() {
                "prod".to_owned()
            } else {
                stage
            },
            headers,
        })
    }

    fn body(&self) -> String {
        if self.as_base64 {
            BASE64.encode(&self.body)
        } else {
            text(&self.body)
        }
    }

    /// Version 1 of a REST API: the query is decoded.
    fn rest(&self) -> Value {
        let (mut headers, mut all_headers) = (Map::new(), Map::new());
        for (name, value) in &self.headers {
            headers.insert(name.clone(), json!(value));
            append(&mut all_headers, name, value);
        }
        let (mut query, mut all_query) = (Map::new(), Map::new());
        for (name, value) in form_urlencoded::parse(self.query.as_bytes()) {
            query.insert(name.clone().into_owned(), json!(value));
            append(&mut all_query, &name, &value);
        }
        json!({
            "resource": "/{proxy+}",
            "path": self.path,
            "httpMethod": self.method.as_str(),
            "headers": headers,
            "multiValueHeaders": all_headers,
            "queryStringParameters": query,
            "multiValueQueryStringParameters": all_query,
            "pathParameters": null,
            "stageVariables": null,
            "requestContext": {
                "resourceId": "a",
                "resourcePath": "/{proxy+}",
                "httpMethod": self.method.as_str(),
                "path": self.path,
                "accountId": "1",
                "protocol": "HTTP/1.1",
                "stage": self.stage,
                "requestId": "r",
                "identity": {"sourceIp": "203.0.113.7"},
                "apiId": "a"
            },
            "body": self.body(),
            "isBase64Encoded": self.as_base64
        })
    }

    /// Version 2 of a function URL: the query is as it was sent, and repeated headers are joined.
    fn url(&self) -> Value {
        let mut headers: Map<String, Value> = Map::new();
        for (name, value) in &self.headers {
            let joined = match headers.get(&name.to_ascii_lowercase()) {
                Some(Value::String(before)) => format!("{before},{value}"),
                _ => value.clone(),
            };
            headers.insert(name.to_ascii_lowercase(), json!(joined));
        }
        json!({
            "version": "2.0",
            "routeKey": "$default",
            "rawPath": self.path,
            "rawQueryString": self.query,
            "headers": headers,
            "requestContext": {
                "accountId": "anonymous",
                "apiId": "a",
                "domainName": "d",
                "domainPrefix": "p",
                "http": {
                    "method": self.method.as_str(),
                    "path": self.path,
                    "protocol": "HTTP/1.1",
                    "sourceIp": "203.0.113.7",
                    "userAgent": "u"
                },
                "requestId": "r",
                "routeKey": "$default",
                "stage": "$default",
                "time": "01/Jan/2025:00:00:00 +0000",
                "timeEpoch": 1
            },
            "body": self.body(),
            "isBase64Encoded": self.as_base64
        })
    }

    /// Version 2 of an HTTP API: the path has the stage before it.
    fn http(&self) -> Value {
        let mut event = self.url();
        event["rawPath"] = json!(format!("/{}{}", self.stage, self.path));
        event["requestContext"]["stage"] = json!(self.stage);
        event
    }
}

fn append(map: &mut Map<String, Value>, name: &str, value: &str) {
    let values = map.entry(name).or_insert_with(|| json!([]));
    values.as_array_mut().expect("an array").push(json!(value));
}
