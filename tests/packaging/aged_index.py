"""A package index on loopback with two versions of one small library, of which the older one may be yanked or gone."""

from __future__ import annotations

import hashlib
import secrets
import threading
import zipfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

NAME = "agedlib"
OLD, NEW = "1.0", "2.0"


def build_wheel(folder: Path, name: str, version: str, code: str) -> Path:
    """A pure wheel, written by hand: the same bytes on every machine."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": code,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{file},,\n" for file in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(zipfile.ZipInfo(file), text)
    return path


@dataclass
class AgedIndex:
    """The index: its wheels, what it has done with the old one, and the files it gave out.

    Args:
        wheels: Version to wheel; one that is taken out is no longer listed.
        yanked: The versions that are marked as yanked.
        url: Where it listens.
        given: Names of the files that were fetched, in order.
    """

    wheels: dict[str, Path]
    yanked: set[str] = field(default_factory=set[str])
    url: str = ""
    given: list[str] = field(default_factory=list[str])

    def page(self) -> bytes:
        """The list of files, as simple indexes give it."""
        return "\n".join(self._link(version, wheel) for version, wheel in self.wheels.items()).encode()

    def file(self, name: str) -> bytes | None:
        """The bytes of a listed file."""
        found = [wheel for wheel in self.wheels.values() if wheel.name == name]
        self.given += [wheel.name for wheel in found]
        return found[0].read_bytes() if found else None

    def _link(self, version: str, wheel: Path) -> str:
        sha256 = hashlib.sha256(wheel.read_bytes()).hexdigest()
        yanked = ' data-yanked="broken"' if version in self.yanked else ""
        return f'<a href="/files/{wheel.name}#sha256={sha256}"{yanked}>{wheel.name}</a>'


@contextmanager
def serving(folder: Path, versions: tuple[str, ...] = (OLD, NEW)) -> Generator[AgedIndex]:
    """Run the index; ``agedlib.VALUE`` is the major version."""
    index = AgedIndex({one: build_wheel(folder, NAME, one, f"VALUE = {one[0]}\n") for one in versions})

    place = f"simple-{secrets.token_hex(8)}"  # no cache knows it from an earlier run on the same port

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = self.path == f"/{place}/{NAME}/"
            body = index.page() if page else index.file(self.path.removeprefix("/files/"))
            if body is None:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Type", "text/html" if page else "application/octet-stream")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815  the name that http.server looks for

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        index.url = f"http://127.0.0.1:{server.server_port}/{place}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield index
        finally:
            server.shutdown()
            thread.join()
