"""A command in a guest: its serial lines, its initramfs, how its end is judged.

None of these kernels runs the command: they are NOPs and a halt. tests/nested/test_exec.py does.
"""

import os
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringlet import boot
from ringlet.errors import ConfigError, RingletError
from ringlet.host.network_port import NetworkPort
from ringlet.linux.command import LinuxCommand, run, stuff
from ringlet.linux.guest import LinuxGuest
from ringlet.machine.config import MachineConfig, SerialEnd
from ringlet.machine.network import Network
from ringlet.virtio.device import VirtioDevice

from ..boot.bzimage_builder import OFFSET, VMLINUX, bzimage
from .cpio_reader import read
from .module_builder import RELEASE, module, modules_folder

DLE, EOT = 0x10, 0x04
ENTRY_64 = OFFSET + 0x200  # of the bzImage's own code
PVPANIC = {
    "kernel/drivers/misc/pvpanic/pvpanic.ko": module(),
    "kernel/drivers/misc/pvpanic/pvpanic-mmio.ko": module("pvpanic"),
}
FOR_DISKS = PVPANIC | {
    "kernel/drivers/block/virtio_blk.ko": module("virtio"),
    "kernel/drivers/virtio/virtio.ko": module(),
    "kernel/fs/ext4/ext4.ko": module(aliases=["fs-ext4"]),
}

needs_busybox = pytest.mark.needs_busybox
needs_kvm = pytest.mark.needs_kvm


# The line.


def unstuffed(line: bytes) -> tuple[bytes, bool]:
    """What init makes of it (csrc/init/relay.c), and whether it saw the end."""
    data = bytearray()
    escaped = False
    for byte in line:
        if not escaped and byte == DLE:
            escaped = True
            continue
        if escaped and byte == EOT:
            return bytes(data), True
        if not escaped or byte == DLE:
            data.append(byte)
        escaped = False
    return bytes(data), False


chunks = st.lists(
    st.one_of(st.binary(min_size=1), st.text("\x10\x04a", min_size=1).map(str.encode))
)


@given(chunks)
def test_any_bytes_arrive_in_whatever_parts_they_are_sent(parts: list[bytes]) -> None:
    line = b"".join(map(stuff, parts))
    assert unstuffed(line) == (b"".join(parts), False)
    assert unstuffed(line + stuff(b"") + b"noise") == (b"".join(parts), True)


# The machine.


@pytest.fixture
def system(tmp_path: Path) -> Path:
    """A system's /, with a kernel and its modules."""
    (tmp_path / "boot").mkdir()
    (tmp_path / "boot" / f"vmlinuz-{RELEASE}").write_bytes(bzimage())
    modules_folder(tmp_path / "lib" / "modules" / RELEASE, PVPANIC)
    return tmp_path


@pytest.fixture
def disks(tmp_path: Path) -> list[str]:
    """Two disks, the second for reading alone."""
    for name in ("a.raw", "b.raw"):
        (tmp_path / name).write_bytes(bytes(512))
    return [f"{tmp_path}/a.raw", f"{tmp_path}/b.raw,readonly"]


def made(kernel: Path, command: str = "true", **options: Any) -> MachineConfig:
    """The configuration of a command that could be made."""
    guest = {key: options.pop(key) for key in set(LinuxGuest._fields) & set(options)}
    with LinuxCommand(LinuxGuest(kernel, **guest), command, force=True, **options) as it:
        return it.config


def configured(
    kernel: Path, command: str = "true", **options: Any
) -> tuple[MachineConfig, list[bytes]]:
    """The configuration, and the plan in its initrd."""
    config = made(kernel, command, **options)
    assert isinstance(config.initrd, bytes)
    files = read(config.initrd)
    assert {"init", "bin/busybox", "bin/sh"} <= set(files)
    plan = files["plan"].content.splitlines()
    modules = [line.split()[1].decode() for line in plan if line.startswith(b"module")]
    assert all(path.removeprefix("/") in files for path in modules)
    return config, plan


@needs_kvm
@needs_busybox
def test_the_plan_says_what_init_is_to_do(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "vt100")
    command = "echo '100% of\nit'"
    _, plan = configured(system / "boot" / f"vmlinuz-{RELEASE}", command)
    assert [unquote_to_bytes(line) for line in plan] == [
        b"module /modules/pvpanic.ko",
        b"module /modules/pvpanic_mmio.ko",
        b"stdio uart",
        b"status port",
        b"env HOME=/root",
        b"env TERM=vt100",
        *(b"arg sh", b"arg -c", b"arg " + command.encode()),
    ]


@needs_kvm
@needs_busybox
def test_the_serial_lines_are_the_commands_and_the_console_is_quiet(system: Path) -> None:
    kernel = system / "boot" / f"vmlinuz-{RELEASE}"
    config, plan = configured(kernel, cmdline="nosmp")
    assert config.cmdline.split() == ["quiet", "nosmp"]
    assert isinstance(config.com2, SerialEnd)
    assert (config.serial, config.com2.target, config.com3) == ("none", (0, 1), (None, 2))
    assert not any(line.startswith(b"tty") for line in plan)


@needs_kvm
@needs_busybox
def test_verbose_the_console_goes_to_standard_error(system: Path) -> None:
    config, _ = configured(system / "boot" / f"vmlinuz-{RELEASE}", verbose=True)
    assert "quiet" not in config.cmdline
    assert config.serial == (None, 2)


@needs_kvm
@needs_busybox
def test_with_a_window_the_command_has_a_terminal(system: Path) -> None:
    window = os.terminal_size((132, 43))  # columns first
    config, plan = configured(system / "boot" / f"vmlinuz-{RELEASE}", window=window)
    assert b"tty 43 132" in plan
    assert isinstance(config.com2, SerialEnd)
    assert (config.com2.target, config.com2.raw_output) == ("stdio", True)


@needs_kvm
@needs_busybox
def test_modules_are_found_beside_the_kernel_that_a_link_leads_to(system: Path) -> None:
    (system / "vmlinuz").symlink_to(f"boot/vmlinuz-{RELEASE}")
    _, plan = configured(system / "vmlinuz")
    assert b"module /modules/pvpanic_mmio.ko" in plan


@needs_kvm
@needs_busybox
@pytest.mark.parametrize("order", [None, "", "kernel/fs/ext4/ext4.ko\n"])
def test_a_kernel_without_them_does_without(system: Path, order: str | None) -> None:
    listed = system / "lib" / "modules" / RELEASE / "modules.order"
    listed.unlink()
    if order is not None:
        listed.write_text(order)
    _, plan = configured(system / "boot" / f"vmlinuz-{RELEASE}")
    assert not any(line.startswith(b"module") for line in plan)


@needs_kvm
@needs_busybox
def test_modules_may_be_elsewhere(system: Path, tmp_path: Path) -> None:
    kernel = tmp_path / "kernel"
    kernel.write_bytes(bzimage())
    folder = system / "lib" / "modules" / RELEASE
    assert configured(kernel, modules=folder)[1][0] == b"module /modules/pvpanic.ko"
    assert configured(kernel)[1][0] == b"stdio uart"


@needs_kvm
@needs_busybox
def test_what_is_asked_for_has_to_be_there(system: Path, tmp_path: Path) -> None:
    folder = modules_folder(tmp_path / "none", {"kernel/other.ko": module()})
    with pytest.raises(RingletError, match="no module pvpanic_mmio"):
        made(system / "boot" / f"vmlinuz-{RELEASE}", modules=folder)


@needs_kvm
@needs_busybox
def test_with_disks_there_are_drivers_for_them(system: Path, disks: list[str]) -> None:
    kernel = system / "boot" / f"vmlinuz-{RELEASE}"
    folder = system / "lib" / "modules" / RELEASE
    modules_folder(folder, FOR_DISKS, builtin=["virtio_mmio"])
    assert not any(b"virtio" in line for line in configured(kernel)[1])
    config, plan = configured(kernel, disks=disks)
    assert [line.rpartition(b"/")[2] for line in plan if line.startswith(b"module ")] == [
        *(b"pvpanic.ko", b"pvpanic_mmio.ko", b"virtio.ko", b"virtio_blk.ko")
    ]
    assert [disk.readonly for disk in config.disks] == [False, True]
    assert isinstance(config.initrd, bytes)
    assert f"lib/modules/{RELEASE}/ext4.ko" in read(config.initrd)
    (folder / "modules.builtin").write_text("")
    with pytest.raises(RingletError, match="no module virtio_mmio"):
        made(kernel, disks=disks)


class Device(VirtioDevice):
    """A device that nobody drives here."""

    def __init__(self, device_id: int) -> None:
        self.device_id = device_id


@needs_kvm
@needs_busybox
def test_with_devices_of_a_program_there_are_drivers_for_them(system: Path) -> None:
    kernel = system / "boot" / f"vmlinuz-{RELEASE}"
    drivers = {
        "kernel/drivers/char/hw_random/virtio-rng.ko": module(
            "rng_core", aliases=["virtio:d00000004v*"]
        ),
        "kernel/drivers/char/hw_random/rng-core.ko": module(),
        "kernel/drivers/virtio/virtio_balloon.ko": module(aliases=["virtio:d00000005v*"]),
    }
    folder = system / "lib" / "modules" / RELEASE
    modules_folder(folder, PVPANIC | drivers, builtin=["virtio_mmio"])

    def modules(*devices: int) -> list[bytes]:
        _, plan = configured(kernel, virtio=[Device(number) for number in devices])
        loaded = [line.rpartition(b"/")[2] for line in plan if line.startswith(b"module ")]
        assert loaded[:2] == [b"pvpanic.ko", b"pvpanic_mmio.ko"]
        return loaded[2:]

    assert modules(4) == [b"rng_core.ko", b"virtio_rng.ko"]
    assert modules(63, 5, 5) == [b"virtio_balloon.ko"]
    assert modules() == []
    (folder / "kernel/drivers/virtio/virtio_balloon.ko").unlink()  # of a kernel that was fetched
    assert modules(4) == [b"rng_core.ko", b"virtio_rng.ko"]
    assert modules(5) == []


@needs_kvm
@needs_busybox
def test_a_network_has_its_driver_and_its_address(system: Path) -> None:
    kernel = system / "boot" / f"vmlinuz-{RELEASE}"
    net = {"kernel/drivers/net/virtio_net.ko": module(aliases=["virtio:d00000001v*"])}
    modules_folder(system / "lib" / "modules" / RELEASE, PVPANIC | net, builtin=["virtio_mmio"])

    def lines(network: object) -> list[bytes]:
        archive = LinuxGuest(kernel, network=network).initramfs([b"arg true"])  # type: ignore[arg-type]
        plan = read(archive)["plan"].content.splitlines()
        assert (b"module /modules/virtio_net.ko" in plan) == (network != "none")
        return [line for line in plan if line.startswith(b"network ")]

    assert lines("none") == lines(NetworkPort()) == lines("tap") == []
    assert lines("tap,address=10.0.0.1/8") == [b"network eth0 10.0.0.2 8 10.0.0.1"]
    assert lines("user") == [b"network eth0 10.0.2.15 24 10.0.2.2 10.0.2.3"]
    assert lines(Network("user")) == lines("user")


@needs_kvm
@needs_busybox
def test_a_disk_may_be_the_root(system: Path, disks: list[str]) -> None:
    kernel = system / "boot" / f"vmlinuz-{RELEASE}"
    modules_folder(kernel.parents[1] / "lib/modules" / RELEASE, FOR_DISKS, builtin=["virtio_mmio"])
    _, plan = configured(kernel, disks=disks, root="/dev/vda")
    assert b"rootdisk /dev/vda" in plan
    assert plan[-1] == b"arg true"
    archive = LinuxGuest(kernel, root="/dev/vda", disks=disks).initramfs()
    plan = read(archive)["plan"].content.splitlines()
    assert [line for line in plan if not line.startswith(b"module")] == [b"rootdisk /dev/vda"]
    with pytest.raises(ConfigError, match="there is no disk for the root /dev/vda"):
        made(kernel, root="/dev/vda")


@needs_kvm
@needs_busybox
def test_files_are_where_they_are_wanted(system: Path, tmp_path: Path) -> None:
    kernel = system / "boot" / f"vmlinuz-{RELEASE}"
    (tmp_path / "script").write_text("echo it")
    config, _ = configured(kernel, files=[(str(tmp_path / "script"), "/opt/it")])
    assert isinstance(config.initrd, bytes)
    assert read(config.initrd)["opt/it"].content == b"echo it"
    with pytest.raises(ConfigError, match=r"can't copy .*absent"):
        made(kernel, files=[(str(tmp_path / "absent"), "/it")])
    with pytest.raises(ConfigError, match="a command on a disk or in a folder doesn't see"):
        made(kernel, files=[("x", "/x")], root="/dev/vda", disks=["a.raw"])


@needs_kvm
@needs_busybox
def test_a_command_with_a_zero_byte_is_none(system: Path) -> None:
    with pytest.raises(ConfigError, match="zero byte"):
        made(system / "boot" / f"vmlinuz-{RELEASE}", "a\0b")


@needs_kvm
@needs_busybox
def test_a_vmlinux_is_a_kernel_too(tmp_path: Path) -> None:
    (tmp_path / "vmlinux").write_bytes(VMLINUX)
    assert configured(tmp_path / "vmlinux")[0].image == str(tmp_path / "vmlinux")


@needs_kvm
@needs_busybox
def test_the_kernel_is_opened_and_parsed_once(
    system: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []
    real = boot.open_kernel

    def open_kernel(source: Any, protocol: str | None = None) -> boot.Kernel:
        kernel = real(source, protocol)
        opened.append(kernel)
        return kernel

    monkeypatch.setattr(boot, "open_kernel", open_kernel)
    kernel = system / "boot" / f"vmlinuz-{RELEASE}"
    made(kernel)
    assert [one.name for one in opened] == [str(kernel)]


@pytest.mark.parametrize("guest", ["hello", "hello16", "probe"])
def test_other_guests_run_no_command(guest: str) -> None:
    with pytest.raises(ConfigError, match="runs in a Linux kernel"):
        LinuxCommand(LinuxGuest(guest), "true")


# The end.

OUT_0XF4 = b"\xb8%c\0\0\0\xe6\xf4"  # mov eax, ...; out 0xf4, al


@needs_kvm
@needs_busybox
def test_an_end_without_a_status_is_no_good_one(system: Path) -> None:
    kernel = system / "boot" / f"vmlinuz-{RELEASE}"
    with LinuxCommand(LinuxGuest(kernel), "true", force=True) as command:
        result = command.run()
    assert (result.reason, result.status) == ("no-status", 70)
    done = run(kernel, "true", force=True, memory=64 << 20, timeout=60)
    assert (done.reason, done.status, done.stdout, done.stderr) == ("no-status", 70, b"", b"")


@needs_kvm
@needs_busybox
@pytest.mark.parametrize("status", [0, 42, 255])
def test_a_status_that_the_guest_reports_is_the_end(system: Path, status: int) -> None:
    image = bzimage()
    code = OUT_0XF4 % status
    image[ENTRY_64 : ENTRY_64 + len(code)] = code
    kernel = system / "boot" / f"vmlinuz-{RELEASE}"
    kernel.write_bytes(image)
    done = run(kernel, "true", force=True, decompress="guest")
    assert (done.reason, done.status) == ("exit", status)


@needs_kvm
@needs_busybox
def test_other_ends_are_what_they_are(system: Path) -> None:
    kernel = system / "boot" / f"vmlinuz-{RELEASE}"
    with LinuxCommand(LinuxGuest(kernel), "true", force=True) as command:
        command.kill()
        result = command.run()
    assert (result.reason, result.status) == ("killed", 137)
