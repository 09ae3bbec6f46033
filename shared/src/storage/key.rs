//! The gateway's own credential for the storage.

use std::fmt;

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{AUTHORIZATION, InvalidHeaderValue},
};
use thiserror::Error;

const APIKEY: HeaderName = HeaderName::from_static("apikey");

/// The storage's secret key: `sb_secret_…`, or a JWT with the role `service_role`.
///
/// Supabase refuses an `sb_secret_…` in `Authorization` (it is no JWT), while a bare `PostgREST`
/// reads nothing but `Authorization`: a JWT goes into both headers, anything else into `apikey`
/// alone. <https://supabase.com/docs/guides/api/api-keys>
#[derive(Clone)]
pub struct StorageKey {
    apikey: HeaderValue,
    authorization: Option<HeaderValue>,
}

/// The configured text cannot be a key: empty, or not the value of an HTTP header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the storage key is empty or holds characters that no HTTP header can carry")]
pub struct InvalidStorageKey;

impl StorageKey {
    /// Reads a key; white space around it is dropped.
    pub fn parse(text: &str) -> Result<Self, InvalidStorageKey> {
        let text = text.trim();
        if text.is_empty() {
            return Err(InvalidStorageKey);
        }
        let is_jwt = text.starts_with("eyJ");
        Ok(Self {
            apikey: sensitive(text)?,
            authorization: is_jwt
                .then(|| sensitive(&format!("Bearer {text}")))
                .transpose()?,
        })
    }

    /// Adds the credentials to a request. The values are marked sensitive.
    pub(super) fn apply(&self, headers: &mut HeaderMap) {
        headers.insert(APIKEY, self.apikey.clone());
        if let Some(bearer) = &self.authorization {
            headers.insert(AUTHORIZATION, bearer.clone());
        }
    }
}

impl fmt::Debug for StorageKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StorageKey(…)")
    }
}

fn sensitive(text: &str) -> Result<HeaderValue, InvalidStorageKey> {
    let mut value =
        HeaderValue::from_str(text).map_err(|_: InvalidHeaderValue| InvalidStorageKey)?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(key: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        StorageKey::parse(key).unwrap().apply(&mut headers);
        headers
    }

    #[test]
    fn a_secret_key_is_never_a_bearer_token() {
        let headers = headers(" sb_secret_abc\n");
        assert_eq!(headers["apikey"], "sb_secret_abc");
        assert!(headers.get(AUTHORIZATION).is_none());
    }

    #[test]
    fn a_jwt_goes_into_both_headers() {
        let headers = headers("eyJhbGciOi.e30.c2ln");
        assert_eq!(headers["apikey"], "eyJhbGciOi.e30.c2ln");
        assert_eq!(headers[AUTHORIZATION], "Bearer eyJhbGciOi.e30.c2ln");
    }

    #[test]
    fn nonsense_is_no_key() {
        for text in ["", " \n", "a\nb", "a\0b"] {
            assert_eq!(StorageKey::parse(text).unwrap_err(), InvalidStorageKey);
        }
    }

    #[test]
    fn nothing_prints_it() {
        let key = StorageKey::parse("eyJplanted").unwrap();
        let mut headers = HeaderMap::new();
        key.apply(&mut headers);
        assert!(!format!("{key:?} {headers:?}").contains("planted"));
    }
}
