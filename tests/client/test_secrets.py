"""Forty planted secrets appear nowhere but in the hands of the platform."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from sdk.config.secrets import SecretSource, secret_names
from sdk.errors import ConfigError, DeployFailed, UnavailableError
from sdk.util.redact import Redactor
from sdk_contract.fake_cloud import Fault

if TYPE_CHECKING:
    from pathlib import Path

CANARIES = {f"SECRET_{number}": f"c4n4ry-{number * 7919:05x}-{'/+=&% <'[number % 7]}{number}" for number in range(40)}


def test_canaries_stay_hidden(world: Any, faked: Any, caplog: pytest.LogCaptureFixture, capfd: Any) -> None:
    """Plans, handles, status, events, errors, monitor, logs, journal, labels and output hold none of 40 secrets."""
    given: list[str] = []

    class Greedy(faked.TellingFake):  # type: ignore[misc]  # loaded by file
        """Uses the secrets where the platform needs them, and then tells everything it knows."""

        def create(self, resource: Any, materials: Any, *, timeout: float) -> Any:
            if resource.kind == "Deployment":
                given.extend(materials.secret(name) for name in CANARIES)
                type(self).lines = tuple(f"container says {value}" for value in given)
            return super().create(resource, materials, timeout=timeout)

    world.shape = Greedy
    client = world.client(env=CANARIES)
    endpoint = client.deploy(faked.a_model(), secrets=list(CANARIES))
    assert list(CANARIES.values()) == given
    plan = client.plan(faked.a_model("b"), secrets=list(CANARIES))
    world.cloud.faults = [Fault("fails", "create", "Deployment")]
    with pytest.raises(DeployFailed) as failed:
        client.deploy(faked.a_model("b"), secrets=list(CANARIES))
    watch = client.monitor("churn")
    seen = {
        "plan": f"{plan}{plan!r}{json.dumps(plan.to_dict(), default=str)}",
        "handle": f"{endpoint!r}{endpoint._repr_html_()}{endpoint.status!r}",
        "error": f"{failed.value}{failed.value!r}{failed.value.to_dict()}",
        "watch": f"{watch}{watch!r}{watch._repr_html_()}{watch.to_dict()}",
        "logs": "".join(line.text for line in client.logs("churn")),
        "events": "".join(world.events),
        "cloud": repr([(item.spec, item.tags) for item in world.cloud.items.values()]),
        "client": f"{client!r}{client.settings!r}{client.session()!r}{client._secrets!r}",
        "output": "".join(capfd.readouterr()) + caplog.text,
        "disk": "".join(path.read_text("utf-8", "replace") for path in world.folder.rglob("*") if path.is_file()),
    }
    assert "container says [redacted]" in seen["logs"]
    assert "container says [redacted]" in seen["error"]
    leaks = [(sink, value) for sink, text in seen.items() for value in CANARIES.values() if value in text]
    assert [] == leaks
    assert [] == [sink for sink, text in seen.items() if "c4n4ry" in text]


def test_error_that_carries_a_secret_is_cleaned(world: Any, faked: Any) -> None:
    """What an adapter says in an error passes the redactor before it reaches the caller."""

    class Blabbing(faked.TellingFake):  # type: ignore[misc]  # loaded by file
        def observe(self, name: str, *, timeout: float) -> Any:
            raise UnavailableError("cannot reach https://user:hunter2-canary@cloud", hint="try hunter2-canary")

    world.shape = Blabbing
    with pytest.raises(UnavailableError) as caught:
        world.client(env={"PW": "hunter2-canary"}).deploy(faked.a_model(), secrets=["PW"])
    assert "hunter2" not in f"{caught.value}{caught.value!r}{caught.value.to_dict()}"
    assert "fake" == caught.value.provider


def test_names_of_secrets() -> None:
    """A mapping, a list, and texts with `=` say the same."""
    expected = {"A": "A", "B": "OTHER"}
    assert expected == secret_names({"A": "A", "B": "OTHER"})
    assert expected == secret_names(["A", "B=OTHER"])
    assert {"A": "A"} == secret_names("A")
    assert {} == secret_names(None)


def test_secret_from_a_file(tmp_path: Path) -> None:
    """`file:` reads a file and drops its last line feed; the value is registered with the redactor."""
    (tmp_path / "pw").write_text("long-secret-value\n")
    redactor = Redactor()
    assert "long-secret-value" == SecretSource({}, redactor)(f"file:{tmp_path / 'pw'}")
    assert "is [redacted]" == redactor("is long-secret-value")


@pytest.mark.parametrize("environ", [{}, {"PW": ""}])
def test_missing_secret_is_named(environ: dict[str, str]) -> None:
    """A secret that is not set, or empty, names its variable and the way out."""
    with pytest.raises(ConfigError, match="secret 'PW' is") as caught:
        SecretSource(environ, Redactor()).check({"PW": "PW"})
    assert "set PW" in str(caught.value.hint)


def test_secrets_of_the_platforms_own_store_are_left_to_it() -> None:
    """`cloud:NAME` is not looked for here; where nothing else answers to it, that is said."""
    source = SecretSource({}, Redactor())
    source.check({"PW": "cloud:prod/pw"})
    with pytest.raises(ConfigError, match="secret 'cloud:prod/pw': this target has no secret store"):
        source("cloud:prod/pw")
