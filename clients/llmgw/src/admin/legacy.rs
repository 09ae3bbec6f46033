//! Taking over keys from the original system, which stored
//!
//! ```text
//! encrypted_api_key = hex(iv (16)) ":" hex(AES-256-CBC(key, iv, API key), PKCS #7)
//! key               = scrypt(passphrase, salt "salt", N = 16384, r = 8, p = 1, 32 bytes)
//! ```
//!
//! as Node's `crypto.scryptSync(passphrase, "salt", 32)` and `createCipheriv("aes-256-cbc", …)` do
//! (<https://nodejs.org/api/crypto.html#cryptoscryptsyncpassword-salt-keylen-options>). CBC does not
//! authenticate, so what comes out is taken only if it is an OpenRouter key. Only this command reads
//! the format, once; the gateway never does.

use std::{collections::BTreeMap, fmt, fs, io::Read, path::Path};

use aes::Aes256;
use anyhow::{Context, Result, bail};
use cbc::cipher::{BlockModeDecrypt, KeyIvInit, block_padding::Pkcs7};
use serde::{Deserialize, Deserializer, Serialize};
use shared::{
    identity::did::Did,
    metering::money::Usd,
    storage::administration::{Insert, Reseal, ResealAction, ResealOutcome, SealedPage},
    vault::{
        keyset::Keyset,
        secret::{ApiKey, SealedKey},
    },
};
use zeroize::Zeroizing;

use super::{
    cli::ImportArgs,
    output::{Output, Rows},
    passphrase,
    services::{Services, patience},
};
use crate::commands::Outcome;

const BATCH: u16 = 100;
const BLOCK: usize = 16;
/// What every key of OpenRouter's begins with. A wrong passphrase gives a valid padding once in 256
/// times, and then nonsense.
const KEY_PREFIX: &str = "sk-or-";

/// Why a row was not taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum LegacyFault {
    #[error("not of the form hex(iv):hex(ciphertext)")]
    Form,
    #[error("it does not decrypt: another passphrase, or damaged")]
    NotDecrypted,
    #[error("not a DID")]
    Did,
}

pub(super) async fn run(
    args: &ImportArgs,
    services: &Services,
    stdin: &mut dyn Read,
    output: &mut Output<'_>,
) -> Result<Outcome> {
    let read = services.keyset()?.read().await?;
    let keyset = read.keyset().context("the keyset cannot be used")?;
    let storage = services.storage()?;
    let rows = match &args.rows {
        Some(path) => exported(path)?,
        None => stored(&storage).await?,
    };
    let key = LegacyKey::derive(&passphrase::read(stdin, output)?)?;

    let total = rows.len() as u64;
    let mut report = Report::new(args.dry_run);
    let mut rows = rows.into_iter();
    loop {
        let mut keys = Vec::new();
        for row in rows.by_ref().take(usize::from(BATCH)) {
            match row.resealed(&key, &keyset) {
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
                .reseal(ResealAction::Imported, &keys, patience())
                .await
                .context("interrupted; run it again, it goes on from here")?
            {
                report.count(outcome.outcome);
            }
        }
        output.progress("decrypted", report.done(), total)?;
    }
    output.progress_ends()?;
    output.report(&report)?;
    Ok(if report.unusable.is_empty() {
        Outcome::Done
    } else {
        Outcome::Refused
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
    /// Exports have it as a number or as text.
    #[serde(default, deserialize_with = "amount")]
    credit_limit: Option<Usd>,
}

impl LegacyRow {
    /// Its key, sealed anew.
    fn resealed(&self, key: &LegacyKey, keyset: &Keyset) -> Result<Reseal, LegacyFault> {
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

/// The rows of this database that hold no sealed key.
async fn stored(storage: &shared::storage::Storage) -> Result<Vec<LegacyRow>> {
    let mut rows = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = SealedPage {
            other_than: None,
            after: after.as_deref(),
            limit: BATCH,
        };
        let keys = storage.sealed_keys(&page, patience()).await?;
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

/// The rows of an export: an array, or one object a line.
fn exported(path: &Path) -> Result<Vec<LegacyRow>> {
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
        // Its own message quotes what it stumbles over.
        Err(error) => bail!(
            "{} holds no rows as JSON with did and encrypted_api_key (line {}, column {})",
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

/// What `import-legacy` did.
#[derive(Serialize)]
struct Report {
    dry_run: bool,
    /// In a dry run: those that would be.
    imported: u64,
    /// By an earlier run.
    already: u64,
    /// Their owners have stored other keys since; those are kept.
    kept: u64,
    /// Their owners have revoked them since, or an operator has deleted them; they stay away.
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
                "; {} kept what their owners have stored since",
                self.kept
            )?;
        }
        if self.gone > 0 {
            write!(
                f,
                "; {} revoked or deleted since, and not brought back",
                self.gone
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const API_KEY: &str =
        "sk-or-v1-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    /// Made by Node 20:
    /// `key = crypto.scryptSync("correct horse battery staple", "salt", 32)`,
    /// `iv = Buffer.from("000102030405060708090a0b0c0d0e0f", "hex")`, `aes-256-cbc`.
    const COLUMN: &str = "000102030405060708090a0b0c0d0e0f:\
        fd76d6826251084520c272ab77756be9dc27149ad531074ba646fe4c79bb4f17\
        17849ceae48e7558bedb6daa275bb022dfab70b0a66bd3808f3c5538b3c631b8\
        970f5b251b71e4dc5b9dfe909dcadd8a";

    #[test]
    fn what_node_encrypted_is_decrypted() {
        let key = LegacyKey::derive("correct horse battery staple").unwrap();
        assert_eq!(key.decrypt(COLUMN).unwrap().expose_secret(), API_KEY);
    }

    #[test]
    fn another_passphrase_and_damage_are_told_without_showing_anything() {
        let key = LegacyKey::derive("correct horse battery staple").unwrap();
        let other = LegacyKey::derive("wrong").unwrap();
        assert_eq!(
            other.decrypt(COLUMN).unwrap_err(),
            LegacyFault::NotDecrypted
        );
        for (damaged, fault) in [
            (COLUMN.replace(':', ""), LegacyFault::Form),
            (COLUMN[..COLUMN.len() - 1].to_owned(), LegacyFault::Form),
            (
                COLUMN[..COLUMN.len() - 32].to_owned(),
                LegacyFault::NotDecrypted,
            ),
            (COLUMN.replacen('0', "g", 1), LegacyFault::Form),
            (COLUMN.replacen("00", "ff", 1), LegacyFault::NotDecrypted),
            (
                "v1.AQAAAAEBR4p7csTWqu_csqtMYTlaGop1aEzbOz5lVWD".to_owned(),
                LegacyFault::Form,
            ),
            (":".to_owned(), LegacyFault::Form),
        ] {
            assert_eq!(key.decrypt(&damaged).unwrap_err(), fault, "{damaged}");
        }
    }

    #[test]
    fn exports_are_arrays_or_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows");
        let row = r#"{"did":"did:key:z","encrypted_api_key":"00:00","credit_limit":1.50,"created_at":null}"#;
        for text in [format!("[{row},{row}]"), format!("{row}\n{row}\n")] {
            fs::write(&path, text).unwrap();
            let rows = exported(&path).unwrap();
            assert_eq!(rows.len(), 2);
            assert_eq!(rows[0].key_name.as_deref(), Some("imported"));
            assert_eq!(rows[0].credit_limit, Some("1.5".parse().unwrap()));
        }
        fs::write(&path, r#"{"did":"planted"}"#).unwrap();
        let error = exported(&path).map(drop).unwrap_err();
        assert!(!format!("{error:#}").contains("planted"), "{error:#}");
    }
}
