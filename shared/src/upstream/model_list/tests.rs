use http::{HeaderMap, HeaderValue, Method, header};

use super::*;
use crate::{request::RawQuery, upstream::endpoint::AllowedFamilies};

fn read_at(path: &str, query: &str, body: &str) -> Result<ModelMentions, UnreadableModels> {
    let path = format!("/api/v1/openrouter/{path}");
    let route = Route::parse(&Method::POST, &path, &AllowedFamilies::default()).unwrap();
    let query = CanonicalQuery::from_raw(&RawQuery::Encoded(query.to_owned())).unwrap();
    ModelMentions::read(&route, &HeaderMap::new(), &query, body.as_bytes())
}

/// Each model with its place; `!` before one that needs a literal.
fn mentions(body: &str) -> Vec<String> {
    let mentions = read_at("chat/completions", "", body).unwrap();
    let shown = mentions.iter().map(|it| {
        let mark = if it.needs_literal { "!" } else { "" };
        format!("{mark}{} {}", it.value, it.place)
    });
    shown.collect()
}

fn fault(body: &str) -> (Fault, String) {
    let UnreadableModels { fault, place } = read_at("chat/completions", "", body).unwrap_err();
    (fault, place)
}

#[test]
fn each_model_is_given_with_its_first_place() {
    assert_eq!(
        mentions(
            r#"{"model":"a/b","models":["a/b","c/d",["e/f"]],"x/y~z":[{"draft_model":{"deep":"g/h"}}],"messages":[{"model":"i/j"}]}"#
        ),
        [
            "a/b /model",
            "c/d /models/1",
            "e/f /models/2/0",
            "g/h /x~1y~0z/0/draft_model/deep"
        ]
    );
}

#[test]
fn stand_ins_need_a_literal() {
    assert_eq!(
        mentions(
            r#"{"model":"openrouter/auto","preset":"p","models":["@preset/p","a/b@preset/p"],"plugins":[{"id":"fusion","enabled":true},{"id":"web"}],"tools":[{"type":"openrouter:advisor"},{"type":"openrouter:advisor","parameters":{"model":"a/b"}}]}"#
        ),
        [
            "!openrouter/auto /model",
            "!@preset/p /preset",
            "!a/b@preset/p /models/1",
            "!fusion /plugins/0/id",
            "!openrouter:advisor /tools/0/type",
            "a/b /tools/1/parameters/model",
        ]
    );
}

#[test]
fn query_and_path_name_models_too() {
    let mentions = read_at(
        "interns/ann/chat/completions",
        "model=a/b&preset=p&x=y",
        r#"{"model":"c/d"}"#,
    )
    .unwrap();
    let all: Vec<_> = mentions
        .iter()
        .map(|it| (&*it.value, &*it.place, it.needs_literal))
        .collect();
    assert_eq!(
        all,
        [
            ("interns/ann", "path", true),
            ("a/b", "?model", false),
            ("@preset/p", "?preset", true),
            ("c/d", "/model", false),
        ]
    );
}

#[test]
fn faults_name_their_place() {
    for (body, expected, place) in [
        ("", Fault::NotAnObject, ""),
        ("[]", Fault::NotAnObject, ""),
        ("{", Fault::NotJson, ""),
        (
            r#"{"model":"a","x":[1,{"y":nul}]}"#,
            Fault::NotJson,
            "/x/1/y",
        ),
        (r#"{"model":"a"}{}"#, Fault::NotJson, ""),
        (
            r#"{"model":"a","x":[{"y":1,"\u0079":2}]}"#,
            Fault::Repeated,
            "/x/0",
        ),
        (r#"{"messages":[]}"#, Fault::NoModel, ""),
        (
            r#"{"model":"a","x":{"pin_model":true}}"#,
            Fault::PinnedModel,
            "/x/pin_model",
        ),
        (
            r#"{"model":"a","x":{"pin_model":["a"]}}"#,
            Fault::PinnedModel,
            "/x/pin_model/0",
        ),
    ] {
        assert_eq!(fault(body), (expected, place.to_owned()), "{body}");
    }
    let long = format!(r#"{{"model":"{}"}}"#, "m".repeat(257));
    assert_eq!(fault(&long), (Fault::LongName, "/model".to_owned()));
    let deep = format!(
        r#"{{"model":"a","x":{}{}}}"#,
        "[".repeat(200),
        "]".repeat(200)
    );
    assert_eq!(fault(&deep).0, Fault::TooDeep);
    let deep_content = format!(
        r#"{{"model":"a","messages":{}{}}}"#,
        "[".repeat(90),
        "]".repeat(90)
    );
    assert_eq!(mentions(&deep_content), ["a /model"]);
    let long_member = format!(r#"{{"{}":{{"model":7,"model":7}}}}"#, "é".repeat(100));
    assert_eq!(fault(&long_member).1, format!("/{}…", "é".repeat(64)));
    let batch = read_at("batches", "", r#"{"model":"a"}"#).unwrap_err();
    assert_eq!(
        (batch.fault, &*batch.place),
        (Fault::NoInlineRequests, "/requests")
    );
    let unknown = read_at("panel", "", r#"{"model":"a"}"#).unwrap_err();
    assert_eq!(
        (unknown.fault, &*unknown.place),
        (Fault::UnknownEndpoint, "path")
    );
}

#[test]
fn a_repeated_content_type_is_refused() {
    let route = "/api/v1/openrouter/chat/completions";
    let route = Route::parse(&Method::POST, route, &AllowedFamilies::default()).unwrap();
    let mut headers = HeaderMap::new();
    let json = HeaderValue::from_static("application/json");
    headers.append(header::CONTENT_TYPE, json.clone());
    let read = |headers: &HeaderMap| {
        ModelMentions::read(
            &route,
            headers,
            &CanonicalQuery::default(),
            br#"{"model":"a"}"#,
        )
    };
    assert!(read(&headers).is_ok());
    headers.append(header::CONTENT_TYPE, json);
    assert_eq!(read(&headers).unwrap_err().fault, Fault::ContentType);
}

/// A megabyte of each: a reader that is quadratic, recursive or keeps what it has read does not end well.
#[test]
fn huge_bodies_are_read_once() {
    const SIZE: usize = 1024 * 1024;
    for (start, unit, end) in [
        ("[", "0,", "0]"),
        ("[", "{},", "0]"),
        ("", "[", ""),
        ("{", "\"\":0,", "\"a\":0}"),
        ("[", r#""\u006d","#, "0]"),
        (r#"{"models":["#, r#""a/b","#, "0]}"),
        (r#"{"plugins":["#, r#"{"id":"x"},"#, "0]}"),
        (r#"{"tools":["#, r#"{"tools":["#, ""),
        (r#"{"tools":["#, r#"{"type":"function"},"#, "0]}"),
    ] {
        let body = format!(
            r#"{{"model":"a/b","x":{start}{}{end}}}"#,
            unit.repeat(SIZE / unit.len())
        );
        let read = read_at("chat/completions", "", &body);
        let most = if read.is_ok() { 2 } else { 0 };
        assert!(read.map_or(0, |it| it.iter().count()) <= most, "{unit}");
    }
    let members: Vec<_> = (0..100_000).map(|n| format!("\"{n}\":0,")).collect();
    let members = members.concat();
    assert_eq!(
        mentions(&format!(r#"{{{members}"model":"a/b"}}"#)),
        ["a/b /model"]
    );
    assert_eq!(
        fault(&format!(r#"{{{members}"7":1,"model":"a/b"}}"#)).0,
        Fault::Repeated
    );
}
