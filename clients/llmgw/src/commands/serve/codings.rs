//! Compressed request bodies (RFC 9110 §8.4). Gateways accept none, and the signature covers the body that they
//! receive, so bodies are decompressed before they are signed.

use std::io::{self, Read};

use brotli_decompressor::Decompressor;
use bytes::Bytes;
use flate2::{Decompress, FlushDecompress, Status, bufread::MultiGzDecoder};
use http::{HeaderMap, header::CONTENT_ENCODING};
use ruzstd::decoding::{
    FrameDecoder, StreamingDecoder,
    errors::{FrameDecoderError, ReadFrameHeaderError},
};
use shared::request::MAX_BODY;

/// The number of codings of one body. Programs use one.
const MAX_CODINGS: usize = 3;
/// The largest window of zstd in HTTP (RFC 9659).
const MAX_ZSTD_WINDOW: u64 = 8 << 20;
/// The number of bytes that are decompressed at a time.
const CHUNK: usize = 64 << 10;

/// The codings of a body, in the order in which they were applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Codings(Vec<Coding>);

/// A content coding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    /// RFC 1952.
    Gzip,
    /// RFC 1950; also RFC 1951, which some programs send under this name.
    Deflate,
    /// RFC 7932.
    Brotli,
    /// RFC 8878.
    Zstd,
}

impl Codings {
    /// Reads `Content-Encoding`.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, CodingError> {
        let names = headers
            .get_all(CONTENT_ENCODING)
            .iter()
            .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
            .map(|name| name.trim_ascii().to_ascii_lowercase());
        let mut codings = Vec::new();
        for name in names {
            codings.push(match name.as_slice() {
                b"" | b"identity" => continue,
                b"gzip" | b"x-gzip" => Coding::Gzip,
                b"deflate" => Coding::Deflate,
                b"br" => Coding::Brotli,
                b"zstd" => Coding::Zstd,
                _ => return Err(CodingError::Unsupported),
            });
        }
        if codings.len() > MAX_CODINGS {
            return Err(CodingError::Unsupported);
        }
        Ok(Self(codings))
    }

    /// Decompresses `body`. An empty one is not compressed.
    pub(super) fn decode(&self, body: Bytes) -> Result<Bytes, CodingError> {
        if body.is_empty() {
            return Ok(body);
        }
        self.0.iter().rev().try_fold(body, |body, coding| {
            coding
                .decode(&body)
                .map(Bytes::from)
                .map_err(|error| match error {
                    DecodeError::Broken => CodingError::Broken(*coding),
                    DecodeError::TooLarge => CodingError::TooLarge,
                })
        })
    }
}

impl Coding {
    /// The name that messages use.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }

    fn decode(self, body: &[u8]) -> Result<Vec<u8>, DecodeError> {
        match self {
            Self::Gzip => bounded(MultiGzDecoder::new(body)),
            Self::Deflate => inflate(body),
            Self::Brotli => bounded(Decompressor::new(body, CHUNK)),
            Self::Zstd => unzstd(body),
        }
    }
}

/// The reason why a body cannot be decompressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CodingError {
    /// A coding is unknown, or there are too many.
    Unsupported,
    /// The body is not of the coding, or incomplete.
    Broken(Coding),
    /// The body is larger than a gateway accepts.
    TooLarge,
}

/// The reason why a decoder stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DecodeError {
    /// The data is not of the coding, or incomplete.
    Broken,
    /// The result is larger than a gateway accepts.
    TooLarge,
}

impl From<io::Error> for DecodeError {
    fn from(_: io::Error) -> Self {
        Self::Broken
    }
}

/// Reads everything, up to the size that a gateway accepts.
fn bounded(source: impl Read) -> Result<Vec<u8>, DecodeError> {
    let mut decoded = Vec::new();
    append(source, &mut decoded)?;
    Ok(decoded)
}

fn append(source: impl Read, decoded: &mut Vec<u8>) -> Result<(), DecodeError> {
    let room = (MAX_BODY - decoded.len()) as u64;
    if source.take(room + 1).read_to_end(decoded)? as u64 > room {
        Err(DecodeError::TooLarge)
    } else {
        Ok(())
    }
}

/// Not by a reader of `flate2`, which takes a stream without its end for a whole one.
fn inflate(body: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let mut stream = Decompress::new(has_zlib_header(body));
    let mut decoded = Vec::new();
    let mut rest = body;
    loop {
        decoded.reserve(CHUNK);
        let (read, written) = (stream.total_in(), decoded.len());
        let status = stream
            .decompress_vec(rest, &mut decoded, FlushDecompress::None)
            .map_err(|_| DecodeError::Broken)?;
        let consumed = usize::try_from(stream.total_in() - read).unwrap_or(usize::MAX);
        rest = rest.get(consumed..).unwrap_or_default();
        if decoded.len() > MAX_BODY {
            return Err(DecodeError::TooLarge);
        }
        match status {
            Status::StreamEnd if rest.is_empty() => return Ok(decoded),
            Status::StreamEnd => return Err(DecodeError::Broken),
            Status::Ok | Status::BufError if consumed == 0 && decoded.len() == written => {
                return Err(DecodeError::Broken);
            }
            Status::Ok | Status::BufError => {}
        }
    }
}

/// Whether the first two bytes are a header of zlib (RFC 1950 §2.2).
fn has_zlib_header(body: &[u8]) -> bool {
    body.first_chunk().is_some_and(|header: &[u8; 2]| {
        header[0] & 0x0f == 8 && u16::from_be_bytes(*header).is_multiple_of(31)
    })
}

/// Decompresses all frames (RFC 8878 §3.1).
fn unzstd(mut body: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let mut frames = FrameDecoder::new();
    frames.set_max_window_size(MAX_ZSTD_WINDOW);
    let mut decoded = Vec::new();
    while !body.is_empty() {
        match StreamingDecoder::new_with_decoder(&mut body, &mut frames) {
            Ok(frame) => append(frame, &mut decoded)?,
            Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                length,
                ..
            })) => {
                let rest = body.get(length as usize..);
                body = rest.ok_or(DecodeError::Broken)?;
                continue;
            }
            Err(_) => return Err(DecodeError::Broken),
        }
        let expected = frames.get_checksum_from_data();
        if expected.is_some() && expected != frames.get_calculated_checksum() {
            return Err(DecodeError::Broken);
        }
    }
    Ok(decoded)
}

#[cfg(test)]
mod tests;
