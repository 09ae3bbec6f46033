//! Names: of members that hold models, and of models.

/// The beginning of a preset's name where a model's is expected.
pub(super) const PRESET: &str = "@preset/";

/// The author of routers, and of models under a cover name.
const OPENROUTER: &str = "openrouter/";

/// Whether a member, field or parameter of this name holds models. Of a name in brackets or with dots
/// (`models[0]`, `body[model]`), any part may.
pub(super) fn is_of_models(name: &str) -> bool {
    words(name).any(|word| {
        let ends_in = |suffix| ends_in_word(word, suffix);
        ends_in("models") || ends_in("model")
    })
}

/// Whether a member, field or parameter of this name holds presets.
pub(super) fn is_of_presets(name: &str) -> bool {
    words(name).any(|word| {
        let is = |it| word.eq_ignore_ascii_case(it);
        is("preset") || is("presets")
    })
}

/// Whether a member takes the model from an earlier message.
pub(super) fn is_of_pinning(name: &str) -> bool {
    words(name).any(|word| word.eq_ignore_ascii_case("pin_model"))
}

fn words(name: &str) -> impl Iterator<Item = &str> {
    let is_blank = |c: char| c.is_whitespace() || c.is_control();
    name.split(['[', ']', '.'])
        .map(move |word| word.trim_matches(is_blank))
}

/// Whether `suffix` is all of a word or the last word in it: `draft_model`, `draft-model`, `draftModel`.
fn ends_in_word(word: &str, suffix: &str) -> bool {
    let Some((stem, end)) = word
        .len()
        .checked_sub(suffix.len())
        .and_then(|at| word.split_at_checked(at))
    else {
        return false;
    };
    let begins_a_word = match stem.chars().next_back() {
        None | Some('_' | '-') => true,
        Some(before) => !before.is_uppercase() && end.starts_with('M'),
    };
    begins_a_word && end.eq_ignore_ascii_case(suffix)
}

/// Whether a model's name stands for models that it does not say: a preset, a router, or anything that is
/// not of the form `author/name:variant`.
pub(super) fn needs_literal(model: &str) -> bool {
    let is_slug = model
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-._:/~*+".contains(&byte))
        && model.bytes().filter(|byte| *byte == b'/').count() <= 1;
    let name = model.trim_start_matches('~').to_ascii_lowercase();
    let (name, _variant) = name.split_once(':').unwrap_or((&name, ""));
    // Other authors have routers, too: `switchpoint/router`.
    let is_router =
        name.starts_with(OPENROUTER) || name.ends_with("router") || name.ends_with("/auto");
    !is_slug || is_router
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_that_hold_models() {
        for name in [
            "model",
            "models",
            "Model",
            "MODELS",
            "allowed_models",
            "judge_model",
            "draft-model",
            "draftModel",
            "analysisModels",
            "x_MODEL",
            "model[]",
            "models[0]",
            "body[model]",
            "body.model",
            " model\u{0}",
            "é_model",
        ] {
            assert!(is_of_models(name), "{name}");
        }
        for name in [
            "",
            "mode",
            "model_id",
            "modelled",
            "supermodel",
            "SUPERMODEL",
            "remodels",
            "model_name",
            "modality",
            "odel",
            "models_endpoint",
            "\u{1f980}odel",
            "m\u{f6}del",
        ] {
            assert!(!is_of_models(name), "{name}");
        }
        assert!(
            is_of_presets("preset") && is_of_presets("Presets") && !is_of_presets("voice_preset")
        );
        assert!(is_of_pinning("pin_model") && !is_of_pinning("model"));
    }

    #[test]
    fn names_that_stand_for_others() {
        for model in [
            "@preset/p",
            "openai/gpt-5@preset/p",
            "openrouter/auto",
            "openrouter/auto:free",
            "OpenRouter/Auto",
            "~openrouter/auto",
            "openrouter/fusion",
            " openrouter/auto",
            "openai/gpt-5,openai/o3",
            "openai/gpt-5 ",
            "openai/../openrouter/auto",
            "openai/gpt-5?x",
            "openai/gpt-5\n",
            "öpenai/gpt",
            "switchpoint/router",
            "x/y-router:free",
            "x/auto",
        ] {
            assert!(needs_literal(model), "{model}");
        }
        for model in [
            "openai/gpt-5",
            "anthropic/claude-sonnet-4.6",
            "meta-llama/llama-3.3-70b-instruct:free",
            "gpt-4o",
            "~openai/gpt-latest",
            "openai/*",
            "*:free",
            "",
            "openai/gpt-4o:nitro",
            "x-openrouter/y",
        ] {
            assert!(!needs_literal(model), "{model}");
        }
    }
}
