"""`ringlet.trace`, and the programs of docs/trace.md."""

import gc
import re
import subprocess
import sys
from pathlib import Path

import pytest

import ringlet
from ringlet import ConfigError, Machine, MachineConfig, RingletError
from ringlet.machine.device_error import DeviceError
from ringlet.observe.exits.exit_event import Exit
from ringlet.observe.trace.filters import Filter

from ...until import until

pytestmark = [pytest.mark.needs_kvm, pytest.mark.usefixtures("no_leak")]

PAGE = Path(__file__).parents[3] / "docs/trace.md"
PROGRAMS = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)


def machine(image: str) -> Machine:
    return Machine(MachineConfig(image=image, serial="none", timeout=60))


def test_the_programs_of_the_page_do_what_it_says() -> None:
    outputs = []
    for program in PROGRAMS:
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        outputs.append(done.stdout)
    first, second = outputs
    assert re.fullmatch(
        r"b'Hello, ring 0!\\n'\n\{'pvh_start\+0x[0-9a-f]+'\}\nexit-port\n", first
    ), first
    assert second == "b'Type; Ctrl-D ends.\\n'\nstopped\n"


def test_the_iterator_ends_with_the_run_and_has_all_exits() -> None:
    with machine("hello") as made:
        trace = ringlet.trace(made)
        exits = list(trace)
        result = made.wait()
        assert result is not None
        assert len(exits) == sum(result.exits.values()) == trace.summary.count
        assert all(type(each) is Exit for each in exits)
        assert next(trace, None) is None


def test_to_leave_the_loop_ends_the_trace_and_not_the_run() -> None:
    with machine("flood") as made:
        for _ in ringlet.trace(made):
            break
        gc.collect()
        usage = made.usage().exits
        until(lambda: usage != made.usage().exits)
        assert made.stop().reason == "stopped"


def test_a_trace_is_closed_by_a_with_statement_and_twice() -> None:
    with machine("flood") as made:
        with ringlet.trace(made) as trace:
            next(trace)
        trace.close()
        assert next(trace, None) is None
        made.kill()


def test_a_program_that_is_too_slow_loses_exits_and_knows_how_many() -> None:
    with machine("flood") as made:
        trace = ringlet.trace(made, buffer=100)
        until(lambda: (made.usage().exits or {}).get("port", 0) > 2000)
        made.stop()
        exits = list(trace)
        assert 100 <= len(exits) < 1000  # with those that had room once the program began to read
        assert trace.summary.missing == trace.summary.count - len(exits) > 0


def test_a_filter_is_obeyed() -> None:
    with machine("hello") as made:
        wanted = Filter(groups=frozenset({"exit-port"}))
        assert [each.register for each in ringlet.trace(made, wanted)] == ["STATUS"]


def test_a_second_run_and_a_buffer_without_room_are_refused() -> None:
    with machine("hello") as made:
        with pytest.raises(ConfigError, match="buffer"):
            ringlet.trace(made, buffer=0)
        list(ringlet.trace(made))
        with pytest.raises(RingletError, match="has run already"):
            ringlet.trace(made)


def test_an_error_of_a_device_ends_the_trace_and_is_raised_by_wait() -> None:
    class Broken:
        def read(self, offset: int, size: int) -> int:
            return 0

        def write(self, offset: int, size: int, value: int) -> None:
            raise ZeroDivisionError

        def register_name(self, offset: int, write: bool) -> str:
            return f"R{offset}"

    image = bytes.fromhex("ba 00 05 ee f4")  # mov dx, 0x500; out dx, al; hlt
    with Machine(MachineConfig(image=image, protocol="flat", serial="none")) as made:
        made.add_port_device(0x500, 1, Broken())
        exits = list(ringlet.trace(made))
        assert [(each.device, each.register, each.python) for each in exits] == [
            ("Broken", "R0", None)
        ]
        with pytest.raises(DeviceError, match="Broken") as failed:
            made.wait()
        assert isinstance(failed.value.__cause__, ZeroDivisionError)
