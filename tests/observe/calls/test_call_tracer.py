"""The trace of real containers: all that they do is seen, and they do what they do without it."""

import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from ringlet.container.container import Container
from ringlet.errors import RingletError
from ringlet.host.workload import Workload
from ringlet.observe.calls.call_event import CALLS, SystemCall
from ringlet.observe.calls.call_tracer import CallTracer
from ringlet.observe.calls.tracees import TraceError
from ringlet.observe.schema import Last
from ringlet.observe.trace.filters import Filter
from ringlet.observe.trace.formats import make

from ...cli.command import ENVIRONMENT, run
from ...leftovers import is_alive
from ...until import LONG, until
from ..traced import make_traced_rootfs, trace

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_busybox, pytest.mark.needs_gcc]


@pytest.fixture(scope="module")
def rootfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_traced_rootfs(tmp_path_factory.mktemp("trace") / "rootfs")


@pytest.fixture(autouse=True)
def _no_child_is_left() -> Iterator[None]:
    yield
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_the_trace_is_of_the_command_alone_from_its_first_call_to_its_last(rootfs: Path) -> None:
    traced = trace(rootfs, "caller", "nothing")
    first, last = traced.calls[0], traced.calls[-1]
    assert first.text.startswith('execve("/bin/caller", ["caller", "nothing"], 0x')
    assert first.text.endswith(" /* 3 variables */) = 0")
    assert (first.time, first.process) == (0, 1)
    assert last.text == "exit_group(3) = ?"
    assert last.result is None
    assert traced.result.status == 3


@pytest.mark.needs_strace
@pytest.mark.parametrize("act", ["nothing", "sockets", "vfork", "signals", "hostile", "stops"])
def test_the_calls_are_those_that_strace_sees(rootfs: Path, tmp_path: Path, act: str) -> None:
    traced = trace(rootfs, "caller", act)
    log = tmp_path / "log"
    command = ["strace", "-f", "-o", log, rootfs / "bin/caller", act]
    subprocess.run(command, check=False, stdout=subprocess.DEVNULL, env={"A": "", "B": "", "C": ""})
    theirs: dict[str, list[str]] = {}
    for line in log.read_text().splitlines():
        pid, text = line.split(maxsplit=1)
        if "ERESTART" in text:  # depends on when a signal comes
            continue
        begun, resumed = re.match(r"(\w+)\(", text), re.match(r"<\.\.\. (\w+) resumed", text)
        if begun and (begun[1] == "exit_group" or not text.endswith("<unfinished ...>")):
            theirs.setdefault(pid, []).append(begun[1])
        elif resumed and resumed[1] != "exit_group":
            theirs.setdefault(pid, []).append(resumed[1])
    ours: dict[int, list[str]] = {}
    for call in traced.calls:
        if not call.error.startswith("ERESTART"):
            ours.setdefault(call.process, []).append(call.name)
    assert sorted(ours.values()) == sorted(theirs.values())


def test_all_threads_are_followed(rootfs: Path) -> None:
    traced = trace(rootfs, "caller", "threads")
    made = Counter(call.thread for call in traced.of("getppid"))
    assert made == {2: 50, 3: 50, 4: 50, 5: 50}
    assert {call.process for call in traced.calls} == {1}
    assert len({call.host for call in traced.calls}) == 5
    assert traced.of("getppid")[0].cells()[1].startswith("1/")


def test_a_thread_that_calls_little_has_its_turn_beside_busy_ones(rootfs: Path) -> None:
    traced = trace(rootfs, "caller", "starving", timeout=60)
    assert traced.result.reason == "exit"


def test_processes_are_followed_through_fork_vfork_and_exec(rootfs: Path) -> None:
    traced = trace(rootfs, "caller", "vfork")
    assert [(call.process, call.text) for call in traced.of("getpgid")] == [(2, "getpgid(0) = 1")]
    assert traced.text("vfork") == "vfork() = 2"
    assert traced.text("wait4") == "wait4(2, [exited 5], 0, 0) = 2"
    traced = trace(rootfs, "sh", "-c", "/bin/echo a; (sleep 0; /bin/true) | cat")
    paths = Counter(call.arguments[0] for call in traced.of("execve"))
    assert sum(paths.values()) >= 3
    assert traced.output == "a\n"


def test_a_thread_that_starts_a_program_becomes_the_process(rootfs: Path) -> None:
    traced = trace(rootfs, "caller", "thread-exec")
    assert traced.text("pause") == "pause() = ?"  # of the first thread, which is gone
    second = traced.of("execve")[1]
    assert (second.process, second.thread, second.result) == (1, 1, 0)
    assert traced.calls[-1].text == "exit_group(3) = ?"
    assert traced.result.status == 3


def test_a_call_in_which_a_process_is_killed_has_no_result(rootfs: Path) -> None:
    traced = trace(rootfs, "caller", "dies")
    assert re.fullmatch(r"read\(3, 0x\w+, 1\) = \?", traced.text("read"))
    assert traced.text("kill") == "kill(2, SIGKILL) = ?"
    assert traced.text("wait4") == "wait4(2, [killed SIGKILL], 0, 0) = 2"
    assert traced.result.status == 9


def test_stops_and_signals_do_what_they_do_without_a_trace(rootfs: Path) -> None:
    assert trace(rootfs, "caller", "stops").result.status == 7
    assert trace(rootfs, "caller", "signals").result.status == 2 * signal.SIGUSR1


@pytest.mark.parametrize(
    ("script", "reason", "status"),
    [
        ("exit 7", "exit", 7),
        ("sh -c 'kill -TERM $$'; exit $?", "exit", 143),
        ("sh -c 'kill -SEGV $$'; exit $?", "exit", 139),
        ("trap 'exit 5' USR1; kill -USR1 1; sleep 9", "exit", 5),
        ("kill -TERM 1; exit 6", "exit", 6),  # process 1 has no handler
        ("no-such-command", "exit", 127),
    ],
)
def test_the_status_is_the_same_with_a_trace(
    rootfs: Path, script: str, reason: str, status: int
) -> None:
    traced = trace(rootfs, "sh", "-c", script)
    assert (traced.result.reason, traced.result.status) == (reason, status)


def test_a_timeout_ends_a_traced_container(rootfs: Path) -> None:
    traced = trace(rootfs, "caller", "busy", timeout=0.3, wanted=Filter(most=10))
    assert (traced.result.reason, traced.result.status) == ("timeout", 124)
    assert len(traced.calls) == 10
    assert traced.tracer.summary.count > 10


def test_a_command_that_cant_be_run_leaves_nothing(rootfs: Path) -> None:
    broken = rootfs / "bin/broken"
    broken.write_bytes(b"\x7fELF and no more")
    broken.chmod(0o755)
    with (
        Container(Workload(rootfs=rootfs, command=["broken"])) as container,
        CallTracer(container) as tracer,
    ):
        with pytest.raises(RingletError, match="broken"):
            container.run()
        tracer.close()
        assert tracer.summary.count == 0


def test_a_container_that_never_starts_ends_with_its_trace(rootfs: Path) -> None:
    with Container(Workload(rootfs=rootfs, command=["true"])) as container:
        with CallTracer(container) as tracer:
            pass
        assert tracer.summary.count == 0


def test_a_container_has_one_tracer(rootfs: Path) -> None:
    with (
        Container(Workload(rootfs=rootfs, command=["true"])) as container,
        CallTracer(container),
        pytest.raises(TraceError, match="not permitted"),
    ):
        CallTracer(container)


def test_what_the_reader_raises_ends_the_container(rootfs: Path) -> None:
    def take(calls: list[SystemCall]) -> None:
        raise OSError("full")

    with Container(Workload(rootfs=rootfs, command=["sleep", "100"])) as container:
        with pytest.raises(OSError, match="full"), CallTracer(container, take=take):
            result = container.run()
        assert (result.reason, result.status) == ("killed", 128 + signal.SIGKILL)


def test_hostile_arguments_are_bounded_and_escaped(rootfs: Path) -> None:
    traced = trace(rootfs, "caller", "hostile")
    texts = [call.text for call in traced.calls]
    assert max(map(len, texts)) < 1000
    assert all(text.isascii() and text.isprintable() for text in texts)
    lines = [call.cells()[-1] for call in traced.calls]
    assert max(map(len, lines)) < 200
    assert [line.rpartition(" = ")[2] for line in lines] == [
        text.rpartition(" = ")[2] for text in texts
    ]
    assert traced.calls[-1].text == "exit_group(0) = ?"
    for text in [
        "openat(AT_FDCWD, 0x1, O_RDONLY) = -1 EFAULT",
        'openat(AT_FDCWD, "abcd"?, O_RDONLY) = -1 EFAULT',
        r'openat(AT_FDCWD, "\x1b[2J\x1b]0;title\x07\xe2\x80\xae\n\"\\", O_RDONLY) = -1 ENOENT',
        f'openat(AT_FDCWD, "{"x" * 256}"..., O_RDONLY) = -1 ENAMETOOLONG',
        "write(1, 0x1, 8) = -1 EFAULT",
        f'write(-1, "{"x" * 32}"..., -1) = -1 EBADF',
        'execve("/absent", 0x1, 0xfffffffffffffff8) = -1 ENOENT',
        "nanosleep(0x1, 0x1) = -1 EFAULT",
    ]:
        assert text in texts


def test_calls_of_other_architectures_are_told_as_such(rootfs: Path) -> None:
    traced = trace(rootfs, "caller", "old")
    at = next(at for at, call in enumerate(traced.calls) if call.abi)
    old, unknown, x32, beyond = traced.calls[at : at + 4]
    assert (old.name, old.abi, old.number, old.result) == ("getpid", "i386", 20, 1)
    assert (unknown.name, unknown.abi, unknown.number) == ("unknown", "i386", 4000)
    assert (x32.name, x32.abi) == ("getpid", "x32")
    assert (beyond.name, beyond.abi, beyond.error) == ("unknown", "", "ENOSYS")
    assert beyond.text.startswith("unknown 0x186a0(")


def test_the_containers_filter_and_rights_hold(rootfs: Path) -> None:
    traced = trace(rootfs, "caller", "denied")
    assert traced.output == run("run", rootfs, "caller", "denied").stdout
    assert traced.output.splitlines() == ["keyctl 1", "mount 1", "bpf 1"]
    assert traced.of("mount")[0].error == "EPERM"


def test_a_filter_of_the_programs_own_holds(rootfs: Path) -> None:
    traced = trace(rootfs, "caller", "filters")
    assert traced.text("getppid") == "getppid() = -1 EBADFD"
    assert traced.text("getsid") == "getsid(0) = -1 ENOSYS"  # the trace lets nothing through
    assert traced.calls[-1].text == "getpgid(0) = ?"
    assert traced.result.status == 128 + signal.SIGSYS


def test_the_container_cant_reach_its_tracer(rootfs: Path) -> None:
    traced = trace(rootfs, "caller", "looks")
    assert traced.output.splitlines() == [
        "TracerPid:\t0",
        "TRACEME: Operation not permitted",
        "ATTACH: No such process",
    ]


def test_a_process_that_hides_from_the_trace_is_counted(rootfs: Path) -> None:
    traced = trace(rootfs, "caller", "hides")
    assert traced.of("getpgid") == []
    assert traced.tracer.unfollowed == 1
    assert trace(rootfs, "caller", "vfork").tracer.unfollowed == 0


def test_a_fork_bomb_ends_at_its_limit(rootfs: Path) -> None:
    traced = trace(rootfs, "caller", "forks", pids=20)
    made = int(traced.output)
    assert 0 < made < 20
    assert Counter(call.error for call in traced.of("clone")) == {"": made, "EAGAIN": 200 - made}
    assert len(traced.of("pause")) <= made
    assert traced.tracer.unfollowed == 0


def test_ids_that_are_used_again_are_not_mixed_up(rootfs: Path) -> None:
    traced = trace(rootfs, "caller", "again")
    assert Counter(call.process for call in traced.of("exit_group")) == Counter(range(1, 302))
    assert Counter(call.name for call in traced.calls if call.process > 1)["exit_group"] == 300


@pytest.mark.parametrize("act", ["hostile", "sockets", "old", "dies"])
def test_json_lines_fit_the_schema_and_say_all(rootfs: Path, act: str) -> None:
    traced = trace(rootfs, "caller", act)
    lines = make("json", CALLS, most=1)
    data = lines.events(traced.calls)
    assert [
        msgspec.json.decode(line, type=SystemCall) for line in data.splitlines()
    ] == traced.calls
    last = msgspec.json.decode(lines.end(traced.tracer.summary), type=Last).summary
    assert last.count == len(traced.calls)
    failed = Counter(call.name for call in traced.calls if call.error)
    assert {row.name: row.errors for row in last.calls if row.errors} == failed
    page = (Path(__file__).parents[3] / "docs/system-calls.md").read_text()
    fields = {field for line in data.splitlines() for field in json.loads(line)}
    assert all(f"`{field}`" in page for field in fields)


def test_filters_choose_by_kind_name_process_and_error(rootfs: Path) -> None:
    def names(**options: object) -> set[str]:
        return set(trace(rootfs, "caller", "sockets", **options).names)  # type: ignore[arg-type]

    assert names(wanted=Filter(kinds=frozenset({"network"}))) == {
        "socket", "connect", "socketpair", "recvfrom",
    }  # fmt: skip
    assert names(wanted=Filter(groups=frozenset({"writev"}))) == {"writev"}
    assert names(only_errors=True) == {"connect"}
    traced = trace(rootfs, "caller", "vfork", wanted=Filter(actors=frozenset({2})))
    assert traced.names == ["getpgid", "exit_group"]
    assert traced.tracer.summary.count == 2


def test_a_trace_that_only_counts_counts_the_same(rootfs: Path) -> None:
    command = ["caller", "again"]
    shown = trace(rootfs, *command)
    workload = Workload(rootfs=rootfs, command=command)
    with Container(workload) as container, CallTracer(container) as tracer:
        container.run()
    counts = {name: times.count for name, times in tracer.summary.by_group().items()}
    assert counts == Counter(shown.names)
    assert tracer.summary.missing == 0


ALONE = """
import sys
from ringlet.container.container import Container
from ringlet.errors import RingletError
from ringlet.host.workload import Workload
from ringlet.observe.calls.call_tracer import CallTracer

command = ["sh", "-c", "caller busy & caller busy & wait"]
with Container(Workload(rootfs=sys.argv[1], command=command)) as container:
    with CallTracer(container):
        print(container.pid, flush=True)
        container.run()
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_ringlet_leaves_no_process(rootfs: Path, number: int) -> None:
    command = [sys.executable, "-c", ALONE, rootfs]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=ENVIRONMENT) as ringlet:
        assert ringlet.stdout is not None
        init = int(ringlet.stdout.readline())
        path = Path(f"/proc/{init}/task/{init}/children")
        until(lambda: len(path.read_text().split()) == 2)
        children = path.read_text().split()
        ringlet.send_signal(number)
        ringlet.wait(LONG)
        until(lambda: not any(is_alive(int(pid)) for pid in (init, *children)))
