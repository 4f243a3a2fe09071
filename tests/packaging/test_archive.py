"""Archives that nobody vouches for make nothing outside their folder, and nothing at all when they are refused."""

from __future__ import annotations

import gzip
import io
import os
import resource
import stat
import struct
import subprocess
import sys
import tarfile
import zipfile
from functools import partial
from typing import TYPE_CHECKING

import pytest

from sdk.errors import PackagingError
from sdk.packaging import archive
from sdk.packaging.archive import ArchiveLimits

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SMALL = ArchiveLimits(file_bytes=1 << 20, total_bytes=3 << 20, entries=100)


def member(
    name: str, content: bytes = b"x", kind: bytes = tarfile.REGTYPE, link: str = ""
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type = kind
    info.linkname = link
    info.size = len(content) if kind == tarfile.REGTYPE else 0
    return info, content


def tar(*members: tuple[tarfile.TarInfo, bytes], pax: dict[str, str] | None = None) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT if pax else tarfile.GNU_FORMAT) as file:
        for info, content in members:
            info.pax_headers = pax or {}
            file.addfile(info, io.BytesIO(content) if info.isreg() else None)
    return buffer.getvalue()


def zipped(*members: tuple[str, bytes], mode: int = 0, method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file:
        for name, content in members:
            info = zipfile.ZipInfo(name)
            info.compress_type = method
            info.external_attr = mode << 16
            file.writestr(info, content)
    return buffer.getvalue()


def twice_in_zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("a", b"1")
        with pytest.warns(UserWarning, match="Duplicate name"):
            file.writestr("a", b"2")
    return buffer.getvalue()


def long_links() -> bytes:
    """A chain of links longer than a path may be, so that resolving gives up and ``..`` passes (CVE-2025-4517)."""
    steps = "abcdefghijklmnop"
    members: list[tuple[tarfile.TarInfo, bytes]] = []
    path = ""
    for letter in steps:
        folder = "d" * 247
        members.append(member(f"{path}{folder}/", kind=tarfile.DIRTYPE))
        members.append(member(f"{path}{letter}", kind=tarfile.SYMTYPE, link=folder))
        path += f"{folder}/"
    link = "/".join(steps) + "/" + "l" * 254
    members.append(member(link, kind=tarfile.SYMTYPE, link="../" * len(steps)))
    members.append(member("escape", kind=tarfile.SYMTYPE, link=link + "/../../outside"))
    members.append(member("escape/evil.txt"))
    return tar(*members)


def encrypted_zip() -> bytes:
    data = bytearray(zipped(("a", b"secret")))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = data.index(signature) + offset
        data[place] |= 1
    return bytes(data)


def wrong_crc_zip() -> bytes:
    return zipped(("a", b"content")).replace(b"content", b"CONTENT")


def lying_tar(size: int) -> bytes:
    """A header that promises more bytes than there are."""
    info = tarfile.TarInfo("a")
    info.size = size
    return info.tobuf(tarfile.GNU_FORMAT) + b"x" * 100


def lying_zip() -> bytes:
    data = bytearray(zipped(("a", b"x" * 100)))
    place = data.index(b"PK\x01\x02") + 24
    data[place : place + 4] = struct.pack("<I", 10)
    return bytes(data)


def broken_header() -> bytes:
    data = bytearray(tar(member("a"), member("b")))
    data[1024:1500] = b"\xff" * 476
    return bytes(data)


def sparse() -> bytes:
    info = tarfile.TarInfo("a")
    info.type = tarfile.GNUTYPE_SPARSE
    info.size = 0
    return info.tobuf(tarfile.GNU_FORMAT) + b"\0" * 1024


MIB = 1 << 20
DEEP = "/".join("d" for _ in range(70))
BAD_NAMES = [
    "../evil",
    "a/../../evil",
    "/etc/evil",
    "//evil",
    "a/b/../../../evil",
    "..",
    "C:/evil",
    "C:evil",
    "\\evil",
    "..\\evil",
    "a\\..\\..\\evil",
    "a\nb",
    "a\x1b[2Jb",
    "a\u202eb",
    "n" * 300,
    DEEP + "/evil",
]
CORPUS: dict[str, Callable[[], bytes]] = {
    **{f"tar name {name[:12]!r}": partial(lambda name: tar(member(name)), name) for name in BAD_NAMES},
    **{f"zip name {name[:12]!r}": partial(lambda name: zipped((name, b"x")), name) for name in BAD_NAMES},
    "symlink": lambda: tar(member("a", kind=tarfile.SYMTYPE, link="/etc/passwd")),
    "symlink inside": lambda: tar(member("b"), member("a", kind=tarfile.SYMTYPE, link="b")),
    "symlink then through it": lambda: tar(member("a", kind=tarfile.SYMTYPE, link=".."), member("a/evil")),
    "hard link": lambda: tar(member("a", kind=tarfile.LNKTYPE, link="/etc/passwd")),
    "hard link inside": lambda: tar(member("b"), member("a", kind=tarfile.LNKTYPE, link="b")),
    "link chain past PATH_MAX": long_links,
    "character device": lambda: tar(member("a", kind=tarfile.CHRTYPE)),
    "block device": lambda: tar(member("a", kind=tarfile.BLKTYPE)),
    "pipe": lambda: tar(member("a", kind=tarfile.FIFOTYPE)),
    "sparse file": sparse,
    "pax path leads out": lambda: tar(member("a"), pax={"path": "../evil"}),
    "pax path absolute": lambda: tar(member("a"), pax={"path": "/tmp/evil"}),
    "pax size lies": lambda: tar(member("a", b"x" * 10), pax={"size": "99999999"}),
    "header size lies": lambda: lying_tar(1 << 33),
    "no end": lambda: tar(member("a"))[:1024],
    "truncated": lambda: tar(member("a", b"x" * 2000))[:1000],
    "broken second header": broken_header,
    "twice the same file": lambda: tar(member("a"), member("a")),
    "case twins": lambda: tar(member("Model"), member("model")),
    "case twins as folders": lambda: tar(member("A/x"), member("a/y")),
    "Unicode twins": lambda: tar(member("\u00e9"), member("e\u0301")),
    "trailing dot twins": lambda: tar(member("a."), member("a")),
    "file then folder": lambda: tar(member("a"), member("a/b")),
    "folder then file": lambda: tar(member("a/b"), member("a")),
    "one file too large": lambda: tar(member("a", b"x" * (MIB + 1))),
    "too much in all": lambda: tar(*(member(str(number), b"x" * MIB) for number in range(4))),
    "too many entries": lambda: tar(*(member(str(number), b"") for number in range(101))),
    "too many folders": lambda: tar(*(member(f"{n}/{'/'.join('f' * 30)}/x", b"") for n in range(4))),
    "gzip bomb": lambda: gzip.compress(tar(*(member(str(number), b"\0" * MIB) for number in range(3)))),
    "gzip bomb in a header": lambda: gzip.compress(tar(member("n" * (4 * MIB)))),
    "gzip truncated": lambda: gzip.compress(tar(member("a", os.urandom(5000))))[:2000],
    "gzip of garbage": lambda: gzip.compress(b"no archive at all" * 100),
    "garbage": lambda: b"no archive at all" * 100,
    "nothing": lambda: b"",
    "zip symlink": lambda: zipped(("a", b"/etc/passwd"), mode=stat.S_IFLNK | 0o777),
    "zip device": lambda: zipped(("a", b""), mode=stat.S_IFCHR | 0o666),
    "zip bomb": lambda: zipped(*((str(n), b"\0" * MIB) for n in range(3)), method=zipfile.ZIP_DEFLATED),
    "zip twice": twice_in_zip,
    "zip case twins": lambda: zipped(("A", b"1"), ("a", b"2")),
    "zip encrypted": encrypted_zip,
    "zip wrong checksum": wrong_crc_zip,
    "zip size lies": lying_zip,
    "zip truncated": lambda: zipped(("a", b"x" * 500))[:200],
}


def everything(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_corpus_is_large_enough() -> None:
    """At least 60 different hostile archives are tried."""
    assert len({make() for make in CORPUS.values() if make is not twice_in_zip}) + 1 >= 60


@pytest.mark.parametrize("kind", CORPUS)
def test_hostile_archive_leaves_nothing(kind: str, tmp_path: Path) -> None:
    """A hostile archive is refused, and not one byte stays: neither in the target nor beside it."""
    source = tmp_path / "archive"
    source.write_bytes(CORPUS[kind]())
    work = tmp_path / "work" / "inner"
    work.mkdir(parents=True)
    before = everything(tmp_path)
    with pytest.raises(PackagingError, match="archive refused: "):
        archive.extract(source, work / "target", SMALL)
    assert before == everything(tmp_path)


def test_harmless_archives_are_unpacked(tmp_path: Path) -> None:
    """Regular files and folders come out of tar, tar.gz and zip with plain modes, whatever theirs were."""
    contents = {"a/b.txt": b"hello", "c": b"\0" * 1000}
    plain = tar(
        member("./", kind=tarfile.DIRTYPE),
        member("a/", kind=tarfile.DIRTYPE),
        *(member(*one) for one in contents.items()),
    )
    for number, data in enumerate((plain, gzip.compress(plain), zipped(*contents.items(), mode=stat.S_IFREG | 0o4777))):
        (tmp_path / "archive").write_bytes(data)
        target = archive.extract(tmp_path / "archive", tmp_path / f"target{number}")
        assert contents == {name: (target / name).read_bytes() for name in contents}
        assert ["a", "a/b.txt", "c"] == everything(target)
        assert 0o644 == stat.S_IMODE((target / "c").stat().st_mode) | 0o044


def test_existing_target_is_kept(tmp_path: Path) -> None:
    """What is there already is not touched."""
    (tmp_path / "archive").write_bytes(tar(member("a")))
    (tmp_path / "target").mkdir()
    with pytest.raises(PackagingError, match="exists"):
        archive.extract(tmp_path / "archive", tmp_path / "target")
    assert [] == everything(tmp_path / "target")


def test_written_archive_is_the_same_every_time(tmp_path: Path) -> None:
    """Dates, modes and the order of the disk do not show in what is written; it can be read back."""
    for name, order in (("one", ("a", "b/c")), ("two", ("b/c", "a"))):
        for file in order:
            path = tmp_path / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(file)
            os.utime(path, (len(name), len(file)))
            path.chmod(0o600 if name == "one" else 0o755)
        archive.write(tmp_path / name, tmp_path / f"{name}.tar.gz")
    assert (tmp_path / "one.tar.gz").read_bytes() == (tmp_path / "two.tar.gz").read_bytes()
    assert ["a", "b", "b/c"] == everything(archive.extract(tmp_path / "one.tar.gz", tmp_path / "back"))


def test_no_space_is_said_and_nothing_stays(tmp_path: Path) -> None:
    """When the disk is full in the middle the error says so and the half is removed."""
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "archive").write_bytes(tar(member("a", b"x" * 500_000), member("b", b"x" * 500_000)))
    script = (
        "import resource, signal, sys, pathlib\n"
        "from sdk.packaging import archive\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, {resource.RLIM_INFINITY}))\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "archive.extract(folder / 'archive', folder / 'target')\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(folder)], capture_output=True, text=True, check=False)
    assert "PackagingError: no space left while writing" in done.stderr
    assert ["archive"] == everything(folder)
