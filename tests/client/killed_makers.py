"""Kill processes of mlport in the middle of writing: the kernel ends each at the first byte that it writes to a file.

Prints JSON: for each maker the signal that ended it and the temporary files that it left. A program of its own, since
its makers are forks of a process without threads.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sdk
from sdk.adapter.identities import Identities
from sdk.config.trust import TrustStore
from sdk.packaging import disk, training, uvconfig, venv
from sdk.packaging.image import archives, debian, dependencies
from sdk.packaging.image.engine_ssh import Forward
from sdk.packaging.image.layers import Entry
from sdk.packaging.image.manifests import Image, ImageConfig, Platform
from sdk.packaging.image.store import BlobStore
from sdk.packaging.lock import Lock, compile_lock
from sdk.util import scratch
from sdk_local import LocalOptions, _doctor, _folder, _records

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


class Deadly:
    """A value that kills the process when it is pickled."""

    def __reduce__(self) -> Any:
        os.kill(os.getpid(), signal.SIGKILL)


def pack(_: Path) -> None:
    pickler: Any = import_module("cloudpickle")
    pickler.register_pickle_by_value(sys.modules[__name__])
    deadly = Deadly()

    def predict(rows: Any) -> Any:
        return rows, deadly

    sdk.model(predict, name="doomed")


def ssh(folder: Path) -> None:
    program = folder / "ssh"
    program.write_text(f"#!/bin/sh\nkill -9 {os.getpid()}\nsleep 600\n")
    program.chmod(0o755)
    Forward("ssh://me@box", str(program))


def layer(folder: Path) -> None:
    lock = Lock(f"x==1 --hash=sha256:{64 * '0'}\n", PYTHON)
    dependencies.layer(lock, folder / "wheels", Platform(), BlobStore(disk.cache_dir() / "images"), fresh=False)


def outside(folder: Path) -> None:
    with disk.staging_outside(folder):
        os.kill(os.getpid(), signal.SIGKILL)


def uv_settings(folder: Path) -> None:
    (folder / "uv.toml").write_text("no-binary = true\noffline = true\n")
    _limit()
    with uvconfig.harmless({"UV_CONFIG_FILE": str(folder / "uv.toml")}):
        pass


def incoming(_: Path) -> None:
    with BlobStore(disk.cache_dir() / "images").incoming() as (file, _commit):
        file.write(bytes(1 << 20))


def environment(_: Path) -> None:
    def die(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    venv._install = die  # type: ignore[assignment]
    venv.environment(Lock("", PYTHON))


def remove_environment(folder: Path) -> None:
    place = disk.subfolder(folder / "envs") / ("ab" * 20)
    disk.write_file(place / "bin" / "python", b"x")
    disk.write_file(place / scratch.COMPLETE, b"{}")
    _deadly_removal()
    venv.remove(place)


def remove_endpoint(folder: Path) -> None:
    disk.write_file(folder / "endpoints" / "one" / "token", b"x")
    _deadly_removal()
    scratch.bury(folder / "endpoints" / "one")


def _deadly_removal() -> None:
    def die(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    shutil.rmtree = die  # type: ignore[assignment]


def archive(folder: Path) -> None:
    store = BlobStore(disk.cache_dir() / "images")
    image = Image(ImageConfig().document([made := store.pack("one", [Entry("a", b"1")], created_by="x")]), (made,))

    def begun(*_: object) -> Iterator[bytes]:
        yield bytes(1 << 20)
        os.kill(os.getpid(), signal.SIGKILL)

    archives.stream = begun  # type: ignore[assignment]
    archives.write(image, store, folder / "image.tar", "localhost/one:1")


def debian_packages(folder: Path) -> None:
    program = folder / "bin" / "apt-get"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\necho begun > one.deb\nkill -9 {os.getpid()}\nsleep 600\n")
    program.chmod(0o755)
    os.environ["PATH"] = f"{program.parent}:{os.environ['PATH']}"
    debian.fetch(folder / "debs" / "amd64")


def create_endpoint(folder: Path) -> None:
    with _folder.staging(folder / "endpoints") as staged:
        disk.write_file(staged / "token", b"x")


def change_record(folder: Path) -> None:
    (folder / "endpoints" / "one" / "records").mkdir(parents=True)
    _limit()
    _records.replace_file(folder / "endpoints" / "one" / "records" / "traffic.json", b"{}")


# Those of the second group are limited by themselves, or end themselves.
LIMITED: dict[str, Callable[[Path], object]] = {
    "resolve a lock": lambda _: compile_lock(["nothing"], python=PYTHON),
    "make a program": lambda _: training.job_bundle(Path(__file__)),
    "make the layer of the packages": layer,
    "receive a blob": incoming,
    "publish the runtime": lambda _: venv.runtime(),
    "doctor": lambda folder: list(_doctor.checks(folder, LocalOptions())),
    "trust": lambda folder: TrustStore(folder).trust(folder / "mlport.toml", b""),
    "remember an identity": lambda folder: Identities(folder, "sagemaker").check("s3://x", {"account": "1"}),
    "create an endpoint": create_endpoint,
    "keep a price table": lambda folder: disk.write_file(folder / "prices" / "local.csv", b"x"),
}
OTHERS: dict[str, Callable[[Path], object]] = {
    "pack": pack,
    "tunnel through ssh": ssh,
    "write into a folder of the user": outside,
    "write settings for uv": uv_settings,
    "change a record": change_record,
    "make an environment": environment,
    "remove an environment": remove_environment,
    "remove an endpoint": remove_endpoint,
    "write an image to a file": archive,
    "fetch Debian packages": debian_packages,
}


def _limit() -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))


def _temporaries(folder: Path) -> list[str]:
    short = Path(f"/tmp/mlport-{os.getuid()}")
    found = [*folder.rglob(".new-*"), *folder.rglob(".mlport-*"), *short.glob(".new-*")]
    found += [*folder.rglob(".gone-*"), *(path for path in folder.glob("envs/*") if path.is_dir())]
    return sorted(str(path) for path in found if not any(part.startswith(".new-") for part in path.parent.parts))


def _kill(make: Callable[[Path], object], folder: Path, *, limited: bool) -> dict[str, Any]:
    before = _temporaries(folder)
    child = os.fork()
    if not child:
        os.environ["MLPORT_STATE_DIR"] = str(folder)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if limited:
            _limit()
        try:
            make(folder)
        finally:
            os._exit(3)
    status = os.waitpid(child, 0)[1]
    return {
        "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0,
        "left": sorted({*_temporaries(folder)} - {*before}),
    }


if __name__ == "__main__":
    root, outcomes = Path(sys.argv[1]), {}
    os.environ.pop("MLPORT_CACHE_DIR", None)
    for name, make in {**LIMITED, **OTHERS}.items():
        (root / name).mkdir(mode=0o700)
        outcomes[name] = _kill(make, root / name, limited=name in LIMITED)
    sys.stdout.write(json.dumps(outcomes))
