"""Build a base image from Debian packages, for machines that reach a package mirror but no registry.

Packages are fetched by ``apt-get download`` (apt checks them against its signed index) and unpacked by our own reader
without root or maintainer scripts. The results of the scripts are created here: the merged ``/usr``, users, ``python``
links and the certificate bundle.
"""

from __future__ import annotations

import io
import lzma
import os
import platform
import subprocess
import tarfile
import zlib
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from sdk.errors import PackagingError
from sdk.packaging import disk
from sdk.util import children

from .layers import Entry

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PACKAGES = (
    "base-files", "netbase", "tzdata", "media-types", "ca-certificates", "libc6", "libcrypt1", "gcc-12-base",
    "libgcc-s1", "libstdc++6", "libgomp1", "zlib1g", "libexpat1", "libssl3", "libffi8", "libbz2-1.0", "liblzma5",
    "libsqlite3-0", "libuuid1", "libncursesw6", "libtinfo6", "libreadline8", "readline-common", "libdb5.3", "libnsl2",
    "libtirpc3", "libgssapi-krb5-2", "libkrb5-3", "libk5crypto3", "libkrb5support0", "libcom-err2", "libkeyutils1",
    "python3.11-minimal", "libpython3.11-minimal", "libpython3.11-stdlib",
    "bash", "coreutils", "libacl1", "libattr1", "libgmp10", "libselinux1", "libpcre2-8-0", "dash",
)  # fmt: skip
PYTHON = "3.11"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
"""The Debian name of each machine type that the base supports."""
NOBODY = 65532

_APT_S = 600.0
_MERGED = ("bin", "sbin", "lib", "lib64")
_DROPPED = tuple(f"usr/share/{name}/" for name in ("doc", "man", "locale", "info", "lintian", "bug", "menu", "linda"))
_CERTIFICATES = "usr/share/ca-certificates/mozilla/"


def fetch(folder: Path, packages: Sequence[str] = PACKAGES, architecture: str | None = None) -> list[Path]:
    """Return the ``.deb`` files of these packages in ``folder``, sorted; fetched all at once or not at all, and kept.

    apt verifies them. Remove the folder to fetch newer ones.

    Args:
        folder: The folder where they are kept.
        packages: Their names.
        architecture: Debian's name, such as ``"arm64"``; that of this machine if omitted.

    Raises:
        PackagingError: No apt, no mirror, or an unknown package.
    """
    kept = sorted(folder.glob("*.deb"))
    if kept:
        return kept
    with disk.staging(folder.parent) as work, disk.writing(folder):
        fresh = disk.subfolder(work / "debs")
        fresh.chmod(0o755)  # apt fetches as another user when run as root
        options: list[str] = []
        if architecture not in {None, ARCHITECTURES.get(platform.machine())}:
            options = _foreign(work / "apt", str(architecture))
            _apt(fresh, *options, "update")
        _apt(fresh, *options, "download", *packages)
        with suppress(OSError):  # another process was faster
            fresh.rename(folder)
    return sorted(folder.glob("*.deb"))


def _foreign(folder: Path, architecture: str) -> list[str]:
    """Return options that make apt use another architecture in a separate index, so that nothing here changes."""
    for name in ("lists/partial", "cache"):
        (folder / name).mkdir(parents=True)
    given = {
        "APT::Architecture": architecture,
        "APT::Architectures": architecture,
        "Dir::State::lists": folder / "lists",
        "Dir::State::status": os.devnull,
        "Dir::Cache": folder / "cache",
    }
    return [word for name, value in given.items() for word in ("-o", f"{name}={value}")]


def _apt(folder: Path, *arguments: str) -> None:
    output = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    try:
        with children.started(["apt-get", *arguments], cwd=folder, **output) as apt:
            _, said = apt.communicate(timeout=_APT_S)
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        raise PackagingError(
            f"cannot fetch Debian packages: {error}", operation="base", hint="give base= an image of a registry"
        ) from error
    if apt.returncode:
        last = (said.strip().splitlines() or ["apt-get failed"])[-1]
        raise PackagingError(
            f"cannot fetch Debian packages: {last}", operation="base", hint="run `apt-get update` first"
        )


def entries(debs: Sequence[Path]) -> list[Entry]:
    """Return the files of a root that consists of these packages."""
    found: dict[str, Entry] = {}
    for deb in debs:
        for entry in _unpack(deb):
            found[entry.path] = entry
    bundle = b"".join(
        entry.content
        for path, entry in sorted(found.items())
        if path.startswith(_CERTIFICATES) and isinstance(entry.content, bytes)
    )
    for entry in _made(bundle):
        found.setdefault(entry.path, entry)
    return list(found.values())


def _made(certificates: bytes) -> Iterator[Entry]:
    for name in _MERGED:
        yield Entry(name, target=f"usr/{name}")
    yield Entry("usr/bin/python3", target=f"python{PYTHON}")
    yield Entry("usr/bin/python", target=f"python{PYTHON}")
    yield Entry("usr/bin/sh", target="dash")
    yield Entry(
        "etc/passwd", f"root:x:0:0:root:/root:/bin/bash\nnonroot:x:{NOBODY}:{NOBODY}::/tmp:/bin/false\n".encode()
    )
    yield Entry("etc/group", f"root:x:0:\nnonroot:x:{NOBODY}:\n".encode())
    yield Entry("etc/ssl/certs/ca-certificates.crt", certificates)
    yield Entry("tmp", mode=0o1777)
    for name in ("proc", "sys", "dev", "root", "run", "var/tmp", "opt"):
        yield Entry(name)


def _unpack(deb: Path) -> Iterator[Entry]:
    with tarfile.open(fileobj=io.BytesIO(_data(deb)), mode="r:") as archive:
        for member in archive:
            path = _merged(str(PurePosixPath(member.name)).removeprefix("./").lstrip("/"))
            if path in {"", "."} or path in _MERGED or f"{path}/".startswith(_DROPPED):
                continue
            if member.issym():
                yield Entry(path, target=member.linkname)
            elif member.isfile():
                file = archive.extractfile(member)
                yield Entry(path, file.read() if file else b"", executable=bool(member.mode & 0o100))
            elif member.islnk():
                yield Entry(path, target="/" + _merged(member.linkname.removeprefix("./")))


def _merged(path: str) -> str:
    first = path.split("/", 1)[0]
    return f"usr/{path}" if first in _MERGED and "/" in path else path


def _data(deb: Path) -> bytes:
    """Return the uncompressed ``data.tar`` inside a ``.deb`` (an ar archive)."""
    raw = deb.read_bytes()
    if not raw.startswith(b"!<arch>\n"):
        raise PackagingError(f"{deb.name} is no Debian package", operation="base", resource=deb.name)
    position = 8
    while position + 60 <= len(raw):
        header = raw[position : position + 60]
        name, size = header[:16].decode("ascii", "replace").strip().rstrip("/"), int(header[48:58])
        body = raw[position + 60 : position + 60 + size]
        if name.startswith("data.tar"):
            return _decompress(name, body, deb)
        position += 60 + size + size % 2
    raise PackagingError(f"{deb.name} holds no data", operation="base", resource=deb.name)


def _decompress(name: str, body: bytes, deb: Path) -> bytes:
    if name.endswith(".xz"):
        return lzma.decompress(body)
    if name.endswith(".gz"):
        return zlib.decompress(body, 31)
    if name.endswith(".tar"):
        return body
    raise PackagingError(f"{deb.name} is compressed in a way not known here: {name}", operation="base")
