"""The right to let models run as a service account is tested before anything is built."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from sdk.adapter import AdapterContext
from sdk.util.redact import Redactor
from sdk.util.waiting import SystemClock
from sdk_vertex import VertexAdapter
from sdk_vertex.options import VertexOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sdk.adapter.types import Check
    from tests.vertex.conftest import Place

ACCOUNT = "serving@mini-project.iam.gserviceaccount.com"


@pytest.fixture
def found(place: Place, tmp_path: Path) -> Iterator[Callable[[str | None], Check | None]]:
    """What `doctor` says of the account."""

    def look(account: str | None) -> Check | None:
        options = VertexOptions(project="mini-project", region="europe-west4", service_account=account)
        context = AdapterContext("gcp", "me", tmp_path / "state", SystemClock(), Redactor())
        with closing(VertexAdapter(options, context)) as adapter:
            return next((check for check in adapter.doctor() if check.name == "service account"), None)

    yield look
    place.cloud.identity.missing.clear()
    place.cloud.accounts.gone.clear()
    place.cloud.faults.clear()


def test_an_account_that_you_may_act_as(found: Callable[[str | None], Check | None]) -> None:
    check = found(ACCOUNT)
    assert check is not None
    assert (True, f"models and jobs run as {ACCOUNT}") == (check.ok, check.detail)


def test_a_missing_right_is_named(place: Place, found: Callable[[str | None], Check | None]) -> None:
    """With the command that grants it."""
    place.cloud.identity.missing.add("iam.serviceAccounts.actAs")
    check = found(ACCOUNT)
    assert check is not None
    assert (False, f"iam.serviceAccounts.actAs is missing on {ACCOUNT}") == (check.ok, check.detail)
    assert "roles/iam.serviceAccountUser" in str(check.hint)


def test_an_account_that_does_not_exist(place: Place, found: Callable[[str | None], Check | None]) -> None:
    place.cloud.accounts.gone.add(ACCOUNT)
    check = found(ACCOUNT)
    assert check is not None
    assert (False, f"{ACCOUNT} does not exist") == (check.ok, check.detail)


def test_who_may_not_ask_is_told_so(place: Place, found: Callable[[str | None], Check | None]) -> None:
    """It is no fault: the right to ask is another one."""
    place.cloud.faults.add("iam:TestIamPermissions", "denied")
    check = found(ACCOUNT)
    assert check is not None
    assert check.ok
    assert "cannot be read" in check.detail


def test_without_an_account_there_is_nothing_to_ask(found: Callable[[str | None], Check | None]) -> None:
    assert found(None) is None
