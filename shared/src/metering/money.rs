//! Money as the upstream states it: exact decimals, never binary fractions.
//!
//! The upstream prints costs as raw doubles, with up to 19 decimals and in scientific notation
//! (`7.434e-07`). Their text is the truth that the user is billed by, so it is kept digit by digit.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// Decimal digits kept before the point.
const INTEGER_DIGITS: usize = 12;
/// Decimal digits kept after the point. A double as JSON prints it needs 17 significant digits, so
/// this reaches below 10⁻⁴⁰ dollars.
const FRACTION_DIGITS: usize = 60;
const DIGITS: usize = INTEGER_DIGITS + FRACTION_DIGITS;

const LIMB_DIGITS: usize = 18;
const LIMB_BASE: u64 = 1_000_000_000_000_000_000;
const LIMBS: usize = DIGITS / LIMB_DIGITS;

/// An exact, non-negative amount of US dollars below 10¹², with at most 60 decimals.
///
/// Equality and order are those of the value: `1`, `1.0` and `1E0` are one amount. The text form
/// ([`Display`](fmt::Display), and a JSON string in serde) is plain and canonical: no exponent, no
/// superfluous zeros. A database's `numeric` reads it as it stands.
// The 72 digits of the fixed-point number, most significant first, 18 to a limb: the derived order
// is then the order of the values.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Usd([u64; LIMBS]);

/// Why a text is not an amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// Not a number as RFC 8259, section 6, writes it.
    #[error("not a decimal number")]
    NotANumber,
    /// Below zero.
    #[error("a negative amount")]
    Negative,
    /// 10¹² or more.
    #[error("an amount of {} integer digits or more", INTEGER_DIGITS + 1)]
    TooLarge,
    /// A digit other than zero after the 60th decimal.
    #[error("an amount of more than {FRACTION_DIGITS} decimals")]
    TooPrecise,
}

impl Usd {
    /// Nothing.
    pub const ZERO: Self = Self([0; LIMBS]);

    /// Reads a JSON number, or a JSON string that holds one, from its JSON text.
    pub fn from_json(text: &str) -> Result<Self, MoneyError> {
        if !text.starts_with('"') {
            return text.parse();
        }
        serde_json::from_str::<String>(text)
            .map_err(|_| MoneyError::NotANumber)?
            .parse()
    }

    /// The exact product; the largest amount where it would reach 10¹².
    #[must_use]
    pub fn times(self, factor: u32) -> Self {
        (0..u32::BITS)
            .rev()
            .try_fold(Self::ZERO, |product, bit| {
                let doubled = product.checked_add(product)?;
                match factor >> bit & 1 {
                    0 => Some(doubled),
                    _ => doubled.checked_add(self),
                }
            })
            .unwrap_or(Self([LIMB_BASE - 1; LIMBS]))
    }

    /// The exact sum, or nothing where it would reach 10¹².
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        let mut sum = Self::ZERO;
        let mut carry = 0;
        for ((limb, a), b) in sum.0.iter_mut().zip(self.0).zip(other.0).rev() {
            let total = a + b + carry;
            *limb = total % LIMB_BASE;
            carry = total / LIMB_BASE;
        }
        (carry == 0).then_some(sum)
    }
}

/// Reads the text of a JSON number (RFC 8259, section 6), exponents included. `-0` is zero.
impl FromStr for Usd {
    type Err = MoneyError;

    fn from_str(text: &str) -> Result<Self, MoneyError> {
        let number = Number::split(text).ok_or(MoneyError::NotANumber)?;
        // The power of ten that the first digit stands for.
        let mut place = i64::try_from(number.integer.len())
            .map_err(|_| MoneyError::TooLarge)?
            .saturating_add(number.exponent);
        let mut amount = Self::ZERO;
        for digit in number.integer.bytes().chain(number.fraction.bytes()) {
            place = place.saturating_sub(1);
            if digit == b'0' {
                continue;
            }
            if number.negative {
                return Err(MoneyError::Negative);
            }
            amount.add_digit(u64::from(digit - b'0'), place)?;
        }
        Ok(amount)
    }
}

impl Usd {
    /// Adds `digit` × 10^`place`, where that place is still zero.
    fn add_digit(&mut self, digit: u64, place: i64) -> Result<(), MoneyError> {
        let index = i64::try_from(INTEGER_DIGITS)
            .unwrap_or(i64::MAX)
            .saturating_sub(1)
            .saturating_sub(place);
        let index = usize::try_from(index).map_err(|_| MoneyError::TooLarge)?;
        let limb = self
            .0
            .get_mut(index / LIMB_DIGITS)
            .ok_or(MoneyError::TooPrecise)?;
        let zeros = LIMB_DIGITS - 1 - index % LIMB_DIGITS;
        *limb += digit * (0..zeros).fold(1, |power, _| power * 10);
        Ok(())
    }
}

impl fmt::Display for Usd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [b'0'; DIGITS];
        for (limb, places) in self.0.iter().zip(digits.chunks_exact_mut(LIMB_DIGITS)) {
            let mut rest = *limb;
            for place in places.iter_mut().rev() {
                if rest == 0 {
                    break;
                }
                *place += (rest % 10) as u8;
                rest /= 10;
            }
        }
        let digits = str::from_utf8(&digits).map_err(|_| fmt::Error)?;
        let (integer, fraction) = digits.split_at(INTEGER_DIGITS);
        let integer = match integer.trim_start_matches('0') {
            "" => "0",
            digits => digits,
        };
        match fraction.trim_end_matches('0') {
            "" => f.pad(integer),
            fraction => f.pad(&[integer, ".", fraction].concat()),
        }
    }
}

impl fmt::Debug for Usd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Usd({self})")
    }
}

impl Serialize for Usd {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// From JSON text only: `serde_json` alone can hand over a number as it is written.
impl<'de> Deserialize<'de> for Usd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Box::<RawValue>::deserialize(deserializer)?;
        Self::from_json(text.get()).map_err(serde::de::Error::custom)
    }
}

/// The parts of a JSON number's text.
struct Number<'a> {
    negative: bool,
    integer: &'a str,
    fraction: &'a str,
    exponent: i64,
}

impl<'a> Number<'a> {
    fn split(text: &'a str) -> Option<Self> {
        let (negative, unsigned) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, parse_exponent(exponent)?),
            None => (unsigned, 0),
        };
        let (integer, fraction) = match mantissa.split_once('.') {
            Some((integer, fraction)) => (integer, Some(fraction)),
            None => (mantissa, None),
        };
        let leading_zero = integer.len() > 1 && integer.starts_with('0');
        if leading_zero || !is_digits(integer) || !fraction.is_none_or(is_digits) {
            return None;
        }
        Some(Self {
            negative,
            integer,
            fraction: fraction.unwrap_or_default(),
            exponent,
        })
    }
}

/// An exponent out of `i64`'s range is as good as the range's end: no amount is near either.
fn parse_exponent(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix(['+', '-']) {
        Some(digits) => (text.starts_with('-'), digits),
        None => (false, text),
    };
    if !is_digits(digits) {
        return None;
    }
    let size = digits.parse().unwrap_or(i64::MAX);
    Some(if negative { -size } else { size })
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn usd(text: &str) -> Usd {
        text.parse().unwrap()
    }

    #[test]
    fn reads_every_notation_of_a_json_number() {
        for (text, canonical) in [
            ("0", "0"),
            ("-0", "0"),
            ("-0.0e9", "0"),
            ("0.000", "0"),
            ("0e999999999999999999999999", "0"),
            ("7.434e-07", "0.0000007434"),
            ("0.0076509169000000005", "0.0076509169000000005"),
            ("1E+2", "100"),
            ("1e2", "100"),
            ("120.50", "120.5"),
            ("10", "10"),
            ("0.00001e5", "1"),
            ("123456789e-4", "12345.6789"),
            ("999999999999", "999999999999"),
            ("0.000001e17", "100000000000"),
        ] {
            assert_eq!(usd(text).to_string(), canonical, "{text}");
        }
    }

    #[test]
    fn keeps_the_last_digit_that_fits_and_refuses_the_next() {
        let smallest = format!("0.{}1", "0".repeat(59));
        assert_eq!(usd("1e-60").to_string(), smallest);
        assert_eq!("1e-61".parse::<Usd>(), Err(MoneyError::TooPrecise));
        assert_eq!(
            "1e-9999999999999999999".parse::<Usd>(),
            Err(MoneyError::TooPrecise)
        );
        assert_eq!(usd(&format!("1.{}", "0".repeat(500))), usd("1"));

        assert_eq!(usd("1e11").to_string(), "100000000000");
        for large in ["1e12", "1000000000000", "1e9999999999999999999"] {
            assert_eq!(large.parse::<Usd>(), Err(MoneyError::TooLarge), "{large}");
        }
    }

    #[test]
    fn refuses_what_is_no_amount() {
        for text in [
            "", " 1", "1 ", "+1", ".5", "1.", "01", "00", "1e", "1e+", "1e1.5", "1e1e1", "1.2.3",
            "NaN", "Infinity", "0x10", "1_000", "١", "null", "\"1\"", "--1", "1,5",
        ] {
            assert_eq!(text.parse::<Usd>(), Err(MoneyError::NotANumber), "{text}");
        }
        assert_eq!("-1e-30".parse::<Usd>(), Err(MoneyError::Negative));
    }

    #[test]
    fn reads_numbers_and_strings_from_json_and_writes_strings() {
        assert_eq!(Usd::from_json("7.5e-1"), Ok(usd("0.75")));
        assert_eq!(Usd::from_json(r#""0.75""#), Ok(usd("0.75")));
        assert_eq!(Usd::from_json(r#""0\u002e75""#), Ok(usd("0.75")));
        for text in ["null", "true", r#"" 1""#, r#""1"#, "[1]", r#""""#] {
            assert_eq!(Usd::from_json(text), Err(MoneyError::NotANumber), "{text}");
        }

        let both: [Usd; 2] = serde_json::from_str(r#"[0.0076509169000000005, "1e-7"]"#).unwrap();
        assert_eq!(
            serde_json::to_string(&both).unwrap(),
            r#"["0.0076509169000000005","0.0000001"]"#
        );
        assert!(serde_json::from_str::<Usd>("-1").is_err());
    }

    #[test]
    fn adds_exactly_and_notices_overflow() {
        // With doubles this is 0.30000000000000004.
        assert_eq!(usd("0.1").checked_add(usd("0.2")), Some(usd("0.3")));
        let nines = usd(&format!("{}.{}", "9".repeat(12), "9".repeat(60)));
        assert_eq!(nines.checked_add(Usd::ZERO), Some(nines));
        assert_eq!(nines.checked_add(usd("1e-60")), None);
        assert_eq!(
            usd(&format!("0.{}", "9".repeat(60))).checked_add(usd("1e-60")),
            Some(usd("1"))
        );
    }

    #[test]
    fn shows_itself_padded_and_in_debug() {
        assert_eq!(
            format!("{:>5}|{:?}", usd("1.5"), usd("1.5")),
            "  1.5|Usd(1.5)"
        );
    }

    proptest! {
        #[test]
        fn agrees_with_integers_scaled_by_a_power_of_ten(
            a in 0_u64..1_000_000_000,
            b in 0_u64..1_000_000_000,
            scale in 0_u32..60,
        ) {
            let of = |n: u64| usd(&format!("{n}e-{scale}"));
            prop_assert_eq!(of(a).checked_add(of(b)), Some(of(a + b)));
            prop_assert_eq!(of(a).cmp(&of(b)), a.cmp(&b));
        }

        #[test]
        fn its_text_is_canonical(integer in "0|[1-9][0-9]{0,11}", fraction in "[0-9]{1,60}") {
            let amount = usd(&format!("{integer}.{fraction}"));
            let text = amount.to_string();
            prop_assert_eq!(usd(&text), amount);
            let trimmed = fraction.trim_end_matches('0');
            let expected = if trimmed.is_empty() { integer } else { format!("{integer}.{trimmed}") };
            prop_assert_eq!(text, expected);
        }
    }
}
