//! Ends child processes when this process ends, for any reason.
//!
//! Destructors don't run on signals, on `abort`, nor for statics, and `PR_SET_PDEATHSIG` follows
//! the thread that spawned a child, not the process. So one shell holds the reading end of a pipe
//! whose writing end only this process has: when the pipe closes, it ends every process group
//! that is still registered.

use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use rustix::process::Pid;

/// Reads lines `watch <group>` and `forget <group>`. Groups get 5 s to end by themselves.
const SCRIPT: &str = r#"
trap '' INT TERM HUP
watched=
while read -r verb group; do
  kept=
  for each in $watched; do [ "$each" = "$group" ] || kept="$kept $each"; done
  watched=$kept
  [ "$verb" = watch ] && watched="$watched $group"
done
for group in $watched; do kill -s TERM -- "-$group" 2>/dev/null; done
tries=50
while [ $tries -gt 0 ]; do
  alive=
  for group in $watched; do kill -s 0 -- "-$group" 2>/dev/null && alive=yes; done
  [ -z "$alive" ] && exit
  sleep 0.1
  tries=$((tries - 1))
done
for group in $watched; do kill -s KILL -- "-$group" 2>/dev/null; done
"#;

static WATCHDOG: Mutex<Option<ChildStdin>> = Mutex::new(None);

/// Makes the process group `group` end with this process.
pub(crate) fn watch(group: Pid) -> io::Result<()> {
    tell("watch", group)
}

/// The group has ended: its number may be given to others.
pub(crate) fn forget(group: Pid) {
    // Without a watchdog there is nothing to forget.
    let _ = tell("forget", group);
}

fn tell(verb: &str, group: Pid) -> io::Result<()> {
    let mut watchdog = WATCHDOG.lock().unwrap_or_else(PoisonError::into_inner);
    let mut pipe = match watchdog.take() {
        Some(pipe) => pipe,
        None => start()?,
    };
    writeln!(pipe, "{verb} {group}", group = group.as_raw_nonzero())?;
    *watchdog = Some(pipe);
    Ok(())
}

fn start() -> io::Result<ChildStdin> {
    let mut child = Command::new("sh")
        .args(["-c", SCRIPT])
        .stdin(Stdio::piped())
        // A reader of this process's output must not wait for the watchdog.
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // Out of reach of the terminal's Ctrl-C.
        .process_group(0)
        .current_dir("/")
        .spawn()?;
    child
        .stdin
        .take()
        .ok_or_else(|| io::Error::other("no pipe to the watchdog"))
}
