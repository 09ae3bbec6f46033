use super::*;

#[test]
fn a_version_is_read_as_its_release() {
    assert_eq!(Glibc::of_version("GLIBC_2.34"), Some(Glibc(2, 34)));
    assert_eq!(Glibc::of_version("GLIBC_2.2.5"), Some(Glibc(2, 2)));
    assert_eq!(Glibc::of_version("GLIBC_ABI_DT_RELR"), None);
    assert_eq!(Glibc::of_version("GLIBC_PRIVATE"), None);
    // As numbers, not as text.
    assert!(Glibc::of_version("GLIBC_2.9") < Glibc::of_version("GLIBC_2.34"));
}

#[test]
fn what_is_no_executable_is_refused() {
    for bytes in [&b""[..], b"#!/bin/sh\nexit 0\n", &[0; 1000]] {
        assert!(check(bytes, Architecture::X86_64, Glibc::OF_LAMBDA).is_err());
    }
}

/// The test program itself, which was linked with this machine's library.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod of_this_machine {
    use super::*;

    const ANY: Glibc = Glibc(u32::MAX, 0);

    fn this() -> (Vec<u8>, Architecture) {
        let path = std::env::current_exe().unwrap();
        (std::fs::read(path).unwrap(), Architecture::host().unwrap())
    }

    #[test]
    fn the_oldest_library_that_it_starts_with_is_the_limit() {
        let (executable, host) = this();
        let oldest = check(&executable, host, ANY).unwrap().unwrap();
        assert!(oldest > Glibc(2, 2), "{oldest}");
        assert_eq!(check(&executable, host, oldest).unwrap(), Some(oldest));

        let older = Glibc(oldest.0, oldest.1 - 1);
        let error = check(&executable, host, older).unwrap_err().to_string();
        assert_eq!(
            error,
            format!("it needs GLIBC_{oldest}; Lambda has glibc {older}")
        );
    }

    #[test]
    fn another_processor_is_refused() {
        let (executable, host) = this();
        let other = match host {
            Architecture::Arm64 => Architecture::X86_64,
            Architecture::X86_64 => Architecture::Arm64,
        };
        let error = check(&executable, other, ANY).unwrap_err().to_string();
        assert!(error.contains(&other.to_string()), "{error}");
    }
}
