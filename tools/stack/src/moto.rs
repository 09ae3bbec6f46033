//! AWS Secrets Manager's stand-in: PyPI `moto`. It keeps everything in memory.

use std::process::Command;
use std::time::Duration;

use serde_json::json;

use crate::Env;
use crate::install::Tools;
use crate::port::Port;
use crate::probe::{Probe, agent};
use crate::process::{Launch, Process, ProcessError};
use crate::workspace::RunDir;

const REGION: &str = "us-east-1";
/// Moto checks no signatures, but takes the service from the credential's scope.
const AUTHORIZATION: &str = "AWS4-HMAC-SHA256 \
    Credential=local/20260101/us-east-1/secretsmanager/aws4_request, \
    SignedHeaders=host, Signature=0";

#[derive(Debug, thiserror::Error)]
pub enum MotoError {
    #[error("moto can't be reached: {0}")]
    Unreachable(#[from] ureq::Error),
    #[error("moto refused {action}: {status} {body}")]
    Refused {
        action: &'static str,
        status: u16,
        body: String,
    },
}

/// A running moto server.
#[derive(Debug)]
pub struct Moto {
    process: Process,
    port: Port,
}

impl Moto {
    pub fn start(tools: &Tools, run: &RunDir, port: Port) -> Result<Self, ProcessError> {
        let process = Self::launch(tools, run, &port)?;
        Ok(Self { process, port })
    }

    /// Starts it again if it has ended. Its secrets are gone then.
    pub fn revive(&mut self, tools: &Tools, run: &RunDir) -> Result<bool, ProcessError> {
        let ended = self.process.has_ended();
        if ended {
            self.process = Self::launch(tools, run, &self.port)?;
        }
        Ok(ended)
    }

    fn launch(tools: &Tools, run: &RunDir, port: &Port) -> Result<Process, ProcessError> {
        let mut command = Command::new(tools.python_program("moto_server"));
        command.args(["--host", "127.0.0.1", "--port", &port.number().to_string()]);
        Launch::new("moto", command, run)
            .port(port)
            .ready(
                Probe::http(format!("{}/moto-api/", port.url())),
                Duration::from_mins(1),
            )
            .start()
    }

    /// The endpoint, for `AWS_ENDPOINT_URL_SECRETS_MANAGER`.
    #[must_use]
    pub fn url(&self) -> String {
        self.port.url()
    }

    /// The variables with which an AWS SDK finds it.
    #[must_use]
    pub fn env(&self) -> Env {
        vec![
            ("AWS_REGION", REGION.to_owned()),
            ("AWS_ACCESS_KEY_ID", "local".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "local".to_owned()),
            ("AWS_ENDPOINT_URL_SECRETS_MANAGER", self.url()),
        ]
    }

    /// Stores a new secret.
    /// <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_CreateSecret.html>
    pub fn create_secret(&self, name: &str, value: &str) -> Result<(), MotoError> {
        let body = json!({ "Name": name, "SecretString": value });
        self.call("CreateSecret", &body)
    }

    /// Gives an existing secret a new current value.
    /// <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_PutSecretValue.html>
    pub fn put_secret(&self, name: &str, value: &str) -> Result<(), MotoError> {
        let body = json!({ "SecretId": name, "SecretString": value });
        self.call("PutSecretValue", &body)
    }

    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    fn call(&self, action: &'static str, body: &serde_json::Value) -> Result<(), MotoError> {
        let mut response = agent()
            .post(self.url())
            .header("authorization", AUTHORIZATION)
            .header("content-type", "application/x-amz-json-1.1")
            .header("x-amz-target", format!("secretsmanager.{action}"))
            .send(body.to_string())?;
        if response.status() == 200 {
            return Ok(());
        }
        Err(MotoError::Refused {
            action,
            status: response.status().as_u16(),
            body: response.body_mut().read_to_string()?,
        })
    }
}
