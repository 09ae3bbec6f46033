//! Tables and bars on a terminal.

use std::io::{self, Write};

use crate::terminal::{Style, Terminal};

/// Between two columns.
const GAP: &str = "  ";
/// Eighths of a cell, from none to seven.
const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];

/// On which side a column is ragged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// Rows under a header.
#[derive(Debug)]
pub(crate) struct Table<const N: usize> {
    columns: [(&'static str, Align); N],
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    /// Without rows yet.
    #[must_use]
    pub(crate) fn new(columns: [(&'static str, Align); N]) -> Self {
        let rows = Vec::new();
        Self { columns, rows }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: [String; N]) {
        self.rows.push(cells);
    }

    /// Writes it; the header only for people.
    pub(crate) fn write(&self, terminal: Terminal, out: &mut dyn Write) -> io::Result<()> {
        let header = self.columns.map(|(name, _)| name.to_owned());
        let header = terminal.stdout.then_some(header);
        let widths = self.widths(header.as_ref());
        if let Some(header) = header {
            let line = self.line(&header, &widths);
            writeln!(out, "{}", terminal.paint(Style::Dim, line))?;
        }
        for row in &self.rows {
            writeln!(out, "{}", self.line(row, &widths))?;
        }
        Ok(())
    }

    fn widths(&self, header: Option<&[String; N]>) -> [usize; N] {
        let mut widths = [0; N];
        for row in self.rows.iter().chain(header) {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        widths
    }

    fn line(&self, cells: &[String; N], widths: &[usize; N]) -> String {
        let cells = cells.iter().zip(&self.columns).zip(widths);
        let cells: Vec<_> = cells
            .map(|((cell, (_, align)), width)| match align {
                Align::Left => format!("{cell:width$}"),
                Align::Right => format!("{cell:>width$}"),
            })
            .collect();
        cells.join(GAP).trim_end().to_owned()
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
    // What is more than nothing is shown.
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
