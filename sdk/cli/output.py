"""Output for people and programs: data on standard output, everything else on standard error."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
import traceback
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..errors import SdkError
from ..util.redact import Redactor, escape_controls

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
    from typing import TypeVar

    from rich.status import Status

    from ..executor import Event

    T = TypeVar("T")

PACKING = "sdk.packaging.code"  # the logger that reports what is packed
_OUTER = ("click.", "sdk.cli.app")  # modules whose frames are at the top of every stack trace
_WIDE = 240  # columns without a terminal: lines in a pipe must not be wrapped


class _Console(Console):
    """A console that raises ``BrokenPipeError`` for a closed pipe, so that the caller handles it."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


class _Said(logging.Handler):
    """A log handler that prints lines on standard error."""

    def __init__(self, out: Output) -> None:
        super().__init__()
        self._output = out

    def emit(self, record: logging.LogRecord) -> None:
        self._output.say(record.getMessage())


class Output:
    """Printer of results, progress and errors, for a terminal, a log file or a program.

    A closed standard output does not end a command that changes something: later output is dropped, and :attr:`unread`
    is true. An unwritable standard error does not end it either.

    Args:
        environ: The environment; ``NO_COLOR`` disables colours, ``CI`` disables moving parts.
    """

    def __init__(self, *, environ: Mapping[str, str]) -> None:
        _open_streams()
        plain = bool(environ.get("NO_COLOR"))
        self._still = bool(environ.get("CI")) or environ.get("TERM") == "dumb"
        wide = None if sys.stdout.isatty() else _WIDE
        self._out = _Console(no_color=plain, highlight=False, soft_wrap=True, width=wide)
        self._plain = plain
        self.forget_unfinished()
        self._status: Status | None = None
        self._begin = time.monotonic()
        self.json_wanted = False
        self.verbose = 0
        self.unread = False
        self.redactor = Redactor()

    def forget_unfinished(self) -> None:
        """Discard text that a signal cut off: the console would keep it and print it again later."""
        self._err = _Console(stderr=True, no_color=self._plain, highlight=False, soft_wrap=True)

    def configure(self, output: str, verbose: int) -> None:
        """Apply the options that every verb has."""
        self.json_wanted = output == "json"
        self.verbose += verbose

    def show_packing(self) -> None:
        """Report which of the user's code travels with a model and which does not; with ``-v``, each name."""
        logger = logging.getLogger(PACKING)
        if logger.isEnabledFor(logging.INFO) and not any(isinstance(one, _Said) for one in logger.handlers):
            return  # the log is already shown
        logger.handlers = [_Said(self)]
        logger.setLevel(logging.DEBUG if self.verbose else logging.INFO)

    @property
    def moving(self) -> bool:
        """Whether standard error is a terminal that may be redrawn."""
        return self._err.is_terminal and not self._still

    @property
    def console(self) -> Console:
        """The console of standard output."""
        return self._out

    @contextmanager
    def delivered(self) -> Generator[None]:
        """Write to standard output in the block; ignore a reader that has gone, but raise for a full disk."""
        try:
            yield
            sys.stdout.flush()
        except BrokenPipeError:
            self.unread = True
            _drop(sys.stdout)
        except OSError as error:
            _drop(sys.stdout)
            raise SdkError(f"cannot write to standard output: {error.strerror}") from error

    def data(self, value: Any, text: str) -> None:
        """Print a result: ``value`` for programs, ``text`` for people."""
        if self.json_wanted:
            self._json(value, indent=2)
        else:
            self.line(text)

    def row(self, value: Any) -> None:
        """Print one JSON value on its own line, for results that stream."""
        self._json(value)

    def _json(self, value: Any, indent: int | None = None) -> None:
        ascii_only = not sys.stdout.encoding.lower().startswith("utf")
        with self.delivered():
            print(json.dumps(value, indent=indent, default=str, ensure_ascii=ascii_only))  # noqa: T201

    def each(self, values: Iterable[T], show: Callable[[T], None]) -> None:
        """Show values as they arrive, until standard output is closed."""
        for value in values:
            show(value)
            if self.unread:
                return

    def line(self, text: str) -> None:
        """Print one text on standard output, with its control characters escaped."""
        with self.delivered():
            self._out.print(Text(escape_controls(text)))

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
        """Print rows for people; if there are none, print ``empty`` on standard error instead."""
        cells = [[_cell(value) for value in row] for row in rows]
        if not cells:
            self.say(empty)
            return
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in columns:
            table.add_column(column, overflow="fold")
        for row in cells:
            table.add_row(*row)
        with self.delivered():
            self._out.print(table)

    def say(self, text: str, style: str | None = None) -> None:
        """Print a text that is not the result, on standard error."""
        with suppress(OSError):
            self._err.print(Text(escape_controls(text), style=style or ""))

    def error(self, error: SdkError) -> None:
        """Print an error and its hint."""
        if self.json_wanted:
            with suppress(OSError):
                print(json.dumps(error.to_dict(), default=str), file=sys.stderr, flush=True)  # noqa: T201
            return
        with suppress(OSError):
            self._err.print(Text("error: ", style="bold red"), Text(escape_controls(str(error))), sep="")
        facts = {"provider": error.provider, "operation": error.operation, "resource": error.resource,
                 "status": error.status, "request id": error.request_id}  # fmt: skip
        told = "  ".join(f"{key}={value}" for key, value in facts.items() if value is not None)
        if told and self.verbose:
            self.say(f"  {told}", style="dim")

    def trace(self, error: BaseException) -> None:
        """Print the stack trace of an error, without secrets."""
        begin = error.__traceback__
        while begin is not None and begin.tb_frame.f_globals.get("__name__", "").startswith(_OUTER):
            begin = begin.tb_next
        text = "".join(traceback.format_exception(type(error), error, begin))
        for line in self.redactor(text).splitlines():
            self.say(f"  {line}", style="dim")

    def progress(self, event: Event, together: str | None = None) -> None:
        """Show the stage of a long task: on one moving line in a terminal, on one line per stage elsewhere.

        ``together`` is shown on the moving line instead, if several tasks share it.
        """
        text = f"{event.stage} {event.detail}".strip()
        if self._status is not None:
            self._status.update(Text(escape_controls(together or text)))
        if self._status is None or self.verbose:
            self.say(f"{time.monotonic() - self._begin:6.1f}s  {text}", style="dim")

    @contextmanager
    def working(self, text: str) -> Generator[None]:
        """Show in the block that something is in progress."""
        if not self.moving or self.json_wanted:
            yield
            return
        with self._err.status(Text(text)) as status:
            self._status = status
            try:
                yield
            finally:
                self._status = None

    def confirm(self, question: str) -> bool:
        """Ask the user; without a terminal the answer is no."""
        if not sys.stdin.isatty():
            self.say(f"{question} not asked without a terminal: give --yes")
            return False
        try:
            return self._err.input(Text(f"{question} [y/N] ")).strip().lower() in {"y", "yes"}
        except EOFError:
            self.say("")
            return False


def _open_streams() -> None:
    """Make sure that all three standard streams are open and accept every character.

    A closed stream is opened on the null device; otherwise the next opened file would get its number.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w" if number else "r", encoding="utf-8", closefd=False))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors="backslashreplace")


def _drop(stream: IO[str]) -> None:
    """Redirect unwritten output to the null device, so that Python reports no error at the end of the process."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)


def _cell(value: object) -> Text:
    if value is None:
        return Text("-", style="dim")
    return Text(escape_controls(str(value)))


def age(seconds: float | None) -> str | None:
    """Format seconds for people: ``42s``, ``5m``, ``3h``, ``2d``.

    Example:
        >>> age(7_300)
        '2h'
    """
    if seconds is None:
        return None
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= size:
            return f"{int(seconds // size)}{unit}"
    return f"{int(max(seconds, 0))}s"


def usd(value: float | None, unit: str = "/h") -> str:
    """Format a price; an unknown one is shown as such, never as 0.

    Example:
        >>> usd(0.115), usd(0.0), usd(None)
        ('$0.115/h', 'free', 'unknown')
    """
    if value is None:
        return "unknown"
    return f"${value:.4g}{unit}" if value else "free"
