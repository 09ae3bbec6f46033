//! Markdown on a terminal.

use llmgw::fuzzing::render;

use crate::{input::text, planted};

/// The escape sequences of the renderer: on, off.
const BOLD: [&str; 2] = ["\x1b[1m", "\x1b[22m"];
const DIM: [&str; 2] = ["\x1b[2m", "\x1b[22m"];
const ITALIC: [&str; 2] = ["\x1b[3m", "\x1b[23m"];
const CODE: [&str; 2] = ["\x1b[36m", "\x1b[39m"];

/// Any way to cut a text gives one rendering; it has no escapes but the renderer's own, each style ends with its line,
/// and of the text only markup is lost.
pub(crate) fn only_own_escapes(data: &[u8]) {
    let text = text(data);
    let mut rendered = render([text.as_str()]);
    let pieces = text.split_inclusive(|_: char| true);
    assert_eq!(rendered, render(pieces), "cut");
    if planted() && text.contains("**") {
        rendered = rendered.replace(BOLD[1], "");
    }
    let shown = without_styles(&rendered);
    // The line of a fence is lost, too; it may have characters that steer between its backticks.
    if !words(&text, "").contains("```") {
        let words = |text| words(text, "*`#->+•│");
        assert_eq!(words(&text), words(&shown), "{text:?} is {shown:?}");
        let breaks = |text: &str| text.matches('\n').count();
        assert_eq!(breaks(&text), breaks(&shown), "{text:?}");
    }
}

/// The characters that are neither markup nor blank nor steer a terminal.
fn words(text: &str, markup: &str) -> String {
    let is_dropped =
        |c: char| c.is_whitespace() || c.is_control() || markup.contains(c) || is_bidirectional(c);
    text.chars().filter(|c| !is_dropped(*c)).collect()
}

/// Marks and overrides of the direction of writing.
fn is_bidirectional(c: char) -> bool {
    matches!(
        c,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    )
}

/// The text, after a check of all styles.
fn without_styles(rendered: &str) -> String {
    let mut on = Vec::new();
    let mut shown = String::new();
    let mut rest = rendered;
    while let Some(character) = rest.chars().next() {
        let styles = [BOLD, DIM, ITALIC, CODE];
        let begun = styles.iter().find(|[begin, _]| rest.starts_with(begin));
        let ended = styles.iter().find(|[_, end]| rest.starts_with(end));
        rest = match (begun, ended) {
            (Some(style), _) => {
                assert!(!on.contains(style), "begun twice: {rendered:?}");
                on.push(*style);
                &rest[style[0].len()..]
            }
            (None, Some([_, end])) => {
                let before = on.len();
                on.retain(|style| style[1] != *end);
                assert!(on.len() < before, "ended twice: {rendered:?}");
                &rest[end.len()..]
            }
            (None, None) => {
                let is_line_end = character == '\n';
                assert!(!is_line_end || on.is_empty(), "runs on: {rendered:?}");
                let is_plain = !character.is_control() || "\n\t".contains(character);
                assert!(is_plain && !is_bidirectional(character), "{character:?}");
                shown.push(character);
                &rest[character.len_utf8()..]
            }
        };
    }
    assert!(on.is_empty(), "left on: {rendered:?}");
    shown
}
