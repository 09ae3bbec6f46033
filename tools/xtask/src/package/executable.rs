//! Whether Lambda can start an executable, read from its ELF headers.

use std::fmt;

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;
use object::LittleEndian;
use object::elf::{EM_AARCH64, EM_X86_64, FileHeader64};
use object::read::elf::{FileHeader as _, SectionTable};

/// A processor that Lambda has, by the name that it has there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Architecture {
    #[value(name = "arm64")]
    Arm64,
    #[value(name = "x86_64")]
    X86_64,
}

impl Architecture {
    /// The architecture of this machine.
    pub(super) fn host() -> Result<Self> {
        match std::env::consts::ARCH {
            "aarch64" => Ok(Self::Arm64),
            "x86_64" => Ok(Self::X86_64),
            other => bail!("Lambda has no {other} processors; choose one with --architecture"),
        }
    }

    /// ELF's `e_machine`.
    fn machine(self) -> u16 {
        match self {
            Self::Arm64 => EM_AARCH64,
            Self::X86_64 => EM_X86_64,
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Arm64 => "arm64",
            Self::X86_64 => "x86_64",
        })
    }
}

/// A release of the GNU C library.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Glibc(u32, u32);

impl Glibc {
    /// The version of Amazon Linux 2023, and so of Lambda's `provided.al2023`.
    /// <https://docs.aws.amazon.com/linux/al2023/ug/core-glibc.html>
    pub(super) const OF_LAMBDA: Self = Self(2, 34);

    /// The release in a symbol's version such as `GLIBC_2.30` or `GLIBC_2.2.5`; others, such as
    /// `GLIBC_ABI_DT_RELR`, name no release.
    fn of_version(version: &str) -> Option<Self> {
        let mut numbers = version.strip_prefix("GLIBC_")?.split('.');
        Some(Self(
            numbers.next()?.parse().ok()?,
            numbers.next()?.parse().ok()?,
        ))
    }
}

impl fmt::Display for Glibc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// Refuses an executable that does not start on `architecture` or with the library `glibc`: the
/// dynamic linker ends a process that needs a version of a symbol which its library does not have.
///
/// Returns the oldest library that it starts with, if it needs one at all.
pub(super) fn check(
    executable: &[u8],
    architecture: Architecture,
    glibc: Glibc,
) -> Result<Option<Glibc>> {
    let header = FileHeader64::<LittleEndian>::parse(executable)?;
    let endian = header.endian()?;
    let machine = header.e_machine(endian);
    if machine != architecture.machine() {
        bail!("its processor is not {architecture} but ELF's number {machine}");
    }
    let mut oldest = None;
    for version in versions(&header.sections(endian, executable)?, endian, executable)? {
        let needed = Glibc::of_version(version)
            .filter(|needed| *needed <= glibc)
            .with_context(|| format!("it needs {version}; Lambda has glibc {glibc}"))?;
        oldest = oldest.max(Some(needed));
    }
    Ok(oldest)
}

/// The versions of the C library's symbols that an executable needs, from its `.gnu.version_r`.
/// <https://refspecs.linuxfoundation.org/LSB_5.0.0/LSB-Core-generic/LSB-Core-generic/symversion.html>
fn versions<'a>(
    sections: &SectionTable<'a, FileHeader64<LittleEndian>>,
    endian: LittleEndian,
    executable: &'a [u8],
) -> Result<Vec<&'a str>> {
    let Some((libraries, names)) = sections.gnu_verneed(endian, executable)? else {
        return Ok(Vec::new());
    };
    let names = sections.strings(endian, executable, names)?;
    let mut found = Vec::new();
    for library in libraries {
        let (_, versions) = library?;
        for version in versions {
            let name = str::from_utf8(version?.name(endian, names)?)?;
            if name.starts_with("GLIBC_") {
                found.push(name);
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
