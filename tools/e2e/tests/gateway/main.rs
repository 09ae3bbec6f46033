//! The gateway as its users meet it: request in, answer out, then the rows.

mod answers;
mod clients;
mod events;
mod failures;
mod refusals;
mod secrecy;
