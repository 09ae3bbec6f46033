//! TCP ports on loopback that nothing else uses.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

/// The range of free ports: above the usual services, and below 32768, from where on Linux takes the
/// ports of outgoing connections.
const FREE: std::ops::Range<u16> = 25_000..32_000;

/// Opening a link fails.
pub(crate) const NO_FOLLOW: i32 = OFlags::NOFOLLOW.bits().cast_signed();

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
    /// Takes the port `number`, or any free one for 0. `option` is the command line option that the error message names.
    pub fn fixed(number: u16, option: &'static str) -> Result<Self, PortError> {
        if number == 0 {
            return Self::free();
        }
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
        let reservation = lock_file(&folder, user, &number.to_string())?;
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

/// Opens, or makes, a file in a folder that only `user` can change. Every user can write to the folder above,
/// so its entry may be another user's, or a link to a file that must not be touched.
fn lock_file(folder: &Path, user: u32, name: &str) -> io::Result<File> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let found = fs::symlink_metadata(folder)?;
    if !found.is_dir() || found.uid() != user || found.mode() & 0o022 != 0 {
        let problem = format!(
            "{} is not a folder that only this user may write to",
            folder.display()
        );
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, problem));
    }
    // Not truncated, and no link is followed: the file only serves the lock.
    File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(NO_FOLLOW)
        .open(folder.join(name))
}

fn is_free(number: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn what_another_user_may_have_put_there_is_not_touched() {
        let directory = tempfile::tempdir().unwrap();
        let user = rustix::process::getuid().as_raw();
        let precious = directory.path().join("precious");
        fs::write(&precious, "kept").unwrap();
        let folder = |name: &str, mode: u32| {
            let folder = directory.path().join(name);
            fs::create_dir(&folder).unwrap();
            fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).unwrap();
            folder
        };

        let good = folder("good", 0o700);
        symlink(&precious, good.join("1")).unwrap();
        lock_file(&good, user, "1").unwrap_err();
        fs::write(good.join("2"), "kept").unwrap();
        lock_file(&good, user, "2").unwrap();
        assert_eq!(fs::read_to_string(good.join("2")).unwrap(), "kept");
        lock_file(&directory.path().join("new"), user, "1").unwrap();

        lock_file(&folder("open", 0o777), user, "1").unwrap_err();
        lock_file(&folder("another's", 0o700), user + 1, "1").unwrap_err();
        let link = directory.path().join("link");
        symlink(&good, &link).unwrap();
        lock_file(&link, user, "2").unwrap_err();
        lock_file(&precious, user, "1").unwrap_err();
        assert_eq!(fs::read_to_string(&precious).unwrap(), "kept");
    }

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
