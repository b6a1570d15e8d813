"""`ringlet doctor`: what this host can do, and the command that mends what it can't."""

from typing import TYPE_CHECKING, NamedTuple

import click

from ringlet.cli.report import CANNOT
from ringlet.errors import RingletError

if TYPE_CHECKING:
    from ringlet.kvm.system import System

# Capabilities that ringlet uses: KVM_CAP_ and what they are to a person.
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
Status: 0 if guests can be booted here, else 125.
"""


class Finding(NamedTuple):
    """One thing looked at. `hint` says how to mend it, empty where it is fine."""

    what: str
    fine: bool
    hint: str = ""


@click.command("doctor", epilog=EPILOG)
@click.option("--json", "as_json", is_flag=True, help="The same for programs.")
def command(as_json: bool) -> int:
    """Look at this host: is /dev/kvm there, may it be opened, what kind is it.

    For each thing that is missing, say how to mend it.
    """
    findings = examine()
    if as_json:
        import json

        click.echo(json.dumps([finding._asdict() for finding in findings], indent=2))
    else:
        for finding in findings:
            mark, color = ("ok", "green") if finding.fine else ("no", "red")
            click.echo(f"{click.style(mark, fg=color)}  {finding.what}")
            if finding.hint:
                click.echo(f"    {click.style('hint:', fg='cyan')} {finding.hint}")
    return 0 if all(finding.fine for finding in findings) else CANNOT


def examine() -> list[Finding]:
    """Looks, up to the first thing without which there is nothing more to see."""
    try:
        from ringlet.kvm.system import API_VERSION, System

        with System() as system:
            findings = [
                Finding("/dev/kvm is there and may be opened", True),
                Finding(f"its API has version {API_VERSION}", True),
            ]
            findings += [
                Finding(f"capability: {what}", True)
                if system.check_extension(capability)
                else Finding(f"capability: {what}", False, "use a newer kernel on this host")
                for capability, what in _CAPABILITIES.items()
            ]
            findings.append(_probe(system))
    except RingletError as error:
        return [Finding(error.message, False, error.hint)]
    return findings


def _probe(system: "System") -> Finding:
    """Which kind of KVM it is, by a guest of a few ring-0 instructions."""
    from ringlet.machine.probe import unsupported_instruction

    try:
        instruction = unsupported_instruction(system)
    except RingletError as error:
        return Finding(error.message, False, error.hint)
    if instruction is None:
        return Finding("hardware KVM: ring 0 of a guest runs on the processor", True)
    return Finding(
        f"software KVM: it emulates ring 0 of a guest, and doesn't know `{instruction}`",
        True,
        "tiny guests run; for a stock Linux kernel use a host with hardware KVM, or "
        "`ringlet nested`",
    )
