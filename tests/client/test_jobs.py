"""Jobs on any platform: what is refused before anything is called, tags, and output that is not there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import sdk
from sdk.errors import ConfigError, ConflictError, NotFoundError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"params": {"C": float("nan")}}, "params: C = nan cannot be written as JSON"),
        ({"params": {"C": [1.0, float("-inf")]}}, "params: C = .* cannot be written as JSON"),
        ({"params": {"C": object()}}, "params: C = .* cannot be written as JSON"),
        ({"params": {"": 1}}, "params: '' is not a name"),
        ({"params": {"a\nb": 1}}, "is not a name"),
        ({"tags": {"mlport-spec": "x"}}, "'mlport-spec' is reserved"),
    ],
)
def test_wrong_arguments_of_a_job_are_named(world: Any, tmp_path: Path, asked: dict[str, Any], message: str) -> None:
    """Before the script is packed or anything is called."""
    (tmp_path / "train.py").write_text("print(1)\n")
    with pytest.raises(ConfigError, match=message) as refused:
        world.client().train(tmp_path / "train.py", requirements=[], **asked)
    assert refused.value.hint
    assert [] == world.calls


def test_tags_of_a_job_are_those_of_the_target_and_its_own(world: Any, tmp_path: Path) -> None:
    """As those of an endpoint: a rule of the organisation may refuse a job without them."""
    (tmp_path / "train.py").write_text("print(1)\n")
    client = world.client(fake={"tags": {"team": "a", "app": "a"}})
    plan = client.train(tmp_path / "train.py", requirements=[], tags={"app": "b"}, dry_run=True)
    assert {"team": "a", "app": "b"} == plan.change.job.tags


def test_a_job_that_left_nothing_is_an_error(world: Any, tmp_path: Path) -> None:
    """Whatever the platform: an empty folder would look as if its files had been copied."""
    script = tmp_path / "train.py"
    script.write_text("print(1)\n")
    job = world.client().train(script, name="night", requirements=[], wait=False)
    with pytest.raises(NotFoundError, match="'night' left no files") as missed:
        job.output(tmp_path / "out")
    assert "MLPORT_OUTPUT_DIR" in str(missed.value.hint)


def test_a_job_that_ran_before(world: Any, tmp_path: Path) -> None:
    """The same content is not run again, which is said; another content is refused with the way out."""
    script = tmp_path / "train.py"
    script.write_text("print(1)\n")
    client = world.client()
    client.train(script, name="night", requirements=[], wait=False)
    assert "note" not in world.events
    client.train(script, name="night", requirements=[], wait=False)
    assert world.events[-1] == "note"
    script.write_text("print(2)\n")
    with pytest.raises(ConflictError, match=r"night\S* exists with another content") as refused:
        client.train(script, name="night", requirements=[], wait=False)
    assert refused.value.hint == "choose another name, or delete it first: mlport delete night"


def test_a_change_of_an_endpoint_that_is_not_there_names_the_target(world: Any) -> None:
    """As `status` does, with a command for that target."""
    with pytest.raises(NotFoundError, match="there is no endpoint 'nope' on target 'fake'") as missed:
        world.client().promote("nope")
    assert missed.value.hint == "`mlport list -t fake` shows those there are"


def test_a_misspelt_verb_is_suggested() -> None:
    """Python itself adds the suggestion to the message of the traceback."""
    with pytest.raises(AttributeError) as missed:
        _ = sdk.deply
    assert (missed.value.name, missed.value.obj) == ("deply", sdk)
