//! Questions about usage, and the database's answers, both in JSON.

mod answers;
mod questions;

pub use answers::{Decimal, Percentiles, RequestEntry, RequestPage, UsageGroup, UsageReport};
pub use questions::{
    Dimension, LocalOffset, Period, Place, ReportQuery, RequestFilter, RequestsQuery, UsageQuery,
};

pub(super) use questions::{ReportJson, RequestsJson};
