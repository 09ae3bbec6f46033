//! The program as it is run: by users against stand-ins, by operators against real services.

#![cfg(test)]

mod account;
mod admin;
mod administration;
mod commands;
mod gateway;
mod imports;
mod profiles;
mod run;
mod serve;
mod terminal;
mod user;
