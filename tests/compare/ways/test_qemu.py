"""The tiny VM's kernel and work in QEMU."""

from collections.abc import Callable
from contextlib import closing

import pytest

from ringlet.compare.instances import MIB, Request
from ringlet.compare.ways import Way

pytestmark = [pytest.mark.needs_kvm, pytest.mark.needs_qemu]


@pytest.fixture
def qemu(load_way: Callable[[str], Way]) -> Way:
    return load_way("qemu")


def test_its_command_has_what_it_is_given(qemu: Way) -> None:
    command = qemu.command(Request(["loop", "5"], memory=8 * MIB, disk="/a,b"))
    assert command[command.index("-append") + 1] == "loop 5"
    assert command[command.index("-m") + 1] == "8M"
    assert command[command.index("-drive") + 1].endswith("file=/a,,b")
    assert "-drive" not in qemu.command(Request(["wait"]))


def test_a_crash_is_told_from_an_end(qemu: Way) -> None:
    with closing(qemu.spawn(Request(["crash"]))) as run:
        assert run.wait() == 70


def test_it_says_its_version(qemu: Way) -> None:
    (version,) = qemu.versions().values()
    assert version[0].isdigit()
