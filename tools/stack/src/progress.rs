//! Progress lines on standard error: the current work, and the time that it took.

use std::io::{IsTerminal as _, Write as _};
use std::time::Instant;

/// Does `work` under a line `label … 1.2 s`.
pub fn step<T, E>(label: &str, work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    let mut stderr = std::io::stderr();
    // In a log file a line must not wait for the work's end; in a terminal it is completed.
    let open = stderr.is_terminal();
    let start = Instant::now();
    let _ = write!(stderr, "  {label} …{}", if open { " " } else { "\n" });
    let _ = stderr.flush();
    let result = work();
    let took = start.elapsed().as_secs_f32();
    let verdict = if result.is_ok() { "" } else { "failed after " };
    if open {
        let _ = writeln!(stderr, "{verdict}{took:.1} s");
    } else {
        let _ = writeln!(stderr, "  {label}: {verdict}{took:.1} s");
    }
    result
}
