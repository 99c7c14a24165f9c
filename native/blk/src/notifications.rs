//! Waiting for what a queue's thread is woken by: a notification of the driver, or of this process.

use std::io;
use std::os::fd::AsFd;

use virtmesh_device::{EventFd, Kick, wait_readable};

/// Wait until one of the two is signalled, and drain what is. True if it is the driver's.
///
/// # Errors
/// Those of poll(2).
pub(crate) fn wait(wake: &EventFd, kick: Option<&Kick>) -> io::Result<bool> {
    let Some(kick) = kick else {
        wait_readable([wake.as_fd()])?;
        wake.drain();
        return Ok(false);
    };
    let [woken, kicked] = wait_readable([wake.as_fd(), kick.as_fd()])?;
    if woken {
        wake.drain();
    }
    Ok(kicked && kick.drain())
}
