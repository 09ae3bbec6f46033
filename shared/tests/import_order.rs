//! Imports inside the library point one way: down the diagram in `lib.rs`, and never in a circle.
//!
//! The unit is a file. A file depends on the files that define the names it uses, in `use`
//! declarations and in paths; a re-export is followed to the definition, and is itself no use. A module
//! may use what its parent defines, as private parts of one whole do, but not its siblings in a
//! circle. Tests are exempt.

#![expect(
    clippy::unwrap_used,
    reason = "in tests' helpers, too, what does not work fails the test"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use syn::{Attribute, Item, UseTree, Visibility};

#[test]
fn imports_point_down_the_diagram() {
    let library = Library::read(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")));
    let faults = library.faults();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn an_import_that_points_up_is_found() {
    let faults = faults_of(&[
        (
            "",
            "//! ```text\n//! a\n//! b · c::{d, e}\n//! ```\nmod a; mod b; mod c;",
        ),
        ("a", "use crate::{b::B, c::d};"),
        ("b", "fn b() { tracing::info!(x = crate::a::f()); }"),
        ("c", "pub mod d; pub mod e;"),
        ("c::d", ""),
        ("c::e", "#[cfg(test)] mod tests { use crate::a::A; }"),
    ]);
    assert_eq!(
        faults,
        ["b uses a, which stands above it", "circle: a → b → a"]
    );
}

#[test]
fn an_import_of_a_neighbour_on_the_same_line_is_found() {
    let faults = faults_of(&[
        ("", "//! ```text\n//! a · b\n//! ```"),
        ("a", "fn a() { crate::b::f() }"),
        ("b", ""),
    ]);
    assert_eq!(faults, ["a uses b, which stands beside it"]);
}

#[test]
fn a_circle_inside_one_entry_is_found_behind_a_re_export() {
    let faults = faults_of(&[
        ("", "//! ```text\n//! a\n//! ```"),
        ("a", "mod x; mod y; pub use self::x::X; pub struct A(y::Y);"),
        ("a::x", "pub struct X(super::y::Y);"),
        ("a::y", "use super::X; pub struct Y(super::A);"),
    ]);
    assert_eq!(faults, ["circle: a::y → a::x → a::y"]);
}

#[test]
fn a_module_missing_from_the_diagram_is_found() {
    let faults = faults_of(&[
        ("", "//! ```text\n//! a · b::c · gone\n//! ```"),
        ("a", ""),
        ("b", "mod c; mod d;"),
        ("b::c", ""),
        ("b::d", ""),
    ]);
    assert_eq!(
        faults,
        ["b::d is not in the diagram", "gone is in the diagram only"]
    );
}

fn faults_of(files: &[(&str, &str)]) -> Vec<String> {
    let files = files
        .iter()
        .map(|(module, text)| (path(module), (*text).to_owned()));
    Library::of(&files.collect()).faults()
}

/// A module's path below the crate.
type Module = Vec<String>;

fn path(module: &str) -> Module {
    let names = module.split("::").filter(|name| !name.is_empty());
    names.map(str::to_owned).collect()
}

struct Library {
    diagram: Vec<Vec<Module>>,
    files: BTreeMap<Module, File>,
}

/// What a file imports and names.
#[derive(Default)]
struct File {
    /// Names that `use` declarations bring in, each with the path behind it.
    imports: BTreeMap<String, Import>,
    /// Paths in the code.
    paths: BTreeSet<Vec<String>>,
    /// Every word of the code.
    words: BTreeSet<String>,
    /// A module that only declares others has no place in the diagram of its own.
    declares_only: bool,
}

struct Import {
    path: Vec<String>,
    is_re_export: bool,
}

impl Library {
    fn read(source: &Path) -> Self {
        let mut files = BTreeMap::new();
        read_folder(source, &Module::new(), &mut files);
        Self::of(&files)
    }

    fn of(files: &BTreeMap<Module, String>) -> Self {
        let diagram = diagram(&files[&Module::new()]);
        let parsed: BTreeMap<_, _> = files
            .iter()
            .map(|(module, text)| (module, syn::parse_file(text).unwrap()))
            .collect();
        let tests: BTreeSet<Module> = parsed
            .iter()
            .flat_map(|(module, file)| test_modules(module, &file.items))
            .collect();
        let files = parsed
            .into_iter()
            .filter(|(module, _)| !tests.iter().any(|tests| module.starts_with(tests)))
            .map(|(module, file)| (module.clone(), File::of(module, file.items)))
            .collect();
        Self { diagram, files }
    }

    fn faults(&self) -> Vec<String> {
        let modules = self.files.iter().filter(|(module, _)| !module.is_empty());
        let mut faults: Vec<_> = modules
            .filter(|(module, file)| !file.declares_only && self.place(module).is_none())
            .map(|(module, _)| format!("{} is not in the diagram", module.join("::")))
            .collect();
        faults.extend(
            self.diagram
                .iter()
                .flatten()
                .filter(|entry| !self.files.contains_key(*entry))
                .map(|entry| format!("{} is in the diagram only", entry.join("::"))),
        );
        let edges = self.edges();
        for (from, to) in edges
            .iter()
            .flat_map(|(from, all)| all.iter().map(move |to| (from, to)))
        {
            let (Some(above), Some(below)) = (self.place(from), self.place(to)) else {
                continue;
            };
            if above.1 == below.1 || above.0 < below.0 {
                continue;
            }
            let place = if above.0 == below.0 {
                "beside"
            } else {
                "above"
            };
            let (from, to) = (from.join("::"), to.join("::"));
            faults.push(format!("{from} uses {to}, which stands {place} it"));
        }
        let without_parents = edges.into_iter().map(|(from, used)| {
            let others = used.into_iter().filter(|to| !from.starts_with(to));
            let others = others.collect();
            (from, others)
        });
        faults.extend(circles(&without_parents.collect()));
        faults
    }

    /// A module's line in the diagram, and the entry that covers it: the longest one.
    fn place(&self, module: &Module) -> Option<(usize, &Module)> {
        let lines = self.diagram.iter().enumerate();
        lines
            .flat_map(|(line, entries)| entries.iter().map(move |entry| (line, entry)))
            .filter(|(_, entry)| module.starts_with(entry))
            .max_by_key(|(_, entry)| entry.len())
    }

    fn edges(&self) -> BTreeMap<Module, BTreeSet<Module>> {
        let edges = self.files.iter().map(|(module, file)| {
            let imports = file
                .imports
                .iter()
                .filter(|(name, import)| !import.is_re_export || file.words.contains(*name))
                .map(|(_, import)| &import.path);
            let mut used: BTreeSet<_> = imports
                .chain(&file.paths)
                .map(|path| self.definition(path, 0))
                .collect();
            used.remove(module);
            (module.clone(), used)
        });
        edges.collect()
    }

    /// The file that defines what a path names.
    fn definition(&self, path: &[String], followed: usize) -> Module {
        let mut module = Module::new();
        let mut names = path.iter();
        for name in names.by_ref() {
            module.push(name.clone());
            if self.files.contains_key(&module) {
                continue;
            }
            module.pop();
            if let Some(import) = self.files[&module].imports.get(name)
                && followed < 10
            {
                let path: Vec<_> = import.path.iter().chain(names).cloned().collect();
                return self.definition(&path, followed + 1);
            }
            break;
        }
        module
    }
}

impl File {
    fn of(module: &Module, items: Vec<Item>) -> Self {
        let mut file = Self {
            declares_only: !items.is_empty()
                && items.iter().all(|item| matches!(item, Item::Mod(_))),
            ..Self::default()
        };
        let children: BTreeSet<_> = items.iter().filter_map(declared).collect();
        for mut item in items {
            if is_test(attributes(&mut item)) {
                continue;
            }
            if let Item::Use(import) = &item {
                let is_re_export = !matches!(import.vis, Visibility::Inherited);
                file.import(module, &children, &[], &import.tree, is_re_export);
            } else {
                file.scan(module, &children, item.into_token_stream());
            }
        }
        file
    }

    fn import(
        &mut self,
        module: &Module,
        children: &BTreeSet<String>,
        before: &[String],
        tree: &UseTree,
        is_re_export: bool,
    ) {
        let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
        let (name, path) = match tree {
            UseTree::Path(path) => {
                return self.import(
                    module,
                    children,
                    &with(&path.ident),
                    &path.tree,
                    is_re_export,
                );
            }
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.import(module, children, before, tree, is_re_export);
                }
                return;
            }
            UseTree::Name(name) if name.ident == "self" => {
                (before.last().cloned(), before.to_vec())
            }
            UseTree::Name(name) => (Some(name.ident.to_string()), with(&name.ident)),
            UseTree::Rename(it) => (Some(it.rename.to_string()), with(&it.ident)),
            UseTree::Glob(_) => (Some("*".to_owned()), before.to_vec()),
        };
        if let (Some(name), Some(path)) = (name, absolute(module, children, &path)) {
            self.imports.insert(name, Import { path, is_re_export });
        }
    }

    /// Collects words and paths, inside macros too.
    fn scan(&mut self, module: &Module, children: &BTreeSet<String>, tokens: TokenStream) {
        let mut path = Vec::<String>::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(word) => {
                    if colons != 2 {
                        self.paths.extend(absolute(module, children, &path));
                        path.clear();
                    }
                    path.push(word.to_string());
                    self.words.insert(word.to_string());
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                TokenTree::Group(group) => {
                    self.paths.extend(absolute(module, children, &path));
                    path.clear();
                    colons = 0;
                    self.scan(module, children, group.stream());
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => {
                    self.paths.extend(absolute(module, children, &path));
                    path.clear();
                    colons = 0;
                }
            }
        }
        self.paths.extend(absolute(module, children, &path));
    }
}

/// A path below the crate, if it is one: by `crate`, `self` or `super`, or by a child module's name.
fn absolute(module: &Module, children: &BTreeSet<String>, path: &[String]) -> Option<Vec<String>> {
    let (first, rest) = path.split_first()?;
    match first.as_str() {
        "crate" => Some(rest.to_vec()),
        "self" if !rest.is_empty() => Some([module, rest].concat()),
        "super" => {
            let mut base = module.split_last()?.1;
            let mut rest = rest;
            while let Some(("super", more)) =
                rest.split_first().map(|(it, more)| (it.as_str(), more))
            {
                (base, rest) = (base.split_last()?.1, more);
            }
            Some([base, rest].concat())
        }
        child if children.contains(child) && !rest.is_empty() => Some([module, path].concat()),
        _ => None,
    }
}

fn circles(edges: &BTreeMap<Module, BTreeSet<Module>>) -> Vec<String> {
    let mut found = Vec::new();
    let mut done = BTreeSet::new();
    for start in edges.keys() {
        if !done.contains(start) {
            walk(start, edges, &mut Vec::new(), &mut done, &mut found);
        }
    }
    found
}

fn walk(
    module: &Module,
    edges: &BTreeMap<Module, BTreeSet<Module>>,
    trail: &mut Vec<Module>,
    done: &mut BTreeSet<Module>,
    found: &mut Vec<String>,
) {
    if let Some(at) = trail.iter().position(|it| it == module) {
        let circle = trail[at..].iter().chain([module]).map(|it| it.join("::"));
        found.push(format!(
            "circle: {}",
            circle.collect::<Vec<_>>().join(" → ")
        ));
        return;
    }
    if done.contains(module) {
        return;
    }
    trail.push(module.clone());
    for next in edges.get(module).into_iter().flatten() {
        walk(next, edges, trail, done, found);
    }
    trail.pop();
    done.insert(module.clone());
}

/// The lines of the first block of text in `lib.rs`, from top to bottom. `a::{b, c}` stands for two
/// entries; words in parentheses explain.
fn diagram(library: &str) -> Vec<Vec<Module>> {
    let lines = library.lines().map_while(|line| line.strip_prefix("//!"));
    let block = lines.skip_while(|line| line.trim() != "```text").skip(1);
    block
        .take_while(|line| line.trim() != "```")
        .map(|line| line.split('·').flat_map(entries).collect())
        .collect()
}

fn entries(text: &str) -> Vec<Module> {
    let text = text.split('(').next().unwrap_or_default();
    let text = text
        .trim_start_matches(|c: char| !c.is_ascii_alphabetic())
        .trim();
    match text
        .strip_suffix('}')
        .and_then(|text| text.split_once("::{"))
    {
        Some((room, names)) => names
            .split(',')
            .map(|name| [path(room), path(name.trim())].concat())
            .collect(),
        None => vec![path(text)],
    }
}

fn read_folder(folder: &Path, module: &Module, files: &mut BTreeMap<Module, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let at = entry.unwrap().path();
        let name = at.file_stem().unwrap().to_str().unwrap().to_owned();
        let below = if module.is_empty() && name == "lib" {
            Module::new()
        } else {
            [module.as_slice(), &[name]].concat()
        };
        if at.is_dir() {
            read_folder(&at, &below, files);
        } else if at.extension().is_some_and(|it| it == "rs") {
            files.insert(below, fs::read_to_string(&at).unwrap());
        }
    }
}

fn test_modules(module: &Module, items: &[Item]) -> Vec<Module> {
    let of_tests = items.iter().filter_map(|item| match item {
        Item::Mod(it) if is_test(&it.attrs) => {
            Some([module.as_slice(), &[it.ident.to_string()]].concat())
        }
        _ => None,
    });
    of_tests.collect()
}

fn declared(item: &Item) -> Option<String> {
    match item {
        Item::Mod(module) if module.content.is_none() => Some(module.ident.to_string()),
        _ => None,
    }
}

/// An item's attributes, without its documentation, whose links are no imports.
fn attributes(item: &mut Item) -> &[Attribute] {
    match item {
        Item::Const(it) => &it.attrs,
        Item::Enum(it) => &it.attrs,
        Item::Fn(it) => &it.attrs,
        Item::Impl(it) => &it.attrs,
        Item::Macro(it) => &it.attrs,
        Item::Mod(it) => &it.attrs,
        Item::Static(it) => &it.attrs,
        Item::Struct(it) => &it.attrs,
        Item::Trait(it) => &it.attrs,
        Item::Type(it) => &it.attrs,
        Item::Use(it) => &it.attrs,
        _ => &[],
    }
}

fn is_test(attributes: &[Attribute]) -> bool {
    let is_test = |it: &Attribute| it.meta.to_token_stream().to_string() == "cfg (test)";
    attributes.iter().any(is_test)
}
