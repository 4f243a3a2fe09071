"""Replicas outlive a gateway that was killed; the next one takes them over. Nothing outlives gateway and keeper."""

from __future__ import annotations

import json
import os
import signal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from sdk.serving.gateway import client
from tests.gateway.harness import Endpoint, Load, lives, until

if TYPE_CHECKING:
    from collections.abc import Callable

KEPT = {"200", "RemoteProtocolError", "ReadError", "WriteError"}
"""Answers, and the ways in which a connection to a killed process breaks."""


def replace_gateway(endpoint: Endpoint, before: Callable[[], object] = lambda: None) -> None:
    """Kill the gateway and wait for the next one to be ready."""
    state = endpoint.status()["gateway"]
    os.kill(state["pid"], signal.SIGSTOP)
    before()
    os.kill(state["pid"], signal.SIGKILL)
    until(lambda: endpoint.status()["gateway"]["restarts"] == state["restarts"] + 1 and endpoint.status()["ready"])


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def printed(endpoint: Endpoint) -> list[str]:
    return [line["text"] for line in client.logs(endpoint.folder)["lines"]]


def test_no_request_is_refused_though_the_model_takes_long_to_load(endpoint: Endpoint) -> None:
    """Killed under load again and again: only the connections it held break, and both replicas go on."""
    endpoint.put(a=endpoint.deployment("a", 50, 1, "--start-s", "4"), b=endpoint.deployment("b", 50))
    before = {name: endpoint.replica(name)["pid"] for name in ("a-0", "b-0")}
    with Load(endpoint, 5) as load, Load(endpoint, 3, fresh=True) as fresh:
        for _ in range(3):
            load.wait(20)
            fresh.wait(20)
            replace_gateway(endpoint)
        load.wait(20)
        fresh.wait(20)
    answers = load.answers + fresh.answers
    assert set(answers) <= KEPT, answers
    assert answers.total() - answers["200"] <= 3 * 8
    assert before == {name: endpoint.replica(name)["pid"] for name in before}
    assert [0, 0] == [endpoint.replica(name)["restarts"] for name in before]


def test_what_a_replica_prints_meanwhile_is_not_lost(endpoint: Endpoint) -> None:
    endpoint.put(a=endpoint.deployment("a"))
    replica = endpoint.folder / "b-a-0.sock"

    def talk() -> None:
        with client_of(replica) as http:
            assert 200 == http.post("/print?text=meanwhile", content="{}").status_code

    replace_gateway(endpoint, talk)
    until(lambda: "meanwhile" in printed(endpoint))
    endpoint.post("/print?text=after")
    until(lambda: "after" in printed(endpoint))


def client_of(path: Path) -> httpx.Client:
    return httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), base_url="http://replica", timeout=20)


@pytest.mark.parametrize("times", [1, 2])
def test_the_end_of_one_taken_over_is_known(endpoint: Endpoint, times: int) -> None:
    """Its exit code and signal are reported, and it is started again."""
    endpoint.put(a=endpoint.deployment("a"))
    for _ in range(times):
        replace_gateway(endpoint)
    endpoint.post("/die?code=9")
    state = until(lambda: (state := endpoint.replica("a-0"))["restarts"] == 1 and state["ready"] and state)
    assert (9, "exited with code 9") == (state["last_exit"]["code"], state["last_exit"]["reason"])
    replace_gateway(endpoint)
    pid = endpoint.replica("a-0")["pid"]
    os.kill(pid, signal.SIGKILL)
    state = until(lambda: (state := endpoint.replica("a-0"))["restarts"] == 1 and state["ready"] and state)
    assert "killed by SIGKILL" == state["last_exit"]["reason"]
    assert pid != state["pid"]


def test_one_taken_over_ends_in_order_when_it_is_removed(endpoint: Endpoint) -> None:
    endpoint.put(a=endpoint.deployment("a"))
    replace_gateway(endpoint)
    pid = endpoint.replica("a-0")["pid"]
    endpoint.put(b=endpoint.deployment("b"), wait_drained=True)
    assert not lives(pid)
    assert [] == sorted(path.name for path in endpoint.folder.glob("b-a-0.*"))
    assert "b" == endpoint.post().json()["name"]


def test_one_taken_over_has_its_limit_of_memory(endpoint: Endpoint) -> None:
    limits = {"memory_bytes": 200_000_000}
    endpoint.put(a=endpoint.deployment("a", limits=limits))
    replace_gateway(endpoint)
    endpoint.post("/eat?bytes=400000000&shared=1")
    state = until(lambda: (state := endpoint.replica("a-0"))["restarts"] == 1 and state)
    assert state["last_exit"]["out_of_memory"]
    assert "more than its limit of 200000000" in state["last_exit"]["reason"]


def test_nothing_outlives_gateway_and_keeper(endpoint: Endpoint) -> None:
    """However the two end: the whole group of each replica goes at once."""
    spawn = endpoint.deployment("a")["replicas"][0]["spawn"]
    helper = "import subprocess, sys, os; subprocess.Popen(['sleep', '600']); os.execv(sys.executable, sys.argv)"
    argv = [spawn["argv"][0], "-c", helper.replace("sys.argv", "[sys.executable, *sys.argv[1:]]"), *spawn["argv"][1:]]
    for order in ("keeper", "gateway"):
        endpoint.put(a=endpoint.deployment("a", argv=argv))
        state = endpoint.status()
        group, gateway = endpoint.replica("a-0")["pid"], state["gateway"]["pid"]
        both = [parent_of(gateway), gateway]
        os.kill(both[0], signal.SIGSTOP)
        for pid in both if order == "keeper" else reversed(both):
            assert lives(group)
            os.kill(pid, signal.SIGKILL)
        until(partial(all_gone, group))
        endpoint.generation = int(endpoint.start()["generation"])


def all_gone(group: int) -> bool:
    """Tell whether no process of a group is left."""
    pids = (int(path.name) for path in Path("/proc").glob("[0-9]*"))
    return not any(lives(pid) and group_of(pid) == group for pid in pids)


def group_of(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None


def other_table(endpoint: Endpoint) -> None:
    """The process that runs is not of the table any more, as after a crash in the middle of a change."""
    path = endpoint.folder / "table.json"
    table = json.loads(path.read_bytes())
    table["deployments"]["a"]["replicas"][0]["spawn"]["env"]["NEW"] = "1"
    path.write_text(json.dumps(table))


def wrong_number(endpoint: Endpoint) -> None:
    path = endpoint.folder / "b-a-0.lock"
    path.write_text(f"{os.getpid()} {path.read_text().split()[1]}")


def empty_lock(endpoint: Endpoint) -> None:
    (endpoint.folder / "b-a-0.lock").write_text("")


def no_pipe(endpoint: Endpoint) -> None:
    (endpoint.folder / "b-a-0.out").unlink()


def other_pipe(endpoint: Endpoint) -> None:
    no_pipe(endpoint)
    (endpoint.folder / "b-a-0.out").write_text("")


def link(endpoint: Endpoint) -> None:
    no_pipe(endpoint)
    (endpoint.folder / "b-a-0.out").symlink_to(os.devnull)


@pytest.mark.parametrize("damage", [other_table, wrong_number, empty_lock, no_pipe, other_pipe, link])
def test_what_cannot_be_taken_over_is_ended_and_started_again(
    endpoint: Endpoint, damage: Callable[[Endpoint], None]
) -> None:
    endpoint.put(a=endpoint.deployment("a"))
    pid = endpoint.replica("a-0")["pid"]
    replace_gateway(endpoint, lambda: damage(endpoint))
    assert not lives(pid)
    assert 200 == endpoint.post().status_code
    endpoint.post("/print?text=heard")
    until(lambda: "heard" in printed(endpoint))


def test_one_that_the_table_does_not_name_is_ended(endpoint: Endpoint) -> None:
    endpoint.put(a=endpoint.deployment("a"), b=endpoint.deployment("b", 0))
    pids = {name: endpoint.replica(name)["pid"] for name in ("a-0", "b-0")}

    def forget_b() -> None:
        table = json.loads((endpoint.folder / "table.json").read_bytes())
        del table["deployments"]["b"]
        (endpoint.folder / "table.json").write_text(json.dumps(table))

    replace_gateway(endpoint, forget_b)
    assert pids["a-0"] == endpoint.replica("a-0")["pid"]
    until(lambda: not lives(pids["b-0"]))
    assert [] == list(endpoint.folder.glob("b-b-0.*"))
