"""Records of endpoints that live as long as a process: damage of one hides no other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sdk.client.temporary_endpoints import Passing, TemporaryRecords
from sdk.config.trust import TrustStore

if TYPE_CHECKING:
    from pathlib import Path

BAD = [
    b"",
    b"[",
    b"{}",
    b"[1]",
    b'[{"target": "t", "name": "../x"}]',
    b'[{"target": "t"}]',
    b"[" * 99_999,
    b"\xff",
    None,
]


def put(path: Path, data: bytes | None) -> None:
    if data is None:
        path.mkdir()
    else:
        path.write_bytes(data)


@pytest.mark.parametrize("data", BAD)
def test_a_damaged_record_is_set_aside(tmp_path: Path, data: bytes | None) -> None:
    records = TemporaryRecords(tmp_path)
    with pytest.raises(KeyboardInterrupt), records.kept("good", [Passing("t", "kept")]):
        raise KeyboardInterrupt
    put(tmp_path / "passing" / "bad.json", data)
    assert [("good", "kept")] == [(run, one.name) for run, one in records.abandoned("t")]
    assert ["good.json"] == [path.name for path in (tmp_path / "passing").glob("*.json")]
    assert 1 == len(list((tmp_path / "passing").glob("bad.json.damaged-*")))
    records.gone("good", "t", "kept")
    assert [] == records.abandoned("t")


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"\xff\xfe", b"[" * 99_999, b"1"])
def test_a_damaged_list_of_trusted_files_trusts_nothing_and_is_replaced(tmp_path: Path, data: bytes) -> None:
    store = TrustStore(tmp_path)
    store.path.write_bytes(data)
    file = tmp_path / "mlport.toml"
    assert not store.trusts(file, b"x")
    store.trust(file, b"x")
    assert store.trusts(file, b"x")
