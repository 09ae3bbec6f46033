//! A signed request as a `curl` command, for a POSIX shell.

use std::{fmt::Write, path::Path, str};

use bytes::Bytes;
use http::{Method, Request};

/// Writes the command that sends `request`. It works once, within five minutes.
///
/// The command names `body_file`, the file that the body was read from; the signature is valid for its
/// current content. Without it the command contains the body.
pub fn command(request: &Request<Bytes>, body_file: Option<&Path>) -> Result<String, CurlError> {
    // Responses are shown as they arrive.
    let mut words = vec!["--no-buffer".to_owned()];
    words.extend(method(request));
    words.push(quoted(&request.uri().to_string()));
    let mut lines = vec![format!("curl {}", words.join(" "))];

    for (name, value) in request.headers() {
        let value = str::from_utf8(value.as_bytes()).map_err(|_| CurlError::Header)?;
        // For curl, `name:` removes the header.
        let header = match value {
            "" => format!("{name};"),
            _ => format!("{name}: {value}"),
        };
        lines.push(format!("--header {}", quoted(&header)));
    }
    lines.extend(data(request.body(), body_file)?);
    Ok(lines.join(" \\\n  "))
}

/// The reason why a request cannot be written as a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CurlError {
    /// The body is binary, or contains NUL.
    #[error("the body is not text; give it as a file (-d @FILE)")]
    Body,
    /// A header is not UTF-8.
    #[error("a header is not text")]
    Header,
    /// The name of the body's file is not UTF-8.
    #[error("the name of the body's file is not text")]
    FileName,
}

/// The option for the method, if curl would choose another.
fn method(request: &Request<Bytes>) -> Option<String> {
    match (request.method(), request.body().is_empty()) {
        (&Method::GET, true) | (&Method::POST, false) => None,
        // After `--request HEAD` curl waits for a body.
        (&Method::HEAD, true) => Some("--head".to_owned()),
        (method, _) => Some(format!("--request {}", quoted(method.as_str()))),
    }
}

fn data(body: &[u8], file: Option<&Path>) -> Result<Option<String>, CurlError> {
    match file {
        Some(file) => {
            let name = file.to_str().ok_or(CurlError::FileName)?;
            Ok(Some(format!(
                "--data-binary {}",
                quoted(&format!("@{name}"))
            )))
        }
        None if body.is_empty() => Ok(None),
        None if body.contains(&0) => Err(CurlError::Body),
        None => {
            let text = str::from_utf8(body).map_err(|_| CurlError::Body)?;
            // Unlike `--data`, this does not take a leading @ for a file name.
            Ok(Some(format!("--data-raw {}", quoted(text))))
        }
    }
}

/// Quotes a word for a POSIX shell (XCU §2.2.2): only the quote itself is special in single quotes.
#[must_use]
pub fn quoted(text: &str) -> String {
    let mut word = String::with_capacity(text.len() + 2);
    for (index, part) in text.split('\'').enumerate() {
        let separator = if index == 0 { "" } else { r"\'" };
        // Writing to a String does not fail.
        let _ = write!(word, "{separator}'{part}'");
    }
    word
}

#[cfg(test)]
mod tests;
