//! Answers of `OpenRouter`'s API, beside `serde_json`.

use shared::{
    metering::money::Usd,
    upstream::openrouter::{Generation, fuzzing},
};
use url::Url;

use crate::{
    json::{members, trimmed},
    planted,
};

/// A cost is taken only if it is whole, and then it is what the answer says.
pub(crate) fn generation(data: &[u8]) {
    let mut read = fuzzing::generation(data);
    if planted()
        && let Some(generation) = &mut read
        && generation.is_byok == Some(true)
    {
        generation.upstream_inference_cost = None;
    }
    let text = str::from_utf8(data).map(trimmed);
    let fields = text.ok().and_then(fields);
    let Some(fields) = fields else {
        assert_eq!(read, None, "of no object");
        return;
    };
    if fields.iter().any(|(name, _)| count(&fields, name) > 1) {
        return;
    }
    let one = |name: &str| {
        let field = fields.iter().find(|(it, _)| it == name);
        field.map(|(_, value)| *value).filter(|it| *it != "null")
    };
    let amount = |name: &str| one(name).and_then(|value| Usd::from_json(value).ok());
    let (cost, upstream) = (amount("total_cost"), amount("upstream_inference_cost"));
    let is_byok = one("is_byok").and_then(|value| value.parse::<bool>().ok());
    match read {
        Some(generation) => {
            assert_eq!(Some(generation.cost), cost);
            assert_eq!(generation.upstream_inference_cost, upstream);
            assert_eq!(generation.is_byok, is_byok);
            assert_eq!(is_byok.is_some(), one("is_byok").is_some(), "unreadable");
            is_whole(&generation);
            let tokens = |name: &str| one(name).and_then(|value| value.parse::<u64>().ok());
            let plain = tokens("native_tokens_prompt").or(tokens("tokens_prompt"));
            assert!(plain.is_none() || generation.input_tokens.is_some());
            let model = one("model").and_then(|it| serde_json::from_str::<String>(it).ok());
            assert_eq!(generation.model, model);
        }
        // Half a character anywhere makes it no JSON.
        None if text.is_ok_and(|text| text.contains("\\u")) => {}
        None => {
            let is_whole = match is_byok {
                Some(true) => {
                    upstream.is_some_and(|it| cost.and_then(|c| c.checked_add(it)).is_some())
                }
                Some(false) => true,
                None => one("is_byok").is_none() && cost.is_some_and(|cost| cost > Usd::ZERO),
            };
            assert!(cost.is_none() || !is_whole, "refused: {text:?}");
        }
    }
}

fn is_whole(generation: &Generation) {
    if generation.is_byok == Some(true) {
        let upstream = generation.upstream_inference_cost.expect("the whole");
        assert_eq!(
            generation.cost.checked_add(upstream),
            Some(generation.charge())
        );
    } else {
        assert_eq!(generation.charge(), generation.cost);
    }
}

fn count(fields: &[(String, &str)], name: &str) -> usize {
    fields.iter().filter(|(it, _)| it == name).count()
}

/// The fields of the one `data`.
fn fields(text: &str) -> Option<Vec<(String, &str)>> {
    let mut data = members(text)?
        .into_iter()
        .filter(|(name, _)| name == "data");
    let (_, value) = data.next()?;
    if data.next().is_some() {
        return None;
    }
    members(value)
}

/// A made key fits a header, and its hash a path.
pub(crate) fn made_key(data: &[u8]) {
    let Some(made) = fuzzing::made_key(data) else {
        return;
    };
    let (mut hash, key) = (made.hash.as_str().to_owned(), made.key.expose_secret());
    if planted() {
        hash.push('/');
    }
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    assert!(
        (1..=128).contains(&hash.len()) && hash.bytes().all(fits),
        "{hash}"
    );
    assert!(key.len() <= 512 && key.bytes().all(|byte| byte.is_ascii_graphic()));
    let url = Url::parse(&format!("https://openrouter.ai/keys/{hash}")).unwrap();
    assert_eq!(url.path(), format!("/keys/{hash}"));
    let text = str::from_utf8(data).map(trimmed).expect("JSON is UTF-8");
    let fields = members(text).expect("an object");
    let is_it = |(name, value): &(String, &str)| {
        name == "key" && serde_json::from_str::<String>(value).is_ok_and(|it| it == key)
    };
    assert!(fields.iter().any(is_it));
}
