//! Someone who runs the program.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use tempfile::TempDir;

/// A user with a home directory and an identity.
pub(crate) struct User {
    pub(crate) home: TempDir,
    pub(crate) did: String,
}

impl User {
    pub(crate) fn without_identity() -> Self {
        let home = tempfile::tempdir().unwrap();
        let did = String::new();
        Self { home, did }
    }

    pub(crate) fn new() -> Self {
        let mut user = Self::without_identity();
        let output = user.run(&["identity", "new"]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        text(&output.stdout).trim_end().clone_into(&mut user.did);
        user
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_llmgw"));
        command
            .args(args)
            .env_clear()
            .env("HOME", self.home.path())
            .current_dir(self.home.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    pub(crate) fn identity_file(&self) -> PathBuf {
        self.home.path().join(".config/llmgw/identity.json")
    }

    pub(crate) fn secret(&self) -> String {
        let text = fs::read_to_string(self.identity_file()).unwrap();
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        json["secret_key_seed"].as_str().unwrap().to_owned()
    }
}

pub(crate) fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).unwrap()
}
