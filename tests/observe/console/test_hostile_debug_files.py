"""Debug files that lie, guests that lie: the debugger answers, and the guest goes on."""

import random
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringlet.machine.guests import FOLDER

from ...examples import examples
from ...machine_code import protected
from ..conversation import talk

pytestmark = pytest.mark.needs_kvm

COMMANDS = (
    *("list", "backtrace", "disassemble", "break start", "break next", "break hello16.S:19"),
    *("break", "registers", "stack", "page start", "memory start", "vcpus", "step 3", "next 2"),
)


@settings(max_examples=examples(100))
@given(seed=st.integers(0, 1 << 32), count=st.integers(1, 200))
def test_any_debug_file_leaves_the_guest_as_it_is(
    tmp_path_factory: pytest.TempPathFactory, seed: int, count: int
) -> None:
    chance = random.Random(seed)
    folder = tmp_path_factory.mktemp("hostile")
    image = folder / "guest.bin"
    shutil.copy(Path(FOLDER) / "hello16.bin", image)
    data = bytearray((Path(FOLDER) / "hello16.debug").read_bytes())
    for _ in range(count):
        data[chance.randrange(len(data))] = chance.choice((0, 1, 0x7F, 0xFF, chance.randrange(256)))
    (folder / "guest.debug").write_bytes(data)
    with talk(str(image)) as say:
        for command in COMMANDS:
            say.console.answer(command)
            assert all(line.isprintable() and len(line) < 1000 for line in say.new())
        say("delete")
        lines = say("continue")
        assert "guest| Hello from real mode!" in lines
        assert lines[-1] == "the run is over: exit-port, status 0"


@pytest.mark.slow
@settings(max_examples=examples(200))
@given(
    code=st.binary(min_size=1, max_size=64),
    commands=st.lists(
        st.sampled_from(
            [
                *("step", "step 10", "next", "finish", "exit", "registers", "flags", "gdt", "idt"),
                *("stack", "backtrace", "disassemble", "memory $rsp", "page $rip", "vcpus"),
                *("break $rip+1", "watch 0x1000", "delete", "list", "step mode"),
            ]
        ),
        max_size=12,
    ),
)
def test_any_code_and_any_commands_end_in_answers(code: bytes, commands: list[str]) -> None:
    with talk(protected(code), timeout=0.3) as say:
        for command in [*commands, "continue"]:
            say.console.answer(command)
            assert all(line.isprintable() for line in say.new())


@settings(max_examples=examples(100))
@given(line=st.text(max_size=40))
def test_any_line_is_answered(line: str) -> None:
    with talk("hello") as say:
        say.console.answer(line)
        assert all(each.isprintable() for each in say.new())
        assert say("registers")
