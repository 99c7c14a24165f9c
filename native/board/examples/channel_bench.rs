//! One register read through the register channel, against a bare SEQPACKET ping-pong of the same sizes
//! in C: `cargo run --release --example channel_bench`. It needs `cc`.
//!
//! The device is a child process that answers at once, so this is what the driver's half costs. Both are
//! measured in turn, with both processes on one CPU, and on two.

use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use virtmesh_board::{Channel, Notifier, Operation};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Measurements of each side.
const ROUNDS: usize = 21;
/// Round trips of one measurement.
const TRIPS: u32 = 5000;
const READ: Operation = Operation {
    offset: 0x70,
    op: 4,
    value: 0,
};
const HEADER: usize = 24;

fn main() -> Result<()> {
    let bare = compile()?;
    for (layout, cpus) in [("one CPU", [0, 0]), ("two CPUs", [0, 1])] {
        let (mut c, mut channel) = (Bare::start(&bare, cpus)?, Device::start(cpus)?);
        let mut measured = (vec![], vec![]);
        for _ in 0..ROUNDS {
            measured.0.push(c.measure()?);
            measured.1.push(channel.measure()?);
        }
        let (bare, channel) = (median(measured.0), median(measured.1));
        let ratio = channel / bare;
        println!(
            "{layout}: bare SEQPACKET in C {bare:.0} ns, register channel {channel:.0} ns, ratio {ratio:.2}"
        );
    }
    std::fs::remove_file(bare)?;
    Ok(())
}

/// The C program, waiting for a line for each measurement.
struct Bare {
    child: Child,
    answers: BufReader<std::process::ChildStdout>,
}

impl Bare {
    fn start(program: &Path, cpus: [usize; 2]) -> Result<Self> {
        let mut child = Command::new(program)
            .args(cpus.map(|cpu| cpu.to_string()))
            .arg(TRIPS.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let answers = BufReader::new(child.stdout.take().ok_or("no output")?);
        Ok(Self { child, answers })
    }

    fn measure(&mut self) -> Result<f64> {
        let asked = self.child.stdin.as_mut().ok_or("no input")?;
        asked.write_all(b"\n")?;
        asked.flush()?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        Ok(line.trim().parse()?)
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        // The end of its input ends it.
        let _ = self.child.wait();
    }
}

/// A child process that answers each request with one value.
struct Device {
    channel: Channel,
    notifier: Notifier,
    cpu: usize,
    child: libc::pid_t,
}

impl Device {
    fn start([cpu, other]: [usize; 2]) -> Result<Self> {
        let (driver, device) = pair()?;
        // SAFETY: the child makes system calls only, and leaves by _exit.
        let child = unsafe { libc::fork() };
        if child == 0 {
            drop(driver);
            pin(other);
            serve(&device);
        }
        Ok(Self {
            channel: Channel::new(driver, Duration::from_secs(10))?,
            notifier: Notifier::new()?,
            cpu,
            child,
        })
    }

    fn measure(&mut self) -> Result<f64> {
        pin(self.cpu);
        let start = Instant::now();
        for _ in 0..TRIPS {
            self.channel.send(&[READ])?;
            let answer = self.channel.wait(Some(&self.notifier))?;
            answer.ok_or("interrupted")?;
        }
        Ok(start.elapsed().as_secs_f64() * 1e9 / f64::from(TRIPS))
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // SAFETY: it is a child that was not waited for.
        unsafe {
            libc::kill(self.child, libc::SIGKILL);
            libc::waitpid(self.child, std::ptr::null_mut(), 0);
        }
    }
}

fn serve(socket: &OwnedFd) -> ! {
    let mut packet = [0_u8; 64];
    loop {
        // SAFETY: the buffers are valid for their lengths.
        let length = unsafe {
            libc::recv(
                socket.as_raw_fd(),
                packet.as_mut_ptr().cast(),
                packet.len(),
                0,
            )
        };
        if length <= 0 {
            // SAFETY: nothing of the parent's is to be run here.
            unsafe { libc::_exit(0) };
        }
        // Tag and count are where they are in the answer too; the rest is zeroes.
        packet[8..].fill(0);
        let answer = packet.as_ptr().cast();
        // SAFETY: as above.
        unsafe { libc::send(socket.as_raw_fd(), answer, HEADER + 8, libc::MSG_NOSIGNAL) };
    }
}

fn pair() -> Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0; 2];
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
    // SAFETY: the array has room for two descriptors.
    if unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, ends.as_mut_ptr()) } < 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    // SAFETY: the call above made both, and nothing else owns them.
    Ok(unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) })
}

/// On a machine with one CPU this does nothing for the second.
fn pin(cpu: usize) {
    // SAFETY: all zeroes is an empty set; the set is valid for its size.
    unsafe {
        let mut set: libc::cpu_set_t = MaybeUninit::zeroed().assume_init();
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set);
    }
}

fn compile() -> Result<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/pingpong.c");
    let program = std::env::temp_dir().join(format!("pingpong-{}", std::process::id()));
    let status = Command::new("cc")
        .arg("-O2")
        .arg("-o")
        .arg(&program)
        .arg(source)
        .status()?;
    if !status.success() {
        return Err("cc failed".into());
    }
    Ok(program)
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
