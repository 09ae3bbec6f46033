use proptest::prelude::*;

use super::*;

/// Random bytes, token and digest, computed with Python's `int.from_bytes`, `zlib.crc32` and `hashlib`.
const VECTORS: [(&str, &str, &str); 6] = [
    (
        "0000000000000000000000000000000000000000000000000000000000000000",
        "sk-lgw-00000000000000000000000000000000000000000000h9HVF",
        "a8bdc24ba9f0c332c35ad9e95147d46b58b20e77898212aba46a9f2b90532d10",
    ),
    (
        "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "sk-lgw-yhjskwdA6OZ1AL1YmHWZWm8LLG7HjnuCA2j5rOw8Xp12ajKaj",
        "2d50a8e10f4fb38591b96fcdfd821ea72f9fbfe64b89806c30410e2dbb6fc172",
    ),
    (
        "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
        "sk-lgw-003aUlTJC7tjlCTQj2uNU3MFagCXG9LRKRcwGkBIDlf0CXMVh",
        "663339b712304dccf4a5ea3ee7b1992ee99c33546c01160d44a45d6ba7be4a70",
    ),
    (
        "000000000000000000000000000000000000000000000000000000000000003d",
        "sk-lgw-000000000000000000000000000000000000000000z3Ds9aN",
        "01b87c51935df1ce52d4e02aab06f33ad4c165e536b1396259d26e416c1a90a6",
    ),
    (
        "000000000000000000000000000000000000000000000000000000000000003e",
        "sk-lgw-000000000000000000000000000000000000000001019eZqe",
        "7fb987323e8ae13fa879a435849364c9377e5fc94b8eba13d7f9fe44e289fc57",
    ),
    (
        "971544a24842dae72d204f3d42b73a0cc880d3c26b8b277de97dc7f82183472e",
        "sk-lgw-ZpEsSr2kX8kbCKaId4U9UcfAsUk1JaedH9FU6oWflpW2eQVHr",
        "f4111ae29678845ee7c32b610471ddd875671073e0aa649b307ff49cd210fb95",
    ),
];

fn random(hex: &str) -> [u8; 32] {
    hex::decode(hex).unwrap().try_into().unwrap()
}

#[test]
fn tokens_are_made_as_python_makes_them() {
    for (bytes, text, digest) in VECTORS {
        let token = AccessToken::from_randomness(random(bytes));
        assert_eq!(token.digest().to_string(), digest);
        assert_eq!(hex::encode(token.digest().as_bytes()), digest);
        assert_eq!(token.expose().as_str(), text);
        assert_eq!(AccessToken::parse(text).unwrap().expose().as_str(), text);
    }
}

#[test]
fn the_label_shows_three_digits_of_each_end() {
    let (bytes, ..) = VECTORS[5];
    let token = AccessToken::from_randomness(random(bytes));
    assert_eq!(token.label(), "sk-lgw-ZpE…lpW");
}

#[test]
fn a_malformed_token_names_its_part() {
    use MalformedToken::{Alphabet, Checksum, Length, Prefix};

    let (.., token, _) = VECTORS[5];
    for (text, part) in [
        ("", Prefix),
        ("sk-or-v1-0123456789abcdef", Prefix),
        (&token.to_uppercase(), Prefix),
        (&format!(" {token}"), Prefix),
        (&format!("Bearer {token}"), Prefix),
        ("sk-lgw-", Length),
        (&token[..55], Length),
        (&format!("{token}0"), Length),
        (&format!("{token}{token}"), Alphabet),
        (&format!("{token} "), Alphabet),
        (&format!("{token}\n"), Alphabet),
        (&format!("{token}\0"), Alphabet),
        (&token.replace('Z', "-"), Alphabet),
        (&token.replace('Z', "_"), Alphabet),
        (&token.replace("Zp", "é"), Alphabet),
        (&token.replace("Zp", "pZ"), Checksum),
        (&token.replace("Hr", "Hs"), Checksum),
        (&token.to_lowercase(), Checksum),
    ] {
        let error = AccessToken::parse(text).unwrap_err();
        assert_eq!(error, part, "{text}");
        assert_eq!(text.parse::<AccessToken>().unwrap_err(), part);
        assert_eq!(error.reason(), "malformed_token");
        assert!(!error.to_string().contains("ZpE"));
    }
}

#[test]
fn a_text_is_meant_to_be_a_token_by_its_beginning() {
    for text in ["sk-lgw-", "SK-LGW-x", "sk-Lgw-\u{e9}"] {
        assert!(AccessToken::is_meant_by(text.as_bytes()), "{text}");
    }
    for text in ["", "sk-lgw", "sk-or-v1-x", " sk-lgw-x"] {
        assert!(!AccessToken::is_meant_by(text.as_bytes()), "{text}");
    }
}

#[test]
fn debug_hides_the_token() {
    let token = AccessToken::from_randomness([7; 32]);
    assert_eq!(format!("{token:?}"), "AccessToken(redacted)");
    assert_eq!(
        format!("{:#?}", Some(&token)),
        "Some(\n    AccessToken(redacted),\n)"
    );
}

proptest! {
    #[test]
    fn every_token_reads_back(bytes: [u8; 32]) {
        let text = AccessToken::from_randomness(bytes).expose();
        prop_assert_eq!(text.len(), AccessToken::LEN);
        prop_assert_eq!(AccessToken::parse(&text).unwrap().digest(), AccessToken::from_randomness(bytes).digest());
    }

    /// CRC-32 finds every error in one character, and every two that changed places.
    #[test]
    fn one_mistake_is_found(bytes: [u8; 32], at in 7..AccessToken::LEN, digit in 0..62_usize) {
        let text = AccessToken::from_randomness(bytes).expose();
        let mut wrong = text.as_bytes().to_vec();
        wrong[at] = BASE62[digit];
        let wrong = String::from_utf8(wrong).unwrap();
        prop_assert_eq!(AccessToken::parse(&wrong).is_ok(), wrong == *text);
        let mut swapped = text.as_bytes().to_vec();
        swapped.swap(at, at - 1);
        let swapped = String::from_utf8(swapped).unwrap();
        prop_assert_eq!(AccessToken::parse(&swapped).is_ok(), swapped == *text);
    }
}
