//! TCP ports on loopback that nothing else uses.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

/// The range of free ports: above the usual services, and below 32768, from where on Linux takes the
/// ports of outgoing connections.
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
    #[error("{} must be a folder of this user that others cannot change; remove it", .0.display())]
    Folder(PathBuf),
}

/// A port that was free when it was taken, and that is not given out again through this type, in this
/// process or another one, as long as the value lives.
#[derive(Debug)]
pub struct Port {
    number: u16,
    option: Option<&'static str>,
    /// Locked; the kernel releases it when the process ends.
    _reservation: File,
}

impl Port {
    /// Takes the port `number`. `option` is the command line option that the error message names.
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
        Self::take_in(&folder, number, option)
    }

    fn take_in(
        folder: &Path,
        number: u16,
        option: Option<&'static str>,
    ) -> Result<Option<Self>, PortError> {
        ensure_private(folder)?;
        let reservation = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(folder.join(number.to_string()))?;
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

/// Makes a folder that only this user can change. The temporary directory is everyone's: another user may
/// have made the folder, or a link in its place, so that locking a file would create or change one
/// elsewhere.
fn ensure_private(folder: &Path) -> Result<(), PortError> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error.into()),
        Ok(()) | Err(_) => {}
    }
    let found = fs::symlink_metadata(folder)?;
    let is_own = found.is_dir() && found.uid() == rustix::process::getuid().as_raw();
    if is_own && found.mode() & 0o022 == 0 {
        Ok(())
    } else {
        Err(PortError::Folder(folder.to_owned()))
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

    #[test]
    fn a_folder_that_others_made_or_can_write_is_refused() {
        use std::os::unix::fs::{PermissionsExt as _, symlink};

        let temporary = tempfile::tempdir().unwrap();
        let take = |folder: &Path| Port::take_in(folder, 31_999, None);

        let own = temporary.path().join("own");
        fs::create_dir(temporary.path().join("elsewhere")).unwrap();
        fs::write(temporary.path().join("elsewhere/31999"), "kept").unwrap();
        let link = temporary.path().join("link");
        symlink(temporary.path().join("elsewhere"), &link).unwrap();
        assert!(matches!(take(&link), Err(PortError::Folder(_))));
        let open = temporary.path().join("elsewhere");
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(take(&open), Err(PortError::Folder(_))));
        let kept = fs::read_to_string(open.join("31999")).unwrap();
        assert_eq!(kept, "kept");

        assert!(take(&own).is_ok());
        assert_eq!(
            fs::metadata(&own).unwrap().permissions().mode() & 0o777,
            0o700
        );
        // A reservation changes nothing in its file.
        fs::write(own.join("31999"), "kept").unwrap();
        drop(take(&own).unwrap());
        assert_eq!(fs::read_to_string(own.join("31999")).unwrap(), "kept");
    }
}
