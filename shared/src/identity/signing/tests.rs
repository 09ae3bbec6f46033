use proptest::prelude::*;
use serde::Deserialize;

use super::*;
use crate::request::RawQuery;

#[derive(Deserialize)]
struct Vectors {
    secret_key_seed_hex: String,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    did: String,
    ts: String,
    nonce: String,
    method: String,
    aud: String,
    path: String,
    query: String,
    body: String,
    canonical: String,
    sig: String,
}

#[test]
fn vectors() {
    let vectors: Vectors =
        serde_json::from_str(include_str!("../../../testdata/x_did_v1.json")).unwrap();
    let seed = hex::decode(&vectors.secret_key_seed_hex).unwrap();
    let key = SigningKey::from_bytes(&seed.try_into().unwrap());
    assert_eq!(vectors.cases.len(), 3);
    for case in vectors.cases {
        let nonce = (!case.nonce.is_empty()).then(|| Nonce::parse(&case.nonce).unwrap());
        let parts = SignedParts {
            audience: &case.aud.parse().unwrap(),
            did: &DidUrl::parse(&case.did).unwrap(),
            signed_at: &SignedAt::parse(&case.ts).unwrap(),
            nonce: nonce.as_ref(),
            method: &case.method.parse().unwrap(),
            path: &CanonicalPath::from_raw(&case.path).unwrap(),
            query: &CanonicalQuery::from_raw(&RawQuery::Encoded(case.query)).unwrap(),
            body: BodyDigest::of(case.body.as_bytes()),
        };
        assert_eq!(SigningString::new(&parts).as_str(), case.canonical);
        let headers = sign(&key, &parts);
        assert_eq!(headers.signature, case.sig);

        let mut map = HeaderMap::new();
        headers.apply(&mut map).unwrap();
        let value = |name| map.get(name).map_or("", |value| value.to_str().unwrap());
        assert_eq!(value("x-did"), case.did);
        assert_eq!(value("x-did-timestamp"), case.ts);
        assert_eq!(value("x-did-nonce"), case.nonce);
        assert_eq!(value("x-did-signature"), case.sig);
        assert_eq!(map.contains_key("x-did-nonce"), nonce.is_some());
    }
}

#[test]
fn audiences() {
    for (text, audience, path) in [
        ("https://gw.example.com", "https://gw.example.com", ""),
        ("HTTPS://GW.Example.com:443/", "https://gw.example.com", ""),
        ("http://gw:80", "http://gw", ""),
        ("https://gw:8443/", "https://gw:8443", ""),
        ("http://[::1]:9000", "http://[::1]:9000", ""),
        ("https://h/Prod", "https://h/Prod", "/Prod"),
        ("https://h/Prod/", "https://h/Prod", "/Prod"),
        ("https://h/a/B", "https://h/a/B", "/a/B"),
        (
            "https://bücher.example",
            "https://xn--bcher-kva.example",
            "",
        ),
    ] {
        let parsed = Audience::parse(text).unwrap();
        assert_eq!((parsed.as_str(), parsed.path()), (audience, path));
        assert_eq!(Audience::parse(audience), Ok(parsed));
    }
    for (text, error) in [
        ("ftp://h", AudienceError::Scheme),
        ("mailto:a@b", AudienceError::Scheme),
        ("https://user@h", AudienceError::MoreThanABase),
        ("https://:pw@h", AudienceError::MoreThanABase),
        ("https://h/?a", AudienceError::MoreThanABase),
        ("https://h/#a", AudienceError::MoreThanABase),
        ("https://h//", AudienceError::Path),
        ("https://h/a b", AudienceError::Path),
        ("https://h/a%2Fb", AudienceError::Path),
    ] {
        assert_eq!(Audience::parse(text), Err(error), "{text}");
    }
    for text in ["", "gw.example.com", "/Prod", "https://"] {
        assert!(matches!(
            Audience::parse(text),
            Err(AudienceError::NotAUrl(_))
        ));
    }
}

#[test]
fn timestamps() {
    for (text, millis) in [
        ("1735689600", 1_735_689_600_000),
        ("1735689600123", 1_735_689_600_123),
        ("0000000000", 0),
        ("9999999999", 9_999_999_999_000),
        ("9999999999999", 9_999_999_999_999),
    ] {
        let signed_at = SignedAt::parse(text).unwrap();
        assert_eq!(signed_at.at().as_millisecond(), millis);
        assert_eq!(signed_at.as_str(), text);
    }
    for text in [
        "",
        "173568960",
        "17356896000",
        "173568960012",
        "17356896001234",
        "+735689600",
        "-735689600",
        " 735689600",
        "1735689600 ",
        "173568960x",
        "1735689600.12",
        "1735689600,17",
        "2025-01-01T00",
        "١٧٣٥٦",
    ] {
        assert_eq!(SignedAt::parse(text), Err(MalformedTimestamp), "{text}");
    }
    let at = Timestamp::from_millisecond(1_735_689_600_999).unwrap();
    assert_eq!(SignedAt::seconds(at).unwrap().as_str(), "1735689600");
    assert_eq!(SignedAt::millis(at).unwrap().as_str(), "1735689600999");
    assert_eq!(SignedAt::seconds(Timestamp::MIN), Err(MalformedTimestamp));
    assert_eq!(SignedAt::millis(Timestamp::MAX), Err(MalformedTimestamp));
}

#[test]
fn nonces() {
    let longest = "a".repeat(128);
    for text in ["n-_0123456789abc", "AAAAAAAAAAAAAAAAAAAAAA", &longest] {
        assert_eq!(Nonce::parse(text).unwrap().as_str(), text);
    }
    let too_long = format!("{longest}a");
    for text in [
        "",
        "123456789012345",
        &too_long,
        "1234567890123456,1234567890123456",
        "123456789012345=",
        "123456789012345+",
        "12345678901234567 ",
        "1234567890123456\n",
        "12345678901234é",
    ] {
        assert_eq!(Nonce::parse(text), Err(MalformedNonce), "{text}");
    }
    let nonce = Nonce::from_random([0xff; 16]);
    assert_eq!(nonce.as_str(), "_____________________w");
    assert_eq!(Nonce::parse(nonce.as_str()), Ok(nonce));
}

#[test]
fn signature_encodings() {
    // 0xfb… gives "-"/"+" and "_"/"/", so that the alphabets differ.
    let bytes = [0xfb; 64];
    let url = BASE64_URL_SAFE_NO_PAD.encode(bytes);
    let standard = BASE64_STANDARD_NO_PAD.encode(bytes);
    assert_ne!(url, standard);
    let hex = hex::encode(bytes);
    for text in [
        url.clone(),
        format!("{url}=="),
        standard.clone(),
        format!("{standard}=="),
        hex.clone(),
        hex.to_uppercase(),
    ] {
        let signature = Signature::from_bytes(bytes);
        assert_eq!(parse_signature(&text), Ok(signature), "{text}");
        assert_eq!(parse_signature(&format!("v1={text}")), Ok(signature));
    }

    let trailing_bits = format!("{}x", url.strip_suffix('w').unwrap());
    // The first character of one alphabet in the other's text.
    let mixed = url.replacen('-', "+", 1);
    let base58 = bs58::encode(bytes).into_string();
    for text in [
        String::new(),
        "v1=".to_owned(),
        trailing_bits.clone(),
        format!("{trailing_bits}=="),
        mixed,
        format!("{url}="),
        format!("{url}A="),
        format!("{url}AA"),
        format!("={url}="),
        format!("v2={url}"),
        format!("V1={url}"),
        format!("v1=v1={url}"),
        format!(" {url}"),
        format!("{url} "),
        format!("{url},{url}"),
        // Multibase: base64url, base64, base64urlpad, base64pad, base16, base58btc.
        format!("u{url}"),
        format!("m{standard}"),
        format!("U{url}=="),
        format!("M{standard}=="),
        format!("f{hex}"),
        format!("z{base58}"),
        base58,
        hex.replacen('f', "g", 1),
        BASE64_URL_SAFE_NO_PAD.encode([0xfb; 63]),
        BASE64_URL_SAFE_NO_PAD.encode([0xfb; 65]),
        BASE64_STANDARD.encode([0xfb; 66]),
    ] {
        assert_eq!(
            parse_signature(&text),
            Err(MalformedSignature::Encoding),
            "{text}"
        );
    }
}

proptest! {
    #[test]
    fn a_signature_has_one_spelling_per_encoding(bytes: [u8; 32], text in "[A-Za-z0-9_-]{86}") {
        let signature = [bytes, bytes].concat();
        let encoded = BASE64_URL_SAFE_NO_PAD.encode(&signature);
        let parsed = parse_signature(&encoded).unwrap();
        prop_assert_eq!(parsed.to_bytes().to_vec(), signature);
        if let Ok(parsed) = parse_signature(&text) {
            prop_assert_eq!(BASE64_URL_SAFE_NO_PAD.encode(parsed.to_bytes()), text);
        }
    }
}
