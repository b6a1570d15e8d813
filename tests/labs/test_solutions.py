"""Each lab: all points for the reference, none for the starter, fewer for wrong solutions."""

import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ringlet.labs.catalog import Lab, labs
from ringlet.labs.grade import Grades, grade

pytestmark = [pytest.mark.needs_kvm, pytest.mark.needs_root, pytest.mark.needs_gcc]

SOLUTIONS = Path(__file__).parent / "solutions"
LABS = labs()
BY_TITLE = [pytest.param(lab, id=lab.place.name) for lab in LABS]


def wrong_solutions() -> Iterator[Any]:
    for lab in LABS:
        file = SOLUTIONS / lab.place.name / "wrong.toml"
        for name, wrong in tomllib.loads(file.read_text()).items():
            yield pytest.param(lab, wrong, id=f"{lab.place.name}-{name}")


def verdicts(lab: Lab, folder: Path) -> Grades:
    grades = grade(lab, folder, lambda check: None)
    assert grades.notes == []  # all limits are set
    return grades


def hand_in(lab: Lab, wrong: dict[str, Any], place: Path) -> Path:
    """A folder with a wrong solution: see solutions/README.md."""
    solutions = SOLUTIONS / lab.place.name
    folder = shutil.copytree(solutions / wrong.get("files", "reference"), place / "work")
    if "old" in wrong:
        (main,) = (folder / name for name in lab.files)
        text = main.read_text()
        assert text.count(wrong["old"]) == 1
        main.write_text(text.replace(wrong["old"], wrong["new"]))
    return folder


def failed(grades: Grades) -> list[int]:
    return [number for number, one in enumerate(grades.verdicts, 1) if not one.passed]


@pytest.mark.parametrize("lab", BY_TITLE)
def test_the_reference_gets_all_points(lab: Lab) -> None:
    grades = verdicts(lab, SOLUTIONS / lab.place.name / "reference")
    assert [one.seen for one in grades.verdicts if not one.passed] == []
    assert grades.earned == grades.points == 100


@pytest.mark.parametrize("lab", BY_TITLE)
def test_the_starter_runs_and_gets_no_points(lab: Lab) -> None:
    grades = verdicts(lab, lab.place / "starter")
    assert grades.earned == 0
    assert all(one.hint for one in grades.verdicts)
    assert not any("Error" in one.seen or "build fails" in one.seen for one in grades.verdicts)


@pytest.mark.slow
@pytest.mark.parametrize(("lab", "wrong"), list(wrong_solutions()))
def test_a_wrong_solution_loses_what_it_should(
    lab: Lab, wrong: dict[str, Any], tmp_path: Path
) -> None:
    grades = verdicts(lab, hand_in(lab, wrong, tmp_path))
    assert failed(grades) == wrong["fails"], [one.seen for one in grades.verdicts]


@pytest.mark.parametrize("lab", BY_TITLE)
def test_a_lab_has_at_least_three_wrong_solutions_and_all_checks_are_lost_by_one(lab: Lab) -> None:
    wrong = tomllib.loads((SOLUTIONS / lab.place.name / "wrong.toml").read_text())
    assert len(wrong) >= 3
    lost = {number for one in wrong.values() for number in one["fails"]}
    assert lost == set(range(1, len(lab.checks()) + 1))
