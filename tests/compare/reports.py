"""Reports to draw: one as a run on a common machine gives it, and hostile ones."""

import random
import statistics
from collections.abc import Mapping

from ringlet.compare.report import Cell, Host, Report, ReportedMeasure, ReportedWay

WAYS = {
    "process": ("Process", "the work as a process of the host, with no walls around it"),
    "container": ("Container", "the same program under namespaces, seccomp and no capabilities"),
    "tiny-vm": ("Tiny VM", "the same object code in a VM with a kernel of a few pages"),
    "linux-vm": ("Linux VM", "the same program in a VM that boots the distribution's kernel"),
    "crun": ("crun", "the same bundle by another runtime of the OCI"),
}
BROKEN = "crun: error opening file /sys/fs/cgroup/unified: No such file or directory"
COMMANDS = {
    "process": "/usr/lib/ringlet/_guests/work",
    "container": "ringlet run /tmp/ringlet-compare-x/rootfs -- /work",
    "tiny-vm": "ringlet boot work --cmdline",
    "linux-vm": "ringlet boot /boot/vmlinuz-6.1.0-56-amd64 --exec",
}

# name, group, title, unit, better, {way: median}
NUMBERS = (
    ("first-instruction", "startup", "Command to the first instruction of the work", "ms", "lower",
     (0.61, 9.8, 14.2, 412)),
    ("first-output", "startup", "Command to the first output", "ms", "lower",
     (0.65, 10.1, 14.9, 415)),
    ("whole", "startup", "Command to its end", "ms", "lower", (0.92, 12.6, 19.8, 431)),
    ("inside-first-output", "startup", "In a running process: to the first output", "ms", "lower",
     (0.41, 1.9, 1.6, 377)),
    ("resident", "memory", "What an idle instance keeps of the host's memory", "MiB", "lower",
     (0.3, 3.1, 6.9, 91)),
    ("page-tables", "memory", "Page tables of an instance", "KiB", "lower", (28, 84, 152, 410)),
    ("each-1", "memory", "Memory of each, of 1 at once", "MiB", "lower", (0.31, 4.2, 8.8, 95)),
    ("each-10", "memory", "Memory of each, of 10 at once", "MiB", "lower", (0.27, 1.6, 3.4, 88)),
    ("each-100", "memory", "Memory of each, of 100 at once", "MiB", "lower",
     (0.26, 1.2, 2.7, None)),
    ("loop", "processor", "A loop that depends on itself", "ms", "lower", (48.1, 48.2, 48.2, 48.4)),
    ("sort", "processor", "Sorting 100,000 numbers", "ms", "lower", (21.3, 21.2, 22.9, 21.9)),
    ("hash", "processor", "Hashing 16 MiB", "ms", "lower", (17.5, 17.5, 17.6, 17.7)),
    ("syscall", "exits", "A system call", "ns", "lower", (62, 141, 388, 71)),
    ("exit", "exits", "An exit to the VMM", "us", "lower", (None, None, 1.9, 5.2)),
    ("read", "disk", "Reading a block of 4 KiB", "us", "lower", (1.1, 1.2, 9.7, 38)),
    ("write", "disk", "Writing a block of 4 KiB", "us", "lower", (1.9, 2.0, 10.8, 41)),
    ("flush", "disk", "Writing and flushing a block of 4 KiB", "us", "lower",
     (880, 905, 921, 1010)),
    ("bomb", "neighbour", "A neighbour's work under a fork bomb", "%", "higher",
     (None, 97, 99, 98)),
    ("rate", "density", "Starts in a second, one after another", "1/s", "higher",
     (1490, 79, 50, 2.3)),
    ("most", "density", "Instances at once", "", "higher", (20, 20, 20, 11)),
)  # fmt: skip

TEXTS = (
    ("kernel", "Kernel", ("6.1.0-56-amd64, the host's", "6.1.0-56-amd64, the host's",
                          "its own: work", "6.1.0-56-amd64, its own")),
    ("processes", "Processes in sight", ("143", "1", "1", "74")),
    ("devices", "Devices in /dev", ("autofs,btrfs-control,console,core,cpu_dma_latency,cuse,disk,"
        "fd,full,fuse,hpet,hwrng,input,kmsg,kvm,log,loop-control,mapper,mem,mqueue,net,null",
        "console,fd,full,mqueue,null,ptmx,pts,random,shm,stderr,stdin,stdout,tty,urandom,zero",
        "none", "console,full,kmsg,mem,null,port,ptmx,random,tty,ttyS0,urandom,zero")),
    ("host-name", "Host name", ("larch, the host's", "ringlet-3f1c", "none", "(none)")),
    ("calls", "Calls of 100 that reach the host's kernel", ("100", "100", "0", "0")),
)  # fmt: skip


HOSTILE = (
    "<script>document.title = 'taken'</script>",
    "</style></svg><img src=x onerror=alert(1)>",
    '" onload="alert(1)" x=\'',
    "javascript:alert(1)",
    "https://example.org/a.png",
    "url(https://example.org/a.css)",
    "--> ]]> <!-- <![CDATA[ &lt; &amp &#0; <?xml ?>",
    "$x^{2$ \\frac{1}{0} $\\unknown$",
    "\x00\x1b[2J\u202e\ud800\ufffe\r\n\t",
    "x" * 5000,
    "",
)


def sample() -> Report:
    """Four ways that work and one that doesn't, 25 measures, the same each time."""
    chance = random.Random(1)
    ways = [
        ReportedWay(name=name, title=title, about=about, error=BROKEN if name == "crun" else None)
        for name, (title, about) in WAYS.items()
    ]
    measures = []
    for name, group, title, unit, better, medians in NUMBERS:
        cells = {"crun": Cell(error=BROKEN)}
        for way, median in zip(WAYS, medians, strict=False):
            if median is None:
                cells[way] = Cell(error="no VMM is there to exit to" if name == "exit" else
                                  "not tried: it would be the host's own")  # fmt: skip
                continue
            cells[way] = _cell(chance, way, name, median)
        measures.append(
            ReportedMeasure(
                name=name, group=group, title=title, unit=unit, better=better, ways=cells,
                how=f"From CLOCK_MONOTONIC right before the command to the end of “{title}”, with "
                "two runs before that don't count; the ways take turns.",
                meaning=_meaning(title, unit, medians),
            )
        )  # fmt: skip
    for name, title, texts in TEXTS:
        cells = {
            way: Cell(text=text, command=f"{COMMANDS[way]} see")
            for way, text in zip(WAYS, texts, strict=False)
        }
        measures.append(
            ReportedMeasure(
                name=name, group="isolation", title=title, unit="", better="", ways=cells,
                how="What the work sees from inside, by `see`, beside what the host has.",
                meaning="A container shares the host's kernel; a VM has one of its own.",
            )
        )  # fmt: skip
    return Report(
        created="2026-11-24T14:48:43Z",
        seconds=96.4,
        complete=True,
        command="ringlet compare --with crun --html page.html",
        host=Host(
            machine="ThinkPad X1 Carbon Gen 11",
            processor="13th Gen Intel(R) Core(TM) i7-1365U",
            processors=12,
            memory=33_285_996_544,
            kernel="6.1.0-56-amd64",
            kvm="hardware",
            virtualization="none",
            versions={"ringlet": "0.1.0", "Python": "3.11.7", "crun": "1.8.1"},
        ),
        ways=ways,
        measures=measures,
    )


def _cell(chance: random.Random, way: str, name: str, median: float) -> Cell:
    samples = sorted(median * chance.lognormvariate(0, 0.06) for _ in range(15))
    low, middle, high = statistics.quantiles(samples, n=4)
    cell = Cell(
        samples=samples,
        median=middle,
        spread=high - low,
        command=f"{COMMANDS[way]} {name} 100000",
    )
    if name == "first-output" and way != "process":
        shares = {
            "container": {"created": 0.7, "started": 0.25, "first_output": 0.05},
            "tiny-vm": {"vm_created": 0.6, "image_loaded": 0.05, "first_exit": 0.3, "output": 0.05},
            "linux-vm": {"vm_created": 0.03, "image_loaded": 0.12, "kernel": 0.8, "output": 0.05},
        }[way]
        cell.phases = {phase: share * middle for phase, share in shares.items()}
    if way == "linux-vm" and name in ("read", "write", "flush"):
        cell.note = "direct, past the cache of its own that the other ways don't have"
    return cell


def _meaning(title: str, unit: str, medians: tuple[float | None, ...]) -> str:
    process, container, vm = medians[:3]
    if not (process and container and vm):
        return ""
    return (
        f"{title} takes {container / process:.1f} times as long or as much in a container as in a "
        f"process, and {vm / process:.1f} times in a tiny VM."
    )


def small(
    samples: Mapping[str, Cell], *, text: str = "x", name: str = "m", group: str = "g"
) -> Report:
    """A report with one measure of these cells, and `text` in every string of it."""
    return Report(
        created=text,
        seconds=1.0,
        complete=False,
        command=text,
        host=Host(
            machine=text,
            processor=text,
            processors=1,
            memory=1,
            kernel=text,
            kvm=text,
            virtualization=text,
            versions={text: text},
        ),
        ways=[ReportedWay(name=way, title=text, about=text, error=text) for way in samples],
        measures=[
            ReportedMeasure(
                name=name,
                group=group,
                title=text,
                unit=text,
                better=text,
                how=text,
                meaning=text,
                ways=dict(samples),
            )
        ],
    )
