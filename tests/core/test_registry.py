"""Finding adapters."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from sdk.adapter.registry import InstalledAdapter, Registry, extra_of, installed, missing_extra
from sdk.errors import ConfigError, MissingExtraError, UnknownKeyError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], str]:
    """Writes an importable module."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(name: str, text: str) -> str:
        (tmp_path / f"{name}.py").write_text(text)
        return name

    return write


GOOD = """
from sdk.adapter import Adapter, TargetOptions
members = {n: None for n in (*vars(Adapter), *Adapter.__annotations__) if not n.startswith("_")}
Good = type("Good", (), {**members, "provider": "good", "Options": TargetOptions})
"""


def test_an_installed_adapter_is_loaded_by_name(module: Callable[[str, str], str]) -> None:
    """The entry point's class comes back."""
    module("h4_good", GOOD)
    registry = Registry(lambda: [InstalledAdapter("good", "h4_good:Good", "good-dist", "1.0")])
    assert ("Good", ("good",)) == (registry.load("good").__name__, registry.names())


def test_an_import_string_is_loaded(module: Callable[[str, str], str]) -> None:
    """`module:Class` needs no installation."""
    module("h4_string", GOOD)
    assert "Good" == Registry(list).load("h4_string:Good").__name__


def test_the_built_in_adapter_comes_through_the_same_door() -> None:
    """`local` is found by its entry point."""
    found = next(found for found in installed() if found.name == "local")
    assert ("sdk_local:LocalAdapter", "mlport") == (found.value, found.distribution)


def test_listing_imports_no_adapter() -> None:
    """Names and places come from metadata alone."""
    code = "import sys; from sdk.adapter.registry import adapters; adapters.known(); print('sdk_local' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "False\n" == done.stdout


def test_two_distributions_with_one_name_are_both_named() -> None:
    """Neither silently wins."""
    claims = [InstalledAdapter("aws", "a:A", "dist-one", "1"), InstalledAdapter("aws", "b:B", "dist-two", "1")]
    with pytest.raises(ConfigError, match=r"'aws' is claimed by dist-one \(a:A\) and dist-two \(b:B\); uninstall one"):
        Registry(lambda: claims).load("aws")


def test_other_providers_work_beside_a_doubtful_one(module: Callable[[str, str], str]) -> None:
    """Only the doubtful name is refused."""
    module("h4_beside", GOOD)
    claims = [
        InstalledAdapter("a", "a:A", "x", "1"),
        InstalledAdapter("a", "b:B", "y", "1"),
        InstalledAdapter("good", "h4_beside:Good", "z", "1"),
    ]
    assert "Good" == Registry(lambda: claims).load("good").__name__


def test_a_missing_package_shows_the_pip_line(module: Callable[[str, str], str]) -> None:
    """The extra is the provider's name, in the distribution that brings the adapter."""
    module("h4_needs", "import surely_not_installed_anywhere\n")
    registry = Registry(lambda: [InstalledAdapter("needs", "h4_needs:X", "mlport-needs", "1")])
    with pytest.raises(MissingExtraError, match=r'surely_not_installed.*pip install "mlport-needs\[needs\]"') as caught:
        registry.load("needs")
    assert ("needs", ModuleNotFoundError) == (caught.value.provider, type(caught.value.__cause__))


def test_an_adapter_can_say_itself_what_it_lacks() -> None:
    """For packages that are imported when they are first used."""
    assert 'pip install "mlport[sagemaker]"' == missing_extra("sagemaker", "boto3").hint


BROKEN = {
    "absent module": ("h4_absent:X", "", "no module named 'h4_absent'"),
    "absent class": ("h4_broken:X", "", "h4_broken has no 'X'"),
    "crash": ("h4_broken:X", "1 / 0", "importing h4_broken failed: division by zero"),
    "no class": ("h4_broken:X", "X = 3", "is not an adapter"),
    "no adapter": ("h4_broken:X", "class X: provider = 'x'", "is not an adapter: .* lacks Options, "),
    "options": ("h4_broken:Good", GOOD + "Good.Options = dict", "Options must extend sdk.adapter.TargetOptions"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_an_import_string_that_leads_nowhere_says_why(case: str, module: Callable[[str, str], str]) -> None:
    """Whatever is wrong with the module, the provider is named."""
    provider, text, expected = BROKEN[case]
    sys.modules.pop("h4_broken", None)
    module("h4_broken", text)
    with pytest.raises(ConfigError, match=f"provider '{provider}'.*{expected}"):
        Registry(list).load(provider)


@pytest.mark.parametrize("provider", ["a b:C", "a:", ":C", "../a:C", "a:C:D", "a.:C", "a-b:C", "a:C\n", "1a:C", ""])
def test_only_plain_import_strings_are_imported(provider: str) -> None:
    """Anything else is an unknown provider."""
    with pytest.raises(UnknownKeyError):
        Registry(list).load(provider)


def test_an_unknown_provider_gets_a_did_you_mean() -> None:
    """The closest installed name is suggested."""
    with pytest.raises(UnknownKeyError, match=r"unknown provider 'lokal'; did you mean 'local'"):
        Registry(lambda: [InstalledAdapter("local", "x:Y", "mlport", "1")]).load("lokal")


def test_without_any_adapter_the_installation_is_to_blame() -> None:
    """A bare checkout has no entry points until it is installed."""
    with pytest.raises(UnknownKeyError, match=r"no adapter is installed: run `pip install -e \.` first"):
        Registry(list).load("local")


def test_an_adapter_can_be_registered(adapter_class: Callable[..., Any]) -> None:
    """For tests and notebooks."""
    registry = Registry(list)
    mine = adapter_class("mine")
    registry.register("mine", mine)
    registry.register("mine", mine)
    assert (mine, None) == (registry.load("mine"), registry.known()["mine"].distribution)


def test_a_registered_adapter_replaces_another_one_only_on_purpose(adapter_class: Callable[..., Any]) -> None:
    """A silent replacement would be a surprise."""
    registry = Registry(lambda: [InstalledAdapter("mine", "x:Y", "d", "1")])
    other = adapter_class("mine")
    with pytest.raises(ConfigError, match="exists already; pass replace=True"):
        registry.register("mine", other)
    registry.register("mine", other, replace=True)
    assert other is registry.load("mine")


@pytest.mark.parametrize("name", ["", "A", "a b", "a:b", "a\n"])
def test_a_registered_name_must_be_plain(name: str, adapter_class: Callable[..., Any]) -> None:
    """It is written in files and variables."""
    with pytest.raises(ConfigError, match="is not valid"):
        Registry(list).register(name, adapter_class("x"))


def test_the_list_of_providers_is_read_only() -> None:
    """Nobody changes the registry by accident."""
    with pytest.raises(TypeError):
        Registry(list).known()["x"] = None  # type: ignore[index]  # the point of the test


def test_a_module_of_several_extras_is_missing() -> None:
    """`mlport test` needs two extras; the hint names both."""
    with pytest.raises(MissingExtraError) as missing, extra_of("pytest", subject="a test", extra="contract,mock"):
        raise ModuleNotFoundError(name="pytest")
    assert 'pip install "mlport[contract,mock]"' == missing.value.hint
