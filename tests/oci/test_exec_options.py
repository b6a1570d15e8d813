import json
from pathlib import Path
from typing import Any

import pytest

from ringlet.errors import ConfigError
from ringlet.oci.commands import COMMANDS
from ringlet.oci.exec_options import edit
from ringlet.oci.options import OptionError, parse

PROCESS: Any = {
    "cwd": "/",
    "args": ["sh"],
    "terminal": True,
    "env": ["A=1"],
    "user": {"uid": 1, "gid": 2, "additionalGids": [3]},
    "capabilities": {"bounding": ["CAP_KILL"], "permitted": ["CAP_KILL"]},
}


def made(*words: str) -> Any:
    values, arguments = parse(list(words), COMMANDS["exec"].options, mixed=False)
    return edit(values, arguments[1:])(PROCESS)


def test_without_options_it_is_the_containers_process_but_for_the_command() -> None:
    assert made("one", "ls", "-t") == PROCESS | {"args": ["ls", "-t"], "terminal": False}


def test_each_option_has_its_field() -> None:
    process = made(
        *["-t", "-e", "B=2", "--cwd", "/x", "-u", "7:8", "-g", "9", "--cap", "CAP_CHOWN"],
        *["--no-new-privs", "--apparmor", "p", "--process-label", "l", "one", "ls"],
    )
    assert process["terminal"] is True
    assert process["env"] == ["A=1", "B=2"]
    assert process["cwd"] == "/x"
    assert process["user"] == {"uid": 7, "gid": 8, "additionalGids": [3, 9]}
    assert process["noNewPrivileges"] is True
    assert (process["apparmorProfile"], process["selinuxLabel"]) == ("p", "l")
    capabilities = process["capabilities"]
    assert sorted(capabilities["bounding"]) == ["CAP_CHOWN", "CAP_KILL"]
    assert capabilities["effective"] == ["CAP_CHOWN"]


def test_a_user_without_a_group_keeps_the_group() -> None:
    assert made("--user", "7", "one", "ls")["user"]["gid"] == 2


@pytest.mark.parametrize(
    "words",
    [["one"], ["-u", "root", "one", "ls"], ["-u", "1:", "one", "ls"], ["-g", "-1", "one", "ls"]],
)
def test_what_cant_be_is_refused(words: list[str]) -> None:
    with pytest.raises(OptionError):
        made(*words)


def test_what_the_specification_doesnt_know_is_refused_with_its_place() -> None:
    with pytest.raises(ConfigError, match="cwd"):
        made("--cwd", "x", "one", "ls")


def test_a_file_has_the_whole_process(tmp_path: Path) -> None:
    file = tmp_path / "process.json"
    new = {"cwd": "/", "args": ["true"], "user": {"uid": 0, "gid": 0}}
    file.write_text(json.dumps(new))
    assert made("--process", str(file), "one") == new


@pytest.mark.parametrize("text", ["", "{", "[]", '{"cwd": "/"}', "{}" + " " * (5 << 20), "\xff"])
def test_a_file_that_is_no_process_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "process.json"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError):
        made("--process", str(file), "one")
