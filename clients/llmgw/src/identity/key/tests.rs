use std::{fs, path::Path, process::Command};

use super::*;

fn openssl(args: &[&str], folder: &Path) {
    let output = Command::new("openssl")
        .args(args)
        .current_dir(folder)
        .output();
    let output = output.expect("openssl is installed");
    assert!(output.status.success(), "{output:?}");
}

/// A key that OpenSSL holds in a file, in place of hardware.
fn external(folder: &Path, command: &str) -> Key {
    let pem = fs::read(folder.join("public.pem")).unwrap();
    let public = super::super::public_key::from_pem(&pem).expect("a public key");
    Key::External {
        command: command.to_owned(),
        public,
    }
}

#[test]
fn openssl_signs_with_both_kinds_of_keys() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let key = folder.join("key.pem").display().to_string();
    for (algorithm, sign) in [
        (
            &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"][..],
            format!("openssl dgst -sha256 -sign {key}"),
        ),
        (
            &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
            format!("openssl pkeyutl -sign -rawin -digest sha256 -inkey {key} -in /dev/stdin"),
        ),
        (
            &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
            format!("openssl dgst -sha256 -sign {key} | od -An -v -tx1 | tr -d ' \\n'"),
        ),
        (
            &["-algorithm", "ED25519"],
            format!(
                "t=$(mktemp); cat > $t; openssl pkeyutl -sign -rawin -inkey {key} -in $t; rm $t"
            ),
        ),
    ] {
        let generate = [&["genpkey"][..], algorithm, &["-out", "key.pem"]].concat();
        openssl(&generate, folder);
        openssl(
            &["pkey", "-in", "key.pem", "-pubout", "-out", "public.pem"],
            folder,
        );
        let key = external(folder, &sign);
        for text in [&b"a text"[..], b""] {
            if text.is_empty() && sign.contains("mktemp") {
                continue;
            }
            let signature = key.sign(text).unwrap_or_else(|it| panic!("{sign}: {it}"));
            assert!(key.public().verifies(text, &signature), "{sign}");
        }
        assert!(key.secret().is_none());
    }
    // Another key, a program that fails, one that writes something else.
    openssl(
        &[
            "genpkey",
            "-algorithm",
            "EC",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-out",
            "other.pem",
        ],
        folder,
    );
    let other = folder.join("other.pem").display().to_string();
    openssl(
        &["pkey", "-in", "other.pem", "-pubout", "-out", "public.pem"],
        folder,
    );
    let sign = |command: &str| external(folder, command).sign(b"text").unwrap_err();
    let wrong = sign(&format!("printf x | openssl dgst -sha256 -sign {other}"));
    assert!(matches!(wrong, KeyError::AnotherKey), "{wrong}");
    assert!(matches!(sign("exit 3"), KeyError::Failed(_)));
    assert!(matches!(
        sign("cat >/dev/null; echo no"),
        KeyError::NotASignature
    ));
}
