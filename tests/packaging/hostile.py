"""What an attacker can make: a source archive whose build leaves a mark, an index that offers it, any bundle."""

from __future__ import annotations

import functools
import hashlib
import io
import tarfile
import threading
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from sdk.packaging.manifest import LOCK, MANIFEST, FileRecord, Manifest

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

_BACKEND = """
import json, os, pathlib, zipfile
pathlib.Path({mark!r}).write_text(json.dumps(dict(os.environ)))

def build_wheel(folder, config_settings=None, metadata_directory=None):
    name, info = "evil-1.0-py3-none-any.whl", "evil-1.0.dist-info"
    files = {{
        "evil.py": "VALUE = 7\\n",
        info + "/METADATA": "Metadata-Version: 2.1\\nName: evil\\nVersion: 1.0\\n",
        info + "/WHEEL": "Wheel-Version: 1.0\\nGenerator: x\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
    }}
    files[info + "/RECORD"] = "".join(file + ",,\\n" for file in [*files, info + "/RECORD"])
    with zipfile.ZipFile(pathlib.Path(folder) / name, "w") as archive:
        for file, text in files.items():
            archive.writestr(zipfile.ZipInfo(file), text)
    return name
"""
_PROJECT = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'


class Index(NamedTuple):
    """A package index on loopback with the source archive of ``evil``, and the file that its build would leave."""

    url: str
    sha256: str
    mark: Path
    archive: Path


@contextmanager
def index(folder: Path) -> Generator[Index]:
    """Serve the source archive of ``evil`` 1.0 until the end of the block."""
    mark = folder / "it-ran"
    archive = source_archive(folder / "files" / "evil-1.0.tar.gz", mark)
    sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
    page = folder / "simple" / "evil" / "index.html"
    page.parent.mkdir(parents=True)
    page.write_text(f'<a href="/files/{archive.name}#sha256={sha256}">{archive.name}</a>')

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield Index(f"http://127.0.0.1:{server.server_port}/simple", sha256, mark, archive)
        server.shutdown()
        thread.join()


def source_archive(path: Path, mark: Path) -> Path:
    """A source archive whose build backend writes its environment into ``mark`` as soon as it is imported."""
    files = {
        "pyproject.toml": _PROJECT,
        "backend.py": _BACKEND.format(mark=str(mark)),
        "PKG-INFO": "Metadata-Version: 2.1\nName: evil\nVersion: 1.0\n",
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(f"evil-1.0/{name}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return path


def bundle(folder: Path, *, lock: bytes = b"", **fields: Any) -> Path:
    """A bundle whose hashes are all right, with this lock and these values in its manifest."""
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "model.pkl").write_bytes(b"weights")
    (folder / LOCK).write_bytes(lock)
    present = {"model/model.pkl": b"weights", LOCK: lock}
    plain = {
        "name": "churn",
        "flavour": "function",
        "format": "cloudpickle",
        "entry": "model/model.pkl",
        "python": "3.11",
        "lock_sha256": hashlib.sha256(lock).hexdigest(),
        "files": {name: FileRecord(hashlib.sha256(data).hexdigest(), len(data)) for name, data in present.items()},
    }
    manifest = msgspec.convert(msgspec.to_builtins({**plain, **fields}), Manifest)
    (folder / MANIFEST).write_bytes(manifest.encode())
    return folder
