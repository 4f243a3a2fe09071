"""An engine that still has the image of a model with the server of an earlier mlport."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sdk.packaging import runtime
from sdk.packaging.image.builder import LABEL

if TYPE_CHECKING:
    from pathlib import Path

    from tests.docker.conftest import Box

pytestmark = pytest.mark.docker


def test_a_new_deployment_does_not_run_the_old_server(
    box: Box, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same model deployed by two versions of mlport: the second one runs its own server, the first goes on."""
    client, old, new = box.client(), box.name("old"), box.name("new")
    client.deploy(box.model, name=old)
    changed = tmp_path / "serving"
    for file in runtime.files():
        target = changed / file.relative_to(runtime.SOURCE)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.read_bytes())
    (changed / "__init__.py").write_bytes((changed / "__init__.py").read_bytes() + b"\n# another version\n")
    monkeypatch.setattr(runtime, "SOURCE", changed)
    runtime.digest.cache_clear()
    try:
        assert client.deploy(box.model, name=new).predict([[0.0, 3.0]]).values == [6.0]
        servers = [box.inspect(name)["gateway"]["Config"]["Labels"][f"{LABEL}runtime"] for name in (old, new)]
        assert servers[0] != servers[1]
        assert not client.plan(box.model, name=old).steps  # what runs is not replaced because mlport was upgraded
    finally:
        client.delete(old)
        client.delete(new)
        monkeypatch.undo()
        runtime.digest.cache_clear()
