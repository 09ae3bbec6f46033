//! What the gateway adds to a request, measured on the executables that are deployed.
//!
//! They run in the ledger test's [Lambda](stack::lambda) between [stubs] that answer at once,
//! so that what is left is the gateway's own. In the same run the same requests go to the stub
//! directly, through a function that only passes on (`tools/bench/passthrough`), and through Envoy, so that
//! every figure is a ratio. First the protocol is [qualified](qualify): the bytes must be equal and the
//! row right. Only then is anything timed. A benchmark never fails because of a figure.

pub mod answers;
pub mod crowd;
pub mod figures;
pub mod measure;
pub mod peer;
pub mod process;
pub mod qualify;
pub mod run;
pub mod stubs;
pub mod subject;

pub use run::{Options, run};
