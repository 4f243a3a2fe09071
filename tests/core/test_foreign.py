"""Text that others wrote, nested without end or of another form, ends in our errors wherever it is read."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import tarfile
import zipfile
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from sdk.adapter import AdapterContext, LeaseRecord
from sdk.adapter.shared.log_lines import start_failure
from sdk.client.job import metrics_of
from sdk.compare.comparison import Comparison
from sdk.errors import SdkError, UnreadableError
from sdk.executor import lease
from sdk.packaging import bundle, files, handover, training
from sdk.packaging.image import BlobStore, Registries, pull_image
from sdk.packaging.image.archives import load as load_archive
from sdk.packaging.image.engine_address import Address
from sdk.packaging.image.engine_images import check_messages
from sdk.packaging.image.manifests import ImageConfig
from sdk.packaging.model import Model
from sdk.util import foreign
from sdk.util.logtext import readable
from sdk.util.redact import Redactor
from sdk.util.waiting import SystemClock
from sdk_azureml import _arm, _errors, _storage
from sdk_azureml import options as azure_options
from sdk_docker._engine import Host
from sdk_sagemaker._errors import translate
from sdk_vertex import _access, options
from sdk_vertex._errors import border

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LISTS = "[" * 100_000 + "]" * 100_000
TABLES = '{"a":' * 100_000 + "1" + "}" * 100_000
OPEN = '{"x":' * 200_000
DEEP = "[" * 500 + "]" * 500  # below the interpreter's own limit
TEXTS = {"lists": LISTS, "tables": TABLES, "no end": OPEN, "deep": DEEP, "number": "9" * 10_000, "nothing": ""}


def image_archive(folder: Path, text: str) -> Path:
    """A file as `docker save` writes it, with this text for a manifest."""
    path = folder / "image.tar"
    with tarfile.open(path, "w") as archive:
        member = tarfile.TarInfo("manifest.json")
        member.size = len(text)
        archive.addfile(member, io.BytesIO(text.encode()))
    return path


def job_facts(folder: Path, text: str) -> Any:
    """What a job left, with this text for its facts."""
    (folder / handover.FACTS).write_text(text)
    return training._facts(folder)


def example(folder: Path, text: str) -> Any:
    """The example of a bundle."""
    (folder / "example.json").write_text(text)
    return bundle.example_in(folder)


def comparison(folder: Path, text: str) -> Any:
    """A kept comparison."""
    (folder / "comparison.json").write_text(text)
    return Comparison.load(folder / "comparison.json")


def keras_file(folder: Path, text: str) -> Any:
    """A `.keras` file with this configuration."""
    with zipfile.ZipFile(folder / "model.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", text)
    return files.recognise(folder / "model.keras", None)


def serving(text: str) -> httpx.MockTransport:
    """A network where everybody answers this JSON."""
    return httpx.MockTransport(
        lambda _: httpx.Response(200, content=text.encode(), headers={"content-type": "application/json"})
    )


def pulled(folder: Path, text: str) -> Any:
    """An image of a registry that answers this."""
    registries = Registries(lambda _: None, transport=serving(text))
    return pull_image("registry.example/team/base:1", store=BlobStore(folder / "store"), registries=registries)


def vertex(_: Path, text: str) -> Any:
    """A service of Google's without a library of its own."""
    made = options.VertexOptions(project="acme-ml", region="europe-west4")
    access = _access.Access(made, lambda: 0.0, serving(text))
    return access.send("GET", "http://127.0.0.1:1/x", "GetX", timeout=1.0).json()["name"]


def azure(folder: Path, text: str) -> Any:
    """Azure's resource manager."""
    made = azure_options.AzureMLOptions(
        subscription="s", resource_group="g", workspace="wsp", endpoint="http://127.0.0.1:1"
    )
    context = AdapterContext("a", "me", folder, SystemClock(), Redactor(), serving(text))
    return _arm.Arm(made, context).find("/x", "read x", timeout=1.0)


REFUSED: dict[str, Callable[[Path, str], Any]] = {
    "configuration of an image": lambda _, text: ImageConfig.read(text.encode()),
    "image archive": lambda folder, text: load_archive(image_archive(folder, text), BlobStore(folder / "store")),
    "registry": pulled,
    "facts of a job": job_facts,
    "example": example,
    "comparison": comparison,
    "keras": keras_file,
    "vertex": vertex,
    "azure": azure,
    "engine": lambda _, text: check_messages(b'{"stream": ' + text.encode() + b"}", "build"),
}


@pytest.fixture(autouse=True)
def mocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """No credentials of this machine are looked for."""
    monkeypatch.setenv("MLPORT_MOCK_VERTEX_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("MLPORT_MOCK_VERTEX_TOKEN", "t")


@pytest.mark.parametrize(
    ("reader", "text"),
    [(reader, text) for reader in REFUSED for text in TEXTS if (reader, text) != ("vertex", "nothing")],
)
def test_endless_json_is_refused_in_our_words(tmp_path: Path, reader: str, text: str) -> None:
    """No RecursionError, no KeyError, no error of a parser gets out."""
    with pytest.raises(SdkError):
        REFUSED[reader](tmp_path, TEXTS[text])


@pytest.mark.parametrize(
    "text",
    ["null", "[]", "{}", "1", '"x"', '{"manifests": 7}', '{"config": []}', '{"config": {"digest": 7, "size": "x"}}'],
)
def test_a_manifest_of_another_form_is_refused(tmp_path: Path, text: str) -> None:
    """A registry may send anything."""
    with pytest.raises(SdkError):
        pulled(tmp_path, text)


LINES: dict[str, tuple[Callable[[str], Any], Any]] = {
    "log line": (lambda text: readable(f'{{"ts":{text}') == f'{{"ts":{text}', True),
    "start failure": (start_failure, None),
    "metric": (lambda text: metrics_of('{"mlport_metric": ' + text + "}"), {}),
    "lease": (lambda text: lease.parse(LeaseRecord(text, "1")), None),
    "azure's refusal": (lambda text: _errors.told(httpx.Response(400, content=text.encode())), {}),
}


@pytest.mark.parametrize("text", ["lists", "tables", "no end"])
@pytest.mark.parametrize("reader", LINES)
def test_endless_lines_are_text_like_any_other(reader: str, text: str) -> None:
    """What containers print and what refusals say need not be JSON."""
    read, wanted = LINES[reader]
    assert wanted == read(TEXTS[text])


@pytest.mark.parametrize("wrapped", [translate, border])
def test_a_library_that_fails_on_depth_is_translated(wrapped: Any) -> None:
    """boto3 and Google's libraries read answers themselves."""

    def parsed_by_a_library() -> Any:
        return json.loads(LISTS)

    with pytest.raises(UnreadableError, match="nested without end"), wrapped("GetX", "x"):
        parsed_by_a_library()


BOMB = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><x>&b;</x>'


HIDDEN = f"<?xml version='1.0' encoding='utf-16'?>{BOMB}"


@pytest.mark.parametrize("text", [BOMB, "<x>" * 10, "no xml", "", "\n" * 2000 + BOMB, f"<!--{'-' * 2000}>{BOMB}"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-be", "utf-32"])
def test_azure_lists_without_entities(text: str, encoding: str) -> None:
    """Entities that grow are refused before they are read, wherever and however they are declared."""
    with pytest.raises(SdkError, match="the list of blobs"):
        _storage._listing(text.encode(encoding))
    with pytest.raises(SdkError, match="declares entities"):
        _storage._listing(HIDDEN.encode("utf-16"))


def test_azure_lists_nested_without_end_are_read_without_recursion() -> None:
    deep = f"{'<x>' * 200_000}{'</x>' * 200_000}".encode()
    assert not list(_storage._listing(deep).iterfind("./Blobs/Blob"))


def archived(data: bytes, kind: bytes = tarfile.REGTYPE, size: int | None = None) -> bytes:
    info = tarfile.TarInfo("token")
    info.type, info.linkname, info.size = kind, "/dev/zero", len(data) if size is None else size
    return info.tobuf(tarfile.GNU_FORMAT) + data + bytes(-len(data) % 512 + 1024)


ENGINES_ARCHIVES = {
    "compressed": gzip.compress(archived(bytes(64 << 20))),
    "nothing": b"",
    "no archive": b"x" * 2000,
    "cut": archived(b"x" * 5000)[:1000],
    "negative size": archived(b"x")[:124] + b"-0000000001\0" + archived(b"x")[136:],
    "huge": archived(b"x", size=1 << 60),
}


def file_of(data: bytes) -> bytes:
    """What an adapter takes for a file in a container when the engine sends this archive."""

    class Engine:
        @contextlib.contextmanager
        def stream(self, *_: Any, **__: Any) -> Iterator[Iterator[bytes]]:
            yield iter([data])

    host = Host(lambda: Address("tcp://127.0.0.1:9"))
    host._engine = Engine()  # type: ignore[assignment]
    return host.file("container", "/run/token")


@pytest.mark.parametrize("case", ENGINES_ARCHIVES)
def test_an_archive_of_an_engine_that_is_none(case: str) -> None:
    """The engine sends a plain archive; one that would be unpacked to more than was read is refused."""
    with pytest.raises(UnreadableError, match="no whole archive"):
        file_of(ENGINES_ARCHIVES[case])


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_what_is_no_file_in_a_container_is_empty(kind: bytes) -> None:
    assert b"" == file_of(archived(b"", kind))
    assert b"secret" == file_of(archived(b"secret"))


LAUGHS = "a: &a [1]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join([f'*{chr(97 + n)}'] * 9)}]\n" for n in range(20)
)
YAML = {
    "laughs": LAUGHS,
    "merges": "a: &a {x: 1}\n" + "".join(f"b{n}: {{<<: *a, y: 1}}\n" for n in range(3)),
    "depth": "flavors: " + "[" * 200 + "]" * 200,
    "tag": "flavors: !!python/object/apply:os.system [true]\n",
    "bytes": "\ud800",
    "large": "x: " + "y" * (5 << 20),
    "list": "- 1\n",
    "signature": "flavors: {python_function: {}}\nsignature: {inputs: '" + "[" * 5_000 + "'}\n",
}


@pytest.mark.parametrize("case", YAML)
def test_a_description_of_mlflow_is_read_within_limits(tmp_path: Path, case: str) -> None:
    """A small file cannot become a large value, and none runs code."""
    (tmp_path / "MLmodel").write_bytes(YAML[case].encode("utf-8", "surrogatepass"))
    with pytest.raises(SdkError):
        Model.from_mlflow(tmp_path, name="evil")


TAGS = {
    "tagged merges": "a: &a {x: 1}\n" + "".join(f"b{n}: {{!!merge x: *a, y: 1}}\n" for n in range(3)),
    "no truth": "a: !!bool maybe\n",
    "no time": "a: !!timestamp later\n",
    "no number": "a: !!int ''\n",
    "a number without end": f"a: 0x{'f' * 5_000}\n",
    "a number of parts": f"a: 1{':59' * 3_000}\n",
}


@pytest.mark.parametrize("case", TAGS)
def test_no_tag_or_number_of_a_description_of_mlflow_is_obeyed(tmp_path: Path, case: str) -> None:
    """A tag makes any key a merge key, and any text a value that cannot be read."""
    (tmp_path / "MLmodel").write_text(TAGS[case])
    with pytest.raises(SdkError, match="is no YAML: it has tags, or is nested"):
        Model.from_mlflow(tmp_path, name="evil")


def test_a_model_in_a_file_is_not_unpacked_without_end(tmp_path: Path) -> None:
    """A description that unpacks to gigabytes is refused by its size."""
    with (
        zipfile.ZipFile(tmp_path / "model.keras", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("config.json", "w") as member,
    ):
        for _ in range(65):
            member.write(bytes(1 << 20))
    with pytest.raises(SdkError, match=r"has more than 67,108,864 bytes"):
        files.recognise(tmp_path / "model.keras", None)


def test_depth_is_measured_without_recursion() -> None:
    """Wide values are not deep, and the limit is exact."""
    assert foreign.is_shallow([{"a": [1] * 1_000}] * 1_000)
    assert [True, False] == [foreign.is_shallow(json.loads("[" * n + "]" * n)) for n in (100, 102)]
