//! The locks of an image: `flock`, and those of QEMU.
//!
//! QEMU's file driver (`block/file-posix.c`) locks single bytes of an image. Bit `i` of `BLK_PERM_*` is a
//! permission. Byte `100 + i` is locked by everyone who uses that permission, byte `200 + i` by everyone
//! who does not let others use it. All these locks are shared, so they never conflict by themselves:
//! whoever opens an image takes its own locks first, and then looks at those of the others.
//!
//! All locks here belong to the open file description. They end when its last descriptor is closed; closing
//! another descriptor of the same file leaves them alone, as it would not with the older POSIX locks.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// Byte of the first permission (`RAW_LOCK_PERM_BASE`).
const PERM_BASE: libc::off_t = 100;
/// Byte of the first permission that is not shared (`RAW_LOCK_SHARED_BASE`).
const SHARED_BASE: libc::off_t = 200;
/// How long locks are waited for that no process seems to have.
const LEAVING: Duration = Duration::from_secs(1);
/// Between two looks at them.
const RETRY: Duration = Duration::from_millis(5);
/// Bit of `BLK_PERM_CONSISTENT_READ`.
const CONSISTENT_READ: libc::off_t = 0;
/// Bit of `BLK_PERM_WRITE`.
const WRITE: libc::off_t = 1;
/// Bit of `BLK_PERM_RESIZE`.
const RESIZE: libc::off_t = 3;

/// An image was not locked.
pub(crate) enum LockError {
    /// Another process has it. Its name and pid, if they can be known.
    Held(Option<String>),
    /// A system call failed.
    Io(io::Error),
}

impl From<io::Error> for LockError {
    fn from(cause: io::Error) -> Self {
        Self::Io(cause)
    }
}

/// Lock an image: exclusively, or shared with other readers.
///
/// Nobody else may write or resize it while it is open, as with a disk of QEMU. What a process that was
/// killed had in an `io_uring` keeps its locks until the storage has executed it, so that none of its writes
/// comes after those of the next process. Locks that no process has that can be seen are waited for, up to
/// [`LEAVING`].
pub(crate) fn lock(file: &File, read_only: bool) -> Result<(), LockError> {
    let deadline = Instant::now() + LEAVING;
    let mut is_first = true;
    while !try_lock(file, read_only)? {
        // Who it is, is looked for at first and at last: that reads what every process has open.
        let is_last = Instant::now() >= deadline;
        let holder = (is_first || is_last).then(|| find_holder(file)).flatten();
        if holder.is_some() || is_last {
            return Err(LockError::Held(holder));
        }
        is_first = false;
        // Who waits keeps nobody out: two that wait would wait for each other.
        let_go(file)?;
        thread::sleep(RETRY);
    }
    Ok(())
}

/// Unlock all bytes.
fn let_go(file: &File) -> io::Result<()> {
    for bit in [CONSISTENT_READ, WRITE, RESIZE] {
        for base in [PERM_BASE, SHARED_BASE] {
            control(file, libc::F_OFD_SETLK, libc::F_UNLCK, base + bit)?;
        }
    }
    Ok(())
}

/// Try once. False if another process has it.
fn try_lock(file: &File, read_only: bool) -> io::Result<bool> {
    let used: &[_] = if read_only {
        &[CONSISTENT_READ]
    } else {
        &[CONSISTENT_READ, WRITE, RESIZE]
    };
    let kept = [WRITE, RESIZE];
    let own = used
        .iter()
        .map(|bit| PERM_BASE + bit)
        .chain(kept.map(|bit| SHARED_BASE + bit));
    let others = used
        .iter()
        .map(|bit| SHARED_BASE + bit)
        .chain(kept.map(|bit| PERM_BASE + bit));
    for byte in own {
        if !lock_byte(file, byte)? {
            return Ok(false);
        }
    }
    for byte in others {
        if is_locked_by_others(file, byte)? {
            return Ok(false);
        }
    }
    let locked = if read_only {
        file.try_lock_shared()
    } else {
        file.try_lock()
    };
    match locked {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(cause)) => Err(cause),
    }
}

/// Lock a byte, shared. False if it is locked exclusively: by no QEMU, but by who locks the whole file.
fn lock_byte(file: &File, byte: libc::off_t) -> io::Result<bool> {
    match control(file, libc::F_OFD_SETLK, libc::F_RDLCK, byte) {
        Ok(_) => Ok(true),
        Err(cause) if matches!(cause.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => {
            Ok(false)
        }
        Err(cause) => Err(cause),
    }
}

/// True if another open file has a lock on a byte.
fn is_locked_by_others(file: &File, byte: libc::off_t) -> io::Result<bool> {
    let found = control(file, libc::F_OFD_GETLK, libc::F_WRLCK, byte)?;
    Ok(found != libc::F_UNLCK)
}

/// Set or examine the lock of one byte. Returns the type of the lock that was found.
fn control(
    file: &File,
    command: libc::c_int,
    kind: libc::c_int,
    byte: libc::off_t,
) -> io::Result<libc::c_int> {
    // SAFETY: all zeroes are a valid flock.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    let short = |value: libc::c_int| {
        libc::c_short::try_from(value).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))
    };
    lock.l_type = short(kind)?;
    lock.l_whence = short(libc::SEEK_SET)?;
    lock.l_start = byte;
    lock.l_len = 1;
    loop {
        // SAFETY: both commands take a flock, which outlives the call.
        if unsafe { libc::fcntl(file.as_raw_fd(), command, &raw mut lock) } == 0 {
            return Ok(libc::c_int::from(lock.l_type));
        }
        let cause = io::Error::last_os_error();
        if cause.kind() != io::ErrorKind::Interrupted {
            return Err(cause);
        }
    }
}

/// Name a process that has a lock on the file: its command and pid. None if it can't be known, such as for
/// processes of other users and of other pid namespaces.
fn find_holder(file: &File) -> Option<String> {
    let own = format!("/proc/self/fdinfo/{}", file.as_raw_fd());
    // The kernel's own name of the file, which is not always what `stat` says.
    let inode = locked_inodes(&own).into_iter().next()?;
    let own_pid = std::process::id().to_string();
    let own_descriptor = file.as_raw_fd().to_string();
    for process in fs::read_dir("/proc").ok()?.flatten() {
        let pid = process.file_name().into_string().unwrap_or_default();
        if !pid.bytes().all(|letter| letter.is_ascii_digit()) {
            continue;
        }
        let Ok(descriptors) = fs::read_dir(process.path().join("fdinfo")) else {
            continue;
        };
        let holds = descriptors.flatten().any(|descriptor| {
            let is_own = pid == own_pid && descriptor.file_name() == *own_descriptor;
            !is_own && locked_inodes(descriptor.path()).contains(&inode)
        });
        if holds {
            return Some(format!("{} (pid {pid})", name_of(&process.path())));
        }
    }
    None
}

/// The files that a descriptor has locks on, as "major:minor:inode" (proc(5), fdinfo).
fn locked_inodes(fdinfo: impl AsRef<Path>) -> Vec<String> {
    let text = fs::read_to_string(fdinfo).unwrap_or_default();
    text.lines()
        .filter_map(|line| line.strip_prefix("lock:"))
        .filter_map(|line| {
            line.split_whitespace()
                .find(|word| word.matches(':').count() == 2)
        })
        .map(str::to_owned)
        .collect()
}

/// The name of a process's command. Its control characters are replaced: the process chose it.
fn name_of(process: &Path) -> String {
    let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
    let name = name
        .trim_end()
        .replace(|letter: char| letter.is_control(), "?");
    if name.is_empty() {
        "a process".to_owned()
    } else {
        name
    }
}
