"""The limits of cgroup version 2 hold as those of version 1 do."""

from typing import Any

import pytest

from ringlet.container.describe import describe
from ringlet.host.workload import Workload

from ..container.attacks import USER, take_away
from ..container.test_hogs import *  # noqa: F403


@pytest.fixture(autouse=True)
def _no_user_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux 6.1 can't map IDs of files on overlayfs and tmpfs, and here is nothing else."""

    def description(config: Workload) -> tuple[dict[str, Any], list[str]]:
        described, notes = describe(config)
        take_away(described, [USER])
        return described, notes

    monkeypatch.setattr("ringlet.container.describe.describe", description)
