//! Markdown on a terminal, rendered while it arrives.
//!
//! Answers arrive in chunks cut anywhere. Only possible markup is held back, a few characters at a time,
//! and lines of code until they end; Markdown parsers need whole blocks, so paragraphs would appear
//! only at their end. Headings, lists, quotes, code, bold and italic text are rendered; everything else
//! stays as it was written. Control characters are removed: they would control the terminal.

use std::mem;

use crate::terminal::steers;

const BOLD: (&str, &str) = ("\u{1b}[1m", "\u{1b}[22m");
const ITALIC: (&str, &str) = ("\u{1b}[3m", "\u{1b}[23m");
const CODE: (&str, &str) = ("\u{1b}[36m", "\u{1b}[39m");
const DIM: (&str, &str) = ("\u{1b}[2m", "\u{1b}[22m");
const FENCE: &str = "```";
/// The most blanks before the markup of a line. More of them are text, and are not held back.
const LONGEST_INDENTATION: usize = 64;
/// The most stars in a row, and the most bytes of a line of code, that are held back.
const LONGEST_RUN: usize = 1024;
const LONGEST_CODE: usize = 8192;

/// The renderer of one text.
#[derive(Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each style is on or off, whatever the others are"
)]
pub(crate) struct Renderer {
    place: Place,
    /// Possible markup: the beginning of a line, or a run of stars.
    held: String,
    bold: bool,
    italic: bool,
    code: bool,
    heading: bool,
    /// The last character written, to distinguish emphasis from multiplication.
    last: Option<char>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Place {
    #[default]
    LineStart,
    Line,
    /// Between two fences.
    CodeBlock,
    /// In the line of an opening fence.
    FenceLine,
}

/// The beginning of a line.
enum Start {
    /// Undecided.
    Open,
    Heading,
    /// A list item, with its indentation.
    Bullet(usize),
    Quote,
    Fence,
    Text,
}

impl Renderer {
    /// Renders the next chunk.
    #[must_use]
    pub(crate) fn push(&mut self, piece: &str) -> String {
        let mut out = String::with_capacity(piece.len() + 16);
        for character in piece.chars() {
            if !steers(character) || matches!(character, '\n' | '\t') {
                self.character(character, &mut out);
            }
        }
        out
    }

    /// Renders the text that is held back, and ends all styles.
    #[must_use]
    pub(crate) fn finish(&mut self) -> String {
        let mut out = String::new();
        match self.place {
            Place::LineStart => self.text_so_far(&mut out),
            Place::Line => self.stars(None, &mut out),
            Place::CodeBlock => self.code_line(&mut out),
            Place::FenceLine => {}
        }
        self.end_styles(&mut out);
        *self = Self::default();
        out
    }

    fn character(&mut self, character: char, out: &mut String) {
        match (self.place, character) {
            (Place::LineStart, '\n') => {
                self.text_so_far(out);
                self.end_line(out);
            }
            (Place::LineStart, _) => {
                self.held.push(character);
                self.start_line(out);
            }
            (Place::Line, '\n') => {
                self.stars(None, out);
                self.end_line(out);
            }
            (Place::Line, _) => self.inline(character, out),
            (Place::CodeBlock, '\n') => self.code_line(out),
            (Place::CodeBlock, _) => {
                self.held.push(character);
                if self.held.len() >= LONGEST_CODE {
                    self.code_line(out);
                }
            }
            (Place::FenceLine, '\n') => self.place = Place::CodeBlock,
            (Place::FenceLine, _) => {}
        }
    }

    fn start_line(&mut self, out: &mut String) {
        match start(&self.held) {
            Start::Open => {}
            Start::Heading => {
                self.held.clear();
                self.heading = true;
                out.push_str(BOLD.0);
                self.place = Place::Line;
            }
            Start::Bullet(indentation) => {
                self.held.clear();
                out.push_str(&" ".repeat(indentation));
                out.push_str("• ");
                self.place = Place::Line;
            }
            Start::Quote => {
                self.held.clear();
                out.push_str(&format_styled(DIM, "│ "));
                self.place = Place::Line;
            }
            Start::Fence => {
                self.held.clear();
                self.place = Place::FenceLine;
            }
            Start::Text => self.text_so_far(out),
        }
    }

    /// Renders the beginning of a line as text.
    fn text_so_far(&mut self, out: &mut String) {
        self.place = Place::Line;
        for character in mem::take(&mut self.held).chars() {
            self.inline(character, out);
        }
    }

    fn inline(&mut self, character: char, out: &mut String) {
        if character == '*' && !self.code {
            self.held.push('*');
            if self.held.len() >= LONGEST_RUN {
                self.stars(None, out);
            }
            return;
        }
        self.stars(Some(character), out);
        if character == '`' {
            self.code = !self.code;
            out.push_str(if self.code { CODE.0 } else { CODE.1 });
        } else {
            out.push(character);
        }
        self.last = Some(character);
    }

    /// Renders a run of stars as emphasis if it touches a word, else as stars.
    fn stars(&mut self, next: Option<char>, out: &mut String) {
        let run = mem::take(&mut self.held);
        if run.is_empty() {
            return;
        }
        let touches = |neighbour: Option<char>| neighbour.is_some_and(|it| !it.is_whitespace());
        let opens = touches(next);
        let closes = touches(self.last);
        let (bold, italic) = match run.len() {
            1 => (false, true),
            2 => (true, false),
            3 => (true, true),
            _ => (false, false),
        };
        let fits = |is_on: bool| if is_on { closes } else { opens };
        let is_markup =
            (bold || italic) && (!bold || fits(self.bold)) && (!italic || fits(self.italic));
        if !is_markup {
            out.push_str(&run);
            self.last = Some('*');
            return;
        }
        if bold {
            self.bold = !self.bold;
            // Headings are bold throughout.
            if !self.heading {
                out.push_str(if self.bold { BOLD.0 } else { BOLD.1 });
            }
        }
        if italic {
            self.italic = !self.italic;
            out.push_str(if self.italic { ITALIC.0 } else { ITALIC.1 });
        }
    }

    fn code_line(&mut self, out: &mut String) {
        let line = mem::take(&mut self.held);
        if line.trim_start().starts_with(FENCE) {
            self.place = Place::LineStart;
        } else if !line.is_empty() {
            out.push_str("  ");
            out.push_str(&format_styled(CODE, &line));
            out.push('\n');
        } else {
            out.push('\n');
        }
    }

    fn end_line(&mut self, out: &mut String) {
        self.end_styles(out);
        out.push('\n');
        self.place = Place::LineStart;
        self.last = None;
    }

    fn end_styles(&mut self, out: &mut String) {
        for (is_on, style) in [
            (mem::take(&mut self.code), CODE),
            (mem::take(&mut self.italic), ITALIC),
            (mem::take(&mut self.bold) || self.heading, BOLD),
        ] {
            if is_on {
                out.push_str(style.1);
            }
        }
        self.heading = false;
    }
}

/// Renders a text that arrives in pieces, for fuzz targets.
#[cfg(fuzzing)]
pub fn render<'a>(pieces: impl IntoIterator<Item = &'a str>) -> String {
    let mut renderer = Renderer::default();
    let mut out: String = pieces.into_iter().map(|it| renderer.push(it)).collect();
    out.push_str(&renderer.finish());
    out
}

fn start(line: &str) -> Start {
    let text = line.trim_start_matches(' ');
    let indentation = line.len() - text.len();
    let hashes = text.len() - text.trim_start_matches('#').len();
    match text {
        "" if indentation > LONGEST_INDENTATION => Start::Text,
        "" | "-" | "*" | "+" | ">" | "`" | "``" => Start::Open,
        "- " | "* " | "+ " => Start::Bullet(indentation),
        "> " => Start::Quote,
        FENCE => Start::Fence,
        _ if indentation > LONGEST_INDENTATION => Start::Text,
        _ if (1..=6).contains(&hashes) && hashes == text.len() => Start::Open,
        _ if (1..=6).contains(&hashes) && text.get(hashes..) == Some(" ") => Start::Heading,
        _ => Start::Text,
    }
}

fn format_styled((on, off): (&str, &str), text: &str) -> String {
    format!("{on}{text}{off}")
}

#[cfg(test)]
mod tests;
