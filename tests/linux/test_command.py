"""A command in a guest: what goes down the line, what the machine is, how its end is judged."""

import os
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringlet.errors import ConfigError, RingletError
from ringlet.host.outcome import Usage
from ringlet.linux.command import configure, configure_root, judge, stuff
from ringlet.machine.config import MachineConfig
from ringlet.machine.machine import Result

from ..boot.bzimage_builder import VMLINUX, bzimage
from .cpio_reader import read
from .module_builder import RELEASE, module, modules_folder

DLE, EOT = 0x10, 0x04
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


def configured(
    kernel: Path, command: str = "true", **options: Any
) -> tuple[MachineConfig, list[bytes]]:
    """The configuration, and the plan in its initrd."""
    config = MachineConfig(**configure(str(kernel), command, **options))
    assert isinstance(config.initrd, bytes)
    files = read(config.initrd)
    assert {"init", "bin/busybox", "bin/sh"} <= set(files)
    plan = files["plan"].content.splitlines()
    modules = [line.split()[1].decode() for line in plan if line.startswith(b"module")]
    assert all(path.removeprefix("/") in files for path in modules)
    return config, plan


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


@needs_busybox
def test_the_serial_lines_are_the_commands_and_the_console_is_quiet(system: Path) -> None:
    kernel = system / "boot" / f"vmlinuz-{RELEASE}"
    config, plan = configured(kernel, cmdline="nosmp")
    assert config.cmdline.split() == ["quiet", "nosmp"]
    assert (config.serial, config.com2, config.com3) == ("none", "stdio", (None, 2))
    assert not any(line.startswith(b"tty") for line in plan)


@needs_busybox
def test_verbose_the_console_goes_to_standard_error(system: Path) -> None:
    config, _ = configured(system / "boot" / f"vmlinuz-{RELEASE}", verbose=True)
    assert "quiet" not in config.cmdline
    assert config.serial == (None, 2)


@needs_busybox
def test_with_a_window_the_command_has_a_terminal(system: Path) -> None:
    window = os.terminal_size((132, 43))  # columns first
    _, plan = configured(system / "boot" / f"vmlinuz-{RELEASE}", window=window)
    assert b"tty 43 132" in plan


@needs_busybox
def test_modules_are_found_beside_the_kernel_that_a_link_leads_to(system: Path) -> None:
    (system / "vmlinuz").symlink_to(f"boot/vmlinuz-{RELEASE}")
    _, plan = configured(system / "vmlinuz")
    assert b"module /modules/pvpanic_mmio.ko" in plan


@needs_busybox
@pytest.mark.parametrize("order", [None, "", "kernel/fs/ext4/ext4.ko\n"])
def test_a_kernel_without_them_does_without(system: Path, order: str | None) -> None:
    listed = system / "lib" / "modules" / RELEASE / "modules.order"
    listed.unlink()
    if order is not None:
        listed.write_text(order)
    _, plan = configured(system / "boot" / f"vmlinuz-{RELEASE}")
    assert not any(line.startswith(b"module") for line in plan)


@needs_busybox
def test_modules_may_be_elsewhere(system: Path, tmp_path: Path) -> None:
    kernel = tmp_path / "kernel"
    kernel.write_bytes(bzimage())
    folder = system / "lib" / "modules" / RELEASE
    assert configured(kernel, modules=folder)[1][0] == b"module /modules/pvpanic.ko"
    assert configured(kernel)[1][0] == b"stdio uart"


@needs_busybox
def test_what_is_asked_for_has_to_be_there(system: Path, tmp_path: Path) -> None:
    folder = modules_folder(tmp_path / "none", {"kernel/other.ko": module()})
    with pytest.raises(RingletError, match="no module pvpanic_mmio"):
        configure(str(system / "boot" / f"vmlinuz-{RELEASE}"), "true", modules=folder)


@needs_busybox
def test_with_disks_there_are_drivers_for_them(system: Path) -> None:
    kernel = system / "boot" / f"vmlinuz-{RELEASE}"
    folder = system / "lib" / "modules" / RELEASE
    modules_folder(folder, FOR_DISKS, builtin=["virtio_mmio"])
    assert not any(b"virtio" in line for line in configured(kernel)[1])
    config, plan = configured(kernel, disks=["a.raw", "b.raw,readonly"])
    assert [line.rpartition(b"/")[2] for line in plan if line.startswith(b"module ")] == [
        *(b"pvpanic.ko", b"pvpanic_mmio.ko", b"virtio.ko", b"virtio_blk.ko")
    ]
    assert [disk.path for disk in config.disks] == ["a.raw", "b.raw"]
    assert isinstance(config.initrd, bytes)
    assert f"lib/modules/{RELEASE}/ext4.ko" in read(config.initrd)
    (folder / "modules.builtin").write_text("")
    with pytest.raises(RingletError, match="no module virtio_mmio"):
        configure(str(kernel), "true", disks=["a.raw"])


@needs_busybox
def test_a_disk_may_be_the_root(system: Path) -> None:
    kernel = system / "boot" / f"vmlinuz-{RELEASE}"
    modules_folder(kernel.parents[1] / "lib/modules" / RELEASE, FOR_DISKS, builtin=["virtio_mmio"])
    _, plan = configured(kernel, disks=["a.raw"], root="/dev/vda")
    assert b"rootdisk /dev/vda" in plan
    assert plan[-1] == b"arg true"
    config = MachineConfig(**configure_root(str(kernel), "/dev/vda", disks=["a.raw"]))
    assert isinstance(config.initrd, bytes)
    plan = read(config.initrd)["plan"].content.splitlines()
    assert [line for line in plan if not line.startswith(b"module")] == [b"rootdisk /dev/vda"]
    with pytest.raises(ConfigError, match="there is no disk for the root /dev/vda"):
        configure(str(kernel), "true", root="/dev/vda")


@needs_busybox
def test_files_are_where_they_are_wanted(system: Path, tmp_path: Path) -> None:
    kernel = str(system / "boot" / f"vmlinuz-{RELEASE}")
    (tmp_path / "script").write_text("echo it")
    values = configure(kernel, "true", files=[(str(tmp_path / "script"), "/opt/it")])
    assert read(values["initrd"])["opt/it"].content == b"echo it"
    with pytest.raises(ConfigError, match=r"can't copy .*absent"):
        configure(kernel, "true", files=[(str(tmp_path / "absent"), "/it")])
    with pytest.raises(ConfigError, match="a command on a disk doesn't see"):
        configure(kernel, "true", files=[("x", "/x")], root="/dev/vda", disks=["a.raw"])


@needs_busybox
def test_a_command_with_a_zero_byte_is_none(system: Path) -> None:
    with pytest.raises(ConfigError, match="zero byte"):
        configure(str(system / "boot" / f"vmlinuz-{RELEASE}"), "a\0b")


@needs_busybox
def test_a_vmlinux_is_a_kernel_too(tmp_path: Path) -> None:
    (tmp_path / "vmlinux").write_bytes(VMLINUX)
    assert configured(tmp_path / "vmlinux")[0].image == str(tmp_path / "vmlinux")


@pytest.mark.parametrize("guest", ["hello", "hello16", "probe"])
def test_other_guests_run_no_command(guest: str) -> None:
    with pytest.raises(ConfigError, match="runs in a Linux kernel"):
        configure(guest, "true")


# The end.


@pytest.mark.parametrize("reason", ["halt", "power-off", "reset"])
def test_an_end_without_a_status_is_no_good_one(reason: str) -> None:
    usage = Usage(exits={"port": 5})
    result = judge(Result(reason, 0, usage, {}, None))
    assert result == Result("no-status", 70, usage, {}, None)


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        *[("exit-port", 0), ("exit-port", 42), ("exit-port", 255), ("panic", 70)],
        *[("triple-fault", 70), ("timeout", 124), ("quit", 130), ("signal", 143)],
    ],
)
def test_other_ends_are_what_they_are(reason: str, status: int) -> None:
    result = Result(reason, status, Usage(), {}, None)
    assert judge(result) == result
