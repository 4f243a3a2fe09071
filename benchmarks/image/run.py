"""Building, pushing, rebuilding and starting an image of a scikit-learn model, compared with `docker build`.

`docker build` gets an equivalent Dockerfile. The benchmark needs a Docker Engine, docker-registry and apt-get; if one
is missing, it reports that and exits with 0. Both sides begin with the same base image, which is created before the
clock starts, and with the same warm cache of wheels on this machine (a Dockerfile cannot use it, which is part of the
comparison). Seconds are wall time; those of starts and of deploying another model are medians.
"""

import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil

STARTS = 5
REDEPLOYS = 3
REBUILD_GOAL_S = 0.2
REDEPLOY_GOAL_S = 3.0
T = TypeVar("T")

INSTALL = {
    "uv": "/build/uv pip install --quiet --system",
    "pip": "python /build/pip.whl/pip install --quiet --no-compile --disable-pip-version-check --cert /build/ca.pem",
}
DOCKERFILE = """FROM {base}
COPY uv pip.whl ca.pem requirements.lock /build/
ENV SSL_CERT_FILE=/build/ca.pem PYTHONPATH=/opt/mlport/runtime:/opt/mlport/site HOME=/tmp
RUN {install} --no-deps --require-hashes --target /opt/mlport/site -r /build/requirements.lock
COPY runtime /opt/mlport/runtime
COPY model /opt/mlport/model
ENTRYPOINT ["python", "-P", "-m", "mlport_serving"]
CMD ["serve"]
LABEL {mark}
"""
MARK = f"benchmark.run={os.getpid()}"  # a label on every image created here, so that only these are removed
BENTO = """
import bentoml


@bentoml.service(image=bentoml.images.Image(python_version="3.11").python_packages("scikit-learn"))
class Bench:
    @bentoml.api
    def predict(self, rows: list) -> list:
        return rows
"""


def timed(figures: dict[str, float], name: str, call: Callable[[], T]) -> T:
    begin = time.perf_counter()
    value = call()
    figures[name] = time.perf_counter() - begin
    print(f"{name}: {figures[name]:.2f} s", file=sys.stderr, flush=True)
    return value


@contextmanager
def registry(folder: Path) -> Iterator[str]:
    config = folder / "config.yml"
    config.write_text(
        f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {folder}/data}}}}\n"
        "http: {addr: '127.0.0.1:0'}\n"
    )
    process = subprocess.Popen(
        ["docker-registry", "serve", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while not (found := psutil.Process(process.pid).net_connections("tcp")):
            time.sleep(0.05)
        yield f"127.0.0.1:{found[0].laddr.port}"
    finally:
        process.terminate()
        process.wait()


def fitted(seed: int) -> Any:
    from sklearn.datasets import load_breast_cancer
    from sklearn.ensemble import RandomForestClassifier

    import sdk

    rows, labels = load_breast_cancer(return_X_y=True)
    forest = RandomForestClassifier(n_estimators=20, random_state=seed).fit(rows, labels)
    return sdk.model(forest, name="bench", example=rows[:5])


def ready(engine: Any, image: str) -> float:
    """Return the seconds from the request to create a container until /ping answers 200."""
    begin = time.perf_counter()
    options = {"Image": image, "HostConfig": {"PortBindings": {"8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": "0"}]}}}
    options["ExposedPorts"] = {"8080/tcp": {}}
    container = engine.call("POST", "/containers/create", json=options)["Id"]
    try:
        engine.call("POST", f"/containers/{container}/start")
        ports = engine.call("GET", f"/containers/{container}/json")["NetworkSettings"]["Ports"]["8080/tcp"]
        url = f"http://127.0.0.1:{ports[0]['HostPort']}/ping"
        while time.perf_counter() - begin < 120:
            try:
                if httpx.get(url).status_code == 200:
                    return time.perf_counter() - begin
            except httpx.HTTPError:
                pass
            time.sleep(0.01)
        raise SystemExit("not ready: " + "\n".join(engine.logs(container)))
    finally:
        engine.call("DELETE", f"/containers/{container}", params={"force": "1"}, timeout_s=300)


def redeployed(engine: Any, model: Any, store: Any, labels: dict[str, str]) -> tuple[dict[str, float], Any, str]:
    """Rebuild, load and start an image for another fitted model; return the seconds of each step, image and name."""
    from sdk.packaging.image import build_image
    from sdk.packaging.image.engine_images import load

    steps: dict[str, float] = {}
    image = timed(
        steps, "rebuild_model", lambda: build_image(model, base="debian-packages", store=store, labels=labels)
    )
    name = timed(steps, "thin_load", lambda: load(engine, image, store))
    steps["redeploy_model"] = steps["rebuild_model"] + steps["thin_load"] + ready(engine, name)
    return steps, image, name


def pushed_by_engine(engine: Any, image: str, place: str) -> None:
    engine.call("POST", f"/images/{image}/tag", params={"repo": place, "tag": "peer"})
    with engine.stream(
        "POST", f"/images/{place}/push", params={"tag": "peer"}, headers={"x-registry-auth": "e30="}
    ) as said:
        text = b"".join(said)
    if b'"error"' in text:
        raise SystemExit(text.decode())


def context(folder: Path, model: Any, base: str, installer: str) -> Path:
    """Create the build context of the Dockerfile and return its folder."""
    from sdk.packaging import uvrun, venv

    folder.mkdir()
    wheels = folder.with_name(f"{folder.name}-pip")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", wheels, "pip"]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    shutil.copy(next(wheels.glob("pip-*.whl")), folder / "pip.whl")
    shutil.copy(uvrun.uv_binary(), folder / "uv")
    ca = os.environ.get("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt")
    shutil.copy(ca, folder / "ca.pem")
    shutil.copytree(venv.runtime(), folder / "runtime", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(model.path, folder / "model")
    shutil.copy(model.path / "requirements.lock", folder)
    (folder / "Dockerfile").write_text(DOCKERFILE.format(base=base, install=INSTALL[installer], mark=MARK))
    return folder


def bentoml(work: Path) -> dict[str, float | str]:
    """Return the seconds of `bentoml build` and `bentoml containerize` for the same kind of model, or why they fail."""
    from sdk.packaging import uvrun

    uv, folder = uvrun.uv_binary(), work / "bentoml"
    folder.mkdir()
    python = folder / "env" / "bin" / "python"
    subprocess.run([uv, "venv", "--quiet", "--seed", "--python", sys.executable, folder / "env"], check=True)
    subprocess.run([uv, "pip", "install", "--quiet", "--python", python, "bentoml>=1.4,<2", "scikit-learn"], check=True)
    (folder / "service.py").write_text(BENTO)
    env = {**os.environ, "BENTOML_HOME": str(folder / "home"), "BENTOML_DO_NOT_TRACK": "True"}
    found: dict[str, float | str] = {}
    for step in (["build", "service:Bench"], ["containerize", "bench:latest"]):
        begin = time.perf_counter()
        command = [python.with_name("bentoml"), *step]
        done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=600)
        name = f"bentoml_{step[0]}"
        if done.returncode:
            found[name] = f"cannot run here: {(done.stderr.strip() or done.stdout.strip()).splitlines()[-1][:200]}"
            break
        found[name] = time.perf_counter() - begin
    return found


def peers(engine: Any, work: Path, host: str, figures: dict[str, float], subject: tuple[Any, Any, str]) -> str:
    """Build, push and rebuild equivalent images from Dockerfiles; return the last image."""
    from sdk.packaging.image.dockerfiles import build_dockerfile

    first, second, under = subject
    peer = ""
    for installer in INSTALL:
        folder = context(work / f"context-{installer}", first, under, installer)
        peer = timed(figures, f"docker_{installer}_build", lambda folder=folder: build_dockerfile(engine, folder))
        place = f"{host}/bench/{installer}"
        timed(figures, f"docker_{installer}_push", lambda peer=peer, place=place: pushed_by_engine(engine, peer, place))
        shutil.copytree(second.path, folder / "model", dirs_exist_ok=True)
        timed(figures, f"docker_{installer}_rebuild_model", lambda folder=folder: build_dockerfile(engine, folder))
    return peer


def measure(engine: Any, work: Path, host: str) -> dict[str, float]:
    from sdk.packaging.image import BlobStore, build_image, push_image
    from sdk.packaging.image.engine_images import load
    from sdk.packaging.image.manifests import Image, ImageConfig

    figures: dict[str, float] = {}
    labels = dict([MARK.split("=")])
    first, second = fitted(1), fitted(2)
    warm = build_image(
        first, base="debian-packages", store=BlobStore(work / "warm"), labels=labels
    )  # fills the cache of wheels
    store = BlobStore(work / "store")
    one = timed(
        figures, "cold_build_with_base", lambda: build_image(first, base="debian-packages", store=store, labels=labels)
    )
    assert one.id == warm.id, "the same inputs gave another image"
    place = f"{host}/bench/ours"
    timed(figures, "cold_push", lambda: push_image(one, place, store=store))
    below = one.layers[:1]
    config = ImageConfig.read(one.config)
    base = Image(
        ImageConfig(config.platform, {"PATH": "/usr/local/bin:/usr/bin"}, labels=labels).document(below), below
    )
    fresh = BlobStore(work / "fresh")
    for layer in below:
        shutil.copy(store.path(layer.digest), fresh.path(layer.digest))
    timed(figures, "cold_build", lambda: build_image(first, base=base, store=fresh))
    ready(
        engine, timed(figures, "cold_load", lambda: load(engine, one, store))
    )  # a redeploy follows a first run of the model
    rounds = [redeployed(engine, model, store, labels) for model in (second, *map(fitted, range(3, 2 + REDEPLOYS)))]
    figures |= {step: statistics.median(steps[step] for steps, _, _ in rounds) for step in rounds[0][0]}
    _, two, name = rounds[0]
    timed(figures, "push_model", lambda: push_image(two, place, store=store))

    peer = peers(engine, work, host, figures, (first, second, load(engine, base, store)))
    starts = [(ready(engine, name), ready(engine, peer)) for _ in range(STARTS)]
    figures["start"] = statistics.median(ours for ours, _ in starts)
    figures["docker_start_without_pyc"] = statistics.median(theirs for _, theirs in starts)
    for key, image in (("size_mb", name), ("docker_size_mb", peer)):
        figures[key] = engine.call("GET", f"/images/{image}/json")["Size"] / 1e6
    figures["transfer_mb"] = sum(layer.size for layer in one.layers) / 1e6
    return figures


def main() -> int:
    from sdk.errors import PlatformError
    from sdk.packaging.image.engine import Engine

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the cleanup of the engine still runs
    lacking = [name for name in ("docker-registry", "apt-get") if shutil.which(name) is None]
    with Engine() as engine, tempfile.TemporaryDirectory(prefix="mlport-bench-") as folder:
        try:
            _ = engine.version
        except PlatformError as error:
            lacking.append(str(error))
        if lacking:
            print(json.dumps({"benchmark": "image", "skipped": lacking}))
            return 0
        work = Path(folder)
        os.environ["MLPORT_STATE_DIR"] = str(work / "state")
        (work / "registry").mkdir()
        try:
            with registry(work / "registry") as host:
                figures = measure(engine, work, host)
            peer = bentoml(work)
        finally:
            for item in engine.call("GET", "/images/json", params={"filters": json.dumps({"label": [MARK]})}):
                with suppress(PlatformError):  # a busy engine must not lose the figures
                    engine.call("DELETE", f"/images/{item['Id']}", params={"force": "1"}, timeout_s=300)
    goals = {
        "rebuild_model <= 0.2 s": figures["rebuild_model"] <= REBUILD_GOAL_S,
        "redeploy_model <= 3 s": figures["redeploy_model"] <= REDEPLOY_GOAL_S,
        "cold build+push below docker build+push": figures["cold_build"] + figures["cold_push"]
        < min(figures[f"docker_{name}_build"] + figures[f"docker_{name}_push"] for name in INSTALL),
    }
    load = os.getloadavg()[0]
    shown: dict[str, Any] = {name: round(value, 2) for name, value in figures.items()}
    sizes = {name: shown.pop(name) for name in list(shown) if name.endswith("_mb")}
    shown |= {name: value if isinstance(value, str) else round(value, 2) for name, value in peer.items()}
    report = {"benchmark": "image", "seconds": shown, "megabytes": sizes, "goals": goals, "load": round(load, 1)}
    print(json.dumps(report, indent=1))
    return 0 if all(goals.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
