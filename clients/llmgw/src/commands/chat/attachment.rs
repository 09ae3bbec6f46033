//! Files and images beside a question, in the parts of a message that OpenRouter takes.
//! <https://openrouter.ai/docs/features/multimodal/overview>

use std::{fs::File, io::Read, path::Path};

use anyhow::{Context as _, Result, bail, ensure};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use shared::request::MAX_BODY;

/// A part of a message.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Attachment {
    /// The file's name.
    pub(super) name: String,
    /// The part.
    pub(super) part: Value,
}

impl Attachment {
    /// Reads a file: an image, a PDF, or text.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let shown = path.display();
        let limit = u64::try_from(MAX_BODY).unwrap_or(u64::MAX);
        let mut bytes = Vec::new();
        File::open(path)
            .and_then(|file| file.take(limit + 1).read_to_end(&mut bytes))
            .with_context(|| format!("cannot read the attachment {shown}"))?;
        ensure!(
            bytes.len() <= MAX_BODY,
            "the attachment {shown} is larger than the {} MiB that a gateway accepts",
            MAX_BODY >> 20
        );
        let name = path.file_name().map_or_else(
            || shown.to_string(),
            |name| name.to_string_lossy().into_owned(),
        );
        let part = Self::part(&name, bytes)
            .with_context(|| format!("the attachment {shown} cannot be sent"))?;
        Ok(Self { name, part })
    }

    fn part(name: &str, bytes: Vec<u8>) -> Result<Value> {
        let url = |kind: &str| format!("data:{kind};base64,{}", BASE64_STANDARD.encode(&bytes));
        if let Some(kind) = image(&bytes) {
            return Ok(json!({"type": "image_url", "image_url": {"url": url(kind)}}));
        }
        if bytes.starts_with(b"%PDF-") {
            let file = json!({"filename": name, "file_data": url("application/pdf")});
            return Ok(json!({"type": "file", "file": file}));
        }
        match String::from_utf8(bytes) {
            Ok(text) => Ok(json!({"type": "text", "text": format!("{name}:\n\n{text}")})),
            Err(_) => bail!("it is neither text, nor a PDF, nor a PNG, JPEG, GIF or WebP image"),
        }
    }
}

/// The media type of an image, by its first bytes.
fn image(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0x89, b'P', b'N', b'G', ..] => Some("image/png"),
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [b'G', b'I', b'F', b'8', ..] => Some("image/gif"),
        [
            b'R',
            b'I',
            b'F',
            b'F',
            _,
            _,
            _,
            _,
            b'W',
            b'E',
            b'B',
            b'P',
            ..,
        ] => Some("image/webp"),
        _ => None,
    }
}
