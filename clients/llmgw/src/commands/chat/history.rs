//! The local history of conversations: one line of JSON for each answer, in a file that only its owner can
//! read.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::private_file;

const FILE: &str = "history.jsonl";

/// A question and its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Exchange {
    /// The conversation that it belongs to.
    pub(super) conversation: String,
    pub(super) time: Timestamp,
    pub(super) model: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) system: Option<String>,
    pub(super) question: String,
    pub(super) answer: String,
    /// US dollars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) cost: Option<String>,
}

/// The file.
#[derive(Debug)]
pub(super) struct History(PathBuf);

impl History {
    /// The history in the configuration directory.
    pub(super) fn in_directory(directory: &Path) -> Self {
        Self(directory.join(FILE))
    }

    /// Adds an exchange.
    pub(super) fn add(&self, exchange: &Exchange) -> Result<()> {
        let mut line = serde_json::to_vec(exchange)?;
        line.push(b'\n');
        private_file::append(&self.0, &line)
            .with_context(|| format!("cannot write the history {}", self.0.display()))
    }

    /// All exchanges, the oldest first. Lines that are none, such as half of one after a crash, are skipped.
    pub(super) fn read(&self) -> Result<Vec<Exchange>> {
        let text = match fs::read_to_string(&self.0) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => {
                let path = self.0.display();
                return Err(error).with_context(|| format!("cannot read the history {path}"));
            }
        };
        let lines = text.lines();
        Ok(lines
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect())
    }

    /// The exchanges of the latest conversation, the oldest first.
    pub(super) fn latest(&self) -> Result<Vec<Exchange>> {
        let mut exchanges = self.read()?;
        if let Some(last) = exchanges.last() {
            let conversation = last.conversation.clone();
            exchanges.retain(|it| it.conversation == conversation);
        }
        Ok(exchanges)
    }

    /// Deletes everything.
    pub(super) fn clear(&self) -> Result<()> {
        match fs::remove_file(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot delete {}", self.0.display()))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }
}
