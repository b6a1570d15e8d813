"""`ringlet doctor`: shows what this host can do, and how to install what is missing."""

from __future__ import annotations

import os
from typing import NamedTuple

import click

from ringlet.cli.answer import CANNOT
from ringlet.errors import RingletError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ringlet.container.spec.types import Resources
    from ringlet.kvm.system import System

# The KVM capabilities that ringlet uses: the name after KVM_CAP_, and a description for people.
_CAPABILITIES = {
    0: "interrupt controllers in the kernel",
    32: "interrupts by eventfd (irqfd)",
    33: "i8254 timer in the kernel",
    36: "notifications by eventfd (ioeventfd)",
    136: "leaving a guest at once (immediate_exit)",
}

EPILOG = """\b
Examples:
  ringlet doctor            for people
  ringlet doctor --json     for programs

\b
Status: 0 if guests can be booted here, else 125. What is missing for other things doesn't count.
"""

GUESTS = "guests"  # the exit status depends on this use alone


class Finding(NamedTuple):
    """One thing that was checked, and its use. `hint` says how to get it; empty if it works."""

    use: str
    what: str
    fine: bool
    hint: str = ""


@click.command("doctor", epilog=EPILOG)
@click.option("--json", "as_json", is_flag=True, help="Write the same as JSON, for programs.")
def command(as_json: bool) -> int:
    """Say whether this host can boot guests and run containers, and what else ringlet finds here.

    Each thing that is missing has the command that gets it.
    """
    findings = examine()
    if as_json:
        import json

        click.echo(json.dumps([finding._asdict() for finding in findings], indent=2))
    else:
        _show(findings)
    return 0 if all(finding.fine for finding in findings if finding.use == GUESTS) else CANNOT


def _show(findings: list[Finding]) -> None:
    use = ""
    for finding in findings:
        if finding.use != use:
            use = finding.use
            click.secho(f"{use[0].upper()}{use[1:]}", bold=True)
        bad = "red" if use == GUESTS else "yellow"
        mark, color = ("ok", "green") if finding.fine else ("no", bad)
        click.echo(f"{click.style(mark, fg=color)}  {finding.what}")
        if finding.hint:
            click.echo(f"    {click.style('hint:', fg='cyan')} {finding.hint}")


def examine() -> list[Finding]:
    """Checks everything, and returns the findings."""
    return [
        *_kvm(),
        _look("containers", _limits),
        _look("containers", _ids),
        _look("commands in Linux guests (--exec, initramfs)", _busybox),
        _look("emulated machines (nested)", _qemu),
        _look("emulated machines (nested)", _nested_kernel),
        _look("the Linux VM of compare", _guest_kernel),
        _look("other programs", lambda: _program("passt", "networks of guests without root")),
        _look("other programs", lambda: _program("gdb", "debugging of guests")),
    ]


def _look(use: str, find: Callable[[], str]) -> Finding:
    """Returns the finding that `find` makes, or that its `RingletError` describes."""
    try:
        return Finding(use, find(), True)
    except RingletError as error:
        return Finding(use, error.message, False, error.hint)


def _kvm() -> list[Finding]:
    """Checks KVM, up to the first failure that makes the other checks impossible."""
    try:
        from ringlet.kvm.system import API_VERSION, System

        with System() as system:
            findings = [
                Finding(GUESTS, "/dev/kvm is there and may be opened", True),
                Finding(GUESTS, f"its API has version {API_VERSION}", True),
            ]
            findings += [
                Finding(GUESTS, f"capability: {what}", True)
                if system.check_extension(capability)
                else Finding(GUESTS, f"capability: {what}", False, "use a newer kernel")
                for capability, what in _CAPABILITIES.items()
            ]
            findings.append(_probe(system))
    except RingletError as error:
        return [Finding(GUESTS, error.message, False, error.hint)]
    return findings


def _probe(system: System) -> Finding:
    """Finds which kind of KVM the host has, by a guest of a few ring-0 instructions."""
    from ringlet.machine.probe import unsupported_instruction

    try:
        instruction = unsupported_instruction(system)
    except RingletError as error:
        return Finding(GUESTS, error.message, False, error.hint)
    if instruction is None:
        return Finding(GUESTS, "hardware KVM: ring 0 of a guest runs on the processor", True)
    return Finding(
        GUESTS,
        f"software KVM: it emulates ring 0 of a guest, and doesn't know `{instruction}`",
        True,
        "tiny guests run; for a stock Linux kernel use a host with hardware KVM, or "
        "`ringlet nested`",
    )


def _limits() -> str:
    """Checks that a container gets its limits: makes a cgroup with limits, and removes it."""
    from ringlet.container.cgroups.find import Cgroups

    cgroups = Cgroups.find()
    limits: Resources = {
        "memory": {"limit": 64 << 20},
        "cpu": {"quota": 50_000, "period": 100_000},
        "pids": {"limit": 10},
    }
    cgroups.create(None, f"doctor-{os.getpid()}", limits, may_lack=True).delete()
    versions = sorted({hierarchy.version for hierarchy in cgroups.hierarchies})
    return (
        "cgroups limit memory, processors and processes "
        f"(version {' and '.join(map(str, versions))})"
    )


def _ids() -> str:
    """Checks whether a container can have users besides root."""
    from ringlet.container.identity import id_ranges

    (users, _), notes = id_ranges()
    if notes:
        raise RingletError(
            "a container has one user, root: no subordinate IDs, or no newuidmap",
            "apt install uidmap; sudo usermod --add-subuids 100000-165535 "
            "--add-subgids 100000-165535 $USER",
        )
    count = sum(mapping["size"] for mapping in users)
    return f"subordinate IDs: a container has {count:,} users of its own"


def _busybox() -> str:
    from ringlet.linux.initramfs import find_busybox

    return f"busybox, static: {find_busybox()}"


def _qemu() -> str:
    from ringlet.emulated.qemu import find_qemu

    return f"QEMU: {find_qemu()}"


def _nested_kernel() -> str:
    from ringlet.emulated.installed_kernel import find_kernel

    return f"kernel: {find_kernel().vmlinuz}"


def _guest_kernel() -> str:
    from ringlet.compare.ways.linux_vm import find_kernel

    return f"kernel: {find_kernel()}"


def _program(name: str, use: str) -> str:
    from shutil import which

    found = which(name)
    if found is None:
        raise RingletError(f"{name} isn't installed; it is for {use}", f"apt install {name}")
    return f"{name}, for {use}: {found}"
