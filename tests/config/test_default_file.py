"""The commented default file is the manual of every option: it says what the model does, all of it and nothing else."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import msgspec
import pytest
from msgspec import inspect

from clasp_edge.config.load import default_text, load_config
from clasp_edge.config.model import Config, Section, leaves
from clasp_edge.config.reload import RESTART

EXAMPLE_NAME = "site"
TABLES_OF_VALUES = {"uplink.site.policy", "rule", "map", "scene", "osc.target.types", "osc.device.types"}
"""Keys of the model whose own keys are anybody's."""


def uncommented(text: str) -> str:
    """The file with its examples switched on: lines where "#" is followed by something else than a space."""
    return re.sub(r"^#(?=[^\s#])", "", text, flags=re.MULTILINE)


def model_keys(kind: type[Section] = Config, path: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted path, type) of every key of the model, those of lists of tables included."""
    for field in msgspec.structs.fields(kind):
        wanted = get_args(field.type)[0] if get_origin(field.type) is tuple else field.type
        inner = get_args(wanted)[1] if get_origin(wanted) is dict else None
        if isinstance(inner, type) and issubclass(inner, Section):
            # Tables with names of their own: the example in the file has one.
            yield from model_keys(inner, f"{path}{field.name}.{EXAMPLE_NAME}.")
            continue
        if isinstance(wanted, type) and issubclass(wanted, Section):
            yield from model_keys(wanted, f"{path}{field.name}.")
        else:
            yield path + field.name, wanted


def file_keys(table: dict[str, Any], path: str = "") -> Iterator[str]:
    for key, value in table.items():
        tables = isinstance(value, list) and value and isinstance(value[0], dict)
        inner = {name: one[name] for one in reversed(value) for name in one} if tables else value
        if isinstance(inner, dict) and path + key not in TABLES_OF_VALUES:
            yield from file_keys(inner, f"{path}{key}.")
        else:
            yield path + key


def comments() -> dict[str, str]:
    """The comment right above each key that is switched on, by dotted path."""
    found: dict[str, str] = {}
    section, comment = "", ""
    for line in default_text().splitlines():
        if line.startswith("["):
            section, comment = line.strip("[]") + ".", ""
        elif line.startswith("# "):
            comment += line.removeprefix("#")
        elif " = " in line and not line.startswith("#"):
            found[section + line.split(" = ")[0]] = comment
            comment = ""
        else:
            comment = ""
    return found


def test_it_loads_and_equals_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "default.toml"
    path.write_text(default_text(), encoding="utf-8")
    assert load_config(path) == Config()


def test_every_default_is_written_out() -> None:
    written = set(file_keys(tomllib.loads(default_text())))
    # A directory that depends on who runs the daemon, and lists that are empty, have no value to write.
    assert written == set(leaves(Config())) - {
        "data_dir",
        "mqtt.mount",
        "state.strategy",
        "security.token",
        "security.network",
        "security.certificate",
        "osc.target",
        "osc.device",
        "bridge",
        "uplink",
        "rule",
        "map",
        "scene",
    }


def test_its_examples_are_valid_and_name_every_key(tmp_path: Path) -> None:
    text = uncommented(default_text())
    path = tmp_path / "examples.toml"
    path.write_text(text, encoding="utf-8")
    config = load_config(path)
    assert config.state.strategy
    assert config.security.token
    assert config.osc.target
    assert config.bridge
    assert config.uplink
    assert set(file_keys(tomllib.loads(text))) == {key for key, _ in model_keys()}


@pytest.mark.parametrize(("key", "wanted"), list(model_keys()))
def test_each_range_and_choice_is_stated(key: str, wanted: Any) -> None:
    comment = comments().get(key, default_text())
    match inspect.type_info(get_args(wanted)[0] if type(None) in get_args(wanted) else wanted):
        case inspect.IntType(ge=low, le=high) | inspect.FloatType(ge=low, le=high):
            assert f"From {low:.15g} to {high:.15g}" in comment
            if key in comments():
                assert (low == 0) == ("0 = " in comment or key == "state.lock_grace_s")
        case inspect.StrType(max_length=int(longest)):
            assert f"{longest} characters" in comment
        case inspect.LiteralType(values=values):
            assert all(str(value) in comment for value in values)
        case _:
            assert key.rpartition(".")[2] in default_text()


def test_restart_is_said_of_exactly_the_keys_that_need_it() -> None:
    said = {key for key, comment in comments().items() if "Restart." in comment}
    assert said == RESTART - {"data_dir", "mqtt.mount"}  # these have no value to write


def test_lines_are_not_too_long_for_a_terminal() -> None:
    assert max(map(len, default_text().splitlines())) <= 120
