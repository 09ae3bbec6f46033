//! Questions about usage: from query parameters to what the storage is asked, and from its answer to
//! JSON or CSV.

mod answer;
mod csv;
mod cursor;
mod format;
mod labels;
mod parameters;
mod period;
mod requests;
mod summary;
mod zone;

pub use answer::{Page, Summary};
pub use format::Format;
pub use parameters::{ParameterError, Parameters};
pub use requests::RequestsQuestion;
pub use summary::SummaryQuestion;
