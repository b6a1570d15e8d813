"""Labels of security modules: none without its module, and where they go with it."""

from pathlib import Path
from typing import Any

import pytest

from ringlet.container.launch import files, labels, privileges
from ringlet.container.launch.plan import Plan
from ringlet.container.spec.config_json import SpecError, check
from ringlet.container.spec.default import default

LABEL = "system_u:object_r:container_file_t:s0:c1,c2"
FIELDS = ["apparmorProfile", "selinuxLabel", "mountLabel"]


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which a module's file says whether it is there."""
    monkeypatch.setattr(labels, "_APPARMOR", str(tmp_path / "apparmor"))
    monkeypatch.setattr(labels, "_SELINUX", str(tmp_path / "selinux"))
    return tmp_path


@pytest.mark.parametrize("field", FIELDS)
def test_no_label_is_no_label_and_one_without_its_module_is_refused(
    modules: Path, field: str
) -> None:
    assert labels.label_of({}, field) == labels.label_of({field: ""}, field) == ""
    for said in (None, "N\n"):
        if said is not None:
            (modules / "apparmor").write_text(said)
        with pytest.raises(SpecError, match=rf"^{field} 'a\\n': .* is not enabled on this host"):
            labels.label_of({field: "a\n"}, field)
    (modules / "apparmor").write_text("Y\n")
    (modules / "selinux").write_text("0")
    assert labels.label_of({field: LABEL}, field) == LABEL


def lines_of(plan: Plan) -> list[str]:
    data, text = plan.encode()
    return data[:text].decode().splitlines()


def test_a_label_of_mounts_is_of_those_that_the_policy_doesnt_know(modules: Path) -> None:
    (modules / "selinux").write_text("1")
    config: Any = default()
    config["linux"]["mountLabel"] = LABEL
    plan = Plan()
    files.build_root(plan, check(config), "/bundle", cgroup=None, new={"cgroup"})
    labelled = {
        line.split()[1]
        for line in lines_of(plan)
        if line.startswith("filesystem ") and f"context={LABEL}" in line
    }
    assert labelled == {"/dev", "/dev/pts", "/dev/shm"}


def test_labels_of_the_process_are_steps(modules: Path) -> None:
    (modules / "selinux").write_text("1")
    (modules / "apparmor").write_text("Y\n")
    config: Any = default()
    config["process"].update(selinuxLabel=LABEL, apparmorProfile="docker-default")
    plan = Plan()
    privileges.set_labels(plan, check(config)["process"])
    assert {f"selinux {LABEL}", "apparmor docker-default"} <= set(lines_of(plan))
