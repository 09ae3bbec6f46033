//! The patterns of a list of models.

use std::{fmt, str::FromStr};

use super::Mention;

/// A pattern of models: an exact name, or one with `*` for any run of characters, none included
/// (`openai/*`, `*:free`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelPattern(String);

impl ModelPattern {
    /// The longest pattern, in characters.
    pub const MAX_LEN: usize = 256;

    /// The pattern's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the pattern allows a model that a request names.
    #[must_use]
    pub fn allows(&self, mention: &Mention) -> bool {
        if mention.needs_literal {
            self.0 == mention.value && !self.0.contains('*')
        } else {
            self.matches(&mention.value)
        }
    }

    /// Whether the pattern matches a name. The first place at which each part fits is as good as any other,
    /// so the work is that of searching each part once.
    fn matches(&self, name: &str) -> bool {
        let Some((start, rest)) = self.0.split_once('*') else {
            return self.0 == name;
        };
        let (inner, end) = rest.rsplit_once('*').unwrap_or(("", rest));
        let Some(mut name) = name
            .strip_prefix(start)
            .and_then(|rest| rest.strip_suffix(end))
        else {
            return false;
        };
        inner.split('*').all(|part| match name.split_once(part) {
            Some((_, rest)) => {
                name = rest;
                true
            }
            None => false,
        })
    }
}

impl FromStr for ModelPattern {
    type Err = MalformedPattern;

    fn from_str(text: &str) -> Result<Self, MalformedPattern> {
        let is_pattern = (1..=Self::MAX_LEN).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_graphic());
        if is_pattern {
            Ok(Self(text.to_owned()))
        } else {
            Err(MalformedPattern)
        }
    }
}

impl fmt::Display for ModelPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that is no pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a pattern of models has 1 to {} visible ASCII characters, such as openai/gpt-5, openai/* or *:free",
    ModelPattern::MAX_LEN
)]
pub struct MalformedPattern;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> ModelPattern {
        text.parse().unwrap()
    }

    #[test]
    fn stars_stand_for_any_run() {
        for (text, name, matches) in [
            ("openai/gpt-5", "openai/gpt-5", true),
            ("openai/gpt-5", "openai/gpt-5-mini", false),
            ("openai/gpt-5", "OpenAI/gpt-5", false),
            ("openai/*", "openai/gpt-5", true),
            ("openai/*", "openai/", true),
            ("openai/*", "~openai/gpt-latest", false),
            ("openai/*", "x/openai/gpt-5", false),
            ("*:free", "meta/llama:free", true),
            ("*:free", "meta/llama:free:nitro", false),
            ("*", "", true),
            ("**", "a", true),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("a*b*c", "axbxc", true),
            ("a*b*c", "acb", false),
            ("a*bc*c", "abcc", true),
            ("a*bc*c", "abc", false),
            ("anthropic/*sonnet*", "anthropic/claude-sonnet-4.6", true),
            ("openai/*", "openai/*", true),
            ("openai/gpt-*", "openai/*", false),
            ("openai/gpt.5", "openai/gpt-5", false),
            ("openai/gpt_5", "openai/gpt-5", false),
            ("openai/gpt%", "openai/gpt-5", false),
        ] {
            assert_eq!(pattern(text).matches(name), matches, "{text} {name}");
        }
    }

    #[test]
    fn a_router_needs_a_literal() {
        let mention = |value: &str| Mention {
            value: value.into(),
            place: String::new(),
            needs_literal: true,
        };
        assert!(pattern("openrouter/auto").allows(&mention("openrouter/auto")));
        assert!(!pattern("openrouter/*").allows(&mention("openrouter/auto")));
        assert!(!pattern("*").allows(&mention("*")));
    }

    #[test]
    fn patterns_are_short_and_visible() {
        for text in ["", " ", "a b", "a\n", "é", &"a".repeat(257)] {
            assert_eq!(text.parse::<ModelPattern>(), Err(MalformedPattern));
        }
        assert_eq!(pattern(&"a".repeat(256)).as_str().len(), 256);
    }

    /// By trying every end of every run.
    fn matches_slowly(pattern: &[u8], name: &[u8]) -> bool {
        match pattern.split_first() {
            None => name.is_empty(),
            Some((b'*', rest)) => (0..=name.len()).any(|at| matches_slowly(rest, &name[at..])),
            Some((byte, rest)) => name.first() == Some(byte) && matches_slowly(rest, &name[1..]),
        }
    }

    proptest! {
        #[test]
        fn matching_agrees_with_trying_everything(text in "[ab*]{1,8}", name in "[ab]{0,8}") {
            let expected = matches_slowly(text.as_bytes(), name.as_bytes());
            prop_assert_eq!(pattern(&text).matches(&name), expected);
        }
    }
}
