//! The time and memory that the gateway adds to a request, measured on the deployed executables.
//!
//! They run in the [Lambda](stack::lambda) of the tests, between [stubs] that answer at once, so that the
//! remaining time is the gateway's. In the same run the same requests go to the stub directly, through
//! a function that only forwards (`tools/bench/passthrough`), and through Envoy, so that every figure is
//! a ratio. Before anything is timed, each subject is [qualified](qualify): its bytes must be equal and
//! the row right. A benchmark never fails because of a figure.

pub mod crowd;
pub mod figures;
pub mod measure;
mod options;
pub mod peer;
pub mod process;
pub mod qualify;
pub mod run;
pub mod stubs;
pub mod subject;

pub use options::Options;
pub use run::run;
