"""The benchmarks: what docs/performance.md promises, measured on this host.

    python benchmarks/run.py [--json] [--kernel FILE] [NAME...]

Run it with the Python into which ringlet is installed. A yardstick is measured in the same
run, in turns with ringlet: bare C with the same ioctls (baseline.c, compiled here), and QEMU's
microvm where it is installed. `linux`, `linux_disk` and `network` run only if they are named: the
first two take a hardware KVM, the third one takes root.
"""

import argparse
import json
import sys

import calls
import disk
import exits
import linux_disk
import many
import memory
import network
import start
import traces
from measure import host_facts, table

import boot
import container
import linux

DEFAULT = {
    module.__name__: module
    for module in (start, exits, traces, boot, disk, memory, many, container, calls)
}
ON_DEMAND = {module.__name__: module for module in (linux, linux_disk, network)}
BENCHMARKS = DEFAULT | ON_DEMAND


def main() -> None:
    parser = argparse.ArgumentParser(description="ringlet's benchmarks")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--json", action="store_true", help="every sample, for programs")
    parser.add_argument("--kernel", metavar="FILE", help="the bzImage of `linux` and `linux_disk`")
    arguments = parser.parse_args()
    names = arguments.names or list(DEFAULT)
    for name in names:
        if name not in BENCHMARKS:
            parser.error(f"no benchmark {name!r}: choose from {', '.join(BENCHMARKS)}")

    facts = host_facts()
    sections = {}
    for name in names:
        print(f"{name}: {BENCHMARKS[name].measure.__doc__.splitlines()[0]}", file=sys.stderr)
        options = {"kernel": arguments.kernel} if name in ON_DEMAND else {}
        sections[name] = BENCHMARKS[name].measure(**options)
    if arguments.json:
        rows = {
            name: [row._asdict() | {"verdict": row.verdict} for row in rows]
            for name, rows in sections.items()
        }
        print(json.dumps({"host": facts, "benchmarks": rows}, indent=2))
        return
    print()
    for what, fact in facts.items():
        print(f"{what:8}{fact}")
    print()
    print(table(sections))


if __name__ == "__main__":
    main()
