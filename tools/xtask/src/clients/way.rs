//! The ways to the gateway.

/// The ways in which a program reaches the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Token,
    Serve,
}
