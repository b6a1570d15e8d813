"""Paths of a container that become links to the host's while it is made.

Beside each, mount(8) shows that the link is met, and where it leads who doesn't look.
"""

import contextlib
import ctypes
import os
import shutil
import signal
import socket
import stat
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from ringlet.container.launch.helper import LaunchError

from .box import Box

pytestmark = [pytest.mark.needs_mount_namespace, pytest.mark.needs_busybox]

ROUNDS = 100
AT_FDCWD = -100
RENAME_EXCHANGE = 2  # <linux/fs.h>
LIBC = ctypes.CDLL(None, use_errno=True)


def exchange(one: Path, other: Path) -> None:
    names = os.fsencode(one), os.fsencode(other)
    assert LIBC.renameat2(AT_FDCWD, names[0], AT_FDCWD, names[1], RENAME_EXCHANGE) == 0


@contextlib.contextmanager
def exchanging(one: Path, other: Path) -> Iterator[None]:
    """Meanwhile a thread exchanges the two all the time; afterwards they are as before."""
    end = threading.Event()

    def run() -> None:
        while not end.is_set():
            exchange(one, other)
            exchange(one, other)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()


def mounts_of(box: Box, **more: str) -> str:
    """The mounts of a new container, as it sees them; it never runs."""
    made = box.create(**more)
    mounts = Path(f"/proc/{made.pid}/mountinfo").read_text()
    os.kill(made.pid, signal.SIGKILL)
    box.wait(made)
    box.forget()
    return mounts


def mounted_plainly(source: Path, target: Path) -> str:
    """The mounts where mount(8) has mounted it, so often, in a mount namespace of its own."""
    script = f"for i in $(seq {ROUNDS}); do mount --bind {source} {target}; done"
    words = ["unshare", "--mount", "sh", "-ec", f"{script}; cat /proc/self/mountinfo"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def places(mounts: str, source: Path) -> Counter[str]:
    """Where `source` is mounted."""
    lines = [line.split() for line in mounts.splitlines()]
    return Counter(fields[4] for fields in lines if str(source).endswith(fields[3]))


def make_folder(path: Path) -> Path:
    path.mkdir()
    return path


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """What is the host's."""
    return make_folder(tmp_path / "outside")


# ---- The target of a mount ----


@pytest.fixture
def volume(box: Box, tmp_path: Path) -> Path:
    box.mount("/data", type="bind", source=str(tmp_path / "volume"), options=["rbind"])
    return make_folder(tmp_path / "volume")


@pytest.fixture
def data(box: Box, outside: Path) -> tuple[Path, Path]:
    """The target, and a link to take its place."""
    (box.rootfs / "link").symlink_to(outside)
    return make_folder(box.rootfs / "data"), box.rootfs / "link"


def test_a_mount_stays_inside_whatever_its_target_becomes(
    box: Box, volume: Path, outside: Path, data: tuple[Path, Path]
) -> None:
    """CVE-2021-30465."""
    seen: Counter[str] = Counter()
    with exchanging(*data):
        for _ in range(ROUNDS):
            with contextlib.suppress(LaunchError):
                found = places(mounts_of(box), volume)
                assert found.total() == 1  # a container doesn't see what is outside of its root
                seen += found
    inside = str(outside)  # where the link points to, as a path of the container's
    assert seen.keys() <= {"/data", "/link", inside}
    assert seen[inside]
    assert seen["/data"] + seen["/link"]


def test_a_plain_mount_goes_to_what_its_target_points_to(
    volume: Path, outside: Path, data: tuple[Path, Path]
) -> None:
    with exchanging(*data):
        found = places(mounted_plainly(volume, data[0]), volume)
    assert found[str(outside)]


def test_what_a_target_lacks_is_made_inside_whatever_its_folder_becomes(
    box: Box, tmp_path: Path, outside: Path, data: tuple[Path, Path]
) -> None:
    """CVE-2024-45310 (runc): folders and files for mounts were made on the host."""
    for kind, name in (("folder", "a/b"), ("file", "c/d")):
        source = tmp_path / kind
        source.mkdir() if kind == "folder" else source.touch()
        box.mount(f"/data/{name}", type="bind", source=str(source), options=["rbind"])
    inside = box.rootfs / str(outside)[1:]  # where the link leads to, as a path of the container's
    made = Counter[bool]()
    for _ in range(ROUNDS):
        with exchanging(*data), contextlib.suppress(LaunchError):
            mounts_of(box)
        assert list(outside.iterdir()) == []
        made[(inside / "a").exists()] += 1
        for folder in (*data[0].iterdir(), *(inside.iterdir() if inside.exists() else ())):
            shutil.rmtree(folder)
    assert made.keys() == {True, False}


def test_what_a_target_lacks_is_plainly_made_where_its_folder_points_to(
    outside: Path, data: tuple[Path, Path]
) -> None:
    with exchanging(*data):
        script = f"for i in $(seq {ROUNDS}); do mkdir -p {data[0]}/$i/b; done"
        subprocess.run(["sh", "-c", script], check=True, stderr=subprocess.DEVNULL)
    assert list(outside.iterdir())


# ---- /proc ----


def test_what_is_protected_stays_so_whatever_proc_is_meanwhile(box: Box) -> None:
    """CVE-2025-31133 and CVE-2025-52881: what is masked, or written, is not the real /proc."""
    box.linux["maskedPaths"] = ["/proc/keys"]
    box.linux["readonlyPaths"] = ["/proc/sys"]
    box.linux["sysctl"] = {"net.ipv4.ip_forward": "1"}
    (box.rootfs / "link").symlink_to("/tmp")
    forward = "/proc/sys/net/ipv4/ip_forward"
    made = []
    for _ in range(ROUNDS):
        with exchanging(box.rootfs / "proc", box.rootfs / "link"), contextlib.suppress(LaunchError):
            made.append(box.create(f"cat /proc/keys {forward}; ! echo 0 > {forward}"))
        if box.running:
            box.start()
            assert box.wait(made[-1]) == 0
            assert box.printed() == f"1\n/bin/sh: can't create {forward}: Read-only file system\n"
    assert 0 < len(made) < ROUNDS


def test_a_plain_mount_of_procfs_is_where_a_link_points_to(box: Box) -> None:
    link = box.rootfs / "link"
    link.symlink_to("tmp")
    with exchanging(box.rootfs / "proc", link):
        found = places(mounted_plainly(Path("/proc"), box.rootfs / "proc"), Path("/"))
    assert found[str(box.rootfs / "tmp")]


# ---- /dev, where it is a folder that others can write ----


@pytest.fixture
def dev(box: Box, tmp_path: Path) -> Path:
    dev = make_folder(tmp_path / "dev")
    make_folder(dev / "pts")
    shown = {"destination": "/dev", "type": "bind", "source": str(dev), "options": ["rbind"]}
    box.config["mounts"][1] = shown
    return dev


@pytest.fixture
def null(dev: Path, outside: Path) -> tuple[Path, Path]:
    """The device, and a link to take its place."""
    os.mknod(dev / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    (outside / "file").touch()
    (dev / "link").symlink_to(outside / "file")
    return dev / "null", dev / "link"


def test_what_is_masked_is_covered_by_the_null_device(
    box: Box, outside: Path, null: tuple[Path, Path]
) -> None:
    """CVE-2025-31133: the container's /dev/null is a link to what is then shown instead."""
    box.linux["maskedPaths"] = ["/proc/keys"]
    with exchanging(*null):
        for _ in range(ROUNDS):
            assert places(mounts_of(box), Path("/dev/null"))["/proc/keys"] == 1


def test_a_plain_mount_of_the_containers_null_device_shows_another_file(
    tmp_path: Path, outside: Path, null: tuple[Path, Path]
) -> None:
    masked = tmp_path / "masked"
    masked.touch()
    with exchanging(*null):
        found = places(mounted_plainly(null[0], masked), outside / "file")
    assert found[str(masked)]


@pytest.fixture
def console(dev: Path, outside: Path) -> tuple[Path, Path]:
    """The terminal's other name, and a link to take its place."""
    (dev / "console").touch()
    (outside / "file").touch()
    (dev / "link").symlink_to(outside / "file")
    return dev / "console", dev / "link"


def test_a_terminal_covers_nothing_but_dev_console(
    box: Box, tmp_path: Path, console: tuple[Path, Path]
) -> None:
    """CVE-2025-52565."""
    box.process["terminal"] = True
    seen: Counter[str] = Counter()
    with socket.socket(socket.AF_UNIX) as listener, exchanging(*console):
        listener.bind(str(tmp_path / "socket"))
        listener.listen(ROUNDS)
        for _ in range(ROUNDS):
            with contextlib.suppress(LaunchError):
                seen += places(mounts_of(box, console_socket=str(tmp_path / "socket")), Path("/0"))
    assert seen.keys() <= {"/dev/console", "/dev/link"}
    assert 0 < seen.total() < ROUNDS  # where it is a link, there is no container


def test_a_plain_mount_of_a_terminal_covers_what_console_points_to(
    tmp_path: Path, outside: Path, console: tuple[Path, Path]
) -> None:
    terminal = tmp_path / "terminal"
    terminal.touch()
    with exchanging(*console):
        found = places(mounted_plainly(terminal, console[0]), terminal)
    assert found[str(outside / "file")]
