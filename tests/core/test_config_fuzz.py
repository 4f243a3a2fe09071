"""Whatever stands in files and variables, the answer is settings or a readable error."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sdk.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

TRIES = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

KEYS = st.sampled_from(
    [
        "default", "owner", "state_dir", "log", "offline", "objective", "p95_ms", "monitor", "alarms", "target", "aws",
        "provider", "region", "replicas", "min", "max", "resources", "cpu", "instance", "tags", "ttl", "network", "x",
    ]
)  # fmt: skip
SCALARS = st.one_of(
    st.booleans(), st.integers(-3, 3), st.floats(), st.text(max_size=8), st.sampled_from(["cloud", "local", "30m"])
)
TREES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4))


def toml(value: Any) -> str:
    """An inline value; JSON's spelling is TOML's but for tables."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value)


def use(home: Any, **options: Any) -> None:
    """Does what a command does with the configuration; only our own errors may come out."""
    with contextlib.suppress(ConfigError):
        loaded = home.load(**options)
        assert repr(loaded).startswith("Settings(default=")
        for name in (None, *loaded.targets):
            with contextlib.suppress(ConfigError):
                loaded.target(name).options(home.cloud.Options)


@TRIES
@given(tree=st.dictionaries(KEYS, TREES, max_size=5))
def test_any_tree_of_values_is_accepted_or_refused_in_words(home: Any, tree: dict[str, Any]) -> None:
    """Values of every type in every place of a project file."""
    home.write("".join(f"{key} = {toml(value)}\n" for key, value in tree.items()))
    use(home)


@TRIES
@given(options=st.dictionaries(KEYS, TREES, max_size=5))
def test_any_settings_of_a_target_are_accepted_or_refused_in_words(home: Any, options: dict[str, Any]) -> None:
    """Values of every type inside a target's table."""
    table = {"region": "m", **options, "provider": "cloud"}
    home.user_file.write_text("[target.aws]\n" + "".join(f"{k} = {toml(v)}\n" for k, v in table.items()), "utf-8")
    use(home)


@TRIES
@given(content=st.binary(max_size=200))
def test_any_bytes_are_refused_in_words(home: Any, content: bytes) -> None:
    """A file that is no TOML, or no text."""
    (home.project / "mlport.toml").write_bytes(content)
    use(home)


NAMES = st.lists(KEYS.map(str.upper) | st.sampled_from(["", "_"]), min_size=1, max_size=4).map("__".join)


@TRIES
@given(
    env=st.dictionaries(
        NAMES.flatmap(lambda name: st.sampled_from([f"MLPORT_{name}", f"MLPORT_TARGET_{name}"])),
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
        | st.sampled_from(['{"a": 1}', "[1]", "{", "cloud"]),
        max_size=5,
    )
)
def test_any_variables_are_accepted_or_refused_in_words(home: Any, env: dict[str, str]) -> None:
    """Names of every form with values of every form."""
    use(home, env={key: value for key, value in env.items() if key != "MLPORT_CONFIG"})


@pytest.mark.parametrize("kind", ["directory", "unreadable"])
def test_a_file_that_is_none_is_named(home: Any, tmp_path: Path, kind: str) -> None:
    """MLPORT_CONFIG may point anywhere."""
    path = tmp_path / "odd"
    if kind == "directory":
        path.mkdir()
    else:
        path.symlink_to(path)
    with pytest.raises(ConfigError, match=r"cannot read .*odd"):
        home.load({"MLPORT_CONFIG": str(path)})


@pytest.mark.parametrize(
    "number", ["9" * 5_000, f"0x{'f' * 5_000}", "18446744073709551616", "[{a = 0x1ffffffffffffffff}]"]
)
def test_a_number_without_end_is_refused(home: Any, number: str) -> None:
    """Python reads and prints whole numbers of some thousand digits only, and raises an error of its own."""
    home.write(f"[target.local]\nprovider = 'local'\nreplicas = {number}\n")
    with pytest.raises(ConfigError, match=r"mlport\.toml: .*(digits|64 bits)"):
        home.load()
