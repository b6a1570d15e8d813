import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ringlet.container.cgroups import Cgroups

from .box import Box
from .bundle import Bundle


@pytest.fixture
def seccomp_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of filters, in an empty cache of this test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "ringlet" / "seccomp"


@pytest.fixture
def bundle(tmp_path: Path) -> Iterator[Bundle]:
    """A bundle; whatever became of its container `one`, nothing may be left of it."""
    bundle = Bundle(tmp_path)
    yield bundle
    bundle.oci("delete", "--force", "one")
    assert bundle.left() == []


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    """A container to be made; it ends with the test."""
    box = Box(tmp_path)
    yield box
    box.close()


@pytest.fixture
def cgroup() -> Iterator[Any]:
    """A cgroup of the host's, with rules for devices where the host has these."""
    made = Cgroups.find().create(f"/ringlet-launch-{os.getpid()}", "one", {}, may_lack=True)
    yield made
    made.delete()
