"""What many share: prepared environments; and what doctor finds."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sdk.adapter import Capability, Ref
from sdk.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sdk.packaging.model import Model


def test_environment_goes_with_its_last_user(alone: Any, times: Callable[[float], Model]) -> None:
    """Shared material that nothing uses is removed on request; an environment only when its last model goes."""
    alone.deploy(times(2), "last")
    alone.deploy(times(3), "last")
    python = Path(alone.adapter._prepared.existing("Model", times(2).digest[:32]).extra["python"])
    for factor in (2.0, 3.0):
        assert alone.adapter.read(Ref("Model", times(factor).digest[:32]), timeout=5) is not None
    assert [] == [
        one for one in alone.executor.gc(shared=True, min_age_s=0).orphans if one.kind == "Model" and in_use(one, times)
    ]
    alone.delete("last")
    removed = alone.executor.gc(apply=True, shared=True, min_age_s=0).removed
    assert {times(2).digest[:32], times(3).digest[:32]} <= {one.id for one in removed}
    assert not python.exists()
    assert (times(2).path or Path("nowhere")).exists()
    with pytest.raises(NotFoundError):
        alone.adapter._prepared.existing("Model", times(2).digest[:32])
    alone.deploy(times(2), "last")
    assert [[4.0]] == alone.predict("last", [[2.0]])


def in_use(one: Any, times: Callable[[float], Model]) -> bool:
    return one.id in {times(2).digest[:32], times(3).digest[:32]}


def test_killed_builders_leave_nothing(local: Any, state: Path) -> None:
    """A half-made folder of a process that died is swept by the next look; that of a living one is not."""
    from sdk_local._folder import staging

    out, into = os.pipe()
    child = os.fork()
    if not child:
        with staging(state / "endpoints") as folder:
            os.write(into, folder.name.encode())
            os._exit(0)
    os.close(into)
    with os.fdopen(out) as pipe:
        dead = pipe.read()
    os.waitpid(child, 0)
    with staging(state / "endpoints") as living:
        assert (state / "endpoints" / dead).exists()
        list(local.adapter.list(timeout=10))
        assert [living.name] == [path.name for path in (state / "endpoints").glob(".*")]


def test_only_old_links_of_folders_that_are_gone_are_swept(tmp_path: Path) -> None:
    """Another process may have made its link a moment before the folder that it leads to."""
    from sdk_local._folder import Endpoints

    deep = tmp_path / ("d" * 100)
    folder = Endpoints(deep / "one").folder("churn").short.parent.parent
    (young, old) = (folder / f"test-{word}-{os.getpid()}" for word in ("young", "old"))
    for link in (young, old):
        link.symlink_to(tmp_path / "not-there")
    os.utime(old, (0, 0), follow_symlinks=False)
    Endpoints(deep / "two").folder("churn")
    assert [True, False] == [young.is_symlink(), old.is_symlink()]
    young.unlink()


def test_doctor(local: Any, new_local: Any) -> None:
    """Doctor finds a healthy machine healthy, and a port that is taken."""
    import socket

    checks = {check.name: check for check in local.adapter.doctor()}
    assert {"python", "state folder", "disk space", "uv", "port", "model server", "endpoints"} == checks.keys()
    assert [] == [check for check in checks.values() if not check.ok and check.name != "disk space"]
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        found = {check.name: check for check in new_local(port=other.getsockname()[1]).adapter.doctor()}
    assert not found["port"].ok
    assert str(found["port"].hint)


def test_every_capability_is_declared(local: Any) -> None:
    """Each capability has an answer, and each no has a reason and a way out."""
    declared = local.adapter.capabilities()
    assert set(Capability) == set(declared)
    assert [] == [one for one, support in declared.items() if not support.ok and not (support.reason and support.text)]
