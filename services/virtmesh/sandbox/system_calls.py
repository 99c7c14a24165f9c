"""The system calls of services, by their names on Linux.

What is in no list is answered as by a kernel that does not know it (ENOSYS): libraries then use
what came before it. So glibc starts threads by `clone`, whose flags can be looked at, not by
`clone3`.
"""

from __future__ import annotations


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split())


ALLOWED = _names("""
    accept accept4 brk clock_getres clock_gettime clock_nanosleep close close_range
    copy_file_range dup dup3 epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 eventfd2 exit
    exit_group faccessat faccessat2 fadvise64 fallocate fcntl fdatasync flock fstat fstatfs
    fsync ftruncate futex futex_requeue futex_wait futex_waitv futex_wake get_robust_list getcpu
    getcwd getdents64 getegid geteuid getgid getgroups getitimer getpeername getpgid getpid
    getppid getpriority getrandom getresgid getresuid getrusage getsid getsockname getsockopt
    gettid gettimeofday getuid io_cancel io_destroy io_getevents io_pgetevents io_setup
    io_submit lseek madvise membarrier memfd_create mincore mlock mlock2 mmap mprotect mremap
    mseal msync munlock munmap nanosleep openat openat2 pipe2 ppoll pread64 preadv preadv2
    pselect6 pwrite64 pwritev pwritev2 read readahead readlinkat readv recvfrom recvmmsg recvmsg
    restart_syscall rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigreturn rt_sigsuspend
    rt_sigtimedwait sched_get_priority_max sched_get_priority_min sched_getaffinity
    sched_getparam sched_getscheduler sched_setaffinity sched_yield sendfile sendmmsg sendmsg
    sendto set_robust_list set_tid_address setitimer setsockopt shutdown sigaltstack signalfd4
    socketpair statfs statx sync_file_range sysinfo timer_create timer_delete timer_getoverrun
    timer_gettime timer_settime timerfd_create timerfd_gettime timerfd_settime times umask uname
    unlinkat write writev
""")
"""What each service calls, whatever it serves."""
ALLOWED_ON = {
    "x86_64": _names("""
        access arch_prctl dup2 epoll_create epoll_wait eventfd getdents getrlimit lstat
        map_shadow_stack newfstatat open pipe poll readlink select stat time unlink
    """),
    "aarch64": ("getrlimit", "newfstatat"),
    "riscv64": ("getrlimit", "newfstatat", "riscv_flush_icache", "riscv_hwprobe"),
}
"""What only some processors have, by the name that the system gives them."""
CONNECTING = ("bind", "connect", "socket")
"""What a service calls that opens connections all of its life: gRPC looks for IPv6 by bind."""

MAKE_RING = "io_uring_setup"
UNKNOWN = ("io_uring_enter", "io_uring_register", MAKE_RING)
"""What is unknown from the start, before the loop of uvloop is made: it would wait by io_uring
otherwise, whose requests seccomp does not see."""

REFUSED = _names("""
    bind capset chdir connect fanotify_init fanotify_mark fchdir fchmod fchmodat fchmodat2
    fchown fchownat fremovexattr fsetxattr inotify_add_watch linkat listen lsetxattr
    mkdirat mknodat mq_open msgget personality pidfd_open pidfd_send_signal removexattr
    renameat2 rt_sigqueueinfo rt_tgsigqueueinfo sched_setattr sched_setparam sched_setscheduler
    semget setfsgid setfsuid setgid setgroups setpgid setpriority setregid setresgid setresuid
    setreuid setrlimit setsid setuid setxattr shmat shmget socket splice symlinkat tee tkill
    truncate utimensat vmsplice
""")
"""What a broken service may try: it is refused with EPERM, and the service goes on."""
REFUSED_ON = {
    "x86_64": _names("""
        chmod chown creat fork lchown link mkdir mknod rename renameat rmdir symlink utime
        utimes vfork
    """),
    "aarch64": ("renameat",),
}

KILLED = _names("""
    acct add_key bpf chroot clock_settime delete_module execve execveat finit_module fsconfig
    fsmount fsopen fspick init_module kcmp kexec_load keyctl mount mount_setattr move_mount
    open_by_handle_at open_tree perf_event_open pidfd_getfd pivot_root process_madvise
    process_vm_readv process_vm_writev ptrace quotactl reboot request_key setdomainname
    sethostname setns settimeofday swapoff swapon syslog umount2 unshare userfaultfd vhangup
""")
"""No service ever calls these: what calls them is somebody else, and the process is killed."""
KILLED_ON = {"x86_64": ("ioperm", "iopl", "kexec_file_load", "modify_ldt")}

FIONREAD, FIONBIO, FIONCLEX, FIOCLEX = 0x541B, 0x5421, 0x5450, 0x5451
TCGETS, TIOCGWINSZ = 0x5401, 0x5413
IOCTLS = (FIONREAD, FIONBIO, FIONCLEX, FIOCLEX, TCGETS, TIOCGWINSZ)
"""Requests of ioctl that every service may make."""

PR_GET_DUMPABLE, PR_SET_NAME, PR_GET_NAME = 3, 15, 16
PR_GET_NO_NEW_PRIVS, PR_SET_VMA = 39, 0x53564D41
PRCTLS = (PR_GET_DUMPABLE, PR_SET_NAME, PR_GET_NAME, PR_GET_NO_NEW_PRIVS, PR_SET_VMA)

CLONE_THREAD = 0x00010000
CLONE_NEW = 0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000
"""CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET."""
