//! `llmgw admin import-legacy`: imports keys from the original system, which stored
//!
//! ```text
//! encrypted_api_key = hex(iv (16)) ":" hex(AES-256-CBC(key, iv, API key), PKCS #7)
//! key               = scrypt(passphrase, salt "salt", N = 16384, r = 8, p = 1, 32 bytes)
//! ```
//!
//! as Node's `crypto.scryptSync(passphrase, "salt", 32)` and `createCipheriv("aes-256-cbc", …)` do
//! (<https://nodejs.org/api/crypto.html#cryptoscryptsyncpassword-salt-keylen-options>). CBC does not
//! authenticate, so a plaintext is accepted only if it is an OpenRouter key. Only this command reads
//! the format.

use std::{
    collections::BTreeMap,
    fmt, fs,
    io::Read,
    path::{Path, PathBuf},
};

use aes::Aes256;
use anyhow::{Context as _, Result, bail};
use cbc::cipher::{BlockModeDecrypt, KeyIvInit, block_padding::Pkcs7};
use clap::Args;
use serde::{Deserialize, Deserializer, Serialize};
use shared::{
    identity::did::Did,
    metering::money::Usd,
    vault::{
        keyset::Keyset,
        secret::{ApiKey, SealedKey},
    },
};
use zeroize::Zeroizing;

use super::{
    output::{Output, Rows},
    services::{Services, deadline},
    storage::{AdminStorage, Insert, Reseal, ResealAction, ResealOutcome, SealedPage},
};
use crate::context::{Outcome, read_secret};

const BATCH: u16 = 100;
const BLOCK: usize = 16;
/// The prefix of OpenRouter's keys. One wrong passphrase in 256 decrypts to valid padding, and to
/// nonsense.
const KEY_PREFIX: &str = "sk-or-";

/// Arguments of `import-legacy`.
#[derive(Debug, Clone, Args)]
pub struct ImportLegacyArgs {
    /// Decrypt every key and count, but write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Rows exported from another database: a JSON array, or one JSON object per line, with did,
    /// `encrypted_api_key`, `key_name` and `credit_limit` [default: the rows of this database]
    #[arg(long, value_name = "PATH")]
    pub rows: Option<PathBuf>,
}

/// The reason why a row was not imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum LegacyFault {
    #[error("not of the form hex(iv):hex(ciphertext)")]
    Form,
    #[error("not decrypted: another passphrase, or damaged")]
    NotDecrypted,
    #[error("not a DID")]
    Did,
}

pub(super) async fn run(
    args: &ImportLegacyArgs,
    services: &Services,
    stdin: &mut dyn Read,
    output: &mut Output<'_>,
) -> Result<Outcome> {
    let read = services.keyset()?.read().await?;
    let keyset = read.keyset().context("the keyset cannot be used")?;
    let storage = services.storage()?;
    let rows = match &args.rows {
        Some(path) => read_export(path)?,
        None => read_unsealed(&storage).await?,
    };
    let key = LegacyKey::derive(&read_passphrase(stdin, output)?)?;

    let total = rows.len() as u64;
    let mut report = Report::new(args.dry_run);
    let mut rows = rows.into_iter();
    loop {
        let mut keys = Vec::new();
        for row in rows.by_ref().take(usize::from(BATCH)) {
            match row.reseal(&key, &keyset) {
                Ok(reseal) => keys.push(reseal),
                Err(fault) => {
                    report.unusable.insert(row.did, fault.to_string());
                }
            }
        }
        if keys.is_empty() && rows.len() == 0 {
            break;
        }
        if args.dry_run {
            report.imported += keys.len() as u64;
        } else {
            for outcome in storage
                .reseal(ResealAction::Imported, &keys, deadline())
                .await
                .context("interrupted; run it again to continue")?
            {
                report.count(outcome.outcome);
            }
        }
        output.progress("decrypted", report.done(), total)?;
    }
    output.end_progress()?;
    output.report(&report)?;
    Ok(if report.unusable.is_empty() {
        Outcome::Success
    } else {
        Outcome::Failure
    })
}

/// A row of the original system's table.
#[derive(Deserialize)]
struct LegacyRow {
    did: String,
    encrypted_api_key: String,
    #[serde(default)]
    key_name: Option<String>,
    #[serde(default)]
    openrouter_key_hash: Option<String>,
    /// A number in some exports, text in others.
    #[serde(default, deserialize_with = "amount")]
    credit_limit: Option<Usd>,
}

impl LegacyRow {
    /// Decrypts its key and seals it.
    fn reseal(&self, key: &LegacyKey, keyset: &Keyset) -> Result<Reseal, LegacyFault> {
        Did::parse(&self.did).map_err(|_| LegacyFault::Did)?;
        let api_key = key.decrypt(&self.encrypted_api_key)?;
        let insert = self.key_name.as_ref().map(|key_name| Insert {
            key_name: key_name.clone(),
            key_hash: self
                .openrouter_key_hash
                .clone()
                .unwrap_or_else(|| api_key.hash()),
            credit_limit: self.credit_limit,
        });
        Ok(Reseal {
            did: self.did.clone(),
            old: self.encrypted_api_key.clone(),
            new: keyset.seal(&self.did, &api_key).to_column(),
            insert,
        })
    }
}

fn amount<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Usd>, D::Error> {
    let amount = Option::<serde_json::Value>::deserialize(deserializer)?;
    let text = match amount {
        None | Some(serde_json::Value::Null) => return Ok(None),
        Some(serde_json::Value::String(text)) => text,
        Some(other) => other.to_string(),
    };
    text.parse().map(Some).map_err(serde::de::Error::custom)
}

/// Reads the rows of this database whose key is not sealed.
async fn read_unsealed(storage: &AdminStorage) -> Result<Vec<LegacyRow>> {
    let mut rows = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = SealedPage {
            other_than: None,
            after: after.as_deref(),
            limit: BATCH,
        };
        let keys = storage.sealed_keys(&page, deadline()).await?;
        let Some(last) = keys.last() else {
            return Ok(rows);
        };
        after = Some(last.did.clone());
        rows.extend(
            keys.into_iter()
                .filter(|key| !key.retired && key.sealed_key.parse::<SealedKey>().is_err())
                .map(|key| LegacyRow {
                    did: key.did,
                    encrypted_api_key: key.sealed_key,
                    key_name: None,
                    openrouter_key_hash: None,
                    credit_limit: None,
                }),
        );
    }
}

/// Reads the rows of an export: an array, or one object per line.
fn read_export(path: &Path) -> Result<Vec<LegacyRow>> {
    let text = Zeroizing::new(
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?,
    );
    let parsed = if text.trim_start().starts_with('[') {
        serde_json::from_str(&text)
    } else {
        serde_json::Deserializer::from_str(&text)
            .into_iter()
            .collect()
    };
    let mut rows: Vec<LegacyRow> = match parsed {
        Ok(rows) => rows,
        // The parser's message would quote the content.
        Err(error) => bail!(
            "{} does not contain rows as JSON with did and encrypted_api_key (line {}, column {})",
            path.display(),
            error.line(),
            error.column()
        ),
    };
    for row in &mut rows {
        row.key_name.get_or_insert_with(|| "imported".to_owned());
    }
    Ok(rows)
}

/// Reads a passphrase: hidden while it is typed, or from a pipe. Never an argument, which every user of
/// the machine can see.
fn read_passphrase(stdin: &mut dyn Read, output: &mut Output<'_>) -> Result<Zeroizing<String>> {
    let terminal = output.terminal();
    if terminal.stdin {
        output.prompt("The original system's passphrase (not shown): ")?;
    }
    let mut line = read_secret(terminal, stdin).context("cannot read the passphrase from stdin")?;
    let end = line.trim_end_matches(['\r', '\n']).len();
    line.truncate(end);
    if line.is_empty() {
        bail!("stdin has no passphrase; type it, or `… < passphrase.txt`");
    }
    Ok(line)
}

/// The key that the original system derived from its passphrase.
struct LegacyKey(Zeroizing<[u8; 32]>);

impl LegacyKey {
    fn derive(passphrase: &str) -> Result<Self> {
        // Node's defaults: cost 16384, block size 8, parallelization 1.
        let params = scrypt::Params::new(14, 8, 1).context("scrypt's parameters")?;
        let mut key = Zeroizing::new([0; 32]);
        scrypt::scrypt(passphrase.as_bytes(), b"salt", &params, &mut *key)
            .context("scrypt's output")?;
        Ok(Self(key))
    }

    fn decrypt(&self, column: &str) -> Result<ApiKey, LegacyFault> {
        let (iv, ciphertext) = column.split_once(':').ok_or(LegacyFault::Form)?;
        let iv: [u8; BLOCK] = hex::decode(iv)
            .ok()
            .and_then(|iv| iv.try_into().ok())
            .ok_or(LegacyFault::Form)?;
        let mut bytes = Zeroizing::new(hex::decode(ciphertext).map_err(|_| LegacyFault::Form)?);
        if bytes.is_empty() || bytes.len() % BLOCK != 0 {
            return Err(LegacyFault::Form);
        }
        let plaintext = cbc::Decryptor::<Aes256>::new((&*self.0).into(), &iv.into())
            .decrypt_padded::<Pkcs7>(&mut bytes)
            .map_err(|_| LegacyFault::NotDecrypted)?;
        str::from_utf8(plaintext)
            .ok()
            .filter(|key| key.starts_with(KEY_PREFIX))
            .and_then(|key| ApiKey::new(key.to_owned()).ok())
            .ok_or(LegacyFault::NotDecrypted)
    }
}

/// The result of `import-legacy`. Every row is counted once.
#[derive(Serialize)]
struct Report {
    dry_run: bool,
    /// Rows that were imported, or would be without `--dry-run`.
    imported: u64,
    /// Rows that an earlier run imported.
    already: u64,
    /// Rows whose owners have stored other keys since; those are kept.
    kept: u64,
    /// Rows that were revoked or deleted since; they stay deleted.
    gone: u64,
    unusable: BTreeMap<String, String>,
}

impl Report {
    fn new(dry_run: bool) -> Self {
        Self {
            dry_run,
            imported: 0,
            already: 0,
            kept: 0,
            gone: 0,
            unusable: BTreeMap::new(),
        }
    }

    fn count(&mut self, outcome: ResealOutcome) {
        match outcome {
            ResealOutcome::Resealed | ResealOutcome::Inserted => self.imported += 1,
            ResealOutcome::Already => self.already += 1,
            ResealOutcome::Replaced => self.kept += 1,
            ResealOutcome::Gone => self.gone += 1,
        }
    }

    fn done(&self) -> u64 {
        self.imported + self.already + self.kept + self.gone + self.unusable.len() as u64
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (did, fault) in &self.unusable {
            writeln!(f, "not imported: {did}: {fault}")?;
        }
        let done = if self.dry_run {
            "would be imported"
        } else {
            "imported"
        };
        write!(f, "{} {done}", Rows(self.imported))?;
        if self.already > 0 {
            write!(f, "; {} imported before", self.already)?;
        }
        if self.kept > 0 {
            write!(
                f,
                "; {} kept the keys that their owners have stored since",
                self.kept
            )?;
        }
        if self.gone > 0 {
            write!(
                f,
                "; {} revoked or deleted since, and not imported",
                self.gone
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
