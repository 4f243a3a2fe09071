"""Builds the click commands from the table of verbs, and turns errors into exit codes."""

from __future__ import annotations

import importlib
import signal
import sys
from typing import TYPE_CHECKING, Any, NoReturn

import click

from ..errors import Interrupted, SdkError
from ..waiting import Terminated
from . import parse
from .output import Output
from .verbs import EXIT_CODES, VERBS, Param, Verb

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import FrameType

_HOMES = {"compare": "comparing", "mock": "mocks"}  # modules of handlers; the others are in `handlers`
_TYPES: dict[str, Any] = {"int": int, "float": float, "duration": parse.DURATION, "input": parse.INPUT}


def run(argv: list[str], *, environ: Mapping[str, str]) -> int:
    """Run one command and return its exit code."""
    out = Output(environ=environ)
    signal.signal(signal.SIGTERM, _on_sigterm)
    try:
        return _code(build().main(argv, prog_name="mlport", standalone_mode=False, obj=out))
    except SdkError as error:
        return _fail(out, error)
    except click.exceptions.Abort:
        return _stopped(out, 130)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except KeyboardInterrupt as stop:
        return _stopped(out, 143 if isinstance(stop, Terminated) else 130)
    except BrokenPipeError:
        sys.stderr.close()  # or the interpreter complains once more on its way out
        return 0


def _stopped(out: Output, code: int) -> int:
    out.say("stopped")
    return code


def _code(result: object) -> int:
    return result if isinstance(result, int) else 0


def _on_sigterm(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise Terminated


def _fail(out: Output, error: SdkError) -> int:
    out.error(error)
    if isinstance(error, Interrupted) and isinstance(error.__cause__, Terminated):
        return 143
    return error.exit_code


def build() -> click.Group:
    """The whole command."""
    codes = "\n".join(f"  {code:>3}  {meaning}" for code, meaning in EXIT_CODES)
    root = click.Group(
        "mlport",
        help="Train, deploy, call, watch and compare models on any target, with the same words everywhere.",
        epilog=f"\b\nExit codes:\n{codes}",
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
        callback=None,
    )
    root.params.append(_version())
    for verb in VERBS:
        root.add_command(_command(verb))
    return root


def _version() -> click.Option:
    def show(context: click.Context, _param: click.Parameter, value: object) -> None:
        if value:
            from importlib.metadata import version

            click.echo(f"mlport {version('mlport')}")
            context.exit()

    return click.Option(
        ["--version"], is_flag=True, is_eager=True, expose_value=False, callback=show, help="Show the version."
    )


def _command(verb: Verb, prefix: str = "") -> click.Command:
    name = f"{prefix}{verb.name}"
    if verb.group:
        group = click.Group(verb.name, help=verb.help)
        for child in verb.group:
            group.add_command(_command(child, f"{name}_"))
        return group

    @click.pass_obj
    def callback(out: Output, /, output: str, verbose: int, **values: Any) -> Any:
        out.configure(output, verbose)
        home = _HOMES.get(name.partition("_")[0], "handlers")
        handler = getattr(importlib.import_module(f".{home}", __package__), f"do_{name}")  # not for --help
        return handler(out, **{key: value for key, value in values.items() if value not in (None, (), {})})

    params = [*map(_parameter, verb.params), *_output_options()]
    text = verb.help if not verb.more else f"{verb.help}\n\n{verb.more}"
    return click.Command(verb.name, params=params, callback=callback, help=text, short_help=verb.help)


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
        click.Option(["-v", "--verbose", "verbose"], count=True, help="show more of what happens"),
    ]  # fmt: skip
