//! The private parsers, for fuzz targets.

use lambda_http::request::LambdaRequest;
use shared::request::Incoming;

use crate::event;

/// The request that an event's JSON carries, or why it carries none.
pub fn event(json: &[u8]) -> Result<Incoming, String> {
    let event: LambdaRequest = serde_json::from_slice(json).map_err(|error| error.to_string())?;
    event::request(event).map_err(|error| error.to_string())
}
