"""Azure's clock is believed where it differs from ours by more than what its dates leave open."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import httpx
import pytest

from sdk.adapter import AdapterContext
from sdk.util.redact import Redactor
from sdk.util.waiting import SystemClock
from sdk_azureml import AzureMLAdapter, AzureMLOptions

if TYPE_CHECKING:
    from pathlib import Path

URL = "http://127.0.0.1:9"


class Ours(SystemClock):
    """A clock that stands still."""

    def time(self) -> float:
        return 101.9


@pytest.mark.parametrize(
    ("date", "expected"),
    [
        ("Thu, 01 Jan 1970 00:01:41 GMT", 101.9),  # a lease that ends at 101.9 is free then, not a second later
        ("Thu, 01 Jan 1970 00:01:39 GMT", 101.9),  # the answer was under way for two seconds
        ("Thu, 01 Jan 1970 00:11:41 GMT", 701.0),
        ("yesterday", 101.9),
    ],
)
def test_whole_seconds_in_dates_make_no_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, date: str, expected: float
) -> None:
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"{URL}/msi/token")
    answer = {"access_token": "t", "expires_on": 1 << 40}
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json=answer, headers={"date": date}))
    options = AzureMLOptions(subscription="s", resource_group="g", workspace="wsp", endpoint=URL)
    context = AdapterContext("t", "me", tmp_path, Ours(), Redactor(), transport)
    with closing(AzureMLAdapter(options, context)) as one:
        one._arm.call("GET", "/x", "read x", timeout=1.0)
        assert expected == one.server_time()
