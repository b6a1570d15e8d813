"""Each lab: all points for the reference, none for the starter, fewer for wrong solutions.

Checks that need a hardware KVM, where this host has none, are those of test_nested_solutions.py.
"""

import shutil
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ringlet.labs.catalog import Lab, labs
from ringlet.labs.check import Verdict
from ringlet.labs.grade import UNEXPECTED, judge
from ringlet.labs.host import Host
from ringlet.labs.work import read_files

pytestmark = [pytest.mark.needs_kvm, pytest.mark.needs_root, pytest.mark.needs_gcc]

SOLUTIONS = Path(__file__).parent / "solutions"
LABS = labs()
BY_TITLE = [pytest.param(lab, id=lab.place.name) for lab in LABS]
HOST = Host()


def stated(lab: Lab) -> dict[str, dict[str, Any]]:
    """What is said of each solution: see solutions/README.md."""
    file = SOLUTIONS / lab.place.name / "wrong.toml"
    every = list(range(1, len(lab.checks()) + 1))
    first = {"reference": {"fails": []}, "starter": {"fails": every}}
    return first | tomllib.loads(file.read_text())


def wrong_solutions() -> Iterator[Any]:
    for lab in LABS:
        for name in stated(lab):
            if name not in ("reference", "starter"):
                yield pytest.param(lab, name, id=f"{lab.place.name}-{name}")


def hand_in(lab: Lab, name: str, place: Path) -> Path:
    """Makes the folder that a student hands in."""
    if name == "starter":
        return shutil.copytree(lab.place / "starter", place / "work")
    solutions = SOLUTIONS / lab.place.name
    wrong = stated(lab)[name]
    folder = shutil.copytree(solutions / wrong.get("files", "reference"), place / "work")
    if "old" in wrong:
        (changed,) = [wrong["in"]] if "in" in wrong else lab.files
        main = folder / changed
        text = main.read_text()
        assert text.count(wrong["old"]) == 1
        main.write_text(text.replace(wrong["old"], wrong["new"]))
    if (solutions / "made.py").exists():
        makers(solutions / "made.py").add(folder, name)
    return folder


@cache
def makers(path: Path) -> ModuleType:
    """The functions of a made.py: see solutions/README.md."""
    spec = spec_from_file_location(path.parent.name, path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def check(lab: Lab, name: str, verdicts: dict[int, Verdict]) -> None:
    """Fails unless each verdict is as stated."""
    failed = {number: one.seen for number, one in verdicts.items() if not one.passed}
    assert sorted(failed) == [n for n in stated(lab)[name]["fails"] if n in verdicts], failed
    assert not any(seen.startswith(UNEXPECTED) for seen in failed.values()), failed


def judged(lab: Lab, name: str, place: Path) -> dict[int, Verdict]:
    """The verdicts of the checks that can run on this host, by number."""
    files = read_files(hand_in(lab, name, place), lab.files)
    checks = {n: one for n, one in enumerate(lab.checks(), 1) if HOST.why_not(one) is None}
    notes: list[str] = []
    verdicts = dict(judge(checks, files, HOST, lambda number: None, notes))
    assert notes == []  # all limits are set
    return verdicts


@pytest.mark.parametrize("lab", BY_TITLE)
def test_the_reference_gets_all_points(lab: Lab, tmp_path: Path) -> None:
    check(lab, "reference", judged(lab, "reference", tmp_path))
    assert sum(one.points for one in lab.checks()) == 100


@pytest.mark.parametrize("lab", BY_TITLE)
def test_the_starter_runs_and_gets_the_stated_points(lab: Lab, tmp_path: Path) -> None:
    verdicts = judged(lab, "starter", tmp_path)
    check(lab, "starter", verdicts)
    failed = [one for one in verdicts.values() if not one.passed]
    assert all(one.hint for one in failed)
    assert not any("Error" in one.seen or "build fails" in one.seen for one in failed)


@pytest.mark.slow
@pytest.mark.parametrize(("lab", "name"), list(wrong_solutions()))
def test_a_wrong_solution_loses_what_it_should(lab: Lab, name: str, tmp_path: Path) -> None:
    check(lab, name, judged(lab, name, tmp_path))


@pytest.mark.parametrize("lab", BY_TITLE)
def test_a_lab_has_at_least_three_wrong_solutions_and_all_checks_are_lost_by_one(lab: Lab) -> None:
    wrong = [one for name, one in stated(lab).items() if name not in ("reference", "starter")]
    assert len(wrong) >= 3
    lost = {number for one in wrong for number in one["fails"]}
    assert lost == set(range(1, len(lab.checks()) + 1))
