"""Solutions again, in an emulated machine; and once without /dev/kvm. The verdicts agree.

One machine serves all tests of a process: `make test-nested` runs two processes, by lab. A check
takes the machine many times as long as this host. So that takes each lab's reference and starter,
the wrong solutions that only a hardware KVM tells from right ones, and `_OTHERS` more of each lab;
`make test-labs` takes all.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ringlet.labs.catalog import Lab
from ringlet.labs.check import HARDWARE_KVM, NO_KVM, Verdict
from ringlet.labs.folder import MARK
from ringlet.labs.grader import IN_MACHINE, Grader
from ringlet.labs.nested import NESTED

from ..cli.command import run, with_mount
from .test_solutions import LABS, check, hand_in, stated

pytestmark = [
    pytest.mark.nested_host,
    pytest.mark.needs_root,
    pytest.mark.needs_qemu,
    pytest.mark.needs_nested_kernel,
    pytest.mark.needs_gcc,
]

_LONG = 1800  # seconds for all labs
# A /dev with the devices that programs expect, and no kvm.
NO_KVM_BUT_THE_REST = """
mount -t tmpfs none /mnt
for name in null zero full random urandom tty; do
    touch /mnt/$name; mount --bind /dev/$name /mnt/$name
done
ln -s /proc/self/fd /mnt/fd; mkdir /mnt/shm /mnt/pts
mount --rbind /mnt /dev"""


_OTHERS = 3


def chosen(lab: Lab) -> list[str]:
    """The solutions of a lab that are graded in the machine."""
    works = stated(lab)
    if os.environ.get("EXAMPLES") == "all":
        return list(works)
    hardware = {n for n, one in enumerate(lab.checks(), 1) if one.kvm == HARDWARE_KVM}
    needs = [name for name, work in works.items() if hardware.intersection(work["fails"])]
    return list(dict.fromkeys([*list(works)[: 2 + _OTHERS], *needs]))


@pytest.fixture(scope="module")
def grader() -> Iterator[Grader]:
    with Grader(IN_MACHINE, lambda text: None, lambda text: None) as grader:
        yield grader


@pytest.mark.parametrize(
    ("lab", "name"),
    [
        pytest.param(lab, name, id=f"{lab.place.name}-{name}")
        for lab in LABS
        for name in chosen(lab)
    ],
)
def test_verdicts_are_as_stated_in_an_emulated_machine(
    lab: Lab, name: str, grader: Grader, tmp_path: Path
) -> None:
    grades = grader.grade(lab, hand_in(lab, name, tmp_path))
    check(lab, name, dict(enumerate(grades.verdicts, 1)))
    assert {one.where for one in grades.verdicts} == {NESTED}
    assert grades.notes == []


def test_a_work_that_brings_the_machine_down_fails_that_check_alone(
    grader: Grader, tmp_path: Path
) -> None:
    """The machine is killed as a guest would bring it down: from one check to the next."""
    lab = LABS[0]
    killed = []

    def say(what: str) -> None:
        if what.startswith("3/") and not killed:
            killed.append(what)
            assert grader._machine is not None
            grader._machine._process.kill()

    grader._say = say
    try:
        grades = grader.grade(lab, hand_in(lab, "reference", tmp_path))
    finally:
        grader._say = lambda what: None
    assert killed
    assert [number for number, one in enumerate(grades.verdicts, 1) if not one.passed] == [3]
    assert grades.verdicts[2].seen.startswith("the emulated machine stopped at this check")


def test_verdicts_are_as_stated_where_there_is_no_kvm(tmp_path: Path) -> None:
    """By one command: each lab's reference; of some labs a starter and a wrong solution, too."""
    more = [1, 3, 5, 8] if os.environ.get("EXAMPLES") != "all" else [lab.number for lab in LABS]
    works = [
        (lab, name) for lab in LABS for name in list(stated(lab))[: 3 if lab.number in more else 1]
    ]
    for number, (lab, name) in enumerate(works):
        (tmp_path / str(number)).mkdir()
        folder = hand_in(lab, name, tmp_path / str(number))
        (folder / MARK).write_text(f"lab = {lab.number}\nversion = {lab.version}\n")
    folders = [f"./{number}/work" for number in range(len(works))]
    done = run(
        *("lab", "check", "--json", *folders),
        cwd=tmp_path,
        before=with_mount(NO_KVM_BUT_THE_REST),
        timeout=_LONG,
    )
    assert done.returncode == 1, done.stderr
    assert "KVM can't be used here" in done.stderr
    assert done.stderr.count("; an emulated machine checks instead") == 1
    for (lab, name), grades in zip(works, json.loads(done.stdout), strict=True):
        fields = [{name: one[name] for name in Verdict._fields} for one in grades["checks"]]
        verdicts = {number: Verdict(**one) for number, one in enumerate(fields, 1)}
        check(lab, name, verdicts)
        for one, verdict in zip(lab.checks(), verdicts.values(), strict=True):
            assert (verdict.where != NESTED) == (one.kvm == NO_KVM)
