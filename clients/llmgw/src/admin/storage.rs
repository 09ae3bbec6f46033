//! The database functions for operators: accounts, seals, emergency records. The gateway's functions call none
//! of them.

mod accounts;
mod client;
mod emergency;
mod features;
mod sealing;

pub use self::{
    accounts::{Account, AccountChange, AccountHistory, Changed, KeyEvent, Settings},
    client::AdminStorage,
    emergency::{EmergencyRecord, NotARecord},
    features::{Access, probe},
    sealing::{
        Insert, MOST_RESEALED, Reseal, ResealAction, ResealOutcome, Resealed, SealCount,
        SealedPage, StoredKey,
    },
};
