"""Tables, generations and what the control socket says."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from sdk.serving.gateway import client
from tests.gateway.harness import COMMAND, FAST, TOKEN, Endpoint, Load, lives, until

if TYPE_CHECKING:
    from collections.abc import Callable

PACKAGE = str(Path(client.__file__).parents[1])
RUN = """
from mlport_serving.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


def refused(call: Callable[[], Any]) -> client.GatewayError:
    with pytest.raises(client.GatewayError) as caught:
        call()
    return caught.value


def test_put_table_serves_once_acknowledged(endpoint: Endpoint) -> None:
    """A table that was acknowledged answers the very next request."""
    endpoint.put(d1=endpoint.deployment("d1", 100, 1, "--start-s", "0.3"))
    answer = endpoint.post()
    assert (200, "d1", "d1") == (answer.status_code, answer.json()["name"], answer.headers["x-mlport-deployment"])


def test_generations_only_go_up(endpoint: Endpoint) -> None:
    """An older generation and other content under the same one are refused; the same table again is a success."""
    endpoint.put(d1=endpoint.deployment("d1"))
    endpoint.put(d1=endpoint.deployment("d1"))
    table = client.get_table(endpoint.folder)
    assert table is not None
    assert {"generation": 2, "retiring": []} == client.put_table(endpoint.folder, table)
    other = refused(lambda: client.put_table(endpoint.folder, table | {"limits": {"max_body": 1}}))
    older = refused(lambda: client.put_table(endpoint.folder, table | {"generation": 1}))
    assert [(409, "other_content"), (409, "stale_generation")] == [(e.status, e.code) for e in (other, older)]


def test_racing_generations_end_with_the_highest(endpoint: Endpoint) -> None:
    """Of many tables sent at once the highest generation is in force; every loser is told so."""
    codes: Counter[str] = Counter()

    def put(generation: int) -> None:
        deployments = {f"d{generation}": endpoint.deployment(f"d{generation}")}
        table = {"generation": generation, "deployments": deployments, "limits": FAST}
        try:
            client.put_table(endpoint.folder, table)
            codes["ok"] += 1
        except client.GatewayError as error:
            codes[error.code] += 1

    threads = [threading.Thread(target=put, args=(generation,)) for generation in range(1, 6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    client.drain(endpoint.folder)
    state = endpoint.status()
    assert (5, ["d5"], []) == (state["generation"], list(state["deployments"]), state["retiring"])
    assert codes["ok"] >= 1
    assert set(codes) <= {"ok", "overtaken", "stale_generation"}


def test_failing_replica_leaves_old_table_in_force(endpoint: Endpoint) -> None:
    """A new replica that ends before it is ready fails the call with exit code and log; the old one serves on."""
    endpoint.put(d1=endpoint.deployment("d1"))
    error = refused(lambda: endpoint.put(d2=endpoint.deployment("d2", 100, 1, "--exit", "7")))
    assert (424, "replica_failed", "d2-0") == (error.status, error.code, error.details["replica"])
    assert 7 == error.details["last_exit"]["code"]
    assert "cannot load the model" in error.details["log"]
    state = endpoint.status()
    assert (1, ["d1"]) == (state["generation"], list(state["deployments"]))
    assert "d1" == endpoint.post().json()["name"]


def test_late_replica_is_given_up(endpoint: Endpoint) -> None:
    """A new replica that is not ready in time fails the call, and its process is gone."""
    endpoint.put()
    slow = endpoint.deployment("d1", 100, 1, "--start-s", "60")
    table = {"generation": 2, "deployments": {"d1": slow}, "limits": FAST}
    error = refused(lambda: client.put_table(endpoint.folder, table, timeout_s=0.5))
    assert (424, "replica_failed") == (error.status, error.code)
    assert "was not ready after 0.5 s" in str(error)
    client.drain(endpoint.folder)
    assert [] == list(endpoint.folder.glob("b-*"))


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"generation": 0}, "generation"),
        ({"schema": 2}, "schema"),
        ({"surprise": 1}, "surprise"),
        ({"limits": {"max_body": 0}}, "limits.max_body"),
        ({"deployments": {"d1": {"weight": 50, "replicas": [{"id": "a", "address": "unix:/a"}]}}}, "weights sum to 50"),
        ({"deployments": {"d1": {"weight": 100, "replicas": []}}}, "deployments.d1.replicas"),
        ({"deployments": {"d 1": {"weight": 0, "replicas": []}}}, "'d 1'"),
        ({"deployments": {"d1": {"weight": 0, "replicas": [{"id": "../a", "address": "unix:/a"}]}}}, "'../a'"),
        ({"deployments": {"d1": {"weight": 0, "replicas": [{"id": "a", "address": "http://a"}]}}}, "a.address"),
        ({"deployments": {"d1": {"weight": 0, "replicas": [{"id": "a", "address": "unix:a"}]}}}, "absolute path"),
        ({"deployments": {"d1": {"weight": 0, "replicas": [{"id": "a", "address": "unix:/" + "a" * 101}]}}}, "longer"),
        ({"deployments": {"d1": {"weight": 0, "replicas": [{"id": "a", "address": "unix:/a"}] * 2}}}, "twice"),
    ],
)
def test_bad_tables_name_the_field(served: Endpoint, change: dict[str, Any], field: str) -> None:
    """A table that cannot be used is refused, naming what is wrong."""
    error = refused(lambda: client.put_table(served.folder, {"generation": 9} | change))
    assert (400, "bad_request") == (error.status, error.code)
    assert field in str(error)


def test_replicas_never_change_under_their_id(endpoint: Endpoint) -> None:
    """Other content under the id of a running replica is refused and changes nothing."""
    endpoint.put(d1=endpoint.deployment("d1"))
    error = refused(lambda: endpoint.put(d1=endpoint.deployment("d1", 100, 1, "--idle-s", "1")))
    assert (409, "replica_changed", 1) == (error.status, error.code, endpoint.status()["generation"])


def test_control_speaks_plain_http(served: Endpoint) -> None:
    """Any HTTP client can use the control socket; unknown calls are a 404."""
    transport = httpx.HTTPTransport(uds=str(served.folder / "control.sock"))
    with httpx.Client(transport=transport, base_url="http://localhost") as http:
        assert 200 == http.get("/status").status_code
        assert 404 == http.get("/nothing").status_code
        assert 400 == http.get("/metrics", params={"window": "soon"}).status_code


def test_a_pipe_reaches_the_control_socket(served: Endpoint) -> None:
    """`gateway pipe` joins its own input and output to a socket; it ends when either side does."""
    command = [*COMMAND, "pipe", f"unix:{served.folder / 'control.sock'}"]
    request = b"GET /status HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as pipe:
        assert pipe.stdin is not None
        assert pipe.stdout is not None
        pipe.stdin.write(request)
        pipe.stdin.flush()
        assert pipe.stdout.read().startswith(b"HTTP/1.1 200 ")
        assert 0 == pipe.wait(30)
    nobody = subprocess.run([*COMMAND, "pipe", "unix:/nowhere"], capture_output=True, timeout=30, check=False)
    assert (1, True) == (nobody.returncode, b"/nowhere" in nobody.stderr)


def test_records_are_swapped_by_etag(endpoint: Endpoint) -> None:
    """A record is written, changed and removed only by whoever has seen the present one; it survives a restart."""

    def put(expected: str | None, **value: int) -> dict[str, Any]:
        return client.call(endpoint.folder, "PUT", "/records/a", query={"expected": expected}, body=value)

    endpoint.start()
    first = put(None, n=1)
    assert "record_changed" == refused(lambda: put(None, n=2)).code
    second = put(first["etag"], n=2)
    stale = refused(lambda: put(first["etag"], n=3))
    assert (409, {"n": 2}) == (stale.status, stale.details["present"]["value"])
    assert (first["created_at"], True) == (second["created_at"], first["etag"] != second["etag"])
    client.stop(endpoint.folder)
    endpoint.start()
    assert {"a": second} == client.call(endpoint.folder, "GET", "/records")["records"]
    gone = {"expected": second["etag"]}
    client.call(endpoint.folder, "DELETE", "/records/a", query=gone)
    assert "record_changed" == refused(lambda: client.call(endpoint.folder, "DELETE", "/records/a", query=gone)).code
    assert 400 == refused(lambda: client.call(endpoint.folder, "PUT", "/records/..", body={})).status


def test_of_racing_swaps_one_wins(endpoint: Endpoint) -> None:
    """Of many who have seen the same record exactly one replaces it."""
    endpoint.start()
    etag = client.call(endpoint.folder, "PUT", "/records/a", body={"by": -1})["etag"]
    won: list[int] = []

    def swap(number: int) -> None:
        with contextlib.suppress(client.GatewayError):
            client.call(endpoint.folder, "PUT", "/records/a", query={"expected": etag}, body={"by": number})
            won.append(number)

    racers = [threading.Thread(target=swap, args=(number,)) for number in range(16)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    assert 1 == len(won)
    assert {"by": won[0]} == client.call(endpoint.folder, "GET", "/records")["records"]["a"]["value"]


def test_putting_a_table_need_not_be_waited_for(endpoint: Endpoint) -> None:
    """With `wait_s` the answer comes before slow replicas are ready, and the table comes in force all the same."""
    endpoint.start()
    wanted = {"generation": 1, "deployments": {"d1": endpoint.deployment("d1", 100, 1, "--start-s", "1")}}
    query = {"next": 1, "wait_s": 0.01}
    for _ in range(3):
        answer = client.call(endpoint.folder, "PUT", "/table", query=query, body=wanted)
        assert {"generation": 1, "applying": True} == answer
    until(lambda: endpoint.status()["generation"] == 1)
    assert 1 == client.call(endpoint.folder, "PUT", "/table", query=query, body=wanted)["generation"]


def test_the_next_generation_is_the_gateways_to_give(endpoint: Endpoint) -> None:
    """With `next` a table with other content gets the next generation, one that is in force keeps its own."""
    endpoint.start()
    wanted = {"generation": 1, "deployments": {"d1": endpoint.deployment("d1")}}

    def put() -> Any:
        return client.call(endpoint.folder, "PUT", "/table", query={"next": 1}, body=wanted)["generation"]

    assert [1, 1] == [put(), put()]
    wanted["limits"] = {"drain_s": 5.0}
    assert [2, 2] == [put(), put()]


def test_only_the_owner_can_open_the_folder(served: Endpoint) -> None:
    """Socket and token are closed to other users."""
    modes = {
        name: stat.S_IMODE((served.folder / name).stat().st_mode) for name in ("control.sock", "token", "table.json")
    }
    assert {"control.sock": 0o600, "token": 0o600, "table.json": 0o600} == modes


def test_counts_are_exact(endpoint: Endpoint) -> None:
    """Status counts are exactly the answers given, and the histogram holds every one of them."""
    endpoint.put(d1=endpoint.deployment("d1"))
    with endpoint.http() as http:
        for status, times in ((200, 40), (400, 10), (500, 5)):
            for _ in range(times):
                assert status == http.post(f"/predict?status={status}", content="{}").status_code
    window = client.metrics(endpoint.folder, window_s=600)["deployments"]["d1"]
    for report in (endpoint.status()["deployments"]["d1"], window):
        assert {"2xx": 40, "4xx": 10, "5xx": 5} == report["classes"]
        assert 55 == sum(report["latency"]["buckets"].values())
        assert report["latency"]["p50_s"] <= report["latency"]["p99_s"]


def test_logs_are_read_by_tail_and_cursor(endpoint: Endpoint) -> None:
    """The last lines of a deployment are given, and with the cursor only the lines after."""
    endpoint.put(d1=endpoint.deployment("d1"))
    for word in ("one", "two"):
        endpoint.post(f"/print?text={word}")
    until(
        lambda: client.logs(endpoint.folder, deployment="d1", tail=1)["lines"] == [{"replica": "d1-0", "text": "two"}]
    )
    first = client.logs(endpoint.folder)
    assert ["starting d1", "one", "two"] == [line["text"] for line in first["lines"]]
    endpoint.post("/print?text=three")
    until(lambda: client.logs(endpoint.folder, cursor=first["cursor"])["lines"])
    after = client.logs(endpoint.folder, cursor=first["cursor"])
    assert ["three"] == [line["text"] for line in after["lines"]]
    assert "deployment: there is no 'dx'" == str(refused(lambda: client.logs(endpoint.folder, deployment="dx")))


def test_stop_leaves_nothing_running(endpoint: Endpoint) -> None:
    """After stop no process, no socket and no port is left; the answer in the making is still given."""
    endpoint.put(d1=endpoint.deployment("d1", 100, 2))
    pids = [replica["pid"] for replica in endpoint.status()["deployments"]["d1"]["replicas"].values()]
    answers: list[int] = []
    caller = threading.Thread(target=lambda: answers.append(endpoint.post("/sleep?s=2").status_code))
    caller.start()
    until(lambda: endpoint.status()["deployments"]["d1"]["inflight"])
    assert client.stop(endpoint.folder)
    caller.join()
    assert [200] == answers
    assert [] == [pid for pid in pids if lives(pid)]
    assert [] == [
        path.name for path in endpoint.folder.iterdir() if path.suffix in {".sock", ".lock"} and "b-" in path.name
    ]
    assert not (endpoint.folder / "control.sock").exists()
    with pytest.raises(ConnectionRefusedError):
        endpoint.connect()
    assert not client.stop(endpoint.folder)


def test_sigterm_is_a_stop(endpoint: Endpoint) -> None:
    """SIGTERM ends the gateway in order, and it comes back with table and port."""
    endpoint.put(d1=endpoint.deployment("d1"))
    port = endpoint.port
    os.kill(endpoint.status()["gateway"]["pid"], signal.SIGTERM)
    until(lambda: not client.is_running(endpoint.folder))
    endpoint.start()
    assert port == endpoint.port
    until(lambda: endpoint.status()["ready"])
    assert 200 == endpoint.post().status_code


def test_many_starters_make_one_gateway() -> None:
    """Of several callers at once one starts the gateway, and all are given the same one."""
    value = Endpoint()
    pids: list[int] = []
    try:
        starts = [threading.Thread(target=lambda: pids.append(value.start()["gateway"]["pid"])) for _ in range(4)]
        for start in starts:
            start.start()
        for start in starts:
            start.join()
        assert (4, 1) == (len(pids), len(set(pids)))
    finally:
        value.close()


def test_gateway_outlives_its_starter() -> None:
    """A gateway started by a script answers after the script has ended."""
    value = Endpoint()
    script = f"""
from pathlib import Path
from sdk.serving.gateway import client
client.ensure_gateway(Path({str(value.folder)!r}), {COMMAND!r})
"""
    try:
        subprocess.run([sys.executable, "-c", script], check=True, timeout=30)
        assert 0 == value.status()["generation"]
        assert os.getsid(0) != os.getsid(value.status()["gateway"]["pid"])
    finally:
        value.close()


def test_second_gateway_is_refused(endpoint: Endpoint) -> None:
    """A second gateway in one folder ends with code 3."""
    result = subprocess.run(
        [*COMMAND, "--dir", str(endpoint.folder)], capture_output=True, text=True, timeout=30, check=False
    )
    assert (3, f"mlport gateway: a gateway already runs in {endpoint.folder}\n") == (result.returncode, result.stderr)


def test_taken_port_is_a_clear_error() -> None:
    """A port in use is named, with what to do, and nothing is left running."""
    value = Endpoint()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (value.folder / "address.json").write_text(json.dumps({"host": "127.0.0.1", "port": port}))
        error = refused(value.start)
    try:
        assert f"cannot listen on 127.0.0.1 port {port}: Address already in use; free the port" in str(error)
        assert not client.is_running(value.folder)
    finally:
        value.close()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: folder.chmod(0o755), "must be yours alone; run chmod 700"),
        (lambda folder: (folder / "token").unlink(), "write a random token there, or pass --auth none"),
        (lambda folder: (folder / "token").write_text("short"), "at least 16 characters"),
        (lambda folder: (folder / "token").chmod(0o644), "run chmod 600"),
    ],
)
def test_bad_folders_are_clear_errors(spoil: Callable[[Path], object], message: str) -> None:
    """A folder that cannot be used is named with what is wrong and what to do."""
    value = Endpoint()
    try:
        spoil(value.folder)
        assert message in str(refused(value.start))
    finally:
        value.folder.chmod(0o700)
        value.close()


def spoil_as_folder(path: Path) -> None:
    path.unlink(missing_ok=True)
    (path / "inside").mkdir(parents=True)


OWN_FILES = ("table.json", "address.json", "gateway.lock", "control.sock", "logs")
FORGIVEN = {"gateway.lock", "address.json"}  # a lock needs no content, and another port is found


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"\xff", b"[" * 9999, b'{"generation": 1e999}', None])
@pytest.mark.parametrize("names", [OWN_FILES, *(pytest.param((name,), marks=pytest.mark.full) for name in OWN_FILES)])
def test_damaged_files_are_set_aside(names: tuple[str, ...], content: bytes | None) -> None:
    """Whatever is in the gateway's own files: it starts without them, and what was there can still be looked at."""
    value = Endpoint()
    try:
        for name in names:
            path = value.folder / name
            if content is None and name != "logs":
                spoil_as_folder(path)
            else:
                path.write_bytes(content or b"no folder")
        value.start()
        value.put(d1=value.deployment("d1"))
        assert "d1" == value.post().json()["name"]
        lost = [name for name in names if content is None or name not in FORGIVEN]
        assert lost == [name for name in lost if len(list(value.folder.glob(f"{name}.damaged-*"))) == 1]
    finally:
        value.close()


def test_full_disk_does_not_acknowledge(endpoint: Endpoint) -> None:
    """A table that cannot be written is refused, and the one before stays in force."""
    endpoint.put(d1=endpoint.deployment("d1"))
    (endpoint.folder / "table.new").mkdir()  # in the way of the new file, as a full disk is
    error = refused(lambda: endpoint.put(d2=endpoint.deployment("d2")))
    assert (507, "not_stored") == (error.status, error.code)
    assert "d1" == endpoint.post().json()["name"]
    (endpoint.folder / "table.new").rmdir()


def test_status_is_given_under_load(endpoint: Endpoint) -> None:
    """The control socket answers while clients keep the gateway busy."""
    endpoint.put(d1=endpoint.deployment("d1"))
    with Load(endpoint, 4) as load:
        load.wait(50)
        assert endpoint.status()["deployments"]["d1"]["requests"] > 0
    assert {"200"} == set(load.answers)
    assert TOKEN not in json.dumps(endpoint.status())


def test_runtime_copy_runs_alone(tmp_path: Path) -> None:
    """The server package copied under its runtime name serves as a gateway, without the rest of the SDK on its path."""
    shutil.copytree(PACKAGE, tmp_path / "mlport_serving", ignore=shutil.ignore_patterns("__pycache__"))
    value = Endpoint()
    command = [sys.executable, "-I", "-c", f"import sys; sys.path[:0] = [{str(tmp_path)!r}]\n{RUN}", "gateway"]
    try:
        state = client.ensure_gateway(value.folder, command)
        assert 503 == httpx.get(f"http://127.0.0.1:{state['address']['port']}/healthz").status_code
    finally:
        value.close()


def test_smoke_tests_are_not_counted(endpoint: Endpoint) -> None:
    """A request marked as a probe is answered and leaves no trace in the counts, whether it went well or not."""
    endpoint.put(d1=endpoint.deployment("d1"))
    assert [200, 502] == [endpoint.post(path, x_mlport_probe="1").status_code for path in ("/predict", "/drop")]
    assert 0 == endpoint.status()["deployments"]["d1"]["requests"]


def test_a_folder_in_place_of_the_table_does_not_stop_the_next_one(endpoint: Endpoint) -> None:
    """The gateway reads its table at its start only, so the damage shows when the next one is written."""
    endpoint.put(a=endpoint.deployment("a"))
    table = endpoint.folder / "table.json"
    table.unlink()
    (table / "inside").mkdir(parents=True)
    endpoint.put(b=endpoint.deployment("b"))
    assert "b" == endpoint.post().json()["name"]
    assert table.is_file()
    (aside,) = endpoint.folder.glob("table.json.damaged-*")
    assert (aside / "inside").is_dir()
    (endpoint.folder / "logs" / "gateway.log").unlink()  # the note about it; the harness wants an empty log
