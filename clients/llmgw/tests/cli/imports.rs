//! The modules of the program import each other in one direction only.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// Modules by their path, like `["admin", "keyset"]`, with the modules that they import.
type Graph = BTreeMap<Vec<String>, BTreeSet<Vec<String>>>;

#[test]
fn there_are_no_import_circles() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = BTreeMap::new();
    read(&source, &[], &mut files);
    assert!(files.len() > 40, "{} modules", files.len());
    let modules: BTreeSet<_> = files.keys().cloned().collect();
    let graph: Graph = files
        .iter()
        .map(|(module, text)| (module.clone(), imports(module, text, &modules)))
        .collect();
    assert!(graph.values().map(BTreeSet::len).sum::<usize>() > 100);
    for module in graph.keys() {
        assert!(
            !reaches(&graph, module),
            "{} imports itself by way of others",
            module.join("::")
        );
    }
}

fn read(folder: &Path, parent: &[String], files: &mut BTreeMap<Vec<String>, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let module = [parent, std::slice::from_ref(&name)].concat();
        if path.is_dir() {
            read(&path, &module, files);
        } else if !["main", "lib", "tests"].contains(&name.as_str()) {
            let text = fs::read_to_string(&path).unwrap();
            // Tests may import what they like.
            let text = text.split("#[cfg(test)]").next().unwrap();
            files.insert(module, text.to_owned());
        }
    }
}

/// The modules whose items a module's `use` declarations name.
fn imports(
    module: &[String],
    text: &str,
    modules: &BTreeSet<Vec<String>>,
) -> BTreeSet<Vec<String>> {
    let mut found = BTreeSet::new();
    let text = text.replace("\npub use ", "\nuse ");
    for declaration in text.split("\nuse ").skip(1) {
        let Some((tree, _)) = declaration.split_once(';') else {
            continue;
        };
        let tree: String = tree.split_whitespace().collect();
        for path in paths(&tree) {
            let mut names = path.split("::");
            let mut at = match names.next() {
                Some("crate") => Vec::new(),
                Some("self") => module.to_vec(),
                Some("super") => parent(module),
                _ => continue,
            };
            for name in names {
                if name == "super" {
                    at = parent(&at);
                } else {
                    at.push(name.to_owned());
                }
            }
            // The longest part that is a module; the rest is an item of it.
            while !at.is_empty() && !modules.contains(&at) {
                at.pop();
            }
            if !at.is_empty() && at != module {
                found.insert(at);
            }
        }
    }
    found
}

fn parent(module: &[String]) -> Vec<String> {
    module[..module.len() - 1].to_vec()
}

/// `a::{b,c::{d,e}}` as `a::b`, `a::c::d`, `a::c::e`.
fn paths(tree: &str) -> Vec<String> {
    let Some((prefix, rest)) = tree.split_once('{') else {
        return vec![tree.to_owned()];
    };
    let inner = rest.strip_suffix('}').unwrap();
    let (mut parts, mut depth, mut start) = (Vec::new(), 0, 0);
    for (index, character) in inner.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&inner[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    parts.push(&inner[start..]);
    let parts = parts.into_iter().filter(|part| !part.is_empty());
    parts
        .flat_map(paths)
        .map(|path| format!("{prefix}{path}"))
        .collect()
}

fn reaches(graph: &Graph, start: &[String]) -> bool {
    let mut seen = BTreeSet::new();
    let mut open: Vec<_> = graph[start].iter().collect();
    while let Some(module) = open.pop() {
        if module == start {
            return true;
        }
        if seen.insert(module) {
            open.extend(&graph[module]);
        }
    }
    false
}
