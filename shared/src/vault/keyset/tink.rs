//! Google Tink's JSON keyset, as far as this project uses it.
//!
//! Messages: `google.crypto.tink.Keyset` ([tink.proto]) in proto3 JSON, whose `keyData.value` is
//! base64 of a serialized `google.crypto.tink.AesSivKey` ([aes_siv.proto]):
//!
//! ```text
//! AesSivKey { uint32 version = 1; bytes key_value = 2; }
//! 12 40 ‖ key (64)              version 0 is proto3's default and therefore not written
//! ```
//!
//! [tink.proto]: https://github.com/tink-crypto/tink/blob/master/proto/tink.proto
//! [aes_siv.proto]: https://github.com/tink-crypto/tink/blob/master/proto/aes_siv.proto

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Deserializer};
use zeroize::Zeroizing;

use super::{Keyset, MasterKey, OtherKey};
use crate::{
    strict_json::{self, Object},
    vault::secret::KeyId,
};

/// The 64 bytes of an AES-256-SIV key: 32 for the MAC, 32 for encryption.
pub type KeyMaterial = Zeroizing<[u8; 64]>;

/// Why a text is no keyset for this gateway. Says where, and never what stands there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeysetFault {
    /// Not JSON.
    #[error("the keyset is not JSON (line {line}, column {column})")]
    NotJson {
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
    },
    /// JSON of another shape.
    #[error(
        "the JSON is not a Tink keyset: a member is missing or has another type (line {line}, column {column})"
    )]
    NotAKeyset {
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
    },
    /// Two keys with this id.
    #[error("the keyset holds two keys with the id {0}")]
    DuplicateId(KeyId),
    /// The `status` is none of Tink's.
    #[error("key {0}: `status` is not ENABLED, DISABLED or DESTROYED")]
    UnknownStatus(KeyId),
    /// RAW, LEGACY, CRUNCHY, …: ciphertexts would not name their key in the way ours do.
    #[error("key {0}: `outputPrefixType` is not TINK")]
    NotTinkPrefix(KeyId),
    /// Another algorithm, or an asymmetric or remote key.
    #[error("key {0}: `keyData` is not that of a symmetric AesSivKey")]
    NotAesSiv(KeyId),
    /// The material cannot be read, or has another length.
    #[error("key {0}: `keyData.value` is not base64 of an AesSivKey of version 0 with 64 bytes")]
    BadMaterial(KeyId),
    /// `primaryKeyId` names no key of the keyset.
    #[error("the primary key {0} is not in the keyset")]
    NoPrimary(KeyId),
    /// `primaryKeyId` names a key that may not be used.
    #[error("the primary key {0} is not ENABLED")]
    PrimaryNotEnabled(KeyId),
}

/// A key as the keyset's text holds it.
pub(super) struct Entry {
    pub(super) id: KeyId,
    pub(super) state: State,
}

/// The permitted uses of a key.
pub(super) enum State {
    Enabled(Box<KeyMaterial>),
    Disabled(Box<KeyMaterial>),
    Destroyed,
}

pub(super) fn parse(json: &str) -> Result<Keyset, KeysetFault> {
    let (primary_id, entries) = entries(json)?;
    let mut primary = None;
    let mut others = Vec::with_capacity(entries.len());
    for Entry { id, state } in entries {
        match state {
            State::Enabled(material) if id == primary_id => {
                primary = Some(MasterKey { id, material });
            }
            State::Enabled(material) => others.push(OtherKey::Enabled(MasterKey { id, material })),
            State::Disabled(_) | State::Destroyed => others.push(OtherKey::Disabled(id)),
        }
    }
    let primary = primary.ok_or(KeysetFault::NoPrimary(primary_id))?;
    Ok(Keyset { primary, others })
}

/// The primary key's id and all keys, in which the primary is one that is enabled.
pub(super) fn entries(json: &str) -> Result<(KeyId, Vec<Entry>), KeysetFault> {
    let RawKeyset {
        primary_key_id,
        key,
    } = strict_json::from_str(json).map_err(|e| shape(&e))?;
    let mut entries: Vec<Entry> = Vec::with_capacity(key.len());
    for Object(raw) in key {
        let id = raw.key_id;
        if entries.iter().any(|entry| entry.id == id) {
            return Err(KeysetFault::DuplicateId(id));
        }
        entries.push(raw.check()?);
    }
    let primary = entries.iter().find(|entry| entry.id == primary_key_id);
    match primary.map(|entry| &entry.state) {
        Some(State::Enabled(_)) => Ok((primary_key_id, entries)),
        Some(_) => Err(KeysetFault::PrimaryNotEnabled(primary_key_id)),
        None => Err(KeysetFault::NoPrimary(primary_key_id)),
    }
}

pub(super) fn generate(material: &KeyMaterial, id: KeyId) -> Zeroizing<String> {
    let mut text = beginning(id, 1);
    write_key(&mut text, id, "ENABLED", Some(material));
    text.push_str(END);
    text
}

pub(super) fn write(primary: KeyId, entries: &[Entry]) -> Zeroizing<String> {
    let mut text = beginning(primary, entries.len());
    for (index, entry) in entries.iter().enumerate() {
        if index > 0 {
            text.push_str(",\n");
        }
        let (status, material) = match &entry.state {
            State::Enabled(material) => ("ENABLED", Some(&**material)),
            State::Disabled(material) => ("DISABLED", Some(&**material)),
            State::Destroyed => ("DESTROYED", None),
        };
        write_key(&mut text, entry.id, status, material);
    }
    text.push_str(END);
    text
}

/// With room for all of it: a text that grows leaves copies behind.
fn beginning(primary: KeyId, keys: usize) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(512 * (keys + 1)));
    text.push_str("{\n  \"primaryKeyId\": ");
    text.push_str(&primary.to_string());
    text.push_str(",\n  \"key\": [\n");
    text
}

const END: &str = "\n  ]\n}\n";

/// Nothing here needs escaping: numbers, words and base64.
fn write_key(text: &mut String, id: KeyId, status: &str, material: Option<&KeyMaterial>) {
    text.push_str("    {\n");
    if let Some(material) = material {
        let mut message = Zeroizing::new(Vec::with_capacity(MESSAGE_LEN));
        message.extend_from_slice(&KEY_VALUE_FIELD);
        message.extend_from_slice(&**material);
        text.push_str("      \"keyData\": {\n        \"typeUrl\": \"");
        text.push_str(TYPE_URL);
        text.push_str("\",\n        \"value\": \"");
        STANDARD.encode_string(&*message, text);
        text.push_str("\",\n        \"keyMaterialType\": \"SYMMETRIC\"\n      },\n");
    }
    text.push_str("      \"status\": \"");
    text.push_str(status);
    text.push_str("\",\n      \"keyId\": ");
    text.push_str(&id.to_string());
    text.push_str(",\n      \"outputPrefixType\": \"TINK\"\n    }");
}

const TYPE_URL: &str = "type.googleapis.com/google.crypto.tink.AesSivKey";
/// Field 2, length-delimited, 64 bytes.
const KEY_VALUE_FIELD: [u8; 2] = [0x12, 0x40];
const MESSAGE_LEN: usize = 2 + 64;

/// serde's own message may quote the value that it did not like: only the place is kept.
fn shape(error: &serde_json::Error) -> KeysetFault {
    let (line, column) = (error.line(), error.column());
    if error.is_data() {
        KeysetFault::NotAKeyset { line, column }
    } else {
        KeysetFault::NotJson { line, column }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawKeyset {
    primary_key_id: KeyId,
    key: Vec<Object<RawKey>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawKey {
    key_id: KeyId,
    status: Status,
    output_prefix_type: OutputPrefix,
    /// Absent in destroyed keys.
    key_data: Option<Object<RawKeyData>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawKeyData {
    type_url: String,
    key_material_type: MaterialType,
    value: Base64Secret,
}

#[derive(Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Status {
    Enabled,
    Disabled,
    Destroyed,
    #[serde(other)]
    Unknown,
}

#[derive(Deserialize, PartialEq)]
#[serde(rename_all = "UPPERCASE")]
enum OutputPrefix {
    Tink,
    #[serde(other)]
    Other,
}

#[derive(Deserialize, PartialEq)]
#[serde(rename_all = "UPPERCASE")]
enum MaterialType {
    Symmetric,
    #[serde(other)]
    Other,
}

struct Base64Secret(Zeroizing<String>);

impl<'de> Deserialize<'de> for Base64Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Zeroizing::new(text)))
    }
}

impl RawKey {
    fn check(self) -> Result<Entry, KeysetFault> {
        let id = self.key_id;
        if self.output_prefix_type != OutputPrefix::Tink {
            return Err(KeysetFault::NotTinkPrefix(id));
        }
        let state = match self.status {
            Status::Unknown => return Err(KeysetFault::UnknownStatus(id)),
            Status::Destroyed => State::Destroyed,
            // A disabled key is read like an enabled one, so that enabling it again holds no
            // surprise.
            Status::Disabled => State::Disabled(self.material()?),
            Status::Enabled => State::Enabled(self.material()?),
        };
        Ok(Entry { id, state })
    }

    fn material(&self) -> Result<Box<KeyMaterial>, KeysetFault> {
        let id = self.key_id;
        let data = self
            .key_data
            .as_ref()
            .map(|Object(data)| data)
            .filter(|data| data.type_url == TYPE_URL)
            .filter(|data| data.key_material_type == MaterialType::Symmetric)
            .ok_or(KeysetFault::NotAesSiv(id))?;
        // Into a buffer that is wiped also when the decoding fails half-way.
        let mut message = Zeroizing::new(Vec::new());
        STANDARD
            .decode_vec(&*data.value.0, &mut message)
            .map_err(|_| KeysetFault::BadMaterial(id))?;
        let key: &[u8; 64] = message
            .strip_prefix(&KEY_VALUE_FIELD)
            .and_then(|key| key.try_into().ok())
            .ok_or(KeysetFault::BadMaterial(id))?;
        let mut material = Box::new(Zeroizing::new([0; 64]));
        material.copy_from_slice(key);
        Ok(material)
    }
}

#[cfg(test)]
mod tests;
