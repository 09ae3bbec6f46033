//! The terminal: which standard streams are one, styles.

use std::{
    fmt,
    io::{self, IsTerminal},
    os::fd::AsFd,
};

use rustix::termios;

/// The width without a terminal.
const COLUMNS: usize = 80;

/// The streams that are terminals, and their abilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each ability is there or not, whatever the others are"
)]
pub struct Terminal {
    /// Whether a person types on stdin.
    pub stdin: bool,
    /// Whether a person reads stdout.
    pub stdout: bool,
    /// Whether stdout shows colours.
    pub colours: bool,
    /// Whether stderr can overwrite a line, for progress bars.
    pub progress: bool,
    /// The width of stdout in columns.
    pub columns: usize,
}

impl Terminal {
    /// The terminal of this process. `no_color` is the convention of <https://no-color.org>; a `dumb`
    /// terminal understands no escape sequences.
    #[must_use]
    pub fn of_process(no_color: bool, dumb: bool) -> Self {
        let stdout = io::stdout();
        let is_terminal = stdout.is_terminal();
        let columns = termios::tcgetwinsize(stdout.as_fd()).map_or(0, |size| size.ws_col);
        Self {
            stdin: io::stdin().is_terminal(),
            stdout: is_terminal,
            colours: is_terminal && !no_color && !dumb,
            progress: io::stderr().is_terminal() && !dumb,
            columns: match columns {
                0 => COLUMNS,
                columns => columns.into(),
            },
        }
    }

    /// No terminal.
    #[must_use]
    pub fn none() -> Self {
        Self {
            stdin: false,
            stdout: false,
            colours: false,
            progress: false,
            columns: COLUMNS,
        }
    }

    /// `text` in a style, if the terminal shows styles.
    pub fn paint<T: fmt::Display>(self, style: Style, text: T) -> Painted<T> {
        Painted {
            style: self.colours.then_some(style),
            text,
        }
    }
}

/// A text style (ECMA-48 §8.3.117).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Important.
    Bold,
    /// Less important.
    Dim,
    /// Success.
    Green,
    /// Failure.
    Red,
    /// Warning.
    Yellow,
    /// Quantities, code.
    Cyan,
}

impl Style {
    fn code(self) -> u8 {
        match self {
            Self::Bold => 1,
            Self::Dim => 2,
            Self::Red => 31,
            Self::Green => 32,
            Self::Yellow => 33,
            Self::Cyan => 36,
        }
    }
}

/// Text in a style, or plain. Padding applies to the text.
#[derive(Debug)]
pub struct Painted<T> {
    style: Option<Style>,
    text: T,
}

impl<T: fmt::Display> fmt::Display for Painted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.style {
            Some(style) => {
                write!(f, "\u{1b}[{}m", style.code())?;
                self.text.fmt(f)?;
                f.write_str("\u{1b}[0m")
            }
            None => self.text.fmt(f),
        }
    }
}

/// Replaces control characters in untrusted text, which would control the terminal.
#[must_use]
pub fn printable(text: &str) -> String {
    text.replace(steers, " ")
}

/// Whether a terminal does more with a character than show it: control characters, and those that reorder
/// the text around them (Unicode's bidirectional controls, UAX #9), which can make it read differently.
pub(crate) fn steers(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}
