"""Whatever a configuration says, the host is as it was, and the container doesn't reach it.

`make fuzz-config` tries more: CONFIG_COUNT of them, from CONFIG_SEED on. What fails names its seed,
and CONFIG_SEED=N CONFIG_COUNT=1 does the same again.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .fuzz_config import make
from .fuzz_host import compile_probes

FIRST, COUNT = (int(os.environ.get(name) or 0) for name in ("CONFIG_SEED", "CONFIG_COUNT"))
TOP = Path(__file__).parents[2]
LONG = 600  # seconds

pytestmark = [
    pytest.mark.needs_mount_namespace,
    pytest.mark.needs_cgroups,
    pytest.mark.needs_gcc,
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fuzz")
    compile_probes(folder)
    return folder


def fuzz(folder: Path, *words: object) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "tests.container.fuzz_run", folder, *map(str, words)],
        cwd=TOP,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        timeout=LONG,
        check=True,
    )
    return json.loads(done.stdout)


def test_no_configuration_changes_the_host_or_lets_a_container_reach_it(folder: Path) -> None:
    count = COUNT or 120
    report = fuzz(folder, FIRST, count, 5)
    seeds = [f"CONFIG_SEED={find['case']['seed']}: {find['what']}" for find in report["finds"]]
    assert not seeds, json.dumps(report["finds"], indent=1)
    assert report["count"] == count
    if count >= 100:
        assert report["made"] > count / 4  # the others are refused, which is well, too


@pytest.mark.slow
@pytest.mark.parametrize(
    ("without", "what"),
    [
        ("descriptors", "its descriptors are"),
        ("part", "mounts: new"),
        ("mask", "unmasked"),
        ("readonly", "writable"),
        ("freeze_root", "writable: /"),
        ("no_new_privs", "no_new_privs is 0"),
        ("bounding", "it has the capabilities"),
        ("state", "made fuzz/state/one"),
        ("file", "changed fuzz/host/vol/setuid"),
        ("cgroup", "/sys/fs/cgroup"),
    ],
)
def test_what_a_missing_defence_lets_through_is_found(
    folder: Path, without: str, what: str
) -> None:
    report = fuzz(folder, 0, 200, 1, without)
    assert what in str(report["finds"][0]["what"])


def test_a_seed_makes_the_same_configuration_again() -> None:
    assert make(5) == make(5)
    assert make(5) != make(6)
