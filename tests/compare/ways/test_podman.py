"""The workload in podman's container."""

import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from ringlet.compare.instances import Request
from ringlet.compare.lab import Lab, Settings
from ringlet.compare.ways import Way, load

pytestmark = [pytest.mark.needs_podman, pytest.mark.needs_cgroups]


@pytest.fixture(autouse=True)
def short_paths(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """podman refuses long ones for its own."""
    monkeypatch.setattr(tempfile, "tempdir", str(lab.folder.parent))


def test_its_processes_are_podman_its_monitor_and_the_workload(
    load_way: Callable[[str], Way],
) -> None:
    with closing(load_way("podman").spawn(Request(["wait"]))) as run:
        run.read_line()
        names = [Path(f"/proc/{pid}/comm").read_text().strip() for pid in run.processes()]
    assert names == ["podman", "conmon", "work"]


def test_what_it_writes_into_its_root_is_in_no_other(load_way: Callable[[str], Way]) -> None:
    load_way("podman")
    with Lab(Settings()) as lab:
        before = sorted(lab.rootfs.rglob("*"))
        load("podman", lab)
        assert sorted(lab.rootfs.rglob("*")) == before


def test_no_cgroup_is_left_when_the_lab_closes() -> None:
    cgroups = Path("/sys/fs/cgroup")
    before = set(cgroups.glob("*/ringlet-compare-*")) | set(cgroups.glob("ringlet-compare-*"))
    with Lab(Settings()) as lab, closing(load("podman", lab).spawn(Request(["start"]))) as run:
        assert run.wait() == 0
    after = set(cgroups.glob("*/ringlet-compare-*")) | set(cgroups.glob("ringlet-compare-*"))
    assert after <= before
