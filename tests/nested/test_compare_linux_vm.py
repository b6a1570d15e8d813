"""`ringlet compare`'s Linux VM: the workload is a command in a stock kernel's guest."""

from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from ringlet.compare.instances import Instance, Request, Unavailable
from ringlet.compare.lab import Lab, Settings
from ringlet.compare.ways.linux_vm import Way

LONG = 180  # seconds, on a machine that is emulated and busy


@pytest.fixture(scope="module")
def lab(cloud_kernel: Path) -> Iterator[Lab]:
    with Lab(Settings(kernel=str(cloud_kernel))) as lab:
        yield lab


@pytest.fixture(scope="module")
def way(lab: Lab) -> Way:
    return Way(lab)


def rest(run: Instance) -> list[str]:
    lines = []
    with suppress(Unavailable):
        while True:
            lines.append(run.read_line(LONG)[1])
    return lines


@pytest.mark.usefixtures("no_leak")
def test_spawned_it_has_a_kernel_of_its_own_and_the_disk(way: Way, lab: Lab) -> None:
    (version,) = way.versions().values()
    with closing(way.spawn(Request(["see"], disk=str(lab.disk)))) as run:
        at, line = run.read_line(LONG)
        assert line.startswith("started first=")
        assert run.began < at
        seen = rest(run)
        assert f"kernel={version}" in seen
        assert any(line.startswith("devices=") and "vda" in line for line in seen)
        assert run.wait(LONG) == 0


def test_launched_its_steps_and_exits_are_known(way: Way, lab: Lab) -> None:
    with closing(way.launch(Request(["calls"]))) as run:
        run.read_line(LONG)
        assert list(run.phases()) == ["vm_created", "image_loaded", "first_exit", "first_output"]
        assert sorted(run.phases().values()) == list(run.phases().values())
        assert run.processes() == []
        before = run.exits()
        run.write(b"x")
        assert rest(run) == ["x=1"] * 10
        assert run.wait(LONG) == 0
        after = run.exits()
    assert before is not None
    assert after is not None
    assert after > before


@pytest.mark.usefixtures("no_leak")
def test_it_can_be_closed_while_it_boots(way: Way) -> None:
    for start in (way.spawn, way.launch):
        with closing(start(Request(["wait"]))):
            pass


def test_a_crash_is_its_own_kernels(way: Way) -> None:
    with closing(way.launch(Request(["crash"]))) as run:
        run.read_line(LONG)
        assert rest(run) in ([], ["crashing"])  # its last words may die with its kernel
        assert run.wait(LONG) == 70
