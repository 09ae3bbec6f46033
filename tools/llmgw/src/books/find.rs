//! Finds emergency records in whatever a log was exported as.

use serde_json::{Deserializer, Value};
use shared::storage::EmergencyRecord;

/// The member of a log line that holds one.
const MEMBER: &str = "emergency_record";

/// What a text holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The records, in order, each once.
    pub records: Vec<EmergencyRecord>,
    /// Places that hold a record which cannot be read: torn lines, other formats.
    pub unreadable: usize,
}

/// Looks for records in log lines of the gateway, in CloudWatch's exports of them (JSON with the lines
/// inside strings, lines behind a time stamp, CSV), and for bare records.
#[must_use]
pub fn find(text: &str) -> Found {
    let mut found = Found::default();
    let whole: Result<Vec<Value>, _> = Deserializer::from_str(text).into_iter().collect();
    match whole {
        Ok(values) => values.iter().for_each(|value| found.search(value)),
        Err(_) => text.lines().for_each(|line| found.search_line(line)),
    }
    found
}

impl Found {
    fn search(&mut self, value: &Value) {
        match value {
            Value::Object(members) => match members.get(MEMBER) {
                Some(Value::String(record)) => {
                    self.take(&serde_json::from_str(record).unwrap_or_default());
                }
                Some(record) => self.take(record),
                None if is_bare(value) => self.take(value),
                None => members.values().for_each(|value| self.search(value)),
            },
            Value::Array(elements) => elements.iter().for_each(|value| self.search(value)),
            Value::String(text) if may_hold_one(text) => self.search_line(text),
            _ => {}
        }
    }

    /// A line with one JSON object in it, perhaps behind a time stamp.
    fn search_line(&mut self, line: &str) {
        if !may_hold_one(line) {
            return;
        }
        // CSV doubles every quotation mark.
        let undoubled = line.replace("\"\"", "\"");
        let value = [line, &undoubled].into_iter().find_map(|line| {
            let object = line.get(line.find('{')?..)?;
            Deserializer::from_str(object).into_iter().next()?.ok()
        });
        match value {
            Some(value) => self.search(&value),
            None => self.unreadable += 1,
        }
    }

    /// Takes a record, by its value: members may stand in any order.
    fn take(&mut self, record: &Value) {
        match EmergencyRecord::parse(&record.to_string()) {
            Ok(record) if self.records.contains(&record) => {}
            Ok(record) => self.records.push(record),
            Err(_) => self.unreadable += 1,
        }
    }
}

/// The members that every record has and no log line.
fn is_bare(value: &Value) -> bool {
    ["id", "status", "cost_state", "response_time"]
        .iter()
        .all(|member| value.get(member).is_some())
}

fn may_hold_one(text: &str) -> bool {
    text.contains(MEMBER) || text.contains("cost_state")
}

#[cfg(test)]
mod tests {
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
            json!({"outcome": serde_json::from_str::<Value>(RECORD).unwrap()}).to_string(),
            // As an object, should a pipeline have unpacked it.
            json!({"emergency_record": serde_json::from_str::<Value>(RECORD).unwrap()}).to_string(),
        ] {
            let found = find(&text);
            assert_eq!(found.records, expected, "{text}");
            assert_eq!(found.unreadable, 0, "{text}");
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
}
