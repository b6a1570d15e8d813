"""The default seccomp profile, which users of Docker know: the system calls a container may use.

The profile allows the calls with which a program works on its own files, memory, processes and
sockets, and calls that the kernel checks for every user anyway. Every other call fails with EPERM:
among them are calls that few programs use and calls in which kernels had security holes (io_uring,
keyrings, userfaultfd, bpf, new user namespaces). A container with a capability may use the calls
that need this capability, too.

Source: moby/profiles, seccomp/default.json (2026-06), the facts of it for x86, and stricter where a
socket is made; OCI runtime specification 1.3, config-linux.md, "Seccomp".
"""

from __future__ import annotations

import errno

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from ringlet.container.spec.types import Seccomp, SeccompSyscall

# The system calls of each group, and the reason why they are allowed. Names with a number or
# suffix (chown32, futex_time64, stat64) are 32-bit x86's forms of the same calls.
_ALLOWED = {
    "open a file by its path, with the permissions that the mounts and modes give": """
        open openat openat2 creat close close_range name_to_handle_at
        access faccessat faccessat2 chdir fchdir getcwd umask""",
    "read and write what is open": """
        read readv pread64 preadv preadv2 write writev pwrite64 pwritev pwritev2 lseek _llseek
        readahead sendfile sendfile64 copy_file_range splice tee vmsplice
        sync syncfs fsync fdatasync sync_file_range fallocate ftruncate ftruncate64
        truncate truncate64 fadvise64 fadvise64_64 cachestat flock fcntl fcntl64 ioctl
        dup dup2 dup3 pipe pipe2""",
    "look at files and mounts": """
        stat stat64 lstat lstat64 fstat fstat64 fstatat64 newfstatat statx
        statfs statfs64 fstatfs fstatfs64 statmount listmount readlink readlinkat
        getdents getdents64""",
    "change files: the kernel checks the owner; mknod makes a device only with CAP_MKNOD": """
        chmod fchmod fchmodat fchmodat2 chown chown32 fchown fchown32 fchownat lchown lchown32
        link linkat symlink symlinkat rename renameat renameat2 unlink unlinkat mkdir mkdirat rmdir
        mknod mknodat utime utimes futimesat utimensat utimensat_time64""",
    "extended attributes": """
        getxattr getxattrat lgetxattr fgetxattr listxattr listxattrat llistxattr flistxattr
        setxattr setxattrat lsetxattr fsetxattr
        removexattr removexattrat lremovexattr fremovexattr""",
    "wait for and be told of events": """
        select _newselect pselect6 pselect6_time64 poll ppoll ppoll_time64
        epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_wait epoll_wait_old
        epoll_pwait epoll_pwait2 eventfd eventfd2 signalfd signalfd4
        inotify_init inotify_init1 inotify_add_watch inotify_rm_watch fanotify_mark""",
    "asynchronous I/O, the old one: io_uring passes by this filter": """
        io_setup io_destroy io_submit io_cancel io_getevents
        io_pgetevents io_pgetevents_time64""",
    "its own memory": """
        brk mmap mmap2 munmap mremap mprotect madvise mincore msync mseal remap_file_pages
        mlock mlock2 mlockall munlock munlockall memfd_create memfd_secret membarrier
        pkey_alloc pkey_free pkey_mprotect map_shadow_stack process_mrelease""",
    "processes and threads of its own; clone is below": """
        fork vfork execve execveat exit exit_group wait4 waitid waitpid set_tid_address
        futex futex_time64 futex_wait futex_wake futex_waitv futex_requeue
        get_robust_list set_robust_list rseq restart_syscall
        get_thread_area set_thread_area arch_prctl modify_ldt uretprobe
        prctl seccomp landlock_create_ruleset landlock_add_rule landlock_restrict_self
        pidfd_open pidfd_send_signal""",
    "look at and write memory of its own processes, which ptrace's access check guards: since "
    "Linux 4.8 a traced call can't get round the filter": """
        ptrace process_vm_readv process_vm_writev""",
    "signals": """
        kill tkill tgkill rt_sigqueueinfo rt_tgsigqueueinfo rt_sigaction rt_sigpending
        rt_sigprocmask rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64
        sigaltstack sigprocmask sigreturn pause alarm""",
    "who it is: the kernel asks for CAP_SETUID, CAP_SETGID, CAP_SETPCAP": """
        getpid getppid gettid getpgid getpgrp getsid setpgid setsid
        getuid getuid32 geteuid geteuid32 getgid getgid32 getegid getegid32
        getresuid getresuid32 getresgid getresgid32 getgroups getgroups32
        setuid setuid32 setgid setgid32 setreuid setreuid32 setregid setregid32
        setresuid setresuid32 setresgid setresgid32 setgroups setgroups32
        setfsuid setfsuid32 setfsgid setfsgid32 capget capset""",
    "its share of the machine, which rlimits and cgroups bound": """
        getrlimit ugetrlimit setrlimit prlimit64 getrusage times sysinfo uname getcpu
        getpriority setpriority ioprio_get ioprio_set
        sched_getaffinity sched_setaffinity sched_getattr sched_setattr sched_getparam
        sched_setparam sched_getscheduler sched_setscheduler sched_get_priority_max
        sched_get_priority_min sched_rr_get_interval sched_rr_get_interval_time64
        sched_yield""",
    "time: the kernel lets adjtimex and its like only read without CAP_SYS_TIME": """
        time gettimeofday clock_gettime clock_gettime64 clock_getres clock_getres_time64
        adjtimex clock_adjtime clock_adjtime64
        nanosleep clock_nanosleep clock_nanosleep_time64 getitimer setitimer
        timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64
        timer_settime timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64
        timerfd_settime timerfd_settime64""",
    "sockets of its network namespace; to make one is below": """
        socketpair bind listen accept accept4 connect shutdown getsockname getpeername
        getsockopt setsockopt send sendto sendmsg sendmmsg recv recvfrom recvmsg
        recvmmsg recvmmsg_time64""",
    "System V IPC and POSIX message queues of its IPC namespace": """
        ipc msgctl msgget msgrcv msgsnd semctl semget semop semtimedop semtimedop_time64
        shmat shmctl shmdt shmget mq_open mq_unlink mq_getsetattr mq_notify
        mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64""",
    "random numbers": "getrandom",
}

_ALLOWED_WITH = {
    "CAP_BPF": "bpf",
    "CAP_DAC_READ_SEARCH": "open_by_handle_at",
    "CAP_PERFMON": "perf_event_open",
    "CAP_SYSLOG": "syslog",
    "CAP_SYS_ADMIN": """
        mount umount umount2 mount_setattr move_mount open_tree fsopen fsconfig fsmount fspick
        clone clone3 unshare setns sethostname setdomainname quotactl quotactl_fd
        fanotify_init bpf perf_event_open syslog lookup_dcookie
        lsm_get_self_attr lsm_set_self_attr lsm_list_modules""",
    "CAP_SYS_BOOT": "reboot",
    "CAP_SYS_CHROOT": "chroot",
    "CAP_SYS_MODULE": "init_module finit_module delete_module",
    "CAP_SYS_NICE": "get_mempolicy set_mempolicy set_mempolicy_home_node mbind",
    "CAP_SYS_PACCT": "acct",
    "CAP_SYS_PTRACE": "kcmp pidfd_getfd process_madvise",
    "CAP_SYS_RAWIO": "iopl ioperm",
    "CAP_SYS_TIME": "settimeofday stime clock_settime clock_settime64",
    "CAP_SYS_TTY_CONFIG": "vhangup",
}

_AF_ALG = 38  # the kernel's ciphers: much code, and few users
_AF_VSOCK = 40  # reaches the hypervisor's host, whatever the network namespace
_AF_MAX = 46  # the number of families: each family is below it
# The kernel reads only 32 bits of a family, and a program may write anything in the upper bits.
# socketpair needs no rule, because neither family has pairs. socketcall isn't named: its family is
# in memory, so it makes no socket then (`libseccomp.py`), but does the work of the other calls.
_LOWER_HALF = 0xFFFFFFFF

# PER_LINUX and PER_LINUX32, each also with UNAME26, and the value that asks for the current one.
# Others, such as READ_IMPLIES_EXEC and ADDR_NO_RANDOMIZE, take protections away.
_PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)

# CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET
_CLONE_NAMESPACES = 0x7E020000


def for_capabilities(capabilities: Iterable[str]) -> Seccomp:
    """Returns the profile for a container whose bounding set has `capabilities` (CAP_SYS_TIME)."""
    having = set(capabilities)
    names = [name for group in _ALLOWED.values() for name in group.split()]
    for capability in sorted(having & _ALLOWED_WITH.keys()):
        names += _ALLOWED_WITH[capability].split()
    syscalls: list[SeccompSyscall] = [
        _allow(names),
        *(
            _allow_if("socket", "SCMP_CMP_MASKED_EQ", _LOWER_HALF, family)
            for family in range(_AF_MAX)
            if family not in (_AF_ALG, _AF_VSOCK)
        ),
        *(_allow_if("personality", "SCMP_CMP_EQ", value) for value in _PERSONALITIES),
    ]
    if "CAP_SYS_ADMIN" not in having:
        syscalls += [
            _allow_if("clone", "SCMP_CMP_MASKED_EQ", _CLONE_NAMESPACES, 0),
            # The flags of clone3 are in memory, where a filter can't read them. After ENOSYS a C
            # library uses clone.
            {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.ENOSYS},
        ]
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": errno.EPERM,
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": syscalls,
    }


def _allow(names: list[str]) -> SeccompSyscall:
    return {"names": names, "action": "SCMP_ACT_ALLOW"}


def _allow_if(
    name: str, operator: str, value: int, value_two: int = 0, *, index: int = 0
) -> SeccompSyscall:
    """Allows a call if the comparison holds for the argument at `index`."""
    return {
        "names": [name],
        "action": "SCMP_ACT_ALLOW",
        "args": [{"index": index, "value": value, "valueTwo": value_two, "op": operator}],
    }


# The profile for the capabilities that Docker gives: only this one of them allows further calls.
DEFAULT = for_capabilities(("CAP_SYS_CHROOT",))

# The profile for a container that makes containers in its user namespace: what that takes, and not
# all that CAP_SYS_ADMIN allows. A user namespace more would be of no use. A remount may make a
# mount read-only and never writable: its volumes are read-only mounts in a mount namespace of its
# own.
_CLONE_NEWUSER = 0x10000000
_MS_RDONLY, _MS_REMOUNT = 0x1, 0x20
_TO_READ_ONLY = _MS_REMOUNT | _MS_RDONLY
_MOUNT_FLAGS = 3  # the index of the argument
NESTING = for_capabilities(("CAP_SYS_CHROOT",))
NESTING["syscalls"] += [
    _allow(["umount2", "pivot_root", "setns", "sethostname"]),
    _allow_if("mount", "SCMP_CMP_MASKED_EQ", _MS_REMOUNT, 0, index=_MOUNT_FLAGS),
    _allow_if("mount", "SCMP_CMP_MASKED_EQ", _TO_READ_ONLY, _TO_READ_ONLY, index=_MOUNT_FLAGS),
    _allow_if("unshare", "SCMP_CMP_MASKED_EQ", _CLONE_NEWUSER, 0),
]
