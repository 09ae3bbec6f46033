//! No two source files import each other, neither directly nor through others.
//!
//! An import is a path below `crate`, `super` or `self` outside of tests. Declarations (`mod x;`) and
//! re-exports (`pub use`) are none.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// The folders whose crates are free of circles.
const FOLDERS: [&str; 1] = ["tools"];

type Imports = BTreeMap<PathBuf, BTreeSet<PathBuf>>;

#[test]
fn no_files_import_each_other() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut crates = Vec::new();
    for folder in FOLDERS {
        find_crates(&root.join(folder), &mut crates);
    }
    assert!(crates.len() > 5, "the crates are gone");
    let mut circles = Vec::new();
    for source in crates {
        let imports = imports(&source);
        for file in imports.keys() {
            if reaches(&imports, file, file) {
                circles.push(file.clone());
            }
        }
    }
    assert!(circles.is_empty(), "in circles: {circles:#?}");
}

#[test]
fn a_circle_is_found() {
    let file = PathBuf::from;
    let imports: Imports = [("a", "b"), ("b", "c"), ("c", "b")]
        .map(|(from, to)| (file(from), BTreeSet::from([file(to)])))
        .into();
    assert!(!reaches(&imports, &file("a"), &file("a")));
    assert!(reaches(&imports, &file("b"), &file("b")));
}

#[test]
fn imports_are_read() {
    let source = "
        pub use self::d::D;
        use crate::{a::A, b::{self, B}};
        use super::c::C;
        fn f() { crate::e::f() }
        #[cfg(test)]
        mod tests { use crate::g::G; }
    ";
    let paths: Vec<String> = paths(source).collect();
    assert_eq!(
        paths,
        [
            "crate::a::A",
            "crate::b::self",
            "crate::b::B",
            "super::c::C",
            "crate::e::f"
        ]
    );
}

/// Adds the `src` folders below `folder`.
fn find_crates(folder: &Path, crates: &mut Vec<PathBuf>) {
    if folder.join("Cargo.toml").is_file() && folder.join("src").is_dir() {
        crates.push(folder.join("src"));
    }
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("src") {
            find_crates(&path, crates);
        }
    }
}

/// Whether a path of imports leads from `from` to `to`.
fn reaches(imports: &Imports, from: &Path, to: &Path) -> bool {
    let mut seen = BTreeSet::new();
    let mut next: Vec<&PathBuf> = imports.get(from).into_iter().flatten().collect();
    while let Some(file) = next.pop() {
        if file == to {
            return true;
        }
        if seen.insert(file) {
            next.extend(imports.get(file).into_iter().flatten());
        }
    }
    false
}

/// The imports between the files of a crate.
fn imports(source: &Path) -> Imports {
    let mut modules = BTreeMap::new();
    find_modules(source, source, &mut modules);
    let mut imports = Imports::new();
    for (module, file) in &modules {
        let text = fs::read_to_string(file).unwrap();
        let targets = paths(&text)
            .filter_map(|path| resolve(&path, module, &modules))
            .filter(|target| target != file);
        imports.insert(file.clone(), targets.collect());
    }
    imports
}

/// Adds the files of a crate by the paths of their modules.
fn find_modules(root: &Path, folder: &Path, modules: &mut BTreeMap<Vec<String>, PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            find_modules(root, &path, modules);
        } else if path.extension().is_some_and(|it| it == "rs") {
            let module: Vec<String> = path
                .strip_prefix(root)
                .unwrap()
                .with_extension("")
                .iter()
                .map(|name| name.to_str().unwrap().to_owned())
                .filter(|name| !["lib", "main"].contains(&name.as_str()))
                .collect();
            // Tests may import anything.
            if module.last().is_none_or(|name| name != "tests") {
                modules.insert(module, path);
            }
        }
    }
}

/// The file that a path names, from the module that it stands in. Items of a crate's root are not
/// followed.
fn resolve(
    path: &str,
    module: &[String],
    modules: &BTreeMap<Vec<String>, PathBuf>,
) -> Option<PathBuf> {
    let mut base = module.to_vec();
    let mut names = Vec::new();
    for (at, name) in path.split("::").enumerate() {
        match name {
            "crate" => base.clear(),
            "super" => drop(base.pop()),
            "self" if at == 0 => {}
            name => names.push(name.to_owned()),
        }
    }
    base.extend(names);
    while !base.is_empty() {
        if let Some(file) = modules.get(&base) {
            return Some(file.clone());
        }
        base.pop();
    }
    None
}

/// The paths of a source's imports.
fn paths(source: &str) -> impl Iterator<Item = String> {
    let code = source.split("#[cfg(test)]").next().unwrap_or_default();
    let code: String = code
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .filter(|line| !line.trim_start().starts_with("pub use self::"))
        .collect::<Vec<_>>()
        .join(" ");
    let mut found = Vec::new();
    for start in ["crate::", "super::", "self::"] {
        for (at, _) in code.match_indices(start) {
            let before = code[..at].chars().next_back();
            if before.is_none_or(|it| !(it.is_alphanumeric() || it == '_' || it == ':')) {
                found.push((at, expand(&code[at..])));
            }
        }
    }
    found.sort();
    found.into_iter().flat_map(|(_, paths)| paths)
}

/// A path at the beginning of a text, with its groups expanded.
fn expand(text: &str) -> Vec<String> {
    let end = text.find(|it: char| !(it.is_alphanumeric() || it == '_' || it == ':'));
    let (path, rest) = text.split_at(end.unwrap_or(text.len()));
    if !path.ends_with("::") || !rest.starts_with('{') {
        return vec![path.to_owned()];
    }
    let (mut depth, mut start, mut paths) = (0, 1, Vec::new());
    for (at, letter) in rest.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if (letter == ',' && depth == 1) || depth == 0 {
            let item = rest[start..at].trim();
            if !item.is_empty() {
                paths.extend(expand(item).into_iter().map(|it| format!("{path}{it}")));
            }
            start = at + 1;
        }
        if depth == 0 {
            break;
        }
    }
    paths
}
