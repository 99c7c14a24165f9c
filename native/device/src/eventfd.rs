//! Eventfds: the device's own, and those that a driver hands over.

use std::fs;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::closer::close_later;

/// What `/proc/self/fd/N` links to for an eventfd.
const EVENTFD_LINK: &str = "anon_inode:[eventfd]";
/// The prefix of what it links to for a socket.
const SOCKET_LINK: &str = "socket:[";
/// What a line of `/proc/self/fdinfo/N` begins with that says whether an eventfd is a semaphore.
const SEMAPHORE_FIELD: &str = "eventfd-semaphore:";

/// A descriptor was refused as kick or call of a queue.
#[derive(Debug, thiserror::Error)]
pub enum EventfdError {
    /// The number is not an open descriptor.
    #[error("descriptor {0} is not open")]
    NotOpen(RawFd),
    /// It is open, but not an eventfd.
    #[error("descriptor {descriptor} is {actual}, not an eventfd")]
    NotEventfd {
        /// The number.
        descriptor: RawFd,
        /// What it is, as /proc/self/fd has it.
        actual: String,
    },
    /// It has no `O_NONBLOCK`: reads and writes could wait.
    #[error("eventfd {0} is blocking: make it with EFD_NONBLOCK")]
    Blocking(RawFd),
    /// It was made with `EFD_SEMAPHORE`: one read takes one of up to 2^64 signals, so that its reader
    /// would be busy for as long as the driver likes.
    #[error("eventfd {0} is a semaphore: make it without EFD_SEMAPHORE")]
    Semaphore(RawFd),
    /// It is a socket of another kind than unix sockets, whose close can wait for a peer.
    #[error("descriptor {0} is a socket, but no unix socket")]
    ForeignSocket(RawFd),
    /// The queue index is out of range.
    #[error("there is no queue {queue}: a device has at most {limit}")]
    NoSuchQueue {
        /// The index.
        queue: usize,
        /// How many queues a device has at most.
        limit: usize,
    },
    /// A system call failed.
    #[error("descriptor {descriptor} cannot be duplicated: {cause}")]
    Refused {
        /// The number.
        descriptor: RawFd,
        /// The error of the system call.
        cause: io::Error,
    },
}

/// An eventfd of the device's own, which no driver has. Signalling and draining never wait.
#[derive(Debug)]
pub struct EventFd(OwnedFd);

impl EventFd {
    /// Make one, not signalled.
    ///
    /// # Errors
    /// When the process or the system has no descriptor left.
    pub fn new() -> io::Result<Self> {
        // SAFETY: eventfd takes no pointers.
        let descriptor = unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) };
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call above made the descriptor, and nothing else owns it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(descriptor) }))
    }

    /// Make it readable.
    pub fn signal(&self) {
        let one = 1_u64.to_ne_bytes();
        // The only failure is EAGAIN at a full counter, and then it is readable already.
        // SAFETY: the buffer is valid for its length.
        unsafe { libc::write(self.0.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }

    /// Make it unreadable.
    pub fn drain(&self) {
        drain(self.0.as_fd());
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A driver's eventfd by which it notifies a queue.
#[derive(Debug)]
pub struct Kick(OwnedFd);

impl Kick {
    /// Duplicate a driver's eventfd.
    ///
    /// # Errors
    /// When it is not a non-blocking eventfd, or a semaphore.
    pub fn duplicate(descriptor: RawFd) -> Result<Self, EventfdError> {
        check_eventfd(descriptor)?;
        if is_semaphore(descriptor) {
            return Err(EventfdError::Semaphore(descriptor));
        }
        duplicate(descriptor).map(Self)
    }

    /// Consume the notifications. False if there was none.
    #[must_use]
    pub fn drain(&self) -> bool {
        drain(self.0.as_fd())
    }
}

impl AsFd for Kick {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The descriptor by which a driver is told of interrupts.
#[derive(Debug)]
pub enum Call {
    /// An eventfd: 1 is added.
    Eventfd(Arc<Bell>),
    /// A unix socket: eight bytes are sent. User-mode Linux can't wait for an eventfd.
    Socket(PeerSocket),
}

/// An eventfd of a driver that is signalled.
#[derive(Debug)]
pub struct Bell {
    eventfd: OwnedFd,
    /// It waits to be signalled by the thread of a [`crate::helper::Helper`].
    pub(crate) pending: AtomicBool,
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.eventfd.as_fd()
    }
}

/// A socket whose other end a stranger has: what is in its queue can make its close wait.
#[derive(Debug)]
pub struct PeerSocket(ManuallyDrop<OwnedFd>);

impl PeerSocket {
    /// Take a socket.
    #[must_use]
    pub fn new(socket: OwnedFd) -> Self {
        Self(ManuallyDrop::new(socket))
    }
}

impl AsFd for PeerSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Drop for PeerSocket {
    fn drop(&mut self) {
        // SAFETY: this is the end of the object, and nothing uses the field after it.
        close_later(unsafe { ManuallyDrop::take(&mut self.0) });
    }
}

impl Call {
    /// Duplicate a driver's eventfd or socket.
    ///
    /// # Errors
    /// When it is neither a non-blocking eventfd nor a unix socket.
    pub fn duplicate(descriptor: RawFd) -> Result<Self, EventfdError> {
        match check_eventfd(descriptor) {
            Ok(()) => Ok(Self::Eventfd(Arc::new(Bell {
                eventfd: duplicate(descriptor)?,
                pending: AtomicBool::new(false),
            }))),
            Err(EventfdError::NotEventfd { actual, .. }) if actual.starts_with(SOCKET_LINK) => {
                if !is_unix_socket(descriptor) {
                    return Err(EventfdError::ForeignSocket(descriptor));
                }
                Ok(Self::Socket(PeerSocket::new(duplicate(descriptor)?)))
            }
            Err(refusal) => Err(refusal),
        }
    }
}

/// Wait until a descriptor is readable. Returns which are. Interrupted system calls are repeated.
///
/// # Errors
/// If the system has no memory for it.
pub fn wait_readable<const N: usize>(descriptors: [BorrowedFd<'_>; N]) -> io::Result<[bool; N]> {
    let mut polled = descriptors.map(|descriptor| libc::pollfd {
        fd: descriptor.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    });
    loop {
        // SAFETY: the array is valid for its length, which fits (N is a handful).
        let ready = unsafe { libc::poll(polled.as_mut_ptr(), N as libc::nfds_t, -1) };
        if ready >= 0 {
            // An eventfd that overflowed reports POLLERR beside POLLIN: it counts as readable.
            return Ok(polled.map(|entry| entry.revents != 0));
        }
        let cause = io::Error::last_os_error();
        if cause.kind() != io::ErrorKind::Interrupted {
            return Err(cause);
        }
    }
}

/// Read an eventfd without waiting, whatever its flags. False if it was not signalled.
///
/// One read is enough: semaphores, which stay readable, are refused as kicks. Without `RWF_NOWAIT` for eventfds (Linux before 5.8), the file's flags decide whether it waits.
pub(crate) fn drain(descriptor: BorrowedFd<'_>) -> bool {
    let descriptor = descriptor.as_raw_fd();
    let mut counter = [0_u8; 8];
    let buffer = libc::iovec {
        iov_base: counter.as_mut_ptr().cast(),
        iov_len: counter.len(),
    };
    // SAFETY: the buffer is valid for its length. Offset -1 reads as readv does, and RWF_NOWAIT
    // makes it fail with EAGAIN where it would wait.
    let length = unsafe { libc::preadv2(descriptor, &raw const buffer, 1, -1, libc::RWF_NOWAIT) };
    if length < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::EOPNOTSUPP) {
        // SAFETY: the buffer is valid for its length.
        return unsafe { libc::read(descriptor, buffer.iov_base, buffer.iov_len) } == 8;
    }
    length == 8
}

/// Duplicate a descriptor.
fn duplicate(descriptor: RawFd) -> Result<OwnedFd, EventfdError> {
    // SAFETY: F_DUPFD_CLOEXEC takes no pointers; a number that is not open gives EBADF.
    let copy = unsafe { libc::fcntl(descriptor, libc::F_DUPFD_CLOEXEC, 0) };
    if copy < 0 {
        let cause = io::Error::last_os_error();
        return Err(match cause.raw_os_error() {
            Some(libc::EBADF) => EventfdError::NotOpen(descriptor),
            _ => EventfdError::Refused { descriptor, cause },
        });
    }
    // SAFETY: fcntl made the descriptor, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// Check that a descriptor is a non-blocking eventfd.
///
/// It is looked at before it is duplicated: the close of a duplicate can wait too.
fn check_eventfd(descriptor: RawFd) -> Result<(), EventfdError> {
    let link = match fs::read_link(format!("/proc/self/fd/{descriptor}")) {
        Ok(link) => link,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
            return Err(EventfdError::NotOpen(descriptor));
        }
        Err(cause) => return Err(EventfdError::Refused { descriptor, cause }),
    };
    if link.as_os_str() != EVENTFD_LINK {
        let actual = link.to_string_lossy().into_owned();
        return Err(EventfdError::NotEventfd { descriptor, actual });
    }
    // SAFETY: F_GETFL takes no pointers.
    let flags = unsafe { libc::fcntl(descriptor, libc::F_GETFL) };
    if flags & libc::O_NONBLOCK == 0 {
        return Err(EventfdError::Blocking(descriptor));
    }
    Ok(())
}

/// Say whether an eventfd was made with `EFD_SEMAPHORE`. Linux before 6.5 does not tell: false.
fn is_semaphore(descriptor: RawFd) -> bool {
    fs::read_to_string(format!("/proc/self/fdinfo/{descriptor}")).is_ok_and(|about| {
        let mut lines = about.lines();
        let found = lines.find_map(|line| line.strip_prefix(SEMAPHORE_FIELD));
        found.is_some_and(|value| value.trim() != "0")
    })
}

/// Say whether a socket is a unix socket.
fn is_unix_socket(descriptor: RawFd) -> bool {
    let mut domain: libc::c_int = -1;
    let mut size = libc::socklen_t::try_from(size_of::<libc::c_int>()).unwrap_or(0);
    let (level, name) = (libc::SOL_SOCKET, libc::SO_DOMAIN);
    // SAFETY: the value is valid for the size given.
    let known = unsafe {
        libc::getsockopt(
            descriptor,
            level,
            name,
            (&raw mut domain).cast(),
            &raw mut size,
        )
    };
    known == 0 && domain == libc::AF_UNIX
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set_blocking(event: &EventFd) {
        // SAFETY: F_SETFL takes no pointers.
        let result = unsafe { libc::fcntl(event.0.as_raw_fd(), libc::F_SETFL, 0) };
        assert_eq!(result, 0);
    }

    #[test]
    fn a_drained_event_is_not_readable() {
        let event = EventFd::new().unwrap();
        event.signal();
        event.signal();
        event.drain();
        assert!(!drain(event.as_fd()));
    }

    #[test]
    fn waiting_says_which_descriptor_is_readable() {
        let (quiet, loud) = (EventFd::new().unwrap(), EventFd::new().unwrap());
        loud.signal();
        assert_eq!(
            wait_readable([quiet.as_fd(), loud.as_fd()]).unwrap(),
            [false, true]
        );
    }

    #[test]
    fn a_blocking_eventfd_is_refused() {
        let event = EventFd::new().unwrap();
        set_blocking(&event);
        let refusal = Kick::duplicate(event.0.as_raw_fd()).unwrap_err();
        assert!(matches!(refusal, EventfdError::Blocking(_)), "{refusal}");
    }

    #[test]
    fn what_is_no_eventfd_is_refused() {
        let file = fs::File::open("/dev/null").unwrap();
        let refusal = Call::duplicate(file.as_raw_fd()).unwrap_err();
        assert!(refusal.to_string().contains("/dev/null"), "{refusal}");
    }

    #[test]
    fn a_closed_or_negative_descriptor_is_refused() {
        for descriptor in [-1, i32::MIN, i32::MAX] {
            let refusal = Kick::duplicate(descriptor).unwrap_err();
            assert!(matches!(refusal, EventfdError::NotOpen(_)), "{refusal}");
        }
    }

    #[test]
    fn a_semaphore_is_refused_as_kick_and_taken_as_call() {
        // SAFETY: eventfd takes no pointers.
        let number = unsafe { libc::eventfd(9, libc::EFD_NONBLOCK | libc::EFD_SEMAPHORE) };
        // SAFETY: the call above made the descriptor, and nothing else owns it.
        let semaphore = EventFd(unsafe { OwnedFd::from_raw_fd(number) });
        let about = fs::read_to_string(format!("/proc/self/fdinfo/{number}")).unwrap();
        let told = about.contains(SEMAPHORE_FIELD);
        assert_eq!(Kick::duplicate(semaphore.0.as_raw_fd()).is_err(), told);
        Call::duplicate(semaphore.0.as_raw_fd()).unwrap();
    }

    #[test]
    fn a_socket_of_a_network_is_no_call() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let refusal = Call::duplicate(socket.as_raw_fd()).unwrap_err();
        assert!(
            matches!(refusal, EventfdError::ForeignSocket(_)),
            "{refusal}"
        );
    }

    #[test]
    fn draining_does_not_wait_when_the_driver_made_the_eventfd_blocking_later() {
        let event = EventFd::new().unwrap();
        let kick = Kick::duplicate(event.0.as_raw_fd()).unwrap();
        set_blocking(&event);
        assert!(!kick.drain());
        event.signal();
        assert!(kick.drain());
    }
}
