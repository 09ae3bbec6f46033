//! Money as the stub counts it. On purpose not the gateway's own type, whose faults would cancel out.

use std::{fmt, iter::Sum};

/// US dollars, a whole number of 10⁻²⁴.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Amount(u128);

const DECIMALS: u32 = 24;
const UNIT: u128 = 10_u128.pow(DECIMALS);

impl Amount {
    /// Zero.
    pub const ZERO: Self = Self(0);

    /// `digits` · 10^-`decimals`; decimals beyond the 24th are lost.
    #[must_use]
    pub fn new(digits: u64, decimals: u32) -> Self {
        let scale = 10_u128.pow(DECIMALS.saturating_sub(decimals));
        Self(u128::from(digits).saturating_mul(scale))
    }

    /// Reads a `numeric` as PostgreSQL prints it: digits with at most one point.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let decimals = u32::try_from(fraction.len()).ok()?;
        let digits: u128 = format!("{whole}{fraction}").parse().ok()?;
        if decimals <= DECIMALS {
            let scale = 10_u128.pow(DECIMALS - decimals);
            return digits.checked_mul(scale).map(Self);
        }
        // More decimals than the stub ever bills.
        let scale = 10_u128.checked_pow(decimals - DECIMALS)?;
        digits.is_multiple_of(scale).then(|| Self(digits / scale))
    }

    /// The multiple.
    #[must_use]
    pub fn times(self, factor: u32) -> Self {
        Self(self.0.saturating_mul(factor.into()))
    }

    /// The difference, or zero where it would be negative.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl std::ops::Add for Amount {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sum for Amount {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, |sum, amount| sum + amount)
    }
}

/// Plain decimals without trailing zeros.
impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{}.{:024}", self.0 / UNIT, self.0 % UNIT);
        f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

/// `digits` · 10^-`decimals` as JSON text, as providers write their numbers: plainly, or with an
/// exponent (`7.434e-07`).
#[must_use]
pub fn json_number(digits: u64, decimals: u32, with_exponent: bool) -> String {
    let text = digits.to_string();
    if with_exponent && digits > 0 {
        let (first, rest) = text.split_at(1);
        let point = if rest.is_empty() { "" } else { "." };
        let places = u32::try_from(rest.len()).unwrap_or_default();
        let exponent = i64::from(places) - i64::from(decimals);
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{first}{point}{rest}e{sign}{:02}", exponent.abs());
    }
    Amount::new(digits, decimals).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact_and_print_plainly() {
        let tiny = Amount::new(76_509_169_000_000_005, 19);
        assert_eq!(tiny.to_string(), "0.0076509169000000005");
        assert_eq!(Amount::parse("0.0076509169000000005"), Some(tiny));
        assert_eq!(Amount::parse("0.00765091690000000050000000000"), Some(tiny));
        assert_eq!(
            (tiny + Amount::new(2, 0)).to_string(),
            "2.0076509169000000005"
        );
        assert_eq!(Amount::ZERO.to_string(), "0");
        for bad in [
            "",
            "-1",
            "NaN",
            "1e-7",
            "1.2.3",
            "0.0000000000000000000000001",
        ] {
            assert_eq!(Amount::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn json_numbers_say_the_same_with_and_without_an_exponent() {
        assert_eq!(json_number(7434, 10, true), "7.434e-07");
        assert_eq!(json_number(7434, 10, false), "0.0000007434");
        assert_eq!(json_number(5, 3, true), "5e-03");
        assert_eq!(json_number(0, 3, true), "0");
    }
}
