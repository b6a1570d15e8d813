"""A lab, the ways in it, and a check that a run leaves nothing of itself on the host."""

import functools
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from ringlet.compare.instances import Request, Unavailable
from ringlet.compare.lab import Lab
from ringlet.compare.ways import OPTIONAL, Way, load

from ...conftest import Held
from ...leftovers import cgroups


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """What all the ways share."""
    with Lab() as lab:
        (lab.folder / "short-lived").mkdir()
        yield lab


@pytest.fixture(autouse=True)
def _short_lived(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the ways make for a while is in a folder of theirs."""
    monkeypatch.setenv("TMPDIR", str(lab.folder / "short-lived"))
    monkeypatch.setattr(tempfile, "tempdir", None)  # asks the environment again


@pytest.fixture(scope="session")
def load_way(lab: Lab) -> Callable[[str], Way]:
    """The way of a name, made once; what it keeps for the life of a process is there by then."""

    @functools.cache
    def try_to(name: str) -> Way | Unavailable:
        try:
            way = load(name, lab)
        except Unavailable as error:
            return error
        with suppress(Unavailable), closing(way.launch(Request(["start"]))) as run:
            run.wait()
        return way

    def load_way(name: str) -> Way:
        way = try_to(name)
        if isinstance(way, Unavailable):
            optional = name in OPTIONAL or name == "linux-vm"
            if optional and (os.environ.get("CI") != "true" or _is_the_hosts(way.message)):
                pytest.skip(way.message)
            raise way
        return way

    return load_way


def _is_the_hosts(reason: str) -> bool:
    """Whether it is the host that can't: the nested tests have crun and a Linux VM."""
    return any(words in reason for words in ("cgroups in hybrid mode", "emulates ring 0"))


class Left:
    """What there is of runs: processes of this one, cgroups of containers, files of the lab."""

    def __init__(self, lab: Lab) -> None:
        self.held = Held()
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
        self.processes = children.split()
        others = cgroups("ringlet-bundle-")  # of tests beside these
        self.cgroups = sorted(map(str, cgroups("ringlet-") - others))
        self.states = sorted(map(str, lab.folder.glob("*/state/*")))
        self.pidfiles = sorted(map(str, lab.folder.glob("*/*.pid")))
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
        self.mounts = [mount for mount in mounts if str(lab.folder) in mount]
        self.folders = sorted(os.listdir(lab.folder / "short-lived"))


@pytest.fixture
def leaves_nothing(lab: Lab) -> Callable[[], "Check"]:
    """Made before a run; called after it."""
    return lambda: Check(lab)


class Check:
    """That nothing is left since it was made."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._before = Left(lab)

    def __call__(self) -> None:
        before, after = self._before, Left(self._lab)
        assert after.held.descriptors == before.held.descriptors
        assert after.held.threads <= before.held.threads
        assert after.processes == before.processes
        assert after.cgroups == before.cgroups
        assert (after.states, after.pidfiles) == (before.states, before.pidfiles)
        assert after.mounts == before.mounts
        assert after.folders == before.folders
