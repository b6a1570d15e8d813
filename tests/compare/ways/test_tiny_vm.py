"""The workload in a tiny kernel of its own."""

from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest

from ringlet.compare.instances import MIB, Instance, Request, Unavailable
from ringlet.compare.lab import Lab, ringlet_command
from ringlet.compare.ways import Way
from ringlet.compare.ways.tiny_vm import IMAGE

from .conftest import Check

pytestmark = pytest.mark.needs_kvm

CALL = len(ringlet_command())


@pytest.fixture
def tiny_vm(load_way: Callable[[str], Way]) -> Way:
    return load_way("tiny-vm")


def drain(run: Instance) -> None:
    with suppress(Unavailable):
        while True:
            run.read_line()


def test_its_command_is_ringlet_boot(
    tiny_vm: Way, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert tiny_vm.command(Request(["loop", "5"]))[CALL:] == ["boot", "work", "--cmdline", "loop 5"]
    more = tiny_vm.command(Request(["wait"], memory=8 * MIB, disk="/a,b"))[CALL:]
    assert more == [
        *("boot", "work", "--cmdline", "wait", "--memory", "8M", "--disk", "/a,,b"),
    ]
    (tmp_path / "work").mkdir()
    assert tiny_vm.command(Request(["wait"]))[CALL + 1] == IMAGE


@pytest.mark.parametrize("how", ["spawn", "launch"])
def test_a_crash_is_its_own_kernels(tiny_vm: Way, how: str) -> None:
    with closing(getattr(tiny_vm, how)(Request(["crash"]))) as run:
        drain(run)
        assert run.wait() == 70


def test_launched_its_steps_are_known_and_its_exits_grow(tiny_vm: Way) -> None:
    with closing(tiny_vm.launch(Request(["calls"]))) as run:
        run.read_line()
        assert list(run.phases()) == ["vm_created", "image_loaded", "first_exit", "first_output"]
        before = run.exits()
        run.write(b"x")
        drain(run)
        after = run.exits()
    assert before is not None
    assert after is not None
    assert after >= before + 10 * len("x=1\n")  # a byte that it writes is an exit


@pytest.mark.parametrize("memory", [8 * MIB, 256 * MIB])
def test_its_memory_is_what_it_is_given(tiny_vm: Way, memory: int) -> None:
    with closing(tiny_vm.launch(Request(["see"], memory=memory))) as run:
        line = ""
        while not line.startswith("memory="):
            line = run.read_line()[1]
    assert int(line[7:]) == pytest.approx(memory / 1024, rel=0.3)


def test_one_that_cannot_be_made_leaves_nothing(
    tiny_vm: Way, lab: Lab, leaves_nothing: Callable[[], Check]
) -> None:
    check = leaves_nothing()
    with pytest.raises(Unavailable, match="there is no disk"):
        tiny_vm.launch(Request(["start"], disk=str(lab.folder / "absent")))
    with pytest.raises(Unavailable, match="needs 5 MiB of memory"):
        tiny_vm.launch(Request(["start"], memory=4 * MIB))
    check()
