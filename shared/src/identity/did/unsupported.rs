//! Types of keys that are known by name only.

use std::fmt;

/// A type of key that is recognised only to be named in a refusal.
///
/// Codes: <https://github.com/multiformats/multicodec/blob/master/table.csv>; names of curves in a
/// JWK: RFC 7518 §6.2.1.1, RFC 8037 §2, RFC 8812 §3.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the variants are the names of the key types")]
pub enum UnsupportedKey {
    Secp256k1,
    P384,
    P521,
    X25519,
    Ed448,
    X448,
    Rsa,
    Bls12381,
    Sr25519,
    /// Any other multicodec.
    Multicodec(u64),
    /// Any other `kty` or `crv`.
    OtherJwk,
}

impl UnsupportedKey {
    pub(super) fn from_multicodec(code: u64) -> Self {
        match code {
            0xe7 => Self::Secp256k1,
            0xea | 0xeb | 0xee => Self::Bls12381,
            0xec => Self::X25519,
            0xef => Self::Sr25519,
            0x1201 => Self::P384,
            0x1202 => Self::P521,
            0x1203 => Self::Ed448,
            0x1204 => Self::X448,
            0x1205 => Self::Rsa,
            other => Self::Multicodec(other),
        }
    }

    pub(super) fn from_jwk(kty: &str, crv: Option<&str>) -> Self {
        match (kty, crv) {
            ("RSA", _) => Self::Rsa,
            ("EC", Some("secp256k1")) => Self::Secp256k1,
            ("EC", Some("P-384")) => Self::P384,
            ("EC", Some("P-521")) => Self::P521,
            ("OKP", Some("X25519")) => Self::X25519,
            ("OKP", Some("Ed448")) => Self::Ed448,
            ("OKP", Some("X448")) => Self::X448,
            _ => Self::OtherJwk,
        }
    }
}

impl fmt::Display for UnsupportedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Secp256k1 => "secp256k1",
            Self::P384 => "P-384",
            Self::P521 => "P-521",
            Self::X25519 => "X25519",
            Self::Ed448 => "Ed448",
            Self::X448 => "X448",
            Self::Rsa => "RSA",
            Self::Bls12381 => "BLS12-381",
            Self::Sr25519 => "sr25519",
            Self::Multicodec(code) => return write!(f, "multicodec {code:#x}"),
            Self::OtherJwk => "such JWK",
        })
    }
}
