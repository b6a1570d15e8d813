"""Each defence stops an attack alone, and without them it succeeds: those that harm a host."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ..container.attacks import (
    CAPS,
    CGROUP,
    PATHS,
    SECCOMP,
    USER,
    Attack,
    expected,
    outcomes,
)
from ..container.cgroups.inside import eventually
from ..container.rootfs import make_rootfs

pytestmark = [pytest.mark.needs_cgroups, pytest.mark.needs_busybox]

CORE_PATTERN = Path("/proc/sys/kernel/core_pattern")


@pytest.fixture(scope="module")
def rootfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_rootfs(tmp_path_factory.mktemp("attacked") / "rootfs")


def test_the_kernels_settings(rootfs: Path) -> None:
    attack = Attack(f"echo '|/bin/broken %p' > {CORE_PATTERN}", (USER, PATHS))
    before = CORE_PATTERN.read_text()
    try:
        assert outcomes(rootfs, attack) == expected(attack)
        assert CORE_PATTERN.read_text() == "|/bin/broken %p\n"
    finally:
        CORE_PATTERN.write_text(before)


def test_its_emergency_keys(rootfs: Path) -> None:
    attack = Attack("echo h > /proc/sysrq-trigger", (USER, PATHS))
    assert outcomes(rootfs, attack) == expected(attack)


def test_its_memory(rootfs: Path) -> None:
    attack = Attack("[ $(head -c 4 /proc/kcore | tail -c 3) = ELF ]", (USER, CAPS, PATHS))
    assert outcomes(rootfs, attack) == expected(attack)


def test_its_modules(
    rootfs: Path, generic_kernel: Path, kernel_modules: Callable[[Path], Path]
) -> None:
    modules = kernel_modules(generic_kernel)
    shutil.copy(modules / "kernel/fs/configfs/configfs.ko", rootfs / "tmp")
    attack = Attack("insmod /tmp/configfs.ko", (USER, CAPS, SECCOMP))
    assert outcomes(rootfs, attack) == expected(attack)
    subprocess.run(["busybox", "rmmod", "configfs"], check=True)  # the host has it


@pytest.fixture
def hierarchy() -> Iterator[str]:
    """A hierarchy of version 1, as hosts have had some."""
    mount = Path("/run/ringlet-test")  # any user gets there
    mount.mkdir()
    options = "none,name=ringlet-test"
    attach = ["mount", "-t", "cgroup", "-o", options, "none", str(mount)]
    subprocess.run(attach, check=True)
    yield options

    def is_gone() -> bool:
        """It goes with its last mount, if no child is left by then; a child's end takes time."""
        for child in filter(Path.is_dir, mount.iterdir()):
            child.rmdir()
        subprocess.run(["umount", str(mount)], check=True)
        if "name=ringlet-test" not in Path("/proc/self/cgroup").read_text():
            return True
        subprocess.run(attach, check=True)
        return False

    assert eventually(is_gone)
    mount.rmdir()


def test_a_program_of_its_own_as_release_agent(
    rootfs: Path, tmp_path: Path, hierarchy: str
) -> None:
    """CVE-2022-0492."""
    agent, proof = rootfs / "tmp/agent", tmp_path / "proof"
    agent.write_text(f"#!/bin/sh\necho $$ > {proof}\n")
    agent.chmod(0o755)
    script = (
        f"mkdir -p /tmp/c && mount -t cgroup -o {hierarchy} none /tmp/c &&"
        f"echo {agent} > /tmp/c/release_agent && mkdir /tmp/c/child &&"
        "echo 1 > /tmp/c/child/notify_on_release && sh -c 'echo $$ > /tmp/c/child/cgroup.procs'"
    )
    attack = Attack(script, (USER, CAPS, SECCOMP, CGROUP))
    assert not proof.exists()
    assert outcomes(rootfs, attack) == expected(attack)
    assert eventually(proof.exists)
