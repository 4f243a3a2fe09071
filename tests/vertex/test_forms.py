"""What can be refused for its form is refused when the verb is planned: no image is built, no call is made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from sdk.errors import ConfigError
from sdk_vertex._machines import machine_spec
from sdk_vertex._names import MOST_TAGS, check_tags

if TYPE_CHECKING:
    from pathlib import Path

    from tests.vertex.conftest import Place


@pytest.mark.parametrize(
    ("instance", "words"),
    [
        ("e2-standard-4+NVIDIA_TESLA_T4x1", "cannot be added to e2-standard-4"),
        ("n2-standard-8+NVIDIA_L4x1", "cannot be added to n2-standard-8"),
        ("n1-standard-8+NVIDIA_TESLA_T4x3", "cannot have 3 of NVIDIA_TESLA_T4"),
        ("n1-standard-8+NVIDIA_TESLA_P100x8", "cannot have 8 of NVIDIA_TESLA_P100"),
    ],
)
def test_accelerators_that_a_machine_cannot_have(instance: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as refused:
        machine_spec(instance)
    assert refused.value.hint


@pytest.mark.parametrize(
    ("instance", "gpu", "count"),
    [
        ("n1-standard-8+NVIDIA_TESLA_V100x8", "NVIDIA_TESLA_V100", 8),
        ("g2-standard-4", "NVIDIA_L4", 1),
        ("g2-standard-4+NVIDIA_L4x1", "NVIDIA_L4", 1),
        ("a3-megagpu-8g+NVIDIA_H100_MEGA_80GBx8", "NVIDIA_H100_MEGA_80GB", 8),
    ],
)
def test_accelerators_that_a_machine_has(instance: str, gpu: str, count: int) -> None:
    spec = machine_spec(instance)
    assert (gpu, count) == (spec["accelerator_type"], spec["accelerator_count"])


def test_more_tags_than_labels() -> None:
    """A resource takes 64 labels, and mlport has some of its own."""
    check_tags({f"t{number}": "x" for number in range(MOST_TAGS)})
    with pytest.raises(ConfigError, match=f"{MOST_TAGS + 1} are more than"):
        check_tags({f"t{number}": "x" for number in range(MOST_TAGS + 1)})


def test_more_variables_than_a_job_takes(place: Place, tmp_path: Path) -> None:
    """The platform takes 100 for a job."""
    client, script = place.client(), tmp_path / "train.py"
    script.write_text("print(1)\n")
    env: dict[str, Any] = {f"V{number}": "x" for number in range(99)}
    with place.cloud.calls.since() as calls, pytest.raises(ConfigError, match="101 variables are more than the 100"):
        client.train(script, name="too-many", env=env)
    assert 0 == len(calls.changing)
