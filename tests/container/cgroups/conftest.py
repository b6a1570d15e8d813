"""A cgroup for each test that wants one, and no folder left after any."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ringlet.container.cgroups import Cgroup, Cgroups

Make = Callable[..., Cgroup]


def _ours() -> list[Path]:
    return [
        Path(folder, name)
        for hierarchy in Cgroups.find().hierarchies
        for folder in {hierarchy.mount, hierarchy.own}
        for name in os.listdir(folder)
        if name.startswith("ringlet-test")
    ]


@pytest.fixture
def make_cgroup() -> Iterator[Make]:
    """`make_cgroup(resources, path=None)`; what it made is deleted at the end."""
    assert not _ours()
    made: list[Cgroup] = []

    def make(resources: object = None, path: str | None = None) -> Cgroup:
        id = f"test{len(made)}"
        cgroup = Cgroups.find().create(path, id, resources or {}, may_lack=False)  # type: ignore[arg-type]
        made.append(cgroup)
        return cgroup

    yield make
    for cgroup in made:
        cgroup.kill()
        cgroup.delete()
    assert not _ours()
