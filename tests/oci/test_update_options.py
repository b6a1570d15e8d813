import json
from pathlib import Path
from typing import Any

import pytest

from ringlet.errors import ConfigError
from ringlet.oci.commands import COMMANDS
from ringlet.oci.options import OptionError, parse
from ringlet.oci.update_options import resources


def made(*words: str) -> Any:
    values, _ = parse(list(words), COMMANDS["update"].options)
    return resources(values)


def test_each_option_has_its_field() -> None:
    assert made(
        *["--memory", "512m", "--memory-reservation", "1KiB", "--memory-swap", "-1"],
        *["--cpu-period", "1000", "--cpu-quota", "-1", "--cpu-share", "2", "--cpu-burst", "5"],
        *["--cpuset-cpus", "0", "--cpuset-mems", "0", "--pids-limit", "7", "--cpu-idle", "0"],
        *["--blkio-weight", "10", "one"],
    ) == {
        "memory": {"limit": 512 << 20, "reservation": 1024, "swap": -1},
        "cpu": {
            "period": 1000,
            "quota": -1,
            "shares": 2,
            "burst": 5,
            "cpus": "0",
            "mems": "0",
            "idle": 0,
        },
        "pids": {"limit": 7},
        "blockIO": {"weight": 10},
    }


def test_in_a_file_what_is_0_stays_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "resources.json"
    file.write_text(
        json.dumps(
            {
                "memory": {"limit": 0, "swap": 0},
                "cpu": {"shares": 2, "cpus": "", "idle": 0},
                "pids": {},
                "blockIO": None,
            }
        )
    )
    assert made("-r", str(file), "one") == {"cpu": {"shares": 2, "idle": 0}}


def test_no_limit_of_processes_is_0_or_less(tmp_path: Path) -> None:
    file = tmp_path / "resources.json"
    for limit in (0, -1):
        assert made("--pids-limit", str(limit), "one") == {"pids": {"limit": limit}}
        file.write_text(json.dumps({"memory": {"limit": 0}, "pids": {"limit": limit}}))
        assert made("-r", str(file), "one") == {"pids": {"limit": limit}}


@pytest.mark.parametrize(
    "words",
    [[], ["--memory", "much"], ["--memory", ""], ["--memory", "1.5g"], ["--pids-limit", "٣"]],
)
def test_what_cant_be_is_refused(words: list[str]) -> None:
    with pytest.raises(OptionError):
        made(*words, "one")


@pytest.mark.parametrize("text", ["", "[]", '{"memory": 1}', '{"memory": {"limit": "x"}}'])
def test_a_file_that_has_no_limits_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "resources.json"
    file.write_text(text)
    with pytest.raises(ConfigError):
        made("--resources", str(file), "one")
