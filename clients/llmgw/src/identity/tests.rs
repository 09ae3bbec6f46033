use std::{convert::Infallible, fs};

use super::*;

/// RFC 8032 §7.1, test 1; as base64url, and the DID of `shared/testdata/x_did_v1.json`.
const SEED_HEX: &str = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
const SEED: &str = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A";
const DID: &str = "did:key:z6MktwupdmLXVVqTzCw4i46r4uGyosGXRnR3XjN4Zq7oMMsw";

fn identity() -> Identity {
    Identity::from_seed(&hex::decode(SEED_HEX).unwrap().try_into().unwrap())
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn file(directory: &Path, text: &str, mode: u32) -> PathBuf {
    let path = directory.join("identity.json");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path
}

/// The whole chain of messages, as the user sees it, and `Debug`.
fn load_error(path: &Path) -> (String, String) {
    let error = anyhow::Error::from(Identity::load(path).unwrap_err());
    let printed = (format!("{error:#}"), format!("{error:?}"));
    (printed.0.replace(path.to_str().unwrap(), "PATH"), printed.1)
}

#[test]
fn a_saved_identity_is_private_and_loads() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config/llmgw/identity.json");
    identity().save(&path, Existing::Keep).unwrap();

    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(&directory.path().join("config/llmgw")), 0o700);
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(
        text,
        format!("{{\n  \"did\": \"{DID}\",\n  \"secret_key_seed\": \"{SEED}\"\n}}\n")
    );
    let entries = fs::read_dir(path.parent().unwrap()).unwrap().count();
    assert_eq!(entries, 1, "no temporary file is left");

    let loaded = Identity::load(&path).unwrap();
    assert_eq!(loaded.did().as_str(), DID);
    assert_eq!(loaded.key.secret(), identity().key.secret());
}

#[test]
fn an_identity_is_replaced_only_on_request() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("identity.json");
    identity().save(&path, Existing::Keep).unwrap();

    let other = Identity::from_seed(&[1; 32]);
    let error = other.save(&path, Existing::Keep).unwrap_err();
    assert!(matches!(error, IdentityError::Exists { .. }), "{error}");
    assert!(error.to_string().contains("--force"));
    assert_eq!(Identity::load(&path).unwrap().did().as_str(), DID);

    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    other.save(&path, Existing::Replace).unwrap();
    assert_eq!(mode(&path), 0o600);
    assert_eq!(Identity::load(&path).unwrap().did(), other.did());
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn generated_identities_use_the_given_randomness() {
    let fill = |byte| {
        move |bytes: &mut [u8]| -> Result<(), Infallible> {
            bytes.fill(byte);
            Ok(())
        }
    };
    let Ok(one) = Identity::generate(fill(1));
    let Ok(two) = Identity::generate(fill(2));
    assert_eq!(one.did(), Identity::from_seed(&[1; 32]).did());
    assert_ne!(one.did(), two.did());
    assert_eq!(
        Identity::generate(|_| Err("no entropy")).err(),
        Some("no entropy")
    );
}

#[test]
fn an_identity_that_others_may_read_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let text = format!(r#"{{"did":"{DID}","secret_key_seed":"{SEED}"}}"#);
    for bad in [0o640, 0o604, 0o620, 0o644, 0o660] {
        let path = file(directory.path(), &text, bad);
        assert_eq!(
            load_error(&path).0,
            format!(
                "others may read the identity PATH (mode {bad:04o}); if nobody has, run \
                 `chmod 600 PATH`, otherwise create a new one"
            )
        );
    }
    for good in [0o600, 0o400] {
        let path = file(directory.path(), &text, good);
        assert_eq!(Identity::load(&path).unwrap().did().as_str(), DID);
        fs::remove_file(path).unwrap();
    }
}

#[test]
fn broken_files_are_explained_and_not_quoted() {
    let directory = tempfile::tempdir().unwrap();
    let error = |text: &str| {
        let (message, debug) = load_error(&file(directory.path(), text, 0o600));
        for printed in [&message, &debug] {
            assert!(!printed.contains(SEED), "{printed}");
            assert!(!printed.contains("nWGxne"), "{printed}");
        }
        message
    };
    let not_an_identity = "is not an identity file (line ";
    for text in [
        "",
        "{",
        "[]",
        &format!("\"{SEED}\""),
        &format!(r#"{{"secret_key_seed":"{SEED}"}}"#),
        &format!(r#"{{"did":"{DID}"}}"#),
        &format!(r#"{{"did":"{DID}","secret_key_seed":["{SEED}"]}}"#),
        &format!(r#"{{"did":"{DID}","secret_key_seed":"{SEED}"}}{SEED}"#),
        &format!(r#"{{"{SEED}":"{}","#, "a".repeat(5000)),
    ] {
        assert!(error(text).contains(not_an_identity), "{text}");
    }
    for seed in [
        "",
        &SEED[1..],
        &format!("{SEED}="),
        &format!("{}B", &SEED[..42]),
        "nWGx+e",
    ] {
        let text = format!(r#"{{"did":"{DID}","secret_key_seed":"{seed}"}}"#);
        assert_eq!(
            error(&text),
            "secret_key_seed in PATH is not 32 bytes in base64url without padding (43 characters)"
        );
    }
    let with_did = |did: &str| error(&format!(r#"{{"did":"{did}","secret_key_seed":"{SEED}"}}"#));
    assert_eq!(
        with_did("did:web:example.com"),
        "the did in PATH cannot be used: name the key after the DID, as in did:web:example.com#key-1: its document can \
         have several"
    );
    assert_eq!(
        with_did("did:example:123"),
        "the did in PATH cannot be used: the DID method \"example\" is not supported; use did:key \
         or did:jwk with Ed25519 or P-256"
    );
    assert_eq!(
        with_did(Identity::from_seed(&[1; 32]).did().as_str()),
        "the did in PATH belongs to another key than secret_key_seed"
    );
}

#[test]
fn a_did_web_is_stored_with_the_key_that_a_command_holds() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key.pem").display().to_string();
    let run = |line: &str| {
        let status = std::process::Command::new("sh").args(["-c", line]).status();
        assert!(status.unwrap().success(), "{line}");
    };
    run(&format!(
        "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out {key}"
    ));
    run(&format!("openssl pkey -in {key} -pubout -out {key}.pub"));
    let public = from_pem(&fs::read(format!("{key}.pub")).unwrap()).unwrap();
    let did = DidUrl::parse("did:web:example.com:alice#laptop").unwrap();
    let command = format!("openssl dgst -sha256 -sign {key}");
    let identity = Identity::external(command, Some(did.clone()), public).unwrap();
    let path = folder.path().join("identity.json");
    identity.save(&path, Existing::Keep).unwrap();
    let loaded = Identity::load(&path).unwrap();
    assert_eq!((loaded.did_url(), loaded.public_key()), (&did, public));
    let text = String::from_utf8(identity.to_json().to_vec()).unwrap();
    assert!(text.contains("\"public_key\": \"did:key:zDn"), "{text}");
}

#[test]
fn a_missing_file_says_how_to_make_one() {
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(
        load_error(&directory.path().join("none.json")).0,
        "there is no identity at PATH; create one with `llmgw identity new`"
    );
}

#[test]
fn debug_is_redacted() {
    let identity = identity();
    let debug = format!("{identity:?}");
    assert_eq!(debug, format!("Identity {{ did: \"{DID}\", .. }}"));
}

#[test]
fn a_directory_is_not_an_identity_and_keeps_its_permissions() {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let (error, _) = load_error(directory.path());
    assert!(error.starts_with("PATH is not a file"), "{error}");
}
