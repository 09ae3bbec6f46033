//! The link that asks for a token, and the sealed token that answers it.

use anyhow::{Context as _, Result, bail};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    agreement::{ECDH_P256, EphemeralPrivateKey, UnparsedPublicKey, agree_ephemeral},
    hkdf::{HKDF_SHA256, Salt},
    rand::SystemRandom,
};
use shared::identity::signing::Audience;
use zeroize::Zeroizing;

use crate::commands::tokens::scope::BudgetArg;

const VERSION: &str = "1";
const INFO: &[u8] = b"llm-gateway-approval:1";
/// An uncompressed point of P-256.
const POINT_LEN: usize = 65;

/// The parameters of a link.
pub(super) struct LinkParameters<'a> {
    pub(super) name: &'a str,
    pub(super) key: &'a [u8],
    pub(super) state: &'a str,
    pub(super) budget: Option<BudgetArg>,
    pub(super) models: &'a [String],
    pub(super) expires: &'a str,
    pub(super) callback: Option<&'a str>,
}

impl LinkParameters<'_> {
    /// The address of the page. Everything is in the fragment, which no server sees.
    pub(super) fn link(&self, gateway: &Audience) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query
            .append_pair("v", VERSION)
            .append_pair("name", self.name)
            .append_pair("key", &BASE64_URL_SAFE_NO_PAD.encode(self.key))
            .append_pair("state", self.state)
            .append_pair("expires", self.expires);
        if let Some(BudgetArg::Of(amount, period)) = self.budget {
            query.append_pair("budget", &format!("{amount}/{}", period.as_str()));
        }
        if !self.models.is_empty() {
            query.append_pair("models", &self.models.join(","));
        }
        if let Some(callback) = self.callback {
            query.append_pair("callback", callback);
        }
        format!("{gateway}/console/approve#{}", query.finish())
    }
}

/// A key pair for one token. Its randomness is the library's own.
pub(super) struct Ephemeral {
    private: EphemeralPrivateKey,
    public: Vec<u8>,
}

impl Ephemeral {
    pub(super) fn generate() -> Result<Self> {
        let random = SystemRandom::new();
        let generated = EphemeralPrivateKey::generate(&ECDH_P256, &random);
        let private = generated.ok().context("no key could be generated")?;
        let public = private.compute_public_key();
        let public = public.ok().context("no key could be generated")?;
        Ok(Self {
            private,
            public: public.as_ref().to_vec(),
        })
    }

    /// The public half, an uncompressed point.
    pub(super) fn public_key(&self) -> &[u8] {
        &self.public
    }

    /// Opens a sealed token.
    pub(super) fn open(self, sealed: &str, state: &str) -> Result<Zeroizing<String>> {
        let sealed = BASE64_URL_SAFE_NO_PAD.decode(sealed)?;
        let (point, rest) = sealed
            .split_at_checked(POINT_LEN)
            .context("it is too short")?;
        let theirs = UnparsedPublicKey::new(&ECDH_P256, point);
        let opened = agree_ephemeral(self.private, &theirs, |shared| {
            open(shared, point, &self.public, rest, state)
        });
        opened.ok().context("it has no key")?
    }
}

/// Opens nonce and ciphertext with the shared secret of both keys.
fn open(
    shared: &[u8],
    page: &[u8],
    program: &[u8],
    sealed: &[u8],
    state: &str,
) -> Result<Zeroizing<String>> {
    let (nonce, ciphertext) = sealed
        .split_at_checked(NONCE_LEN)
        .context("it is too short")?;
    let salt = Salt::new(HKDF_SHA256, &[page, program].concat());
    let secret = salt.extract(shared);
    let key = secret.expand(&[INFO], &AES_256_GCM).ok();
    let key = LessSafeKey::new(UnboundKey::from(key.context("no key")?));
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok();
    let nonce = nonce.context("it has no nonce")?;
    let mut text = Zeroizing::new(ciphertext.to_vec());
    let opened = key.open_in_place(nonce, Aad::from(state.as_bytes()), &mut text);
    let Ok(token) = opened else {
        bail!("it was sealed for another program, or changed");
    };
    let token = std::str::from_utf8(token).context("it is no text")?;
    Ok(Zeroizing::new(token.to_owned()))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn bytes(value: &Value) -> Vec<u8> {
        BASE64_URL_SAFE_NO_PAD
            .decode(value.as_str().unwrap())
            .unwrap()
    }

    /// The console seals so (`clients/console/test/approval.test.ts` reads the same file).
    #[test]
    fn the_vector_opens_and_nothing_else_does() {
        let vector: Value =
            serde_json::from_str(include_str!("../../../../../shared/testdata/approval.json"))
                .unwrap();
        let (shared, sealed) = (bytes(&vector["shared_secret"]), bytes(&vector["sealed"]));
        let program = bytes(&vector["program"]["key"]);
        let state = vector["state"].as_str().unwrap();
        let (page, rest) = sealed.split_at(POINT_LEN);
        let token = open(&shared, page, &program, rest, state).unwrap();
        assert_eq!(*token, vector["token"].as_str().unwrap());
        assert!(open(&shared, page, &program, rest, "another state").is_err());
        assert!(open(&shared, &program, page, rest, state).is_err());
        for at in 0..rest.len() {
            let mut changed = rest.to_vec();
            changed[at] ^= 1;
            assert!(
                open(&shared, page, &program, &changed, state).is_err(),
                "{at}"
            );
        }
        assert!(open(&shared, page, &program, &rest[..11], state).is_err());
    }

    #[test]
    fn a_link_has_everything_in_its_fragment() {
        let ephemeral = Ephemeral::generate().unwrap();
        let parameters = LinkParameters {
            name: "a & b",
            key: ephemeral.public_key(),
            state: "0123456789abcdef",
            budget: Some("5/day".parse().unwrap()),
            models: &["openai/*".to_owned(), "a/b".to_owned()],
            expires: "30d",
            callback: Some("http://127.0.0.1:4000/x"),
        };
        let link = parameters.link(&Audience::parse("https://gw.example.com/llm").unwrap());
        let (page, fragment) = link.split_once('#').unwrap();
        assert_eq!(page, "https://gw.example.com/llm/console/approve");
        let pairs: Vec<_> = form_urlencoded::parse(fragment.as_bytes()).collect();
        let value = |wanted: &str| &pairs.iter().find(|(name, _)| name == wanted).unwrap().1;
        assert_eq!(value("name"), "a & b");
        assert_eq!(value("budget"), "5/day");
        assert_eq!(value("models"), "openai/*,a/b");
        assert_eq!(value("callback"), "http://127.0.0.1:4000/x");
        assert_eq!(value("key").len(), 87);
    }

    #[test]
    fn a_code_for_another_key_does_not_open() {
        let sealed = BASE64_URL_SAFE_NO_PAD.encode([4; 150]);
        for code in ["", "AAAA", "not a code!", sealed.as_str()] {
            let ephemeral = Ephemeral::generate().unwrap();
            assert!(ephemeral.open(code, "state").is_err(), "{code}");
        }
    }
}
