"""Paths of a configuration that become links to the host's while they are looked up or made.

Those of mounts are in test_attack_races.py. As there, a plain program beside each shows that the
link is met.
"""

import contextlib
import os
import shutil
import stat
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ringlet.container.launch.helper import LaunchError

from .box import Box
from .test_attack_races import exchanging, make_folder

pytestmark = [pytest.mark.needs_mount_namespace, pytest.mark.needs_busybox]

ROUNDS = 60


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """What is the host's."""
    return make_folder(tmp_path / "outside")


@pytest.fixture
def inside(box: Box, outside: Path) -> Path:
    """Where a link to what is the host's leads, as a path of the container's."""
    path = box.rootfs / str(outside)[1:]
    path.mkdir(parents=True)
    return path


@pytest.fixture
def data(box: Box, outside: Path) -> tuple[Path, Path]:
    """A folder, and a link to take its place."""
    (box.rootfs / "link").symlink_to(outside)
    return make_folder(box.rootfs / "data"), box.rootfs / "link"


def plainly(script: str) -> str:
    """What the host's shell prints."""
    loop = f"for i in $(seq {ROUNDS * 5}); do {script}; done; true"
    done = subprocess.run(
        ["sh", "-c", loop], check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    return done.stdout


@contextlib.contextmanager
def waiting(box: Box, **more: Any) -> Iterator[int]:
    """A new container's process, before its command."""
    made = box.create(**more)
    try:
        yield made.pid
    finally:
        os.kill(made.pid, 9)
        box.wait(made)
        box.forget()


# ---- The working directory ----


def test_a_working_directory_is_made_and_entered_inside(
    box: Box, outside: Path, inside: Path, data: tuple[Path, Path]
) -> None:
    box.process["cwd"] = "/data/a/b"
    entered: Counter[bool] = Counter()
    for _ in range(ROUNDS):
        cwd = None
        with exchanging(*data), contextlib.suppress(LaunchError), waiting(box) as pid:
            cwd = os.stat(f"/proc/{pid}/cwd").st_ino
        places = [one / "a/b" for one in (data[0], inside) if (one / "a/b").exists()]
        assert cwd is None or cwd in [one.stat().st_ino for one in places]
        assert list(outside.iterdir()) == []
        for folder in (data[0], inside):
            entered[folder == inside] += (folder / "a").exists()
            shutil.rmtree(folder / "a", ignore_errors=True)
    assert min(entered[False], entered[True]) > 0


def test_a_plain_one_is_made_and_entered_outside(outside: Path, data: tuple[Path, Path]) -> None:
    with exchanging(*data):
        entered = plainly(f"mkdir -p {data[0]}/$i && cd {data[0]}/$i && pwd -P")
    assert list(outside.iterdir())
    assert f"{outside}/" in entered


# ---- A tmpfs that begins with what it covers ----


@pytest.fixture
def copied(box: Box, outside: Path) -> tuple[Path, Path]:
    """A folder in the one that is copied, and a link to take its place."""
    (outside / "secret").write_text("the host's")
    folder = make_folder(box.rootfs / "data")
    (folder / "link").symlink_to(outside)
    (make_folder(folder / "sub") / "file").touch()
    return folder / "sub", folder / "link"


def test_what_is_copied_into_a_tmpfs_is_the_containers(box: Box, copied: tuple[Path, Path]) -> None:
    box.mount("/data", type="tmpfs", options=["tmpcopyup"])
    found: set[str] = set()
    made = 0
    with exchanging(*copied):
        for _ in range(ROUNDS):
            with contextlib.suppress(LaunchError), waiting(box) as pid:
                for _, _, files in os.walk(f"/proc/{pid}/root/data"):
                    found.update(files)
                made += 1
    assert found == {"file"}
    assert made > 0


def test_what_the_folder_itself_becomes_is_inside_too(
    box: Box, outside: Path, inside: Path, data: tuple[Path, Path]
) -> None:
    (outside / "secret").write_text("the host's")
    (inside / "file").touch()
    box.mount("/data", type="tmpfs", options=["tmpcopyup"])
    found: Counter[str] = Counter()
    with exchanging(*data):
        for _ in range(ROUNDS):
            with contextlib.suppress(LaunchError), waiting(box) as pid:
                for place in ("data", "link", str(outside)[1:]):
                    with contextlib.suppress(NotADirectoryError):  # of a link
                        path = f"/proc/{pid}/root/{place}"
                        fd = os.open(path, os.O_DIRECTORY | os.O_NOFOLLOW)
                        found.update(os.listdir(fd))
                        os.close(fd)
    assert "secret" not in found
    assert found["file"]


def test_a_plain_copy_has_what_is_the_hosts(
    tmp_path: Path, copied: tuple[Path, Path], outside: Path
) -> None:
    with exchanging(*copied):
        plainly(f"cp -r {copied[0]}/. {make_folder(tmp_path / 'copy')}")
    assert (tmp_path / "copy/secret").read_text() == "the host's"


# ---- What is made in /dev ----


def test_links_and_devices_of_dev_are_made_inside(
    box: Box, tmp_path: Path, outside: Path, inside: Path
) -> None:
    """The image's /dev, where none is mounted."""
    box.config["mounts"] = [one for one in box.config["mounts"] if one["destination"] == "/proc"]
    (box.rootfs / "link").symlink_to(outside)
    dev = box.rootfs / "dev"
    made: Counter[bool] = Counter()
    for _ in range(ROUNDS):
        with exchanging(dev, box.rootfs / "link"), contextlib.suppress(LaunchError), waiting(box):
            pass
        assert list(outside.iterdir()) == []
        for folder in (dev, inside):
            made[folder == inside] += (folder / "stdin").is_symlink()
            for path in folder.iterdir():
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    assert min(made[False], made[True]) > 0


@pytest.mark.needs_cgroups
@pytest.mark.parametrize("kind", ["p", "c"])
def test_a_device_is_made_inside_whatever_its_folder_becomes(
    box: Box, cgroup: Any, outside: Path, inside: Path, data: tuple[Path, Path], kind: str
) -> None:
    numbers = {"major": 1, "minor": 3} if kind == "c" else {}
    box.linux["devices"] = [{"path": "/data/a/node", "type": kind, "uid": 1000} | numbers]
    made: Counter[bool] = Counter()
    for _ in range(ROUNDS):
        with exchanging(*data), contextlib.suppress(LaunchError), waiting(box, cgroup=cgroup):
            pass
        assert list(outside.iterdir()) == []
        for folder in (data[0], inside):
            made[folder == inside] += (folder / "a/node").exists()
            shutil.rmtree(folder / "a", ignore_errors=True)
    assert min(made[False], made[True]) > 0


def test_plainly_they_are_made_outside(outside: Path, data: tuple[Path, Path]) -> None:
    with exchanging(*data):
        plainly(f"ln -s to {data[0]}/link$i; mknod {data[0]}/node$i p")
    modes = {stat.S_IFMT(path.lstat().st_mode) for path in outside.iterdir()}
    assert modes == {stat.S_IFLNK, stat.S_IFIFO}


# ---- Programs ----


@pytest.fixture
def programs(outside: Path, inside: Path, data: tuple[Path, Path]) -> None:
    """One of each place, which says where it was."""
    for folder, name in ((outside, "outside"), (data[0], "folder"), (inside, "link")):
        program = folder / "program"
        program.write_text(f"#!/bin/sh\necho {name} >> ${{SAID:-/tmp/said}}\n")
        program.chmod(0o755)


@pytest.mark.usefixtures("programs")
@pytest.mark.parametrize("what", ["command", "hook"])
def test_a_program_is_the_containers_whatever_its_folder_becomes(
    box: Box, data: tuple[Path, Path], what: str
) -> None:
    if what == "command":
        box.process["args"] = ["/data/program"]
    else:
        box.config["hooks"] = {"startContainer": [{"path": "/data/program"}]}
    with exchanging(*data):
        for _ in range(ROUNDS):
            with contextlib.suppress(LaunchError):
                box.create()
                box.start()
            for made in box.running.copy():
                box.wait(made)
            box.forget()
    said = Counter((box.rootfs / "tmp/said").read_text().split())
    assert said.keys() == {"folder", "link"}


@pytest.mark.usefixtures("programs")
def test_plainly_it_is_the_one_outside(tmp_path: Path, data: tuple[Path, Path]) -> None:
    with exchanging(*data):
        plainly(f"SAID={tmp_path}/said {data[0]}/program")
    assert "outside" in (tmp_path / "said").read_text()
