use http::HeaderValue;
use proptest::{collection::vec, prelude::*, sample::Index};

use super::*;

/// The bodies below, decompressed; compressed by zlib, Google's brotli and Facebook's zstd.
const TEXT: &str = r#"{"model":"m","text":"GRUEZI"}"#;
const GZIP: &str = "1f8b0800000000000003ab56cacd4f49cd51b252ca55d2512a49ad2851b252722f3abc27b52a5361b0d24ab500c5b58dd3b7000000";
const ZLIB: &str =
    "789cab56cacd4f49cd51b252ca55d2512a49ad2851b252722f3abc27b52a5361b0d24ab500be644f6c";
const RAW_DEFLATE: &str = "ab56cacd4f49cd51b252ca55d2512a49ad2851b252722f3abc27b52a5361b0d24ab500";
const BROTLI: &str = "1bb600409c07762c6752168cc1ca67b516294bdb9b477dbcc5a2d320727ac3c02107cc07fbca32c260630ce5bbabf7d286019ec4af4104";
const ZSTD: &str = "28b52ffd0458350100f87b226d6f64656c223a226d222c2274657874223a224772c3bc657a6920227d0100554615275769d548";
/// 7 MiB of zeros.
const BROTLI_BOMB: &str = "9bffff6ff82700e2b14020f7fe0d";

fn text() -> String {
    TEXT.replace("GRUEZI", &"Grüezi ".repeat(20))
}

fn codings(value: &str) -> Result<Codings, CodingError> {
    let value = HeaderValue::from_str(value).unwrap();
    Codings::of(&HeaderMap::from_iter([(CONTENT_ENCODING, value)]))
}

fn decode(coding: &str, body: &[u8]) -> Result<Vec<u8>, CodingError> {
    let decoded = codings(coding)
        .unwrap()
        .decode(Bytes::copy_from_slice(body));
    decoded.map(Vec::from)
}

fn broken(coding: &str) -> Result<Vec<u8>, CodingError> {
    let Codings(codings) = codings(coding).unwrap();
    Err(CodingError::Broken(codings[0]))
}

/// Each coding with a body of it.
fn bodies() -> [(&'static str, Vec<u8>); 5] {
    [
        ("gzip", GZIP),
        ("deflate", ZLIB),
        ("deflate", RAW_DEFLATE),
        ("br", BROTLI),
        ("zstd", ZSTD),
    ]
    .map(|(coding, body)| (coding, hex::decode(body).unwrap()))
}

fn gzipped(body: &[u8]) -> Vec<u8> {
    let mut reader = flate2::bufread::GzEncoder::new(body, flate2::Compression::fast());
    let mut encoded = Vec::new();
    reader.read_to_end(&mut encoded).unwrap();
    encoded
}

fn deflated(body: &[u8]) -> Vec<u8> {
    let mut reader = flate2::bufread::ZlibEncoder::new(body, flate2::Compression::fast());
    let mut encoded = Vec::new();
    reader.read_to_end(&mut encoded).unwrap();
    encoded
}

fn zstandard(body: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(body, ruzstd::encoding::CompressionLevel::Fastest)
}

#[test]
fn the_header_is_a_list() {
    for (value, expected) in [
        ("", vec![]),
        ("identity", vec![]),
        ("GZip", vec![Coding::Gzip]),
        ("x-gzip", vec![Coding::Gzip]),
        ("identity, zstd", vec![Coding::Zstd]),
        (" deflate ,br,", vec![Coding::Deflate, Coding::Brotli]),
    ] {
        assert_eq!(codings(value).unwrap(), Codings(expected), "{value}");
    }
    for value in ["compress", "aes128gcm", "gzip;q=1", "gzip,gzip,gzip,gzip"] {
        assert_eq!(codings(value), Err(CodingError::Unsupported), "{value}");
    }
}

#[test]
fn each_coding_is_decoded() {
    for (coding, body) in bodies() {
        assert_eq!(
            decode(coding, &body).unwrap(),
            text().as_bytes(),
            "{coding}"
        );
        // An empty body is not compressed.
        assert_eq!(decode(coding, b"").unwrap(), b"");
    }
    let [(_, gzip), .., (_, zstd)] = bodies();
    // Several members and frames, the latter with one that is skipped.
    let twice = text().repeat(2);
    assert_eq!(decode("gzip", &gzip.repeat(2)).unwrap(), twice.as_bytes());
    let skipped = [
        b"\x50\x2a\x4d\x18\x02\x00\x00\x00ab".as_slice(),
        &zstd,
        &zstd,
    ]
    .concat();
    assert_eq!(decode("zstd", &skipped).unwrap(), twice.as_bytes());
    // The last one was applied last.
    assert_eq!(
        decode("gzip, zstd", &zstandard(&gzip)).unwrap(),
        text().as_bytes()
    );
    // Bytes that are no text, and sizes around those of buffers.
    for size in [1, CHUNK - 1, CHUNK, CHUNK + 1, MAX_BODY] {
        let body: Vec<u8> = (0..=250).cycle().take(size).collect();
        assert!(decode("gzip", &gzipped(&body)).unwrap() == body, "{size}");
        assert!(
            decode("deflate", &deflated(&body)).unwrap() == body,
            "{size}"
        );
        assert!(decode("zstd", &zstandard(&body)).unwrap() == body, "{size}");
    }
}

#[test]
fn what_grows_too_large_is_refused() {
    let bomb = vec![0; MAX_BODY + 1];
    for (coding, body) in [
        ("gzip", gzipped(&bomb)),
        ("deflate", deflated(&bomb)),
        ("br", hex::decode(BROTLI_BOMB).unwrap()),
        ("zstd", zstandard(&bomb)),
        ("zstd", zstandard(&vec![0; MAX_BODY / 2]).repeat(3)),
        ("gzip", gzipped(&vec![0; MAX_BODY / 2]).repeat(3)),
        ("gzip, gzip", gzipped(&gzipped(&vec![0; 200 << 20]))),
    ] {
        assert!(body.len() < 1 << 20, "{coding}");
        assert_eq!(
            decode(coding, &body),
            Err(CodingError::TooLarge),
            "{coding}"
        );
    }
    // A frame that asks for a window of 1 GiB.
    let window = b"\x28\xb5\x2f\xfd\x00\xa0\x01\x00\x00";
    assert_eq!(
        decode("zstd", window),
        Err(CodingError::Broken(Coding::Zstd))
    );
}

#[test]
fn what_is_broken_is_refused() {
    for (coding, body) in bodies() {
        for length in 1..body.len() {
            let cut = &body[..length];
            assert_eq!(decode(coding, cut), broken(coding), "{coding} {length}");
        }
        // The decoder of `br` ignores what follows the end of its stream.
        if coding != "br" {
            let more = [body.as_slice(), b"more"].concat();
            assert_eq!(decode(coding, &more), broken(coding), "{coding}");
        }
        let plain = text();
        assert_eq!(decode(coding, plain.as_bytes()), broken(coding), "{coding}");
    }
    // Codings with a checksum notice a changed bit of it.
    for (coding, body) in [
        bodies()[0].clone(),
        bodies()[1].clone(),
        bodies()[4].clone(),
    ] {
        let mut changed = body.clone();
        let at = if coding == "gzip" {
            body.len() - 8
        } else {
            body.len() - 4
        };
        changed[at] ^= 1;
        assert_eq!(decode(coding, &changed), broken(coding), "{coding}");
    }
}

proptest! {
    /// Whatever arrives ends in a body or an error.
    #[test]
    fn no_body_makes_a_decoder_panic(
        noise in vec(any::<u8>(), 0..200),
        changes in vec((any::<Index>(), any::<u8>()), 0..4),
    ) {
        for (coding, mut body) in bodies() {
            for (at, byte) in &changes {
                let at = at.index(body.len());
                body[at] = *byte;
            }
            for body in [body.as_slice(), &noise, &[&body[..6], noise.as_slice()].concat()] {
                if let Ok(decoded) = decode(coding, body) {
                    prop_assert!(decoded.len() <= MAX_BODY);
                }
            }
        }
    }
}
