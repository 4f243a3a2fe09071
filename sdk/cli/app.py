"""The click commands, built from the table of verbs, and the conversion of errors to exit codes."""

from __future__ import annotations

import contextlib
import importlib
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import shell_complete

from ..errors import Interrupted, SdkError
from . import parse, signals
from .output import Output
from .verbs import EXIT_CODES, VERBS, Param, Verb

if TYPE_CHECKING:
    from collections.abc import Mapping

# The modules of these handlers; all others are in `handlers`.
_HOMES = {"compare": "compare_command", "mock": "mock_commands", "test": "testing"}
_COMPLETE = "_MLPORT_COMPLETE"  # shells ask for completions by this variable
_TYPES: dict[str, Any] = {"int": int, "float": float, "duration": parse.DURATION, "input": parse.INPUT}


def run(argv: list[str], *, environ: Mapping[str, str]) -> int:
    """Run one command and return its exit code."""
    out = Output(environ=environ)
    with signals.Raising():
        try:
            return _run(out, argv, environ)
        except click.exceptions.Exit as done:
            return done.exit_code
        except click.ClickException as error:
            return _refused(error)
        except KeyboardInterrupt as stop:
            return _stopped(out, stop)
        except SystemExit as left:  # a user's own code called exit(), which the user did not intend
            return _fail(out, SdkError(f"exit({left.code!r}) was called by the code that was run"), left)
        except Exception as error:  # noqa: BLE001  # a stack trace is shown with -v
            return _fail(out, _explained(error), error)


def _run(out: Output, argv: list[str], environ: Mapping[str, str]) -> int:
    root = build()
    if instruction := environ.get(_COMPLETE):
        return shell_complete(root, {}, "mlport", _COMPLETE, instruction)
    with root.make_context("mlport", [*argv], obj=out) as context:
        result = root.invoke(context)
    return result if isinstance(result, int) else 0


def _refused(error: click.ClickException) -> int:
    with contextlib.suppress(OSError):
        error.show()
    return error.exit_code


def _stopped(out: Output, stop: KeyboardInterrupt) -> int:
    said = str(stop) or signals.STOPPED
    out.forget_unfinished()
    if out.json_wanted:
        out.error(Interrupted(said))
    else:
        out.say(said)
    return signals.code_of(stop)


def _fail(out: Output, error: SdkError, cause: BaseException) -> int:
    out.error(error)
    if out.verbose:
        out.trace(cause)
    return signals.code_of(error.__cause__) if isinstance(error, Interrupted) else error.exit_code


def _explained(error: Exception) -> SdkError:
    """Convert any error to an ``SdkError``: one of the system with its own text, any other with its type."""
    if isinstance(error, SdkError):
        return error
    if isinstance(error, OSError) and error.strerror:
        name = f": {error.filename}" if error.filename is not None else ""
        return SdkError(f"{error.strerror}{name}", hint="-v shows where")
    said = " ".join(str(error).split())
    return SdkError(f"{type(error).__name__}{': ' if said else ''}{said}", hint="-v shows where")


def build() -> click.Group:
    """Build the root command with all verbs."""
    codes = "\n".join(f"  {code:>3}  {meaning}" for code, meaning in EXIT_CODES)
    root = click.Group(
        "mlport",
        help="Train, deploy, call, watch and compare models on any target, with the same words everywhere.",
        epilog=f"\b\nExit codes:\n{codes}",
        context_settings={"max_content_width": 100},
        add_help_option=False,
    )
    root.params += [_version(), _more(), _help()]
    for verb in VERBS:
        root.add_command(_command(verb))
    return root


def _version() -> click.Option:
    def show(context: click.Context, _param: click.Parameter, value: object) -> None:
        if value:
            from importlib.metadata import version

            context.obj.line(f"mlport {version('mlport')}")
            context.exit()

    return click.Option(
        ["--version"], is_flag=True, is_eager=True, expose_value=False, callback=show, help="Show the version."
    )


def _help() -> click.Option:
    """Return ``--help``, printed through ``Output`` so that a closed pipe is handled there."""

    def show(context: click.Context, _param: click.Parameter, value: object) -> None:
        if value:
            context.obj.line(context.get_help())
            context.exit()

    return click.Option(
        ["-h", "--help"], is_flag=True, is_eager=True, expose_value=False, callback=show,
        help="Show this message and exit.",
    )  # fmt: skip


def _more() -> click.Option:
    """Return the option ``-v`` before the verb, which counts like one after it."""

    def count(context: click.Context, _param: click.Parameter, value: int) -> None:
        context.obj.verbose += value

    return click.Option(
        ["-v", "--verbose"], count=True, expose_value=False, callback=count, help="show more, and stack traces"
    )


def _command(verb: Verb, prefix: str = "") -> click.Command:
    name = f"{prefix}{verb.name}"
    if verb.group:
        group = click.Group(verb.name, help=verb.help, params=[_more(), _help()], add_help_option=False)
        for child in verb.group:
            group.add_command(_command(child, f"{name}_"))
        return group

    @click.pass_obj
    def callback(out: Output, /, verbose: int, output: str = "table", **values: Any) -> Any:
        out.configure(output, verbose)
        home = _HOMES.get(name.partition("_")[0], "handlers")
        handler = getattr(importlib.import_module(f".{home}", __package__), f"do_{name}")  # not for --help
        return handler(out, **{key: value for key, value in values.items() if value not in (None, (), {})})

    common = _output_options()[any(param.option == "output" for param in verb.params) :]  # a verb may have its own -o
    params = [*map(_parameter, verb.params), *common, _help()]
    text = verb.help if not verb.more else f"{verb.help}\n\n{verb.more}"
    return click.Command(
        verb.name, params=params, callback=callback, help=text, short_help=verb.help, add_help_option=False
    )


def _parameter(param: Param) -> click.Parameter:
    kind = _TYPES.get(param.type, str)
    if param.positional:
        metavar = param.name.upper() + ("…" if param.many else "")
        return click.Argument(
            [param.name], required=param.required, nargs=-1 if param.many else 1, type=kind, metavar=metavar
        )
    names = [param.name, *([param.short] if param.short else []), param.flag]
    if param.type == "flag":
        return click.Option(names, is_flag=True, default=None, help=param.help)
    if param.type == "switch":
        return click.Option([param.name, f"{param.flag}/--no-{param.flag[2:]}"], default=None, help=param.help)
    if param.type == "pairs":
        return click.Option(names, multiple=True, callback=parse.pairs, help=param.help, metavar="KEY=VALUE")
    if param.type == "texts":
        return click.Option(names, multiple=True, help=param.help, metavar="TEXT")
    return click.Option(names, type=kind, required=param.required, help=param.help, metavar=param.metavar)


def _output_options() -> list[click.Parameter]:
    return [
        click.Option(["-o", "--output", "output"], type=click.Choice(["table", "json"]), default="table",
                     help="table for people, json for programs"),
        click.Option(["-v", "--verbose", "verbose"], count=True, help="show more of what happens, and stack traces"),
    ]  # fmt: skip
