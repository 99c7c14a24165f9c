//! Waits for what a queue's thread is woken by: notifications of the driver,
//! requests that ended, and this process itself.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use virtmesh_device::{EventFd, Kick, wait_readable};

/// Wait for `wake`, for the storage, or for a notification that is heard. `hear` is called for each, and is
/// false for one that a fault loses. `storage` is readable once a request has ended.
///
/// # Errors
/// Those of the system.
pub fn wait(
    wake: &EventFd,
    kick: Option<&Kick>,
    storage: Option<BorrowedFd<'_>>,
    hear: impl Fn() -> bool,
) -> io::Result<()> {
    loop {
        let wake_fd = wake.as_fd();
        let (woken, kicked, ended) = match (kick.map(AsFd::as_fd), storage) {
            (None, None) => {
                let [woken] = wait_readable([wake_fd])?;
                (woken, false, false)
            }
            (Some(kick), None) => {
                let [woken, kicked] = wait_readable([wake_fd, kick])?;
                (woken, kicked, false)
            }
            (None, Some(storage)) => {
                let [woken, ended] = wait_readable([wake_fd, storage])?;
                (woken, false, ended)
            }
            (Some(kick), Some(storage)) => wait_readable([wake_fd, kick, storage])?.into(),
        };
        if woken {
            wake.drain();
        }
        let lost = kicked && kick.is_some_and(Kick::drain) && !hear();
        if woken || ended || !lost {
            return Ok(());
        }
    }
}
