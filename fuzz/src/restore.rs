//! Emergency records in exports of the log, with lines in between whose texts clients chose.

use llmgw::{admin::storage::EmergencyRecord, fuzzing::restore};
use serde_json::json;

use crate::{
    input::{Fields, text},
    planted,
};

const RECORD: &str = r#"{"id":"fd8b67e2-5797-4521-81a0-426af37311db","status":"completed","response_time":1795393819165,"cost_state":"final","openrouter_cost":"7.434e-07","error_message":""}"#;

/// The formats of logs and of their exports.
const FORMATS: [fn(&[String]) -> String; 9] = [
    |lines| lines.join("\n"),
    |lines| {
        each(
            lines,
            "2026-11-23T00:30:19.165000+00:00 2026/11/23/[$LATEST]ab ",
            "",
        )
    },
    |lines| each(lines, "EVENTS\t1795393819165\t", "\tllm-gateway-proxy"),
    |lines| format!("START RequestId: 1\n{}\n{REPORT}", lines.join("\n")),
    |lines| format!("{}\n{REPORT}", lines.join("\n")),
    |lines| {
        let event = |line| json!({"message": format!("{line}\n"), "logStreamName": "s"});
        json!({"events": lines.iter().map(event).collect::<Vec<_>>()}).to_string()
    },
    |lines| {
        let row = |line| json!({"@timestamp": "t", "@message": line});
        json!(lines.iter().map(row).collect::<Vec<_>>()).to_string()
    },
    csv_export,
    |lines| format!("{}\n{}", lines.join("\n"), torn()),
];
const CSV: usize = 7;
const TORN: usize = 8;
const REPORT: &str = "END RequestId: 1\nREPORT RequestId: 1\tDuration: 3 ms\n";

/// In every format the record is found, with its neighbours' texts whatever they are, and none is found that is not
/// there.
pub(crate) fn every_record_is_found(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else {
        return;
    };
    let (records, _) = restore::find(&text(rest));
    assert!(records.len() <= rest.len());

    let texts: Vec<String> = Fields::of(rest).texts().collect();
    let format = usize::from(*kind & 0x1f) % FORMATS.len();
    for has_record in [false, true] {
        let level = if kind & 0x80 == 0 { "INFO" } else { "ERROR" };
        let mut lines = vec![request_line(level, &texts)];
        if has_record {
            lines.push(emergency_line());
        }
        if kind & 0x40 != 0 {
            lines.insert(0, request_line("INFO", &[]));
        }
        if kind & 0x20 != 0 {
            lines.push(request_line("ERROR", &texts));
        }
        let log = FORMATS[format](&lines);
        let (mut records, unreadable) = restore::find(&log);
        if planted() && log.contains(",message,") {
            records.clear();
        }
        let expected = if has_record { record() } else { Vec::new() };
        assert_eq!(records, expected, "{unreadable} unreadable in {log}");
        assert!(format != TORN || unreadable > 0, "a torn record in {log}");
        if format == CSV {
            assert_eq!(restore::csv_messages(&log), Some(lines));
        }
    }
}

fn record() -> Vec<EmergencyRecord> {
    let (records, _) = restore::find(RECORD);
    assert_eq!(records.len(), 1);
    records
}

/// The line of a request, in the gateway's order.
fn request_line(level: &str, texts: &[String]) -> String {
    let text = |index: usize| json!(texts.get(index).map_or("", String::as_str));
    format!(
        r#"{{"timestamp":"2026-11-23T00:30:19.165000Z","level":"{level}","message":"request","request.id":"1","http.path":{},"request.model":{},"request.served_model":{},"error":{},"target":"shared::observe"}}"#,
        text(0),
        text(1),
        text(2),
        text(3)
    )
}

fn emergency_line() -> String {
    format!(
        r#"{{"timestamp":"2026-11-23T00:30:20.165000Z","level":"ERROR","message":"the books could not be written","emergency_record":{},"target":"shared::ledger"}}"#,
        json!(RECORD)
    )
}

/// The line of a record without its end.
fn torn() -> String {
    let mut line = emergency_line();
    line.truncate(line.len() - 9);
    line
}

fn each(lines: &[String], before: &str, after: &str) -> String {
    let line = |line| format!("{before}{line}{after}");
    lines.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn csv_export(lines: &[String]) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(["@timestamp", "@message"]).unwrap();
    for line in lines {
        writer
            .write_record(["2026-11-23 00:30:19.165", line])
            .unwrap();
    }
    String::from_utf8(writer.into_inner().unwrap()).unwrap()
}
