//! The cursor that clients hand back for the next page.
//!
//! base64url without padding of 33 bytes:
//!
//! ```text
//! 01 ‖ request_time, microseconds since 1970, i64 ‖ id, 16 bytes ‖ digest of the question, 8 bytes
//! ```
//!
//! It is no secret and needs no signature: it can only name a place in the caller's own requests.
//! The digest is there because a cursor of one question answers nothing about another.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::{
    identity::canonical::CanonicalQuery,
    request::RawQuery,
    storage::{Period, Place, RequestFilter},
};

/// The parameter's name.
pub(super) const CURSOR: &str = "cursor";

const VERSION: u8 = 1;

/// The first bytes of a hash of what is asked, but for the page.
pub(super) fn digest(period: Period, filter: &RequestFilter) -> [u8; 8] {
    let question = serde_json::to_vec(&(period, filter)).unwrap_or_default();
    let hash: [u8; 32] = Sha256::digest(question).into();
    hash.first_chunk().copied().unwrap_or_default()
}

/// Writes a place in the answer to a question.
pub(super) fn encode(place: Place, question: [u8; 8]) -> String {
    let mut bytes = vec![VERSION];
    bytes.extend(place.request_time.as_microsecond().to_be_bytes());
    bytes.extend(place.id.as_bytes());
    bytes.extend(question);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Reads a place in the answer to this question.
pub(super) fn decode(text: &str, question: [u8; 8]) -> Option<Place> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let (version, rest) = bytes.split_first()?;
    let (time, rest) = rest.split_first_chunk()?;
    let (id, asked) = rest.split_first_chunk()?;
    if *version != VERSION || asked != question {
        return None;
    }
    Some(Place {
        request_time: Timestamp::from_microsecond(i64::from_be_bytes(*time)).ok()?,
        id: Uuid::from_bytes(*id),
    })
}

/// The query of the page that begins at `cursor`: `query` with that cursor in place of its own.
pub(super) fn query_with(query: &CanonicalQuery, cursor: String) -> Option<String> {
    let mut pairs: Vec<_> = query
        .pairs()
        .filter(|(name, _)| name != CURSOR)
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect();
    pairs.push((CURSOR.to_owned(), cursor));
    let next = CanonicalQuery::from_raw(&RawQuery::Decoded(pairs)).ok()?;
    Some(next.as_str().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(time: &str) -> Place {
        Place {
            request_time: time.parse().unwrap(),
            id: Uuid::from_u128(0x0123_4567_89ab_cdef),
        }
    }

    #[test]
    fn a_place_comes_back() {
        for time in ["2026-11-23T00:30:19.165Z", "1969-12-31T23:59:59.999999Z"] {
            let cursor = encode(place(time), [7; 8]);
            assert_eq!(decode(&cursor, [7; 8]), Some(place(time)));
            assert_eq!(cursor.len(), 44);
        }
    }

    #[test]
    fn another_question_or_text_is_refused() {
        let cursor = encode(place("2026-11-23T00:00:00Z"), [7; 8]);
        assert_eq!(decode(&cursor, [8; 8]), None);
        for text in [
            "",
            "x",
            "AQ",
            &cursor[1..],
            &format!("{cursor}A"),
            &format!("{cursor}AAAA"),
            &cursor.replacen("AQ", "Ag", 1),
            &encode_bytes(&[1; 32]),
        ] {
            assert_eq!(decode(text, [7; 8]), None, "{text}");
        }
        let late = [
            vec![1],
            i64::MAX.to_be_bytes().to_vec(),
            vec![0; 16],
            vec![7; 8],
        ]
        .concat();
        assert_eq!(decode(&encode_bytes(&late), [7; 8]), None);
    }

    #[test]
    fn the_digest_is_of_period_and_filter() {
        let filter = RequestFilter::default();
        let of = digest(Period::default(), &filter);
        let model = RequestFilter {
            model: Some("m".to_owned()),
            ..filter.clone()
        };
        let endpoint = RequestFilter {
            endpoint: Some("m".to_owned()),
            ..filter
        };
        let later = Period {
            start: Some(Timestamp::UNIX_EPOCH),
            end: None,
        };
        assert_ne!(of, digest(Period::default(), &model));
        assert_ne!(
            digest(Period::default(), &endpoint),
            digest(Period::default(), &model)
        );
        assert_ne!(of, digest(later, &RequestFilter::default()));
        assert_eq!(of, digest(Period::default(), &RequestFilter::default()));
    }

    fn encode_bytes(bytes: &[u8]) -> String {
        URL_SAFE_NO_PAD.encode(bytes)
    }
}
