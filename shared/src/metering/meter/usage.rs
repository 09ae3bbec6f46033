//! The `usage` object in all of the upstream's dialects.

use super::Malformed;
use crate::metering::{
    json_scan::{Found, Scanner, Want, decode_string},
    money::Usd,
};

/// The usage of a generation. A member is absent if the upstream did not say it, or not in a usable
/// form.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the prompt as the dialect counts them; see [`prompt_tokens`](Self::prompt_tokens).
    pub input_tokens: Option<u64>,
    /// Tokens written, those of the reasoning included.
    pub output_tokens: Option<u64>,
    /// Tokens read from the provider's cache.
    pub cached_tokens: Option<u64>,
    /// Tokens written to the provider's cache.
    pub cache_write_tokens: Option<u64>,
    /// Whether the cached and written tokens are told beside [`input_tokens`](Self::input_tokens), as
    /// Messages does, and not as a part of them.
    pub cache_is_extra: bool,
    /// Tokens of the reasoning.
    pub reasoning_tokens: Option<u64>,
    /// The upstream's charge to the account's credit. With the user's own provider key (BYOK) that
    /// is only its fee, or nothing.
    pub cost: Option<Usd>,
    /// The provider's charge. Without BYOK it is contained in the cost.
    pub upstream_inference_cost: Option<Usd>,
    /// The part of the cost that tools run by the upstream cost.
    pub server_tool_cost: Option<Usd>,
    /// Whether the provider bills the user's own key.
    pub is_byok: Option<bool>,
    /// The service tier, where the usage names it (Messages). Other dialects name it beside the usage.
    pub service_tier: Option<String>,
    /// The fields of the charge that are there but cannot be read.
    pub unreadable: Unreadable,
}

/// Fields that enter a charge and have a value that cannot be read. A later, readable value does not
/// take the mark away: which of the two is billed is not known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unreadable {
    /// The cost, or the answer to who pays the provider.
    pub cost: bool,
    /// The provider's charge, which is a part of the whole unless the cost contains it.
    pub upstream_inference_cost: bool,
}

impl Usage {
    /// The sum that the user pays: the cost, and with BYOK the provider's charge on top.
    ///
    /// Nothing if a part of that is unknown or unreadable (a part is not the whole: what is unknown is
    /// settled later, never taken for free), or if the sum is beyond all bounds.
    #[must_use]
    pub fn charge(&self) -> Option<Usd> {
        let cost = self.cost.filter(|_| !self.unreadable.cost)?;
        whole_charge(
            cost,
            self.upstream_inference_cost,
            self.unreadable.upstream_inference_cost,
            self.is_byok,
        )
    }

    /// All tokens of the prompt, those read from the cache and written to it included.
    #[must_use]
    pub fn prompt_tokens(&self) -> Option<u64> {
        let extra = if self.cache_is_extra {
            let cached = self.cached_tokens.unwrap_or_default();
            cached.saturating_add(self.cache_write_tokens.unwrap_or_default())
        } else {
            0
        };
        self.input_tokens.map(|tokens| tokens.saturating_add(extra))
    }

    /// Whether it names no cost and nothing that was used.
    #[must_use]
    pub fn is_zeroed(&self) -> bool {
        let tokens = [
            self.input_tokens,
            self.output_tokens,
            self.cached_tokens,
            self.cache_write_tokens,
            self.reasoning_tokens,
        ];
        tokens.iter().flatten().all(|tokens| *tokens == 0)
            && self.cost.is_none()
            && self.upstream_inference_cost.unwrap_or_default() == Usd::ZERO
            && self.server_tool_cost.unwrap_or_default() == Usd::ZERO
            && self.unreadable == Unreadable::default()
    }

    /// This usage with a cost of nothing.
    #[must_use]
    pub fn free(self) -> Self {
        Self {
            cost: Some(Usd::ZERO),
            upstream_inference_cost: Some(Usd::ZERO),
            ..self
        }
    }

    /// Fills the members that are unknown here with those of `earlier`.
    pub(super) fn or(self, earlier: &Self) -> Self {
        Self {
            input_tokens: self.input_tokens.or(earlier.input_tokens),
            output_tokens: self.output_tokens.or(earlier.output_tokens),
            cached_tokens: self.cached_tokens.or(earlier.cached_tokens),
            cache_write_tokens: self.cache_write_tokens.or(earlier.cache_write_tokens),
            cache_is_extra: self.cache_is_extra || earlier.cache_is_extra,
            reasoning_tokens: self.reasoning_tokens.or(earlier.reasoning_tokens),
            cost: self.cost.or(earlier.cost),
            upstream_inference_cost: self
                .upstream_inference_cost
                .or(earlier.upstream_inference_cost),
            server_tool_cost: self.server_tool_cost.or(earlier.server_tool_cost),
            is_byok: self.is_byok.or(earlier.is_byok),
            service_tier: self.service_tier.or_else(|| earlier.service_tier.clone()),
            unreadable: Unreadable {
                cost: self.unreadable.cost || earlier.unreadable.cost,
                upstream_inference_cost: self.unreadable.upstream_inference_cost
                    || earlier.unreadable.upstream_inference_cost,
            },
        }
    }

    /// Reads an object's JSON text. An unusable member is absent, and the first such is named.
    pub(super) fn from_json(object: &[u8]) -> (Self, Option<Malformed>) {
        let mut usage = Self::default();
        let mut malformed = None;
        Scanner::new(&USAGE).feed(object, |member, found| {
            let text = match found {
                Found::Text(b"null") => return,
                Found::Text(text) => str::from_utf8(text).unwrap_or_default(),
                // Not a number that any bound would let pass.
                Found::TooLong => "",
            };
            if !usage.set(member, text) {
                malformed.get_or_insert(Malformed::Value(member.name()));
            }
        });
        (usage, malformed)
    }

    /// Sets a member from its JSON text; false if that is unusable.
    fn set(&mut self, member: Member, text: &str) -> bool {
        match member {
            Member::InputTokens => set(&mut self.input_tokens, whole_number(text)),
            Member::OutputTokens => set(&mut self.output_tokens, whole_number(text)),
            Member::CachedTokens => set(&mut self.cached_tokens, whole_number(text)),
            Member::CacheWriteTokens => set(&mut self.cache_write_tokens, whole_number(text)),
            Member::ExtraCachedTokens => {
                self.cache_is_extra = true;
                set(&mut self.cached_tokens, whole_number(text))
            }
            Member::ExtraCacheWriteTokens => {
                self.cache_is_extra = true;
                set(&mut self.cache_write_tokens, whole_number(text))
            }
            Member::ReasoningTokens => set(&mut self.reasoning_tokens, whole_number(text)),
            Member::Cost => {
                let is_read = set(&mut self.cost, Usd::from_json(text).ok());
                self.unreadable.cost |= !is_read;
                is_read
            }
            Member::UpstreamInferenceCost => {
                let cost = Usd::from_json(text).ok();
                let is_read = set(&mut self.upstream_inference_cost, cost);
                self.unreadable.upstream_inference_cost |= !is_read;
                is_read
            }
            // A part of the cost, so it enters no charge.
            Member::ServerToolCost => set(&mut self.server_tool_cost, Usd::from_json(text).ok()),
            Member::ServiceTier => {
                let tier = decode_string(text.as_bytes()).map(Into::into);
                set(&mut self.service_tier, tier)
            }
            Member::CostDetails => {
                self.unreadable.upstream_inference_cost = true;
                false
            }
            Member::IsByok => {
                let is_read = set(&mut self.is_byok, text.parse().ok());
                self.unreadable.cost |= !is_read;
                is_read
            }
        }
    }
}

/// The sum of a readable `cost` and, with BYOK, the provider's charge; `None` where it is not whole.
///
/// Where nothing says who pays the provider, a cost of zero beside a charge of the provider is no
/// proof that the request was free.
pub(crate) fn whole_charge(
    cost: Usd,
    upstream: Option<Usd>,
    upstream_is_unreadable: bool,
    is_byok: Option<bool>,
) -> Option<Usd> {
    let may_be_more = upstream_is_unreadable || upstream.is_some_and(|it| it > Usd::ZERO);
    match is_byok {
        Some(true) if upstream_is_unreadable => None,
        Some(true) => cost.checked_add(upstream?),
        None if cost == Usd::ZERO && may_be_more => None,
        Some(false) | None => Some(cost),
    }
}

/// A number of tokens. Some providers write it as a float: `11.0`.
pub(crate) fn whole_number(text: &str) -> Option<u64> {
    text.parse().ok().or_else(|| {
        let exact = text.parse::<Usd>().ok()?;
        exact.to_string().parse().ok()
    })
}

fn set<T>(place: &mut Option<T>, value: Option<T>) -> bool {
    *place = value;
    place.is_some()
}

#[derive(Debug, Clone, Copy)]
enum Member {
    InputTokens,
    OutputTokens,
    CachedTokens,
    CacheWriteTokens,
    ExtraCachedTokens,
    ExtraCacheWriteTokens,
    ReasoningTokens,
    Cost,
    UpstreamInferenceCost,
    ServerToolCost,
    ServiceTier,
    /// Details of the cost that are no object.
    CostDetails,
    IsByok,
}

impl Member {
    fn name(self) -> &'static str {
        match self {
            Self::InputTokens => "usage input tokens",
            Self::OutputTokens => "usage output tokens",
            Self::CachedTokens | Self::ExtraCachedTokens => "usage cached tokens",
            Self::CacheWriteTokens | Self::ExtraCacheWriteTokens => "usage cache write tokens",
            Self::ReasoningTokens => "usage reasoning tokens",
            Self::Cost => "usage.cost",
            Self::UpstreamInferenceCost => "usage.cost_details.upstream_inference_cost",
            Self::ServerToolCost => "usage.cost_details.server_tool_cost",
            Self::ServiceTier => "usage.service_tier",
            Self::CostDetails => "usage.cost_details",
            Self::IsByok => "usage.is_byok",
        }
    }
}

static USAGE: Want<Member> = Want::Members(&[
    ("prompt_tokens", Want::Value(Member::InputTokens)),
    ("input_tokens", Want::Value(Member::InputTokens)),
    ("completion_tokens", Want::Value(Member::OutputTokens)),
    ("output_tokens", Want::Value(Member::OutputTokens)),
    ("prompt_tokens_details", CACHED),
    ("input_tokens_details", CACHED),
    // Anthropic's, which its `input_tokens` contains neither of.
    (
        "cache_read_input_tokens",
        Want::Value(Member::ExtraCachedTokens),
    ),
    (
        "cache_creation_input_tokens",
        Want::Value(Member::ExtraCacheWriteTokens),
    ),
    ("completion_tokens_details", REASONING),
    ("output_tokens_details", REASONING),
    ("cost", Want::Value(Member::Cost)),
    (
        "cost_details",
        Want::ValueOrMembers(
            Member::CostDetails,
            &[
                (
                    "upstream_inference_cost",
                    Want::Value(Member::UpstreamInferenceCost),
                ),
                ("server_tool_cost", Want::Value(Member::ServerToolCost)),
            ],
        ),
    ),
    ("is_byok", Want::Value(Member::IsByok)),
    ("service_tier", Want::Value(Member::ServiceTier)),
]);
const CACHED: Want<Member> = Want::Members(&[
    ("cached_tokens", Want::Value(Member::CachedTokens)),
    ("cache_write_tokens", Want::Value(Member::CacheWriteTokens)),
]);
const REASONING: Want<Member> =
    Want::Members(&[("reasoning_tokens", Want::Value(Member::ReasoningTokens))]);

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(text: &str) -> (Usage, Option<Malformed>) {
        Usage::from_json(text.as_bytes())
    }

    #[test]
    fn the_provider_is_paid_on_top_only_with_ones_own_key() {
        let charge = |text: &str| usage(text).0.charge().map(|charge| charge.to_string());
        let upstream = r#""cost_details":{"upstream_inference_cost":0.0003253}"#;
        for (text, expected) in [
            (format!(r#"{{"cost":0,"is_byok":true,{upstream}}}"#), Some("0.0003253")),
            (format!(r#"{{"cost":1e-5,"is_byok":true,{upstream}}}"#), Some("0.0003353")),
            (format!(r#"{{"cost":1e-5,"is_byok":false,{upstream}}}"#), Some("0.00001")),
            (format!(r#"{{"cost":1e-5,{upstream}}}"#), Some("0.00001")),
            (format!(r#"{{"is_byok":false,{upstream}}}"#), None),
            (r#"{"cost":0.5,"is_byok":true}"#.to_owned(), None),
            (r#"{"cost":0.5}"#.to_owned(), Some("0.5")),
            (r#"{"cost":0}"#.to_owned(), Some("0")),
            ("{}".to_owned(), None),
            (
                r#"{"cost":999999999999,"is_byok":true,"cost_details":{"upstream_inference_cost":1}}"#.to_owned(),
                None,
            ),
        ] {
            assert_eq!(charge(&text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn an_unusable_member_is_absent_and_spoils_no_other() {
        for (bad, name) in [
            (r#""cost":"free""#, "usage.cost"),
            (r#""cost":-1"#, "usage.cost"),
            (r#""cost":{"amount":1}"#, "usage.cost"),
            (r#""cost":1e300"#, "usage.cost"),
            (r#""is_byok":"yes""#, "usage.is_byok"),
            (r#""is_byok":1"#, "usage.is_byok"),
            (
                r#""cost_details":{"upstream_inference_cost":[]}"#,
                "usage.cost_details.upstream_inference_cost",
            ),
            (r#""prompt_tokens":-1"#, "usage input tokens"),
            (r#""prompt_tokens":1.5"#, "usage input tokens"),
            (
                r#""prompt_tokens":18446744073709551616"#,
                "usage input tokens",
            ),
            (
                r#""prompt_tokens_details":{"cached_tokens":true}"#,
                "usage cached tokens",
            ),
            (
                r#""output_tokens_details":{"reasoning_tokens":"7"}"#,
                "usage reasoning tokens",
            ),
        ] {
            let expected = Usage {
                output_tokens: Some(9),
                unreadable: Unreadable {
                    cost: ["usage.cost", "usage.is_byok"].contains(&name),
                    upstream_inference_cost: name.contains("upstream"),
                },
                ..Usage::default()
            };
            for text in [
                format!(r#"{{{bad},"completion_tokens":9}}"#),
                format!(r#"{{"completion_tokens":9,{bad}}}"#),
            ] {
                assert_eq!(
                    usage(&text),
                    (expected.clone(), Some(Malformed::Value(name))),
                    "{text}"
                );
            }
        }
        let all_null = r#"{"cost":null,"prompt_tokens":null,"is_byok":null,"cost_details":null,
            "prompt_tokens_details":null,"completion_tokens_details":[1],"server_tool_use":{"cost":1}}"#;
        assert_eq!(usage(all_null), (Usage::default(), None));
    }

    #[test]
    fn the_tools_part_of_a_cost_and_the_tier_change_no_charge() {
        let (read, malformed) = usage(
            r#"{"cost":0.5,"cost_details":{"server_tool_cost":0.25},"service_tier":"priority"}"#,
        );
        assert_eq!(malformed, None);
        assert_eq!(read.server_tool_cost, "0.25".parse().ok());
        assert_eq!(read.service_tier.as_deref(), Some("priority"));
        assert_eq!(read.charge(), "0.5".parse().ok());
        let (read, malformed) =
            usage(r#"{"cost":0.5,"cost_details":{"server_tool_cost":"much"},"service_tier":7}"#);
        assert!(malformed.is_some());
        assert_eq!(
            (read.server_tool_cost, read.service_tier.clone()),
            (None, None)
        );
        assert_eq!(read.charge(), "0.5".parse().ok());
    }

    #[test]
    fn all_of_the_prompt_is_counted_in_every_dialect() {
        for (text, input, cached, written) in [
            (
                r#"{"input_tokens":3,"cache_creation_input_tokens":12000,"cache_read_input_tokens":80000}"#,
                Some(92_003),
                Some(80_000),
                Some(12_000),
            ),
            (
                r#"{"prompt_tokens":92003,"prompt_tokens_details":{"cached_tokens":80000,"cache_write_tokens":12000}}"#,
                Some(92_003),
                Some(80_000),
                Some(12_000),
            ),
            (
                r#"{"input_tokens":78,"input_tokens_details":{"cached_tokens":2}}"#,
                Some(78),
                Some(2),
                None,
            ),
            (
                r#"{"input_tokens":3,"cache_creation_input_tokens":0,"cache_read_input_tokens":0}"#,
                Some(3),
                Some(0),
                Some(0),
            ),
            (r#"{"cache_read_input_tokens":7}"#, None, Some(7), None),
        ] {
            let (read, malformed) = usage(text);
            assert_eq!(malformed, None);
            assert_eq!(
                (
                    read.prompt_tokens(),
                    read.cached_tokens,
                    read.cache_write_tokens
                ),
                (input, cached, written),
                "{text}"
            );
        }
        // A later usage of a stream need not repeat what its beginning told.
        let start = usage(r#"{"input_tokens":3,"cache_creation_input_tokens":12000,"cache_read_input_tokens":80000,"output_tokens":1}"#).0;
        for end in [
            r#"{"output_tokens":9}"#,
            r#"{"input_tokens":3,"output_tokens":9}"#,
        ] {
            let whole = usage(end).0.or(&start);
            assert_eq!(whole.prompt_tokens(), Some(92_003), "{end}");
        }
    }

    #[test]
    fn tokens_may_be_written_as_floats() {
        for (text, tokens) in [
            ("11", Some(11)),
            ("11.0", Some(11)),
            ("1.1e1", Some(11)),
            ("11.000", Some(11)),
            ("0.0", Some(0)),
            ("18446744073709551615", Some(u64::MAX)),
            ("11.5", None),
            ("-1.0", None),
            ("1e300", None),
            ("\"11\"", None),
        ] {
            let (read, malformed) = usage(&format!(
                r#"{{"input_tokens":{text},"completion_tokens":{text},
                    "prompt_tokens_details":{{"cached_tokens":{text}}},
                    "output_tokens_details":{{"reasoning_tokens":{text}}}}}"#
            ));
            assert_eq!(
                [
                    read.input_tokens,
                    read.output_tokens,
                    read.cached_tokens,
                    read.reasoning_tokens
                ],
                [tokens; 4],
                "{text}"
            );
            assert_eq!(malformed.is_some(), tokens.is_none(), "{text}");
        }
    }

    #[test]
    fn a_cost_may_be_a_string_and_the_last_of_equal_keys_counts() {
        let (read, malformed) = usage(r#"{"cost":1,"cost":"7.434e-07","cost":null}"#);
        assert_eq!(read.cost, "7.434e-07".parse().ok());
        assert_eq!(malformed, None);
    }
}
