"""What a user's code raised, read from exceptions and from log lines."""

from __future__ import annotations

import json

import pytest

from sdk.util.raised import ended, failed, from_exception, from_trace, in_lines, spread

SERVED = """Traceback (most recent call last):
  File "/opt/mlport/runtime/mlport_serving/scheduler.py", line 157, in _work
    outputs = self._call(job.given)
              ^^^^^^^^^^^^^^^^^^^^^
  File "{library}/sklearn/pipeline.py", line 9, in predict
    return self.last(rows)
  File "/app/model.py", line 7, in look_up
    return table[key]
           ~~~~~^^^^^
  File "/usr/lib/python3.11/json/decoder.py", line 1, in decode
    raise
KeyError: 'age'
"""
LIBRARY = "/venv/lib/python3.11/site-packages"


def test_only_the_users_own_lines_are_named() -> None:
    """Frames of the server, of libraries and of Python itself are left out."""
    raised = from_trace(SERVED.format(library=LIBRARY))
    assert ("KeyError: 'age'", ("/app/model.py, line 7, in look_up",)) == (raised.error, raised.frames)


def test_without_own_lines_those_of_libraries_are_named() -> None:
    """An estimator of a library raises in the library: that is where the user has to look."""
    text = SERVED.format(library=LIBRARY).replace("/app/", f"{LIBRARY}/")
    assert (f"{LIBRARY}/sklearn/pipeline.py, line 9, in predict",) == from_trace(text).frames[:1]


def test_the_last_of_several_exceptions_counts() -> None:
    """A chained exception is named by its last link; a message of several lines is kept in `error`."""

    def look_up() -> None:
        try:
            json.loads("{}")["first"]
        except KeyError as error:
            raise ValueError("one\ntwo") from error

    with pytest.raises(ValueError, match="one") as caught:
        look_up()
    raised = from_exception(caught.value)
    assert "ValueError: one\ntwo" == raised.error
    assert str(raised).startswith("ValueError: one (")
    assert __file__ in raised.frames[-1]


@pytest.mark.parametrize("text", ["", "no trace at all", "Traceback (most recent call last):", '  File "a", line 1'])
def test_any_text_is_survived(text: str) -> None:
    """What is no trace is told as it is."""
    assert from_trace(text).frames in {(), ("a, line 1",)}


def test_the_newest_trace_among_log_lines() -> None:
    """Lines of a model and damaged ones are passed over; without a trace there is nothing."""
    lines = ["loading", "{broken", json.dumps({"event": "ready"}), "[1]"]
    assert in_lines(lines) is None
    traces = [json.dumps({"trace": f"Traceback (most recent call last):\n{name}: x"}) for name in ("A", "B")]
    found = in_lines([*lines, *traces, *lines])
    assert found is not None
    assert "B: x" == found.error
    assert [False, True, True] == [failed(some) for some in (lines, traces, ['{"level": "error"}'])]
    assert ["loading", '{"event": "e"}', "a", " b"] == [
        *spread("loading"),
        *spread('{"event": "e", "trace": "a\\n b"}'),
    ]


CRASH = """before
Fatal Python error: Segmentation fault

Current thread 0x00007f11 (most recent call first):
  File "/usr/lib/python3.11/ctypes/__init__.py", line 519 in string_at
  File "/app/native.py", line 4 in read
  File "/app/model.py", line 31 in predict
  File "/opt/mlport/runtime/mlport_serving/flavours.py", line 63 in __call__

Extension modules: numpy._core (total: 1)"""


@pytest.mark.parametrize("blank", ["", " "])  # CloudWatch keeps no empty line
def test_a_crash_of_the_interpreter_has_the_users_lines_innermost_last(blank: str) -> None:
    raised = in_lines([line or blank for line in CRASH.splitlines()])
    assert raised is not None
    assert "Fatal Python error: Segmentation fault" == raised.error
    assert ("/app/model.py, line 31, in predict", "/app/native.py, line 4, in read") == raised.frames


def test_of_a_trace_and_a_crash_the_later_one_counts() -> None:
    trace = json.dumps({"event": "model_error", "trace": SERVED.format(library=LIBRARY)})
    assert "KeyError: 'age'" == getattr(in_lines([*CRASH.splitlines(), trace]), "error", None)
    assert "Fatal Python error: Segmentation fault" == getattr(in_lines([trace, *CRASH.splitlines()]), "error", None)


@pytest.mark.parametrize("line", ["", "mlport: replica d1-0 ended", '{"event": "replica_ended"', '["replica_ended"]'])
def test_only_the_platforms_own_line_says_how_a_replica_ended(line: str) -> None:
    assert ended([line]) is None


def test_a_line_that_is_nested_without_end_is_a_line() -> None:
    """Whatever a container writes, the reason of a failure is looked for in the lines around it."""
    line = '{"trace": ' + "[" * 100_000
    assert [line] == spread(line)
    trace = json.dumps({"event": "model_error", "trace": SERVED.format(library=LIBRARY)})
    assert "KeyError: 'age'" == getattr(in_lines([line, trace, line]), "error", None)
