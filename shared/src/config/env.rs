//! The environment: where variables are read, and their faults collected.

use std::{fmt, time::Duration};

use tracing::level_filters::LevelFilter;

/// A fault in one variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The environment variable.
    pub variable: &'static str,
    /// The fault and its remedy, without the variable's value.
    pub problem: String,
}

/// All that is wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults(pub Vec<Fault>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the configuration is not usable:")?;
        self.0
            .iter()
            .try_for_each(|fault| write!(f, "\n  {}: {}", fault.variable, fault.problem))
    }
}

impl std::error::Error for Faults {}

type Lookup<'a> = Box<dyn Fn(&str) -> Option<String> + 'a>;

/// Reads environment variables and collects what is wrong with them.
pub struct Env<'a> {
    lookup: Lookup<'a>,
    faults: Vec<Fault>,
}

impl fmt::Debug for Env<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Env")
            .field("faults", &self.faults)
            .finish_non_exhaustive()
    }
}

impl<'a> Env<'a> {
    /// Variables as `lookup` finds them.
    pub fn new(lookup: impl Fn(&str) -> Option<String> + 'a) -> Self {
        Self {
            lookup: Box::new(lookup),
            faults: Vec::new(),
        }
    }

    /// The process's own environment; the only place that reads it.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "this is where the environment enters"
    )]
    pub fn process() -> Self {
        Self::new(|name| std::env::var(name).ok())
    }

    /// Whether a variable has a value.
    #[must_use]
    pub fn is_set(&self, variable: &'static str) -> bool {
        self.optional(variable).is_some()
    }

    /// The log level that `RUST_LOG` names, if it names one.
    #[must_use]
    pub fn log_level(&self) -> Option<LevelFilter> {
        self.optional("RUST_LOG")?.parse().ok()
    }

    /// A variable whose absence or emptiness means `None`.
    #[must_use]
    pub fn optional(&self, variable: &'static str) -> Option<String> {
        (self.lookup)(variable)
            .map(|value| value.trim().to_owned())
            .filter(|value| !value.is_empty())
    }

    pub(super) fn required(&mut self, variable: &'static str, what: &str) -> Option<String> {
        let value = self.optional(variable);
        if value.is_none() {
            self.fault(variable, format!("is not set; it must be {what}"));
        }
        value
    }

    pub(super) fn parsed<T, E: fmt::Display>(
        &mut self,
        variable: &'static str,
        value: Option<String>,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        match parse(&value?) {
            Ok(parsed) => Some(parsed),
            Err(error) => {
                self.fault(variable, error.to_string());
                None
            }
        }
    }

    /// A flag that is off unless it is set.
    pub(super) fn flag(&mut self, variable: &'static str) -> Option<bool> {
        let value = self
            .optional(variable)
            .unwrap_or_else(|| "false".to_owned());
        self.parsed(variable, Some(value), |value| {
            value.parse().map_err(|_| "must be true or false")
        })
    }

    pub(super) fn fault(&mut self, variable: &'static str, problem: String) {
        self.faults.push(Fault { variable, problem });
    }

    pub(super) fn milliseconds(&mut self, variable: &'static str, default: Duration) -> Duration {
        let value = self.optional(variable);
        self.parsed(variable, value, |value| {
            value
                .parse::<u64>()
                .ok()
                .filter(|ms| (1..=900_000).contains(ms))
                .map(Duration::from_millis)
                .ok_or("must be a number of milliseconds from 1 to 900000")
        })
        .unwrap_or(default)
    }

    /// The configuration, or every fault found so far.
    pub(super) fn finish<T>(self, config: Option<T>) -> Result<T, Faults> {
        match config {
            Some(config) if self.faults.is_empty() => Ok(config),
            _ => Err(Faults(self.faults)),
        }
    }
}
