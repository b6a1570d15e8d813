"""The commands of `ringlet-oci`: each calls `Runtime`, prints its answer, and returns a status."""

from __future__ import annotations

import os

from ringlet.host import interrupt
from ringlet.oci.options import Option, OptionError, is_number, number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ringlet.container.requests import CreateRequest
    from ringlet.container.runtime import Runtime

    Values = dict[str, Any]


class Command:
    """A command: `run` takes the runtime, the options' values and the arguments.

    `run` returns the exit status. With `passes_options`, all words after the first argument belong
    to another program.
    """

    __slots__ = ("example", "help", "options", "passes_options", "run", "usage")

    def __init__(
        self,
        run: Callable[[Runtime, Values, list[str]], int],
        usage: str,
        help: str,
        example: str,
        *options: Option,
        passes_options: bool = False,
    ) -> None:
        self.run = run
        self.usage = usage
        self.help = help
        self.example = example
        self.options = options
        self.passes_options = passes_options

    def check(self, arguments: list[str]) -> None:
        """Raises OptionError unless there are as many arguments as the usage says."""
        words = self.usage.split()
        least = sum(word[0] != "[" for word in words)
        most = 1 << 30 if self.usage.endswith("...]") else len(words)
        if not least <= len(arguments) <= most:
            takes = self.usage or "no arguments"
            raise OptionError(f"it takes {takes}", f"such as: {self.example.splitlines()[0]}")


def _create(runtime: Runtime, values: Values, arguments: list[str]) -> int:
    interrupt.defer()
    container, _ = runtime.create(arguments[0], _create_request(values))
    container.close()
    return 0


def _run(runtime: Runtime, values: Values, arguments: list[str]) -> int:
    from ringlet.oci.attached import run

    interrupt.defer()
    return run(
        runtime,
        arguments[0],
        _create_request(values),
        detach=values.get("detach", False),
        keep=values.get("keep", False),
    )


def _create_request(values: Values) -> CreateRequest:
    from ringlet.container.launch.helper import check_descriptors
    from ringlet.container.requests import CreateRequest

    check_descriptors()
    listen_fds = _listen_fds()
    return CreateRequest(
        values.get("bundle", "."),
        console_socket=values.get("console-socket"),
        pid_file=values.get("pid-file"),
        preserve_fds=_preserved(values, listen_fds),
        listen_fds=listen_fds,
        no_pivot=values.get("no-pivot", False),
        no_new_keyring=values.get("no-new-keyring", False),
    )


def _listen_fds() -> int:
    """Returns LISTEN_FDS, the number of descriptors, if LISTEN_PID is this process; else 0."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return 0
    text = os.environ.get("LISTEN_FDS", "")
    return int(text) if is_number(text) and len(text) < 10 else 0


def _preserved(values: Values, after: int) -> int:
    """Returns how many descriptors to keep after the first `after`. Each of them has to be open."""
    count = number(values, "preserve-fds")
    for fd in range(3 + after, 3 + after + count):
        try:
            os.fstat(fd)
        except (OSError, OverflowError):
            raise OptionError(
                f"--preserve-fds {count}: descriptor {fd} isn't open", "give as many as there are"
            ) from None
    return count


def _start(runtime: Runtime, values: Values, arguments: list[str]) -> int:
    runtime.start(arguments[0])
    return 0


def _exec(runtime: Runtime, values: Values, arguments: list[str]) -> int:
    from ringlet.container.requests import ExecRequest
    from ringlet.oci.attached import execute, sized
    from ringlet.oci.exec_options import edit

    interrupt.defer()
    detach = values.get("detach", False)
    made = edit(values, arguments[1:])
    request = ExecRequest(
        made if detach else sized(made),
        console_socket=values.get("console-socket"),
        pid_file=values.get("pid-file"),
        preserve_fds=_preserved(values, 0),
        ignore_paused=values.get("ignore-paused", False),
        cgroups=values.get("cgroup", ()),
    )
    return execute(runtime, arguments[0], request, detach=detach)


def _state(runtime: Runtime, values: Values, arguments: list[str]) -> int:
    _print_json(runtime.state(runtime.store.look(arguments[0])))
    return 0


def _kill(runtime: Runtime, values: Values, arguments: list[str]) -> int:
    word = arguments[1] if len(arguments) > 1 else "TERM"
    runtime.kill(arguments[0], _signal_number(word), all=values.get("all", False))
    return 0


def _delete(runtime: Runtime, values: Values, arguments: list[str]) -> int:
    runtime.delete(arguments[0], force=values.get("force", False))
    return 0


def _pause(runtime: Runtime, values: Values, arguments: list[str]) -> int:
    runtime.pause(arguments[0])
    return 0


def _resume(runtime: Runtime, values: Values, arguments: list[str]) -> int:
    runtime.resume(arguments[0])
    return 0


def _update(runtime: Runtime, values: Values, arguments: list[str]) -> int:
    from ringlet.oci.update_options import resources

    runtime.update(arguments[0], resources(values))
    return 0


def _events(runtime: Runtime, values: Values, arguments: list[str]) -> int:
    from ringlet.oci.events import show

    interval = values.get("interval", "5s")
    show(runtime, arguments[0], interval, once=values.get("stats", False))
    return 0


def _list(runtime: Runtime, values: Values, arguments: list[str]) -> int:
    if values.get("quiet"):
        for id in runtime.store.ids():
            print(id)
    elif _wants_json(values):
        _print_json(runtime.states())
    else:
        columns = ("id", "pid", "status", "bundle", "created", "owner")
        lines = [[str(state[column]) for column in columns] for state in runtime.states()]
        _print_table([[column.upper() for column in columns], *lines])
    return 0


def _ps(runtime: Runtime, values: Values, arguments: list[str]) -> int:
    pids = runtime.processes(arguments[0])
    if _wants_json(values):
        _print_json(pids)
        return 0
    from ringlet.oci.ps import show

    words = arguments[2:] if arguments[1:2] == ["--"] else arguments[1:]
    show(words or ["-ef"], pids)
    return 0


def _features(runtime: Runtime, values: Values, arguments: list[str]) -> int:
    from ringlet.container.spec.features import features

    _print_json(features())
    return 0


def _spec(runtime: Runtime, values: Values, arguments: list[str]) -> int:
    from json import dumps

    from ringlet.container.spec.default import default

    path = os.path.join(values.get("bundle", "."), "config.json")
    try:
        with open(path, "x") as file:
            file.write(dumps(default(rootless=values.get("rootless", False)), indent=4) + "\n")
    except FileExistsError:
        raise OptionError(f"{path} exists", "remove it first") from None
    return 0


def _signal_number(word: str) -> int:
    from signal import NSIG, Signals

    name = word.upper().removeprefix("SIG")
    base, sign, offset = name.partition("+" if "+" in name else "-")
    number = -1
    if is_number(word):
        number = int(word)
    elif "SIG" + base in Signals.__members__ and (is_number(offset) or not sign):
        number = Signals["SIG" + base] + (-1 if sign == "-" else 1) * int(offset or 0)
    if not 0 <= number < NSIG:
        raise OptionError(f"{word}: no such signal", "give its number, or its name such as TERM")
    return number


def _wants_json(values: Values) -> bool:
    form = values.get("format", "table")
    if form not in ("json", "table"):
        raise OptionError(f"--format {form}: not known", "use json or table")
    return bool(form == "json")


def _print_json(value: object) -> None:
    from json import dumps

    print(dumps(value, indent=2))


def _print_table(lines: list[list[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(map(str.ljust, line, widths)).rstrip())


_BUNDLE = Option("bundle b", "DIR", "the folder with config.json (the current one)")
_CONSOLE = Option("console-socket", "SOCKET", "where the master of the process's terminal is sent")
_PID_FILE = Option("pid-file", "FILE", "where to write the process's id")
_PRESERVE = Option("preserve-fds", "N", "descriptors that are kept, after 0 to 2 and $LISTEN_FDS")
_DETACH = Option("detach d", None, "don't wait for the process")
_FORMAT = Option("format f", "FORMAT", "table or json (table)")
_CREATION = (
    _BUNDLE,
    _CONSOLE,
    _PID_FILE,
    Option("no-pivot", None, "MS_MOVE and chroot, not pivot_root: for a root on a ramdisk"),
    Option("no-new-keyring", None, "keep this session's keyring"),
    _PRESERVE,
)

COMMANDS = {
    "create": Command(
        _create,
        "ID",
        "Create a container; its process waits for `start`",
        "ringlet-oci create --bundle /srv/web web",
        *_CREATION,
    ),
    "start": Command(
        _start, "ID", "Let a created container's process go on", "ringlet-oci start web"
    ),
    "run": Command(
        _run,
        "ID",
        "Create a container, start it, and delete it when its process has ended",
        "ringlet-oci run --bundle /srv/web web\nringlet-oci run --detach --bundle /srv/web web",
        *_CREATION,
        _DETACH,
        Option("keep", None, "don't delete it"),
        Option("no-subreaper", None, "without effect: there is none"),
    ),
    "exec": Command(
        _exec,
        "ID [COMMAND...]",
        "Run one more process in a container; its options stand before ID",
        "ringlet-oci exec --tty web /bin/sh\nringlet-oci exec --process process.json --detach web",
        Option("process p", "FILE", "the process, as in config.json"),
        _DETACH,
        _PID_FILE,
        _CONSOLE,
        Option("tty t", None, "give it a terminal"),
        Option("cwd", "DIR", "its working directory"),
        Option("env e", "NAME=VALUE", "one more variable of its environment", many=True),
        Option("user u", "UID[:GID]", "its user and group, by number"),
        Option("additional-gids g", "GID", "one more group", many=True),
        Option("cap c", "CAP", "one more capability", many=True),
        Option("no-new-privs", None, "it can gain no privilege"),
        Option("process-label", "LABEL", "its SELinux label"),
        Option("apparmor", "PROFILE", "its AppArmor profile"),
        _PRESERVE,
        Option(
            "cgroup",
            "[CONTROLLER,...:]PATH",
            "a cgroup to run in, below the container's; with controllers, of version 1",
            many=True,
        ),
        Option("ignore-paused", None, "also in a paused container, to run once it's resumed"),
        passes_options=True,
    ),
    "state": Command(_state, "ID", "Show a container's state, in JSON", "ringlet-oci state web"),
    "kill": Command(
        _kill,
        "ID [SIGNAL]",
        "Send a signal, SIGTERM unless given, to a container's first process",
        "ringlet-oci kill web\nringlet-oci kill --all web KILL",
        Option("all a", None, "to all its processes"),
    ),
    "delete": Command(
        _delete,
        "ID",
        "Remove a stopped container, and all that was made for it",
        "ringlet-oci delete web\nringlet-oci delete --force web",
        Option("force f", None, "kill it first, if need be; and it's well if there is none"),
    ),
    "list": Command(
        _list,
        "",
        "Show all containers",
        "ringlet-oci list\nringlet-oci list --format json",
        _FORMAT,
        Option("quiet q", None, "show the ids alone"),
    ),
    "ps": Command(
        _ps,
        "ID [OPTION...]",
        "Show a container's processes; options behind ID are those of ps",
        "ringlet-oci ps web\nringlet-oci ps --format json web\nringlet-oci ps web -o pid,args",
        _FORMAT,
        passes_options=True,
    ),
    "pause": Command(_pause, "ID", "Freeze a container's processes", "ringlet-oci pause web"),
    "resume": Command(_resume, "ID", "Let a paused container go on", "ringlet-oci resume web"),
    "update": Command(
        _update,
        "ID",
        "Change a container's limits",
        "ringlet-oci update --memory 512m --pids-limit 100 web\n"
        "ringlet-oci update --resources - web < resources.json",
        Option("resources r", "FILE", "the limits, as linux.resources in config.json; - is stdin"),
        Option("blkio-weight", "N", "share of the disks, 10 to 1000"),
        Option("cpu-period", "MICROSECONDS", "the time that --cpu-quota is a part of"),
        Option("cpu-quota", "MICROSECONDS", "time of CPUs in each period; -1 for no limit"),
        Option("cpu-burst", "MICROSECONDS", "time that may be saved up"),
        Option("cpu-share cpu-shares", "N", "share of the CPUs, against other containers"),
        Option("cpu-rt-period", "MICROSECONDS", "the period for real-time scheduling"),
        Option("cpu-rt-runtime", "MICROSECONDS", "real-time scheduling in each period"),
        Option("cpu-idle", "0|1", "only what nobody else wants"),
        Option("cpuset-cpus", "LIST", "CPUs to run on, such as 0-2,4"),
        Option("cpuset-mems", "LIST", "memory nodes"),
        Option("memory", "BYTES", "most memory, such as 512m; -1 for no limit"),
        Option("memory-reservation", "BYTES", "memory that it keeps when memory is short"),
        Option("memory-swap", "BYTES", "most memory and swap together"),
        Option("pids-limit", "N", "most processes and threads; 0 or -1 for no limit"),
    ),
    "events": Command(
        _events,
        "ID",
        "Show what a container uses, at intervals, and when memory is out; a JSON object a line",
        "ringlet-oci events --stats web\nringlet-oci events --interval 1s web",
        Option("stats", None, "once, and end"),
        Option("interval", "TIME", "how often, such as 500ms, 5s or 1m (5s)"),
    ),
    "features": Command(
        _features, "", "Show what this runtime can, in JSON", "ringlet-oci features"
    ),
    "spec": Command(
        _spec,
        "",
        "Write a config.json to start from",
        "ringlet-oci spec --bundle /srv/web",
        _BUNDLE,
        Option("rootless", None, "for a user other than root"),
    ),
}
