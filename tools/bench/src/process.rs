//! The kernel's accounts of a process (Linux: `/proc`).

use std::{fs, time::Duration};

use anyhow::{Context as _, Result};
use rustix::process::Pid;

/// The processor time of all threads so far.
/// <https://docs.kernel.org/scheduler/sched-stats.html#proc-pid-schedstat>
pub fn cpu(process: Pid) -> Result<Duration> {
    let folder = format!("/proc/{}/task", process.as_raw_nonzero());
    let mut nanoseconds = 0_u64;
    for task in fs::read_dir(&folder).with_context(|| folder.clone())? {
        // A thread may end before its file is read.
        let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else {
            continue;
        };
        let first = text.split(' ').next().unwrap_or_default();
        nanoseconds += first.parse::<u64>().context("schedstat")?;
    }
    Ok(Duration::from_nanos(nanoseconds))
}

/// The processor time since it was `before`.
pub fn cpu_since(process: Pid, before: Duration) -> Result<Duration> {
    // The time of a thread that has ended is no longer counted.
    Ok(cpu(process)?.saturating_sub(before))
}

/// The memory of a process, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    /// The resident memory.
    pub resident: u64,
    /// The peak of the resident memory.
    pub peak: u64,
}

/// Reads the memory of a process.
/// <https://man7.org/linux/man-pages/man5/proc_pid_status.5.html>
pub fn memory(process: Pid) -> Result<Memory> {
    let path = format!("/proc/{}/status", process.as_raw_nonzero());
    let text = fs::read_to_string(&path).with_context(|| path.clone())?;
    let field = |name: &str| -> Result<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let kilobytes = line.context("status")?.trim().trim_end_matches(" kB");
        Ok(kilobytes.parse::<u64>()? * 1024)
    };
    Ok(Memory {
        resident: field("VmRSS:")?,
        peak: field("VmHWM:")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_uses_time() {
        let this = rustix::process::getpid();
        let before = cpu(this).unwrap();
        let sum: u64 = (0..2_000_000_u64).fold(1, |a, b| std::hint::black_box(a ^ b));
        assert_ne!(sum, 0);
        assert!(cpu(this).unwrap() > before);
        let memory = memory(this).unwrap();
        assert!(memory.resident > 500_000 && memory.peak >= memory.resident);
    }
}
