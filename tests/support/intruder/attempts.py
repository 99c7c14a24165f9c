"""What an intruder tries: a table of names, and what each does. Standard library only.

Each attempt returns when it has succeeded, and raises OSError when it was refused. `goals` has the
paths and processes of the victims: see the fields in `attempt`.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import socket
import stat
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

NUMBERS = {
    "x86_64": {
        "ptrace": 101, "process_vm_readv": 310, "mount": 165, "unshare": 272, "setns": 308,
        "keyctl": 250, "bpf": 321, "perf_event_open": 298, "io_uring_setup": 425, "kcmp": 312,
        "init_module": 175, "pidfd_open": 434, "personality": 135, "tkill": 200, "clone3": 435,
        "prctl": 157, "chroot": 161, "umount2": 166, "shmget": 29,
    },
    "aarch64": {
        "ptrace": 117, "process_vm_readv": 270, "mount": 40, "unshare": 97, "setns": 268,
        "keyctl": 219, "bpf": 280, "perf_event_open": 241, "io_uring_setup": 425, "kcmp": 272,
        "init_module": 105, "pidfd_open": 434, "personality": 92, "tkill": 130, "clone3": 435,
        "prctl": 167, "chroot": 51, "umount2": 39, "shmget": 194,
    },
}  # fmt: skip
"""Numbers of system calls that Python has no function for."""
Goals = dict[str, Any]


def call(name: str, *arguments: int | bytes | None) -> int:
    """Make a system call. Errors: OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    words = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    number = NUMBERS[platform.machine()][name]
    result: int = libc.syscall(ctypes.c_long(number), *words)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def read(path: str) -> None:
    """Open a file for reading."""
    with open(path, "rb") as file:
        file.read(1)


def open_only(path: str) -> None:
    """Open a file for reading, without reading."""
    os.close(os.open(path, os.O_RDONLY))


def write(path: str) -> None:
    """Open a file for writing, without a change."""
    os.close(os.open(path, os.O_WRONLY))


def make(path: str) -> None:
    """Make a file, and take it away again."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    os.unlink(path)


def make_folder(path: str) -> None:
    """Make a folder, and take it away again."""
    os.mkdir(path)
    os.rmdir(path)


def connect(path: str, kind: int = socket.SOCK_STREAM) -> None:
    """Connect to a unix socket."""
    with socket.socket(socket.AF_UNIX, kind) as one:
        one.connect(path)


def connect_tcp(goals: Goals) -> None:
    """Connect to a port of this host."""
    with socket.socket() as one:
        one.settimeout(5)
        one.connect((goals.get("host", "127.0.0.1"), goals["port"]))


def bind_tcp(_goals: Goals) -> None:
    """Listen at a port of one's own."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        one.listen()


def send_udp(goals: Goals) -> None:
    """Send a datagram."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.sendto(b"x", (goals.get("host", "127.0.0.1"), goals["port"]))


def pose_as(goals: Goals) -> None:
    """Listen at a socket in the run folder, as another device would."""
    path = f"{goals['run']}/posing.sock"
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(path)
        one.listen()
    os.unlink(path)


def rename_socket(goals: Goals) -> None:
    """Move the own socket away, to the place of another, and back."""
    os.rename(goals["own"], f"{goals['own']}.moved")
    os.rename(f"{goals['own']}.moved", goals["own"])


def link_out(goals: Goals, make_link: Callable[[str, str], object]) -> None:
    """Make a link to the disk image in the run folder."""
    path = f"{goals['run']}/link"
    make_link(goals["image"], path)
    os.unlink(path)


def fork(_goals: Goals) -> None:
    """Start a process."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def wake_up_dumps(_goals: Goals) -> None:
    """Become dumpable again: PR_SET_DUMPABLE."""
    call("prctl", 4, 1, 0, 0, 0)


def list_folder(path: str) -> None:
    """List a folder."""
    os.listdir(path)


def change_mode(goals: Goals) -> None:
    """Change the mode of the disk image, to what it is."""
    os.chmod(goals["image"], stat.S_IMODE(os.stat(goals["image"]).st_mode))


REFUSED: dict[str, Callable[[Goals], object]] = {
    "read the image of a disk": lambda to: read(to["image"]),
    "write to the image of a disk": lambda to: write(to["image"]),
    "cut the image off": lambda to: os.truncate(to["image"], to["image_size"]),
    "change the mode of the image": change_mode,
    "connect to the kernel": lambda to: connect(to["kernel"]),
    "connect to the disk": lambda to: connect(to["disk"]),
    "hand memory over to the disk": lambda to: connect(
        f"{to['disk']}.handover", socket.SOCK_SEQPACKET
    ),
    "read the passwords of the host": lambda _to: read("/etc/shadow"),
    "read the log of another service": lambda to: read(to["log"]),
    "list the home of the user": lambda to: list_folder(to["home"]),
    "list the run folder": lambda to: list_folder(to["run"]),
    "write a file in the run folder": lambda to: make(f"{to['run']}/made"),
    "write a file in /tmp": lambda to: make(f"/tmp/virtmesh-intruder-{to['sibling']}"),
    "write a file in shared memory": lambda to: make(f"/dev/shm/virtmesh-{to['sibling']}"),
    "change the code of the service": lambda to: write(to["code"]),
    "add a module": lambda to: make(f"{to['packages']}/intruder_{to['sibling']}.py"),
    "make a folder": lambda to: make_folder(f"{to['run']}/made"),
    "make a symbolic link": lambda to: link_out(to, os.symlink),
    "make a hard link": lambda to: link_out(to, os.link),
    "move the own socket": rename_socket,
    "listen at a socket of another name": pose_as,
    "connect by TCP": connect_tcp,
    "listen by TCP": bind_tcp,
    "send by UDP": send_udp,
    "signal another service": lambda to: os.kill(to["sibling"], 0),
    "signal a thread of another service": lambda to: call("tkill", to["sibling"], 0),
    "hold another process": lambda to: os.close(call("pidfd_open", to["sibling"], 0)),
    "read the memory of another service": lambda to: open_only(f"/proc/{to['sibling']}/mem"),
    "read the environment of another service": lambda to: read(f"/proc/{to['sibling']}/environ"),
    "see the files of another service": lambda to: list_folder(f"/proc/{to['sibling']}/fd"),
    "start a process": fork,
    "use io_uring": lambda _to: os.close(call("io_uring_setup", 4, bytes(120))),
    "be another personality": lambda _to: call("personality", 0xFFFFFFFF),
    "be dumpable again": wake_up_dumps,
    "share memory with System V": lambda _to: call("shmget", 0, 4096, 0o600),
}
"""What the service survives: it is refused with an error."""

KILLED: dict[str, Callable[[Goals], object]] = {
    "execute a shell": lambda _to: os.execv("/bin/sh", ["sh", "-c", "exit 3"]),
    "trace another service": lambda to: call("ptrace", 0x4206, to["sibling"], 0, 0),
    "read another's memory": lambda to: call("process_vm_readv", to["sibling"], 0, 0, 0, 0, 0),
    "unshare the user namespace": lambda _to: call("unshare", 0x10000000),
    "enter another's namespaces": lambda _to: call("setns", os.open("/proc/self/ns/uts", 0), 0),
    "mount": lambda _to: call("mount", b"none", b"/proc/self/cwd", b"tmpfs", 0, None),
    "use keys of the kernel": lambda _to: call("keyctl", 0, -2, 1),
    "load a BPF program": lambda _to: call("bpf", 0, bytes(128), 128),
    "watch the processor": lambda _to: call("perf_event_open", bytes(128), 0, -1, -1, 0),
    "load a kernel module": lambda _to: call("init_module", b"", 0, b""),
}
"""What no service ever does: the process is killed."""

ATTEMPTS = {**REFUSED, **KILLED}
REFUSALS = {errno.EACCES, errno.EPERM, errno.ENOSYS}


def attempt(name: str, goals: Goals) -> str:
    """Try one thing. Return "done", "refused: ERRNO", or "failed: ..." for anything else."""
    try:
        ATTEMPTS[name](goals)
    except OSError as error:
        word = "refused" if error.errno in REFUSALS else "failed"
        return f"{word}: {errno.errorcode.get(error.errno or 0, '?')}"
    except Exception as error:  # noqa: BLE001 - the one who asks judges it
        return f"failed: {error!r}"
    return "done"
