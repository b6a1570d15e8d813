"""The program `work` does each of its actions as a process of Linux, as it does in its guest."""

import io
import os
import socket
import subprocess
import time
from pathlib import Path

import pytest

from ringlet import Machine, MachineConfig
from ringlet.machine.guests import FOLDER

WORK = Path(FOLDER) / "work"
SECTOR = 512


def run(*words: str, status: int = 0, **options: bytes) -> list[dict[str, str]]:
    """The words of each line behind the first, by their names."""
    done = subprocess.run([WORK, *words], capture_output=True, timeout=60, check=False, **options)
    assert (done.stderr, done.returncode) == (b"", status)
    first, *lines = done.stdout.decode().splitlines()
    name, *times = first.split()
    assert name == "started"
    assert [word.split("=")[0] for word in times] == ["first", "now"]
    return [dict(word.split("=") for word in line.split() if "=" in word) for line in lines]


def test_it_says_when_it_started_before_anything_else() -> None:
    began = run("start")
    assert began == []


def test_a_word_that_it_does_not_know_or_too_few_words_are_status_2() -> None:
    assert run("nonsense", status=2) == [{}]
    assert run("loop", status=2) == [{}]
    assert run(status=2) == [{}]


def test_wait_and_touch_stay_until_they_are_killed() -> None:
    for words, last in ((("wait",), b"started"), (("touch", "4"), b"touched")):
        with subprocess.Popen([WORK, *words], stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            while not child.stdout.readline().startswith(last):
                pass
            assert child.poll() is None
            child.kill()


def test_touch_takes_as_much_memory_as_it_is_told() -> None:
    with subprocess.Popen([WORK, "touch", "16"], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert [child.stdout.readline()[:7] for _ in range(3)][1:] == [b"mapped\n", b"touched"]
        status = Path(f"/proc/{child.pid}/status").read_text()
        child.kill()
    resident = int(status.split("VmRSS:")[1].split()[0])
    assert 16 << 10 <= resident < 17 << 10


def test_hz_is_the_rate_of_the_time_stamp_counter() -> None:
    rates = [int(run("hz")[0]["hz"]) for _ in range(3)]
    assert max(rates) < min(rates) * 1.01
    assert min(rates) > 100e6


@pytest.mark.parametrize("words", [("loop", "1000"), ("sort", "1000"), ("hash", "10")])
def test_work_has_the_same_outcome_each_time_and_another_for_another_size(
    words: tuple[str, str],
) -> None:
    (first,), (second,), (other,) = run(*words), run(*words), run(words[0], "20")
    assert int(first["cycles"]) > 0
    assert first["check"] == second["check"] != other["check"]


@pytest.mark.needs_kvm
@pytest.mark.parametrize("words", [("loop", "1000"), ("sort", "1000"), ("hash", "10")])
def test_work_has_the_same_outcome_in_a_guest(words: tuple[str, str]) -> None:
    output = io.BytesIO()
    with Machine(
        MachineConfig(image="work", cmdline=" ".join(words), serial=output, timeout=60)
    ) as machine:
        machine.run()
    assert f" check={run(*words)[0]['check']}\n" in output.getvalue().decode()


def test_actions_are_done_one_after_another() -> None:
    path = str(WORK)
    found = run("loop", "10", "exit", "1", "no", status=2)
    assert [list(line) for line in found] == [["cycles", "check"], [], []]
    found = run(
        "syscall", "1", "read", path, "4096", "1", "direct", "read", "/nowhere", "1", "1", status=1
    )
    assert [list(line) for line in found] == [["cycles"], ["cycles", "bytes"], ["error"]]


def test_syscall_takes_longer_the_more_of_them_there_are() -> None:
    few, many = (int(run("syscall", count)[0]["cycles"]) for count in ("10", "10000"))
    assert few < many


def test_no_port_is_read_unless_it_is_told_that_it_is_in_a_vm() -> None:
    assert run("exit", "10", status=3) == [{}]
    assert run("exit", "10", "start", "vm", status=2) == [{}, {}]


def test_linux_is_not_crashed_unless_it_was_started_for_that() -> None:
    assert run("crash", status=3) == [{}]


@pytest.mark.parametrize("action", ["read", "write", "flush"])
def test_blocks_of_a_file_are_read_or_written(action: str, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(b"\xff" * 64 * SECTOR)
    (found,) = run(action, str(disk), "512", "100")
    assert found["bytes"] == "51200"
    assert int(found["cycles"]) > 0
    content = disk.read_bytes()
    written = content.count(b"\0" * SECTOR)
    assert len(content) == 64 * SECTOR
    assert written == 0 if action == "read" else 32 < written <= 64


def test_blocks_say_what_is_wrong(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.write_bytes(b"x" * 100)
    assert run("read", "/nowhere", "512", "1", status=1) == [{"error": "2"}]
    assert run("read", str(small), "512", "1", status=1) == [{"error": "22"}]
    assert run("read", str(small), "0", "1", status=1) == [{"error": "22"}]
    assert run("read", str(small), str(1 << 30), "1", status=1) == [{"error": "22"}]


@pytest.mark.parametrize("words", [("touch", "99999999"), ("sort", "x"), ("hash", "9" * 30)])
def test_memory_that_there_is_not_is_an_error(words: tuple[str, str]) -> None:
    assert run(*words, status=1) == [{"error": "12"}]


def test_see_shows_what_the_host_shows_itself() -> None:
    seen: dict[str, str] = {}
    for line in run("see"):
        seen |= line
    assert seen["ring"] == "3"
    assert seen["kernel"] == os.uname().release
    assert seen["hostname"] == socket.gethostname()
    assert int(seen["processes"]) > 1
    assert set(seen["rootfiles"].split(",")) <= set(os.listdir("/"))
    assert set(seen["devices"].split(",")) <= set(os.listdir("/dev"))
    assert abs(int(seen["uptime"]) - time.clock_gettime(time.CLOCK_BOOTTIME)) < 60
    assert abs(int(seen["time"]) - time.time()) < 60
    meminfo = Path("/proc/meminfo").read_text().split()
    assert seen["memory"] == meminfo[1]
    assert seen["cpus"] == str(len(os.sched_getaffinity(0)))
    devices = Path("/proc/net/dev").read_text().splitlines()
    interfaces = {line.split(":")[0].strip() for line in devices if ":" in line}
    assert set(seen["interfaces"].split(",")) == interfaces
    assert "/proc/version" in seen["open"].split(",")
    assert "/sys/kernel/security" not in seen["open"] or os.listdir("/sys/kernel/security")


def test_fork_leaves_no_child_behind() -> None:
    with subprocess.Popen(
        [WORK, "fork", "20"], stdout=subprocess.PIPE, start_new_session=True
    ) as child:
        output, _ = child.communicate()
    assert output.endswith(b"\nforks=20 error=0\n")
    with pytest.raises(ProcessLookupError):
        os.killpg(child.pid, 0)
    assert run("fork", "99999999", status=1) == [{"error": "22"}]


def test_calls_wait_for_a_byte() -> None:
    with subprocess.Popen([WORK, "calls"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline().startswith(b"started")
        assert child.poll() is None
        child.stdin.write(b"\n")
        child.stdin.flush()
        assert child.stdout.read() == b"x=1\n" * 10
        assert child.wait() == 0
