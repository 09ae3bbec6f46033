//! Users' questions about their usage.

use std::{fs, process::Command};

use e2e::{
    user::User,
    world::{World, with_world},
};
use reqwest::{Response, header::HeaderMap};
use serde_json::{Value, json};

use crate::told::Told;

/// Names that a spreadsheet, a CSV reader or an SQL statement could misunderstand.
const NASTY: [&str; 6] = [
    "=cmd|'/C calc'!A0",
    "-2+3",
    "'quoted'",
    "a,\"b\"\r\nc",
    "供应商/模型 🦀",
    "plain/model",
];

#[test]
fn days_and_hours_follow_the_clock_of_the_time_zone() {
    with_world(async |world| {
        let (user, other) = (world.user().unwrap(), world.user().unwrap());
        // 25 October 2026 has 25 hours in Berlin.
        let times = [
            "2026-10-24T21:59:59.999Z",
            "2026-10-24T22:00:00Z",
            "2026-10-25T00:30:00Z",
            "2026-10-25T01:30:00Z",
            "2026-10-25T22:59:59.999Z",
            "2026-10-25T23:00:00Z",
        ];
        let rows = times.map(|time| json!({"request_time": time, "total_cost": 0.000_000_1}));
        log(world, &user, &rows);
        log(world, &other, &rows);

        let day = "start_date=2026-10-25&end_date=2026-10-25&time_zone=Europe/Berlin";
        let all = data(&user, &format!("/api/v1/usage?{day}&group_by=day,model")).await;
        assert_eq!(all["total_requests"], 4);
        assert_eq!(
            all["groups"],
            json!([{
                "day": "2026-10-25", "model": "m", "requests": 4, "successful_requests": 4,
                "failed_requests": 0, "pending_requests": 0, "cost_pending_requests": 0,
                "cost_unknown_requests": 0, "input_tokens": 0, "output_tokens": 0, "cached_tokens": 0,
                "cache_write_tokens": 0, "reasoning_tokens": 0, "cost": 4e-7,
            }])
        );
        assert_eq!(
            groups(&user, &format!("{day}&group_by=hour"), "hour").await,
            [
                ("2026-10-25T00:00:00+02:00", 1),
                ("2026-10-25T02:00:00+02:00", 1),
                ("2026-10-25T02:00:00+01:00", 1),
                ("2026-10-25T23:00:00+01:00", 1),
            ]
            .map(|(hour, requests)| (hour.to_owned(), requests))
        );
        for (zone, days) in [
            ("UTC", [("2026-10-24", 2), ("2026-10-25", 4)]),
            ("America/New_York", [("2026-10-24", 4), ("2026-10-25", 2)]),
            ("Pacific/Kiritimati", [("2026-10-25", 4), ("2026-10-26", 2)]),
        ] {
            assert_eq!(
                groups(&user, &format!("group_by=day&time_zone={zone}"), "day").await,
                days.map(|(day, requests)| (day.to_owned(), requests)),
                "{zone}"
            );
        }
        // Without groups there are none.
        let none = data(&user, "/api/v1/usage").await;
        assert_eq!(
            (none.get("groups"), &none["total_requests"]),
            (None, &json!(6))
        );
    });
}

#[test]
fn pages_hold_each_request_once_while_others_arrive() {
    with_world(async |world| {
        let (user, other) = (world.user().unwrap(), world.user().unwrap());
        // Three each millisecond.
        let rows: Vec<_> = (0..40)
            .map(|n| json!({"request_time": format!("2026-01-01T00:00:00.{:03}Z", n / 3), "path": format!("/{n}")}))
            .collect();
        log(world, &user, &rows);
        log(world, &other, &rows);
        let mine = ids(world, &user);

        let mut seen = Vec::new();
        let mut query = "/api/v1/usage/requests?limit=7&status=completed".to_owned();
        loop {
            let answer = user.get("usage", &query).await.unwrap();
            let next = next_page(answer.headers());
            let page = answer.json_value().await["data"].take();
            let requests = page["requests"].as_array().unwrap();
            seen.extend(
                requests
                    .iter()
                    .map(|it| it["id"].as_str().unwrap().to_owned()),
            );
            assert_eq!(page["next_cursor"].is_null(), next.is_none());
            let Some(next) = next else { break };
            assert_eq!(requests.len(), 7);
            assert!(next.contains(page["next_cursor"].as_str().unwrap()));
            query = format!("/api/v1/usage/requests{next}");
            log(
                world,
                &user,
                &[json!({"request_time": "2026-06-01T00:00:00Z"})],
            );
            log(
                world,
                &other,
                &[json!({"request_time": "2025-06-01T00:00:00Z"})],
            );
        }
        seen.sort();
        assert_eq!(seen, mine);

        // The cursor of one is no way to another's requests, and fits no other question.
        let cursor = query
            .split("cursor=")
            .nth(1)
            .unwrap()
            .split('&')
            .next()
            .unwrap();
        let foreign = format!("/api/v1/usage/requests?status=completed&limit=1000&cursor={cursor}");
        let theirs = data(&other, &foreign).await;
        let theirs = theirs["requests"].as_array().unwrap();
        assert!(!theirs.is_empty());
        let own = ids(world, &other);
        assert!(
            theirs
                .iter()
                .all(|it| own.contains(&it["id"].as_str().unwrap().to_owned()))
        );
        let refused = user
            .get("usage", &format!("/api/v1/usage/requests?cursor={cursor}"))
            .await
            .unwrap();
        assert_eq!(refused.status(), 400);
    });
}

#[test]
fn a_request_is_listed_as_it_went() {
    with_world(async |world| {
        let user = world.user().unwrap();
        let answer = user
            .chat("proxy", "stub/ok", true, "gen-listed")
            .await
            .unwrap();
        let id = answer.headers()["x-gateway-request-id"]
            .to_str()
            .unwrap()
            .to_owned();
        answer.bytes().await.unwrap();
        user.row().await.unwrap();
        let text = user
            .get("usage", "/api/v1/usage/requests?min_cost=1e-9")
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        assert!(
            text.contains(&format!(r#""total_cost":{}"#, stub::scripted::COST_PLAIN)),
            "{text}"
        );
        let mut body: Value = serde_json::from_str(&text).unwrap();
        let mut request = body["data"]["requests"][0].take();
        for measured in [
            "request_time",
            "response_time",
            "duration_ms",
            "first_byte_ms",
        ] {
            assert!(!request[measured].take().is_null(), "{measured}");
        }
        assert_eq!(request["id"].take(), json!(id));
        assert_eq!(
            request,
            json!({
                "id": null, "request_time": null, "response_time": null, "duration_ms": null, "first_byte_ms": null,
                "token_id": null, "app": null, "tag": null,
                "method": "POST", "path": "/chat/completions", "endpoint": "chat.completions",
                "requested_model": "stub/ok", "model": "stub/served-model", "generation_id": "gen-listed",
                "streamed": true, "status": "completed", "http_status": 200, "error_reason": null,
                "error_message": null, "input_tokens": 11, "output_tokens": 7, "cached_tokens": 3,
                "cache_write_tokens": null, "reasoning_tokens": 2, "service_tier": null,
                "cost_state": "final", "unknown_cost_reason": null, "known_cost": null, "server_tool_cost": null,
                "total_cost": 7.434e-7, "openrouter_cost": 7.434e-7,
                "upstream_inference_cost": request["upstream_inference_cost"], "is_byok": false,
            })
        );
    });
}

#[test]
fn csv_is_what_python_reads_back() {
    with_world(async |world| {
        let user = world.user().unwrap();
        let rows: Vec<_> = NASTY
            .iter()
            .enumerate()
            .map(|(n, name)| {
                json!({"request_time": format!("2026-01-0{}T00:00:00Z", n + 1), "model": name,
                       "error_message": name, "total_cost": 0.1, "status": "failed"})
            })
            .collect();
        log(world, &user, &rows);

        // All pages of requests, each found by the link on the one before.
        let mut query = "?format=csv&limit=4".to_owned();
        let mut lines = Vec::new();
        loop {
            let answer = user
                .get("usage", &format!("/api/v1/usage/requests{query}"))
                .await
                .unwrap();
            assert_eq!(
                answer.headers()["content-type"],
                "text/csv; charset=utf-8; header=present"
            );
            assert_eq!(
                answer.headers()["content-disposition"],
                "attachment; filename=\"usage-requests.csv\""
            );
            let next = next_page(answer.headers());
            lines.extend(read_csv(world, answer).await);
            match next {
                Some(next) => query = next,
                None => break,
            }
        }
        let listed = data(&user, "/api/v1/usage/requests").await;
        let listed = listed["requests"].as_array().unwrap();
        assert_eq!((lines.len(), listed.len()), (NASTY.len(), NASTY.len()));
        for (line, request) in lines.iter().zip(listed) {
            let line = line.as_object().unwrap();
            assert_eq!(line.len(), request.as_object().unwrap().len());
            for (name, value) in request.as_object().unwrap() {
                let cell = line[name].as_str().unwrap();
                assert!(!cell.starts_with(['=', '+', '-', '@']), "{name}: {cell}");
                let expected = match value {
                    Value::Null => String::new(),
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                assert_eq!(cell.strip_prefix('\'').unwrap_or(cell), expected, "{name}");
            }
        }

        // The groups; asked for in a header.
        let groups = user.request(
            "usage",
            http::Method::GET,
            "/api/v1/usage?group_by=model",
            Vec::new(),
        );
        let answer = groups
            .unwrap()
            .header("accept", "text/csv")
            .send()
            .await
            .unwrap();
        assert_eq!(
            answer.headers()["content-disposition"],
            "attachment; filename=\"usage.csv\""
        );
        let mut models: Vec<_> = read_csv(world, answer)
            .await
            .iter()
            .map(|line| {
                assert_eq!(
                    (&line["requests"], &line["cost"]),
                    (&json!("1"), &json!("0.1"))
                );
                line["model"].as_str().unwrap().to_owned()
            })
            .collect();
        models.sort();
        let mut expected = NASTY.map(|name| match name {
            "=cmd|'/C calc'!A0" | "-2+3" | "'quoted'" => format!("'{name}"),
            name => name.to_owned(),
        });
        expected.sort();
        assert_eq!(models, expected);

        let totals = user.get("usage", "/api/v1/usage?format=csv").await.unwrap();
        let totals = read_csv(world, totals).await;
        assert_eq!(totals.len(), 1);
        assert_eq!(
            (
                &totals[0]["total_requests"],
                &totals[0]["total_cost"],
                &totals[0]["limit"]
            ),
            (&json!("6"), &json!("0.6"), &json!(""))
        );
    });
}

#[test]
fn a_parameter_that_cannot_be_used_is_named() {
    with_world(async |world| {
        let user = world.user().unwrap();
        for (query, parameter) in [
            ("usage?time_zone=Mars/Olympus", "time_zone"),
            ("usage?time_zone=Europe/Berlin&time_zone=UTC", "time_zone"),
            ("usage?group_by=week", "group_by"),
            ("usage?group_by=day,day", "group_by"),
            ("usage?format=xml", "format"),
            ("usage?percentiles=1", "percentiles"),
            ("usage?limit=5", "limit"),
            ("usage?end_date=2026-02-30&time_zone=Asia/Tokyo", "end_date"),
            (
                "usage?start_date=2026-02-02&end_date=2026-02-01",
                "end_date",
            ),
            ("usage/requests?limit=0", "limit"),
            ("usage/requests?limit=1001", "limit"),
            ("usage/requests?cursor=AAAA", "cursor"),
            ("usage/requests?status=done", "status"),
            ("usage/requests?cost_state=paid", "cost_state"),
            ("usage/requests?min_cost=-1", "min_cost"),
            ("usage/requests?model=%00", "model"),
            ("usage/requests?group_by=model", "group_by"),
        ] {
            let answer = user
                .get("usage", &format!("/api/v1/{query}"))
                .await
                .unwrap();
            assert_eq!(answer.status(), 400, "{query}");
            let error = answer.json_value().await["error"].take();
            assert_eq!(
                error["metadata"],
                json!({"reason": "invalid_parameter", "parameter": parameter}),
                "{query}"
            );
            assert!(
                error["message"].as_str().unwrap().contains(parameter),
                "{error}"
            );
        }
        let posted = user
            .post(
                "usage",
                "/api/v1/usage/requests",
                "application/json",
                b"{}".to_vec(),
            )
            .await
            .unwrap();
        assert_eq!(
            (posted.status().as_u16(), &posted.headers()["allow"]),
            (405, &"GET".parse().unwrap())
        );
        let nowhere = user.get("usage", "/api/v1/usage/request").await.unwrap();
        assert_eq!(nowhere.status(), 404);
    });
}

#[test]
fn too_many_groups_are_an_error_and_not_a_part_of_the_truth() {
    with_world(async |world| {
        let user = world.user().unwrap();
        let sql = format!(
            "INSERT INTO public.request_logs (did, model, status, request_time)
             SELECT '{}', 'm', 'completed', timestamptz '2026-01-01Z' + n * interval '1 hour'
               FROM generate_series(1, 2001) AS n",
            user.did.as_str()
        );
        world.sql(&sql).unwrap();
        let answer = user
            .get("usage", "/api/v1/usage?group_by=hour")
            .await
            .unwrap();
        assert_eq!(answer.status(), 400);
        assert_eq!(
            answer.json_value().await["error"]["metadata"]["parameter"],
            "group_by"
        );
        let fewer = "/api/v1/usage?group_by=hour&start_date=2026-01-01T02:00:00Z";
        let fewer = data(&user, fewer).await;
        assert_eq!(fewer["groups"].as_array().unwrap().len(), 2000);
    });
}

async fn data(user: &User<'_>, path: &str) -> Value {
    let answer = user.get("usage", path).await.unwrap();
    assert_eq!(answer.status(), 200, "{path}");
    answer.json_value().await["data"].take()
}

/// The groups' keys and numbers of requests.
async fn groups(user: &User<'_>, query: &str, dimension: &str) -> Vec<(String, u64)> {
    let data = data(user, &format!("/api/v1/usage?{query}")).await;
    let groups = data["groups"].as_array().unwrap().iter();
    groups
        .map(|group| {
            let key = group[dimension].as_str().unwrap().to_owned();
            (key, group["requests"].as_u64().unwrap())
        })
        .collect()
}

/// The query of the page that the `Link` header calls the next.
fn next_page(headers: &HeaderMap) -> Option<String> {
    let link = headers.get("link")?.to_str().unwrap();
    let target = link.strip_suffix(">; rel=\"next\"").unwrap();
    Some(target.strip_prefix('<').unwrap().to_owned())
}

/// The lines of a CSV answer, as Python's reader sees them at its strictest.
async fn read_csv(world: &World, answer: Response) -> Vec<Value> {
    const READ: &str = "import csv, json, sys\n\
        with open(sys.argv[1], newline='', encoding='utf-8') as file:\n\
        \x20   print(json.dumps(list(csv.DictReader(file, strict=True))))";
    assert_eq!(answer.status(), 200);
    let body = answer.bytes().await.unwrap();
    let mut name = [0; 8];
    getrandom::fill(&mut name).unwrap();
    let file = world.logs.join(format!("{}.csv", hex::encode(name)));
    fs::write(&file, body).unwrap();
    let output = Command::new(world.tools.python())
        .args(["-c", READ])
        .arg(&file)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Puts rows into the books as they stand.
fn log(world: &World, user: &User<'_>, rows: &[Value]) {
    let sql = format!(
        "INSERT INTO public.request_logs (did, model, path, status, total_cost, error_message, request_time)
         SELECT '{}', coalesce(model, 'm'), path, coalesce(status, 'completed'), total_cost, error_message, request_time
           FROM jsonb_to_recordset($rows${}$rows$) AS r (model text, path text, status text, total_cost numeric,
                                                         error_message text, request_time timestamptz)",
        user.did.as_str(),
        Value::from(rows)
    );
    world.sql(&sql).unwrap();
}

/// The ids of a user's rows, sorted.
fn ids(world: &World, user: &User<'_>) -> Vec<String> {
    let sql = format!(
        "SELECT id FROM public.request_logs WHERE did = '{}' ORDER BY id::text",
        user.did.as_str()
    );
    world
        .sql(&sql)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect()
}
