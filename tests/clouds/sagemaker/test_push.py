"""The mini ECR takes images from the tools that people push with."""

import base64
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.clouds.sagemaker.account import Account


def login(account: Account, folder: Path) -> str:
    """Writes what ``docker login`` would, with the token of ECR; gives the host."""
    about = account.client("ecr").get_authorization_token()["authorizationData"][0]
    host = str(about["proxyEndpoint"]).removeprefix("http://")
    user, _ = base64.b64decode(about["authorizationToken"]).decode().split(":")
    assert "AWS" == user
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"auths": {host: {"auth": about["authorizationToken"]}}}))
    return host


def run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert 0 == done.returncode, done.stderr
    return done.stdout


@pytest.mark.docker
def test_docker_push(account: Account, tmp_path: Path) -> None:
    """`docker push` of an image of the engine: what SageMaker then runs is that image."""
    if (
        shutil.which("docker") is None
        or subprocess.run(["docker", "info"], capture_output=True, check=False).returncode
    ):
        pytest.skip("no Docker Engine")
    host, docker = login(account, tmp_path / "auth"), ["docker", "--config", str(tmp_path / "auth")]
    (tmp_path / "word").write_text("pushed")
    (tmp_path / "Dockerfile").write_text('FROM scratch\nCOPY word /word\nENTRYPOINT ["/word"]\n')
    name = f"{host}/stub:by-docker"
    run(*docker, "build", "-q", "-t", name, tmp_path)
    try:
        digest = run(*docker, "push", name).rpartition("digest: ")[2].split()[0]
    finally:
        run(*docker, "rmi", name)
    about = account.client("ecr").describe_images(repositoryName="stub", imageIds=[{"imageTag": "by-docker"}])
    assert [digest] == [one["imageDigest"] for one in about["imageDetails"]]
    account.model("by-docker", f"{host}/stub@{digest}")


def test_skopeo_copies_there_and_back(account: Account, tmp_path: Path) -> None:
    """`skopeo copy` from and to the mini ECR keeps the digest; without a login nothing is had."""
    if shutil.which("skopeo") is None:
        pytest.skip("no skopeo")
    host = login(account, tmp_path / "auth")
    digest = account.push(tag="there").rpartition("@")[2]
    secret = ["--authfile", str(tmp_path / "auth" / "config.json")]
    copy = ["skopeo", "copy", "--quiet", "--preserve-digests"]
    plain = ["--src-tls-verify=false", "--dest-tls-verify=false"]
    source, target = f"docker://{host}/stub:there", f"docker://{host}/stub:back"
    run(*copy, *plain, *secret, source, f"dir:{tmp_path / 'kept'}")
    run(*copy, *plain, *secret, f"dir:{tmp_path / 'kept'}", target)
    about = account.client("ecr").describe_images(repositoryName="stub", imageIds=[{"imageTag": "back"}])
    assert [digest] == [one["imageDigest"] for one in about["imageDetails"]]
    none = tmp_path / "none.json"
    none.write_text("{}")
    command = [*copy, *plain, "--authfile", str(none), source, f"dir:{tmp_path / 'no'}"]
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert 0 != refused.returncode
    assert "Not Authorized" in refused.stderr
