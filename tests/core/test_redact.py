"""The redactor: planted secrets in every spelling, and texts that must stay readable."""

from __future__ import annotations

import base64
import html
import json
import urllib.parse
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdk.util.redact import MASK, Redactor, escape_controls, is_secret_name

if TYPE_CHECKING:
    from collections.abc import Callable

# A secret value and the text in which a tool, a header or a log shows it. None of the values is registered.
SHAPES = {
    "aws key id": ("AKIAIOSFODNN7EXAMPLE", "using AKIAIOSFODNN7EXAMPLE now"),
    "aws temporary key id": ("ASIAIOSFODNN7EXAMPLE", "key=ASIAIOSFODNN7EXAMPLE"),
    "aws secret in a file": ("wJalrXUtnFEMI/K7MDENG", "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG"),
    "aws secret in the environment": ("wJalrXUtnFEMI/K7MDENG", "AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG"),
    "aws session token header": ("IQoJb3JpZ2luX2VjEA", "X-Amz-Security-Token: IQoJb3JpZ2luX2VjEA"),
    "presigned url": ("0123abcd89ef", "https://b.example/k?X-Amz-Date=1&X-Amz-Signature=0123abcd89ef&x=1"),
    "presigned url token": ("FwoGZXIvYXdzE", "https://b.example/k?X-Amz-Security-Token=FwoGZXIvYXdzE"),
    "escaped presigned url": ("0123abcd89ef", "next=https%3A%2F%2Fb%2Fk%3FX-Amz-Signature%3D0123abcd89ef%26x"),
    "sigv4 header": ("fe5f80f77d5fa3beca03", "AWS4-HMAC-SHA256 Credential=x, Signature=fe5f80f77d5fa3beca03"),
    "sigv4 authorization": ("AKIDEXAMPLEXX", "Authorization: AWS4-HMAC-SHA256 Credential=AKIDEXAMPLEXX/2026"),
    "google access token": ("ya29.a0AfH6SMBx-y_z", "got ya29.a0AfH6SMBx-y_z back"),
    "google api key": ("AIzaSyD-9tSrke72PouQMnMX-a7eZSW0jkFMBWY", "?key=AIzaSyD-9tSrke72PouQMnMX-a7eZSW0jkFMBWY"),
    "google client secret": ("GOCSPX-abc_DEF-123", "client GOCSPX-abc_DEF-123"),
    "google refresh token": ("1//0gabcdefghijklmnopqrstu", "refresh 1//0gabcdefghijklmnopqrstu"),
    "goog signature": ("5a8b9c", "https://s.example/o?X-Goog-Signature=5a8b9c"),
    "azure sas": ("AbC%2Fd3%3D", "https://a.blob.example/c/b?sv=2024&sig=AbC%2Fd3%3D&se=1"),
    "azure storage key": ("Eby8vdM02xNOcqFl==", "AccountName=a;AccountKey=Eby8vdM02xNOcqFl==;EndpointSuffix=x"),
    "azure shared access key": ("k9PqRs7w=", "Endpoint=sb://x/;SharedAccessKey=k9PqRs7w="),
    "azure client secret": ("abc8Q~ABCDEFGHIJ1234567890abcdefghijKLMN", "abc8Q~ABCDEFGHIJ1234567890abcdefghijKLMN!"),
    "azure function key": ("q1w2e3r4", "https://f.example/api?code=q1w2e3r4"),
    "bearer": ("abcDEF123.456-x", "-H 'Authorization: Bearer abcDEF123.456-x'"),
    "bearer alone": ("abcDEF123.456-x", "sent bearer abcDEF123.456-x to it"),
    "basic": ("dXNlcjpwYXNz", "Basic dXNlcjpwYXNz"),
    "header in json": ("tok-1-2-3", '{"authorization": "tok-1-2-3", "x": 1}'),
    "cookie": ("session=8f14e45f", "Set-Cookie: session=8f14e45f; Path=/"),
    "jwt": ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc-DEF", "id eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc-DEF."),
    "url password": ("hunter2hunter2", "https://user:hunter2hunter2@index.example/simple"),
    "url password with an at sign": ("p@ss@word", "postgres://u:p@ss@word@db.example/x"),
    "url token as user": ("glpat0123", "git+https://glpat0123@git.example/r.git"),
    "github": ("ghp_abcdefghijklmnopqrstuvwxyz0123456789", "ghp_abcdefghijklmnopqrstuvwxyz0123456789"),
    "github fine grained": ("github_pat_11ABCDEFG0abcdefghij_klm", "github_pat_11ABCDEFG0abcdefghij_klm"),
    "gitlab": ("glpat-abcdefghij0123456789", "token is glpat-abcdefghij0123456789"),
    "hub": ("hf_abcdefghijklmnopqrstuvwxyz", "login hf_abcdefghijklmnopqrstuvwxyz"),
    "model api": ("sk-proj-abcdefghijklmnopqrst", "key sk-proj-abcdefghijklmnopqrst"),
    "chat": ("xoxb-1234567890-abc", "xoxb-1234567890-abc"),
    "upload token": ("pypi-AgEIcHlwaS5vcmcCJGFiY2RlZmdoaWprbG1ub3A", "pypi-AgEIcHlwaS5vcmcCJGFiY2RlZmdoaWprbG1ub3A"),
    "pem": ("MIIEvQIBADANBg", "-----BEGIN RSA PRIVATE KEY-----\nMIIEvQIBADANBg\n-----END RSA PRIVATE KEY-----"),
    "pem in json": ("MIIEvQIBADANBg", r'"-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBg\n-----END PRIVATE KEY-----\n"'),
    "pem cut off": ("MIIEvQIBADANBg", "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBg"),
    "password in toml": ("correct horse", "password = 'correct horse'"),
    "password in json": ('a\\"b-c', '{"password": "a\\"b-c", "x": 1}'),
    "password in json in json": ("abc-def", '{"body": "{\\"password\\": \\"abc-def\\"}"}'),
    "password in yaml": ("hunter2", "password: hunter2"),
    "secret in an argument": ("zzzzz-yyyyy", "--client-secret=zzzzz-yyyyy --x"),
    "connection string": ("Server=x", "connection_string='Server=x'"),
}  # fmt: skip

READABLE = (
    "password must not be empty",
    "secret: not found",
    "authentication by bearer token failed",
    "Basic authentication is off",
    "max_tokens=512, tokenizer=bpe, tokens: 5",
    "unknown key 'regoin' in [target.aws]; did you mean 'region'?",
    "https://127.0.0.1:8080/v2/models/churn/infer?x=1",
    "arn:aws:iam::123456789012:role/mlport",
    "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "exit code=137 after 3.5 s",
    "mail to a@b.example",
)


@pytest.mark.parametrize("name", SHAPES)
def test_a_secret_nobody_registered_is_hidden_by_its_shape(name: str) -> None:
    """A credential that is only known by its form does not survive."""
    value, text = SHAPES[name]
    hidden = Redactor()(text)
    assert (False, True) == (value in hidden, MASK in hidden)


@pytest.mark.parametrize("text", READABLE)
def test_an_ordinary_text_stays_as_it_is(text: str) -> None:
    """Error messages, digests, addresses and names are not taken for secrets."""
    assert text == Redactor()(text)


ODD = """p/w+?&='é"%<"""
CANARIES = tuple(f"cn{n:02d}-{ODD[n % len(ODD)]}-{n * 7919:05x}-tail" for n in range(40))
SPELLINGS: dict[str, Callable[[str], str]] = {
    "raw": lambda v: v,
    "base64": lambda v: base64.b64encode(v.encode()).decode(),
    "base64 after one byte": lambda v: base64.b64encode(b":" + v.encode()).decode(),
    "base64 with user": lambda v: base64.b64encode(b"me:" + v.encode() + b"\n").decode(),
    "urlsafe base64": lambda v: base64.urlsafe_b64encode(v.encode()).decode(),
    "url": lambda v: urllib.parse.quote(v, safe=""),
    "url lower case": lambda v: urllib.parse.quote(v, safe="").replace("%2F", "%2f").replace("%C3%A9", "%c3%a9"),
    "query": lambda v: urllib.parse.urlencode({"v": v}),
    "json": lambda v: json.dumps({"v": v}),
    "json with letters": lambda v: json.dumps({"v": v}, ensure_ascii=False),
    "repr": lambda v: repr({"v": v}),
    "html": lambda v: f"<td>{html.escape(v)}</td>",
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_forty_registered_values_are_hidden_in_every_spelling(spelling: str) -> None:
    """None of 40 planted values, nor its own part of an encoding, is left in a text."""
    redactor = Redactor(CANARIES)
    text = "\n".join(SPELLINGS[spelling](value) for value in CANARIES)
    shown = redactor(text)
    left = [value for value in CANARIES if value in shown or value[:4] in shown or value[-10:] in shown]
    assert ([], 40) == (left, shown.count(MASK))


def test_a_secret_of_several_lines_is_hidden_line_by_line() -> None:
    """A log that shows only one line of a multi-line secret still hides it."""
    assert f"got {MASK}" == Redactor(["first-line\nsecond-line"])("got second-line")


def test_a_very_short_value_is_not_searched_for() -> None:
    """Registering a value like `1` must not blank out every text."""
    assert "1 of 11" == Redactor(["1", ""])("1 of 11")


def test_plain_data_is_hidden_by_name_and_by_value() -> None:
    """Nested values are searched, and whatever stands under a secret's name goes."""
    data = {"password": 1234, "nested": [{"note": "my-secret-value"}], "n": 3, "token": None, "tokens": 5}
    expected = {"password": MASK, "nested": [{"note": MASK}], "n": 3, "token": None, "tokens": 5}
    assert expected == Redactor(["my-secret-value"]).data(data)


def test_the_redactor_does_not_show_what_it_knows() -> None:
    """Its repr holds no secret."""
    assert "my-secret-value" not in repr(Redactor(["my-secret-value"]))


@given(st.text())
def test_redacting_twice_changes_nothing_more(text: str) -> None:
    """A text may pass several borders."""
    redactor = Redactor(["my-secret-value"])
    assert redactor(text) == redactor(redactor(text))


@pytest.mark.parametrize("name", SHAPES)
def test_redacting_a_secret_twice_changes_nothing_more(name: str) -> None:
    """A text with a secret may pass several borders."""
    once = Redactor()(SHAPES[name][1])
    assert once == Redactor()(once)


@pytest.mark.parametrize(
    "name", ["password", "client_secret", "AWS_SECRET_ACCESS_KEY", "api-key", "hf_token", "cookie"]
)
def test_names_of_secrets_are_known(name: str) -> None:
    """A setting of such a name is masked whatever it holds."""
    assert is_secret_name(name)


@pytest.mark.parametrize("name", ["region", "max_tokens", "tokenizer", "key", "aws_access_key_id", "instance"])
def test_other_names_are_not(name: str) -> None:
    """Ordinary settings stay readable."""
    assert not is_secret_name(name)


CONTROLS = (
    "\x1b[2J", "\x1b]0;title\x07", "\x9b31m", "\r", "\x08", "\x00", "\x7f", "\u202e", "\u2066", "\u2028", "\u200b",
    "\ufeff", "\x85", "\x0b", "\x0c",
)  # fmt: skip


@pytest.mark.parametrize("text", CONTROLS, ids=ascii)
def test_terminal_controls_are_shown_not_obeyed(text: str) -> None:
    """Nothing that moves a cursor, sets a title or turns the writing direction gets through."""
    shown = escape_controls(f"a{text}b")
    assert (True, shown) == (shown.isprintable(), escape_controls(shown))


@given(st.text())
def test_escaped_text_is_printable_but_for_tabs_and_line_feeds(text: str) -> None:
    """No other control or direction character is left, and ordinary letters stay."""
    shown = escape_controls(text)
    assert not any(ord(c) < 32 and c not in "\t\n" for c in shown)
    assert text.isascii() is False or not text.isprintable() or text == shown


def test_lone_surrogates_can_be_printed() -> None:
    """A file name that is no UTF-8 does not break the output."""
    assert "a\\udcffb" == escape_controls("a\udcffb")
