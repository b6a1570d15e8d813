"""`ringlet lab check` in an emulated machine gives the verdicts that it gives here."""

import json
import shutil
from pathlib import Path

import pytest

from ..cli.command import run, with_mount

pytestmark = [
    pytest.mark.nested_host,
    pytest.mark.needs_root,
    pytest.mark.needs_qemu,
    pytest.mark.needs_nested_kernel,
    pytest.mark.needs_gcc,
]
# A /dev with the devices that programs expect, and no kvm.
NO_KVM_BUT_THE_REST = """
mount -t tmpfs none /mnt
for name in null zero full random urandom tty; do
    touch /mnt/$name; mount --bind /dev/$name /mnt/$name
done
ln -s /proc/self/fd /mnt/fd; mkdir /mnt/shm /mnt/pts
mount --rbind /mnt /dev"""
SOLUTIONS = Path(__file__).parent / "solutions"


def test_verdicts_are_the_same_in_an_emulated_machine(tmp_path: Path) -> None:
    run("lab", "start", "3", cwd=tmp_path)
    shutil.copy(SOLUTIONS / "lab03_long_mode/reference/guest.S", tmp_path / "lab3")
    guest = tmp_path / "lab3/guest.S"
    text = guest.read_text()
    assert "        finish  0\n" in text
    guest.write_text(text.replace("        finish  0\n", "        finish  3\n"))
    done = run("lab", "check", "3", "--json", "--on", "nested", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    grades = json.loads(done.stdout)
    assert (grades["earned"], grades["points"]) == (95, 100)
    assert grades["where"] == "an emulated machine with a hardware KVM"
    assert grades["notes"] == []


def test_where_no_container_can_be_made_an_emulated_machine_checks(tmp_path: Path) -> None:
    run("lab", "start", "1", cwd=tmp_path)
    shutil.copy(SOLUTIONS / "lab01_first_vm/reference/vm.py", tmp_path / "lab1")
    before = with_mount("mount -t tmpfs none /sys/fs/cgroup")
    done = run("lab", "check", "1", cwd=tmp_path, before=before)
    assert done.returncode == 0, done.stderr
    assert "note: no container can be made here (" in done.stderr
    assert done.stdout.endswith("100 of 100 points, on an emulated machine with a hardware KVM\n")


def test_where_dev_kvm_is_missing_an_emulated_machine_checks(tmp_path: Path) -> None:
    run("lab", "start", "3", cwd=tmp_path)
    shutil.copy(SOLUTIONS / "lab03_long_mode/reference/guest.S", tmp_path / "lab3")
    before = with_mount(NO_KVM_BUT_THE_REST)
    done = run("lab", "check", "3", cwd=tmp_path, before=before)
    assert done.returncode == 0, done.stderr
    assert "note: you may not open /dev/kvm here; an emulated machine checks" in done.stderr
    assert done.stdout.endswith("100 of 100 points, on an emulated machine with a hardware KVM\n")


def test_the_grader_s_errors_come_back(tmp_path: Path) -> None:
    run("lab", "start", "1", cwd=tmp_path)
    path = {"PATH": str(tmp_path), "HOME": str(tmp_path)}
    done = run("lab", "check", "1", "--on", "nested", cwd=tmp_path, env=path)
    assert done.returncode == 125
    assert "the emulated machine gave no grades: " in done.stderr
