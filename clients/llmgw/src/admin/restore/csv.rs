//! CloudWatch's exports as CSV (RFC 4180).

/// The column of the log lines: in Logs Insights, and in the console's export of events.
const COLUMNS: [&str; 2] = ["@message", "message"];

/// The log lines of an export; `None` for a text without a header that names their column.
pub(super) fn messages(text: &str) -> Option<Vec<String>> {
    let mut reader = csv::ReaderBuilder::new()
        .flexible(true)
        .from_reader(text.trim_start_matches('\u{feff}').as_bytes());
    let mut names = reader.headers().ok()?.iter();
    let column = names.position(|name| COLUMNS.contains(&name))?;
    // Text in memory: its rows can be neither unreadable nor, as `flexible`, of a wrong length.
    let rows = reader.records().filter_map(Result::ok);
    Some(
        rows.filter_map(|row| row.get(column).map(str::to_owned))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_may_hold_commas_line_breaks_and_marks() {
        assert_eq!(
            messages(
                "\u{feff}@timestamp,@message\r\n1,\"{\"\"a\"\":1,\n\"\"b\"\":\"\"\"\"}\n\"\r\n2,plain\n3\n"
            ),
            Some(vec![
                "{\"a\":1,\n\"b\":\"\"}\n".to_owned(),
                "plain".to_owned()
            ])
        );
        assert_eq!(messages("time,text\n1,a"), None);
        assert_eq!(
            messages("{\"level\":\"INFO\",\"message\":\"message\"}"),
            None
        );
        assert_eq!(messages(""), None);
    }
}
