use serde_json::json;

use super::*;

const RECORD: &str = r#"{"id":"fd8b67e2-5797-4521-81a0-426af37311db","status":"completed","response_time":1795393819165,"cost_state":"final","openrouter_cost":"7.434e-07","error_message":""}"#;

fn line() -> String {
    json!({"level": "ERROR", "message": "the books could not be written", "emergency_record": RECORD})
        .to_string()
}

#[test]
fn a_record_is_found_in_every_export() {
    let record: Value = serde_json::from_str(RECORD).unwrap();
    let expected = [EmergencyRecord::parse(&record.to_string()).unwrap()];
    let line = line();
    let other = r#"{"level":"INFO","message":"request closed","usage.cost_state":"final"}"#;
    let csv = format!("2026-11-23,\"{}\"", line.replace('"', "\"\""));
    for text in [
        RECORD.to_owned(),
        line.clone(),
        format!("{other}\n{line}\n{other}\n"),
        // Twice is once.
        format!("{line}\nSTART RequestId: x\n{line}\n"),
        format!("2026-11-23T00:30:19.165000+00:00 2026/11/23/[$LATEST]ab {line}"),
        format!("EVENTS\t1795393819165\t{line}\tllm-gateway-proxy"),
        json!({"events": [{"message": format!("{other}\n")}, {"message": format!("{line}\n")}]})
            .to_string(),
        serde_json::to_string_pretty(&json!([{"@message": line}])).unwrap(),
        format!("@timestamp,@message\n{csv}\n"),
        format!("[{RECORD},\n{RECORD}]"),
        format!("START RequestId: x\n{RECORD}\n"),
    ] {
        let found = find(&text);
        assert_eq!(found.records, expected, "{text}");
        assert_eq!(found.unreadable, 0, "{text}");
    }
}

/// Where clients' words stand, in whatever they are exported as.
#[test]
fn what_a_client_put_into_the_log_is_no_record() {
    let escaped = json!({"emergency_record": RECORD, "level": "ERROR"}).to_string();
    let array = format!("[{escaped}]");
    let prefixed = format!("emergency_record{RECORD}");
    let stamped = format!("2026-11-23T00:30:19 {escaped}");
    let envelope = json!({"events": [{"message": escaped}]}).to_string();
    let doubled = format!("x,\"{}\"", escaped.replace('"', "\"\""));
    let broken = format!("\n{escaped}\n");
    for planted in [
        RECORD, &escaped, &array, &prefixed, &stamped, &envelope, &doubled, &broken,
    ] {
        for level in ["INFO", "ERROR"] {
            let line = json!({
                "level": level,
                "message": planted,
                "http.path": format!("/{planted}"),
                "request.model": planted,
                "span": {"events": [{"message": planted}], "request.model": planted},
            })
            .to_string();
            let csv = format!("1,\"{}\"", line.replace('"', "\"\""));
            for text in [
                line.clone(),
                format!("START\n{line}\n"),
                format!("2026-11-23T00:30:19 2026/11/23/[$LATEST]ab {line}\nEND"),
                json!({"events": [{"message": line, "ingestionTime": 1, "logStreamName": planted}]})
                    .to_string(),
                serde_json::to_string_pretty(&json!([{"@message": line, "model": planted}]))
                    .unwrap(),
                // What is cut off at its end or its beginning.
                format!("{}\n  }}\n", serde_json::to_string_pretty(&json!({"events": [{"message": line}]})).unwrap()),
                format!("@timestamp,@message\n{csv}\n"),
                format!("@timestamp,@message\n{csv}\n{}", &csv[..csv.len() - 3]),
                // A panic's message, a proxy's own words.
                format!("thread 'main' panicked: {}", planted.trim()),
                format!("model {line}"),
            ] {
                assert_eq!(find(&text).records, [], "{text}");
            }
        }
    }
}

#[test]
fn a_record_of_another_level_or_kind_is_not_taken_silently() {
    let record: Value = serde_json::from_str(RECORD).unwrap();
    for line in [
        json!({"level": "INFO", "emergency_record": RECORD}),
        json!({"emergency_record": RECORD}),
        json!({"level": "ERROR", "emergency_record": record}),
    ] {
        let found = find(&line.to_string());
        assert_eq!((found.records.len(), found.unreadable), (0, 1), "{line}");
    }
}

#[test]
fn what_is_torn_is_counted_and_what_is_none_is_not() {
    let torn = &line()[..line().len() - 20];
    assert_eq!(find(torn).unreadable, 1);
    assert_eq!(find(&format!("{torn}\n{}", line())).records.len(), 1);
    for text in [
        "",
        "\n",
        "REPORT RequestId: x Duration: 3 ms",
        "{}",
        "[1,\"a\"]",
    ] {
        assert_eq!(find(text), Found::default(), "{text}");
    }
    // An amount as a number may have lost digits.
    let number = RECORD.replace("\"7.434e-07\"", "7.434e-07");
    assert_eq!(find(&number).unreadable, 1);
}

#[test]
fn nothing_that_a_client_put_into_a_line_hides_the_records_below() {
    let record: Value = serde_json::from_str(RECORD).unwrap();
    let expected = [EmergencyRecord::parse(&record.to_string()).unwrap()];
    for planted in [
        "\",message,\"",
        "\",@message,\"",
        ",message,",
        "message",
        "\n@timestamp,@message\n",
        "\"",
    ] {
        let first =
            json!({"level": "INFO", "http.path": format!("/x{planted}"), "request.model": planted});
        let raw = format!(r#"{{"level":"INFO","request.model":"{planted}"}}"#);
        for first in [first.to_string(), raw.replace('\n', " ")] {
            for text in [
                // `aws logs tail`.
                format!(
                    "2026-11-23T00:30:19.165000+00:00 2026/11/23/[$LATEST]ab {first}\n2026-11-23T00:30:20 2026/11/23/[$LATEST]ab {}",
                    line()
                ),
                // `--output text`.
                format!("EVENTS\t1\t{first}\tstream\nEVENTS\t2\t{}\tstream", line()),
                // JSON lines, with Lambda's own ones between them or a torn end.
                format!("{first}\nREPORT RequestId: x, Duration: 3 ms\n{}", line()),
                format!("{first}\n{}\n{{\"level\":", line()),
            ] {
                assert_eq!(find(&text).records, expected, "{text}");
            }
        }
    }
}

#[test]
fn every_record_that_is_there_is_found_or_reported() {
    let quoted = line().replace('"', "\"\"");
    for text in [
        // A column less, another column, a torn end.
        format!("@timestamp,@message\n\"{quoted}\"\n"),
        format!("@message,@log\nplain,\"{quoted}\"\n"),
        format!("@timestamp,@message\n1,\"{}", &quoted[..quoted.len() - 9]),
        // The answer to a query, and other envelopes.
        json!({"results": [[{"field": "@message", "value": line()}]]}).to_string(),
        json!({"events": [{"text": line()}]}).to_string(),
        json!({"@message": {"line": line()}}).to_string(),
        json!([line()]).to_string(),
        json!([[RECORD]]).to_string(),
        // A second one in the same line.
        format!("EVENTS\t1\t{{}}\t{}", line()),
    ] {
        let found = find(&text);
        assert!(!found.records.is_empty() || found.unreadable > 0, "{text}");
    }
}

/// Ten times the records take about ten times as long: their comparison with each other would take 100 times.
#[test]
fn duplicates_are_found_in_linear_time() {
    let record = |number: u32| {
        let text = RECORD.replacen("fd8b67e2", &format!("{number:08x}"), 1);
        EmergencyRecord::parse(&text).unwrap()
    };
    let records: Vec<EmergencyRecord> = (0..10_000).map(record).collect();
    let nanoseconds = |records: &[EmergencyRecord]| {
        let mut twice = [records, records].concat();
        let now = || {
            let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
            time.tv_sec * 1_000_000_000 + time.tv_nsec
        };
        let start = now();
        remove_duplicates(&mut twice);
        assert_eq!(twice, records);
        now() - start
    };
    let (few, many) = (nanoseconds(&records[..1_000]), nanoseconds(&records));
    assert!(many < 40 * few, "{few} ns, then {many} ns");
}
