//! TCP ports on loopback that nothing else uses.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, TcpListener};

/// Free ports are looked for here: above the usual services, below 32768, where Linux takes the
/// ports of outgoing connections from.
const FREE: std::ops::Range<u16> = 25_000..32_000;

#[derive(Debug, thiserror::Error)]
pub enum PortError {
    #[error(
        "port {number} is in use: end the program that uses it{}",
        option.map(|it| format!(", or choose another port with {it}")).unwrap_or_default()
    )]
    Busy {
        number: u16,
        option: Option<&'static str>,
    },
    #[error("no free port from {} to {}", FREE.start, FREE.end)]
    NoneFree,
    #[error("can't reserve a port: {0}")]
    Reserve(#[from] io::Error),
}

/// A port that was free when it was taken, and that nobody else who takes ports through this type
/// gets, in this process or another one, as long as the value lives.
#[derive(Debug)]
pub struct Port {
    number: u16,
    option: Option<&'static str>,
    /// Locked; the kernel releases it when the process ends.
    _reservation: File,
}

impl Port {
    /// This very port. `option` is the command line option that the error message names.
    pub fn fixed(number: u16, option: &'static str) -> Result<Self, PortError> {
        Self::take(number, Some(option))?.ok_or(PortError::Busy {
            number,
            option: Some(option),
        })
    }

    /// Any free port. Safe to call from tests that run in parallel.
    pub fn free() -> Result<Self, PortError> {
        // Processes start at different places, so that they rarely try each other's ports.
        let size = u32::from(FREE.end - FREE.start);
        let start = std::process::id().wrapping_mul(97) % size;
        for step in 0..size {
            let offset = u16::try_from((start + step) % size).unwrap_or_default();
            if let Some(port) = Self::take(FREE.start + offset, None)? {
                return Ok(port);
            }
        }
        Err(PortError::NoneFree)
    }

    #[must_use]
    pub fn number(&self) -> u16 {
        self.number
    }

    /// `http://127.0.0.1:<port>`, without a trailing slash.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.number)
    }

    /// Fails if something took the port after it was reserved.
    pub(crate) fn check(&self) -> Result<(), PortError> {
        if is_free(self.number) {
            Ok(())
        } else {
            Err(PortError::Busy {
                number: self.number,
                option: self.option,
            })
        }
    }

    fn take(number: u16, option: Option<&'static str>) -> Result<Option<Self>, PortError> {
        let user = rustix::process::getuid().as_raw();
        let folder = std::env::temp_dir().join(format!("llm-gateway-ports-{user}"));
        fs::create_dir_all(&folder)?;
        let reservation = File::create(folder.join(number.to_string()))?;
        match reservation.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Ok(None),
            Err(fs::TryLockError::Error(error)) => return Err(error.into()),
        }
        Ok(is_free(number).then_some(Self {
            number,
            option,
            _reservation: reservation,
        }))
    }
}

fn is_free(number: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_ports_differ_and_stay_below_the_ephemeral_range() {
        let ports: Vec<Port> = (0..20).map(|_| Port::free().unwrap()).collect();
        let mut numbers: Vec<u16> = ports.iter().map(Port::number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), ports.len());
        assert!(numbers.iter().all(|number| *number < 32_768));
    }

    #[test]
    fn a_busy_port_is_named_with_the_option_that_changes_it() {
        let port = Port::free().unwrap();
        let _listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port.number())).unwrap();
        let number = port.number();
        drop(port);

        let message = Port::fixed(number, "--port").unwrap_err().to_string();

        assert_eq!(
            message,
            format!(
                "port {number} is in use: end the program that uses it, \
                 or choose another port with --port"
            )
        );
    }
}
