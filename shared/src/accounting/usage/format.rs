//! The choice of a response's representation.

use http::{HeaderMap, header};

use super::parameters::{ParameterError, Parameters};

/// The representation of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `{"success":true,"data":…}`
    Json,
    /// Comma-separated values (RFC 4180).
    Csv,
}

impl Format {
    /// Reads the parameter `format`, or else the header `Accept`.
    pub(super) fn read(
        parameters: &Parameters<'_>,
        headers: &HeaderMap,
    ) -> Result<Self, ParameterError> {
        let named = parameters.parse("format", "must be json or csv", |value| match value {
            "json" => Some(Self::Json),
            "csv" => Some(Self::Csv),
            _ => None,
        })?;
        Ok(named.unwrap_or_else(|| Self::accepted(headers)))
    }

    /// CSV only for those who prefer it to JSON (RFC 9110, section 12.5.1). No one is refused.
    fn accepted(headers: &HeaderMap) -> Self {
        let ranges = || {
            headers
                .get_all(header::ACCEPT)
                .iter()
                .filter_map(|value| value.to_str().ok())
                .flat_map(|value| value.split(','))
                .map(range)
        };
        let weight = |wanted: &[&str]| {
            ranges()
                .filter(|(name, _)| wanted.iter().any(|it| name.eq_ignore_ascii_case(it)))
                .map(|(_, weight)| weight)
                .fold(0.0, f32::max)
        };
        let csv = weight(&["text/csv"]);
        if csv > weight(&["application/json"]) && csv >= weight(&["application/*", "*/*"]) {
            Self::Csv
        } else {
            Self::Json
        }
    }
}

/// A media range and its weight.
fn range(text: &str) -> (&str, f32) {
    let mut parts = text.split(';').map(str::trim);
    let name = parts.next().unwrap_or_default();
    let weight = parts
        .find_map(|part| part.strip_prefix("q="))
        .and_then(|weight| weight.parse().ok())
        .unwrap_or(1.0);
    (name, weight)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_is_for_those_who_prefer_it() {
        for (accept, csv) in [
            ("", false),
            ("*/*", false),
            ("application/json", false),
            ("text/csv", true),
            ("Text/CSV; charset=utf-8", true),
            ("text/csv, */*;q=0.1", true),
            ("text/csv, application/json", false),
            ("application/json;q=0.5, text/csv;q=0.9", true),
            ("text/csv;q=0.1, */*", false),
            ("text/csv;q=0", false),
            ("text/*", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, accept.parse().unwrap());
            assert_eq!(Format::accepted(&headers) == Format::Csv, csv, "{accept}");
        }
        assert_eq!(Format::accepted(&HeaderMap::new()), Format::Json);
    }
}
