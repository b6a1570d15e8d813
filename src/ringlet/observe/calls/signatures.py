"""The arguments of common system calls, as data: a call a line, a word for each argument.

A word is a decoder of `arguments.py`, perhaps with what the decoder needs after a colon. `!` stands
before an argument that the call fills: it is looked at when the call is over. `->` stands before
what the result is, if that isn't a plain number. Calls that aren't listed have six arguments in
hexadecimal.

Source: syscalls(2) and the page of each call; Linux, include/linux/syscalls.h, for x86-64.
"""

from __future__ import annotations

_FILE = """
access          path words:access
chdir           path
chmod           path octal
chown           path int int
chroot          path
creat           path octal -> fd
execve          path strings variables
execveat        dirfd path strings variables words:at
faccessat       dirfd path words:access
faccessat2      dirfd path words:access words:at
fchmodat        dirfd path octal
fchmodat2       dirfd path octal words:at
fchownat        dirfd path int int words:at
futimesat       dirfd path hex
getcwd          !bytes size
inotify_add_watch  fd path hex
lchown          path int int
link            path path
linkat          dirfd path dirfd path words:at
lstat           path hex
mkdir           path octal
mkdirat         dirfd path octal
mknod           path octal hex
mknodat         dirfd path octal hex
mount           path path string words:mount hex
name_to_handle_at  dirfd path hex hex words:at
newfstatat      dirfd path hex words:at
open            path words:open mode:1 -> fd
open_tree       dirfd path hex -> fd
openat          dirfd path words:open mode:2 -> fd
openat2         dirfd path hex size -> fd
pivot_root      path path
readlink        path !bytes size
readlinkat      dirfd path !bytes size
rename          path path
renameat        dirfd path dirfd path
renameat2       dirfd path dirfd path words:renameat2
rmdir           path
setxattr        path string bytes:3 size hex
getxattr        path string !bytes size
listxattr       path !bytes size
removexattr     path string
stat            path hex
statfs          path hex
statx           dirfd path words:at words:statx hex
swapoff         path
swapon          path hex
symlink         path path
symlinkat       path dirfd path
truncate        path size
umount2         path words:umount
unlink          path
unlinkat        dirfd path words:at
utime           path hex
utimensat       dirfd path hex words:at
utimes          path hex
"""

_DESCRIPTOR = """
close           fd
close_range     uint uint words:close_range
copy_file_range fd hex fd hex size hex
dup             fd -> fd
dup2            fd fd -> fd
dup3            fd fd words:fd_flags -> fd
epoll_create    int -> fd
epoll_create1   words:fd_flags -> fd
epoll_ctl       fd words:epoll_ctl fd hex
epoll_pwait     fd hex int int hex size
epoll_wait      fd hex int int
eventfd         uint -> fd
eventfd2        uint words:eventfd -> fd
fadvise64       fd size size int
fallocate       fd hex size size
fchdir          fd
fchmod          fd octal
fchown          fd int int
fcntl           fd words:fcntl fcntl
fdatasync       fd
fgetxattr       fd string !bytes size
flistxattr      fd !bytes size
flock           fd words:flock
fsetxattr       fd string bytes:3 size hex
fstat           fd hex
fstatfs         fd hex
fsync           fd
ftruncate       fd size
getdents64      fd hex size
inotify_init1   words:inotify -> fd
ioctl           fd words:ioctl hex
lseek           fd size words:whence
memfd_create    string words:memfd -> fd
pipe            !pair
pipe2           !pair words:fd_flags
poll            hex uint int
ppoll           hex uint timespec hex size
pread64         fd !bytes size size
preadv          fd hex int size
pselect6        int hex hex hex timespec hex
pwrite64        fd bytes:2 size size
pwritev         fd vectors:2 int size
read            fd !bytes size
readahead       fd size size
readv           fd hex int
select          int hex hex hex hex
sendfile        fd fd hex size
signalfd4       fd hex size words:fd_flags -> fd
splice          fd hex fd hex size words:splice
sync
sync_file_range fd size size hex
syncfs          fd
tee             fd fd size words:splice
timerfd_create  words:clock words:timerfd -> fd
timerfd_settime fd words:timer hex hex
vmsplice        fd vectors:2 int words:splice
write           fd bytes:2 size
writev          fd vectors:2 int
"""

_NETWORK = """
accept          fd hex hex -> fd
accept4         fd hex hex words:socket -> fd
bind            fd address:2 int
connect         fd address:2 int
getpeername     fd hex hex
getsockname     fd hex hex
getsockopt      fd words:socket_level int hex hex
listen          fd int
recvfrom        fd !bytes size words:msg hex hex
recvmmsg        fd hex uint words:msg hex
recvmsg         fd hex words:msg
sendmmsg        fd hex uint words:msg
sendmsg         fd hex words:msg
sendto          fd bytes:2 size words:msg address:5 int
setsockopt      fd words:socket_level int hex int
shutdown        fd words:shutdown
socket          words:family words:socket int -> fd
socketpair      words:family words:socket int !pair
"""

_PROCESS = """
arch_prctl      words:arch_prctl hex
capget          hex hex
capset          hex hex
clone           clone hex hex hex hex
clone3          clone3 size
exit            int
exit_group      int
fork
getegid
geteuid
getgid
getgroups       int hex
getpgid         int
getpgrp
getpid
getppid
getpriority     words:priority int
getresgid       hex hex hex
getresuid       hex hex hex
getrlimit       words:resource hex
getrusage       words:rusage hex
getsid          int
gettid
getuid
getcpu          hex hex hex
personality     hex
pidfd_open      int hex -> fd
pidfd_send_signal  fd signal hex hex
prctl           words:prctl hex hex hex hex
prlimit64       int words:resource hex hex
ptrace          words:ptrace int hex hex
rseq            hex uint hex hex
sched_getaffinity  int size hex
sched_setaffinity  int size hex
sched_yield
seccomp         words:seccomp hex hex
set_robust_list hex size
set_tid_address hex
setdomainname   bytes:1 size
setfsgid        int
setfsuid        int
setgid          int
setgroups       int hex
sethostname     bytes:1 size
setns           fd words:clone
setpgid         int int
setpriority     words:priority int int
setregid        int int
setresgid       int int int
setresuid       int int int
setreuid        int int
setrlimit       words:resource hex
setsid
setuid          int
sysinfo         hex
umask           octal -> octal
uname           hex
unshare         words:clone
vfork
wait4           int !status words:wait hex
waitid          words:waitid int hex words:wait hex
"""

_MEMORY = """
brk             hex -> hex
madvise         hex size words:madvise
mincore         hex size hex
mlock           hex size
mlock2          hex size hex
mlockall        hex
mmap            hex size words:prot words:mmap fd size -> hex
mprotect        hex size words:prot
mremap          hex size size words:mremap hex -> hex
msync           hex size hex
munlock         hex size
munlockall
munmap          hex size
process_madvise fd hex size words:madvise uint
shmat           int hex hex -> hex
shmdt           hex
userfaultfd     words:fd_flags -> fd
"""

_SIGNAL = """
kill            int signal
pause
rt_sigaction    signal hex hex size
rt_sigpending   hex size
rt_sigprocmask  words:sigmask hex hex size
rt_sigqueueinfo int signal hex
rt_sigreturn
rt_sigsuspend   hex size
rt_sigtimedwait hex hex timespec size
rt_tgsigqueueinfo  int int signal hex
sigaltstack     hex hex
tgkill          int int signal
tkill           int signal
"""

_TIME = """
alarm           uint
clock_getres    words:clock hex
clock_gettime   words:clock !timespec
clock_nanosleep words:clock words:timer timespec hex
clock_settime   words:clock timespec
getitimer       words:itimer hex
gettimeofday    hex hex
nanosleep       timespec hex
setitimer       words:itimer hex hex
settimeofday    hex hex
time            hex
timer_create    words:clock hex hex
timer_delete    hex
timer_settime   hex words:timer hex hex
times           hex
"""

_OTHER = """
futex           hex words:futex uint hex hex hex
futex_wait      hex hex hex hex timespec words:clock
futex_wake      hex hex int hex
get_robust_list int hex hex
getrandom       hex size words:getrandom
membarrier      hex hex int
msgctl          int int hex
msgget          hex octal
msgrcv          int hex size int hex
msgsnd          int hex size hex
reboot          hex hex hex hex
semctl          int int int hex
semget          hex int octal
semop           int hex uint
shmctl          int int hex
shmget          hex size octal
syslog          int hex int
"""

# The class of each call, by which a trace can be filtered. `other` also has all that isn't listed.
CLASSES = {
    "file": _FILE,
    "descriptor": _DESCRIPTOR,
    "network": _NETWORK,
    "process": _PROCESS,
    "memory": _MEMORY,
    "signal": _SIGNAL,
    "time": _TIME,
    "other": _OTHER,
}

# name: (its class, its arguments and `->` and what the result is)
SIGNATURES = {
    words[0]: (kind, words[1:])
    for kind, text in CLASSES.items()
    for words in map(str.split, text.strip().splitlines())
}
