"""``mlport policy`` on the command line: forms of its own, and refusals of targets that give no rights."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from sdk.cli.app import build
from sdk.cli.output import Output
from sdk.client import Client
from sdk.errors import UnsupportedError

TARGET = {
    "AWS_EC2_METADATA_DISABLED": "true",
    "MLPORT_TARGET_AWS__PROVIDER": "sagemaker",
    "MLPORT_TARGET_AWS__REGION": "us-east-1",
    "MLPORT_TARGET_AWS__ROLE": "arn:aws:iam::123456789012:role/mlport",
}


@pytest.mark.parametrize("provider", ["local", "docker"])
def test_a_target_without_rights_is_refused(provider: str) -> None:
    """Your own user does everything there, so there is no policy to print."""
    with Client({"default": provider}, env={}) as client, pytest.raises(UnsupportedError) as refused:
        client.policy("deployer")
    assert "rights of your own user" in str(refused.value)
    assert "not_implemented" == refused.value.reason


@pytest.mark.parametrize("form", [(), ("-o", "json"), ("--output", "json")])
def test_a_policy_is_printed_as_it_is(form: tuple[str, ...]) -> None:
    """Standard output is the policy and nothing else; credentials are not needed for it."""
    done = CliRunner().invoke(
        build(), ["policy", "--for", "ci", "-t", "aws", *form], env=TARGET, obj=Output(environ={})
    )
    assert 0 == done.exit_code, done.output
    assert "2012-10-17" == json.loads(done.stdout)["Version"]


def test_terraform_is_printed_as_it_is() -> None:
    arguments = ["policy", "--for", "caller", "--target", "aws", "-o", "tf"]
    done = CliRunner().invoke(build(), arguments, env=TARGET, obj=Output(environ={}))
    assert done.stdout.startswith('resource "aws_iam_policy"')
