//! Tests of whether a service is ready.

use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use ureq::Agent;

/// A test that is repeated until it succeeds.
#[derive(Debug)]
pub enum Probe {
    /// Ready as soon as it runs.
    None,
    /// Connections to this port of 127.0.0.1 are accepted.
    Tcp(u16),
    /// `GET url` answers 200.
    Http {
        url: String,
        headers: Vec<(&'static str, String)>,
    },
    /// The command succeeds.
    Command(Command),
    /// The file exists.
    File(PathBuf),
    /// A line of the file contains the text.
    Line { file: PathBuf, text: String },
}

impl Probe {
    /// `GET url` answers 200.
    pub fn http(url: impl Into<String>) -> Self {
        Self::Http {
            url: url.into(),
            headers: Vec::new(),
        }
    }

    /// The command succeeds.
    #[must_use]
    pub fn command(mut command: Command) -> Self {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Self::Command(command)
    }

    /// The file exists.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self::File(path.into())
    }

    pub(crate) fn succeeds(&mut self) -> bool {
        match self {
            Self::None => true,
            Self::Tcp(port) => TcpStream::connect((Ipv4Addr::LOCALHOST, *port)).is_ok(),
            Self::Http { url, headers } => {
                let request = headers
                    .iter()
                    .fold(agent().get(url.as_str()), |request, (name, value)| {
                        request.header(*name, value.as_str())
                    });
                request
                    .call()
                    .is_ok_and(|response| response.status() == 200)
            }
            Self::Command(command) => command.status().is_ok_and(|status| status.success()),
            Self::File(path) => path.exists(),
            Self::Line { file, text } => std::fs::read(file)
                .is_ok_and(|content| String::from_utf8_lossy(&content).contains(text.as_str())),
        }
    }
}

/// A client for services on loopback: short timeouts, no proxies, statuses are answers.
pub(crate) fn agent() -> Agent {
    Agent::config_builder()
        .http_status_as_error(false)
        .proxy(None)
        .timeout_global(Some(Duration::from_secs(10)))
        .build()
        .new_agent()
}
