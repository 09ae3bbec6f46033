//! The program as it is run: by users against stand-ins, by operators against real services.

#![cfg(test)]

mod account;
mod admin;
mod administration;
mod commands;
mod completions;
mod gateway;
mod imports;
mod profiles;
mod run;
mod serve;
mod session;
mod terminal;
mod user;
