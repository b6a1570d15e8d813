"""The README's programs and commands do what they say."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.needs_kvm

README = Path(__file__).parents[1] / "README.md"
PROGRAMS = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
OUTPUT = re.search(r"```console\n\$ ringlet boot hello\n(.*?)```", README.read_text(), re.DOTALL)


def output_of(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_there_are_four_programs() -> None:
    assert len(PROGRAMS) == 4  # that of a Linux guest is run by tests/nested/test_readme.py


def test_device_in_ten_lines_rolls_a_die() -> None:
    (device,) = (program for program in PROGRAMS if "Dice" in program)
    assert re.fullmatch(r"the guest rolled [1-6]\n", output_of(device))


def test_background_machine_echoes() -> None:
    (background,) = (program for program in PROGRAMS if "machine.serial" in program)
    greeting, echo, end = output_of(background).splitlines()
    assert "Ctrl-D" in greeting
    assert echo == r"b'hello\n'"
    assert end.startswith("stopped {")


def test_a_program_reads_what_the_guest_prints_from_its_exits() -> None:
    (traced,) = (program for program in PROGRAMS if "trace" in program)
    assert output_of(traced) == "b'Hello, ring 0!\\n'\n"


def test_the_trace_is_what_hello_does() -> None:
    shown = README.read_text().split("$ ringlet trace hello 2>&1 | cut -c 1-93")[1].split("```")[0]
    first, last = shown.strip().split("\n...\n")
    program = "from ringlet.cli import run; run(['trace', 'hello', '--output', '/dev/stdout'])"
    traced = output_of(program)
    columns = [line[10:93].rstrip() for line in traced.splitlines()]
    rows = [*first.splitlines()[2:], last.splitlines()[0]]
    assert [row for row in rows if row[10:] not in columns] == []
    assert f"\n{last.splitlines()[-1].split()[0]} exits in " in traced


@pytest.mark.parametrize("guest", ["hello", "rings"])
def test_screenful_is_what_the_guests_print(guest: str) -> None:
    assert OUTPUT is not None
    shown = f"$ ringlet boot hello\n{OUTPUT[1]}"
    expected = shown.split(f"$ ringlet boot {guest}\n")[1].split("\n\n")[0]
    program = f"from ringlet.cli import run; run(['boot', {guest!r}])"
    assert output_of(program) == expected + "\n"
