use super::*;

fn name(text: &str) -> ProfileName {
    text.parse().unwrap()
}

#[test]
fn a_file_is_read_as_it_was_written() {
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(Config::load(directory.path()).unwrap(), Config::default());
    let url = |text: &str| Some(BaseUrl(text.parse().unwrap()));
    let home = Profile {
        gateway: url("https://gw.example.com"),
        ..Profile::default()
    };
    let work = Profile {
        gateway: url("http://127.0.0.1:9000"),
        audience: url("https://gw.work.example/Prod"),
        identity: Some("/i.json".into()),
    };
    let config = Config {
        current: Some(name("home")),
        profiles: [(name("home"), home.clone()), (name("w.1"), work.clone())].into(),
    };
    config.save(directory.path()).unwrap();
    assert_eq!(Config::load(directory.path()).unwrap(), config);
    let text = fs::read_to_string(directory.path().join(FILE)).unwrap();
    insta::assert_snapshot!(text, @r#"
    use = "home"

    [profiles.home]
    gateway = "https://gw.example.com"

    [profiles."w.1"]
    gateway = "http://127.0.0.1:9000"
    audience = "https://gw.work.example/Prod"
    identity = "/i.json"
    "#);
    assert_eq!(config.profile(None).unwrap(), home);
    assert_eq!(config.profile(Some(&name("w.1"))).unwrap(), work);
    let error = config.profile(Some(&name("none"))).unwrap_err();
    assert!(error.to_string().starts_with("there is no profile none; "));
}

#[test]
fn a_file_that_is_wrong_is_explained() {
    let directory = tempfile::tempdir().unwrap();
    for (text, cause) in [
        ("use = ", "TOML parse error at line 1"),
        ("uses = \"a\"", "unknown field `uses`"),
        (
            "[profiles.a]\ngateway = \"gw\"",
            "a gateway's base URL is like",
        ),
        ("[profiles.\"a b\"]", "a profile's name is"),
    ] {
        fs::write(directory.path().join(FILE), text).unwrap();
        let error = Config::load(directory.path()).unwrap_err();
        let error = format!("{:#}", anyhow::Error::from(error));
        assert!(
            error.contains("is not as `llmgw profile add` writes it: "),
            "{error}"
        );
        assert!(error.contains(cause), "{error}");
    }
}

#[test]
fn the_directory() {
    let path = |config: Option<&str>, home: Option<&str>| {
        directory(config.map(PathBuf::from), home.map(PathBuf::from))
    };
    let at = |text: &str| Some(PathBuf::from(text));
    assert_eq!(path(Some("/c"), Some("/h")), at("/c/llmgw"));
    for ignored in [None, Some(""), Some("c"), Some("./c")] {
        assert_eq!(path(ignored, Some("/h")), at("/h/.config/llmgw"));
        assert_eq!(path(ignored, None), None);
    }
}
