//! The targets of all links in the Markdown files exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

use docs::{Page, files, pages, root, spans};

/// The limit of the README's size, in bytes: more belongs on a page of its own.
const LONGEST_README: usize = 6 * 1024;

#[test]
fn every_link_and_anchor_exists() {
    let mut broken = Vec::new();
    for path in pages().unwrap() {
        let page = Page::read(&path).unwrap();
        for link in page.links() {
            if let Err(problem) = resolve(&path, &link) {
                broken.push(format!("{}: {link}: {problem}", path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

/// The file that a link leads to, if it is in the repository.
fn resolve(from: &Path, link: &str) -> Result<Option<PathBuf>, &'static str> {
    if link.starts_with("https://") || link.starts_with("mailto:") {
        return Ok(None);
    }
    let (file, anchor) = link
        .split_once('#')
        .map_or((link, None), |(file, anchor)| (file, Some(anchor)));
    let target = if file.is_empty() {
        from.to_owned()
    } else {
        let folder = from.parent().unwrap_or(Path::new(""));
        inside(&folder.join(file)).ok_or("leaves the repository")?
    };
    if !root().join(&target).exists() {
        return Err("no such file");
    }
    if let Some(anchor) = anchor {
        let page = Page::read(&target).map_err(|_| "has no anchors")?;
        if !page.anchors().contains(anchor) {
            return Err("no such heading");
        }
    }
    Ok(Some(target))
}

/// A path without `..`, unless it leads outside.
fn inside(path: &Path) -> Option<PathBuf> {
    let mut inside = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => inside.push(name),
            Component::CurDir => {}
            Component::ParentDir if inside.pop() => {}
            _ => return None,
        }
    }
    Some(inside)
}

#[test]
fn every_page_is_listed_in_the_index() {
    let index = Path::new("docs/README.md");
    let listed: BTreeSet<PathBuf> = Page::read(index)
        .unwrap()
        .links()
        .iter()
        .filter_map(|link| resolve(index, link).unwrap())
        .collect();
    let missing: Vec<_> = pages()
        .unwrap()
        .into_iter()
        .filter(|path| path.starts_with("docs") && path != index && !listed.contains(path))
        .collect();
    assert_eq!(missing, Vec::<PathBuf>::new());
}

#[test]
fn the_readme_is_short() {
    let length = fs::read(root().join("README.md")).unwrap().len();
    assert!(length <= LONGEST_README, "{length} bytes");
}

/// Code spans such as `shared/src/respond.rs` are checked like links.
#[test]
fn every_path_that_is_named_exists() {
    const FOLDERS: [&str; 9] = [
        ".ci/",
        ".github/",
        "clients/",
        "docs/",
        "events/",
        "functions/",
        "migrations/",
        "shared/",
        "tools/",
    ];
    // Contents of responses and patterns, not of the repository.
    let is_path = |text: &str| {
        FOLDERS.iter().any(|it| text.starts_with(it)) && !text.contains(['*', '{', ' ', '…', '<'])
    };
    let mut missing = Vec::new();
    for page in pages().unwrap() {
        // The changelog also names what was removed.
        if page == Path::new("CHANGELOG.md") {
            continue;
        }
        for span in Page::read(&page).unwrap().spans() {
            if is_path(&span) && !root().join(&span).exists() {
                missing.push(format!("{}: {span}", page.display()));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

/// Types, functions and modules such as `Entry::close` are in some source.
#[test]
fn every_name_in_the_architecture_exists() {
    let sources: String = ["rs", "sql", "toml", "yaml"]
        .iter()
        .flat_map(|extension| files(extension).unwrap())
        .map(|path| fs::read_to_string(root().join(path)).unwrap())
        .collect();
    let words: BTreeSet<&str> = sources
        .split(|it: char| !it.is_ascii_alphanumeric() && it != '_')
        .collect();
    let is_name = |text: &str| {
        text.bytes()
            .all(|it| it.is_ascii_alphanumeric() || b"_:".contains(&it))
    };
    let spans = Page::read("ARCHITECTURE.md").unwrap().spans();
    let unknown: Vec<&String> = spans
        .iter()
        .filter(|it| is_name(it))
        .filter(|it| !it.split("::").all(|part| words.contains(part)))
        .collect();
    assert_eq!(unknown, Vec::<&String>::new());
}

/// The tables of invariants name the tests that hold them.
#[test]
fn every_test_that_is_named_exists() {
    let sources: Vec<String> = ["rs", "py"]
        .iter()
        .flat_map(|extension| files(extension).unwrap())
        .map(|path| fs::read_to_string(root().join(path)).unwrap())
        .collect();
    let exists = |name: &str| {
        let (rust, python) = (format!("fn {name}("), format!("def {name}("));
        sources
            .iter()
            .any(|source| source.contains(&rust) || source.contains(&python))
    };
    let mut named = 0;
    for page in ["ARCHITECTURE.md", "SECURITY.md"] {
        for row in Page::read(page).unwrap().table("invariant") {
            for test in spans(&row[2]) {
                let name = test.rsplit("::").next().unwrap();
                assert!(exists(name), "{page}: there is no test {test}");
                named += 1;
            }
        }
    }
    assert!(named >= 10, "only {named} tests are named");
}
