"""What mini clouds run: the same image as a process and as a container."""

import json
import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from sdk.packaging.image import BlobStore, Image, Registries, push_image
from sdk.packaging.image.layers import Entry, ImageLayer, with_parents
from sdk.packaging.image.manifests import ImageConfig
from sdk_contract.clouds.app import App
from sdk_contract.clouds.images import unpack
from sdk_contract.clouds.registry import Registry
from sdk_contract.clouds.runners import Launch, Runner, Running, StartFailed
from sdk_contract.clouds.runners.fork import ForkRunner
from sdk_contract.clouds.runners.process import (
    INSIDE,
    Isolation,
    ProcessRunner,
    ProcessRunning,
    find_isolation,
    rewritten,
)
from sdk_contract.clouds.server import Server
from sdk_contract.clouds.stub import stub_image
from tests.waits import until

WAYS = [find_isolation(), "prefix"] if find_isolation() != "prefix" else ["prefix"]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry with the stub image, pushed by our own client."""
    folder = tmp_path_factory.mktemp("registry")
    made, store = Registry(folder / "registry"), BlobStore(folder / "store")
    app = App([made])
    with Server(app) as server:
        host = server.url.removeprefix("http://")
        push_image(stub_image(store), f"{host}/stub:v1", store=store, registries=Registries(lambda _: None))
    yield made
    app.close()


@pytest.fixture(params=[*WAYS, "fork"])
def runner(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Runner]:
    folder = tmp_path / "runner"
    made = ForkRunner(folder) if request.param == "fork" else ProcessRunner(folder, isolation=request.param)
    yield made
    made.close()


def ask(running: Running) -> Any:
    """What a server says, once it answers."""
    end = time.monotonic() + 20
    with httpx.Client(base_url=running.address) as client:
        while time.monotonic() < end:
            assert running.exit_code is None, running.logs()
            try:
                return client.post("/invocations", content=b"hi").json()
            except httpx.TransportError:
                time.sleep(0.02)
    raise AssertionError(running.logs())


def test_two_servers_at_once_see_their_own_folders(registry: Registry, runner: Runner, tmp_path: Path) -> None:
    """Both find /opt/ml/model, each its own; their variables, addresses and output are apart; SIGTERM ends them."""
    running: list[Running] = []
    for name in ("blue", "green"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.bin").touch()
        launch = Launch(
            name, registry, "stub:v1", ["serve"], port=8080, env={"STUB_NAME": name},
            mounts={"/opt/ml/model": tmp_path / name},
        )  # fmt: skip
        running.append(runner.start(launch))
    seen = [ask(one) for one in running]
    assert [("blue", ["blue.bin"]), ("green", ["green.bin"])] == [(one["who"], one["model"]) for one in seen]
    assert ["blue", "green"] == runner.alive()
    assert all(cpu > 0 and memory > 0 for cpu, memory in (one.usage() for one in running))
    for one, name in zip(running, ("blue", "green"), strict=True):
        one.stop(10)
        assert (0, [f"stub: {name} listens", "stub: stops"]) == (one.exit_code, [line for _, line in one.logs()])
    assert [] == runner.alive()


def test_a_job_reads_and_writes_its_folders(registry: Registry, runner: Runner, tmp_path: Path) -> None:
    """It ends by itself; what it wrote is in the folder; its exit code and last words are known."""
    for name in ("input/config", "input/data/train", "model", "output"):
        (tmp_path / "ml" / name).mkdir(parents=True)
    (tmp_path / "ml/input/data/train/rows.csv").write_text("1,2\n")
    job = runner.start(Launch("job", registry, "stub:v1", ["train"], mounts={"/opt/ml": tmp_path / "ml"}))
    assert 0 == job.wait(20), job.logs()
    assert '"train/rows.csv": "1,2\\n"' in (tmp_path / "ml/model/seen.json").read_text()
    assert "stub: trains on 1 files" in [line for _, line in job.logs()]
    (tmp_path / "ml/input/config/hyperparameters.json").write_text('{"fail": "no luck"}')
    bad = runner.start(Launch("job", registry, "stub:v1", ["train"], mounts={"/opt/ml": tmp_path / "ml"}))
    assert (5, "no luck") == (bad.wait(20), (tmp_path / "ml/output/failure").read_text())


def test_a_shell_line(registry: Registry, runner: Runner, tmp_path: Path) -> None:
    """Platforms that start jobs through bash find bash and python."""
    line = "echo one && python -c 'print(\"two\")' && exit 7"
    job = runner.start(Launch("job", registry, "stub:v1", [line], shell=True))
    assert (7, ["one", "two"]) == (job.wait(20), [text for _, text in job.logs()])


def alive(mark: str) -> list[psutil.Process]:
    """Processes with this mark in their command; others' tests run the same programs, with marks of their own."""
    return [one for one in psutil.process_iter(["cmdline"]) if mark in str(one.info["cmdline"])]


def stubborn_one(runner: Runner, registry: Registry, rest: str = "") -> Running:
    """A container that does not care for SIGTERM."""
    code = (
        "import os, signal, subprocess, sys, time; signal.signal(15, signal.SIG_IGN);"
        f"{rest}print('up', flush=True); time.sleep(876)"
    )
    made = runner.start(Launch("stubborn", registry, "stub:v1", ["-c", code], entrypoint=["python"]))
    end = time.monotonic() + 20
    while not made.logs():
        assert time.monotonic() < end
        time.sleep(0.02)
    return made


def test_nobody_waits_for_the_end_of_another(registry: Registry, runner: Runner) -> None:
    """While one takes its time to end, it is known to run, and the next one starts."""
    slow = stubborn_one(runner, registry)
    stopping = threading.Thread(target=slow.stop, args=(30.0,))
    stopping.start()
    try:
        time.sleep(0.1)  # until the other thread waits
        assert slow.exit_code is None
        assert 0 == runner.start(Launch("next", registry, "stub:v1", ["-c", ""], entrypoint=["python"])).wait(20)
        assert stopping.is_alive()
    finally:
        slow.stop(0.0)
        stopping.join()


def test_who_ignores_sigterm_is_killed_with_its_children(registry: Registry, runner: Runner) -> None:
    """After the grace nothing of it is left, not even what it started."""
    mark = uuid.uuid4().hex
    child = f"subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(876)', '{mark}']);"
    stubborn = stubborn_one(runner, registry, child)
    assert alive(mark), "nothing was started that could be left"
    stubborn.stop(0.2)
    assert 137 == stubborn.exit_code
    until(lambda: not alive(mark), lambda: alive(mark), seconds=20)


def test_what_cannot_run_says_so(registry: Registry, runner: Runner) -> None:
    """An unknown image is refused before; an unknown program ends at once, as in a container."""
    with pytest.raises(StartFailed, match="no image stub:v2"):
        runner.start(Launch("x", registry, "stub:v2"))
    lost = runner.start(Launch("x", registry, "stub:v1", [], entrypoint=["no-such-program"]))
    assert 127 == lost.wait(20)
    assert "no-such-program" in lost.logs()[0][1]


def test_who_comes_late_finds_it_closed(registry: Registry, runner: Runner) -> None:
    """A deployment that was on its way in another thread starts nothing that nobody would end."""
    before = psutil.Process().children(recursive=True)
    runner.close()
    with pytest.raises(StartFailed, match="closed"):
        runner.start(Launch("late", registry, "stub:v1"))
    assert before == psutil.Process().children(recursive=True)


def test_a_copy_of_the_pipe_elsewhere_keeps_nobody_alive(tmp_path: Path) -> None:
    """A process forked meanwhile holds the pipe as well: its end would never come, so the end is also said."""
    (tmp_path / "root").mkdir()
    spec = {"argv": ["sleep", "874"], "env": {"PATH": os.defpath}, "cwd": "/", "binds": {}, "user": None,
            "root": str(tmp_path / "root"), "isolation": "prefix"}  # fmt: skip
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    first = subprocess.Popen(
        [sys.executable, "-I", "-S", INSIDE, tmp_path / "spec.json"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    assert first.stdin is not None
    copy = os.dup(first.stdin.fileno())
    try:
        ProcessRunning("x", first, tmp_path, None).stop(0.0)
        assert 128 + 9 == first.returncode, "it ended by itself, and told how its container ended"
    finally:
        os.close(copy)


PARENT = """
import sys, time
from pathlib import Path
from typing import Any
from sdk_contract.clouds.registry import Registry
from sdk.packaging.image.layers import Entry, ImageLayer, with_parents
from sdk.packaging.image.manifests import ImageConfig
from sdk_contract.clouds.app import App
from sdk_contract.clouds.images import unpack
from sdk_contract.clouds.server import Server
from sdk_contract.clouds.runners import Launch
from sdk_contract.clouds.runners.fork import ForkRunner
from sdk_contract.clouds.runners.process import ProcessRunner
from sdk_contract.clouds.stub import stub_image
from sdk.packaging.image import BlobStore, Registries, push_image

folder, isolation, mark = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
registry, store = Registry(folder / "registry"), BlobStore(folder / "store")
with Server(App([registry])) as server:
    push_image(stub_image(store), server.url[7:] + "/stub:v1", store=store, registries=Registries(lambda _: None))
runner = ProcessRunner(folder / "runner", isolation=isolation)
code = "import time; print('up', flush=True); time.sleep(875)"
running = runner.start(Launch("x", registry, "stub:v1", ["-c", code, mark], entrypoint=["python"]))
while not running.logs():
    time.sleep(0.02)
print("ready", flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("isolation", WAYS)
def test_nothing_survives_a_killed_mini_cloud(tmp_path: Path, isolation: Isolation) -> None:
    """SIGKILL of the process that started them ends containers as well."""
    (tmp_path / "parent.py").write_text(PARENT)
    mark = uuid.uuid4().hex
    with subprocess.Popen(
        [sys.executable, tmp_path / "parent.py", tmp_path, isolation, mark],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as parent:
        assert parent.stdout is not None
        assert b"ready\n" == parent.stdout.readline()
        assert [one for one in alive(mark) if one.pid != parent.pid], "no container that could be left"
        parent.kill()
    until(lambda: not alive(mark), lambda: f"outlived their cloud: {alive(mark)}", seconds=20)


def test_rewritten_paths() -> None:
    """Only whole folders of the container are moved under the prefix."""
    argv = ["/opt/ml/a", "--x=/opt/ml", "/opt/mlport/b", "/other/opt/ml", "/opt/mlx"]
    assert ["/p/opt/ml/a", "--x=/p/opt/ml", "/p/opt/mlport/b", "/other/opt/ml", "/opt/mlx"] == rewritten(
        argv, {}, ["/opt/ml", "/opt/mlport"], "/p"
    )[0]


def test_an_image_with_a_base_keeps_only_what_is_its_own(tmp_path: Path) -> None:
    """Of an image that mlport built, the layers below ours are not unpacked; links cannot lead out."""
    store = BlobStore(tmp_path / "store")

    def layer(path: str, by: str, target: str | None = None) -> ImageLayer:
        entries = with_parents([Entry(path, None if target else b"x", target=target)])
        return store.layer(path, lambda: entries, created_by=by)

    layers = [
        layer("usr/bin/tool", "mlport base: Debian packages"),
        layer("opt/mlport/runtime/a.py", "mlport runtime"),
        layer("opt/mlport/out", "mlport model", target="/etc"),
        layer("opt/mlport/out/passwd", "mlport model"),
    ]
    config = ImageConfig(labels={"dev.mlport.runtime": "1"}).document(layers)
    image = Image(config, tuple(layers))
    root = unpack(image, store, tmp_path / "cache")
    assert ["opt"] == [path.name for path in root.iterdir()]
    assert ["out", "runtime"] == sorted(path.name for path in (root / "opt/mlport").iterdir())
    assert "x" != Path("/etc/passwd").read_text()


@pytest.mark.parametrize(("label", "shared"), [("dev.mlport.runtime", True), ("somebody.else", False)])
def test_what_two_images_share_is_unpacked_once(tmp_path: Path, label: str, shared: bool) -> None:
    """Images of ours share the files below their models; those that others made may write to theirs."""
    store = BlobStore(tmp_path / "store")

    def layer(path: str, data: bytes, by: str) -> ImageLayer:
        return store.layer(f"{path} {data!r}", lambda: with_parents([Entry(path, data)]), created_by=by)

    def unpacked(model: bytes) -> Path:
        layers = [
            layer("opt/mlport/site/big.py", b"big", "mlport dependencies"),
            layer("opt/mlport/model/weights", model, "mlport model"),
        ]
        config = ImageConfig(labels={label: "1"}).document(layers)
        return unpack(Image(config, tuple(layers)), store, tmp_path / "cache")

    one, other = unpacked(b"one"), unpacked(b"other")
    assert [b"one", b"other"] == [(root / "opt/mlport/model/weights").read_bytes() for root in (one, other)]
    assert shared == (one / "opt/mlport/site/big.py").samefile(other / "opt/mlport/site/big.py")
    assert one == unpacked(b"one")
