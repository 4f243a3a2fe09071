"""Our signer says the same as botocore's, for whatever is signed."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any
from unittest import mock

import httpx
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from sdk_sagemaker._sign import INFERENCE_ID, Signer, SigV4

HOST = "runtime.sagemaker.eu-west-1.amazonaws.com"
NOW = 1_800_000_000.0
_text = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40)
_words = st.lists(_text, min_size=1, max_size=4).map("  ".join)
_names = st.sampled_from(["target-variant", "inference-id", "custom-attributes"])


def botocores(path: str, headers: dict[str, str], body: bytes, keys: tuple[str, str, str | None], now: float) -> str:
    """The authorization that botocore computes for exactly these headers."""
    request = AWSRequest("POST", f"https://{HOST}{path}", data=body, headers=headers)
    moment = datetime.fromtimestamp(int(now), UTC).replace(tzinfo=None)  # which would round a moment before a second up
    with mock.patch("botocore.auth.get_current_datetime", return_value=moment):
        SigV4Auth(Credentials(*keys), "sagemaker", "eu-west-1").add_auth(request)
    return str(request.headers["Authorization"])


@given(
    name=st.from_regex(r"[a-z][a-z0-9-]{2,22}", fullmatch=True),
    body=st.binary(max_size=200),
    secret=_text,
    token=st.none() | _text,
    extra=st.dictionaries(_names, _words, max_size=3),
    now=st.floats(1.0e9, 2.0e9),
)
def test_every_signature_is_botocores(
    *, name: str, body: bytes, secret: str, token: str | None, extra: dict[str, str], now: float
) -> None:
    """Same host, headers, body, keys and moment: the same authorization, character for character."""
    keys = ("AKIDEXAMPLE", secret, token)
    path = f"/endpoints/{name}/invocations"
    headers = {"content-type": "application/json", "host": HOST} | {
        f"x-amzn-sagemaker-{one}": value for one, value in extra.items()
    }
    ours = Signer("eu-west-1").sign("POST", path, headers, body, credentials=keys, now=now)
    assert botocores(path, headers, body, keys, now) == ours["authorization"]


def test_the_key_of_a_day_is_kept_and_changed() -> None:
    """One signer goes on to be right over midnight, and when the keys are refreshed."""
    signer, path = Signer("eu-west-1"), "/endpoints/churn/invocations"
    headers = {"content-type": "application/json", "host": HOST}
    for keys in (("A", "one", None), ("B", "two", "token")):
        for now in (NOW, NOW + 1, NOW + 86_400):
            ours = signer.sign("POST", path, headers, b"{}", credentials=keys, now=now)
            assert botocores(path, headers, b"{}", keys, now) == ours["authorization"]


@pytest.mark.parametrize("token", [None, "session"])
def test_a_request_is_signed_as_it_is_sent(token: str | None) -> None:
    """The core's id goes along as the inference id and is signed; what HTTP adds on the way is not."""
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200)

    auth = SigV4("eu-west-1", lambda: ("AKID", "secret", token), lambda: NOW)
    headers = {"x-request-id": "abc", "accept": "application/json", "content-type": "application/json"}
    with httpx.Client(transport=httpx.MockTransport(answer), auth=auth) as client:
        client.post(f"https://{HOST}/endpoints/churn/invocations", content=b"{}", headers=headers)
    (request,) = seen
    signed = request.headers["authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";")
    expected = ["content-type", "host", "x-amz-date", INFERENCE_ID]
    assert sorted([*expected, *(["x-amz-security-token"] if token else [])]) == signed
    assert "abc" == request.headers[INFERENCE_ID]
    assert "secret" not in str(request.headers)


def test_credentials_are_asked_for_each_time() -> None:
    """Refreshed keys are used by the very next request."""
    asked: list[float] = []

    def keys() -> Any:
        asked.append(time.monotonic())
        return f"AKID{len(asked)}", "secret", None

    auth = SigV4("eu-west-1", keys, lambda: NOW)
    with httpx.Client(transport=httpx.MockTransport(lambda request: httpx.Response(200)), auth=auth) as client:
        sent = [client.post(f"https://{HOST}/x", content=b"{}").request for _ in range(2)]
    assert ["AKID1", "AKID2"] == [one.headers["authorization"].split("=")[1].split("/")[0] for one in sent]
