//! Tables and bars on a terminal.

use std::io::{self, Write};

use comfy_table::{CellAlignment, ContentArrangement, presets};

use crate::terminal::{Style, Terminal};

/// The number of spaces between two columns.
const GAP: u16 = 2;
/// Eighths of a cell, from none to seven.
const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];

/// The alignment of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    /// For text.
    Left,
    /// For numbers.
    Right,
}

/// Rows under a header, without borders.
#[derive(Debug)]
pub(crate) struct Table<const N: usize> {
    columns: [(&'static str, Align); N],
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    /// A table without rows.
    pub(crate) fn new(columns: [(&'static str, Align); N]) -> Self {
        let rows = Vec::new();
        Self { columns, rows }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: [String; N]) {
        self.rows.push(cells);
    }

    /// Writes the table. Only people see the header; programs get rows that they can split.
    pub(crate) fn write(&self, terminal: Terminal, out: &mut dyn Write) -> io::Result<()> {
        if self.rows.is_empty() && !terminal.stdout {
            return Ok(());
        }
        let mut table = comfy_table::Table::new();
        table
            .load_style(presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Disabled);
        if terminal.stdout {
            table.set_header(self.columns.map(|(name, _)| name));
        }
        table.add_rows(&self.rows);
        for (column, (_, align)) in table.column_iter_mut().zip(self.columns) {
            column.set_padding((0, GAP));
            column.set_cell_alignment(match align {
                Align::Left => CellAlignment::Left,
                Align::Right => CellAlignment::Right,
            });
        }
        let text = table.trim_fmt();
        let mut lines = text.lines();
        if terminal.stdout {
            let header = lines.next().unwrap_or_default();
            writeln!(out, "{}", terminal.paint(Style::Dim, header))?;
        }
        for line in lines {
            writeln!(out, "{line}")?;
        }
        Ok(())
    }
}

/// A bar of `part / whole` of `width` cells, to an eighth of a cell.
#[must_use]
pub(crate) fn bar(part: f64, whole: f64, width: usize) -> String {
    if whole <= 0.0 || part <= 0.0 {
        return String::new();
    }
    let cells = (part / whole).min(1.0) * f64::from(u16::try_from(width).unwrap_or(u16::MAX));
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and 8 × 65535"
    )]
    // More than nothing is shown.
    let eighths = ((cells * 8.0).round() as usize).max(1);
    let rest = EIGHTHS.get(eighths % 8).copied().unwrap_or_default();
    format!("{}{rest}", "█".repeat(eighths / 8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new([("NAME", Align::Left), ("COST", Align::Right)]);
        table.row(["é".to_owned(), "1.5".to_owned()]);
        table.row(["longer".to_owned(), "10.25".to_owned()]);
        let written = |terminal| {
            let mut out = Vec::new();
            table.write(terminal, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        let rows = "é         1.5\nlonger  10.25\n";
        assert_eq!(written(Terminal::none()), rows);
        let terminal = Terminal {
            stdout: true,
            ..Terminal::none()
        };
        assert_eq!(written(terminal), format!("NAME     COST\n{rows}"));
    }

    #[test]
    fn wide_characters_take_two_columns() {
        let mut table = Table::new([("NAME", Align::Left), ("COST", Align::Right)]);
        table.row(["你好".to_owned(), "1".to_owned()]);
        table.row(["abcd".to_owned(), "1".to_owned()]);
        let mut out = Vec::new();
        table.write(Terminal::none(), &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "你好  1\nabcd  1\n");
    }

    #[test]
    fn bars() {
        for (part, whole, shown) in [
            (0.0, 1.0, ""),
            (1.0, 0.0, ""),
            (1.0, 1.0, "████"),
            (2.0, 1.0, "████"),
            (0.5, 1.0, "██"),
            (0.53, 1.0, "██▏"),
            (1e-9, 1.0, "▏"),
        ] {
            assert_eq!(bar(part, whole, 4), shown, "{part} of {whole}");
        }
    }
}
