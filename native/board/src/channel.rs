//! The driver's half of a register channel: one `SOCK_SEQPACKET` packet with a request, one with its
//! answer (`wire` has the format).
//!
//! The device is not trusted. An answer that is malformed, out of turn or late makes the channel
//! [`Lost`], as the end of the connection does; it is not used again then.
//!
//! A wait may be interrupted. The request stays outstanding then, and the next wait takes its answer.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use crate::notifier::Notifier;
use crate::wire::{self, ANSWER_MAX, Answer, Malformed, Operation};

/// How long the fast path waits in `recv` alone, where only the socket ends the wait. A device that
/// takes longer is waited for with `poll`, which a kick ends.
const FAST_WAIT: Duration = Duration::from_millis(2);

/// Why a channel can't be used any more.
#[derive(Debug, thiserror::Error)]
pub enum Lost {
    /// The device closed the connection, or its process is gone.
    #[error("the device ended the connection")]
    Ended,
    /// The connection failed.
    #[error("the connection failed: {0}")]
    Failed(io::Error),
    /// The device owes an answer for too long.
    #[error("the device did not answer in {0:?}")]
    Late(Duration),
    /// An answer breaks the format.
    #[error("the device sent a malformed answer: {0}")]
    Malformed(#[from] Malformed),
}

/// How long an answer is looked for without sleeping: what a device on another CPU takes.
const SPIN: Duration = Duration::from_micros(50);
/// A look that takes so long shows that others want this CPU.
const CONTENDED: Duration = Duration::from_micros(50);

/// The channel of one slot.
#[derive(Debug)]
pub struct Channel {
    socket: OwnedFd,
    limit: Duration,
    tag: u32,
    outstanding: Option<Outstanding>,
    sent: Vec<u8>,
    received: Box<[u8]>,
}

#[derive(Debug)]
struct Outstanding {
    count: usize,
    since: Instant,
}

impl Channel {
    /// Use a connected socket. Each answer has to come within `limit`.
    ///
    /// The socket is made blocking, which whoever shares its open file sees.
    ///
    /// # Errors
    /// When the descriptor is not a `SOCK_SEQPACKET` socket.
    pub fn new(socket: OwnedFd, limit: Duration) -> io::Result<Self> {
        if socket_type(&socket).ok() != Some(libc::SOCK_SEQPACKET) {
            let message = "a register channel is a socket of the type SOCK_SEQPACKET";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        make_blocking(&socket)?;
        set_receive_timeout(&socket, FAST_WAIT)?;
        Ok(Self {
            socket,
            limit,
            tag: 0,
            outstanding: None,
            sent: Vec::new(),
            received: vec![0; ANSWER_MAX].into_boxed_slice(),
        })
    }

    /// Say whether an answer is owed.
    #[must_use]
    pub fn is_outstanding(&self) -> bool {
        self.outstanding.is_some()
    }

    /// Tag of the last request.
    #[must_use]
    pub fn tag(&self) -> u32 {
        self.tag
    }

    /// Send a request. No other one may be outstanding.
    ///
    /// # Errors
    /// [`Lost`]: a device that takes no request is late at once, since it owes none an answer.
    ///
    /// # Panics
    /// If a request is outstanding.
    pub fn send(&mut self, operations: &[Operation]) -> Result<(), Lost> {
        assert!(self.outstanding.is_none(), "one request at a time");
        self.tag = self.tag.wrapping_add(1);
        wire::encode_request(self.tag, operations, &mut self.sent);
        loop {
            let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
            let (bytes, length) = (self.sent.as_ptr().cast(), self.sent.len());
            // SAFETY: the buffer is valid for its length.
            let result = unsafe { libc::send(self.socket.as_raw_fd(), bytes, length, flags) };
            if result >= 0 {
                break;
            }
            let cause = io::Error::last_os_error();
            match cause.kind() {
                io::ErrorKind::Interrupted => {}
                io::ErrorKind::WouldBlock => return Err(Lost::Late(Duration::ZERO)),
                io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => {
                    return Err(Lost::Ended);
                }
                _ => return Err(Lost::Failed(cause)),
            }
        }
        self.outstanding = Some(Outstanding {
            count: operations.len(),
            since: Instant::now(),
        });
        Ok(())
    }

    /// Wait for the answer of the outstanding request. `None`: the wait was interrupted, by the
    /// notifier or by a signal; wait again later. Without a notifier nothing interrupts it.
    ///
    /// # Errors
    /// [`Lost`].
    ///
    /// # Panics
    /// If no request is outstanding.
    pub fn wait(&mut self, notifier: Option<&Notifier>) -> Result<Option<Answer<'_>>, Lost> {
        let outstanding = self.outstanding.as_ref().expect("a request is outstanding");
        let (count, since) = (outstanding.count, outstanding.since);
        let mut length = self.spin()?;
        if length.is_none() {
            length = self.receive(0)?;
        }
        while length.is_none() {
            // An answer that is there is taken, however late this side looks.
            let Some(left) = self.limit.checked_sub(since.elapsed()) else {
                return Err(Lost::Late(self.limit));
            };
            if notifier.is_some_and(Notifier::is_stopped) || !self.poll(notifier, left)? {
                return Ok(None);
            }
            length = self.receive(libc::MSG_DONTWAIT)?;
        }
        self.outstanding = None;
        let packet = &self.received[..length.unwrap_or(0)];
        Ok(Some(wire::decode_answer(packet, self.tag, count)?))
    }

    /// Say whether the connection has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        let mut polled = libc::pollfd {
            fd: self.socket.as_raw_fd(),
            events: libc::POLLRDHUP,
            revents: 0,
        };
        // SAFETY: the structure is valid.
        let ready = unsafe { libc::poll(&raw mut polled, 1, 0) };
        ready > 0 && polled.revents != 0
    }

    /// Look for the answer for a moment without sleeping: to be woken on another CPU costs more than
    /// most devices take. Whoever wants this CPU gets it meanwhile, the device too; if it was another
    /// one, the answer is slept for, and who is woken need not wait for his turn.
    fn spin(&mut self) -> Result<Option<usize>, Lost> {
        let start = Instant::now();
        let mut looked = start;
        let mut contended = false;
        loop {
            let length = self.receive(libc::MSG_DONTWAIT)?;
            if length.is_some() || contended || looked - start > SPIN {
                return Ok(length);
            }
            // SAFETY: it takes no pointers.
            unsafe { libc::sched_yield() };
            let now = Instant::now();
            contended = now - looked > CONTENDED;
            looked = now;
        }
    }

    /// Receive a packet. `None`: there is none yet.
    fn receive(&mut self, flags: i32) -> Result<Option<usize>, Lost> {
        let buffer = self.received.as_mut_ptr().cast();
        // With MSG_TRUNC the length is that of the packet, also of one that does not fit.
        let flags = flags | libc::MSG_TRUNC;
        // SAFETY: the buffer is valid for its length.
        let length = unsafe { libc::recv(self.socket.as_raw_fd(), buffer, ANSWER_MAX, flags) };
        let Ok(length) = usize::try_from(length) else {
            let cause = io::Error::last_os_error();
            return match cause.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(None),
                io::ErrorKind::ConnectionReset => Err(Lost::Ended),
                _ => Err(Lost::Failed(cause)),
            };
        };
        match length {
            0 => Err(Lost::Ended),
            1..=ANSWER_MAX => Ok(Some(length)),
            _ => Err(Malformed::TooLong(length).into()),
        }
    }

    /// Wait until the socket is readable, or for the notifier. False: interrupted.
    fn poll(&self, notifier: Option<&Notifier>, left: Duration) -> Result<bool, Lost> {
        let entry = |fd| libc::pollfd {
            fd,
            events: libc::POLLIN,
            revents: 0,
        };
        // Negative descriptors are passed over.
        let wake = notifier.map_or(-1, |notifier| notifier.wake_fd().as_raw_fd());
        let mut polled = [entry(self.socket.as_raw_fd()), entry(wake)];
        // Rounded up, so that the last wait is not a busy one.
        let timeout = i32::try_from(left.as_millis() + 1).unwrap_or(i32::MAX);
        // SAFETY: the array is valid for its length.
        let ready = unsafe { libc::poll(polled.as_mut_ptr(), 2, timeout) };
        if ready < 0 {
            let cause = io::Error::last_os_error();
            return match cause.kind() {
                io::ErrorKind::Interrupted => Ok(notifier.is_none()),
                _ => Err(Lost::Failed(cause)),
            };
        }
        if let Some(notifier) = notifier.filter(|_| polled[1].revents != 0) {
            notifier.drain_wake();
        }
        Ok(true)
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn socket_type(socket: &OwnedFd) -> io::Result<libc::c_int> {
    let mut value: libc::c_int = 0;
    let mut length = length_of::<libc::c_int>();
    // SAFETY: value and length are valid for writes.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_TYPE,
            (&raw mut value).cast(),
            &raw mut length,
        )
    };
    checked(result).map(|()| value)
}

fn make_blocking(socket: &OwnedFd) -> io::Result<()> {
    // SAFETY: F_GETFL and F_SETFL take no pointers.
    let flags = unsafe { libc::fcntl(socket.as_raw_fd(), libc::F_GETFL) };
    checked(flags)?;
    // SAFETY: as above.
    checked(unsafe { libc::fcntl(socket.as_raw_fd(), libc::F_SETFL, flags & !libc::O_NONBLOCK) })
}

fn set_receive_timeout(socket: &OwnedFd, timeout: Duration) -> io::Result<()> {
    // SAFETY: all zeroes is a valid timeval.
    let mut time: libc::timeval = unsafe { MaybeUninit::zeroed().assume_init() };
    time.tv_usec = timeout.subsec_micros().into();
    // SAFETY: the structure is valid for its length.
    checked(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVTIMEO,
            (&raw const time).cast(),
            length_of::<libc::timeval>(),
        )
    })
}

/// Bytes of an option of a socket.
fn length_of<T>() -> libc::socklen_t {
    libc::socklen_t::try_from(size_of::<T>()).unwrap_or_default()
}

fn checked(result: libc::c_int) -> io::Result<()> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
