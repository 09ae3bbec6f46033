//! Errors as the log tells them.

/// An error and what caused it, for the log. `tracing`'s JSON format writes only the
/// error itself.
#[must_use]
pub fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Transparent errors repeat their cause.
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_is_told_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("connection refused")]
        struct Refused;
        #[derive(Debug, thiserror::Error)]
        #[error(transparent)]
        struct Connect(Refused);
        #[derive(Debug, thiserror::Error)]
        #[error("storage failed")]
        struct Storage(#[source] Connect);
        assert_eq!(
            causes(&Storage(Connect(Refused))),
            "storage failed: connection refused"
        );
    }
}
