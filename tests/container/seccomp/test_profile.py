"""The default profile, applied for real: what it refuses, and that programs run."""

import ctypes
import errno
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from ringlet.container.seccomp import libseccomp
from ringlet.container.seccomp.filter import allows, compile
from ringlet.container.seccomp.profile import DEFAULT, for_capabilities

from ..filtered import Int80, call, has_int_80, install, results, run

CLONE, UNSHARE, PERSONALITY, SOCKET, GETPID = 56, 272, 135, 41, 39
CLONE_NEWUSER, CLONE_NEWNS, CLONE_NEWPID = 0x10000000, 0x00020000, 0x20000000
READ_IMPLIES_EXEC = 0x0400000
X32 = 1 << 30
BAD = 2**64 - 1  # a pointer, or a descriptor, that is none: nothing is changed by any of these

REFUSED = {
    "acct": 163,
    "add_key": 248,
    "bpf": 321,
    "delete_module": 176,
    "fsopen": 430,
    "init_module": 175,
    "io_uring_setup": 425,
    "ioperm": 173,
    "kcmp": 312,
    "kexec_load": 246,
    "keyctl": 250,
    "mount": 165,
    "move_mount": 429,
    "open_by_handle_at": 304,
    "open_tree": 428,
    "perf_event_open": 298,
    "pivot_root": 155,
    "quotactl": 179,
    "reboot": 169,
    "request_key": 249,
    "set_mempolicy": 238,
    "setns": 308,
    "settimeofday": 164,
    "sethostname": 170,
    "swapon": 167,
    "syslog": 103,
    "umount2": 166,
    "unshare": 272,
    "userfaultfd": 323,
    "vhangup": 153,
}


pytestmark = [pytest.mark.needs_libseccomp, pytest.mark.usefixtures("seccomp_cache")]


def refuses(number: int, *arguments: int, capabilities: tuple[str, ...] = ()) -> bool:
    filter = compile(for_capabilities(capabilities))
    return results(filter, (number, *arguments)) == [-errno.EPERM]


def test_it_refuses_what_a_container_has_no_business_with() -> None:
    calls = [(number, BAD, BAD, BAD, BAD, BAD) for number in REFUSED.values()]
    answers = dict(zip(REFUSED, results(compile(DEFAULT), *calls), strict=True))
    assert answers == dict.fromkeys(REFUSED, -errno.EPERM)


def test_32_bit_and_x32_calls_are_refused_too() -> None:
    filter = compile(DEFAULT)
    assert results(filter, (X32 | REFUSED["mount"], BAD), (X32 | REFUSED["keyctl"], BAD)) == [
        -errno.EPERM,
        -errno.EPERM,
    ]
    if not has_int_80():
        return

    def code() -> str:
        int_80 = Int80()
        install(filter)
        return f"{int_80(20) == os.getpid()} {int_80(21)} {int_80(288)}"  # mount, keyctl

    assert run(code) == f"True {-errno.EPERM} {-errno.EPERM}"


def test_processes_can_be_made_but_no_namespaces() -> None:
    filter = compile(DEFAULT)

    def code() -> str:
        install(filter)
        refused = [
            call(CLONE, flag | signal.SIGCHLD)
            for flag in (CLONE_NEWUSER, CLONE_NEWNS, CLONE_NEWPID)
        ]
        pid = os.fork()
        if pid == 0:
            os._exit(7)
        return f"{refused} {os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}"

    assert run(code) == f"{[-errno.EPERM] * 3} 7"


def test_clone3_and_calls_newer_than_the_profile_do_not_exist() -> None:
    calls = [(435, BAD, 88), (100_000,), (X32 | 100_000,), (BAD,)]
    assert results(compile(DEFAULT), *calls) == [-errno.ENOSYS] * 4


def test_sockets_of_every_family_but_alg_and_vsock() -> None:
    stream = socket.SOCK_STREAM
    families = [socket.AF_UNIX, socket.AF_INET, socket.AF_NETLINK, socket.AF_ALG, socket.AF_VSOCK]
    answers = results(compile(DEFAULT), *((SOCKET, int(family), stream) for family in families))
    assert [answer == -errno.EPERM for answer in answers] == [False, False, False, True, True]


REFUSED_FAMILIES = {socket.AF_ALG, socket.AF_VSOCK}
FAMILIES = sorted(
    {socket.AF_UNIX, socket.AF_INET, socket.AF_NETLINK, 37, 39, 41, *REFUSED_FAMILIES}
)
I386_SOCKET, SYS_SOCKET, SYS_SOCKETPAIR, SYS_SEND = 359, 1, 8, 9
SOCKETPAIR = 53
I386_CLONE, I386_PERSONALITY, I386_CLONE3 = 120, 136, 435


@pytest.mark.parametrize("above", [1 << 32, 1 << 63, 0xFFFFFFFF << 32])
def test_what_stands_above_a_family_hides_no_family(above: int) -> None:
    """The kernel takes a family from the lower half of its register."""
    calls = [(SOCKET, above | family, socket.SOCK_STREAM, 0) for family in FAMILIES]
    calls += [(SOCKET, above | family, socket.SOCK_SEQPACKET, 0) for family in FAMILIES]
    answers = results(compile(DEFAULT), *calls)
    refused = [family in REFUSED_FAMILIES for family in FAMILIES]
    assert [answer == -errno.EPERM for answer in answers] == refused * 2


def test_no_pair_of_sockets_is_of_a_refused_family() -> None:
    calls = [
        (SOCKETPAIR, family, kind, 0, BAD)
        for family in REFUSED_FAMILIES
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET)
    ]
    unsupported = {-errno.EAFNOSUPPORT, -errno.EOPNOTSUPP, -errno.ESOCKTNOSUPPORT, -errno.EFAULT}
    assert set(results(compile(DEFAULT), *calls)) <= unsupported

    def code() -> str:
        install(compile(DEFAULT))
        made = []
        for family in REFUSED_FAMILIES:
            try:
                made.append(socket.socketpair(family))
            except OSError:
                continue
        return str(made)

    assert run(code) == "[]"


def test_socketcall_makes_no_socket_and_does_the_rest_of_its_work() -> None:
    if not has_int_80():
        pytest.skip("the kernel has no 32-bit system calls")
    filter = compile(DEFAULT)

    def code() -> str:
        int_80 = Int80()
        install(filter)
        stream = socket.SOCK_STREAM
        made = {int_80.socketcall(SYS_SOCKET, family, stream, 0) for family in FAMILIES}
        pair = int_80.socketcall(SYS_SOCKETPAIR, socket.AF_UNIX, stream, 0, int_80.room)
        sent = int_80.socketcall(SYS_SEND, int_80.pair()[0], int_80.room, 3, 0)
        return f"{made} {pair} {sent}"

    assert run(code) == f"{ {-errno.ENOSYS} } 0 3"


def test_a_32_bit_socket_has_every_family_but_alg_and_vsock() -> None:
    if not has_int_80():
        pytest.skip("the kernel has no 32-bit system calls")
    filter = compile(DEFAULT)

    def code() -> str:
        int_80 = Int80()
        install(filter)
        answers = [int_80(I386_SOCKET, family, socket.SOCK_STREAM) for family in FAMILIES]
        return str([answer == -errno.EPERM for answer in answers])

    assert run(code) == str([family in REFUSED_FAMILIES for family in FAMILIES])


# By what name each number of each kind of call goes, and whether the profile lets the name through


def numbers_not_allowed(architecture: int, first: int) -> list[int]:
    """Those from `first` on, by libseccomp's tables, whose names the profile doesn't have."""
    library = libseccomp.load()
    resolve = library.seccomp_syscall_resolve_num_arch
    resolve.restype = ctypes.c_void_p
    free = ctypes.CDLL(None).free
    free.argtypes = [ctypes.c_void_p]
    allowed = {name for one in DEFAULT["syscalls"] for name in one["names"]}
    numbers = []
    unfiltered = UNFILTERED if architecture == libseccomp._X86_64 else ()
    for number in {*range(first, first + 600)}.difference(unfiltered):
        name = resolve(architecture, number)
        if name is None:
            numbers.append(number)
            continue
        if ctypes.string_at(name).decode() not in {*allowed, "socketcall"}:
            numbers.append(number)
        free(name)
    return numbers


REFUSALS = {-errno.EPERM, -errno.ENOSYS}
UNFILTERED = {335, 336}  # uretprobe and uprobe: the kernel's trampolines make them, past any filter


@pytest.mark.parametrize("first", [0, X32])
def test_no_other_number_gets_through(first: int) -> None:
    """x32's own numbers (512 to 547) without its bit, too, which old kernels took for x32's."""
    architecture = libseccomp._X32 if first else libseccomp._X86_64
    numbers = numbers_not_allowed(architecture, first)
    assert len(numbers) > 150
    filter = compile(DEFAULT)
    calls = [(number, BAD, BAD, BAD, BAD, BAD, BAD) for number in numbers]
    answers = dict(zip(numbers, results(filter, *calls), strict=True))
    assert {number for number, answer in answers.items() if answer not in REFUSALS} == set()
    assert [number for number in numbers if allows(filter.program, number)] == []


def test_no_other_number_gets_through_by_int_80() -> None:
    if not has_int_80():
        pytest.skip("the kernel has no 32-bit system calls")
    numbers = numbers_not_allowed(libseccomp._X86, 0)
    assert len(numbers) > 150
    filter = compile(DEFAULT)

    def code() -> str:
        int_80 = Int80()
        install(filter)
        bad = 0xFFFFFFFF
        return " ".join([str(int_80(number, bad, bad, bad)) for number in numbers])

    answers = dict(zip(numbers, map(int, run(code).split()), strict=True))
    assert {number for number, answer in answers.items() if answer not in REFUSALS} == set()


def test_no_kind_of_call_makes_a_namespace_or_takes_a_protection_away() -> None:
    """clone and personality, which the profile has for some arguments."""
    flags = [CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID, 0x02000000, 0x04000000, 0x08000000]
    flags.append(0x40000000)  # these are NEWCGROUP, NEWUTS, NEWIPC and NEWNET
    calls = [(bit | CLONE, flag | signal.SIGCHLD, 0, 0, 0, 0) for bit in (0, X32) for flag in flags]
    calls += [(bit | PERSONALITY, READ_IMPLIES_EXEC) for bit in (0, X32)]
    filter = compile(DEFAULT)
    assert set(results(filter, *calls)) == {-errno.EPERM}
    if not has_int_80():
        return

    def code() -> str:
        int_80 = Int80()
        install(filter)
        refused = {int_80(I386_CLONE, flag | signal.SIGCHLD) for flag in flags}
        refused.add(int_80(I386_PERSONALITY, READ_IMPLIES_EXEC))
        return f"{refused} {int_80(I386_CLONE3, 0, 88)} {int_80(I386_PERSONALITY, 0xFFFFFFFF)}"

    assert run(code) == f"{ {-errno.EPERM} } {-errno.ENOSYS} 0"


def test_a_personality_takes_no_protection_away() -> None:
    calls = [(PERSONALITY, value) for value in (0xFFFFFFFF, 0, 8, 0x20000, 0x20008)]
    answers = results(compile(DEFAULT), *calls, (PERSONALITY, READ_IMPLIES_EXEC))
    assert all(answer >= 0 for answer in answers[:-1])
    assert answers[-1] == -errno.EPERM


@pytest.mark.parametrize(
    ("capability", "name"),
    [
        ("CAP_BPF", "bpf"),
        ("CAP_DAC_READ_SEARCH", "open_by_handle_at"),
        ("CAP_PERFMON", "perf_event_open"),
        ("CAP_SYSLOG", "syslog"),
        ("CAP_SYS_ADMIN", "mount"),
        ("CAP_SYS_ADMIN", "unshare"),
        ("CAP_SYS_MODULE", "delete_module"),
        ("CAP_SYS_NICE", "set_mempolicy"),
        ("CAP_SYS_PTRACE", "kcmp"),
        ("CAP_SYS_TIME", "settimeofday"),
    ],
)
def test_a_capability_opens_its_calls(capability: str, name: str) -> None:
    def rules(*capabilities: str) -> set[str]:
        return {
            name
            for rule in for_capabilities(capabilities)["syscalls"]
            for name in rule["names"]
            if rule["action"] == "SCMP_ACT_ALLOW"
        }

    assert name not in rules("CAP_CHOWN")
    assert name in rules("CAP_CHOWN", capability)


def test_the_filter_lets_through_what_the_capability_opened() -> None:
    assert refuses(UNSHARE, 0)
    assert not refuses(UNSHARE, 0, capabilities=("CAP_SYS_ADMIN",))
    assert refuses(REFUSED["set_mempolicy"], 0, 0, 0)
    assert not refuses(REFUSED["set_mempolicy"], 0, 0, 0, capabilities=("CAP_SYS_NICE",))


def test_cap_sys_admin_opens_clone3_and_the_namespace_flags() -> None:
    filter = compile(for_capabilities(("CAP_SYS_ADMIN",)))
    # an impossible combination, which the kernel itself refuses
    both = CLONE_NEWUSER | 0x00000200  # CLONE_FS
    assert results(filter, (435, 0, 0), (CLONE, both)) == [-errno.EINVAL] * 2


def test_an_ordinary_python_program_runs() -> None:
    script = """
import hashlib, json, os, select, socket, subprocess, tempfile, threading, time
with tempfile.TemporaryDirectory() as folder:
    path = folder + "/a"
    open(path, "w").write("text")
    os.chmod(path, 0o600); os.rename(path, path + "b"); os.symlink("ab", path)
    assert open(path).read() == "text"
threads = [threading.Thread(target=time.sleep, args=(0.01,)) for _ in range(4)]
[thread.start() for thread in threads]; [thread.join() for thread in threads]
server = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(server.getsockname())
client.send(b"hello"); assert server.accept()[0].recv(5) == b"hello"
assert select.select([server], [], [], 0) == ([], [], [])
assert subprocess.check_output(["/bin/echo", "hi"]) == b"hi\\n"
print("ran")
"""
    filter = compile(DEFAULT)
    done = subprocess.run(
        [sys.executable, "-c", script],
        preexec_fn=lambda: install(filter),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("ran\n", "")


@pytest.mark.needs_busybox
def test_a_shell_and_its_tools_run(tmp_path: Path) -> None:
    script = """
set -e
mkdir a; cd a; echo one >b; echo two >>b; cp -p b c; ln -s c d; mv b e; chmod 640 e
cat d | grep two | sed s/two/three/; ls -l | wc -l; find . -type f | sort; tar c . | tar t | wc -l
(sleep 0.01; exit 3) || echo $?; id -u; df . >/dev/null; ps >/dev/null; stat e >/dev/null
unshare -r true 2>/dev/null || echo refused
"""
    filter = compile(DEFAULT)
    done = subprocess.run(
        ["busybox", "sh", "-c", script],
        preexec_fn=lambda: install(filter),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = ["three", "4", "./c", "./e", "4", "3", str(os.getuid()), "refused"]
    assert (done.stdout.split("\n")[:-1], done.stderr) == (lines, "")


def test_its_names_stand_once_each_and_unknown_ones_are_few() -> None:
    names = DEFAULT["syscalls"][0]["names"]
    assert len(names) == len(set(names))
    # libseccomp 2.5.4 is of Linux 5.17
    assert set(compile(DEFAULT).unknown) <= {
        "cachestat", "fchmodat2", "futex_requeue", "futex_wait", "futex_wake", "getxattrat",
        "listmount", "listxattrat", "map_shadow_stack", "mseal", "removexattrat", "setxattrat",
        "statmount", "uretprobe",
    }  # fmt: skip


def test_the_upper_half_of_an_argument_hides_nothing() -> None:
    assert refuses(CLONE, 1 << 32 | CLONE_NEWUSER | signal.SIGCHLD)
    assert refuses(PERSONALITY, 1 << 32 | 8)
