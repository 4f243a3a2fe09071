"""Results of jobs on their way here: several at a time, and on from where a connection broke."""

from __future__ import annotations

import ssl
import threading
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from sdk.adapter import AdapterContext
from sdk.errors import NotFoundError, UnavailableError
from sdk.util.redact import Redactor
from sdk.util.waiting import SystemClock
from sdk_azureml import AzureMLAdapter, AzureMLOptions
from tests.azureml.conftest import INSTANCE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sdk_contract.clouds.azureml import AzureMLCloud

CONTENT = bytes(range(256)) * 1200


class Impatient(SystemClock):
    """Waits for nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.waited = 0

    def sleep(self, seconds: float) -> None:
        self.waited += 1


class Cut(httpx.SyncByteStream):
    """An answer that breaks off."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __iter__(self) -> Iterator[bytes]:
        yield self._data
        raise httpx.ReadError("the connection broke")


class Network(httpx.HTTPTransport):
    """The network, on which answers with blobs break off.

    Attributes:
        cuts: After how many bytes, one after the other.
        asked: The ranges that were asked for.
        most: How many blobs were on their way at a time.
        meeting: Where requests for blobs wait for each other.
    """

    def __init__(self, cloud: AzureMLCloud) -> None:
        super().__init__(verify=ssl.create_default_context(cafile=cloud.tls.ca_file))
        self.cuts: list[int] = []
        self.asked: list[str | None] = []
        self.meeting: threading.Barrier | None = None

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = super().handle_request(request)
        if request.method != "GET" or "/results/" not in request.url.path:
            return response
        self.asked.append(request.headers.get("range"))
        if self.meeting is not None:
            self.meeting.wait()
        if not self.cuts:
            return response
        data = b"".join(response.stream)  # type: ignore[arg-type]  # of a blocking transport
        response.close()
        return httpx.Response(response.status_code, headers=response.headers, stream=Cut(data[: self.cuts.pop(0)]))


@pytest.fixture
def network(cloud: AzureMLCloud) -> Network:
    return Network(cloud)


@pytest.fixture
def clock() -> Impatient:
    return Impatient()


@pytest.fixture
def storage(cloud: AzureMLCloud, network: Network, clock: Impatient, tmp_path: Path) -> Iterator[Any]:
    options = AzureMLOptions.model_validate({"instance": INSTANCE, **cloud.settings})
    adapter = AzureMLAdapter(options, AdapterContext("t", "me", tmp_path / "state", clock, Redactor(), network))
    yield adapter._storage
    adapter.close()


def put(storage: Any, *names: str) -> None:
    for name in names:
        headers = {"x-ms-blob-type": "BlockBlob"}
        storage._call("PUT", f"results/{name}", "put", 30.0, headers=headers, content=CONTENT + name.encode())


def test_a_download_goes_on_where_it_broke_off(
    storage: Any, network: Network, clock: Impatient, tmp_path: Path
) -> None:
    """Each byte is written once, and nothing is asked for twice."""
    put(storage, "model.bin")
    network.cuts = [100_000, 0, 50_000]
    assert 1 == storage.download("results/", tmp_path / "out", 30.0)
    assert CONTENT + b"model.bin" == (tmp_path / "out" / "model.bin").read_bytes()
    assert [None, "bytes=100000-", "bytes=100000-", "bytes=150000-"] == network.asked
    assert 3 == clock.waited


def test_a_download_that_never_goes_on_is_an_error(storage: Any, network: Network, tmp_path: Path) -> None:
    put(storage, "model.bin")
    network.cuts = [10, *([0] * 20)]
    with pytest.raises(UnavailableError):
        storage.download("results/", tmp_path / "out", 30.0)
    assert 5 == len(network.asked)


def test_several_files_come_at_a_time(storage: Any, network: Network, tmp_path: Path) -> None:
    """All eight wait for each other."""
    names = [f"part-{number}/data" for number in range(8)]
    put(storage, *names)
    network.meeting = threading.Barrier(8, timeout=60)
    assert 8 == storage.download("results/", tmp_path / "out", 60.0)
    found = {name: (tmp_path / "out" / name).read_bytes() for name in names}
    assert {name: CONTENT + name.encode() for name in names} == found


def test_names_that_xml_cannot_hold(storage: Any, tmp_path: Path) -> None:
    """The list has them percent-encoded and says so; a name with a percent sign of its own stays as it is."""
    names = ["a\ufffeb/c%20d & e.bin", "100%25.bin"]
    put(storage, *names)
    assert 2 == storage.download("results/", tmp_path / "out", 30.0)
    assert {name: CONTENT + name.encode() for name in names} == {
        name: (tmp_path / "out" / name).read_bytes() for name in names
    }


def test_nothing_to_download_is_an_error(storage: Any, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="nothing under"):
        storage.download("results/", tmp_path / "out", 30.0)
