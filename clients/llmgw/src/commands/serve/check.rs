//! The check at the start: one question to the gateway, so that a fault is told here and not by every
//! program in words of its own. It runs beside the server, which waits for nothing.

use std::time::Duration;

use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use shared::causes::causes;
use tokio::time::timeout;

use crate::{
    api::{self, KEYS},
    client::Client,
    response::{ErrorResponse, date},
};

/// The timeout of the question.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The difference that the resolution of `Date` and a slow network explain.
const HARMLESS_SKEW: SignedDuration = SignedDuration::from_secs(30);

/// The faults that requests will meet: no gateway, a wrong clock or audience, no key.
pub(super) async fn findings(client: &Client, now: impl Fn() -> Timestamp) -> Vec<String> {
    let asked = async {
        let draft = api::get(KEYS, &[]).map_err(|error| causes(&error))?;
        let response = client.send_by_server_clock(draft).await;
        let response = response.map_err(|error| causes(&error))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let skew = date(&headers).map(|there| now().duration_since(there));
        let body = response.bytes().await.unwrap_or_default();
        Ok::<_, String>((status, ErrorResponse::new(status, &headers, &body), skew))
    };
    let (status, error, skew) = match timeout(TIMEOUT, asked).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(fault)) => return vec![fault],
        Err(_) => {
            let seconds = TIMEOUT.as_secs();
            return vec![format!(
                "the gateway at {} does not answer within {seconds} s",
                client.gateway().base()
            )];
        }
    };
    let mut findings = Vec::new();
    if let Some(skew) = skew.filter(|skew| skew.abs() > HARMLESS_SKEW) {
        findings.push(format!(
            "this machine's clock is {:+} s from the gateway's; set it (llmgw serve signs by the gateway's \
             meanwhile)",
            skew.as_secs()
        ));
    }
    if status.is_client_error() || status.is_server_error() {
        findings.push(error.to_string());
    } else if status != StatusCode::OK {
        findings.push(format!(
            "{} answers {status}, which no gateway does; check its address",
            client.gateway().base()
        ));
    }
    findings
}
