//! Signals a driver's eventfd without ever waiting for the driver.
//!
//! `write` to an eventfd waits at a full counter unless `O_NONBLOCK` is set; the flag belongs to the
//! open file, which the driver shares and may clear between our check and our write, and
//! `RWF_NOWAIT` does not exist for writes to eventfds. So the kernel signals for us: an asynchronous
//! read of 0 bytes from /dev/null completes at once and, with `IOCB_FLAG_RESFD`, adds 1 to an eventfd
//! on a kernel path that never waits. It costs 0.5 us more than a write.

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::eventfd::Call;

/// Completions that the kernel stores before they have to be consumed.
const COMPLETIONS: u32 = 64;
/// `IOCB_CMD_PREAD` of `linux/aio_abi.h`.
const IOCB_CMD_PREAD: u16 = 0;
/// `IOCB_FLAG_RESFD` of `linux/aio_abi.h`.
const IOCB_FLAG_RESFD: u32 = 1;

/// `struct io_event` of `linux/aio_abi.h`: data, obj, res, res2. Its content is not used here.
type IoEvent = [u64; 4];

/// Signals eventfds. Without kernel AIO (not built in, or forbidden) it falls back to `write`, and a
/// driver that clears `O_NONBLOCK` and fills the counter can then make its own device wait.
#[derive(Debug)]
pub struct Signaller {
    context: Option<Context>,
}

impl Signaller {
    /// Make one.
    #[must_use]
    pub fn new() -> Self {
        Self {
            context: Context::new().ok(),
        }
    }

    /// Add 1 to the eventfd, or send it to the socket. The only failure is a full counter or buffer:
    /// the driver has a signal waiting already.
    pub fn signal(&self, call: &Call) {
        let one = 1_u64.to_ne_bytes();
        match call {
            Call::Eventfd(eventfd) => {
                let signalled = self
                    .context
                    .as_ref()
                    .is_some_and(|context| context.signal(eventfd).is_ok());
                if !signalled {
                    // SAFETY: the buffer is valid for its length.
                    unsafe { libc::write(eventfd.as_raw_fd(), one.as_ptr().cast(), one.len()) };
                }
            }
            Call::Socket(socket) => {
                let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
                // SAFETY: the buffer is valid for its length.
                unsafe { libc::send(socket.as_raw_fd(), one.as_ptr().cast(), one.len(), flags) };
            }
        }
    }
}

impl Default for Signaller {
    fn default() -> Self {
        Self::new()
    }
}

/// A kernel AIO context.
#[derive(Debug)]
struct Context {
    id: libc::c_ulong,
    null: File,
    /// Submissions since the completions were last taken.
    submitted: AtomicU32,
}

impl Context {
    fn new() -> io::Result<Self> {
        let null = File::open("/dev/null")?;
        let mut id: libc::c_ulong = 0;
        // Twice the number that is ever left unconsumed, so racing threads find room.
        // SAFETY: id is valid for a write.
        let result = unsafe { libc::syscall(libc::SYS_io_setup, 2 * COMPLETIONS, &raw mut id) };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self {
            id,
            null,
            submitted: AtomicU32::new(0),
        })
    }

    fn signal(&self, eventfd: &OwnedFd) -> io::Result<()> {
        if self.submitted.fetch_add(1, Ordering::Relaxed) % COMPLETIONS == COMPLETIONS - 1 {
            self.take_completions();
        }
        // SAFETY: all zeroes is a valid control block.
        let mut block: libc::iocb = unsafe { MaybeUninit::zeroed().assume_init() };
        block.aio_lio_opcode = IOCB_CMD_PREAD;
        block.aio_fildes = self.null.as_raw_fd().cast_unsigned();
        block.aio_flags = IOCB_FLAG_RESFD;
        block.aio_resfd = eventfd.as_raw_fd().cast_unsigned();
        let mut list = [&raw mut block];
        // SAFETY: the list holds one valid control block, which the kernel copies before it
        // returns; the read is of no bytes, so no buffer is needed.
        let result = unsafe { libc::syscall(libc::SYS_io_submit, self.id, 1, list.as_mut_ptr()) };
        if result == 1 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }

    fn take_completions(&self) {
        let mut events = [MaybeUninit::<IoEvent>::uninit(); COMPLETIONS as usize];
        // With a minimum of 0 it returns the stored completions. Their content is not needed.
        // SAFETY: the kernel writes at most the given number of events into the array.
        unsafe {
            libc::syscall(
                libc::SYS_io_getevents,
                self.id,
                0,
                COMPLETIONS,
                events.as_mut_ptr(),
                ptr::null::<libc::timespec>(),
            )
        };
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: the context is ours, and nothing uses it after this.
        unsafe { libc::syscall(libc::SYS_io_destroy, self.id) };
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::eventfd::{EventFd, wait_readable};

    fn event_and_call() -> (EventFd, Call) {
        let event = EventFd::new().unwrap();
        let call = Call::duplicate(event.as_fd().as_raw_fd()).unwrap();
        (event, call)
    }

    fn counter(event: &EventFd) -> u64 {
        let mut bytes = [0_u8; 8];
        // SAFETY: the buffer is valid for its length.
        unsafe { libc::read(event.as_fd().as_raw_fd(), bytes.as_mut_ptr().cast(), 8) };
        u64::from_ne_bytes(bytes)
    }

    #[test]
    fn each_signal_adds_one() {
        let (event, call) = event_and_call();
        let signaller = Signaller::new();
        for _ in 0..1000 {
            signaller.signal(&call);
        }
        assert_eq!(counter(&event), 1000);
    }

    #[test]
    fn it_works_without_kernel_aio() {
        let (event, call) = event_and_call();
        Signaller { context: None }.signal(&call);
        assert_eq!(counter(&event), 1);
    }

    #[test]
    fn a_socket_is_sent_eight_bytes_until_it_is_full_or_closed() {
        let (mut driver, device) = UnixStream::pair().unwrap();
        let call = Call::duplicate(device.as_raw_fd()).unwrap();
        let signaller = Signaller::new();
        for _ in 0..100_000 {
            signaller.signal(&call);
        }
        let mut bytes = [0_u8; 8];
        driver.read_exact(&mut bytes).unwrap();
        assert_eq!(u64::from_ne_bytes(bytes), 1);
        drop(driver);
        signaller.signal(&call);
    }

    #[test]
    fn threads_may_signal_at_once() {
        let (event, call) = event_and_call();
        let signaller = Signaller::new();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..5000).for_each(|_| signaller.signal(&call)));
            }
        });
        assert_eq!(counter(&event), 20_000);
    }

    #[test]
    fn a_full_counter_made_blocking_later_does_not_make_it_wait() {
        let (event, call) = event_and_call();
        let signaller = Signaller::new();
        assert!(signaller.context.is_some(), "this test needs kernel AIO");
        let full = (u64::MAX - 1).to_ne_bytes();
        // SAFETY: the buffer is valid for its length; F_SETFL takes no pointers.
        unsafe {
            libc::write(event.as_fd().as_raw_fd(), full.as_ptr().cast(), full.len());
            libc::fcntl(event.as_fd().as_raw_fd(), libc::F_SETFL, 0);
        }
        (0..3).for_each(|_| signaller.signal(&call));
        assert_eq!(wait_readable([event.as_fd()]).unwrap(), [true]);
    }
}
