"""A model that fails while it is packed: the reason is in the error, and the program goes on."""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from sdk.errors import PackagingError
from sdk.packaging.model import model as make_model
from sdk.packaging.usercode import running
from sdk.util.terminated import Terminated

if TYPE_CHECKING:
    from collections.abc import Callable


class Stop(BaseException):
    """What some libraries raise so that ``except Exception`` lets it pass."""


WAYS: dict[str, Callable[[], Any]] = {
    "KeyError: 'age'": lambda: dict[str, int]()["age"],
    "SystemExit: 0": lambda: sys.exit(0),
    "SystemExit: no weights": lambda: sys.exit("no weights"),
    "SystemExit: os._exit(0)": lambda: os._exit(0),
    "Stop: enough": lambda: _raise(Stop("enough")),
    "KeyboardInterrupt: mine": lambda: _raise(KeyboardInterrupt("mine")),
    "FileNotFoundError: [Errno 2]": lambda: open("/nonexistent/weights"),  # noqa: PTH123, SIM115 - it is not opened
}


def _raise(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize("wanted", WAYS)
@pytest.mark.parametrize("where", ["predict", "__init__", "load", "__reduce__"])
def test_reason_and_lines_of_a_model_that_fails(wanted: str, where: str) -> None:
    """Whatever it raises, and wherever: type, message, file, line and function are in the error."""
    fails: dict[str, Any] = {where: lambda *_: WAYS[wanted]()}
    made = type("Mine", (), {"load": lambda *_: None, "predict": lambda _, rows: rows, **fails})
    subject = made() if where == "__reduce__" else made
    if where == "__reduce__" and "Errno" in wanted:
        pytest.skip("errors of the disk are told by others")
    with pytest.raises(PackagingError) as caught:
        make_model(subject, name="mine", example=[[1.0]])
    assert wanted in caught.value.message
    assert f"{__file__}, line " in caught.value.message


def test_real_ctrl_c_and_sigterm_pass() -> None:
    """A signal that comes while the model is asked is no fault of the model."""

    def press() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        threading.Event().wait(5)

    with pytest.raises(KeyboardInterrupt), running("it fails", operation="predict"):
        press()
    with pytest.raises(Terminated), running("it fails", operation="predict"):
        raise Terminated
    assert signal.default_int_handler is signal.getsignal(signal.SIGINT)


def test_in_a_thread_an_interrupt_is_the_models_own() -> None:
    """Python raises Ctrl-C in the main thread only."""
    seen: list[BaseException] = []

    def ask() -> None:
        try:
            with running("it fails", operation="predict"):
                _raise(KeyboardInterrupt())
        except BaseException as error:  # noqa: BLE001 - looked at below
            seen.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    assert [PackagingError] == [type(error) for error in seen]
