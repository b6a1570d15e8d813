"""Who gets to a folder: asked of the kernel's rules, and of another user."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import ringlet
from ringlet.container.reach import is_reached_by_others

pytestmark = pytest.mark.needs_root

NOBODY = 65534
SOURCE = str(Path(ringlet.__file__).parent.parent)


@pytest.fixture
def folders(tmp_path: Path) -> Iterator[list[Path]]:
    """Three, one in the other, and all open, as are those that they are in."""
    before = {folder: folder.stat().st_mode & 0o7777 for folder in (tmp_path, *tmp_path.parents)}
    for folder, mode in before.items():
        folder.chmod(mode | 0o055)
    made = [tmp_path / "a", tmp_path / "a/b", tmp_path / "a/b/c"]
    for folder in made:
        folder.mkdir()
        folder.chmod(0o755)
    yield made
    for folder, mode in before.items():
        folder.chmod(mode)


def judged(folder: Path) -> bool:
    fd = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        return is_reached_by_others(fd)
    finally:
        os.close(fd)


def entered(folder: Path, groups: str = "65534") -> bool:
    """Whether nobody gets into it."""
    user = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", f"--groups={groups}"]
    test = [*user, "test", "-e", f"{folder}/."]
    return subprocess.run(test, check=False).returncode == 0


def test_open_folders_lead_to_it(folders: list[Path]) -> None:
    assert judged(folders[-1])
    assert entered(folders[-1])


@pytest.mark.parametrize("number", [0, 1])
def test_one_closed_folder_on_the_way_is_enough(folders: list[Path], number: int) -> None:
    folders[number].chmod(0o700)
    assert not judged(folders[-1])
    assert not entered(folders[-1])


def test_its_own_mode_closes_nothing_since_the_containers_root_can_change_it(
    folders: list[Path],
) -> None:
    folders[-1].chmod(0o700)
    assert not entered(folders[-1])
    assert judged(folders[-1])


def test_a_folder_of_somebody_elses_closes_nothing(folders: list[Path]) -> None:
    folders[1].chmod(0o700)
    os.chown(folders[1], NOBODY, 0)
    assert judged(folders[-1])
    assert entered(folders[-1])


def test_a_groups_members_are_others(folders: list[Path]) -> None:
    folders[1].chmod(0o710)
    os.chown(folders[1], 0, 8)
    assert judged(folders[-1])
    assert entered(folders[-1], groups="8")


def test_whom_an_access_control_list_names_gets_there(folders: list[Path]) -> None:
    """acl(5): its mask is the group's bits of the mode."""
    folders[1].chmod(0o700)
    entries = [(0x01, 7, -1), (0x02, 5, NOBODY), (0x04, 0, -1), (0x10, 5, -1), (0x20, 0, -1)]
    data = (2).to_bytes(4, "little")
    for tag, rights, who in entries:
        data += tag.to_bytes(2, "little") + rights.to_bytes(2, "little")
        data += (who & 0xFFFF_FFFF).to_bytes(4, "little")
    os.setxattr(folders[1], "system.posix_acl_access", data)
    assert entered(folders[-1])
    assert judged(folders[-1])


IN_A_MOUNT = """
import os, subprocess, sys
from ringlet.container.reach import is_reached_by_others
folder = sys.argv[1]
subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "none", folder], check=True)
os.mkdir(f"{folder}/c")
print(is_reached_by_others(os.open(f"{folder}/c", os.O_PATH)))
"""


@pytest.mark.needs_mount_namespace
@pytest.mark.parametrize(("mode", "reached"), [(0o755, True), (0o700, False)])
def test_the_way_goes_on_below_a_mount(folders: list[Path], mode: int, reached: bool) -> None:
    folders[0].chmod(mode)
    words = ["unshare", "--mount", sys.executable, "-c", IN_A_MOUNT, str(folders[1])]
    done = subprocess.run(
        words, env=os.environ | {"PYTHONPATH": SOURCE}, capture_output=True, text=True, check=False
    )
    assert done.stdout == f"{reached}\n", done.stderr
