"""How arguments and results are spelled, of any memory and any numbers."""

import errno
import struct
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringlet.observe.calls import arguments
from ringlet.observe.calls.call_words import error_name, signal_name, spell
from ringlet.observe.calls.signatures import CLASSES, SIGNATURES
from ringlet.observe.calls.tracees import I386, X86_64

AT = 0x10000
MAX = (1 << 64) - 1
numbers = st.one_of(
    st.integers(0, MAX), st.integers(0, 64), st.sampled_from([AT, AT + 8, MAX, MAX - 7, 1 << 63])
)


class Memory:
    """Memory from AT on, with nothing around it."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def read(self, address: int, size: int) -> bytes:
        assert size >= 0
        at = (address & MAX) - AT
        return self.data[at : at + min(size, 65536)] if 0 <= at < len(self.data) else b""


def call(data: bytes, *numbers: int, architecture: int = X86_64) -> Any:
    padded = [*numbers, *[0] * (6 - len(numbers))]
    return SimpleNamespace(thread=Memory(data), arguments=padded, architecture=architecture)


def spelled(name: str, data: bytes, *numbers: int, result: int = 0) -> str:
    return ", ".join(words_of(call(data, *numbers), name, result))


def words_of(made: Any, name: str, result: int | None) -> list[str]:
    parameters, _ = arguments.parameters(name, made.architecture)
    return arguments.end(made, parameters, arguments.begin(made, parameters), result)


@given(
    st.sampled_from(sorted(SIGNATURES)),
    st.lists(numbers, min_size=6, max_size=6),
    st.binary(max_size=600),
    st.one_of(st.none(), st.integers(-(1 << 63), (1 << 63) - 1)),
    st.sampled_from([X86_64, I386]),
)
def test_any_call_is_spelled_in_bounded_printable_ascii(
    name: str, values: list[int], data: bytes, result: int | None, architecture: int
) -> None:
    made = call(data, *values, architecture=architecture)
    words = words_of(made, name, result)
    text = ", ".join([*words, arguments.result_text(name, architecture, result, "")])
    assert text.isascii()
    assert text.isprintable()
    assert len(words) <= 6
    assert len(text) < 6000  # execve: a path and 16 strings, four characters for a byte


@given(st.binary(max_size=300))
def test_what_is_quoted_is_a_string_of_c(data: bytes) -> None:
    inner = arguments.quoted(data)[1:-1]
    assert inner.encode("ascii").decode("unicode_escape").encode("latin-1") == data


def pointers(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}Q", *values)


TEXT = pointers(AT + 24, AT + 27, 0) + b"ab\0c\n\0"
UNIX = b"\x01\x00/run/x\0"
INET = b"\x02\x00\x00\x50\x7f\x00\x00\x01" + bytes(8)
INET6 = b"\x0a\x00\x01\xbb" + bytes(4) + bytes(15) + b"\x01" + bytes(4)
CASES = [
    ("open", b"/etc\0", (AT, 0o100000, 0o644), 3, '"/etc", O_RDONLY|O_LARGEFILE'),
    ("open", b"/etc\0", (AT, 0o101, 0o644), 3, '"/etc", O_WRONLY|O_CREAT, 0644'),
    ("openat", b"a\0", (0xFFFFFF9C, AT, 0x80000), 3, 'AT_FDCWD, "a", O_RDONLY|O_CLOEXEC'),
    ("read", b"data", (0, AT, 100), 4, '0, "data", 100'),
    ("read", b"data", (0, AT, 100), -9, f"0, {AT:#x}, 100"),
    ("write", b"x" * 40, (1, AT, 40), 40, f'1, "{"x" * 32}"..., 40'),
    ("execve", TEXT, (AT + 24, AT, AT), 0, f'"ab", ["ab", "c\\n"], {AT:#x} /* 2 variables */'),
    ("mmap", b"", (0, 4096, 3, 0x22, MAX, 0), AT,
     "0, 4096, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0"),
    ("clone", b"", (0x1200011, 0, 0, 0, 0), 2,
     "CLONE_CHILD_CLEARTID|CLONE_CHILD_SETTID|SIGCHLD, 0, 0, 0, 0"),
    ("clone3", struct.pack("<8Q", 0x100, 0, 0, 0, 17, 0, 0, 0), (AT, 64), 2,
     "{flags=CLONE_VM, exit_signal=SIGCHLD}, 64"),
    ("kill", b"", (MAX, 15), 0, "-1, SIGTERM"),
    ("pipe2", struct.pack("<2i", 3, 4), (AT, 0x80000), 0, "[3, 4], O_CLOEXEC"),
    ("wait4", struct.pack("<i", 0x700), (MAX, AT, 1, 0), 2, "-1, [exited 7], WNOHANG, 0"),
    ("wait4", struct.pack("<i", 0x137F), (MAX, AT, 2, 0), 2, "-1, [stopped SIGSTOP], WUNTRACED, 0"),
    ("wait4", struct.pack("<i", 11), (MAX, AT, 0, 0), 2, "-1, [killed SIGSEGV], 0, 0"),
    ("nanosleep", struct.pack("<2q", 1, 5), (AT, 0), 0, "{1 s, 5 ns}, 0"),
    ("connect", UNIX, (3, AT, 110), 0, '3, {AF_UNIX, "/run/x"}, 110'),
    ("connect", b"\x01\x00\0hidden", (3, AT, 9), 0, '3, {AF_UNIX, @"hidden"}, 9'),
    ("connect", INET, (3, AT, 16), 0, "3, {AF_INET, 127.0.0.1:80}, 16"),
    ("bind", INET6, (3, AT, 28), 0, "3, {AF_INET6, [::1]:443}, 28"),
    ("fcntl", b"", (3, 4, 0x800), 0, "3, F_SETFL, O_RDONLY|O_NONBLOCK"),
    ("fcntl", b"", (3, 1, 0), 0, "3, F_GETFD"),
    ("ioctl", b"", (0, 0x5401, AT), 0, f"0, TCGETS, {AT:#x}"),
    ("socket", b"", (10, 0x80002, 0), 3, "AF_INET6, SOCK_DGRAM|SOCK_CLOEXEC, 0"),
    ("lseek", b"", (3, MAX, 2), 0, "3, -1, SEEK_END"),
    ("futex", b"", (AT, 0x80, 2), 0, f"{AT:#x}, FUTEX_WAIT|FUTEX_PRIVATE_FLAG, 2, 0, 0, 0"),
    ("unheard_of", b"", (1, 2, 3, 0, 0, 16), 0, "0x1, 0x2, 0x3, 0, 0, 0x10"),
    ("getpid", b"", (1, 2), 1, ""),
]  # fmt: skip


@pytest.mark.parametrize(("name", "data", "numbers", "result", "text"), CASES)
def test_arguments_in_words(
    name: str, data: bytes, numbers: tuple[int, ...], result: int, text: str
) -> None:
    assert spelled(name, data, *numbers, result=result) == text


def test_results_in_words() -> None:
    assert arguments.result_text("mmap", X86_64, AT, "") == hex(AT)
    assert arguments.result_text("umask", X86_64, 0o22, "") == "022"
    assert arguments.result_text("read", X86_64, -1, "EAGAIN") == "-1 EAGAIN"
    assert arguments.result_text("exit", X86_64, None, "") == "?"


def test_each_list_of_words_and_each_decoder_is_there() -> None:
    for name in SIGNATURES:
        made = call(b"", *[1] * 6)
        assert words_of(made, name, 0) is not None


def test_a_call_stands_in_one_class() -> None:
    names = [line.split()[0] for text in CLASSES.values() for line in text.strip().splitlines()]
    assert len(names) == len(set(names)) == len(SIGNATURES)


def test_words() -> None:
    assert spell("mmap", 0x4000F) == "0xf|MAP_HUGETLB"
    assert spell("whence", 9) == "0x9"
    assert spell("prot", 0) == "0"
    assert spell("rusage", MAX) == "RUSAGE_CHILDREN"
    assert error_name(errno.ENOENT) == "ENOENT"
    assert error_name(512) == "ERESTARTSYS"
    assert error_name(4000) == "error 4000"
    assert (signal_name(9), signal_name(34), signal_name(99)) == ("SIGKILL", "SIGRT_2", "99")
