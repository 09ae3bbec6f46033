//! CloudWatch's exports as CSV (RFC 4180).

/// The columns that hold a log line whole: Logs Insights calls it so, and the console's export of events.
const COLUMNS: [&str; 2] = ["@message", "message"];

/// The log lines in an export; `None` where the text has no header that names their column.
pub(super) fn messages(text: &str) -> Option<Vec<String>> {
    let mut rows = rows(text.trim_start_matches('\u{feff}')).into_iter();
    let column = rows
        .next()?
        .iter()
        .position(|name| COLUMNS.contains(&name.as_str()))?;
    Some(rows.filter_map(|row| row.into_iter().nth(column)).collect())
}

/// Every row's fields. In quotation marks a field may hold commas, line breaks, and marks if doubled.
fn rows(text: &str) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    let mut row = Vec::new();
    let mut field = String::new();
    let mut quoted = false;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' if quoted && characters.next_if_eq(&'"').is_some() => field.push('"'),
            '"' => quoted = !quoted,
            ',' if !quoted => row.push(std::mem::take(&mut field)),
            '\n' if !quoted => {
                row.push(std::mem::take(&mut field));
                rows.push(std::mem::take(&mut row));
            }
            '\r' if !quoted => {}
            _ => field.push(character),
        }
    }
    if !field.is_empty() || !row.is_empty() {
        row.push(field);
        rows.push(row);
    }
    rows
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
