"""Each property is that of `typing.NamedTuple`, which a type checker sees in its place."""

import copy
import pickle
from typing import NamedTuple as Theirs

import pytest

from ringlet.host.named_tuple import NamedTuple as Ours


class OurPoint(Ours):
    x: int
    y: int = 2
    z: str = "z"

    @property
    def total(self) -> int:
        return self.x + self.y


class TheirPoint(Theirs):
    x: int
    y: int = 2
    z: str = "z"

    @property
    def total(self) -> int:
        return self.x + self.y


POINTS = [OurPoint, TheirPoint]


@pytest.mark.parametrize("point", POINTS)
def test_fields_are_given_in_order_by_name_or_by_default(point: type[TheirPoint]) -> None:
    assert point(1) == point(x=1) == point(1, 2) == point(1, z="z") == (1, 2, "z")
    one = point(1, y=5)
    assert (one.x, one.y, one.z, one.total) == (1, 5, "z", 6)
    assert point._make([1, 5, "z"]) == one
    with pytest.raises(TypeError):
        point._make([1, 5])
    assert point._fields == ("x", "y", "z")
    x, *rest = one
    assert (x, rest) == (1, [5, "z"])


@pytest.mark.parametrize("point", POINTS)
def test_a_field_that_is_missing_twice_there_or_unknown_is_an_error(
    point: type[TheirPoint],
) -> None:
    for values, named in (((), {}), ((1,), {"x": 1}), ((1,), {"w": 1}), ((1, 2, "z", 4), {})):
        with pytest.raises(TypeError):
            point(*values, **named)  # type: ignore[arg-type]


@pytest.mark.parametrize("point", POINTS)
def test_a_field_cannot_be_assigned(point: type[TheirPoint]) -> None:
    with pytest.raises(AttributeError):
        point(1).x = 2  # type: ignore[misc]


@pytest.mark.parametrize("point", POINTS)
def test_it_can_be_changed_in_a_copy_shown_matched_copied_and_pickled(
    point: type[TheirPoint],
) -> None:
    one = point(1)
    assert one._replace(y=7) == (1, 7, "z")
    assert one._asdict() == {"x": 1, "y": 2, "z": "z"}
    assert repr(one) == f"{point.__name__}(x=1, y=2, z='z')"
    match one:
        case point(x, y):
            assert (x, y) == (1, 2)
    assert copy.deepcopy(one) == one
    assert type(pickle.loads(pickle.dumps(one))) is point
