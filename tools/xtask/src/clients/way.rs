//! The ways to the gateway.

/// The ways in which a program reaches the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Token,
    Serve,
    Run,
}

impl Way {
    /// All of them, in the order of the table's columns.
    pub(super) const ALL: [Self; 3] = [Self::Token, Self::Serve, Self::Run];
}
