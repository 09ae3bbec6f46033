use std::fs::File;

use super::*;
use crate::workspace::Workspace;

/// Those of `files` that git, with the rules of `.cargolambdaignore` alone, does not ignore.
fn watched(files: &[&str]) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let rules = Workspace::locate().root().join(".cargolambdaignore");
    std::fs::copy(rules, folder.path().join(".gitignore")).unwrap();
    let git = |args: &[&str]| {
        let mut command = Command::new("git");
        command.args(args).current_dir(folder.path());
        command
    };
    assert!(git(&["init", "--quiet"]).status().unwrap().success());
    // From a file: a pipe would fill up while nobody reads the answer.
    let list = folder.path().join("list");
    std::fs::write(&list, files.join("\n") + "\n").unwrap();
    let output = git(&["check-ignore", "--no-index", "--stdin"])
        .stdin(File::open(list).unwrap())
        .output()
        .unwrap();
    let ignored = String::from_utf8(output.stdout).unwrap();
    let ignored: Vec<_> = ignored.lines().collect();
    files
        .iter()
        .filter(|file| !ignored.contains(file))
        .map(|file| (*file).to_owned())
        .collect()
}

#[test]
fn only_code_of_functions_and_their_dependencies_rebuilds_them() {
    let listed = Command::new("git")
        .args(["ls-files"])
        .current_dir(Workspace::locate().root())
        .output()
        .unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let mut files: Vec<_> = listed.lines().collect();
    // What tools write beside them.
    files.extend([
        ".git/index",
        "node_modules/openai/index.js",
        "notes.txt",
        "package-lock.json",
    ]);
    let watched = watched(&files);
    for needed in [
        "Cargo.toml",
        "Cargo.lock",
        "functions/proxy/Cargo.toml",
        "functions/proxy/src/lib.rs",
        "functions/adapter/src/log/line.rs",
        "shared/src/identity/auth/scheme.rs",
    ] {
        assert!(watched.iter().any(|it| it == needed), "{needed}");
    }
    for file in &watched {
        let is_code = file.starts_with("functions/") || file.starts_with("shared/src/");
        let of_cargo = [
            "Cargo.toml",
            "Cargo.lock",
            "rust-toolchain.toml",
            "shared/Cargo.toml",
        ];
        assert!(is_code || of_cargo.contains(&file.as_str()), "{file}");
        assert!(!file.ends_with("/tests.rs"), "{file}");
    }
}
