"""`ringlet doctor` on this host, and on one where /dev/kvm can't be had."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .command import ENVIRONMENT, NO_KVM, NOT_KVM, run, run_as_nobody, with_mount


def findings(use: str, **options: Any) -> list[dict[str, Any]]:
    """What it says for programs of what is for `use`, and nothing of its status."""
    found = json.loads(run("doctor", "--json", **options).stdout)
    return [finding for finding in found if finding["use"].startswith(use)]


@pytest.mark.needs_kvm
def test_all_is_fine_where_guests_boot() -> None:
    done = run("doctor")
    assert done.returncode == 0, done.stdout
    assert done.stderr == ""
    heading, *lines = done.stdout.partition("Containers\n")[0].splitlines()
    assert heading == "Guests"
    assert all(line.startswith("ok ") for line in lines if "hint:" not in line)


@pytest.mark.needs_kvm
def test_kind_of_kvm_is_what_the_processor_says() -> None:
    found = findings("guests")
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    flags = next(line for line in lines if line.startswith("flags")).split()
    kind = "hardware KVM" if {"vmx", "svm"} & set(flags) else "software KVM"
    assert sum(finding["what"].startswith(kind) for finding in found) == 1
    assert all(finding["fine"] for finding in found)


@pytest.mark.needs_kvm
@pytest.mark.parametrize("make", [Path.mkdir, Path.touch])
def test_what_is_called_probe_in_the_current_folder_does_not_matter(
    make: Callable[[Path], None], tmp_path: Path
) -> None:
    make(tmp_path / "probe")
    assert findings("guests", cwd=tmp_path) == findings("guests")


@pytest.mark.parametrize(
    ("use", "command"),
    [
        ("commands in Linux guests", "apt install busybox-static"),
        ("emulated machines", "apt install qemu-system-x86"),
        ("other programs", "apt install passt"),
        ("other programs", "apt install gdb"),
    ],
)
def test_a_program_that_is_missing_has_the_command_that_gets_it(
    use: str, command: str, tmp_path: Path
) -> None:
    missing = findings(use, env=ENVIRONMENT | {"PATH": str(tmp_path)})
    assert any(command in finding["hint"] and not finding["fine"] for finding in missing)


def test_a_program_that_is_there_is_named_with_its_path(tmp_path: Path) -> None:
    for name in ("gdb", "passt", "qemu-system-x86_64"):
        (tmp_path / name).touch(0o755)
    found = findings("", env=ENVIRONMENT | {"PATH": str(tmp_path)})
    for name in ("gdb", "passt", "qemu-system-x86_64"):
        assert any(each["fine"] and str(tmp_path / name) in each["what"] for each in found)


def test_without_a_kernel_it_says_how_to_fetch_one(tmp_path: Path) -> None:
    if any(Path("/boot").glob("vmlinuz-*")):
        pytest.skip("needs a host without a kernel of its own")
    nothing = ENVIRONMENT | {"XDG_CACHE_HOME": str(tmp_path)}
    for use in ("emulated machines", "the Linux VM of compare"):
        kernel = findings(use, env=nothing)[-1]
        assert not kernel["fine"]
        assert "ringlet nested --setup" in kernel["hint"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_containers_of_root_have_limits_and_users_and_nothing_is_left() -> None:
    found = findings("containers")
    assert [finding["fine"] for finding in found] == [True, True]
    assert "cgroups" in found[0]["what"]
    assert "65,536 users" in found[1]["what"]
    assert not list(Path("/sys/fs/cgroup").glob("**/ringlet-doctor-*"))


@pytest.mark.needs_mount_namespace
def test_who_has_no_cgroup_and_no_ids_is_told_what_to_do() -> None:
    said = run_as_nobody("doctor").stdout
    assert "no  the container can't have its limits" in said
    assert "systemd-run --user --scope -p Delegate=yes" in said
    assert "no  a container has one user" in said
    assert "usermod --add-subuids" in said


def test_what_is_missing_for_other_things_than_guests_does_not_count(tmp_path: Path) -> None:
    status = run("doctor").returncode
    assert run("doctor", env=ENVIRONMENT | {"PATH": str(tmp_path)}).returncode == status


@pytest.mark.needs_mount_namespace
@pytest.mark.parametrize(
    ("mount", "what", "hint"),
    [(NO_KVM, "can't open /dev/kvm", "modprobe"), (NOT_KVM, "/dev/kvm isn't KVM", "")],
)
def test_kvm_that_is_no_kvm_is_named_with_what_to_do(mount: str, what: str, hint: str) -> None:
    done = run("doctor", before=with_mount(mount))
    assert done.returncode == 125
    first, second = done.stdout.splitlines()[1:3]
    assert first.startswith("no ")
    assert what in first
    assert hint in second


@pytest.mark.needs_mount_namespace
def test_kvm_that_may_not_be_opened_is_named_with_the_command_that_mends_it() -> None:
    done = run_as_nobody("doctor")
    assert done.returncode == 125, done.stderr
    assert "Permission denied" in done.stdout
    assert "usermod -aG kvm" in done.stdout
