"""The how-to pages of docs/: their commands print what the pages show.

The blocks of a page run in their order, in one folder. A block whose first line is a comment with
a file's name is that file. A comment before a block says why it isn't run:
`<!-- not run: REASON -->`. In what a page shows, `...` is anything.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

import ringlet

from .cli.command import ENVIRONMENT, RINGLET
from .container.engine import Place

DOCS = Path(__file__).parents[1] / "docs"
BLOCK = re.compile(r"(?:<!-- not run: [^>]+ -->\n)?^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
FILE = re.compile(r"(?:#|//) ([\w.]+)\n")
NESTED = 240  # seconds, on a busy computer


def steps(page: str) -> Iterator[tuple[str, str]]:
    """Each file of a page (its name, its content), and each command (`$ COMMAND`, a pattern)."""
    for block in BLOCK.finditer((DOCS / page).read_text()):
        kind, text = block.groups()
        if block[0].startswith("<!--"):
            continue
        if kind != "console":
            if name := FILE.match(text):
                yield name[1], text
            continue
        begin, *parts = re.split(r"^(\$ .*(?:\n> .*)*)\n", text, flags=re.MULTILINE)
        assert begin == ""
        for command, shown in zip(parts[::2], parts[1::2], strict=True):
            yield command.replace("\n> ", "\n"), re.escape(shown).replace(r"\.\.\.", ".*")


def run(page: str, folder: Path, before: Sequence[str] = (), **variables: str) -> int:
    """Runs a page in `folder`, which no other user can enter; returns how many commands it has."""
    folder.chmod(0o700)
    # The programs of the page are this ringlet and this Python, not an installed one.
    programs = f"{Path(RINGLET[0]).parent}:{Path(sys.executable).parent}"
    path = f"{programs}:{os.environ['PATH']}:/usr/sbin:/sbin"
    environment = ENVIRONMENT | {"PATH": path, "LC_ALL": "C", "COLUMNS": "80"} | variables
    # One shell for the page, since its commands have variables and a current folder.
    done, script, expected = 0, ["exec 2>&1"], []
    for name, text in steps(page):
        if not name.startswith("$ "):
            (folder / name).write_text(text)
            continue
        done += 1
        script += [f"echo '<{done}>'", name.removeprefix("$ ")]
        expected.append((name, text))
    result = subprocess.run(
        [*before, "sh", "-c", "\n".join(script)],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        errors="replace",  # `cut` cuts between the bytes of a character
        timeout=NESTED,
        check=False,
    )
    shown = re.split(r"^<\d+>\n", result.stdout, flags=re.MULTILINE)[1:]
    assert len(shown) == done
    for (command, pattern), output in zip(expected, shown, strict=True):
        output = re.sub(r" +$", "", output, flags=re.MULTILINE)
        assert re.fullmatch(pattern, output, re.DOTALL), f"{command}:\n{output}"
    return done


@pytest.mark.needs_kvm
@pytest.mark.needs_busybox
@pytest.mark.needs_cgroups
def test_getting_started(tmp_path: Path) -> None:
    assert run("getting-started.md", tmp_path) == 10


@pytest.mark.needs_root
@pytest.mark.needs_busybox
@pytest.mark.needs_cpio
def test_rootfs_and_kernel(tmp_path: Path) -> None:
    assert run("rootfs-and-kernel.md", tmp_path) == 12


@pytest.mark.needs_kvm
@pytest.mark.needs_e2fsprogs
def test_disks(tmp_path: Path) -> None:
    assert run("disks.md", tmp_path) == 12


@pytest.mark.needs_kvm
def test_devices(tmp_path: Path) -> None:
    assert run("devices.md", tmp_path) == 5


@pytest.mark.needs_kvm
@pytest.mark.needs_tap
@pytest.mark.needs_busybox
def test_network(tmp_path: Path) -> None:
    assert run("network.md", tmp_path, ["unshare", "--net"]) == 7


@pytest.mark.needs_kvm
@pytest.mark.needs_busybox
@pytest.mark.needs_cgroups
def test_tour(tmp_path: Path) -> None:
    assert run("tour.md", tmp_path) == 6


@pytest.mark.needs_kvm
@pytest.mark.needs_busybox
@pytest.mark.needs_cgroups
def test_first_lecture(tmp_path: Path) -> None:
    assert run("first-lecture.md", tmp_path) == 7


@pytest.mark.needs_kvm
def test_python(tmp_path: Path) -> None:
    assert run("python.md", tmp_path) == 1


PODMAN = """
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
netns = "none"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
tmp_dir = "/run/tmp"
"""
STORAGE = '[storage]\ndriver = "vfs"\ngraphroot = "/run/root"\nrunroot = "/run/run"\n'


@pytest.mark.needs_podman
@pytest.mark.needs_busybox
@pytest.mark.needs_cgroups
def test_engines(tmp_path: Path) -> None:
    place = Place(tmp_path)
    settings = {"CONTAINERS_CONF": PODMAN, "CONTAINERS_STORAGE_CONF": STORAGE}
    for name, text in settings.items():
        (tmp_path / name).write_text(text)
    files = {name: str(tmp_path / name) for name in settings}
    folder = tmp_path / "page"
    folder.mkdir()
    assert run("engines.md", folder, place.words(f"--wd={folder}"), **files) == 19
    place.close()


@pytest.mark.nested_host
@pytest.mark.needs_nested_kernel
def test_no_kvm(tmp_path: Path) -> None:
    assert run("no-kvm.md", tmp_path) == 2


def test_all_that_is_not_run_says_why() -> None:
    for page in DOCS.glob("*.md"):
        text = page.read_text()
        assert text.count("<!-- not run") == len(re.findall(r"<!-- not run: \w.* -->\n```", text))


def test_each_page_is_in_the_navigation_once() -> None:
    listed = re.findall(r"^- \[[^\]]+\]\(([\w-]+\.md)\)", (DOCS / "index.md").read_text(), re.M)
    pages = {page.name for page in DOCS.glob("*.md")} - {"index.md"}
    assert sorted(listed) == sorted(pages)


def test_the_reference_has_each_public_name() -> None:
    text = (DOCS / "python.md").read_text()
    listed = " ".join(re.findall(r"^<!-- reference of (.+) -->$", text, re.M)).split()
    assert {name for name in listed if name.count(".") == 1} == {
        f"ringlet.{name}" for name in ringlet.__all__
    }
