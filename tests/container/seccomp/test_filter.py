"""Each action of a filter, applied for real in a child process; and the cache."""

import ctypes
import errno
import fcntl
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ringlet.container.seccomp import filter as filter_module
from ringlet.container.seccomp import libseccomp
from ringlet.container.seccomp.filter import compile

from ...examples import examples
from ..filtered import (
    GETPID,
    GETPPID,
    KILLED,
    MKDIR,
    UNAME,
    allowing,
    argument,
    call,
    install,
    refusing,
    results,
    rule,
    run,
)

if TYPE_CHECKING:
    from ringlet.container.spec.types import Seccomp

PTRACE_CONT, PTRACE_GETEVENTMSG, PTRACE_SEIZE = 7, 0x4201, 0x4206
PTRACE_O_TRACESECCOMP, PTRACE_EVENT_SECCOMP = 0x80, 7
NOTIF_RECV, NOTIF_SEND = 0xC0502100, 0xC0182101  # SECCOMP_IOCTL_*

pytestmark = [pytest.mark.needs_libseccomp, pytest.mark.usefixtures("seccomp_cache")]


# Each action


def test_errno_is_eperm_or_the_value_given() -> None:
    profile = refusing(rule("mkdir", "ERRNO"), rule("getppid", "ERRNO", errnoRet=errno.EXDEV))
    assert results(compile(profile), (MKDIR,), (GETPPID,)) == [-errno.EPERM, -errno.EXDEV]


def test_errno_0_returns_0_without_the_call() -> None:
    assert results(compile(refusing(rule("getppid", "ERRNO", errnoRet=0))), (GETPPID,)) == [0]


def test_the_default_action_takes_what_no_rule_names() -> None:
    profile = allowing(defaultErrnoRet=errno.ENOTTY)
    parent, refused = results(compile(profile), (GETPID,), (UNAME, 0))
    assert parent > 0
    assert refused == -errno.ENOTTY


@pytest.mark.parametrize("action", ["KILL", "KILL_THREAD", "KILL_PROCESS", "TRAP"])
def test_a_kill_and_a_trap_end_the_process_with_sigsys(action: str) -> None:
    filter = compile(refusing(rule("getppid", action)))

    def code() -> str:
        install(filter)
        return str(call(GETPPID))

    assert run(code) == KILLED


def test_a_trap_can_be_caught_and_a_kill_can_not() -> None:
    def caught(action: str) -> str:
        filter = compile(refusing(rule("getppid", action)))

        def code() -> str:
            seen: list[int] = []
            signal.signal(signal.SIGSYS, lambda number, _: seen.append(number))
            install(filter)
            call(GETPPID)
            return str(seen == [signal.SIGSYS])

        return run(code)

    assert caught("TRAP") == "True"
    assert caught("KILL_PROCESS") == KILLED


@pytest.mark.parametrize(
    ("action", "left"), [("KILL", "1"), ("KILL_THREAD", "1"), ("KILL_PROCESS", KILLED)]
)
def test_a_thread_or_the_whole_process_is_killed(action: str, left: str) -> None:
    filter = compile(refusing(rule("getppid", action)))

    def code() -> str:
        install(filter)
        threading.Thread(target=call, args=(GETPPID,), daemon=True).start()
        while len(os.listdir("/proc/self/task")) > 1:
            pass
        return "1"

    assert run(code) == left


@pytest.mark.parametrize("action", ["ALLOW", "LOG"])
def test_allow_and_log_let_the_call_through(action: str) -> None:
    profile = allowing()
    profile["syscalls"].append(rule("getppid", action))
    assert results(compile(profile), (GETPPID,)) == [os.getpid()]


def test_the_flags_are_seccomps_and_a_log_lets_through() -> None:
    flags = ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"]
    filter = compile({"defaultAction": "SCMP_ACT_LOG", "flags": flags})
    assert filter.flags == 0b110
    assert results(filter, (GETPPID,)) == [os.getpid()]


def test_a_traced_call_fails_without_a_tracer() -> None:
    assert results(compile(refusing(rule("getppid", "TRACE"))), (GETPPID,)) == [-errno.ENOSYS]


def test_a_tracer_gets_the_value_of_the_traced_call() -> None:
    filter = compile(refusing(rule("getppid", "TRACE", errnoRet=4321)))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    gate, opener = os.pipe()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        os.read(gate, 1)
        install(filter)
        os._exit(0 if call(GETPPID) == parent else 1)
    try:
        assert libc.ptrace(PTRACE_SEIZE, pid, None, PTRACE_O_TRACESECCOMP) == 0
        os.write(opener, b".")
        assert os.waitpid(pid, 0)[1] >> 8 == signal.SIGTRAP | PTRACE_EVENT_SECCOMP << 8
        message = ctypes.c_ulong()
        assert libc.ptrace(PTRACE_GETEVENTMSG, pid, None, ctypes.addressof(message)) == 0
        assert message.value == 4321
        assert libc.ptrace(PTRACE_CONT, pid, None, None) == 0
        assert os.waitpid(pid, 0)[1] == 0
    finally:
        os.close(gate)
        os.close(opener)


def test_a_listener_answers_a_notified_call() -> None:
    profile = refusing(rule("getppid", "NOTIFY"))
    profile["listenerPath"] = "/run/agent.sock"
    profile["flags"] = ["SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]
    filter = compile(profile)
    assert filter.notify
    ours, theirs = socket.socketpair()
    with ours, theirs:
        pid = os.fork()
        if pid == 0:
            listener = install(filter)
            socket.send_fds(theirs, [b"."], [listener])
            theirs.send(f"{call(GETPPID, 7)} {call(GETPPID, 8)}".encode())
            os._exit(0)
        (listener,) = socket.recv_fds(ours, 1, 1)[1]
        for argument, value, error in ((7, 424242, 0), (8, 0, -errno.EBUSY)):
            request = bytearray(80)  # struct seccomp_notif
            fcntl.ioctl(listener, NOTIF_RECV, request)
            number, asker, _, nr, _, _, first = struct.unpack_from("=QIIiIQQ", request)
            assert (asker, nr, first) == (pid, GETPPID, argument)
            fcntl.ioctl(listener, NOTIF_SEND, struct.pack("=QqiI", number, value, error, 0))
        assert ours.recv(100) == f"424242 {-errno.EBUSY}".encode()
        os.close(listener)
        os.waitpid(pid, 0)


def test_no_listener_is_made_where_nothing_is_notified() -> None:
    flags = ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", "SECCOMP_FILTER_FLAG_TSYNC"]
    filter = compile({"defaultAction": "SCMP_ACT_ALLOW", "flags": flags, "listenerPath": "/x"})
    assert not filter.notify
    assert results(filter, (GETPPID,)) == [os.getpid()]


def test_what_has_no_effect_is_noted() -> None:
    profile = refusing({"names": ["no_such", "mkdir", "nor\nthis"], "action": "SCMP_ACT_ERRNO"})
    profile["listenerPath"] = "/run/agent.sock"
    for _ in ("made", "cached"):
        assert compile(profile).notes == [
            "linux.seccomp.listenerPath: not used, for no rule has SCMP_ACT_NOTIFY",
            "linux.seccomp.syscalls: not refused, for libseccomp doesn't know them: "
            r"'no_such', 'nor\nthis'",
        ]


def test_what_the_default_refuses_needs_no_note() -> None:
    assert compile(allowing("no_such")).notes == []
    assert compile(refusing(rule("no_such", "ALLOW"))).notes == []


def test_a_note_names_a_few_of_many() -> None:
    names = [f"no_{number}" for number in range(30)]
    (note,) = compile(refusing({"names": names, "action": "SCMP_ACT_KILL"})).notes
    assert note.endswith(
        ": 'no_0', 'no_1', 'no_2', 'no_3', 'no_4', 'no_5', 'no_6', 'no_7' and 22 more"
    )


# The cache


U64 = st.integers(0, 2**64 - 1)


def profiles() -> st.SearchStrategy["Seccomp"]:
    returned = st.integers(0, 4094)
    rules = st.builds(
        lambda names, value, args: {
            "names": names,
            "action": "SCMP_ACT_ERRNO",
            "errnoRet": value,
            "args": args,
        },
        st.lists(st.sampled_from(["mkdir", "rmdir", "no_such", "socket", "é"]), min_size=1),
        st.just(5),
        st.lists(
            st.builds(
                argument,
                st.sampled_from(["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"]),
                st.integers(0, 5),
                U64,
                U64,
            ),
            max_size=1,
        ),
    )
    return st.builds(
        lambda value, rules: {
            "defaultAction": "SCMP_ACT_ERRNO",
            "defaultErrnoRet": value,
            "syscalls": rules,
        },
        returned.filter(lambda value: value != 5),
        st.lists(rules, max_size=4),
    )


@given(profile=profiles())
@settings(max_examples=examples(60), deadline=None, suppress_health_check=list(HealthCheck))
def test_the_cached_program_is_the_fresh_one(profile: "Seccomp") -> None:
    first = compile(profile)
    program, unknown, _ = libseccomp.build(profile)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "ringlet.container.seccomp.libseccomp", None)
        second = compile(profile)
    assert first.program == second.program == program
    assert first.unknown == second.unknown == unknown
    assert first.flags == second.flags


@pytest.fixture
def entry(seccomp_cache: Path) -> Path:
    """The cache's entry of `allowing()`."""
    compile(allowing())
    (path,) = seccomp_cache.iterdir()
    return path


def is_cached(profile: "Seccomp | None" = None) -> bool:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "ringlet.container.seccomp.libseccomp", None)
        try:
            compile(profile or allowing())
        except ImportError:
            return False
    return True


def test_an_entry_is_the_users_alone(entry: Path, seccomp_cache: Path) -> None:
    assert is_cached()
    assert entry.stat().st_mode & 0o777 == 0o600
    assert seccomp_cache.stat().st_mode & 0o777 == 0o700


def test_what_is_not_of_the_program_is_not_of_the_key(entry: Path) -> None:
    profile = allowing()
    profile["listenerPath"] = "/run/x"
    profile["listenerMetadata"] = "another for each container"
    profile["flags"] = ["SECCOMP_FILTER_FLAG_LOG"]
    assert is_cached(profile)
    assert compile(profile).flags == 2


@given(at=st.integers(min_value=0), bit=st.integers(0, 7), cut=st.booleans())
@settings(max_examples=examples(60), deadline=None, suppress_health_check=list(HealthCheck))
def test_a_damaged_entry_is_made_again(entry: Path, at: int, bit: int, cut: bool) -> None:
    good = entry.read_bytes()
    at %= len(good)
    damaged = good[:at] if cut else good[:at] + bytes([good[at] ^ 1 << bit]) + good[at + 1 :]
    entry.write_bytes(damaged)
    assert not is_cached()
    assert compile(allowing()).program == libseccomp.build(allowing())[0]
    assert is_cached()


def test_another_profile_of_the_same_checksum_is_not_taken(seccomp_cache: Path) -> None:
    compile(allowing("mkdir"))
    (theirs,) = seccomp_cache.iterdir()
    compile(allowing("rmdir"))
    (ours,) = set(seccomp_cache.iterdir()) - {theirs}
    shutil.copy(theirs, ours)
    assert not is_cached(allowing("rmdir"))


@pytest.mark.parametrize("how", ["symlink", "writable", "folder", "fifo"])
def test_an_entry_that_others_could_have_made_is_not_taken(entry: Path, how: str) -> None:
    if how == "writable":
        entry.chmod(0o620)
    else:
        moved = entry.rename(entry.with_name("elsewhere"))
        if how == "symlink":
            entry.symlink_to(moved)
        elif how == "folder":
            entry.mkdir()
        else:
            os.mkfifo(entry)
    assert not is_cached()
    assert compile(allowing()).program


@pytest.mark.needs_root
def test_an_entry_or_folder_of_another_user_is_not_taken(entry: Path, seccomp_cache: Path) -> None:
    os.chown(entry, 12345, 12345)
    assert not is_cached()
    entry.unlink()
    os.chown(seccomp_cache, 12345, 12345)
    assert compile(allowing()).program
    assert list(seccomp_cache.iterdir()) == []


def test_nothing_is_kept_where_the_folder_can_not_be_made(
    seccomp_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seccomp_cache.parent.mkdir(parents=True)
    seccomp_cache.touch()
    assert compile(allowing()).program
    assert seccomp_cache.read_bytes() == b""


def test_the_entries_used_longest_ago_go(seccomp_cache: Path) -> None:
    compile(allowing())
    for value in range(1, 80):
        compile(allowing(defaultErrnoRet=value))
        assert is_cached()
    assert len(list(seccomp_cache.iterdir())) == 64


def test_another_libseccomp_makes_the_program_again(tmp_path: Path, seccomp_cache: Path) -> None:
    library = libseccomp.build(allowing())[2]
    copy = tmp_path / "libseccomp.so.2"
    shutil.copy(library, copy)
    script = "from ringlet.container.seccomp.filter import compile; " + f"compile({allowing()!r})"
    environment = {**os.environ, "LD_LIBRARY_PATH": str(tmp_path)}

    def entry() -> tuple[int, bytes]:
        subprocess.run([sys.executable, "-c", script], env=environment, check=True)
        (path,) = seccomp_cache.iterdir()
        return path.stat().st_ino, path.read_bytes()

    first = entry()
    assert str(copy).encode() in first[1]
    assert entry() == first
    os.utime(copy, (1, 1))
    assert entry() != first


def test_another_ringlet_makes_the_program_again(
    entry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A filter of the version before may lack what this one refuses."""
    copy = tmp_path / "libseccomp.py"
    shutil.copy2(filter_module._MAKER, copy)
    monkeypatch.setattr(filter_module, "_MAKER", str(copy))
    assert not is_cached()
    compile(allowing())
    assert is_cached()
    os.utime(copy, (1, 1))
    assert not is_cached()


def test_nothing_stays_open(no_leak: None) -> None:
    compile(allowing())
    compile(allowing())
