//! Closes descriptors of strangers on threads that nobody waits for.
//!
//! A close can wait for as long as whoever handed the descriptor over likes: a TCP socket with `SO_LINGER`
//! and unsent data waits for its peer, a file of FUSE for its server, and a unix socket for what is in its
//! queue. So no thread that serves anybody closes such a descriptor.
//!
//! Threads start when they are needed, and end after some idle seconds. When all of them wait, further
//! descriptors stay open in the queue; who receives descriptors looks at [`unclosed`], and takes no more
//! while there are many. The end of the process waits for no TCP socket: the kernel does not linger then,
//! and ends the wait of the threads.

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::process;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// Most threads that close.
const THREADS: usize = 8;
/// How long a thread waits for work.
const IDLE: Duration = Duration::from_millis(if cfg!(test) { 20 } else { 5000 });
/// Bytes of the stack of each.
const STACK: usize = 128 << 10;

static STATE: Mutex<State> = Mutex::new(State::new());
static NEWS: Condvar = Condvar::new();

struct State {
    /// Whose threads they are: a child of this process has none of them.
    process: u32,
    threads: usize,
    /// Threads that wait for work.
    idle: usize,
    queue: VecDeque<OwnedFd>,
    /// Descriptors that are being closed.
    closing: usize,
}

impl State {
    const fn new() -> Self {
        Self {
            process: 0,
            threads: 0,
            idle: 0,
            queue: VecDeque::new(),
            closing: 0,
        }
    }
}

fn lock() -> MutexGuard<'static, State> {
    // Nothing panics while it is held.
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Close a descriptor, soon, and never on the calling thread.
pub fn close_later(descriptor: OwnedFd) {
    let mut state = lock();
    let process = process::id();
    if state.process != process {
        // What the parent had in its queue is open here too, but it is the parent's to close.
        let inherited = mem::replace(&mut *state, State::new());
        mem::forget(inherited.queue);
        state.process = process;
    }
    state.queue.push_back(descriptor);
    if state.idle < state.queue.len() && state.threads < THREADS {
        let builder = thread::Builder::new()
            .name("closer".into())
            .stack_size(STACK);
        // Without a thread it stays in the queue: the next call tries again.
        if builder.spawn(serve).is_ok() {
            state.threads += 1;
        }
    }
    NEWS.notify_one();
}

/// Close the descriptor of this number, which the caller owns, as [`close_later`] does.
///
/// # Errors
/// When it is not open.
pub fn close_number_later(descriptor: RawFd) -> io::Result<()> {
    // SAFETY: F_GETFD takes no pointers; a number that is not open gives EBADF.
    if unsafe { libc::fcntl(descriptor, libc::F_GETFD) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is open, and the caller gives it up.
    close_later(unsafe { OwnedFd::from_raw_fd(descriptor) });
    Ok(())
}

/// Say whether a descriptor is a unix stream socket.
///
/// No other option of a socket is asked for, and not its name: a stranger can hold the lock for those of
/// TCP for as long as it likes.
#[must_use]
pub fn is_unix_stream(descriptor: RawFd) -> bool {
    let asked = [
        (libc::SO_DOMAIN, libc::AF_UNIX),
        (libc::SO_TYPE, libc::SOCK_STREAM),
    ];
    asked.into_iter().all(|(name, wanted)| {
        let mut value: libc::c_int = -1;
        let mut size = libc::socklen_t::try_from(size_of::<libc::c_int>()).unwrap_or(0);
        let (to, level) = ((&raw mut value).cast(), libc::SOL_SOCKET);
        // SAFETY: the value is valid for the size given. What is no socket fails with ENOTSOCK.
        let known = unsafe { libc::getsockopt(descriptor, level, name, to, &raw mut size) };
        known == 0 && value == wanted
    })
}

/// How many descriptors wait to be closed, or are being closed.
#[must_use]
pub fn unclosed() -> usize {
    let state = lock();
    state.queue.len() + state.closing
}

fn serve() {
    let mut state = lock();
    loop {
        if let Some(descriptor) = state.queue.pop_front() {
            state.closing += 1;
            drop(state);
            do_not_linger(&descriptor);
            drop(descriptor);
            state = lock();
            state.closing -= 1;
        } else {
            state.idle += 1;
            let (woken, timeout) = NEWS
                .wait_timeout(state, IDLE)
                .unwrap_or_else(PoisonError::into_inner);
            state = woken;
            state.idle -= 1;
            if timeout.timed_out() && state.queue.is_empty() {
                state.threads -= 1;
                return;
            }
        }
    }
}

/// Have the close of a socket that would wait for its peer reset the connection. Its owner can undo that
/// before the close: then this thread waits.
fn do_not_linger(descriptor: &OwnedFd) {
    let mut linger = libc::linger {
        l_onoff: 0,
        l_linger: 0,
    };
    let mut size = libc::socklen_t::try_from(size_of::<libc::linger>()).unwrap_or(0);
    let number = descriptor.as_raw_fd();
    let (level, name) = (libc::SOL_SOCKET, libc::SO_LINGER);
    // SAFETY: the structure is valid for the size given. What is no socket fails with ENOTSOCK.
    let known =
        unsafe { libc::getsockopt(number, level, name, (&raw mut linger).cast(), &raw mut size) };
    if known < 0 || linger.l_onoff == 0 {
        return;
    }
    linger.l_linger = 0;
    // SAFETY: as above.
    unsafe { libc::setsockopt(number, level, name, (&raw const linger).cast(), size) };
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::UnixStream;
    use std::time::Instant;

    use super::*;

    #[test]
    fn what_is_given_is_closed() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        close_later(theirs.into());
        // The end of the other side is told to this one.
        assert_eq!(ours.read(&mut [0]).unwrap(), 0);
    }

    #[test]
    fn threads_that_have_nothing_to_do_end_and_others_start() {
        let start = Instant::now();
        for _ in 0..2 {
            what_is_given_is_closed();
            while lock().threads > 0 {
                thread::yield_now();
                assert!(start.elapsed() < Duration::from_secs(30));
            }
        }
    }

    #[test]
    fn unix_streams_are_told_from_other_descriptors() {
        let (stream, _other) = UnixStream::pair().unwrap();
        assert!(is_unix_stream(stream.as_raw_fd()));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let datagram = std::os::unix::net::UnixDatagram::unbound().unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        for other in [
            listener.as_raw_fd(),
            datagram.as_raw_fd(),
            file.as_raw_fd(),
            -1,
        ] {
            assert!(!is_unix_stream(other));
        }
    }

    #[test]
    fn a_number_that_is_not_open_is_refused() {
        assert!(close_number_later(-1).is_err());
    }

    #[test]
    fn more_than_there_are_threads_linger_and_nobody_waits() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let start = Instant::now();
        let mut peers = Vec::new();
        for _ in 0..2 * THREADS {
            let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            peers.push(listener.accept().unwrap());
            let linger = libc::linger {
                l_onoff: 1,
                l_linger: 60,
            };
            let size = libc::socklen_t::try_from(size_of::<libc::linger>()).unwrap();
            let (level, name) = (libc::SOL_SOCKET, libc::SO_LINGER);
            // SAFETY: the structure is valid for its size.
            unsafe {
                libc::setsockopt(
                    stream.as_raw_fd(),
                    level,
                    name,
                    (&raw const linger).cast(),
                    size,
                )
            };
            stream.set_nonblocking(true).unwrap();
            while std::io::Write::write(&mut &stream, &[0; 1 << 12]).is_ok() {}
            close_later(stream.into());
        }
        assert!(start.elapsed() < Duration::from_secs(30));
        while unclosed() > 0 {
            thread::yield_now();
            assert!(start.elapsed() < Duration::from_secs(30));
        }
    }
}
