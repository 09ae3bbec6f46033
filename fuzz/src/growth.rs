//! The time that functions over outside text take, by the length of the text.

use std::hint::black_box;

use http::{HeaderMap, HeaderValue, Method, header};
use jiff::Timestamp;
use llmgw::{fuzzing as command_line, target::Target};
use rustix::time::{ClockId, clock_gettime};
use shared::{
    accounting::usage::{RequestsQuestion, SummaryQuestion},
    credentials::keys::ProvisionKeyBody,
    identity::{
        canonical::{CanonicalPath, CanonicalQuery},
        did::DidUrl,
        signing::{Audience, Nonce, SignedAt, parse_signature},
    },
    metering::{
        json_scan::decode_string,
        meter::{AnswerFormat, BodyEnd, JobMeter, Meter},
        money::Usd,
    },
    request::RawQuery,
    strict_json,
    upstream::{
        endpoint::{AllowedFamilies, Route},
        openrouter::{forwarded_headers, fuzzing as openrouter, returned_headers},
        payload::Payload,
    },
    vault::{
        keyset::Keyset,
        secret::{SealedKey, clipped_without_keys, without_keys},
    },
};

use crate::{input::Fields, planted};

type Function = fn(&str);

/// Every function over text from outside.
const FUNCTIONS: [(&str, Function); 34] = [
    ("path", |text| keep(CanonicalPath::from_raw(text))),
    ("query", |text| keep(query(text))),
    ("route", |text| {
        let path = format!("/api/v1/openrouter/{text}");
        keep(Route::parse(
            &Method::POST,
            &path,
            &AllowedFamilies::default(),
        ));
    }),
    ("json meter", |text| {
        meter(AnswerFormat::Json, [text.as_bytes()]);
    }),
    ("json meter in pieces", |text| {
        meter(AnswerFormat::Json, text.as_bytes().chunks(3));
    }),
    ("stream meter", |text| {
        meter(AnswerFormat::EventStream, [text.as_bytes()]);
    }),
    ("stream meter in pieces", |text| {
        meter(AnswerFormat::EventStream, text.as_bytes().chunks(3));
    }),
    ("job", |text| {
        let mut meter = JobMeter::default();
        meter.feed(text.as_bytes());
        keep(meter.finish().cost());
    }),
    ("content type", |text| keep(AnswerFormat::of(Some(text)))),
    ("did", |text| {
        keep(DidUrl::parse(text).map(|url| url.public_key().is_ok()));
    }),
    ("audience", |text| keep(Audience::parse(text))),
    ("nonce", |text| keep(Nonce::parse(text))),
    ("timestamp", |text| keep(SignedAt::parse(text))),
    ("signature", |text| keep(parse_signature(text))),
    ("money", |text| keep(text.parse::<Usd>())),
    ("payload", |text| {
        keep(Payload::read(&HeaderMap::new(), text.as_bytes()));
    }),
    ("usage", |text| {
        if let Ok(query) = query(text) {
            let headers = HeaderMap::new();
            keep(RequestsQuestion::read(&query, &headers));
            keep(SummaryQuestion::read(
                &query,
                &headers,
                Timestamp::UNIX_EPOCH,
            ));
        }
    }),
    ("accept", |text| {
        let headers = headers(header::ACCEPT, text);
        keep(RequestsQuestion::read(&CanonicalQuery::default(), &headers));
    }),
    ("keyset", |text| keep(Keyset::parse(text).is_ok())),
    ("sealed key", |text| keep(text.parse::<SealedKey>())),
    ("without keys", |text| keep(without_keys(text))),
    ("clipped", |text| keep(clipped_without_keys(text, 64))),
    ("key body", |text| {
        keep(ProvisionKeyBody::from_body(text.as_bytes()).is_ok());
    }),
    ("strict json", |text| {
        keep(strict_json::from_str::<
            serde_json::Map<String, serde_json::Value>,
        >(text));
    }),
    ("generation", |text| {
        keep(openrouter::generation(text.as_bytes()));
    }),
    ("made key", |text| {
        keep(openrouter::made_key(text.as_bytes()));
    }),
    ("forwarded headers", |text| {
        keep(forwarded_headers(&headers(header::CONNECTION, text)));
    }),
    ("returned headers", |text| {
        keep(returned_headers(&headers(header::CONNECTION, text)));
    }),
    ("sent headers", |text| {
        keep(command_line::serve::sent(&headers(
            header::CONNECTION,
            text,
        )));
    }),
    ("event", |text| {
        keep(adapter::fuzzing::event(text.as_bytes()).is_ok());
    }),
    ("records", |text| keep(command_line::restore::find(text))),
    ("markdown", |text| keep(command_line::render([text]))),
    ("target", |text| keep(text.parse::<Target>())),
    ("string", |text| keep(decode_string(text.as_bytes()))),
];

/// The time for each byte does not grow with the text, which is `prefix ‖ unit, many times ‖ suffix`.
///
/// Two short runs decide, most of the time. Where the time grows, the least of five runs of each length count:
/// the processor time of this thread, which other programs do not lengthen.
pub(crate) fn linear(data: &[u8]) {
    let Some((which, rest)) = data.split_first() else {
        return;
    };
    let fields = Fields::of(rest);
    let (prefix, unit, suffix) = (fields.text(0), fields.text(1), fields.text(2));
    if unit.is_empty() || unit.len() > 64 || prefix.len() + suffix.len() > 512 {
        return;
    }
    let (name, function) = FUNCTIONS[usize::from(*which) % FUNCTIONS.len()];
    let of_length = |bytes: usize| format!("{prefix}{}{suffix}", repeated(&unit, bytes));
    let [short, long] = [1, 8].map(|kilobytes| of_length(kilobytes * 1024));
    if !grows(
        per_byte(function, &short, 1),
        per_byte(function, &long, 1),
        3.0,
    ) {
        return;
    }
    let longest = of_length(32 * 1024);
    let [short, long, longest] = [&short, &long, &longest].map(|text| per_byte(function, text, 5));
    let is_linear = !grows(short, long, 3.0) || !grows(long, longest, 2.0);
    assert!(
        is_linear,
        "{name}: {short:.1} ns/byte at 1 KiB, {long:.1} at 8 KiB, {longest:.1} at 32 KiB: \
         {prefix:?} ‖ {unit:?}× ‖ {suffix:?}"
    );
}

fn grows(before: f64, after: f64, factor: f64) -> bool {
    after > factor * before
}

/// So many units; each byte 1 in them is a number, so that no two units are equal.
fn repeated(unit: &str, bytes: usize) -> String {
    let count = (bytes / unit.len()).max(1);
    if unit.contains('\u{1}') {
        (0..count)
            .map(|number| unit.replace('\u{1}', &number.to_string()))
            .collect()
    } else {
        unit.repeat(count)
    }
}

/// Nanoseconds for each byte, the least of so many runs.
fn per_byte(function: Function, text: &str, runs: usize) -> f64 {
    let run = |_| {
        let start = nanoseconds();
        function(text);
        if planted() {
            // As the masking of keys once was: the end of each word is sought from every part of it.
            let seeks = |(at, _): &(usize, &str)| text[*at..].contains('\0');
            keep(text.match_indices('"').filter(seeks).count());
        }
        nanoseconds() - start
    };
    (0..runs).map(run).fold(f64::MAX, f64::min) / precise(text.len())
}

/// The processor time of this thread.
fn nanoseconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let whole = time.tv_sec * 1_000_000_000 + time.tv_nsec;
    precise(usize::try_from(whole).unwrap_or_default())
}

#[expect(
    clippy::cast_precision_loss,
    reason = "times are not as precise anyway"
)]
fn precise(number: usize) -> f64 {
    number as f64
}

fn keep<T>(value: T) {
    black_box(value);
}

fn query(text: &str) -> Result<CanonicalQuery, impl Sized> {
    CanonicalQuery::from_raw(&RawQuery::Encoded(text.to_owned()))
}

fn headers(name: header::HeaderName, text: &str) -> HeaderMap {
    let value = HeaderValue::from_str(text).ok();
    value.map(|value| (name, value)).into_iter().collect()
}

fn meter<'a>(format: AnswerFormat, pieces: impl IntoIterator<Item = &'a [u8]>) {
    let mut meter = Meter::new(format);
    for piece in pieces {
        meter.feed(piece);
    }
    keep(meter.finish(BodyEnd::Clean));
}
