//! Authentication as a whole.

use std::sync::LazyLock;

use bytes::Bytes;
use data_encoding::{BASE64, BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD, HEXLOWER, HEXUPPER};
use ed25519_dalek::SigningKey;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use jiff::Timestamp;
use serde_json::json;
use sha2::{Digest, Sha256};
use shared::{
    identity::{
        auth::{Audiences, Authenticated, authenticate},
        canonical::{CanonicalPath, CanonicalQuery},
        did::{Did, DidUrl},
        signing::{
            self, Audience, BodyDigest, Nonce, SignedAt, SignedParts, SigningString,
            parse_signature, rfc9421, sign,
        },
    },
    request::{Incoming, RawQuery},
};

use crate::{canonical::expected_path, input::Fields, planted};

const AUDIENCES: [&str; 4] = [
    "https://gw.example.com",
    "https://h.example.com/Prod",
    "http://127.0.0.1:9000",
    "https://gw.example.com/api",
];
const NOW: i64 = 1_735_689_600;
/// The order of Ed25519's group, little-endian: a signature's second half has another spelling with it added.
const ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

static KEY: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::from_bytes(&[7; 32]));
static GATEWAY: LazyLock<Audiences> = LazyLock::new(|| {
    Audiences::new(AUDIENCES.map(|it| Audience::parse(it).unwrap()).to_vec()).unwrap()
});

/// The changes on the way, one bit each.
#[derive(Clone, Copy)]
struct Flags([u8; 4]);

impl Flags {
    fn has(self, bit: usize) -> bool {
        self.0[bit / 8] >> (bit % 8) & 1 == 1
    }
}

/// A request as a client signs it.
struct Signed {
    did: DidUrl,
    at: SignedAt,
    audience: Audience,
    method: Method,
    path: CanonicalPath,
    query: CanonicalQuery,
    /// The query as it is sent.
    raw_query: String,
    body: Vec<u8>,
    nonce: Option<Nonce>,
    text: String,
    signature: [u8; 64],
    headers: HeaderMap,
}

/// A request passes only if every part of it that is signed is the one that was signed, with that very signature; and
/// if nothing was changed on the way, it passes.
pub(crate) fn only_the_signed_request_passes(data: &[u8]) {
    let Some((flags, rest)) = data.split_first_chunk() else {
        return;
    };
    let flags = Flags(*flags);
    let fields = Fields::of(rest);
    let signed = Signed::read(flags, &fields);
    let Some((request, is_changed)) = signed.sent(flags, &fields) else {
        return;
    };
    let offset = if flags.has(14) {
        i64::from(i16::from_le_bytes([flags.0[0], flags.0[1]]))
    } else {
        0
    };
    let now = Timestamp::from_second(NOW + offset).unwrap();
    match authenticate(&request, &GATEWAY, 1 << 20, now) {
        Ok(authenticated) => {
            assert!(offset.abs() <= 300);
            signed.is(&request, &authenticated);
        }
        Err(error) => {
            assert!(!error.to_string().is_empty() && !error.reason().is_empty());
            assert!(is_changed || offset != 0, "refused: {error}; {request:?}");
        }
    }
}

impl Signed {
    fn read(flags: Flags, fields: &Fields<'_>) -> Self {
        let key = Did::from_public_key(&KEY.verifying_key().into());
        let jwk = json!({
            "crv": "Ed25519",
            "kty": "OKP",
            "x": BASE64URL_NOPAD.encode(KEY.verifying_key().as_bytes()),
        });
        let jwk = BASE64URL_NOPAD.encode(jwk.to_string().as_bytes());
        let did = match flags.0[3] & 3 {
            0 => key.to_string(),
            1 => format!("{key}#{}", key.as_str().trim_start_matches("did:key:")),
            2 => format!("did:jwk:{jwk}"),
            _ => format!("did:jwk:{jwk}#0"),
        };
        let timestamp = if flags.has(0) {
            NOW.to_string()
        } else {
            format!("{NOW}250")
        };
        let default_path = "/api/v1/openrouter/chat/completions";
        let path = CanonicalPath::from_raw(&fields.text(0));
        let raw_query = fields.text(1);
        let query = CanonicalQuery::from_raw(&RawQuery::Encoded(raw_query.clone()));
        let mut signed = Self {
            did: DidUrl::parse(&did).unwrap(),
            at: SignedAt::parse(&timestamp).unwrap(),
            audience: Audience::parse(AUDIENCES[usize::from(flags.0[3] >> 2 & 3)]).unwrap(),
            method: Method::from_bytes(fields.bytes(4)).unwrap_or(Method::POST),
            path: path.unwrap_or_else(|_| CanonicalPath::from_raw(default_path).unwrap()),
            raw_query: if query.is_ok() {
                raw_query
            } else {
                String::new()
            },
            query: query.unwrap_or_default(),
            body: fields.bytes(2).to_vec(),
            nonce: Nonce::parse(&fields.text(3)).ok(),
            text: String::new(),
            signature: [0; 64],
            headers: HeaderMap::new(),
        };
        signed.sign();
        signed
    }

    fn sign(&mut self) {
        let parts = SignedParts {
            audience: &self.audience,
            did: &self.did,
            signed_at: &self.at,
            nonce: self.nonce.as_ref(),
            method: &self.method,
            path: &self.path,
            query: &self.query,
            body: BodyDigest::of(&self.body),
        };
        let text = SigningString::new(&parts).as_str().to_owned();
        let lines: Vec<&str> = text.split('\n').collect();
        let expected = [
            "x-did-v1",
            self.audience.as_str(),
            &self.did.to_string(),
            self.at.as_str(),
            self.nonce.as_ref().map_or("", Nonce::as_str),
            self.method.as_str(),
            self.path.as_str(),
            self.query.as_str(),
            &hex::encode(Sha256::digest(&self.body)),
        ];
        assert_eq!(lines, expected, "nine lines, and they are the parts");
        let headers = sign(&KEY, &parts);
        self.signature = parse_signature(&headers.signature).unwrap().to_bytes();
        let mut map = HeaderMap::new();
        headers.apply(&mut map).unwrap();
        self.headers = map;
        self.text = text;
    }

    /// The request as it arrives, and whether it may differ from the signed one.
    fn sent(&self, flags: Flags, fields: &Fields<'_>) -> Option<(Incoming, bool)> {
        let placement = flags.0[3] >> 4 & 3;
        let mut request = Incoming {
            method: self.method.clone(),
            raw_path: match placement {
                0 => self.path.to_string(),
                1 => format!("{}{}", self.audience.path(), self.path),
                2 => format!("/stage{}", self.path),
                _ => escaped(self.path.as_str()),
            },
            stage: (placement == 2).then(|| "stage".to_owned()),
            query: if flags.has(30) {
                let pairs = self.query.pairs();
                let mut pairs: Vec<(String, String)> = pairs
                    .map(|(name, value)| (name.into_owned(), value.into_owned()))
                    .collect();
                pairs.reverse();
                RawQuery::Decoded(pairs)
            } else {
                RawQuery::Encoded(self.raw_query.clone())
            },
            headers: self.headers.clone(),
            body: Bytes::from(self.body.clone()),
        };
        let mut is_changed = change_parts(&mut request, flags, fields);
        let mut signature = self.signature;
        if flags.has(7) {
            let bit = usize::from(fields.bytes(10).first().copied().unwrap_or_default());
            signature[bit % 64] ^= 1 << (bit / 64);
            is_changed = true;
        }
        if flags.has(8) {
            add_order(&mut signature);
            is_changed = true;
        }
        let spelling = flags.0[2] >> 4 & 7;
        is_changed |= spelling == 7;
        let value = match spelling {
            0 => BASE64URL_NOPAD.encode(&signature),
            1 => BASE64.encode(&signature),
            2 => HEXLOWER.encode(&signature),
            3 => format!("v1={}", BASE64URL.encode(&signature)),
            4 => HEXUPPER.encode(&signature),
            5 => format!("v1={}", BASE64_NOPAD.encode(&signature)),
            6 => BASE64URL.encode(&signature),
            _ => fields.text(11),
        };
        let value = HeaderValue::from_str(&value).ok()?;
        request.headers.insert(signing::SIGNATURE, value);
        is_changed |= change_headers(&mut request.headers, flags, fields);
        Some((request, is_changed))
    }

    /// The request that passed is the one that was signed.
    fn is(&self, request: &Incoming, authenticated: &Authenticated) {
        let header = |name: &str| {
            let value = request.headers.get(name);
            value.map(|value| value.to_str().unwrap().to_owned())
        };
        let did = header(signing::DID).expect("a DID");
        assert_eq!(did, self.did.to_string());
        assert_eq!(
            header(signing::TIMESTAMP).as_deref(),
            Some(self.at.as_str())
        );
        let nonce = self.nonce.as_ref().map(Nonce::as_str);
        assert_eq!(header(signing::NONCE).as_deref(), nonce);
        let signature = parse_signature(&header(signing::SIGNATURE).unwrap()).unwrap();
        assert_eq!(signature.to_bytes(), self.signature, "a second signature");
        let mut body = request.body.clone();
        if planted() && request.method == Method::PUT {
            body = Bytes::from_static(b"planted");
        }
        assert_eq!(
            (&request.method, body),
            (&self.method, self.body.clone().into())
        );
        assert_eq!(authenticated.path, self.path);
        assert_eq!(authenticated.query, self.query);
        assert_eq!(authenticated.caller.did(), self.did.did());
        let fingerprint = authenticated.caller.fingerprint();
        assert_eq!(fingerprint.as_bytes()[..], Sha256::digest(&self.text)[..]);

        let arrived = expected_path(&request.raw_path).expect("a canonical path");
        let below = |prefix: &str| {
            let rest = arrived.strip_prefix(prefix)?;
            let rest = if rest.is_empty() { "/" } else { rest };
            rest.starts_with('/').then(|| rest.to_owned())
        };
        let stage = request
            .stage
            .as_ref()
            .and_then(|it| below(&format!("/{it}")));
        let targets = [below(""), below(self.audience.path()), stage];
        let is_it = |target: &Option<String>| target.as_deref() == Some(self.path.as_str());
        assert!(targets.iter().any(is_it), "{arrived} is not {}", self.path);
    }
}

/// Changes what is signed; whether it did.
fn change_parts(request: &mut Incoming, flags: Flags, fields: &Fields<'_>) -> bool {
    let mut is_changed = false;
    if flags.has(1) {
        request.raw_path = fields.text(5);
        is_changed = true;
    }
    if flags.has(2) {
        request.stage = Some(fields.text(6));
        is_changed = true;
    }
    if flags.has(3) {
        request.query = RawQuery::Encoded(fields.text(7));
        is_changed = true;
    }
    if flags.has(4) {
        let names_and_values = fields.text(7);
        let mut texts = names_and_values.split('\u{1}').map(str::to_owned);
        let pairs = std::iter::from_fn(|| Some((texts.next()?, texts.next()?)));
        request.query = RawQuery::Decoded(pairs.collect());
        is_changed = true;
    }
    if let (true, Ok(method)) = (flags.has(5), Method::from_bytes(fields.bytes(8))) {
        request.method = method;
        is_changed = true;
    }
    if flags.has(6) {
        request.body = Bytes::copy_from_slice(fields.bytes(9));
        is_changed = true;
    }
    is_changed
}

/// Changes the signature's headers; whether it did.
fn change_headers(headers: &mut HeaderMap, flags: Flags, fields: &Fields<'_>) -> bool {
    let mut is_changed = false;
    for (bit, name, field) in [
        (9, signing::DID, 12),
        (10, signing::TIMESTAMP, 13),
        (11, signing::NONCE, 14),
    ] {
        if let (true, Ok(value)) = (flags.has(bit), HeaderValue::from_bytes(fields.bytes(field))) {
            headers.insert(name, value);
            is_changed = true;
        }
    }
    let name = HeaderName::from_bytes(fields.bytes(15));
    let value = HeaderValue::from_bytes(fields.bytes(16));
    if let (true, Ok(name), Ok(value)) = (flags.has(12), name, value) {
        headers.append(name, value);
        is_changed = true;
    }
    if flags.has(13) {
        is_changed |= headers.remove(signing::NONCE).is_some();
    }
    is_changed
}

/// Each byte but the slashes as an escape.
fn escaped(path: &str) -> String {
    let escape = |byte: u8| match byte {
        b'/' => "/".to_owned(),
        _ => format!("%{byte:02x}"),
    };
    path.bytes().map(escape).collect()
}

fn add_order(signature: &mut [u8; 64]) {
    let mut carry = 0;
    for (place, order) in signature[32..].iter_mut().zip(ORDER) {
        let sum = u16::from(*place) + u16::from(order) + carry;
        let [low, high] = sum.to_le_bytes();
        *place = low;
        carry = u16::from(high);
    }
}

/// Headers of message signatures that nobody signed: they are read, and refused with a sentence.
pub(crate) fn no_message_signature_passes(data: &[u8]) {
    let fields = Fields::of(data);
    let mut request = Incoming {
        method: Method::POST,
        raw_path: "/api/v1/openrouter/chat/completions".to_owned(),
        stage: None,
        query: RawQuery::Encoded(fields.text(3)),
        headers: HeaderMap::new(),
        body: Bytes::copy_from_slice(fields.bytes(4)),
    };
    let did = Did::from_public_key(&KEY.verifying_key().into());
    // A right frame around what is searched for, so that it gets as far as the verification.
    let framed = format!(
        "sig=(\"@method\" \"@target-uri\" \"content-digest\" {});created={NOW};nonce=\"n\";keyid=\"{did}\"{}",
        fields.text(0),
        fields.text(1)
    );
    for input in [fields.text(0), framed] {
        for (name, value) in [
            (rfc9421::SIGNATURE_INPUT, input.clone()),
            (
                rfc9421::CONTENT_DIGEST,
                rfc9421::content_digest(&request.body),
            ),
            (
                rfc9421::SIGNATURE,
                format!("sig=:{}:", BASE64.encode(&[1; 64])),
            ),
            (rfc9421::SIGNATURE, fields.text(2)),
            (rfc9421::CONTENT_DIGEST, fields.text(5)),
        ] {
            if let Ok(value) = HeaderValue::from_str(&value) {
                request.headers.insert(name, value);
            }
            let now = Timestamp::from_second(NOW).unwrap();
            let refusal = authenticate(&request, &GATEWAY, 1 << 20, now);
            let refusal = refusal.expect_err("a signature that nobody made");
            assert!(!refusal.to_string().is_empty() && !refusal.reason().is_empty());
            if planted() {
                assert_ne!(refusal.reason(), "invalid_signature");
            }
        }
    }
}
