"""What protects the machine and the endpoints from one another, as the engine says and as it shows from inside."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any

import httpx
import pytest

if TYPE_CHECKING:
    from sdk.client.endpoint import Endpoint
    from tests.docker.conftest import Box

pytestmark = pytest.mark.docker

About = dict[str, Any]


@pytest.fixture(scope="module")
def containers(box: Box, endpoint: Endpoint) -> dict[str, About]:
    """The gateway and two replicas."""
    return box.inspect(endpoint.name)


def backend(containers: dict[str, About]) -> About:
    return next(about for part, about in containers.items() if part != "gateway")


def test_every_container_is_locked_down(containers: dict[str, About]) -> None:
    """Non-root, read-only root, small scratch, no capability or new privilege, limits, restart: all of them."""
    assert 3 == len(containers)
    for part, about in containers.items():
        host: About = about["HostConfig"]
        assert "65532:65532" == about["Config"]["User"], part
        assert (True, ["ALL"], None, False) == (
            host["ReadonlyRootfs"], host["CapDrop"], host["CapAdd"], host["Privileged"],
        )  # fmt: skip
        assert ["no-new-privileges"] == host["SecurityOpt"], part
        assert {"/tmp"} == set(host["Tmpfs"]), part
        assert {"noexec", "nosuid", "nodev"} <= set(host["Tmpfs"]["/tmp"].split(",")), part
        assert (True, 1024, "unless-stopped") == (host["Init"], host["PidsLimit"], host["RestartPolicy"]["Name"])
        assert 0 < host["Memory"] == host["MemorySwap"], part
        assert [] == [mount for mount in about["Mounts"] if mount["Type"] == "bind"], part
        assert "8m" == host["LogConfig"]["Config"]["max-size"], part


def test_the_gateway_alone_is_published(containers: dict[str, About]) -> None:
    """One port, on 127.0.0.1 only; no replica has one."""
    for part, about in containers.items():
        published = {port: bound for port, bound in about["NetworkSettings"]["Ports"].items() if bound}
        if part == "gateway":
            (bound,) = published["8080/tcp"]
            assert "127.0.0.1" == bound["HostIp"]
        else:
            assert {} == published


def test_an_endpoint_has_a_network_of_its_own(box: Box, endpoint: Endpoint, containers: dict[str, About]) -> None:
    """All of it is in one network with our labels, and in no other; the default bridge has none of it."""
    name = f"mlport-{endpoint.name}"
    assert {name} == {network for about in containers.values() for network in about["NetworkSettings"]["Networks"]}
    labels = box.engine.call("GET", f"/networks/{name}")["Labels"]
    assert ("1", endpoint.name) == (labels["mlport"], labels["mlport-endpoint"])


def test_limits_are_those_asked_for(containers: dict[str, About]) -> None:
    """Half a core and half a GiB for each replica; numeric libraries get no more threads than that allows."""
    about = backend(containers)
    assert (500_000_000, 2**29) == (about["HostConfig"]["NanoCpus"], about["HostConfig"]["Memory"])
    assert "MLPORT_THREADS=1" in about["Config"]["Env"]


@pytest.mark.parametrize(
    ("attempt", "refusal"),
    [
        ("open('/opt/mlport/x', 'w')", "Read-only file system"),
        ("open('/etc/x', 'w')", "Read-only file system"),
        ("os.setuid(0)", "Operation not permitted"),
        ("os.chown('/tmp', 0, 0)", "Operation not permitted"),
        ("socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)", "Operation not permitted"),
        ("socket.socket(socket.AF_UNIX).connect('/var/run/docker.sock')", "No such file"),
        ("os.mknod('/tmp/disk', 0o60600, os.makedev(8, 0))", "Operation not permitted"),
        (
            "p = '/tmp/true'; shutil.copy('/usr/bin/true', p); os.chmod(p, 0o755); os.execv(p, ['true'])",
            "Permission denied",
        ),
        ("f = open('/tmp/big', 'wb'); [f.write(bytes(2**20)) for _ in range(300)]", "No space left"),
        ("[threading.Thread(target=time.sleep, args=(3,)).start() for _ in range(2000)]", "can't start new thread"),
    ],
)
def test_what_a_model_tries_is_refused(box: Box, containers: dict[str, About], attempt: str, refusal: str) -> None:
    """From inside a replica: no write to the image, no root, no device, no engine, no program of its own, no flood."""
    exit_code, output = box.run(
        backend(containers)["Id"], "python", "-c", f"import os, shutil, socket, threading, time\n{attempt}"
    )
    assert (True, True) == (exit_code != 0, refusal in output), output


REACH = """
import socket, sys
def reached(host):
    try:
        socket.create_connection((host, 8080), 1).close()
    except OSError:
        return False
    return True
print([host for host in sys.argv[1:] if reached(host)])
"""


def test_endpoints_cannot_reach_one_another(box: Box, endpoint: Endpoint, containers: dict[str, About]) -> None:
    """A replica of another endpoint has no way to this one's gateway or replicas, by name or by address."""
    other = box.client().deploy(box.model, name=box.name("other"))
    try:
        about = backend(box.inspect(other.name))
        network = f"mlport-{endpoint.name}"
        targets = [str(one["Name"]).lstrip("/") for one in containers.values()]
        targets += [one["NetworkSettings"]["Networks"][network]["IPAddress"] for one in containers.values()]
        exit_code, output = box.run(about["Id"], "python", "-c", REACH, *targets)
        assert (0, "[]") == (exit_code, output.strip())
    finally:
        other.delete()


def test_nobody_else_can_call_it(endpoint: Endpoint, containers: dict[str, About]) -> None:
    """Without the token, with a web page's Origin or a foreign Host the gateway refuses; other addresses are closed."""
    (bound,) = containers["gateway"]["NetworkSettings"]["Ports"]["8080/tcp"]
    base = f"http://127.0.0.1:{bound['HostPort']}/invocations"
    own = dict(endpoint.request([[0.0, 1.0]]).headers)
    body = json.dumps({"instances": [[0.0, 1.0]]})
    own.pop("content-length")
    bare = {key: value for key, value in own.items() if key != "authorization"}
    for headers, status in (
        (own, 200),
        (bare, 401),
        ({**own, "origin": "https://evil.example"}, 403),
        ({**own, "host": "evil.example"}, 421),
    ):
        assert status == httpx.post(base, content=body, headers=headers).status_code
    for *_, address in socket.getaddrinfo(socket.gethostname(), int(bound["HostPort"]), socket.AF_INET):
        if not str(address[0]).startswith("127."):
            with socket.socket() as probe:
                assert 0 != probe.connect_ex(address)
