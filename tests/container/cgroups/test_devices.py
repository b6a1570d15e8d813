import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringlet.container.cgroups import CgroupError
from ringlet.container.cgroups.devices import ALL, DEFAULT, Rule, exceptions_of, rules_of

from .inside import run

numbers = st.sampled_from([ALL, 1, 2])
accesses = st.sets(st.sampled_from("rwm"), min_size=1).map(lambda it: "".join(sorted(it)))
rules = st.lists(
    st.one_of(
        st.tuples(st.booleans(), st.sampled_from("bc"), numbers, numbers, accesses),
        st.tuples(st.booleans(), st.just("a"), st.just(ALL), st.just(ALL), st.just("rwm")),
    ),
    max_size=8,
)


def allowed(rules: list[Rule], kind: str, major: int, minor: int, access: str) -> bool:
    """What the order of rules means: for each kind of access, the last one that speaks of it."""
    for letter in access:
        answer = False
        for allow, its_kind, its_major, its_minor, its_access in rules:
            if (
                its_kind in ("a", kind)
                and its_major in (ALL, major)
                and its_minor in (ALL, minor)
                and letter in its_access
            ):
                answer = allow
        if not answer:
            return False
    return True


REQUESTS = [(kind, i, j, it) for kind in "bc" for i in (1, 2, 3) for j in (1, 2, 3) for it in "rwm"]


@given(rules)
def test_version_1_allows_what_the_rules_allow_or_says_that_it_cannot(rules: list[Rule]) -> None:
    try:
        everything, exceptions = exceptions_of(rules)
    except CgroupError:  # a hole in a wider rule
        return
    for kind, major, minor, access in REQUESTS:
        excepted = any(
            kind == its_kind
            and its_major in (ALL, major)
            and its_minor in (ALL, minor)
            and access in letters
            for (its_kind, its_major, its_minor), letters in exceptions.items()
        )
        assert (everything != excepted) == allowed(rules, kind, major, minor, access)


def test_the_default_devices_come_after_the_rules() -> None:
    deny: Any = [{"allow": False, "access": "rwm"}]
    rules = rules_of(deny)
    assert rules == [(False, "a", ALL, ALL, "rwm"), *DEFAULT]
    assert allowed(rules, "c", 1, 3, "rw")
    assert not allowed(rules, "c", 1, 1, "r")
    assert rules_of(None) == list(DEFAULT)


def test_a_rule_for_some_of_all_types_is_two() -> None:
    some: Any = [{"allow": True, "type": "a", "major": 8, "access": "r"}]
    assert rules_of(some)[:2] == [(True, "c", 8, ALL, "r"), (True, "b", 8, ALL, "r")]


@pytest.mark.parametrize("number", [{"major": 4096}, {"minor": 1 << 20}, {"major": 1 << 40}])
def test_a_number_that_no_device_has_is_refused(number: Any) -> None:
    with pytest.raises(CgroupError, match="is no device's"):
        rules_of([{"allow": True, **number}])


def test_the_order_of_letters_and_numbers_of_minus_1_mean_nothing() -> None:
    some: Any = [{"allow": True, "type": "c", "major": -1, "minor": -1, "access": "mwra"}]
    assert rules_of(some)[:1] == [(True, "c", ALL, ALL, "rwm")]


def devices(*extra: dict[str, Any]) -> dict[str, Any]:
    return {"devices": [{"allow": False, "access": "rwm"}, *extra]}


@pytest.mark.needs_cgroups
def test_a_process_opens_the_devices_that_are_allowed_and_no_others(make_cgroup: Any) -> None:
    script = "for it in null urandom kmsg; do (: </dev/$it) 2>/dev/null && echo $it; done; true"
    cgroup = make_cgroup(devices())
    assert run(cgroup, "/bin/sh", "-c", script).stdout.split() == ["null", "urandom"]
    kmsg = {"allow": True, "type": "c", "major": 1, "minor": 11, "access": "r"}
    cgroup.set(devices(kmsg))
    assert run(cgroup, "/bin/sh", "-c", script).stdout.split() == ["null", "urandom", "kmsg"]
    cgroup.set(devices())
    assert run(cgroup, "/bin/sh", "-c", script).stdout.split() == ["null", "urandom"]
    cgroup.set({"devices": [{"allow": True, "access": "rwm"}, {**kmsg, "allow": False}]})
    assert run(cgroup, "/bin/sh", "-c", script).stdout.split() == ["null", "urandom"]
    cgroup.set({"devices": [{"allow": True, "access": "rwm"}]})
    assert run(cgroup, "/bin/sh", "-c", script).stdout.split() == ["null", "urandom", "kmsg"]


@pytest.mark.needs_cgroups_v1
def test_rules_change_while_there_are_cgroups_below(make_cgroup: Any) -> None:
    cgroup = make_cgroup(devices())
    folder = cgroup.version_1["devices"]
    os.mkdir(f"{folder}/below")
    kmsg = {"allow": True, "type": "c", "major": 1, "minor": 11, "access": "rw"}
    cgroup.set(devices(kmsg))
    with open(f"{folder}/devices.list") as listed:
        assert "c 1:11 rw\n" in listed.readlines()
    cgroup.set(devices({**kmsg, "access": "w"}))
    with open(f"{folder}/devices.list") as listed:
        assert "c 1:11 w\n" in listed.readlines()
