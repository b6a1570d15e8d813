"""docs/two-traces.md shows what the two traces show."""

import json
import re
import shutil
from pathlib import Path

import pytest

from ringlet.machine.guests import find_image

from .cli.command import run

PAGE = Path(__file__).parent.parent / "docs/two-traces.md"
CALL = re.compile(r"^ +[\d.]+ +\d+ +[\d.]+ .?s  (\w+)\(.*\) = (?:0x\w+|\S+)$", re.MULTILINE)
EXIT = re.compile(r"^ [\d.]+ +0  port (\w+) +(0x\w+) +(\w+[-\w]*) (\w+)", re.MULTILINE)


@pytest.mark.needs_root
def test_the_calls_of_the_container(tmp_path: Path) -> None:
    (tmp_path / "rootfs").mkdir()
    shutil.copy(Path(find_image("work")).with_name("work"), tmp_path / "rootfs/work")
    words = ["trace", "--json", "--", "run", tmp_path / "rootfs", "/work", "hash", "1"]
    done = run(*words)
    *calls, _ = map(json.loads, done.stderr.splitlines())
    shown = CALL.findall(PAGE.read_text())
    assert [call["name"] for call in calls] == shown
    assert f"{len(shown)} system calls" in PAGE.read_text()


@pytest.mark.needs_kvm
def test_the_exits_of_the_vm() -> None:
    done = run("trace", "--json", "work", "--cmdline", "hash 1")
    *exits, _ = map(json.loads, done.stderr.splitlines())
    found = [
        (one["access"], f"{one['port']:#x}", one["device"], one["register"])
        for one in exits
        if one["kind"] == "port"
    ]
    shown = EXIT.findall(PAGE.read_text())
    assert len(shown) > 8
    first = shown[:9]  # up to the fourth character
    assert found[: len(first)] == first
    assert found[-2:] == shown[-2:]
    written = sum(register == "THR" for *_, register in found)
    assert written == len(done.stdout)  # an exit for each byte
    assert len(exits) == pytest.approx(98, abs=6)  # the numbers may have some digits more or less
