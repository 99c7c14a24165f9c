//! The thread that waits for line eventfds and for the end of connections.
//!
//! It sets a bit of the [`Notifier`] and does nothing else. Eventfds are watched for edges, so it need
//! not drain them: each signal is one event. An event of a slot that was connected anew meanwhile sets a
//! bit in vain; the hart's thread looks at the descriptors themselves.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use virtmesh_device::EventFd;

use crate::notifier::Notifier;

/// Events taken at a time.
const EVENTS: usize = 32;
/// Marks the event of a connection, beside the number of the slot.
const CONNECTION: u64 = 1 << 32;
/// The event that ends the thread.
const QUIT: u64 = u64::MAX;

/// The thread; it ends when this is dropped.
#[derive(Debug)]
pub struct LineThread {
    epoll: Arc<OwnedFd>,
    quit: EventFd,
    thread: Option<JoinHandle<()>>,
}

impl LineThread {
    /// Start it.
    ///
    /// # Errors
    /// When the process or the system has no descriptor or thread left.
    pub fn start(notifier: Arc<Notifier>) -> io::Result<Self> {
        // SAFETY: epoll_create1 takes no pointers.
        let descriptor = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call above made the descriptor, and nothing else owns it.
        let epoll = Arc::new(unsafe { OwnedFd::from_raw_fd(descriptor) });
        let quit = EventFd::new()?;
        watch(&epoll, quit.as_fd(), libc::EPOLLIN, QUIT)?;
        let watched = Arc::clone(&epoll);
        let thread = thread::Builder::new()
            .name("board-lines".into())
            .spawn(move || serve(&watched, &notifier))?;
        Ok(Self {
            epoll,
            quit,
            thread: Some(thread),
        })
    }

    /// Watch the line and the connection of a slot. Closing them ends that.
    ///
    /// # Errors
    /// When the system has no memory for it.
    pub fn add(
        &self,
        slot: usize,
        line: BorrowedFd<'_>,
        channel: BorrowedFd<'_>,
    ) -> io::Result<()> {
        let slot = slot as u64;
        watch(&self.epoll, line, libc::EPOLLIN | libc::EPOLLET, slot)?;
        let ends = libc::EPOLLRDHUP | libc::EPOLLET;
        watch(&self.epoll, channel, ends, slot | CONNECTION)
    }

    /// Stop watching a descriptor. Its open file may live on in another process.
    pub fn remove(&self, descriptor: BorrowedFd<'_>) {
        // SAFETY: EPOLL_CTL_DEL takes no event.
        unsafe {
            libc::epoll_ctl(
                self.epoll.as_raw_fd(),
                libc::EPOLL_CTL_DEL,
                descriptor.as_raw_fd(),
                std::ptr::null_mut(),
            )
        };
    }
}

impl Drop for LineThread {
    fn drop(&mut self) {
        self.quit.signal();
        if let Some(thread) = self.thread.take() {
            // It does not panic.
            let _ = thread.join();
        }
    }
}

fn watch(epoll: &OwnedFd, watched: BorrowedFd<'_>, events: i32, data: u64) -> io::Result<()> {
    let mut event = libc::epoll_event {
        events: events.cast_unsigned(),
        u64: data,
    };
    // SAFETY: the event is valid.
    let result = unsafe {
        libc::epoll_ctl(
            epoll.as_raw_fd(),
            libc::EPOLL_CTL_ADD,
            watched.as_raw_fd(),
            &raw mut event,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn serve(epoll: &OwnedFd, notifier: &Notifier) {
    let mut events = [libc::epoll_event { events: 0, u64: 0 }; EVENTS];
    loop {
        let limit = libc::c_int::try_from(EVENTS).unwrap_or(1);
        // SAFETY: the array is valid for its length.
        let count = unsafe { libc::epoll_wait(epoll.as_raw_fd(), events.as_mut_ptr(), limit, -1) };
        let Ok(count) = usize::try_from(count) else {
            // Interrupted; any other failure means that the descriptor is bad, which it is not.
            continue;
        };
        for event in &events[..count] {
            // Copied: the structure is packed.
            let data = event.u64;
            if data == QUIT {
                return;
            }
            // Numbers of slots are small.
            let slot = usize::try_from(data & !CONNECTION).unwrap_or_default();
            if data & CONNECTION == 0 {
                notifier.line_changed(slot);
            } else {
                notifier.connection_ended(slot);
            }
        }
    }
}
