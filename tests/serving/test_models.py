"""Loading and calling models: each flavour that is installed, and models that misbehave."""

from __future__ import annotations

import os
import signal
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression

from sdk.serving.failures import StartError
from sdk.serving.settings import from_environment

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

X = np.random.default_rng(1).random((60, 3))
Y = (X.sum(axis=1) > 1.5).astype(int)


def _post(server: Any, instances: Any, **headers: str) -> httpx.Response:
    with httpx.Client(base_url=server.url, trust_env=False, timeout=30) as client:
        return client.post("/invocations", json={"instances": instances}, headers=headers)


def _predictions(server: Any, instances: Any) -> Any:
    answer = _post(server, instances)
    assert 200 == answer.status_code, answer.text
    return answer.json()["predictions"]


def test_sklearn_answers_as_in_the_users_process(bundles: Any, start: Callable[..., Any]) -> None:
    """`predict` of a scikit-learn model over HTTP equals the live object's."""
    model = RandomForestClassifier(n_estimators=5, random_state=0).fit(X, Y)
    server = start(bundles.sklearn(model)).ready()
    assert model.predict(X).tolist() == _predictions(server, X.tolist())


class Scorer:
    """A user's class with a method of another name."""

    def score_all(self, rows: Any) -> Any:
        return np.stack([rows.sum(axis=1), rows.max(axis=1)], axis=1)


def test_another_method_can_be_served(bundles: Any, start: Callable[..., Any], tools: Any) -> None:
    """`method` in the manifest chooses what is called; a two-dimensional answer keeps its shape."""
    signature = {**tools.SINGLE, "outputs": [{"name": "scores", "dtype": "float64", "shape": [-1, 2]}]}
    bundle = bundles(
        {"model/model.pkl": tools.by_value(Scorer)}, flavour="class", method="score_all", signature=signature
    )
    assert [[6.0, 3.0], [15.0, 6.0]] == _predictions(start(bundle).ready(), [[1, 2, 3], [4, 5, 6]])


def test_skops_files_are_loaded_with_the_recorded_types(bundles: Any, start: Callable[..., Any], tools: Any) -> None:
    """A skops file loads without pickle; a type that is not on the record is refused."""
    from skops import io

    data = io.dumps(LinearRegression().fit(X, Y))
    signature = {**tools.SINGLE, "outputs": [{"name": "predict", "dtype": "float64", "shape": [-1]}]}
    good = bundles({"model/model.skops": data}, flavour="sklearn", format="skops", signature=signature)
    assert 1 == len(_predictions(start(good).ready(), [[1, 2, 3]]))


class Classifier:
    """A user's class: `load` gets the folder, `predict` the rows."""

    def load(self, path: str) -> None:
        from pathlib import Path

        self.factor = float(Path(path, "factor.txt").read_text())

    def predict(self, rows: list[list[float]]) -> list[dict[str, float]]:
        return [{"score": self.factor * sum(row)} for row in rows]


def test_classes_are_loaded_with_their_files(bundles: Any, start: Callable[..., Any], tools: Any) -> None:
    """`load` runs once with the model folder; rows may become any JSON value."""
    files = {"model/model.pkl": tools.by_value(Classifier), "model/data/factor.txt": b"2.5"}
    server = start(bundles(files, flavour="class", options={"path": "model/data"})).ready()
    assert [{"score": 7.5}, {"score": 10.0}] == _predictions(server, [[1, 2], [4]])


def use_helper(rows: Any) -> Any:
    import churn_helper  # type: ignore[import-not-found]  # it comes with the bundle

    return [churn_helper.double(row) for row in rows]


def test_user_modules_come_from_the_bundle(bundles: Any, start: Callable[..., Any], tools: Any) -> None:
    """Modules in code/ can be imported, and importing them writes nothing into the bundle."""
    files = {"model/model.pkl": tools.by_value(use_helper), "code/churn_helper.py": b"def double(x): return 2 * x\n"}
    bundle = bundles(files)
    assert [2, 4.5] == _predictions(start(bundle).ready(), [1, 2.25])
    assert ["churn_helper.py"] == [one.name for one in (bundle / "code").iterdir()]


def many_outputs(rows: Any) -> Any:
    return {"total": rows.sum(axis=1), "big": rows.max(axis=1) > 2, "name": np.array(["a"] * len(rows))}


def test_several_outputs_become_one_object_for_each_row(bundles: Any, start: Callable[..., Any], tools: Any) -> None:
    """Named outputs of any dtype are zipped by row in JSON and separate tensors in V2."""
    outputs = [
        {"name": n, "dtype": d, "shape": [-1]} for n, d in (("total", "float64"), ("big", "bool"), ("name", "str"))
    ]
    server = start(bundles.function(many_outputs, signature={**tools.SINGLE, "outputs": outputs})).ready()
    assert [{"total": 6.0, "big": True, "name": "a"}, {"total": 0.0, "big": False, "name": "a"}] == _predictions(
        server, [[1, 2, 3], [0, 0, 0]]
    )
    tensor = {"name": "input", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}
    answer = httpx.post(f"{server.url}/v2/models/churn/infer", json={"inputs": [tensor]}).json()
    assert [["total", "FP64", [6.0]], ["big", "BOOL", [True]], ["name", "BYTES", ["a"]]] == [
        [one["name"], one["datatype"], one["data"]] for one in answer["outputs"]
    ]


# Models that cannot be served


def _grow(bundle: Path) -> None:
    with (bundle / "model/model.pkl").open("ab") as file:
        file.write(b".")


def _flip(bundle: Path) -> None:
    data = bytearray((bundle / "model/model.pkl").read_bytes())
    data[-1] ^= 1
    (bundle / "model/model.pkl").write_bytes(data)


def _add(bundle: Path) -> None:
    (bundle / "code").mkdir()
    (bundle / "code/sitecustomize.py").touch()


def _remove(bundle: Path) -> None:
    (bundle / "model/model.pkl").unlink()


def _link(bundle: Path) -> None:
    elsewhere = bundle.parent / "elsewhere.pkl"
    (bundle / "model/model.pkl").rename(elsewhere)
    (bundle / "model/model.pkl").symlink_to(elsewhere)


@pytest.mark.parametrize(
    ("damage", "word"), [(_grow, "bytes"), (_flip, "changed"), (_add, "record"), (_remove, "missing"), (_link, "link")]
)
def test_tampered_files_are_never_loaded(
    bundles: Any, start: Callable[..., Any], tmp_path: Path, damage: Callable[[Path], None], word: str
) -> None:
    """A changed byte, an extra file, a missing file or a link ends the start with exit code 3, before any loading."""
    marker = tmp_path / "loaded"
    bundle = bundles({"model/model.pkl": _touching(str(marker))})
    damage(bundle)
    server = start(bundle)
    assert 3 == server.wait()
    line = server.events("start_failed")[-1]
    assert word in line["message"]
    assert "again" in line["mend"]
    assert not marker.exists()


def test_a_folder_that_may_not_be_read_is_not_called_missing(bundles: Any, start: Callable[..., Any]) -> None:
    """A server that gave up root's rights, or never had them, says what it cannot read and how to mend that."""
    bundle = bundles({"model/model.pkl": b"never loaded"})
    (bundle / "model").chmod(0)
    server = start(bundle, **({"MLPORT_RUN_AS": "65532"} if os.geteuid() == 0 else {}))
    assert 3 == server.wait()
    (bundle / "model").chmod(0o700)
    line = server.events("start_failed")[-1]
    assert "cannot be read by user" in line["message"]
    assert "readable for everybody" in line["mend"]


def test_the_untampered_file_would_be_loaded(bundles: Any, start: Callable[..., Any], tmp_path: Path) -> None:
    """The marker of the tampering test does appear when the bundle is as recorded."""
    start(bundles({"model/model.pkl": _touching(str(tmp_path / "loaded"))})).wait()
    assert (tmp_path / "loaded").exists()


def _touching(path: str) -> bytes:
    """A pickle that creates a file when it is loaded."""
    return b"cbuiltins\nopen\n(V" + path.encode() + b"\nVw\ntR."


@pytest.mark.parametrize(
    ("changes", "word", "mend"),
    [
        ({"python": "3.9"}, "Python 3.9", "uv venv --python 3.9"),
        ({"libraries": {"numpy": "1.0.0"}}, "numpy 1.0.0", "uv pip install --require-hashes -r"),
        ({"libraries": {"no-such-library": "1"}}, "not installed", "uv pip install --require-hashes -r"),
        ({"schema": 2}, "schema 2", "update mlport"),
        ({"files": {}}, "not among the recorded", "again"),
        ({"entry": "../../etc/passwd"}, "entry '../../etc/passwd' is not a path inside the bundle", "again"),
        ({"entry": "model/other.pkl"}, "not among the recorded", "again"),
        ({"method": "__class__"}, "method '__class__' is not the name of a method", "again"),
        ({"python": "3.11; rm -rf /"}, "python '3.11; rm -rf /' is not a minor version", "again"),
        ({"flavour": "abacus"}, "flavour 'abacus' is not one of", "again"),
        ({"format": "clay"}, "format 'clay' is not one of", "again"),
        ({"options": {"path": "../.."}}, "options.path '../..' is not a path inside the bundle", "again"),
    ],
)
def test_a_differing_environment_is_refused_with_the_command_that_mends_it(
    bundles: Any, start: Callable[..., Any], changes: dict[str, Any], word: str, mend: str
) -> None:
    """Python, library versions and records are compared before the model is loaded."""
    server = start(bundles({"model/model.pkl": b"never loaded"}, **changes))
    assert 3 == server.wait()
    line = server.events("start_failed")[-1]
    assert word in line["message"]
    assert mend in line["mend"]


def test_another_model_than_the_deployed_one_is_refused(bundles: Any, start: Callable[..., Any], tools: Any) -> None:
    """MLPORT_MODEL_DIGEST guards against an old mount that silently wins."""
    server = start(bundles.function(tools.total), MLPORT_MODEL_DIGEST="0" * 64)
    assert 3 == server.wait()
    assert "digest" in server.events("start_failed")[-1]["message"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"schema":1}', b"[" * 100_000, None])
def test_a_damaged_or_missing_manifest_is_refused(
    bundles: Any, start: Callable[..., Any], tools: Any, content: bytes | None
) -> None:
    """The sentence says which manifest cannot be read."""
    bundle = bundles.function(tools.total)
    (bundle / "mlport.json").unlink()
    if content is not None:
        (bundle / "mlport.json").write_bytes(content)
    server = start(bundle)
    assert 3 == server.wait()
    assert "mlport.json" in server.events("start_failed")[-1]["message"]


class BadLoad:
    """Fails while loading, in the way its file says."""

    def load(self, path: str) -> None:
        import os
        import sys
        from pathlib import Path

        how = Path(path, "how.txt").read_text()
        if how == "raise":
            raise RuntimeError("broken weights")
        if how == "exit":
            sys.exit(0)
        os.kill(os.getpid(), 9)

    def predict(self, rows: Any) -> Any:
        return rows


@pytest.mark.parametrize(("how", "code"), [("raise", 4), ("exit", 4), ("kill", -9)])
def test_a_model_that_fails_to_load_ends_the_process(
    bundles: Any, start: Callable[..., Any], tools: Any, how: str, code: int
) -> None:
    """The exit code is not 0, and the log ends with the reason and the trace."""
    files = {"model/model.pkl": tools.by_value(BadLoad), "model/how.txt": how.encode()}
    server = start(bundles(files, flavour="class"))
    assert code == server.wait()
    assert [] == server.events("ready")
    if how == "raise":
        assert "RuntimeError: broken weights" in server.events("load_trace")[0]["trace"]
        assert "broken weights" in server.events("start_failed")[0]["message"]


def test_a_method_that_the_model_lacks_is_named(bundles: Any, start: Callable[..., Any], tools: Any) -> None:
    """It is a start failure of the model, not of the bundle."""
    server = start(bundles({"model/model.pkl": tools.by_value(Scorer)}, flavour="class", method="divine"))
    assert 4 == server.wait()
    assert "divine" in server.events("start_failed")[0]["message"]


# Models that misbehave while they are called


def misbehave(rows: Any) -> Any:
    import os
    import signal
    import sys
    import threading as threads
    import time

    def fail() -> None:
        raise ValueError("secret detail")

    def stop() -> None:
        raise StopIteration

    def cycle() -> list[Any]:
        one: list[Any] = []
        one.append(one)
        return one

    def write() -> None:
        sys.stdout.write("x" * 20_000_000)
        sys.stderr.write("y" * 1_000_000 + "\n")

    def spawn() -> None:
        for _ in range(20):
            threads.Thread(target=time.sleep, args=(60,), daemon=True).start()

    deeds: dict[str, Callable[[], Any]] = {
        "raise": fail,
        "exit": lambda: sys.exit(3),
        "stop": stop,
        "memory": lambda: [0] * (1 << 40),
        "deep": lambda: misbehave(rows),
        "none": lambda: None,
        "object": lambda: [object()],
        "cycle": cycle,
        "print": write,
        "thread": spawn,
        "chdir": lambda: os.chdir("/"),
        "sleep": lambda: time.sleep(rows[1]),
        "die": lambda: os.kill(os.getpid(), signal.SIGKILL),
        "leave": lambda: os._exit(7),
        "fine": lambda: None,
    }
    result = deeds[rows[0]]()
    return result if rows[0] in {"none", "object", "cycle"} else [rows[0]]


@pytest.fixture
def bad_server(bundles: Any, start: Callable[..., Any]) -> Any:
    return start(bundles.function(misbehave), MLPORT_STUCK_S="0.5", MLPORT_MAX_QUEUE="3").ready()


def test_model_failures_are_500_with_an_id_and_the_server_lives(bad_server: Any) -> None:
    """Whatever the model raises or returns: 500 with the id under which the trace is logged, and no detail."""
    for how in ("raise", "exit", "stop", "memory", "deep"):
        answer = _post(bad_server, [how], **{"x-request-id": f"id-{how}"})
        error = answer.json()["error"]
        assert (500, "model_error", f"id-{how}") == (answer.status_code, error["code"], error["request_id"])
        assert "secret" not in answer.text
        bad_server.wait_event("model_error")
    traces = {line["request_id"]: line["trace"] for line in bad_server.events("model_error")}
    assert "ValueError: secret detail" in traces["id-raise"]
    for how in ("none", "object", "cycle"):
        answer = _post(bad_server, [how])
        assert (500, "bad_model_output") == (answer.status_code, answer.json()["error"]["code"])
    for how in ("print", "thread", "chdir", "fine"):
        assert [how] == _predictions(bad_server, [how])


def test_a_dying_model_takes_only_its_process(bad_server: Any) -> None:
    """A model that is killed ends the process, for a supervisor to see; one that leaves is an error like others."""
    answer = _post(bad_server, ["leave"])
    assert (500, "model_error") == (answer.status_code, answer.json()["error"]["code"])
    assert "os._exit(7)" in bad_server.wait_event("model_error")["trace"]
    with pytest.raises(httpx.RemoteProtocolError):
        _post(bad_server, ["die"])
    assert -signal.SIGKILL == bad_server.wait()


def test_a_hung_model_leaves_health_answering_and_is_reported(bad_server: Any, tools: Any) -> None:
    """Deadline 504; liveness and readiness still answer and say `stuck` after the limit; then the model recovers."""
    answer = _post(bad_server, ["sleep", 2.0], **{"x-mlport-deadline-ms": "100"})
    assert (504, "deadline_exceeded") == (answer.status_code, answer.json()["error"]["code"])
    for path in ("/ping", "/v2/health/live"):
        stuck = tools.eventually(partial(_unready, bad_server, path))
        assert "stuck" == stuck["status"]
    tools.eventually(lambda: httpx.get(f"{bad_server.url}/ping").status_code == 200)
    assert ["fine"] == _predictions(bad_server, ["fine"])


def _unready(server: Any, path: str) -> Any:
    answer = httpx.get(f"{server.url}{path}")
    return answer.json() if answer.status_code == 503 else None


def test_a_full_queue_is_503_with_retry_after(bad_server: Any, tools: Any) -> None:
    """One request runs and three wait; all others are shed at once, none is lost."""
    answers: list[httpx.Response] = []
    together = threading.Barrier(12)

    def ask() -> None:
        together.wait()
        answers.append(_post(bad_server, ["sleep", 1.0]))

    threads = [threading.Thread(target=ask) for _ in range(12)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    counts = {status: sum(one.status_code == status for one in answers) for status in (200, 503)}
    assert {200: 4, 503: 8} == counts
    shed = next(one for one in answers if one.status_code == 503)
    assert "overloaded" == shed.json()["error"]["code"]
    assert int(shed.headers["retry-after"]) >= 1


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "abc", "9" * 20])
def test_a_wrong_deadline_is_a_400(bad_server: Any, value: str) -> None:
    """The header must be a whole positive number of milliseconds."""
    answer = _post(bad_server, ["fine"], **{"x-mlport-deadline-ms": value})
    assert (400, "x-mlport-deadline-ms") == (answer.status_code, answer.json()["error"]["field"])


def wrong_rows(rows: Any) -> Any:
    return rows[:1].sum(axis=1)


def test_a_model_with_the_wrong_number_of_rows_is_a_500(bundles: Any, start: Callable[..., Any], tools: Any) -> None:
    """A row-wise model must answer each row; the message says what came."""
    server = start(bundles.function(wrong_rows, signature=tools.SINGLE)).ready()
    answer = _post(server, [[1, 2, 3], [4, 5, 6]])
    assert (500, "bad_model_output") == (answer.status_code, answer.json()["error"]["code"])
    assert "1 rows for 2 rows" in answer.json()["error"]["message"]


def eat(rows: Any) -> Any:
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
    return np.ones(int(rows[0]))[:1].tolist()


def test_a_model_that_eats_memory_gets_a_500(bundles: Any, start: Callable[..., Any]) -> None:
    """An allocation beyond the limit fails that request only."""
    server = start(bundles.function(eat)).ready()
    assert 500 == _post(server, [1 << 32]).status_code
    assert [1.0] == _predictions(server, [10])


def test_concurrency_runs_calls_side_by_side(bundles: Any, start: Callable[..., Any]) -> None:
    """With MLPORT_CONCURRENCY=3 three calls that wait for each other all return."""
    server = start(bundles.function(_meeting()), MLPORT_CONCURRENCY="3").ready()
    answers: list[Any] = []
    threads = [threading.Thread(target=lambda: answers.append(_predictions(server, [1]))) for _ in range(3)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert [[3], [3], [3]] == answers


def _meeting() -> Callable[[Any], Any]:
    def predict(rows: Any) -> Any:
        import builtins
        import threading as threads

        barrier = builtins.__dict__.setdefault("_barrier", threads.Barrier(3))
        barrier.wait(20)
        return [3]

    return predict


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MLPORT_BIND", "http://x"),
        ("MLPORT_BIND", "tcp:127.0.0.1:99999"),
        ("AIP_HTTP_PORT", "eighty"),
        ("MLPORT_MAX_BODY", "many"),
        ("MLPORT_MAX_BODY", "1.5"),
        ("MLPORT_DEADLINE_S", "0"),
        ("MLPORT_DEADLINE_S", "nan"),
        ("MLPORT_CONCURRENCY", "-2"),
        ("MLPORT_THREADS", "x"),
        ("MLPORT_LOG_LEVEL", "loud"),
        ("MLPORT_DEPLOYMENT", "a b"),
        ("MLPORT_DEPLOYMENT", "a\nb"),
        ("MLPORT_ROUTES", "fly=/x"),
        ("MLPORT_ROUTES", "predict=/a?b"),
        ("AIP_PREDICT_ROUTE", "no-slash"),
    ],
)
def test_settings_that_cannot_be_used_are_named(name: str, value: str) -> None:
    """Each wrong variable is refused by its name or value."""
    with pytest.raises(StartError) as caught:
        from_environment({name: value})
    assert 2 == caught.value.exit_code
    assert name in caught.value.message or repr(value) in caught.value.message


def test_a_wrong_setting_ends_the_start(bundles: Any, start: Callable[..., Any], tools: Any) -> None:
    """The process says which variable is wrong and exits with code 2."""
    server = start(bundles.function(tools.total), MLPORT_MAX_BODY="many")
    assert 2 == server.wait()
    assert "MLPORT_MAX_BODY" in server.events("start_failed")[0]["message"]
