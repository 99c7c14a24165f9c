//! The device's end of a register channel (`virtmesh/memory/v1/handover.proto`): batches of register
//! accesses as packets on a `SOCK_SEQPACKET` connection.
//!
//! Invariant: one thread uses a channel. It waits in [`RegisterChannel::receive`] only, at most as long
//! as it is told to. From a request to its answer the interrupt is `answering`, so that what the accesses
//! do to the line is told by the answer. At most one answer is kept for a driver that does not read; its
//! user receives no further request until that is sent.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::closer::close_later;
use crate::eventfd::PeerSocket;
use crate::interrupt::Interrupt;

/// Most accesses of one request.
pub const ENTRY_LIMIT: usize = 4000;
/// Bytes of a request before its entries: tag, count.
const REQUEST_HEADER: usize = 8;
/// Bytes of one entry: offset, op, zeroes, value.
const ENTRY: usize = 16;
/// Largest request in bytes.
const REQUEST_LIMIT: usize = REQUEST_HEADER + ENTRY_LIMIT * ENTRY;
/// Bytes of an answer before its values: tag, count, flags, causes, sequence.
const ANSWER_HEADER: usize = 24;
/// A descriptor as it stands in control data, not necessarily aligned.
type Number = [u8; size_of::<RawFd>()];
/// Words of the control data of a packet with 253 descriptors (`SCM_MAX_FD`), which is the most.
const CONTROL_WORDS: usize = 160;
/// Most bytes of the message of a refusal. It can quote what the driver sent.
const MESSAGE_LIMIT: usize = 1024;
/// What the send buffer has to hold. A packet that is larger than half of it would be cut in two.
const SEND_BUFFER: libc::c_int = 256 << 10;
/// Bytes of the option's value, a C int.
const SEND_BUFFER_SIZE: libc::socklen_t = 4;
/// Flag of an answer: the line is asserted.
const LINE_ASSERTED: u32 = 1;
/// Flag of an answer: an access was refused.
const REFUSED: u32 = 2;
/// Flag of an answer: the driver has broken a rule for the first time.
const BROKE_RULE: u32 = 4;

/// How long a request is looked for without sleeping.
const SPIN: Duration = Duration::from_micros(30);
/// A look that takes so long shows that others want this CPU.
const CONTENDED: Duration = Duration::from_micros(15);

/// Why a channel can't be used any more.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The driver closed its end.
    #[error("the driver closed its end of the connection")]
    Ended,
    /// The driver sent what is no request.
    #[error("{0}")]
    Malformed(String),
    /// A system call failed.
    #[error("the register channel failed: {0}")]
    Io(#[from] io::Error),
}

/// One access of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Offset in the register window, in bytes.
    pub offset: u32,
    /// Width in bytes, and flags (`AccessRequest.ops`).
    pub op: u8,
    /// The value of a write, or mask and expected value of a guard.
    pub value: u64,
}

/// A request, checked.
#[derive(Debug)]
pub struct Request<'a> {
    /// What the answer repeats.
    pub tag: u32,
    entries: &'a [[u8; ENTRY]],
}

impl Request<'_> {
    /// The accesses in order.
    #[must_use]
    pub fn entries(&self) -> impl ExactSizeIterator<Item = Entry> + '_ {
        self.entries.iter().map(|entry| Entry {
            offset: u32_at(entry, 0),
            op: entry[4],
            value: u64::from(u32_at(entry, 12)) << 32 | u64::from(u32_at(entry, 8)),
        })
    }
}

/// A register channel.
#[derive(Debug)]
pub struct RegisterChannel {
    connection: PeerSocket,
    interrupt: Arc<Interrupt>,
    request: Vec<u8>,
    /// Room for control data, aligned as its headers are.
    control: Box<[u64; CONTROL_WORDS]>,
    answer: Vec<u8>,
    unsent: bool,
}

impl RegisterChannel {
    /// Use a connection, which is duplicated.
    ///
    /// # Errors
    /// When it is not a socket, or the process has no descriptor left.
    pub fn new(connection: RawFd, interrupt: Arc<Interrupt>) -> io::Result<Self> {
        // SAFETY: F_DUPFD_CLOEXEC takes no pointers; a number that is not open gives EBADF.
        let copy = check(unsafe { libc::fcntl(connection, libc::F_DUPFD_CLOEXEC, 0) })?;
        // SAFETY: fcntl made the descriptor, and nothing else owns it.
        let connection = PeerSocket::new(unsafe { OwnedFd::from_raw_fd(copy) });
        let size = SEND_BUFFER;
        // SAFETY: the option is an int, and valid for the length given.
        check(unsafe {
            libc::setsockopt(
                copy,
                libc::SOL_SOCKET,
                libc::SO_SNDBUF,
                (&raw const size).cast(),
                SEND_BUFFER_SIZE,
            )
        })?;
        Ok(Self {
            connection,
            interrupt,
            request: vec![0; REQUEST_LIMIT],
            control: Box::new([0; CONTROL_WORDS]),
            answer: Vec::new(),
            unsent: false,
        })
    }

    /// Wait for a packet, at most that long. False if none came. A signal ends the wait early.
    ///
    /// At first it looks without sleeping: to be woken on another CPU costs more than a driver takes that
    /// copies its console. Whoever wants this CPU gets it meanwhile, and then it sleeps.
    #[must_use]
    pub fn wait(&self, longest: Duration) -> bool {
        let start = Instant::now();
        let mut looked = start;
        loop {
            if self.poll(Duration::ZERO) {
                return true;
            }
            // SAFETY: it takes no pointers.
            unsafe { libc::sched_yield() };
            let now = Instant::now();
            let (round, spent) = (now - looked, now - start);
            if round > CONTENDED || spent > SPIN.min(longest) {
                return self.poll(longest.saturating_sub(spent));
            }
            looked = now;
        }
    }

    fn poll(&self, longest: Duration) -> bool {
        let mut entry = libc::pollfd {
            fd: self.connection.as_fd().as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        let longest = libc::timespec {
            tv_sec: longest.as_secs().try_into().unwrap_or(libc::time_t::MAX),
            tv_nsec: longest.subsec_nanos().into(),
        };
        // SAFETY: one valid entry, a valid time, and no signal mask.
        unsafe { libc::ppoll(&raw mut entry, 1, &raw const longest, ptr::null()) == 1 }
    }

    /// Take a request. None if there is none.
    ///
    /// # Errors
    /// When the driver has gone, or sent what is no request.
    pub fn receive(&mut self) -> Result<Option<Request<'_>>, ChannelError> {
        let mut buffer = libc::iovec {
            iov_base: self.request.as_mut_ptr().cast(),
            iov_len: self.request.len(),
        };
        // SAFETY: all zeroes is a valid header: no name, no control data.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        header.msg_iov = &raw mut buffer;
        header.msg_iovlen = 1;
        // There is room for every descriptor that a packet can have: what the kernel drops, this thread
        // would close.
        header.msg_control = self.control.as_mut_ptr().cast();
        header.msg_controllen = size_of_val(&*self.control);
        // SAFETY: the header and its buffers are valid.
        let length = unsafe {
            libc::recvmsg(
                self.connection.as_fd().as_raw_fd(),
                &raw mut header,
                libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC,
            )
        };
        let Ok(length) = usize::try_from(length) else {
            let cause = io::Error::last_os_error();
            return match cause.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(None),
                io::ErrorKind::ConnectionReset => Err(ChannelError::Ended),
                _ => Err(cause.into()),
            };
        };
        let carried = close_received(&header);
        if header.msg_flags & libc::MSG_TRUNC != 0 {
            return Err(malformed(format!(
                "a packet is larger than a request of {ENTRY_LIMIT} accesses"
            )));
        }
        if carried || header.msg_flags & libc::MSG_CTRUNC != 0 {
            return Err(malformed("a request carries descriptors".to_owned()));
        }
        if length == 0 && self.has_ended() {
            return Err(ChannelError::Ended);
        }
        let request = parse(&self.request[..length])?;
        self.interrupt.set_answering(true);
        self.interrupt.set_request(Some(request.tag));
        Ok(Some(request))
    }

    /// Say whether the thread executes the request of this tag: not while it waits for something else to
    /// be done, such as a reset, and does other work.
    pub fn set_executing(&self, tag: Option<u32>) {
        self.interrupt.set_request(tag);
    }

    /// Answer a request with the values of the executed accesses, and the reason and message of the one
    /// that was refused. Adds the state of the line. False if the driver does not read: try `flush`.
    ///
    /// # Errors
    /// When the driver has gone.
    pub fn answer(
        &mut self,
        tag: u32,
        values: impl ExactSizeIterator<Item = u64>,
        refusal: Option<(&str, &str)>,
    ) -> Result<bool, ChannelError> {
        // An interrupt of another thread from here on signals the line. The sequence is read first, so
        // that it never hides bits.
        let sequence = self.interrupt.sequence();
        let causes = self.interrupt.status();
        self.interrupt.set_answering(false);
        self.interrupt.set_request(None);
        let asserted = if causes == 0 { 0 } else { LINE_ASSERTED };
        let refused = if refusal.is_some() { REFUSED } else { 0 };
        let news = self.interrupt.violations().take_news();
        let broke = if news { BROKE_RULE } else { 0 };
        let count = u32::try_from(values.len()).unwrap_or(u32::MAX);
        let answer = &mut self.answer;
        answer.clear();
        answer.reserve(ANSWER_HEADER + 8 * values.len());
        for word in [tag, count, asserted | refused | broke, causes] {
            answer.extend_from_slice(&word.to_le_bytes());
        }
        answer.extend_from_slice(&sequence.to_le_bytes());
        for value in values {
            answer.extend_from_slice(&value.to_le_bytes());
        }
        if let Some((reason, message)) = refusal {
            answer.extend_from_slice(reason.as_bytes());
            answer.push(0);
            let mut end = message.len().min(MESSAGE_LIMIT);
            while !message.is_char_boundary(end) {
                end -= 1;
            }
            answer.extend_from_slice(&message.as_bytes()[..end]);
        }
        self.unsent = true;
        self.flush()
    }

    /// Send the answer that is kept. True if none is left.
    ///
    /// # Errors
    /// When the driver has gone.
    pub fn flush(&mut self) -> Result<bool, ChannelError> {
        if !self.unsent {
            return Ok(true);
        }
        // SAFETY: the buffer is valid for its length.
        let sent = unsafe {
            libc::send(
                self.connection.as_fd().as_raw_fd(),
                self.answer.as_ptr().cast(),
                self.answer.len(),
                libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
            )
        };
        if sent < 0 {
            let cause = io::Error::last_os_error();
            return match cause.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(false),
                io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => {
                    Err(ChannelError::Ended)
                }
                _ => Err(cause.into()),
            };
        }
        self.unsent = false;
        Ok(true)
    }

    /// Whether the driver will send nothing more.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        let mut entry = libc::pollfd {
            fd: self.connection.as_fd().as_raw_fd(),
            events: libc::POLLRDHUP,
            revents: 0,
        };
        // SAFETY: one valid entry.
        unsafe { libc::poll(&raw mut entry, 1, 0) == 1 }
    }
}

impl Drop for RegisterChannel {
    fn drop(&mut self) {
        self.interrupt.set_answering(false);
        self.interrupt.set_request(None);
    }
}

/// Close the descriptors that came with a packet, on a thread that nobody waits for. True if any came.
fn close_received(header: &libc::msghdr) -> bool {
    let mut any = false;
    // SAFETY: recvmsg filled the control data of the header, which is valid and aligned.
    let mut entry = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !entry.is_null() {
        // SAFETY: it is an entry of the control data, aligned as headers are.
        let (level, kind, length) =
            unsafe { ((*entry).cmsg_level, (*entry).cmsg_type, (*entry).cmsg_len) };
        if (level, kind) == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
            // SAFETY: it takes no pointers.
            let head = unsafe { libc::CMSG_LEN(0) } as usize;
            for index in 0..length.saturating_sub(head) / size_of::<RawFd>() {
                // SAFETY: the data of the entry holds that many numbers, which are read as bytes.
                let number = unsafe { libc::CMSG_DATA(entry).cast::<Number>().add(index).read() };
                let number = RawFd::from_ne_bytes(number);
                // SAFETY: the kernel made the descriptor for this message, and nothing else owns it.
                close_later(unsafe { OwnedFd::from_raw_fd(number) });
                any = true;
            }
        }
        // SAFETY: as above.
        entry = unsafe { libc::CMSG_NXTHDR(header, entry) };
    }
    any
}

/// Check a packet.
fn parse(packet: &[u8]) -> Result<Request<'_>, ChannelError> {
    let Some((header, body)) = packet.split_first_chunk::<REQUEST_HEADER>() else {
        return Err(malformed(format!(
            "a packet of {} bytes is shorter than a request's header",
            packet.len()
        )));
    };
    let (tag, count) = (u32_at(header, 0), u32_at(header, 4));
    let (entries, rest) = body.as_chunks::<ENTRY>();
    if !rest.is_empty() || usize::try_from(count).ok() != Some(entries.len()) {
        return Err(malformed(format!(
            "a packet of {} bytes does not hold {count} accesses",
            packet.len()
        )));
    }
    if entries.iter().any(|entry| entry[5..8] != [0; 3]) {
        return Err(malformed("bytes that must be zero are not".to_owned()));
    }
    Ok(Request { tag, entries })
}

/// The little-endian word at a place that the buffer has.
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn malformed(what: String) -> ChannelError {
    ChannelError::Malformed(what)
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}
