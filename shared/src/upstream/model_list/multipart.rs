//! The reader of a form with files (RFC 7578). It takes one spelling, that of every common client: any
//! other, parsers read in different ways.

use std::str;

use memchr::memmem;

use super::{
    context::Context,
    json::{self, Named},
    mention::{Fault, Mentions, UnreadableModels},
    name,
};

/// Most fields of a form.
const MOST_FIELDS: usize = 64;
/// Longest boundary (RFC 2046, section 5.1.1).
const LONGEST_BOUNDARY: usize = 70;

/// Whether a text may be a boundary.
pub(super) fn is_boundary(text: &str) -> bool {
    (1..=LONGEST_BOUNDARY).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"'()+_,-./:=?".contains(&byte))
}

/// Reads a whole body, whose only field for models is one `model`.
pub(super) fn read(
    boundary: &str,
    body: &[u8],
    mentions: &mut Mentions,
) -> Result<Named, UnreadableModels> {
    let mut named = Named::default();
    for (index, part) in parts(boundary, body).enumerate() {
        let field = part
            .and_then(Field::read)
            .ok_or(Fault::MalformedForm.at(""))?;
        if index == MOST_FIELDS {
            return Err(Fault::MalformedForm.at(""));
        }
        let place = || format!("/{}", field.name);
        if field.name == "model" {
            if named.a_model {
                return Err(Fault::Repeated.at(place()));
            }
            let model = field.text().ok_or_else(|| Fault::ModelField.at(place()))?;
            mentions.add(model, place)?;
            named.a_model = !model.is_empty();
        } else if name::is_of_models(field.name) {
            return Err(Fault::ModelField.at(place()));
        } else if name::is_of_presets(field.name) {
            let preset = field.text().ok_or_else(|| Fault::ModelField.at(place()))?;
            mentions.add_preset(preset, place)?;
        } else if let Some(json) = field.json() {
            json::read_field(field.name, json, mentions)?;
        }
    }
    Ok(named)
}

/// The parts between the delimiters. A part is `None`, and the last, where the form is malformed.
fn parts<'a>(boundary: &str, body: &'a [u8]) -> impl Iterator<Item = Option<&'a [u8]>> {
    let delimiter = format!("--{boundary}");
    let mut rest = body.strip_prefix(delimiter.as_bytes());
    let mut is_first = true;
    std::iter::from_fn(move || {
        let Some(after) = rest.take() else {
            // No delimiter at the beginning, or the end after a malformed part.
            return std::mem::take(&mut is_first).then_some(None);
        };
        is_first = false;
        if matches!(after, b"--" | b"--\r\n") {
            return None;
        }
        let part = after.strip_prefix(b"\r\n").and_then(|after| {
            // Wherever it stands: a lax parser could take it for a delimiter.
            let at = memmem::find(after, delimiter.as_bytes())?;
            let (part, next) = after.split_at_checked(at)?;
            rest = next.strip_prefix(delimiter.as_bytes());
            part.strip_suffix(b"\r\n")
        });
        if part.is_none() {
            rest = None;
        }
        Some(part)
    })
}

/// A field of a form.
struct Field<'a> {
    name: &'a str,
    is_file: bool,
    value: &'a [u8],
}

impl<'a> Field<'a> {
    fn read(part: &'a [u8]) -> Option<Self> {
        let at = memmem::find(part, b"\r\n\r\n")?;
        let (head, value) = part.split_at_checked(at)?;
        let value = value.strip_prefix(b"\r\n\r\n")?;
        let mut disposition = None;
        for line in str::from_utf8(head).ok()?.split("\r\n") {
            // No folded lines, no bare carriage returns or line feeds.
            let (header, content) = line.split_once(':')?;
            let is_header = |it| header.eq_ignore_ascii_case(it);
            if line.contains(['\r', '\n', '\0']) || header.contains([' ', '\t']) {
                return None;
            }
            if is_header("content-disposition") {
                if disposition.is_some() {
                    return None;
                }
                disposition = Some(Disposition::read(content)?);
            } else if is_header("content-transfer-encoding")
                && !["binary", "7bit", "8bit"]
                    .iter()
                    .any(|it| content.trim().eq_ignore_ascii_case(it))
            {
                return None;
            }
        }
        let Disposition { name, is_file } = disposition?;
        Some(Self {
            name,
            is_file,
            value,
        })
    }

    /// The value of a field that is no file.
    fn text(&self) -> Option<&'a str> {
        str::from_utf8(self.value).ok().filter(|_| !self.is_file)
    }

    /// The value, where settings may stand in it as JSON.
    fn json(&self) -> Option<&'a str> {
        let is_text = matches!(
            Context::Request.member(self.name),
            Context::Prompt | Context::Texts | Context::Conversation
        );
        self.text()
            .filter(|text| !is_text && text.trim_start().starts_with(['{', '[']))
    }
}

/// The header that names a field.
struct Disposition<'a> {
    name: &'a str,
    is_file: bool,
}

impl<'a> Disposition<'a> {
    fn read(header: &'a str) -> Option<Self> {
        let mut rest = header.trim().strip_prefix("form-data")?;
        let mut name = None;
        let mut is_file = false;
        while !rest.is_empty() {
            let (parameter, value) = rest.trim_start().strip_prefix(';')?.split_once('=')?;
            let (value, after) = match value.strip_prefix('"') {
                Some(quoted) => quoted_string(quoted)?,
                None => value.split_at(value.find(';').unwrap_or(value.len())),
            };
            rest = after;
            match parameter.trim() {
                "name" if name.is_none() && is_plain(value) => name = Some(value),
                "filename" | "filename*" => is_file = true,
                _ => return None,
            }
        }
        Some(Self {
            name: name?,
            is_file,
        })
    }
}

/// The text up to a quote that is not escaped, and the text behind it.
fn quoted_string(text: &str) -> Option<(&str, &str)> {
    let mut is_escaped = false;
    let end = text.find(|c| {
        let ends = c == '"' && !is_escaped;
        is_escaped = c == '\\' && !is_escaped;
        ends
    })?;
    let (inside, rest) = text.split_at_checked(end)?;
    Some((inside, rest.strip_prefix('"')?))
}

/// Whether a field's name stands for itself: nothing in it is escaped in any way.
fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-.[]".contains(&byte))
}
