//! The families of paths that the gateway refuses to pass on, and the operator's exceptions.

/// Families of paths that need a management key or hand out credentials, as OpenRouter's API
/// description lists them. A pattern names whole leading segments; its last one is a prefix, so
/// that `/keys-of-tomorrow` is refused too.
const REFUSED_FAMILIES: [&str; 15] = [
    "keys",
    "credits",
    "activity",
    "analytics",
    "byok",
    "guardrails",
    "workspaces",
    "observability",
    "organization",
    "scim",
    "private-endpoints",
    "external-users",
    "auth/keys",
    "oauth/token",
    "vault",
];

/// Families of paths below which OpenRouter keeps things that all keys of a workspace share: any of these keys
/// lists, reads, changes and deletes what was stored with another. Refused to callers whose key the gateway
/// made, because those keys are all in the operator's workspace. Patterns as above.
const SHARED_FAMILIES: [&str; 6] = [
    "files",
    "batches",
    "presets",
    "containers",
    "interns",
    "datasets/session-cost",
];

/// Families of paths that are refused, to all or to callers with a provisioned key, unless the operator
/// allows them, and are allowed.
#[derive(Debug, Clone, Default)]
pub struct AllowedFamilies(Vec<&'static str>);

impl AllowedFamilies {
    /// Parses a comma-separated list, e.g. `credits,keys`. The error is the place of the first unknown
    /// name, not the name, because a misplaced secret could stand there.
    pub fn parse(list: &str) -> Result<Self, UnknownFamily> {
        list.split(',')
            .map(str::trim)
            .enumerate()
            .filter(|(_, name)| !name.is_empty())
            .map(|(index, name)| {
                REFUSED_FAMILIES
                    .into_iter()
                    .chain(SHARED_FAMILIES)
                    .find(|family| *family == name)
                    .ok_or(UnknownFamily(index + 1))
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// The family that refuses `path` to everyone.
    pub(super) fn refusal(&self, path: &str) -> Option<&'static str> {
        self.family_of(path, &REFUSED_FAMILIES)
    }

    /// Whether `path` reaches what all provisioned keys share.
    pub(super) fn is_shared(&self, path: &str) -> bool {
        self.family_of(path, &SHARED_FAMILIES).is_some()
    }

    /// The one of `families` that `path` belongs to, unless it is allowed. Compared without case and behind
    /// any number of `v1/`: what OpenRouter's router makes of those is not for us to bet credentials on.
    fn family_of(&self, path: &str, families: &[&'static str]) -> Option<&'static str> {
        let path = path.to_ascii_lowercase();
        let path = path.trim_start_matches("v1/");
        let mut families = families.iter().copied();
        families
            .find(|family| path.starts_with(family))
            .filter(|family| !self.0.contains(family))
    }
}

/// The place in a list, from 1, of a name that is no refused family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("name {0} of the list is not a refused family")]
pub struct UnknownFamily(usize);

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::upstream::endpoint::Route;

    #[test]
    fn the_operator_may_allow_a_family() {
        let allowed = AllowedFamilies::parse("credits, auth/keys").unwrap();
        assert!(Route::parse(&Method::GET, "/api/v1/openrouter/credits", &allowed).is_ok());
        assert!(Route::parse(&Method::GET, "/api/v1/openrouter/keys", &allowed).is_err());
        assert_eq!(
            AllowedFamilies::parse("credits,credit").unwrap_err(),
            UnknownFamily(2)
        );
    }
}
