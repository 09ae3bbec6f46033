//! The values of the signature's headers, beside other decoders.

use data_encoding::{
    BASE64, BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD, HEXLOWER, HEXLOWER_PERMISSIVE, HEXUPPER,
};
use shared::identity::signing::{Audience, Nonce, SignedAt, parse_signature};
use url::Url;

use crate::{input::text, planted};

pub(crate) fn headers(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else {
        return;
    };
    match kind % 4 {
        0 => signature(&text(rest)),
        1 => every_spelling(rest),
        2 => timestamp_and_nonce(&text(rest)),
        _ => audience(&text(rest)),
    }
}

/// A signature is what one of three encodings decodes to, strictly.
fn signature(text: &str) {
    let read = parse_signature(text).ok().map(|it| it.to_bytes().to_vec());
    let bare = text.strip_prefix("v1=").unwrap_or(text);
    let bytes = bare.as_bytes();
    let expected = match bare.len() {
        86 => BASE64URL_NOPAD
            .decode(bytes)
            .or_else(|_| BASE64_NOPAD.decode(bytes)),
        88 => BASE64URL.decode(bytes).or_else(|_| BASE64.decode(bytes)),
        _ => HEXLOWER_PERMISSIVE.decode(bytes),
    };
    let is_padded_within = bare.trim_end_matches('=').contains('=');
    let expected = expected
        .ok()
        .filter(|bytes| bytes.len() == 64 && !is_padded_within);
    assert_eq!(read, expected, "{text:?}");
}

/// Every documented spelling of 64 bytes is read as they are.
fn every_spelling(data: &[u8]) {
    let mut bytes = [0; 64];
    for (place, byte) in bytes.iter_mut().zip(data) {
        *place = *byte;
    }
    for encoding in [
        BASE64URL_NOPAD,
        BASE64_NOPAD,
        BASE64URL,
        BASE64,
        HEXLOWER,
        HEXUPPER,
    ] {
        for prefix in ["", "v1="] {
            let text = format!("{prefix}{}", encoding.encode(&bytes));
            let mut read = parse_signature(&text).unwrap().to_bytes();
            if planted() && text.contains('/') {
                read = [0; 64];
            }
            assert_eq!(read, bytes, "{text}");
        }
    }
}

fn timestamp_and_nonce(text: &str) {
    let has_length = [10, 13].contains(&text.len());
    let is_timestamp = has_length && text.bytes().all(|byte| byte.is_ascii_digit());
    let read = SignedAt::parse(text);
    assert_eq!(read.is_ok(), is_timestamp, "{text:?}");
    if let Ok(signed_at) = read {
        let number: i64 = text.parse().unwrap();
        let scale = if text.len() == 10 { 1000 } else { 1 };
        assert_eq!(signed_at.at().as_millisecond(), number * scale);
        assert_eq!(signed_at.as_str(), text);
        let again = SignedAt::millis(signed_at.at()).unwrap();
        assert_eq!(again.at(), signed_at.at());
    }
    let is_nonce_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    let is_nonce = (16..=128).contains(&text.len()) && text.bytes().all(is_nonce_byte);
    assert_eq!(Nonce::parse(text).is_ok(), is_nonce, "{text:?}");
}

/// An audience is canonical, and has the origin that URL parsers see.
fn audience(text: &str) {
    let Ok(audience) = Audience::parse(text) else {
        return;
    };
    let canonical = audience.as_str();
    assert_eq!(
        Audience::parse(canonical).as_ref(),
        Ok(&audience),
        "{text:?}"
    );
    assert!(canonical.starts_with("http") && canonical.ends_with(audience.path()));
    assert!(!audience.path().ends_with('/'));
    assert!(
        !canonical.contains(['\n', ' ', '?', '#', '%']),
        "{canonical}"
    );
    let origin = |url: &str| Url::parse(url).unwrap().origin();
    assert_eq!(origin(canonical), origin(text));
}
