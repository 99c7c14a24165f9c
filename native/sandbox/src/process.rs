//! What a process says of itself: no new privileges, no dumps.

use std::{fs, io};

/// Take no privileges from programs that are executed, and be closed to debuggers of the same user: no core
/// dumps, no reading of `/proc/PID/mem` (`PR_SET_NO_NEW_PRIVS`, `PR_SET_DUMPABLE`).
///
/// # Errors
/// When the system refuses.
pub fn harden() -> io::Result<()> {
    set(libc::PR_SET_NO_NEW_PRIVS, 1)?;
    set(libc::PR_SET_DUMPABLE, 0)
}

fn set(option: libc::c_int, value: libc::c_ulong) -> io::Result<()> {
    let none: libc::c_ulong = 0;
    // SAFETY: both options take numbers only.
    if unsafe { libc::prctl(option, value, none, none, none) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// The number of threads of this process.
///
/// # Errors
/// When `/proc` can't be read.
pub fn threads() -> io::Result<usize> {
    Ok(fs::read_dir("/proc/self/task")?.count())
}
