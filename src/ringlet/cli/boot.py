"""`ringlet boot`: boots a guest kernel."""

from __future__ import annotations

import os

import click

from ringlet.cli.answer import CANNOT, print_json
from ringlet.cli.file_type import FILE
from ringlet.cli.foreground import attend, boot
from ringlet.cli.machine_options import machine_options, machine_values
from ringlet.errors import ConfigError, RingletError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from ringlet.cli.foreground import Observer
    from ringlet.kvm.vm import Vm
    from ringlet.linux.guest import LinuxGuest
    from ringlet.machine.machine import Machine

# The keys of `MachineConfig` that ringlet sets itself when a command runs in the guest (--exec).
_OF_A_COMMAND = ("initrd", "modules", "serial", "com2", "com3", "hvc0", "folders")

EPILOG = """\b
Examples:
  ringlet boot hello                       a guest that comes with ringlet
  ringlet boot echo                        type at it; Ctrl-D ends it, Ctrl-A h helps
  ringlet boot kernel.elf --memory 256M --cmdline 'verbose'
  ringlet boot boot.bin --load-address 0x7c00
  ringlet boot kernel.elf --disk disk.raw --show
  ringlet boot net --network tap:vm0,address=192.168.7.1/24
  ringlet boot --config vm.toml --timeout 5 --json
  ringlet boot kernel.elf --gdb 1234       then: gdb kernel.elf -ex 'target remote :1234'
  ringlet boot /boot/vmlinuz --exec 'uname -a; nproc' --cpus 2
  ringlet boot /boot/vmlinuz --file test.sh --exec 'sh test.sh'
  ringlet boot vmlinuz --root rootfs --volume ./data:/data --exec 'ls /data'
  ringlet boot vmlinuz --disk root.raw,snapshot --root /dev/vda --exec 'cat /etc/os-release'

\b
Where to get a Linux kernel: this host's /boot/vmlinuz-RELEASE; or `ringlet nested --setup`, which
fetches one and says where it is; or `apt install linux-image-amd64`.

\b
SIGTERM presses the ACPI power button, if the guest listens for it, as Linux with an init does. The
run ends when the guest powers off, after 10 seconds, or at a second signal. Without a guest that
listens, the run ends at once.

\b
SIGUSR1, and Ctrl-A i on the terminal, show what each of the guest's vCPUs does at that moment.

\b
Status: what the guest wrote to port 0xf4; with --exec, the command's status. 0 if the guest halted
for good, powered off or reset; 70 if it crashed, or with --exec ended before its command; 124 at
the timeout; 125 if ringlet could not do it; 128 + n after signal n; 141 if the reader of the
output has gone.
"""


@click.command("boot", epilog=EPILOG)
@machine_options()
@click.option(
    "--exec",
    "execute",
    metavar="COMMAND",
    help="Run COMMAND in a Linux guest, as `sh -c` would, and end with its status.",
)
@click.option(
    "--file",
    "files",
    metavar="FILE[:AT]",
    type=FILE,
    multiple=True,
    help="With --exec: COMMAND finds FILE at the path AT; in / if AT isn't given. May be given "
    "again.",
)
@click.option(
    "--volume",
    "volumes",
    metavar="HOST:GUEST[:ro]",
    type=FILE,
    multiple=True,
    help="With --exec: COMMAND sees the folder HOST at the path GUEST. May be given again.",
)
@click.option(
    "--root",
    metavar="DEVICE|FOLDER",
    help="Linux's root: a disk, such as /dev/vda, or a folder of the host, which stays as it is. "
    "COMMAND runs there; without --exec, the root's /sbin/init does.",
)
@click.option(
    "--kernel-modules",
    metavar="FOLDER",
    type=click.Path(),
    help="With --exec or --root: the kernel's folder /lib/modules/RELEASE, if ringlet doesn't find "
    "the folder beside the kernel.",
)
@click.option("--verbose", is_flag=True, help="With --exec: the kernel's log on standard error.")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Write a report on the run to standard output, as JSON. The guest's output goes to "
    "standard error.",
)
@click.option(
    "--show",
    is_flag=True,
    help="List the machine's devices, and run nothing. `ringlet inspect` does so for the image.",
)
@click.option(
    "--gdb",
    metavar="PORT|PATH",
    help="Serve the guest to GDB, on this machine only, at a TCP port or a Unix socket. The guest "
    "waits at its first instruction.",
)
@click.option("--no-wait", is_flag=True, help="With --gdb: the guest runs until GDB attaches.")
@click.option(
    "--log-unclaimed", is_flag=True, help="Log each access of the guest that no device claims."
)
@click.option("--trace", is_flag=True, help="Trace the exits, as `ringlet trace` does.")
@click.pass_obj
def command(vm: Vm | None, /, trace: bool, **options: Any) -> int:
    """Boot IMAGE: a file, or the name of a guest that comes with ringlet.

    In a folder that `ringlet new` has made, IMAGE may be left out: ringlet boots what the folder
    builds.

    ringlet shows what the guest writes to its serial port, and ends with the status that the
    guest chooses. An image is a Linux kernel (bzImage or vmlinux), a Multiboot kernel, an ELF with
    a PVH note, another 64-bit ELF, or flat 16-bit code.
    """
    observer: Observer | None = None
    if trace:
        from ringlet.cli.tracing import ExitTrace

        observer = ExitTrace()
    return start(vm, observer=observer, **options)


def start(
    vm: Vm | None,
    *,
    observer: Observer | None,
    as_json: bool = False,
    show: bool = False,
    log_unclaimed: bool,
    gdb: str | None = None,
    no_wait: bool = False,
    execute: str | None,
    files: tuple[str, ...],
    volumes: tuple[str, ...],
    root: str | None,
    kernel_modules: str | None,
    verbose: bool,
    **options: Any,
) -> int:
    """Boots as the options say, which are those of `command`; `observer` watches the run."""
    try:
        values = machine_values(options)
        if show:
            from ringlet.cli.show import show as show_devices

            lines = {} if execute is None else {"com2": "none", "com3": "none"}
            return show_devices(values | lines, as_json=as_json, vm=vm)
        if gdb is not None or no_wait:
            observer = _debug(observer, gdb, no_wait=no_wait)
        if execute is not None:
            guest = _linux_guest(
                values, "--exec", root=root, modules=kernel_modules, files=files, volumes=volumes
            )
            make = _command(guest, execute, values, as_json=as_json, verbose=verbose, vm=vm)
            return attend(
                make,
                as_json=as_json,
                log_unclaimed=log_unclaimed,
                last_words=not verbose,
                observer=observer,
            )
        if verbose or files or volumes:
            option = "--verbose" if verbose else "--file" if files else "--volume"
            raise ConfigError(f"{option} goes with --exec", "leave it out")
        if root is not None:
            guest = _linux_guest(values, "--root", root=root, modules=kernel_modules)
            with guest.open_kernel(values.get("protocol")) as kernel:
                values["initrd"] = guest.initramfs()
                values["folders"] = (*values.get("folders", ()), *guest.folders())
                return boot(
                    values,
                    as_json=as_json,
                    log_unclaimed=log_unclaimed,
                    observer=observer,
                    kernel=kernel,
                    vm=vm,
                )
        if kernel_modules is not None:
            raise ConfigError("--kernel-modules goes with --exec and --root", "leave it out")
        return boot(
            values,
            as_json=as_json,
            log_unclaimed=log_unclaimed,
            observer=observer,
            vm=vm,
            command=click.get_current_context().info_name or "boot",
        )
    except RingletError as error:
        if as_json:
            print_json({"exit": {"reason": "error", "status": CANNOT}, "error": error.message})
        raise


def _debug(observer: Observer | None, gdb: str | None, *, no_wait: bool) -> Observer:
    if gdb is None:
        raise ConfigError("--no-wait goes with --gdb", "leave it out, or name a port with --gdb")
    if observer is not None:
        raise ConfigError("--trace and --gdb don't go together", "leave one of them out")
    from ringlet.cli.gdb import GdbService

    return GdbService(gdb, wait=not no_wait)


def _linux_guest(
    values: dict[str, Any],
    option: str,
    *,
    root: str | None,
    modules: str | None,
    files: Sequence[str] = (),
    volumes: Sequence[str] = (),
) -> LinuxGuest:
    """Returns the Linux guest of `values`, in which `option` runs a command or starts a disk."""
    from pathlib import Path

    from ringlet.cli.initramfs import split_file
    from ringlet.linux.guest import LinuxGuest

    for key in _OF_A_COMMAND if option == "--exec" else ("initrd", "modules"):
        if values.get(key):
            raise ConfigError(
                f"{option} has a use of its own for it: {key} is taken",
                "leave it out; `ringlet initramfs` makes an initrd with files of yours",
            )
    if "image" not in values:
        raise ConfigError(
            "no kernel is named",
            "name one, such as /boot/vmlinuz-RELEASE; `ringlet nested --setup` fetches one",
        )
    return LinuxGuest(
        values["image"],
        values.get("cmdline", ""),
        files=[split_file(file) for file in files],
        modules=None if modules is None else Path(modules),
        root=root,
        volumes=volumes,
        disks=values.get("disks", ()),
        network=values.get("network", "none"),
        entropy=values.get("entropy", False),
        hvc0=values.get("hvc0") is not None,
    )


def _command(
    guest: LinuxGuest,
    command: str,
    values: dict[str, Any],
    *,
    as_json: bool,
    verbose: bool,
    vm: Vm | None,
) -> Callable[[], Machine]:
    """Returns a function that makes the machine of `command`; `values` has its other settings."""
    from ringlet.linux.command import LinuxCommand

    taken = ("image", "cmdline", "disks", "network", "entropy", *_OF_A_COMMAND)
    options = {key: value for key, value in values.items() if key not in taken}
    # Without a terminal for the command, the host's terminal keeps its mode and handles Ctrl-D.
    window = os.get_terminal_size(0) if os.isatty(0) and os.isatty(1) else None

    def make() -> LinuxCommand:
        return LinuxCommand(
            guest,
            command,
            stdio=(0, 2 if as_json else 1, 2),
            window=window,
            verbose=verbose,
            vm=vm,
            **options,
        )

    return make
