"""Replicas: routing, updates, crashes and restarts under load."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from sdk.serving.gateway import client
from sdk.serving.gateway.child import is_alive
from tests.gateway.harness import BACKEND, Endpoint, Load, lives, until

if TYPE_CHECKING:
    from collections.abc import Iterator

# -- routing


def test_weights_split_the_traffic_exactly(endpoint: Endpoint) -> None:
    """Over a whole cycle every deployment gets its percents, spread evenly; weight 0 gets nothing."""
    endpoint.put(a=endpoint.deployment("a", 90), b=endpoint.deployment("b", 10), c=endpoint.deployment("c", 0))
    with endpoint.http() as http:
        names = [http.post("/predict", content="{}").json()["name"] for _ in range(100)]
    assert {"a": 90, "b": 10} == Counter(names)
    assert [1] * 10 == [names[at : at + 10].count("b") for at in range(0, 100, 10)]


def test_header_reaches_one_deployment(endpoint: Endpoint) -> None:
    """A deployment is reached by name, also at weight 0; an unknown name is a 404 that lists the known."""
    endpoint.put(a=endpoint.deployment("a", 100), dark=endpoint.deployment("dark", 0))
    answer = endpoint.post(x_mlport_deployment="dark")
    assert ("dark", "dark") == (answer.json()["name"], answer.headers["x-mlport-deployment"])
    missing = endpoint.post(x_mlport_deployment="dork")
    assert (404, "unknown_deployment") == (missing.status_code, missing.json()["error"]["code"])
    assert "No deployment 'dork'; there is: a, dark." == missing.json()["error"]["message"]


def test_replicas_share_by_requests_in_flight(endpoint: Endpoint) -> None:
    """A replica that is busy gets less than one that is free."""
    endpoint.put(a=endpoint.deployment("a", 100, 2))
    with Load(endpoint, 1, "/sleep?s=1"):
        until(lambda: endpoint.status()["deployments"]["a"]["inflight"])
        busy = next(name for name in ("a-0", "a-1") if endpoint.replica(name)["inflight"])
        before = endpoint.replica(busy)["served"]
        with endpoint.http() as http:
            for _ in range(20):
                http.post("/predict", content="{}")
        assert endpoint.replica(busy)["served"] - before <= 1


def test_no_replica_is_a_503_with_retry_after(endpoint: Endpoint) -> None:
    """Without a ready replica the gateway says so at once, and its own health says it too."""
    assert 503 == httpx.get(f"{endpoint.url}/healthz").status_code
    answer = endpoint.post()
    assert (503, "1", "not_ready") == (
        answer.status_code,
        answer.headers["retry-after"],
        answer.json()["error"]["code"],
    )


def test_requests_over_the_replica_limit_are_a_503(endpoint: Endpoint) -> None:
    """Past `max_inflight` requests are turned away instead of queued."""
    endpoint.put(a=endpoint.deployment("a"), limits={"max_inflight": 2})
    with Load(endpoint, 6, "/sleep?s=0.05") as load:
        load.wait(60)
    assert {"200", "503"} == set(load.answers)
    assert (
        60
        <= load.answers.total()
        == endpoint.status()["deployments"]["a"]["requests"] + endpoint.status()["gateway"]["refusals"]["overloaded"]
    )


def test_slow_replica_is_a_504(endpoint: Endpoint) -> None:
    """An answer that does not begin in time is a 504, and the replica's connection is broken off."""
    endpoint.put(a=endpoint.deployment("a"), limits={"response_s": 0.3})
    answer = endpoint.post("/hang")
    assert (504, "response_timeout") == (answer.status_code, answer.json()["error"]["code"])
    assert (0, 200) == (endpoint.replica("a-0")["inflight"], endpoint.post().status_code)


def test_backends_may_be_run_by_someone_else(endpoint: Endpoint) -> None:
    """A replica without `spawn` is reached by its address, and looked after no further."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    address = f"tcp:127.0.0.1:{port}"
    with subprocess.Popen([sys.executable, BACKEND, address, "far"], stdout=subprocess.DEVNULL) as process:
        endpoint.put(far={"weight": 100, "replicas": [{"id": "far-0", "address": address}]})
        assert "far" == endpoint.post().json()["name"]
        process.kill()
        process.wait()
    until(lambda: not endpoint.status()["ready"])
    assert "unready" == endpoint.replica("far-0")["state"]


# -- updates


def roll(endpoint: Endpoint, count: int) -> None:
    """Replace the deployment again and again, as soon as the one before has gone."""
    for index in range(count):
        name = f"v{index % 7}"
        endpoint.put(wait_drained=True, **{name: endpoint.deployment(name)})


def test_updates_under_load_lose_nothing(endpoint: Endpoint) -> None:
    """Eight busy clients, half on new connections, see nothing but right answers through ten updates."""
    roll(endpoint, 1)
    with Load(endpoint, 4) as kept, Load(endpoint, 4, fresh=True) as fresh:
        kept.wait(50)
        roll(endpoint, 10)
        fresh.wait(50)
    assert {"200"} == set(kept.answers) == set(fresh.answers)
    assert 0 == endpoint.status()["gateway"]["retries"]


@pytest.mark.full
def test_1000_updates_under_load_lose_nothing(endpoint: Endpoint) -> None:
    """The same through a thousand updates."""
    roll(endpoint, 1)
    with Load(endpoint, 2) as kept, Load(endpoint, 2, fresh=True) as fresh:
        roll(endpoint, 1000)
    assert {"200"} == set(kept.answers) == set(fresh.answers)


def test_old_deployment_finishes_what_it_began(endpoint: Endpoint) -> None:
    """A request in flight is answered by the deployment that began it, after the next one is in force."""
    endpoint.put(a=endpoint.deployment("a"))
    with Load(endpoint, 1, "/sleep?s=1") as load:
        until(lambda: endpoint.status()["deployments"]["a"]["inflight"])
        endpoint.put(b=endpoint.deployment("b"))
        assert ["a-0"] == endpoint.status()["retiring"]
        assert "b" == endpoint.post().json()["name"]
        client.drain(endpoint.folder)
        load.wait(1)
    assert {"200"} == set(load.answers)


def test_drain_has_an_end(endpoint: Endpoint) -> None:
    """A request that never ends cannot hold an update for ever."""
    endpoint.put(a=endpoint.deployment("a"), limits={"drain_s": 0.3})
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(endpoint.post, "/hang")
        until(lambda: endpoint.status()["deployments"]["a"]["inflight"])
        endpoint.put(wait_drained=True, limits={"drain_s": 0.3}, b=endpoint.deployment("b"))
        assert [] == endpoint.status()["retiring"]
        assert 502 == answer.result().status_code


def test_idle_connections_closed_by_the_replica_cost_nothing(endpoint: Endpoint) -> None:
    """Replicas that close idle connections at their own time cause no error a client could see."""
    endpoint.put(a=endpoint.deployment("a", 100, 1, "--idle-s", "0.02"))
    with endpoint.http() as http:
        for _ in range(100):  # the budget is one retry for ten requests and ten more: enough for each one below
            assert 200 == http.post("/predict", content="{}").status_code
        for index in range(20):
            assert 200 == http.post("/predict", content="{}").status_code
            time.sleep(0.019 + index * 0.0001)


def test_connections_that_turn_out_closed_are_replaced(endpoint: Endpoint) -> None:
    """A request on a connection the replica was closing is sent once more, on a new one, within the budget."""
    endpoint.put(a=endpoint.deployment("a", 100, 1, "--once"))
    with endpoint.http() as http:
        early = [http.post("/predict", content="{}").status_code for _ in range(10)]
        late = [http.post("/predict", content="{}").status_code for _ in range(90)]
    assert [200] * 10 == early
    assert {200, 502} == set(late)
    assert 10 + 100 // 10 >= endpoint.status()["gateway"]["retries"] >= 10


@pytest.fixture
def tcp_replica() -> Iterator[dict[str, Any]]:
    """A deployment with a replica that is reached by TCP and closes connections with a request unread."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"tcp:127.0.0.1:{probe.getsockname()[1]}"
    command = [sys.executable, BACKEND, address, "a", "--once"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        yield {"weight": 100, "replicas": [{"id": "a-0", "address": address}]}
        process.kill()


def test_tcp_connections_that_turn_out_closed_are_replaced(endpoint: Endpoint, tcp_replica: dict[str, Any]) -> None:
    """The same to a replica on another host."""
    endpoint.put(a=tcp_replica)
    until(lambda: endpoint.status()["ready"])
    with endpoint.http() as http:
        assert [200] * 10 == [http.post("/predict", content="{}").status_code for _ in range(10)]


# -- crashes


@pytest.mark.parametrize("path", ["/die", "/drop"])
def test_a_request_that_may_have_been_worked_on_is_not_sent_again(endpoint: Endpoint, path: str) -> None:
    """Neither when it ends the replica at once, nor when only its connection breaks, on a connection used before."""
    endpoint.put(a=endpoint.deployment("a"))
    with endpoint.http() as http:
        assert [200, 200] == [http.post("/predict", content="{}").status_code for _ in range(2)]
        assert 502 == http.post(path, content="{}").status_code
        until(lambda: endpoint.replica("a-0")["ready"])
        after = http.post("/predict", content="{}").json()
    assert (1 if path == "/die" else 0) == endpoint.replica("a-0")["restarts"]
    assert (1 if path == "/die" else 4) == after["served"]
    assert 0 == endpoint.status()["gateway"]["retries"]


def has_restarted(endpoint: Endpoint, times: int) -> bool:
    return bool(endpoint.replica("a-0")["restarts"] >= times)


def test_killed_replica_is_restarted(endpoint: Endpoint) -> None:
    """With a replica killed under load clients see right answers or a 502/503, and it comes back by itself."""
    endpoint.put(a=endpoint.deployment("a", 100, 2))
    with Load(endpoint, 4) as load:
        load.wait(100)
        for kill in (1, 2, 3):
            os.kill(endpoint.replica("a-0")["pid"], signal.SIGKILL)
            until(partial(has_restarted, endpoint, kill))
            until(lambda: endpoint.replica("a-0")["ready"])
        load.wait(100)
    state = endpoint.replica("a-0")
    assert (3, "SIGKILL", "ready") == (state["restarts"], state["last_exit"]["signal"], state["state"])
    assert set(load.answers) <= {"200", "502", "503"}
    assert load.answers["502"] + load.answers["503"] <= 12  # at most what was in flight at each kill


def test_killed_gateway_comes_back(endpoint: Endpoint) -> None:
    """After kill -9 it comes back by itself with the same table and replicas, and no connection is refused."""
    endpoint.put(a=endpoint.deployment("a", 100, 2))
    port, old = endpoint.port, endpoint.status()
    with Load(endpoint, 4) as load:
        load.wait(50)
        os.kill(old["gateway"]["pid"], signal.SIGKILL)
        until(lambda: endpoint.status()["gateway"]["restarts"] == 1 and endpoint.status()["ready"])
        load.wait(100)
    new = endpoint.status()
    assert (port, 1) == (new["address"]["port"], new["generation"])
    assert new["gateway"]["pid"] != old["gateway"]["pid"]
    before, after = (
        [replica["pid"] for replica in state["deployments"]["a"]["replicas"].values()] for state in (old, new)
    )
    assert before == after
    broken = {name: count for name, count in load.answers.items() if name != "200"}
    assert set(broken) <= {"ReadError", "RemoteProtocolError"}  # no 503: what comes meanwhile waits for the new one
    assert sum(broken.values()) <= 4  # only the connections that the killed one held


def stop_and_await(endpoint: Endpoint, pid: int) -> None:
    """Stop a gateway by a signal, wait until it is replaced, and take note of the line that says so."""
    os.kill(pid, signal.SIGSTOP)
    until(lambda: not lives(pid))
    until(lambda: endpoint.status()["gateway"]["restarts"] == 1)
    log = endpoint.folder / "logs" / "gateway.log"
    assert f"process {pid} stands still; it is replaced" in log.read_text()
    log.write_text("")


def test_frozen_gateway_is_replaced(endpoint: Endpoint) -> None:
    """One that is stopped and does not go on; requests that it has not taken up are answered by the new one."""
    endpoint.put(a=endpoint.deployment("a", 100, 2))
    with Load(endpoint, 3, fresh=True) as load:
        load.wait(20)
        stop_and_await(endpoint, endpoint.status()["gateway"]["pid"])
        load.wait(20)
    broken = {name: count for name, count in load.answers.items() if name != "200"}
    assert set(broken) <= {"ReadError", "RemoteProtocolError"}
    assert sum(broken.values()) <= 3


def test_a_gateway_that_goes_on_is_kept(endpoint: Endpoint) -> None:
    """A short stop, as of a debugger, replaces nothing."""
    endpoint.put(a=endpoint.deployment("a"))
    pid = endpoint.status()["gateway"]["pid"]
    for _ in range(4):
        os.kill(pid, signal.SIGSTOP)
        time.sleep(0.3)
        os.kill(pid, signal.SIGCONT)
        assert (pid, 0) == tuple(endpoint.status()["gateway"][key] for key in ("pid", "restarts"))


def test_frozen_replica_is_replaced(endpoint: Endpoint) -> None:
    """The requests that it had taken are ended, with the reason in its last exit; the others go to its sibling."""
    endpoint.put(a=endpoint.deployment("a", 100, 2))
    pid = endpoint.replica("a-0")["pid"]
    with Load(endpoint, 3) as load:
        load.wait(20)
        os.kill(pid, signal.SIGSTOP)
        state = until(lambda: (state := endpoint.replica("a-0"))["restarts"] == 1 and state["ready"] and state)
        load.wait(20)
    assert "was stopped and did not go on" == state["last_exit"]["reason"]
    assert set(load.answers) <= {"200", "502"}
    assert load.answers["502"] <= 3


def test_requests_wait_for_a_replica_that_starts_again(endpoint: Endpoint) -> None:
    """After the only one was killed, nothing is refused that was not sent to it."""
    endpoint.put(a=endpoint.deployment("a"))
    with Load(endpoint, 3) as load:
        load.wait(20)
        os.kill(endpoint.replica("a-0")["pid"], signal.SIGKILL)
        until(lambda: (state := endpoint.replica("a-0"))["restarts"] == 1 and state["ready"])
        load.wait(20)
    assert set(load.answers) <= {"200", "502"}
    assert load.answers["502"] <= 3


def test_gateway_goes_on_without_its_keeper(endpoint: Endpoint) -> None:
    """The parent may be killed: requests are answered as before, and the gateway still ends in order."""
    endpoint.put(a=endpoint.deployment("a"))
    os.kill(parent_of(endpoint.status()["gateway"]["pid"]), signal.SIGKILL)
    assert endpoint.post("/").status_code == 200
    client.stop(endpoint.folder, timeout_s=20)
    assert not client.is_running(endpoint.folder)


def test_keeper_passes_sigterm_on(endpoint: Endpoint) -> None:
    """SIGTERM to the parent ends the gateway in order, and nothing is started again."""
    endpoint.put(a=endpoint.deployment("a"))
    os.kill(parent_of(endpoint.status()["gateway"]["pid"]), signal.SIGTERM)
    until(lambda: not client.is_running(endpoint.folder))
    assert not (endpoint.folder / "control.sock").exists()


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_left_over_processes_are_killed(endpoint: Endpoint) -> None:
    """What a replica's first process has left is found by its lock and ended before a new one starts."""
    script = """
import os, subprocess, sys
subprocess.Popen(["sleep", "600"], close_fds=False)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
    deployment = endpoint.deployment("a")
    spawn = deployment["replicas"][0]["spawn"]
    spawn["argv"] = [sys.executable, "-c", script, *spawn["argv"][1:]]
    endpoint.put(a=deployment)
    state = endpoint.status()
    group = state["deployments"]["a"]["replicas"]["a-0"]["pid"]
    os.kill(state["gateway"]["pid"], signal.SIGSTOP)
    os.kill(group, signal.SIGKILL)
    os.kill(state["gateway"]["pid"], signal.SIGKILL)
    until(lambda: endpoint.status()["gateway"]["restarts"] == 1 and endpoint.status()["ready"])
    until(lambda: not is_group(group))


def is_group(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_crash_loop_is_shown(endpoint: Endpoint) -> None:
    """A replica that dies again and again is called so, with its last exit code, and is tried ever more rarely."""
    endpoint.put(a=endpoint.deployment("a"), limits={"backoff_s": 0.02})
    for deaths in (1, 2, 3):
        until(lambda: endpoint.post("/die?code=9").status_code == 502)
        until(partial(has_restarted, endpoint, deaths))
    state = endpoint.replica("a-0")
    assert (9, "exited with code 9") == (state["last_exit"]["code"], state["last_exit"]["reason"])
    assert state["state"] in {"crash-loop", "starting", "ready"}
    assert any("exited with code 9" in line["text"] for line in client.logs(endpoint.folder)["lines"])


def test_replica_that_stops_answering_is_restarted(endpoint: Endpoint) -> None:
    """A replica that says it is not well gets no traffic, and is restarted when that lasts."""
    endpoint.put(a=endpoint.deployment("a"), limits={"stuck_s": 0.5})
    endpoint.post("/health?ok=0")
    until(lambda: not endpoint.status()["ready"])
    state = until(lambda: (state := endpoint.replica("a-0"))["restarts"] == 1 and state["ready"] and state)
    assert "stopped answering" == state["last_exit"]["reason"]
    assert 200 == endpoint.post().status_code


def test_memory_limit_ends_a_replica(endpoint: Endpoint) -> None:
    """A replica is refused memory over its limit; one that gets it in another way is ended, and starts again."""
    endpoint.put(a=endpoint.deployment("a", limits={"memory_bytes": 200_000_000}))
    pid = endpoint.replica("a-0")["pid"]
    assert 500 == endpoint.post("/eat?bytes=2000000000").status_code
    assert (pid, 200) == (endpoint.replica("a-0")["pid"], endpoint.post().status_code)
    endpoint.post("/eat?bytes=300000000&shared=1")
    state = until(lambda: (state := endpoint.replica("a-0"))["restarts"] == 1 and state["ready"] and state)
    assert (True, "SIGKILL") == (state["last_exit"]["out_of_memory"], state["last_exit"]["signal"])
    assert "more than its limit of 200000000" in state["last_exit"]["reason"]


def test_limits_reach_the_process(endpoint: Endpoint) -> None:
    """Limits of the table are those of the process."""
    limits = {"memory_bytes": 900_000_000, "open_files": 321, "file_bytes": 54321, "cpus": 1}
    endpoint.put(a=endpoint.deployment("a", limits=limits))
    pid = endpoint.replica("a-0")["pid"]
    text = Path(f"/proc/{pid}/limits").read_text()
    rows = {line[:26].strip(): line[26:].split()[0] for line in text.splitlines()[1:]}
    assert ("900000000", "321", "54321") == tuple(
        rows[f"Max {name}"] for name in ("data size", "open files", "file size")
    )
    assert 1 == len(os.sched_getaffinity(pid))
    assert os.getpgid(pid) == pid == os.getsid(pid)


def test_environment_is_exactly_as_given(endpoint: Endpoint) -> None:
    """A replica sees the variables of the table and nothing of the gateway's."""
    endpoint.put(a=endpoint.deployment("a", env={"ONLY": "this"}))
    pid = endpoint.replica("a-0")["pid"]
    names = {part.partition(b"=")[0] for part in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")} - {b""}
    assert {b"ONLY"} == names


def test_program_that_is_not_there_is_a_clear_error(endpoint: Endpoint) -> None:
    """A replica whose program cannot be started fails the table with the system's reason."""
    with pytest.raises(client.GatewayError, match=r"could not be started: .*No such file"):
        endpoint.put(a=endpoint.deployment("a", argv=["/no/such/program"]))


def test_locks_are_held_by_the_replica(endpoint: Endpoint, tmp_path: Path) -> None:
    """As long as its processes live and no longer; while another process has one, the program is not started."""
    lock = tmp_path / "gpu-0.lock"
    lock.write_text("who has it")
    deployment = endpoint.deployment("a")
    deployment["replicas"][0]["spawn"]["locks"] = [str(lock)]
    endpoint.put(a=deployment)
    assert ("who has it", True) == (lock.read_text(), is_alive(lock))
    other = endpoint.deployment("b", 0)
    other["replicas"][0]["spawn"]["locks"] = [str(lock)]
    with pytest.raises(client.GatewayError, match=r"could not be started: .*gpu-0 is in use by another process"):
        endpoint.put(a=deployment, b=other)
    pid = endpoint.replica("a-0")["pid"]
    os.kill(pid, signal.SIGKILL)
    until(lambda: endpoint.replica("a-0")["pid"] not in {None, pid} and endpoint.replica("a-0")["ready"])
    assert is_alive(lock)
    endpoint.put()
    until(lambda: not is_alive(lock))


# -- logs


def test_logs_are_capped(endpoint: Endpoint) -> None:
    """A replica that prints much keeps its last lines and no more than twice the cap on disk."""
    endpoint.put(a=endpoint.deployment("a"), limits={"log_bytes": 50_000})
    for index in range(30):
        endpoint.post(f"/print?text=line-{index}-&times=2000")
    endpoint.post("/print?text=last")
    until(lambda: ["last"] == [line["text"] for line in client.logs(endpoint.folder, tail=1)["lines"]])
    sizes = [path.stat().st_size for path in (endpoint.folder / "logs").glob("a-0.log*")]
    assert 2 == len(sizes)
    assert max(sizes) <= 50_000


def test_full_log_disk_does_not_stop_traffic(endpoint: Endpoint) -> None:
    """When logs cannot be written any more, requests are still answered, and the loss is counted."""
    endpoint.put(a=endpoint.deployment("a"))
    pid = endpoint.status()["gateway"]["pid"]
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))  # no file may grow past 1000 bytes
    with endpoint.http() as http:
        for _ in range(20):
            assert 200 == http.post("/print?text=noise&times=1000", content="{}").status_code
    until(lambda: endpoint.replica("a-0")["log_bytes_lost"] > 50_000)
    assert "ready" == endpoint.replica("a-0")["state"]


def test_removed_replicas_leave_no_stale_numbers(endpoint: Endpoint) -> None:
    """Counts of a deployment that is gone are still in the window, marked as not live."""
    endpoint.put(a=endpoint.deployment("a"))
    endpoint.post()
    endpoint.put(wait_drained=True, b=endpoint.deployment("b"))
    seen = client.metrics(endpoint.folder)["deployments"]
    assert {"a": (False, 1), "b": (True, 0)} == {name: (part["live"], part["requests"]) for name, part in seen.items()}
    assert time.time() - endpoint.status()["since"] < 60
