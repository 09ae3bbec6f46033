//! Helpers that read answers and logs, and that change a user in the database.

use std::time::Duration;

use e2e::{user::User, world::World};
use reqwest::Response;
use serde_json::Value;

pub(crate) trait Told {
    /// The body as JSON.
    async fn json_value(self) -> Value;

    /// Status and, where there is one, the reason.
    async fn verdict(self) -> (u16, Value);
}

impl Told for Response {
    async fn json_value(self) -> Value {
        serde_json::from_slice(&self.bytes().await.unwrap()).unwrap()
    }

    async fn verdict(self) -> (u16, Value) {
        let status = self.status().as_u16();
        let body = self.json_value().await;
        (status, body["error"]["metadata"]["reason"].clone())
    }
}

/// Waits until `find` finds something in a log of `what`.
pub(crate) async fn logged<T>(
    what: &str,
    log: impl Fn() -> String,
    find: impl Fn(&str) -> Option<T>,
) -> T {
    for _ in 0..200 {
        if let Some(found) = find(&log()) {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("no {what} in the log");
}

/// Changes columns of the user's account.
pub(crate) fn set(world: &World, user: &User<'_>, change: &str) {
    let did = user.did.as_str();
    world
        .sql(&format!(
            "UPDATE public.accounts SET {change} WHERE did = '{did}'"
        ))
        .unwrap();
}
