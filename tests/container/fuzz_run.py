"""Runs configurations made at random, on a host that is compared before and after each.

    python -m tests.container.fuzz_run FOLDER FIRST COUNT [MOST [WITHOUT...]]

Each runs `ringlet-oci` in a forked process, that has descriptors of the host open. After a find
the host is thrown away, and the next configuration has a new one; MOST finds are looked into, and
printed as JSON, with the smallest configuration that does the same. FOLDER is for the host to be.

WITHOUT is what the runtime lacks, so that there is something to find: a step of the plan, or one
of the names in `_take_away`.
"""

import copy
import fcntl
import importlib
import itertools
import json
import os
import pickle
import pkgutil
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import ringlet.container
from ringlet.container.cgroups import Cgroups
from ringlet.container.cgroups.cgroup import Cgroup
from ringlet.container.launch import files, helper
from ringlet.container.launch.plan import Plan
from ringlet.container.state import Record, Store
from ringlet.oci import main as oci

from . import fuzz_host
from .fuzz_config import Case, make
from .fuzz_host import BUNDLE, ROOTFS, STATE, VOLUMES, Host, Seen
from .fuzz_judge import judge_files, judge_inside, judge_others, judge_words

_HANGS = 30.0  # seconds
_REST = 3.0  # seconds, for what has been killed to be gone
_TRIES = 60  # to make a configuration smaller
_FAILED = 98


class Ran(NamedTuple):
    """How a runtime ended, and what was said; `printed` is the container's."""

    status: int
    said: str
    printed: str


class Find(NamedTuple):
    """What a configuration did that it mustn't."""

    case: Case
    what: list[str]


class Report(NamedTuple):
    """Of a number of configurations on one host: those that ran, and the find that ended it."""

    done: int
    made: int  # containers whose command ran to its end
    find: Find | None


def _fork(run: Callable[[], int]) -> int:
    """A child that has `run`'s result as its status."""
    pid = os.fork()
    if not pid:
        status = _FAILED
        try:
            status = run()
        except BaseException:
            os.write(2, traceback.format_exc().encode())
        finally:
            os._exit(status)
    return pid


def _ringlet(operate: Callable[[Callable[..., int]], int], preserved: int = 0) -> Ran:
    """Runs `ringlet-oci`, once or more, in one process."""
    printed, said = (os.memfd_create(name) for name in ("printed", "said"))

    def run() -> int:
        null = os.open("/dev/null", os.O_RDWR)
        # What an engine may have left open, and no container may have, follows.
        left = [os.open(path, os.O_PATH | os.O_DIRECTORY) for path in ("/", "/fuzz", "/proc")]
        high = [
            fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 50)
            for fd in (null, printed, said, *[null] * preserved, *left)
        ]
        for number, fd in enumerate(high):
            os.dup2(fd, number)
        sys.stderr = os.fdopen(os.dup(2), "w", 1)
        return operate(lambda *words: oci.run(["--root", STATE, *words]))

    pid = _fork(run)
    pidfd = os.pidfd_open(pid)
    ended, _, _ = select.select([pidfd], [], [], _HANGS)
    os.close(pidfd)
    if not ended:
        os.kill(pid, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    texts = []
    for file in (said, printed):
        texts.append(os.pread(file, 1 << 20, 0).decode(errors="replace"))
        os.close(file)
    return Ran(status, texts[0] + ("" if ended else "\nTraceback: it hangs"), texts[1])


def _run(case: Case) -> Ran:
    preserve = ("--preserve-fds", str(case.preserve))

    def operate(ringlet: Callable[..., int]) -> int:
        if not case.executes:
            return ringlet("run", "--bundle", BUNDLE, *preserve, *case.words, "one")
        try:
            status = ringlet("create", "--bundle", BUNDLE, *case.words, "one")
            status = status or ringlet("start", "one")
            return status or ringlet("exec", *preserve, "one", "/bin/probe")
        finally:
            ringlet("delete", "--force", "one")

    return _ringlet(operate, case.preserved)


def _examine(host: Host, case: Case) -> tuple[Ran, list[str]]:
    """Runs it; what is wrong with it."""
    config = copy.deepcopy(case.config)
    linux = config.get("linux", {})
    masked, readonly = linux.get("maskedPaths", []), linux.get("readonlyPaths", [])
    only_readonly = [path for path in readonly if path not in masked]
    if config["root"].get("readonly"):
        only_readonly.append("/")
    environment = config["process"].setdefault("env", [])
    environment += ["MASKED=" + ":".join(masked), "READONLY=" + ":".join(only_readonly)]
    if case.executes:
        config["process"]["args"] = ["/bin/probe", "wait"]
    Path(BUNDLE, "config.json").write_text(json.dumps(config))
    if "netDevices" in linux:
        host.lay_cable()
    with _in_place(case.links):
        before = host.look() if case.links or not host.known else host.known
        ran = _run(case)
        after = _look_at_rest(host, before)
        found, made = judge_files(case, before, after)
        found += judge_words(ran.said, ran.printed)
        found += judge_inside(host, case, ran.printed)
        if ran.status == _FAILED:
            found.append(f"an exception: {ran.said[-1500:]}")
        if host.unmount_shared(case, before, after):
            after = host.look()
        found += judge_others(before, after)
        if not found:
            host.remove(made)
        host.known = None if made or case.links else after
    return ran, found


def _look_at_rest(host: Host, before: Seen) -> Seen:
    """The host, once what was killed is gone."""
    late = time.monotonic() + _REST
    while True:
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if host.at_rest(before) or time.monotonic() > late:
            return host.look()
        time.sleep(0.01)


@contextmanager
def _in_place(links: dict[str, str]) -> Iterator[None]:
    """Links of the root, in place of what was there."""
    for name, target in links.items():
        with suppress(FileNotFoundError):
            os.rename(f"{ROOTFS}/{name}", f"{ROOTFS}/{name}.aside")
        os.symlink(target, f"{ROOTFS}/{name}")
    yield
    for name in links:
        os.unlink(f"{ROOTFS}/{name}")
        with suppress(FileNotFoundError):
            os.rename(f"{ROOTFS}/{name}.aside", f"{ROOTFS}/{name}")


# ---- Hosts ----


def _make_pods() -> None:
    """Containers whose namespaces others join."""
    for name in ("plain", "user"):
        kinds = ["mount", "pid", "network", "ipc", "uts", "cgroup"]
        config: dict[str, Any] = {
            "ociVersion": "1.2.0",
            "root": {"path": "rootfs"},
            "process": {"args": ["/bin/probe", "wait"], "cwd": "/"},
            "mounts": [
                {"destination": "/proc", "type": "proc"},
                {"destination": "/dev", "type": "tmpfs"},
            ],
            "linux": {"cgroupsPath": f"/pod-{name}"},
        }
        if name == "user":
            kinds.append("user")
            mapping = [{"containerID": 0, "hostID": 100000, "size": 65536}]
            config["linux"].update(uidMappings=mapping, gidMappings=mapping)
        config["linux"]["namespaces"] = [{"type": kind} for kind in kinds]
        folder = Path("/fuzz/pods", name)
        (folder / "config.json").write_text(json.dumps(config))
        words = ["--root", "/fuzz/pods/state", "run", "--detach", "--bundle", str(folder), name]
        ran = _ringlet(lambda _, words=words: oci.run(words))  # type: ignore[misc]
        assert ran.status == 0, ran.said
        state = json.loads(Path("/fuzz/pods/state", name, "state.json").read_text())
        (folder / "ns").symlink_to(f"/proc/{state['init'][0]}/ns")


def on_a_host(folder: Path, cases: Iterable[Case]) -> Report:
    """Runs the cases until one is a find, on a new host in namespaces of its own."""
    everything: Any = {"devices": [{"allow": True, "access": "rwm"}]}
    path = f"/ringlet-fuzz-{os.getpid()}"
    cgroup = Cgroups.find().create(path, "", everything, may_lack=True)
    folders = {*cgroup.version_1.values(), *([cgroup.unified] if cgroup.unified else [])}
    reader, writer = os.pipe()

    def in_the_host() -> int:
        os.environ.update(TMPDIR="/fuzz/tmp", XDG_CACHE_HOME="/fuzz/cache")
        host = Host(folder)
        _make_pods()
        report = Report(0, 0, None)
        for case in cases:
            ran, what = _examine(host, case)
            made = report.made + ("end\n" in ran.printed)
            report = Report(report.done + 1, made, Find(case, what) if what else None)
            if what:
                break
        with os.fdopen(writer, "wb") as answer:
            pickle.dump(report, answer)
        return 0

    def outside() -> int:
        fuzz_host.die_with_parent()
        for top in folders:
            Path(top, "cgroup.procs").write_text("0")
        fuzz_host.unshare()
        for top in folders:  # with version 2, one that has processes can't limit those below it
            os.mkdir(f"{top}/own")
            for name in ("cpuset.cpus", "cpuset.mems"):
                if top == cgroup.version_1.get("cpuset"):
                    Path(top, "own", name).write_text(Path(top, name).read_text())
            Path(top, "own/cgroup.procs").write_text("0")
        return os.waitstatus_to_exitcode(os.waitpid(_fork(in_the_host), 0)[1])

    pid = _fork(outside)
    os.close(writer)
    try:
        with os.fdopen(reader, "rb") as answer:
            data = answer.read()
    finally:
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        cgroup.kill()
        for top in folders:
            for folder_below, _, _ in os.walk(top, topdown=False):
                os.rmdir(folder_below)
    assert data, f"the host ended with status {status}"
    report: Report = pickle.loads(data)
    return report


def _smaller(case: Case) -> Iterator[Case]:
    """The same without one of its parts."""

    def without(*path: Any) -> Case:
        config = copy.deepcopy(case.config)
        holder = config
        for part in path[:-1]:
            holder = holder[part]
        del holder[path[-1]]
        return case._replace(config=config)

    if case.links:
        yield case._replace(links={})
    if case.executes:
        yield case._replace(executes=False)
    if case.words:
        yield case._replace(words=[])
    if case.preserved:
        yield case._replace(preserved=0)
    config = case.config
    yield from (without(name) for name in config if name not in ("ociVersion", "root", "process"))
    for above in ("process", "linux", "hooks"):
        names = [name for name in config.get(above, ()) if name not in ("args", "cwd")]
        yield from (without(above, name) for name in names)
    for number, mount in enumerate(config.get("mounts", ())):
        yield without("mounts", number)
        for option in range(len(mount.get("options", ()))):
            yield without("mounts", number, "options", option)
    for name, value in config.get("linux", {}).items():
        if isinstance(value, list):
            yield from (without("linux", name, number) for number in range(len(value)))


def smallest(folder: Path, find: Find) -> Find:
    """As small as it gets by leaving out parts one at a time."""
    number = 0
    for _ in range(_TRIES):
        case = next(itertools.islice(_smaller(find.case), number, None), None)
        if case is None:
            break
        smaller = on_a_host(folder, [case]).find
        find, number = (smaller, number) if smaller else (find, number + 1)
    return find


def run_all(folder: Path, first: int, count: int, most: int) -> dict[str, Any]:
    """Runs the configurations of `count` seeds, or those until there are so many finds."""
    finds: list[dict[str, Any]] = []
    done = made = 0
    while done < count and len(finds) < most:
        report = on_a_host(folder, map(make, range(first + done, first + count)))
        done += report.done
        made += report.made
        if report.find:
            small = smallest(folder, report.find) if most > 1 else report.find
            finds.append({"what": small.what, "case": small.case._asdict()})
            print(json.dumps(finds[-1]), file=sys.stderr, flush=True)
    return {"count": done, "made": made, "finds": finds}


def _take_away(name: str) -> None:
    if name == "descriptors":
        Case.preserve = property(lambda self: self.preserved + 1)  # type: ignore[assignment]
        helper._check_kept = lambda fds: None
    elif name == "file":
        _before(Store, "create", lambda *_: os.chmod(f"{VOLUMES}/vol/setuid", 0o4755))
    elif name == "state":
        Record.remove = lambda self: None  # type: ignore[method-assign]
    elif name == "cgroup":
        Cgroup.delete = lambda self: None  # type: ignore[method-assign]
    elif name == "part":
        part = files._part
        files._part = lambda *words, **more: None if words[1] != "/" else part(*words, **more)
    else:
        add = Plan.add
        Plan.add = lambda *words: None if words[1] == name else add(*words)  # type: ignore[method-assign]


def _before(kind: type, name: str, action: Callable[..., None]) -> None:
    method = getattr(kind, name)

    def changed(*words: Any) -> Any:
        action(*words)
        return method(*words)

    setattr(kind, name, changed)


def main() -> None:
    for module in pkgutil.walk_packages(ringlet.container.__path__, "ringlet.container."):
        importlib.import_module(module.name)
    folder, numbers = Path(sys.argv[1]), [int(word) for word in sys.argv[2:5]]
    for name in sys.argv[5:]:
        _take_away(name)
    print(json.dumps(run_all(folder, *numbers), indent=1))


if __name__ == "__main__":
    main()
