//! Waits for what a queue's thread is woken by: notifications of the driver, and this process itself.

use std::io;
use std::os::fd::AsFd;

use virtmesh_device::{EventFd, Kick, wait_readable};

/// Wait for `wake`, or for a notification that is heard. `hear` is called for each, and is false for one
/// that a fault loses.
///
/// # Errors
/// Those of the system.
pub fn wait(wake: &EventFd, kick: Option<&Kick>, hear: impl Fn() -> bool) -> io::Result<()> {
    let Some(kick) = kick else {
        wait_readable([wake.as_fd()])?;
        wake.drain();
        return Ok(());
    };
    loop {
        let [woken, kicked] = wait_readable([wake.as_fd(), kick.as_fd()])?;
        if woken {
            wake.drain();
        }
        let lost = kicked && kick.drain() && !hear();
        if woken || !lost {
            return Ok(());
        }
    }
}
