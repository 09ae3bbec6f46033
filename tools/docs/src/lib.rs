//! Reads the repository's Markdown, for tests that hold it against the code.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The workspace's root.
#[must_use]
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

/// Every Markdown file, relative to the root.
pub fn pages() -> io::Result<Vec<PathBuf>> {
    files("md")
}

/// Every file with an extension, relative to the root, without what is built or installed.
pub fn files(extension: &str) -> io::Result<Vec<PathBuf>> {
    const NOT_OURS: [&str; 4] = ["target", "node_modules", "dist", "__pycache__"];
    let root = root();
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let is_hidden = name.starts_with('.') && name != ".github";
            if path.is_dir() {
                if !is_hidden && !NOT_OURS.contains(&name.as_ref()) {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|it| it == extension)
                && let Ok(path) = path.strip_prefix(&root)
            {
                found.push(path.to_owned());
            }
        }
    }
    found.sort();
    Ok(found)
}

/// A Markdown file, line by line.
#[derive(Debug)]
pub struct Page {
    lines: Vec<Line>,
}

#[derive(Debug)]
struct Line {
    text: String,
    is_code: bool,
}

impl Page {
    /// Reads a file, named relative to the root.
    pub fn read(path: impl AsRef<Path>) -> io::Result<Self> {
        Ok(Self::parse(&fs::read_to_string(root().join(path))?))
    }

    /// Parses a text.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut is_code = false;
        let lines = text
            .lines()
            .map(|line| {
                let is_fence = line.trim_start().starts_with("```");
                is_code ^= is_fence;
                Line {
                    text: line.to_owned(),
                    is_code: is_code || is_fence,
                }
            })
            .collect();
        Self { lines }
    }

    /// All of its text, with one space for each line break.
    #[must_use]
    pub fn text(&self) -> String {
        let lines = self.lines.iter().map(|line| line.text.trim());
        lines.collect::<Vec<_>>().join(" ")
    }

    /// The text outside of code blocks, with code spans blanked.
    #[must_use]
    pub fn prose(&self) -> String {
        let lines = self.lines.iter().filter(|line| !line.is_code);
        let text: Vec<_> = lines.map(|line| line.text.as_str()).collect();
        let text = text.join("\n");
        // Between every other pair of backticks.
        let pieces = text.split('`').enumerate();
        pieces
            .map(|(index, piece)| if index % 2 == 0 { piece } else { "" })
            .collect()
    }

    /// The lines of its code blocks.
    pub fn code(&self) -> impl Iterator<Item = &str> {
        let lines = self.lines.iter().filter(|line| line.is_code);
        lines.map(|line| line.text.as_str())
    }

    /// All code spans outside of code blocks.
    #[must_use]
    pub fn spans(&self) -> Vec<String> {
        let lines = self.lines.iter().filter(|line| !line.is_code);
        lines.flat_map(|line| spans(&line.text)).collect()
    }

    /// The code spans between `<!-- name -->` and `<!-- /name -->`.
    #[must_use]
    pub fn marked(&self, name: &str) -> BTreeSet<String> {
        let (begin, end) = (format!("<!-- {name} -->"), format!("<!-- /{name} -->"));
        let lines = self.lines.iter().skip_while(|line| line.text != begin);
        lines
            .take_while(|line| line.text != end)
            .flat_map(|line| spans(&line.text))
            .collect()
    }

    /// The rows of the tables whose first column has this heading.
    #[must_use]
    pub fn table(&self, heading: &str) -> Vec<Vec<String>> {
        let mut rows = Vec::new();
        let mut lines = self.lines.iter().filter(|line| !line.is_code).peekable();
        while let Some(line) = lines.next() {
            if cells(&line.text).first().is_some_and(|it| it == heading) {
                lines.next_if(|line| line.text.starts_with("|--"));
                while let Some(row) = lines.next_if(|line| line.text.starts_with('|')) {
                    rows.push(cells(&row.text));
                }
            }
        }
        rows
    }

    /// The anchors of its headings, as GitHub makes them.
    #[must_use]
    pub fn anchors(&self) -> BTreeSet<String> {
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        let lines = self.lines.iter().filter(|line| !line.is_code);
        lines
            .filter_map(|line| {
                let text = line.text.trim_start_matches('#');
                let is_heading = text.len() < line.text.len() && text.starts_with(' ');
                is_heading.then(|| slug(text.trim()))
            })
            .map(|slug| {
                let count = seen.entry(slug.clone()).or_default();
                *count += 1;
                if *count == 1 {
                    slug
                } else {
                    format!("{slug}-{}", *count - 1)
                }
            })
            .collect()
    }

    /// The targets of its links.
    #[must_use]
    pub fn links(&self) -> Vec<String> {
        let prose = self.prose();
        let targets = prose.split("](").skip(1);
        targets
            .filter_map(|rest| rest.split_once(')'))
            .map(|(target, _)| target.to_owned())
            .collect()
    }
}

/// The cells of a table's row.
fn cells(line: &str) -> Vec<String> {
    let Some(row) = line.trim().strip_prefix('|') else {
        return Vec::new();
    };
    let row = row.strip_suffix('|').unwrap_or(row);
    row.split('|').map(|cell| cell.trim().to_owned()).collect()
}

/// The code spans of a text.
#[must_use]
pub fn spans(text: &str) -> Vec<String> {
    text.split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

/// A heading's anchor.
fn slug(heading: &str) -> String {
    let lower = heading.to_lowercase();
    lower
        .chars()
        .filter(|it| it.is_alphanumeric() || matches!(it, ' ' | '-' | '_'))
        .map(|it| if it == ' ' { '-' } else { it })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "\
# A title: `code`, and more
See [one](a.md#b) and [two
lines](c.md), not `[code](d.md)`.
| name | meaning |
|---|---|
| `x`, `y` | text |
<!-- these -->
`p`, `q`
<!-- /these -->
```
[block](e.md)
```
## Again
## Again
";

    #[test]
    fn links_are_found_outside_of_code() {
        assert_eq!(Page::parse(SAMPLE).links(), ["a.md#b", "c.md"]);
    }

    #[test]
    fn anchors_are_githubs() {
        let anchors = Page::parse(SAMPLE).anchors();
        let anchors: Vec<_> = anchors.iter().map(String::as_str).collect();
        assert_eq!(anchors, ["a-title-code-and-more", "again", "again-1"]);
    }

    #[test]
    fn tables_and_lists_are_read() {
        let page = Page::parse(SAMPLE);
        assert_eq!(page.table("name"), [["`x`, `y`", "text"]]);
        assert_eq!(spans("`x`, `y`"), ["x", "y"]);
        let marked: Vec<_> = page.marked("these").into_iter().collect();
        assert_eq!(marked, ["p", "q"]);
        assert_eq!(page.code().nth(1), Some("[block](e.md)"));
    }
}
