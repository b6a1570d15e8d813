"""A volume that is shared with the host, and an image whose links lead other mounts into it.

The host here is a mount namespace of the test's own, whose mounts are shared, as systemd has them.
"""

import ctypes
import os
import shutil
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ringlet.container.container import Container
from ringlet.container.launch.helper import LaunchError
from ringlet.container.launch.plan import Plan
from ringlet.host.workload import Workload

from .box import Box
from .rootfs import make_rootfs

pytestmark = [pytest.mark.needs_mount_namespace, pytest.mark.needs_busybox]

_PRIVATE, _SHARED, _RECURSIVE = 1 << 18, 1 << 20, 1 << 14
_CLONE_NEWNS = 0x20000
_libc = ctypes.CDLL(None, use_errno=True)


def mount(source: str, target: str | Path, kind: str, flags: int = 0) -> None:
    names = (source.encode(), os.fsencode(target), kind.encode())
    assert _libc.mount(*names, flags, None) == 0, os.strerror(ctypes.get_errno())


@pytest.fixture(autouse=True)
def host() -> Iterator[None]:
    """This process is on the test's own host until the test ends."""
    before = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    folder = os.getcwd()
    assert _libc.unshare(_CLONE_NEWNS) == 0
    for propagation in (_PRIVATE, _SHARED):  # with nobody, and then with who comes
        mount("none", "/", "none", propagation | _RECURSIVE)
    yield
    assert _libc.setns(before, _CLONE_NEWNS) == 0
    os.close(before)
    os.chdir(folder)


@pytest.fixture
def undefended(monkeypatch: pytest.MonkeyPatch) -> None:
    """The helper isn't told which volumes are shared."""
    add = Plan.add

    def without(self: Plan, step: str, *words: object) -> None:
        if step != "peer":
            add(self, step, *words)

    monkeypatch.setattr(Plan, "add", without)


def mounted() -> list[str]:
    return [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """A folder of the host's that the container gets."""
    volume = tmp_path / "volume"
    (volume / "etc").mkdir(parents=True)
    (volume / "etc/resolv.conf").write_text("the host's\n")
    return volume


def share(box: Box, source: Path, destination: str, option: str = "rshared") -> None:
    """As podman writes it for `-v SOURCE:DESTINATION:rshared`."""
    box.mount(destination, type="bind", source=str(source), options=["rbind", option])
    box.linux["rootfsPropagation"] = "shared"


def give_a_file(box: Box, tmp_path: Path, destination: str) -> None:
    """As engines do with resolv.conf."""
    (tmp_path / "resolv.conf").write_text("the engine's\n")
    options = ["bind", "rprivate"]
    source = str(tmp_path / "resolv.conf")
    box.mount(destination, type="bind", source=source, options=options)


def hostile_etc(box: Box, volume: Path, tmp_path: Path) -> None:
    share(box, volume, "/data")
    shutil.rmtree(box.rootfs / "etc")
    (box.rootfs / "etc").symlink_to("data/etc")
    give_a_file(box, tmp_path, "/etc/resolv.conf")


def hostile_volume(box: Box, volume: Path, tmp_path: Path) -> None:
    """An earlier container has made a link in the volume."""
    share(box, volume, "/data")
    (volume / "sub").symlink_to("etc")
    give_a_file(box, tmp_path, "/data/sub/resolv.conf")


def hostile_place(box: Box, volume: Path, tmp_path: Path) -> None:
    """The shared volume itself is led to /etc."""
    (box.rootfs / "zz").symlink_to("/")
    share(box, volume / "etc", "/zz/etc")
    give_a_file(box, tmp_path, "/etc/resolv.conf")


def masked(box: Box, volume: Path, tmp_path: Path) -> None:
    share(box, volume, "/data")
    (box.rootfs / "zz").symlink_to("/data/etc")
    box.linux["maskedPaths"] = ["/zz/resolv.conf"]


def masked_by_name(box: Box, volume: Path, tmp_path: Path) -> None:
    share(box, volume, "/data")
    box.linux["maskedPaths"] = ["/data/etc"]


def over_it(box: Box, volume: Path, tmp_path: Path) -> None:
    share(box, volume, "/data")
    box.mount("/data", type="tmpfs")


def a_file_system(box: Box, volume: Path, tmp_path: Path) -> None:
    share(box, volume, "/data")
    (box.rootfs / "zz").symlink_to("/data")
    box.mount("/zz/etc", type="tmpfs", source="tmpfs")


ATTACKS = [
    hostile_etc, hostile_volume, hostile_place, masked, masked_by_name, over_it, a_file_system,
]  # fmt: skip


def shows(volume: Path) -> bool:
    """Whether something covers a part of the volume."""
    return any(path.startswith(str(volume)) for path in mounted())


@pytest.mark.parametrize("attack", ATTACKS)
def test_no_link_leads_a_mount_into_a_volume_that_the_host_shares(
    box: Box, volume: Path, tmp_path: Path, attack: Callable[..., None]
) -> None:
    attack(box, volume, tmp_path)
    with pytest.raises(LaunchError, match="volume that is shared"):
        box.create("true")
    assert not shows(volume)
    assert (volume / "etc/resolv.conf").read_text() == "the host's\n"
    box.left_nothing()


@pytest.mark.parametrize("attack", ATTACKS)
def test_such_a_mount_would_stay_on_the_host(
    box: Box, volume: Path, tmp_path: Path, undefended: None, attack: Callable[..., None]
) -> None:
    attack(box, volume, tmp_path)
    box.run("true")
    assert shows(volume)


@pytest.mark.parametrize("attack", ATTACKS)
def test_without_a_root_that_is_shared_a_volume_gets_only_what_the_host_mounts(
    box: Box, volume: Path, tmp_path: Path, attack: Callable[..., None]
) -> None:
    attack(box, volume, tmp_path)
    del box.linux["rootfsPropagation"]
    box.run("true")
    assert not shows(volume)


def protected_proc(box: Box) -> None:
    for one in box.config["mounts"]:
        if one["destination"] == "/proc":
            one.update(type="bind", source="/proc", options=["rbind", "rshared"])
    box.linux["readonlyPaths"] = ["/proc/sys"]


def test_no_path_of_the_hosts_proc_becomes_read_only(box: Box) -> None:
    protected_proc(box)
    box.run("grep ' /proc/sys ' /proc/self/mountinfo")
    assert "/proc/sys" not in mounted()
    box.linux["rootfsPropagation"] = "rshared"
    box.forget()
    assert "shared" in box.fails("readonly").message
    assert "/proc/sys" not in mounted()


def test_one_would_become_read_only(box: Box, undefended: None) -> None:
    protected_proc(box)
    box.linux["rootfsPropagation"] = "rshared"
    box.run("true")
    assert "/proc/sys" in mounted()


@pytest.fixture
def dev(tmp_path: Path) -> Path:
    """In place of the host's /dev, a file system of its own."""
    dev = tmp_path / "dev"
    dev.mkdir()
    mount("tmpfs", dev, "tmpfs")
    os.mknod(dev / "console", stat.S_IFCHR | 0o600, os.makedev(5, 1))
    os.mknod(dev / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    (dev / "pts").mkdir()
    mount("devpts", dev / "pts", "devpts")
    return dev


@pytest.fixture
def console(box: Box, dev: Path, tmp_path: Path) -> Iterator[str]:
    """A container with a terminal, and /dev of the host's, which is shared. Its console socket."""
    box.config["mounts"] = [one for one in box.config["mounts"] if one["destination"] == "/proc"]
    share(box, dev, "/dev")
    box.process["terminal"] = True
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "console"))
        listener.listen()
        yield str(tmp_path / "console")


def test_the_hosts_console_stays_the_hosts(box: Box, dev: Path, console: str) -> None:
    assert "shared" in box.fails("console", console_socket=console).message
    del box.linux["rootfsPropagation"]
    box.run("tty", console_socket=console)
    assert os.stat(dev / "console").st_rdev == os.makedev(5, 1)


def test_it_would_become_the_containers(
    box: Box, dev: Path, console: str, undefended: None
) -> None:
    box.run("tty", console_socket=console)
    assert os.stat(dev / "console").st_rdev != os.makedev(5, 1)


def test_a_volume_that_is_shared_shows_the_mounts_of_both_sides(
    box: Box, volume: Path, tmp_path: Path
) -> None:
    share(box, volume, "/data")
    give_a_file(box, tmp_path, "/data/etc/resolv.conf")  # the configuration says so itself
    (volume / "outside").mkdir()
    (volume / "inside").mkdir()
    box.process["capabilities"] = {
        name: ["CAP_SYS_ADMIN"] for name in ("bounding", "effective", "permitted")
    }
    made = box.create(
        "mount -t tmpfs none /data/inside && touch /data/inside/file || exit 1;"
        "until [ -e /data/outside/file ]; do sleep 0.01; done; cat /data/etc/resolv.conf"
    )
    mount("tmpfs", volume / "outside", "tmpfs")
    (volume / "outside/file").touch()
    box.start()
    assert box.wait(made) == 0
    assert box.printed() == "the engine's\n"
    assert (volume / "inside/file").exists()


# ---- What the host mounts below a volume later ----

WRITES = "echo up; read go; echo written > /data/usb/file"


def mount_later(volume: Path, wait: Callable[[], object], go: Callable[[], object]) -> bool:
    """Whether the container wrote to a mount that came once the container ran."""
    mount("tmpfs", volume, "tmpfs")
    (volume / "usb").mkdir()
    wait()
    mount("tmpfs", volume / "usb", "tmpfs")
    (volume / "usb").chmod(0o777)
    go()
    return (volume / "usb/file").exists()


@pytest.mark.needs_root
@pytest.mark.needs_cgroups
@pytest.mark.parametrize("option", ["ro", "rw"])
def test_what_the_host_mounts_later_below_a_volume_is_not_the_containers(
    volume: Path, tmp_path: Path, option: str
) -> None:
    config = Workload(
        rootfs=make_rootfs(tmp_path / "rootfs"),
        command=["sh", "-c", WRITES],
        volumes=[f"{volume}:/data:{option}"],
    )
    (reads, ours), (output, writes) = os.pipe(), os.pipe()
    container: list[Container] = []

    def start() -> None:
        container.append(Container(config, stdio=(reads, writes, writes)))
        container[0].start()
        assert os.read(output, 100) == b"up\n"

    def go() -> None:
        os.write(ours, b"go\n")
        container[0].wait()
        container[0].close()

    assert not mount_later(volume, start, go)
    for fd in (reads, ours, output, writes):
        os.close(fd)


@pytest.mark.needs_root
@pytest.mark.needs_cgroups
def test_nor_is_what_the_host_mounts_later_below_sys(tmp_path: Path) -> None:
    """With the host's network, a container sees the host's /sys."""
    config = Workload(
        rootfs=make_rootfs(tmp_path / "rootfs"),
        command=["sh", "-c", "echo up; read go; echo written > /sys/kernel/file"],
        network="host",
    )
    (reads, ours), (output, writes) = os.pipe(), os.pipe()
    with Container(config, stdio=(reads, writes, writes)) as container:
        container.start()
        assert os.read(output, 100) == b"up\n"
        mount("tmpfs", "/sys/kernel", "tmpfs")
        os.chmod("/sys/kernel", 0o777)
        os.write(ours, b"go\n")
        container.wait()
    assert os.listdir("/sys/kernel") == []
    for fd in (reads, ours, output, writes):
        os.close(fd)


def test_below_a_slave_it_would_be(box: Box, volume: Path) -> None:
    """A configuration may want it: this is the default of its volumes."""
    box.mount("/data", type="bind", source=str(volume), options=["rbind", "ro"])
    made = []

    def start() -> None:
        made.append(box.create("while ! test -e /data/usb/go; do sleep 0.01; done; " + WRITES))
        box.start()

    def go() -> None:
        (volume / "usb/go").touch()
        box.wait(made[0])

    assert mount_later(volume, start, go)
