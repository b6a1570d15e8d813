"""The labs' solutions on a hardware KVM: the verdicts are those of a KVM in software.

A check takes some 25 seconds here, so a lab has its reference, its starter and one wrong solution.
"""

from pathlib import Path
from typing import Any

import pytest

from ringlet.labs.catalog import Lab

from ..labs.test_solutions import (
    BY_TITLE,
    LABS,
    SOLUTIONS,
    failed,
    hand_in,
    verdicts,
    wrong_solutions,
)

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_gcc]

FIRST_WRONG = [next(each for each in wrong_solutions() if each.values[0] is lab) for lab in LABS]


@pytest.mark.parametrize("lab", BY_TITLE)
def test_the_reference_gets_all_points_and_the_starter_none(lab: Lab) -> None:
    grades = verdicts(lab, SOLUTIONS / lab.place.name / "reference")
    assert [one.seen for one in grades.verdicts if not one.passed] == []
    assert verdicts(lab, lab.place / "starter").earned == 0


@pytest.mark.parametrize(("lab", "wrong"), FIRST_WRONG)
def test_a_wrong_solution_loses_what_it_should(
    lab: Lab, wrong: dict[str, Any], tmp_path: Path
) -> None:
    grades = verdicts(lab, hand_in(lab, wrong, tmp_path))
    assert failed(grades) == wrong["fails"], [one.seen for one in grades.verdicts]
