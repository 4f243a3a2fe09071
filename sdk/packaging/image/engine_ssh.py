"""Forward the socket of a remote engine to a local socket with the user's own ssh.

Keys, agents, jump hosts and known hosts are those of the ssh configuration. ssh never prompts, so a connection that
needs a password fails at once with an error.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from urllib.parse import urlsplit

from sdk.errors import ConfigError, UnavailableError
from sdk.util import children, scratch

_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_START_S = 30.0
_SHELL = ("/bin/sh", "-c", '"$@"; exit $?', "sh")  # ssh closes what it inherits, so a shell keeps it tied to us
_OPTIONS = ("-o", "BatchMode=yes", "-o", "ExitOnForwardFailure=yes", "-o", "ConnectTimeout=10")


class Forward:
    """A running ssh that forwards one socket.

    Args:
        host: ``ssh://[USER@]HOST[:PORT][/SOCKET]``.
        program: The ssh to run.

    Raises:
        ConfigError: The address is invalid, or ssh is not installed.
        UnavailableError: ssh could not connect; the message has its output.
    """

    def __init__(self, host: str, program: str = "ssh") -> None:
        there, destination = parse(host)
        if shutil.which(program) is None:
            raise ConfigError(f"{program} is not installed", hint="install an ssh client, or use tcp://")
        self._folder = contextlib.ExitStack()
        self.socket = self._folder.enter_context(scratch.folder(scratch.short_folder())) / "docker.sock"
        process = children.started(
            [*_SHELL, program, *_OPTIONS, "-N", "-L", f"{self.socket}:{there}", *destination],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,  # not for ssh: undoing after Ctrl-C still needs the connection
        )
        self._process = self._folder.enter_context(process)
        self._wait(host)

    def _wait(self, host: str) -> None:
        give_up = time.monotonic() + _START_S
        while not self.socket.exists():
            if self._process.poll() is None and time.monotonic() < give_up:
                time.sleep(0.02)
                continue
            said = self._end()
            raise UnavailableError(
                f"ssh did not reach {host}: {said or 'it took too long'}",
                provider="docker",
                sent=False,
                hint="try `ssh` to that host by hand: it must get in without a question",
            )

    def _end(self) -> str:
        """Stop ssh and return its standard error."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGTERM)
        try:
            _, said = self._process.communicate(timeout=5)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            _, said = self._process.communicate()
        self._folder.close()
        return str(said, "utf-8", "replace").strip()

    def close(self) -> None:
        """Stop ssh."""
        self._end()


def parse(host: str) -> tuple[str, list[str]]:
    """Return the remote socket, and ssh's arguments for the host, none of which can be mistaken for an option.

    Raises:
        ConfigError: The address is invalid.

    Example:
        >>> parse("ssh://me@box:22")
        ('/var/run/docker.sock', ['-p', '22', '-l', 'me', 'box'])
    """
    parts = urlsplit(host)
    names = [name for name in (parts.hostname, parts.username) if name is not None]
    if parts.hostname is None or not all(map(_PART.fullmatch, names)) or parts.password:
        raise ConfigError(f"Docker address {host!r} cannot be used", hint="write it as ssh://USER@HOST:PORT")
    port = ["-p", str(parts.port)] if parts.port else []
    user = ["-l", parts.username] if parts.username else []
    return parts.path if parts.path.strip("/") else "/var/run/docker.sock", [*port, *user, parts.hostname]
