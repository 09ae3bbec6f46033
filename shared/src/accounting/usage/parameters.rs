//! The parameters of a query, each read once.

use std::borrow::Cow;

use crate::{identity::canonical::CanonicalQuery, vault::secret::clipped_without_keys};

/// A query parameter that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name} {problem}")]
pub struct ParameterError {
    /// The parameter, as the client named it.
    pub name: String,
    /// The fault and its remedy.
    pub problem: &'static str,
}

impl ParameterError {
    /// The stable name that clients see.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        "invalid_parameter"
    }

    pub(super) fn new(name: &str, problem: &'static str) -> Self {
        Self {
            name: clipped_without_keys(name, 64),
            problem,
        }
    }
}

/// The parameters of one request, all of them known and none given twice.
#[derive(Debug)]
pub struct Parameters<'q>(Vec<(Cow<'q, str>, Cow<'q, str>)>);

impl<'q> Parameters<'q> {
    /// Reads a query. Any parameter other than those `known` is an error that says `otherwise`: a misspelt one would answer
    /// a question that was not asked.
    pub fn read(
        query: &'q CanonicalQuery,
        known: &[&str],
        otherwise: &'static str,
    ) -> Result<Self, ParameterError> {
        let pairs: Vec<_> = query.pairs().collect();
        for (name, _) in &pairs {
            if !known.contains(&name.as_ref()) {
                return Err(ParameterError::new(name, otherwise));
            }
            if pairs.iter().filter(|(other, _)| other == name).count() > 1 {
                return Err(ParameterError::new(name, "is given more than once"));
            }
        }
        Ok(Self(pairs))
    }

    /// The parameter `name` as `parse` reads it, if it is there; what `parse` does not take is a
    /// `problem`.
    pub fn parse<T>(
        &self,
        name: &str,
        problem: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, ParameterError> {
        self.0
            .iter()
            .find(|(it, _)| it == name)
            .map(|(_, value)| parse(value).ok_or_else(|| ParameterError::new(name, problem)))
            .transpose()
    }

    /// Text that the storage can compare with: `PostgreSQL` has no NUL.
    pub(super) fn text(&self, name: &str) -> Result<Option<String>, ParameterError> {
        self.parse(name, "must be 1 to 255 characters", |value| {
            let fits = (1..=255).contains(&value.chars().count()) && !value.contains('\0');
            fits.then(|| value.to_owned())
        })
    }
}

/// Finds `value` among `words`.
pub(super) fn one_of(value: &str, words: &[&'static str]) -> Option<&'static str> {
    words.iter().find(|word| **word == value).copied()
}
