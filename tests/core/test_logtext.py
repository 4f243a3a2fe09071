"""Log lines as people read them."""

import pytest

from sdk.util.logtext import readable


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('{"ts":1.5,"level":"info","event":"ready","endpoint":"e","deployment":"d1"}', "ready"),
        ('{"ts":1,"level":"error","event":"model_error","message":"boom","request_id":"r1"}',
         "ERROR model_error boom request_id=r1"),
        ('{"ts":1,"level":"info","event":"request","status":200,"ms":7.96,"field":null}', "request status=200 ms=7.96"),
        ('{"ts":1,"level":"info"}', '{"ts":1,"level":"info"}'),
        ('{"ts":1, half', '{"ts":1, half'),
        ('{"event":"of the user"}', '{"event":"of the user"}'),
        ("plain", "plain"),
        ("", ""),
    ],
)  # fmt: skip
def test_structured_lines_become_words(line: str, expected: str) -> None:
    """What our server writes reads as a sentence; what anybody else writes stays as it is."""
    assert expected == readable(line)
