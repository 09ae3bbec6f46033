use super::*;

#[test]
fn versions_are_found_and_compared() {
    for (said, expected) in [
        ("v20.20.2", Version(20, 20)),
        ("Python 3.11.7", Version(3, 11)),
        ("11.19.1", Version(11, 19)),
    ] {
        assert_eq!(Version::find(said), Some(expected), "{said}");
    }
    assert_eq!(Version::find("not found"), None);
    assert!(Version(3, 9) < PYTHON);
    assert!(Version(4, 0) > PYTHON);
}

#[test]
fn a_missing_program_is_named_with_what_to_do() {
    let error = version("llmgw-no-such-program", NODE, "do this").unwrap_err();
    assert_eq!(
        error.to_string(),
        "llmgw-no-such-program is needed to run the local services; do this"
    );
}

#[test]
fn a_program_that_is_too_old_is_named_with_both_versions() {
    let error = version("node", Version(999, 0), "do this").unwrap_err();
    assert!(matches!(error, InstallError::TooOld { .. }), "{error}");
}

#[test]
fn every_python_package_has_its_version_and_hashes() {
    let root = Workspace::locate().root().to_owned();
    for (folder, fewest) in [
        ("clients/python", 11),
        ("tools/bench", 1),
        ("tools/stack", 11),
        ("tools/template", 11),
        ("tools/workflows", 11),
    ] {
        let file = root.join(folder).join("requirements.txt");
        let text = fs::read_to_string(&file).unwrap().replace("\\\n", "");
        let packages: Vec<&str> = text
            .lines()
            .filter(|line| !line.trim_start().starts_with('#'))
            .collect();
        assert!(packages.len() >= fewest, "{folder}");
        for package in packages {
            assert!(package.contains("=="), "{folder}: {package}");
            assert!(package.contains("--hash=sha256:"), "{folder}: {package}");
        }
    }
}

#[test]
fn the_lock_follows_no_link_and_truncates_nothing() {
    let root = tempfile::tempdir().unwrap();
    let precious = root.path().join("precious");
    fs::write(&precious, "kept").unwrap();
    let linked = root.path().join("linked");
    fs::create_dir(&linked).unwrap();
    std::os::unix::fs::symlink(&precious, linked.join("lock")).unwrap();
    lock(&linked).unwrap_err();
    assert_eq!(fs::read_to_string(&precious).unwrap(), "kept");

    let plain = root.path().join("plain");
    fs::create_dir(&plain).unwrap();
    fs::write(plain.join("lock"), "kept").unwrap();
    drop(lock(&plain).unwrap());
    assert_eq!(fs::read_to_string(plain.join("lock")).unwrap(), "kept");
}
