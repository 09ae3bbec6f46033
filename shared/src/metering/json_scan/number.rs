//! The grammar of numbers (RFC 8259, section 6), byte by byte.

/// The part of a number that was read last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Number {
    Minus,
    LeadingZero,
    Integer,
    Point,
    Fraction,
    ExponentMark,
    ExponentSign,
    Exponent,
}

impl Number {
    pub(super) fn start(byte: u8) -> Option<Self> {
        match byte {
            b'-' => Some(Self::Minus),
            b'0' => Some(Self::LeadingZero),
            b'1'..=b'9' => Some(Self::Integer),
            _ => None,
        }
    }

    /// The number with `byte` in it, if that can belong to it.
    pub(super) fn next(self, byte: u8) -> Option<Self> {
        match (self, byte) {
            (Self::Minus, b'0') => Some(Self::LeadingZero),
            (Self::Minus, b'1'..=b'9') | (Self::Integer, b'0'..=b'9') => Some(Self::Integer),
            (Self::LeadingZero | Self::Integer, b'.') => Some(Self::Point),
            (Self::Point | Self::Fraction, b'0'..=b'9') => Some(Self::Fraction),
            (Self::LeadingZero | Self::Integer | Self::Fraction, b'e' | b'E') => {
                Some(Self::ExponentMark)
            }
            (Self::ExponentMark, b'+' | b'-') => Some(Self::ExponentSign),
            (Self::ExponentMark | Self::ExponentSign | Self::Exponent, b'0'..=b'9') => {
                Some(Self::Exponent)
            }
            (
                Self::Minus
                | Self::LeadingZero
                | Self::Integer
                | Self::Point
                | Self::Fraction
                | Self::ExponentMark
                | Self::ExponentSign
                | Self::Exponent,
                _,
            ) => None,
        }
    }

    /// Whether what was read is a whole number.
    pub(super) fn may_end(self) -> bool {
        matches!(
            self,
            Self::LeadingZero | Self::Integer | Self::Fraction | Self::Exponent
        )
    }
}
