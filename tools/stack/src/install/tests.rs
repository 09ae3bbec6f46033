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
