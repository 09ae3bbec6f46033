//! Periods as people name them: `today`, `7d`, `2026-11`.

use jiff::{ToSpan, civil::Date};

/// The side of a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    First,
    Last,
}

/// The day that `text` names, seen from `today`; other texts, such as a day or a time, are the gateway's.
pub(super) fn day(text: &str, side: Side, today: Date) -> String {
    named(text, side, today).map_or_else(|| text.to_owned(), |date| date.to_string())
}

fn named(text: &str, side: Side, today: Date) -> Option<Date> {
    match text {
        "today" => return Some(today),
        "yesterday" => return today.yesterday().ok(),
        _ => {}
    }
    if let Some(days) = text.strip_suffix('d') {
        // The last days, today included.
        let before: i64 = days.parse::<u16>().ok()?.saturating_sub(1).into();
        return today.checked_sub(before.days()).ok();
    }
    let (year, month) = text.split_once('-')?;
    let is_month = year.len() == 4 && month.len() == 2;
    let first = Date::new(year.parse().ok()?, month.parse().ok()?, 1).ok()?;
    is_month.then_some(match side {
        Side::First => first,
        Side::Last => first.last_of_month(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods() {
        let today = Date::new(2026, 3, 2).unwrap();
        for (text, first, last) in [
            ("today", "2026-03-02", "2026-03-02"),
            ("yesterday", "2026-03-01", "2026-03-01"),
            ("1d", "2026-03-02", "2026-03-02"),
            ("7d", "2026-02-24", "2026-02-24"),
            ("2026-02", "2026-02-01", "2026-02-28"),
            // The gateway's own forms, and what it refuses.
            ("2026-02-03", "2026-02-03", "2026-02-03"),
            (
                "2026-02-03T00:00:00Z",
                "2026-02-03T00:00:00Z",
                "2026-02-03T00:00:00Z",
            ),
            ("2026-13", "2026-13", "2026-13"),
            ("xd", "xd", "xd"),
        ] {
            assert_eq!(day(text, Side::First, today), first);
            assert_eq!(day(text, Side::Last, today), last);
        }
    }
}
