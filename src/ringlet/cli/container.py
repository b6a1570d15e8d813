"""A container in the foreground: its signals, its terminal, its report, its status."""

import os
import sys
from contextlib import ExitStack
from typing import Any

from ringlet.cli.report import print_json, report
from ringlet.container.config import ContainerConfig
from ringlet.container.foreground import Foreground
from ringlet.container.relay import ConsoleSocket, Relay
from ringlet.container.sandbox import Container, ContainerResult


def run(values: dict[str, Any], *, as_json: bool = False) -> int:
    """Runs what `values`, for `ContainerConfig`, say, and returns the command's status."""
    values.setdefault("tty", not as_json and os.isatty(0) and os.isatty(1))
    config = ContainerConfig(**values)
    output = 2 if as_json else 1
    with ExitStack() as stack:
        foreground = stack.enter_context(Foreground())
        socket = stack.enter_context(ConsoleSocket()) if config.tty else None
        container = stack.enter_context(
            Container(
                config,
                stdio=(0, output, 2),
                console_socket=None if socket is None else socket.path,
            )
        )
        for note in container.notes:
            print(f"ringlet: note: {note}", file=sys.stderr)
        relay = None
        if socket is not None:
            relay = stack.enter_context(Relay(socket.receive()))
        container.start()
        foreground.follow(container, relay)
        result = container.wait()
    assert result is not None
    if as_json:
        print_json(_as_json(container, result))
    if result.reason == "timeout":
        report(f"stopped after {config.timeout:g} seconds", "give it longer with --timeout")
    elif result.oom_kills and result.status:
        report("the container ran out of memory", "give it more with --memory")
    return result.status


def _as_json(container: Container, result: ContainerResult) -> dict[str, Any]:
    timings = container.timings
    assert timings.created is not None
    return {
        "exit": {"reason": result.reason, "status": result.status},
        "oom_kills": result.oom_kills,
        "timings": {
            step: None if (at := getattr(timings, step)) is None else (at - timings.created) / 1e9
            for step in ("started", "end")
        },
        "stats": result.stats,
        "notes": container.notes,
    }
