//! Amounts, beside `bigdecimal`.

use std::str::FromStr;

use bigdecimal::{BigDecimal, Signed, Zero, num_bigint::BigInt};
use shared::metering::money::{MoneyError, Usd};

use crate::{
    input::Fields,
    json::{is_json, trimmed},
    planted,
};

/// The most digits after the point.
const SCALE: i64 = 60;

/// Every digit is kept, sums are exact, the order is that of the numbers, and what is refused is refused for the
/// reason that it has.
pub(crate) fn agrees_with_bigdecimal(data: &[u8]) {
    let mut amounts = Vec::new();
    for text in Fields::of(data).texts().take(4) {
        let mut read = text.parse::<Usd>();
        if planted() && text.contains("e-") {
            read = read.map(|_| Usd::ZERO);
        }
        is_read_from_json(&text, &read);
        let is_number = is_number(&text);
        assert_eq!(is_number, read != Err(MoneyError::NotANumber), "{text:?}");
        if let Some(exact) = exact(&text).filter(|_| is_number) {
            compare(&text, &read, &exact);
            amounts.extend(read.map(|amount| (amount, exact)));
        }
    }
    for (a, exact_a) in &amounts {
        for (b, exact_b) in &amounts {
            assert_eq!(a.cmp(b), exact_a.cmp(exact_b));
            assert_eq!(a == b, exact_a == exact_b);
            let sum = exact_a + exact_b;
            match a.checked_add(*b) {
                Some(total) => assert_eq!(exact(&total.to_string()), Some(sum)),
                None => assert!(sum >= limit()),
            }
        }
    }
}

/// The first amount that is too large.
fn limit() -> BigDecimal {
    BigDecimal::new(BigInt::from(1), -12)
}

fn compare(text: &str, read: &Result<Usd, MoneyError>, exact: &BigDecimal) {
    let exact = exact.normalized();
    let scale = exact.fractional_digit_count();
    match read {
        Ok(amount) => {
            let written = amount.to_string();
            assert_eq!(written, exact.abs().to_plain_string(), "{text}");
            assert_eq!(written.parse::<Usd>().as_ref(), Ok(amount));
            assert_eq!(
                serde_json::to_string(amount).unwrap(),
                format!("\"{written}\"")
            );
            assert_eq!(&serde_json::from_str::<Usd>(text).unwrap(), amount);
        }
        Err(MoneyError::Negative) => assert!(exact.is_negative()),
        Err(MoneyError::TooLarge) => assert!(exact.abs() >= limit(), "{text}"),
        Err(MoneyError::TooPrecise) => assert!(scale > SCALE, "{text}"),
        Err(MoneyError::NotANumber) => panic!("{text} is a number"),
    }
    let fits = !exact.is_negative() && exact < limit() && scale <= SCALE;
    if exact.is_zero() || fits {
        assert!(read.is_ok(), "{text}: {read:?}");
    }
}

/// In JSON an amount is a number or a string of one.
fn is_read_from_json(text: &str, read: &Result<Usd, MoneyError>) {
    let expected = if text.starts_with('"') {
        serde_json::from_str::<String>(text).is_ok_and(|text| text.parse::<Usd>().is_ok())
    } else {
        read.is_ok()
    };
    assert_eq!(Usd::from_json(text).is_ok(), expected, "{text:?}");
}

fn is_number(text: &str) -> bool {
    text.starts_with(|first: char| first == '-' || first.is_ascii_digit())
        && trimmed(text) == text
        && is_json(text.as_bytes())
}

/// Not of huge exponents, for which it would need as many digits.
fn exact(text: &str) -> Option<BigDecimal> {
    let exponent = text.split_once(['e', 'E']).map_or("0", |(_, it)| it);
    let digits = exponent.trim_start_matches(['+', '-']);
    if digits.trim_start_matches('0').len() > 3 {
        return None;
    }
    BigDecimal::from_str(text).ok()
}
