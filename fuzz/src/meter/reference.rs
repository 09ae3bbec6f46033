//! A meter of whole texts.

use shared::metering::{
    meter::{Reading, Usage},
    money::Usd,
};

use crate::json::{decoded, elements, members};

/// The last events of the dialects.
const LAST: [&str; 5] = [
    "response.completed",
    "response.incomplete",
    "message_stop",
    "image_generation.completed",
    FAILED,
];
const FAILED: &str = "response.failed";

pub(super) fn is_last(kind: &str) -> bool {
    LAST.contains(&kind)
}

#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts, as in what it is compared with"
)]
#[derive(Debug, Default)]
pub(super) struct Reference {
    /// Every usage that was read.
    pub(super) usages: Vec<Usage>,
    pub(super) end: bool,
    pub(super) delivered: bool,
    id: Option<String>,
    model: Option<String>,
    service_tier: Option<String>,
    usage: Option<Usage>,
    accumulates: bool,
    may_hide_cost: bool,
    error: bool,
    choice_failed: bool,
}

/// The facts of one text.
#[derive(Debug, Default)]
struct Current {
    kind: String,
    is_error: bool,
    /// An error: unreadable.
    usage: Option<Result<Usage, ()>>,
}

impl Reference {
    /// Reads a whole JSON body; `None` where `serde_json` refuses it.
    pub(super) fn body(&mut self, text: &str) -> Option<()> {
        let current = self.read(text)?;
        self.settle(current, b"");
        Some(())
    }

    /// Reads the data of an event.
    pub(super) fn event(&mut self, text: &str, name: &[u8]) -> Option<()> {
        let current = self.read(text)?;
        let is_error = current.is_error || is_error(&current.kind) || name == b"error";
        let ends_failed = is_last(&current.kind) && self.error;
        self.delivered |= !(is_error || ends_failed);
        self.end |= is_last(&current.kind);
        self.settle(current, name);
        Some(())
    }

    /// Takes an event with nothing to read: an end mark, or a blank.
    pub(super) fn empty_event(&mut self, name: &[u8], is_end: bool) {
        self.end |= is_end;
        self.error |= name == b"error";
    }

    pub(super) fn check(&self, reading: &Reading, text: &str) {
        assert_eq!(reading.usage, self.usage, "usage of {text}");
        assert_eq!(reading.generation_id, self.id, "id of {text}");
        assert_eq!(reading.model, self.model, "model of {text}");
        let told_in_usage = self.usage.as_ref().and_then(|it| it.service_tier.as_ref());
        let service_tier = told_in_usage.or(self.service_tier.as_ref());
        assert_eq!(
            reading.service_tier.as_ref(),
            service_tier,
            "tier of {text}"
        );
        assert_eq!(reading.may_hide_cost, self.may_hide_cost, "{text}");
        assert_eq!(
            reading.upstream_error.is_some(),
            self.error || self.choice_failed,
            "error of {text}: {:?}",
            reading.upstream_error
        );
    }

    fn read(&mut self, text: &str) -> Option<Current> {
        let mut current = Current::default();
        if !text.starts_with('{') {
            return Some(current);
        }
        for (name, value) in members(text)? {
            match name.as_str() {
                "type" if value != "null" => current.kind = decoded(value).unwrap_or_default(),
                "choices" if value.starts_with('[') => self.choices(value, &mut current)?,
                "response" | "message" if value.starts_with('{') => {
                    let is_message = name == "message";
                    for (name, value) in members(value)? {
                        if !(is_message && name == "error") {
                            self.member(&name, value, is_message, &mut current)?;
                        }
                    }
                }
                _ => self.member(&name, value, false, &mut current)?,
            }
        }
        Some(current)
    }

    fn member(
        &mut self,
        name: &str,
        value: &str,
        is_message: bool,
        current: &mut Current,
    ) -> Option<()> {
        match name {
            _ if value == "null" => {}
            "id" if self.id.is_none() => {
                self.id = decoded(value);
                self.may_hide_cost |= self.id.is_none();
            }
            "model" => self.model = decoded(value).or(self.model.take()),
            "service_tier" if !is_message => {
                self.service_tier = decoded(value).or(self.service_tier.take());
            }
            "error" => {
                self.error(value, current);
            }
            "usage" if value.starts_with('{') => {
                let usage = usage(value)?;
                self.usages.push(usage.clone());
                current.usage = Some(Ok(usage));
                self.accumulates |= is_message;
            }
            "usage" => current.usage = Some(Err(())),
            _ => {}
        }
        Some(())
    }

    fn choices(&mut self, choices: &str, current: &mut Current) -> Option<()> {
        for choice in elements(choices)? {
            if !choice.starts_with('{') {
                continue;
            }
            for (name, value) in members(choice)? {
                match name.as_str() {
                    "error" if value != "null" => {
                        self.delivered |= self.error(value, current);
                    }
                    "finish_reason" if decoded(value).as_deref() == Some("error") => {
                        self.choice_failed = true;
                        self.delivered = true;
                    }
                    _ => {}
                }
            }
        }
        Some(())
    }

    /// Whether the value is an error, which is noted.
    fn error(&mut self, value: &str, current: &mut Current) -> bool {
        let is_error = !matches!(value, "null" | "false" | "\"\"");
        current.is_error |= is_error;
        self.error |= is_error;
        is_error
    }

    fn settle(&mut self, current: Current, name: &[u8]) {
        match current.usage {
            Some(Ok(usage)) if self.accumulates => {
                let earlier = self.usage.take().unwrap_or_default();
                self.usage = Some(over(usage, &earlier));
            }
            Some(Ok(usage)) => self.usage = Some(usage),
            Some(Err(())) => {
                self.usage = None;
                self.may_hide_cost = true;
            }
            None => {}
        }
        self.error |= is_error(&current.kind) || name == b"error";
    }
}

fn is_error(kind: &str) -> bool {
    ["error", "response.error", FAILED].contains(&kind)
}

/// A usage, as `serde_json` finds its members; `None` where it refuses them.
pub(crate) fn usage(object: &str) -> Option<Usage> {
    let mut usage = Usage::default();
    for (name, value) in members(object)? {
        match name.as_str() {
            "prompt_tokens_details" | "input_tokens_details" => {
                for (name, value) in details(value)? {
                    match name.as_str() {
                        "cached_tokens" => usage.cached_tokens = tokens(value),
                        "cache_write_tokens" => usage.cache_write_tokens = tokens(value),
                        _ => {}
                    }
                }
            }
            "completion_tokens_details" | "output_tokens_details" => {
                for (name, value) in details(value)? {
                    if name == "reasoning_tokens" {
                        usage.reasoning_tokens = tokens(value);
                    }
                }
            }
            "cost_details" if value.starts_with('{') => {
                for (name, value) in details(value)? {
                    match name.as_str() {
                        "upstream_inference_cost" => {
                            usage.upstream_inference_cost = Usd::from_json(value).ok();
                            usage.unreadable.upstream_inference_cost |=
                                usage.upstream_inference_cost.is_none();
                        }
                        "server_tool_cost" => usage.server_tool_cost = Usd::from_json(value).ok(),
                        _ => {}
                    }
                }
            }
            _ if value == "null" => {}
            "cost_details" => usage.unreadable.upstream_inference_cost = true,
            "prompt_tokens" | "input_tokens" => usage.input_tokens = tokens(value),
            "completion_tokens" | "output_tokens" => usage.output_tokens = tokens(value),
            "cache_read_input_tokens" => {
                usage.cached_tokens = tokens(value);
                usage.cache_is_extra = true;
            }
            "cache_creation_input_tokens" => {
                usage.cache_write_tokens = tokens(value);
                usage.cache_is_extra = true;
            }
            "cost" => {
                usage.cost = Usd::from_json(value).ok();
                usage.unreadable.cost |= usage.cost.is_none();
            }
            "service_tier" => usage.service_tier = decoded(value),
            "is_byok" => {
                usage.is_byok = value.parse().ok();
                usage.unreadable.cost |= usage.is_byok.is_none();
            }
            _ => {}
        }
    }
    Some(usage)
}

/// The members of an object that are not null; none of anything else.
fn details(value: &str) -> Option<Vec<(String, &str)>> {
    if !value.starts_with('{') {
        return Some(Vec::new());
    }
    let mut members = members(value)?;
    members.retain(|(_, value)| *value != "null");
    Some(members)
}

fn tokens(value: &str) -> Option<u64> {
    let exact = || value.parse::<Usd>().ok()?.to_string().parse().ok();
    value.parse().ok().or_else(exact)
}

/// A later usage of a Messages stream over an earlier one.
fn over(later: Usage, earlier: &Usage) -> Usage {
    let mut usage = Usage {
        input_tokens: later.input_tokens.or(earlier.input_tokens),
        output_tokens: later.output_tokens.or(earlier.output_tokens),
        cached_tokens: later.cached_tokens.or(earlier.cached_tokens),
        cache_write_tokens: later.cache_write_tokens.or(earlier.cache_write_tokens),
        cache_is_extra: later.cache_is_extra || earlier.cache_is_extra,
        reasoning_tokens: later.reasoning_tokens.or(earlier.reasoning_tokens),
        cost: later.cost.or(earlier.cost),
        upstream_inference_cost: later
            .upstream_inference_cost
            .or(earlier.upstream_inference_cost),
        is_byok: later.is_byok.or(earlier.is_byok),
        server_tool_cost: later.server_tool_cost.or(earlier.server_tool_cost),
        service_tier: later.service_tier.or(earlier.service_tier.clone()),
        unreadable: later.unreadable,
    };
    usage.unreadable.cost |= earlier.unreadable.cost;
    usage.unreadable.upstream_inference_cost |= earlier.unreadable.upstream_inference_cost;
    usage
}
