"""What a bucket was is remembered between processes; what cannot be read or written does not get in the way."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from sdk.adapter.identities import Identities
from sdk.errors import AuthError, SecurityError

if TYPE_CHECKING:
    from pathlib import Path

BUCKET = "s3://team"


def test_a_change_is_noticed_by_the_next_process(tmp_path: Path) -> None:
    """With what it was and is, and with the file to remove if that is right."""
    Identities(tmp_path, "aws").check(BUCKET, {"account": "1", "region": "eu"})
    with pytest.raises(SecurityError, match="its account was 1 and is 2") as caught:
        Identities(tmp_path, "aws").check(BUCKET, {"account": "2", "region": "eu"})
    (file,) = (tmp_path / "identities").iterdir()
    assert str(file) in str(caught.value.hint)
    assert isinstance(caught.value, AuthError)
    assert caught.value.exit_code == 4
    file.unlink()
    Identities(tmp_path, "aws").check(BUCKET, {"account": "2", "region": "eu"})


def test_things_are_told_apart(tmp_path: Path) -> None:
    """By name and by provider; a field that was not known before is no change."""
    one, other = Identities(tmp_path, "aws"), Identities(tmp_path, "gcp")
    one.check(BUCKET, {"account": "1"})
    one.check("s3://other", {"account": "2"})
    other.check(BUCKET, {"account": "3"})
    one.check(BUCKET, {"account": "1", "region": "eu"})
    with pytest.raises(SecurityError, match="its region was eu"):
        one.check(BUCKET, {"account": "1", "region": "us"})
    assert (tmp_path / "identities").stat().st_mode & 0o777 == 0o700


def test_it_is_looked_at_once_in_a_process(tmp_path: Path) -> None:
    """A look that fails is repeated."""
    looks: list[int] = []

    def look() -> dict[str, str]:
        looks.append(1)
        if len(looks) == 1:
            raise AuthError("no")
        return {"account": "1"}

    known = Identities(tmp_path, "aws")
    with pytest.raises(AuthError):
        known.once(BUCKET, look)
    for _ in range(3):
        known.once(BUCKET, look)
    assert len(looks) == 2


@pytest.mark.parametrize("seed", range(20))
def test_a_damaged_record_is_forgotten(tmp_path: Path, seed: int) -> None:
    """It is written anew: who can write the state folder needs no squatting."""
    chance = random.Random(seed)
    Identities(tmp_path, "aws").check(BUCKET, {"account": "1"})
    (file,) = (tmp_path / "identities").iterdir()
    whole = file.read_bytes()
    file.write_bytes(
        chance.choice([b"", b"[]", b"{}", b"null", whole[: chance.randrange(len(whole) - 2)], chance.randbytes(50)])
    )
    Identities(tmp_path, "aws").check(BUCKET, {"account": "1"})
    assert whole == file.read_bytes()


def test_without_a_folder_to_write_to_it_is_only_not_remembered(tmp_path: Path) -> None:
    """On a full disk, verbs that free space still work."""
    (tmp_path / "identities").write_text("in the way")
    Identities(tmp_path, "aws").check(BUCKET, {"account": "1"})
