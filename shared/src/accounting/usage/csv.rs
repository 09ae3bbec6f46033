//! Comma-separated values: RFC 4180, with a header line, UTF-8, CRLF.
//!
//! Text is always quoted, so that no text (nothing between the commas) and an empty one (`""`)
//! differ. Models, paths and messages come from outside, and a spreadsheet takes a cell that begins
//! with `=`, `+`, `-` or `@` for a formula, wherever the file came from. Such a cell gets an
//! apostrophe before it, which spreadsheets read as "this is text"; so does one that begins with an
//! apostrophe or a character that spreadsheets leave out, so that taking away one leading apostrophe always restores the text.
//! <https://owasp.org/www-community/attacks/CSV_Injection>

use std::fmt::{self, Write as _};

/// One value.
pub(super) enum Cell<'a> {
    /// Nothing is known.
    Empty,
    /// Of our own making: numbers, times, words of ours. Never begins a formula.
    Plain(&'a dyn fmt::Display),
    /// Of anyone's making.
    Text(&'a str),
}

impl<'a> Cell<'a> {
    /// A plain value, or an empty cell.
    pub(super) fn plain<T: fmt::Display>(value: Option<&'a T>) -> Self {
        value.map_or(Self::Empty, |value| Self::Plain(value))
    }

    /// A text, or an empty cell.
    pub(super) fn text(value: Option<&'a str>) -> Self {
        value.map_or(Self::Empty, Self::Text)
    }
}

/// A table with a header.
pub(super) struct Table(String);

impl Table {
    /// With these columns, whose names are ours.
    pub(super) fn new<'c>(columns: impl IntoIterator<Item = &'c str>) -> Self {
        let columns: Vec<_> = columns.into_iter().collect();
        Self(columns.join(",") + "\r\n")
    }

    /// Adds a line.
    pub(super) fn line<'c>(&mut self, cells: impl IntoIterator<Item = Cell<'c>>) {
        for (place, cell) in cells.into_iter().enumerate() {
            if place > 0 {
                self.0.push(',');
            }
            match cell {
                Cell::Empty => {}
                Cell::Plain(value) => {
                    // Writing to a string cannot fail.
                    let _ = write!(self.0, "{value}");
                }
                Cell::Text(text) => self.text(text),
            }
        }
        self.0.push_str("\r\n");
    }

    /// The whole of it.
    pub(super) fn finish(self) -> String {
        self.0
    }

    fn text(&mut self, text: &str) {
        self.0.push('"');
        if text.starts_with(is_dangerous) || text.starts_with(is_dropped) {
            self.0.push('\'');
        }
        self.0.push_str(&text.replace('"', "\"\""));
        self.0.push('"');
    }
}

/// Whether a cell that begins so may become something else than text. The last four are the full-width
/// forms, which some spreadsheets take for the others.
fn is_dangerous(first: char) -> bool {
    matches!(
        first,
        '=' | '+' | '-' | '@' | '\'' | '＝' | '＋' | '－' | '＠'
    )
}

/// Characters that spreadsheets leave out at the beginning of a cell, so that what follows them begins it:
/// control characters, and those without width.
fn is_dropped(first: char) -> bool {
    first.is_control()
        || matches!(
            first,
            '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(cells: Vec<Cell<'_>>) -> String {
        let mut table = Table::new(["a", "b"]);
        table.line(cells);
        table.finish()
    }

    #[test]
    fn lines_and_quotes_are_those_of_rfc_4180() {
        assert_eq!(Table::new(["a", "b"]).finish(), "a,b\r\n");
        assert_eq!(
            line(vec![
                Cell::Text("say \"hi\", you\r\nthere"),
                Cell::Plain(&12)
            ]),
            "a,b\r\n\"say \"\"hi\"\", you\r\nthere\",12\r\n"
        );
        assert_eq!(
            line(vec![Cell::text(Some("")), Cell::plain::<u8>(None)]),
            "a,b\r\n\"\",\r\n"
        );
    }

    #[test]
    fn formulas_become_text() {
        for text in [
            "=1+1",
            "+1",
            "-1",
            "@SUM(A1)",
            "\t=1",
            "\r=1",
            "\n=1",
            "'=1",
            "＝1",
            "＋1",
            "－1",
            "＠1",
            "\x13+1",
            "\0=1",
            "\x7f@1",
            "\u{85}=1",
            "\u{feff}=1",
            "\u{200b}-1",
        ] {
            assert_eq!(
                line(vec![Cell::Text(text)]),
                format!("a,b\r\n\"'{text}\"\r\n")
            );
        }
        for text in ["openai/gpt-4o", "/chat/completions", "a=1", " =1", "你好"] {
            assert_eq!(
                line(vec![Cell::Text(text)]),
                format!("a,b\r\n\"{text}\"\r\n")
            );
        }
        // The quote that would end the cell is doubled before anything else is looked at.
        assert_eq!(line(vec![Cell::Text("\",=1")]), "a,b\r\n\"\"\",=1\"\r\n");
    }
}
