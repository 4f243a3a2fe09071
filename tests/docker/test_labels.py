"""Labels of containers, whatever they hold: each container gets usable ones, and its endings are shown."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from sdk_docker import _endings, _replicas, _sound
from sdk_docker._containers import DEPLOYMENT, KIND, PRICE, SPEC
from sdk_docker._plan import CONTAINER

SOUND = {"image": "x", "replicas": 2, "memory_gib": 1.5, "cpu": None}
ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=9,
)
SPECS = st.one_of(
    ODD.map(json.dumps),
    st.text(max_size=20),
    st.tuples(st.sampled_from(sorted(SOUND)), ODD).map(lambda one: json.dumps({**SOUND, one[0]: one[1]})),
    st.just("[" * 50_000),
    st.just('{"replicas": ' + "9" * 5000 + "}"),
)


def labels(spec: str | None, price: str | None, deployment: str | None) -> dict[str, str]:
    given_ones = {SPEC: spec, PRICE: price, DEPLOYMENT: deployment, KIND: CONTAINER}
    return {name: value for name, value in given_ones.items() if value is not None}


@settings(max_examples=150, deadline=None)
@given(spec=SPECS | st.none(), price=SPECS | st.none(), deployment=st.text(max_size=9) | st.none())
def test_any_labels(spec: str | None, price: str | None, deployment: str | None) -> None:
    about = {"Name": "/mlport-churn_d1-0", "Config": {"Labels": labels(spec, price, deployment)}}
    made: dict[str, Any] = _sound.container(about)
    assert 1 <= _replicas.wanted([made]) <= 10_000
    found = json.loads(made["Config"]["Labels"][SPEC])
    assert isinstance(found["image"], str)
    assert (_sound.DAMAGED in made["Config"]["Labels"]) == (made != about)


@settings(max_examples=100, deadline=None)
@given(spec=SPECS, deployment=st.text(max_size=9) | st.none())
def test_endings_of_a_container_with_any_labels(spec: str, deployment: str | None) -> None:
    """One replica whose labels are damaged does not hide how the others ended."""

    def event(number: int, own: dict[str, str]) -> dict[str, Any]:
        more = {"name": f"mlport-churn_d1-{number}", "exitCode": "137", **own}
        return {"Action": "die", "timeNano": 10**9, "Actor": {"ID": f"c{number}", "Attributes": more}}

    odd, sound = labels(spec, "null", deployment), labels(json.dumps(SOUND), "null", "d1")
    host: Any = SimpleNamespace(events=lambda *_, **__: [event(0, odd), event(1, sound)])
    lines = list(_endings.endings(host, "churn", 0.0))
    assert [deployment or "d1", "d1"] == [line.deployment for line in lines]
    assert all("SIGKILL" in line.text for line in lines)


def test_sound_labels_stay() -> None:
    about = {"Name": "/x", "Config": {"Labels": labels(json.dumps(SOUND), "0.25", "d1")}}
    assert about == _sound.container(about)
