//! The addresses of a deployment.

use std::iter;

use crate::identity::signing::Audience;

/// The base URLs under which this deployment is reached, one to [`Audiences::MAX`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audiences {
    first: Audience,
    others: Vec<Audience>,
}

impl Audiences {
    /// Each costs a wrong signature one more verification.
    pub const MAX: usize = 4;

    /// Takes the audiences in the order in which they are tried.
    pub fn new(audiences: Vec<Audience>) -> Result<Self, AudienceCount> {
        let given = audiences.len();
        let mut audiences = audiences.into_iter();
        match audiences.next() {
            Some(first) if given <= Self::MAX => Ok(Self {
                first,
                others: audiences.collect(),
            }),
            Some(_) | None => Err(AudienceCount { given }),
        }
    }

    /// The audience that is tried first.
    #[must_use]
    pub fn first(&self) -> &Audience {
        &self.first
    }

    /// The audiences in order.
    pub fn iter(&self) -> impl Iterator<Item = &Audience> {
        iter::once(&self.first).chain(&self.others)
    }

    /// The number of audiences.
    #[expect(clippy::len_without_is_empty, reason = "there is always one")]
    #[must_use]
    pub fn len(&self) -> usize {
        self.others.len() + 1
    }
}

/// None, or more than [`Audiences::MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("1 to {max} audiences are needed, {given} were given", max = Audiences::MAX)]
pub struct AudienceCount {
    /// The number that was given.
    pub given: usize,
}
