"""A warm interpreter that forks containers; the fork runner starts one per set of dependencies.

Run as a script with the image's own ``PYTHONPATH``; standard input is a socket. Each message is the path of a spec with
three descriptors: the container's input (see :mod:`inside`), its output, and the pipe for its exit code.
"""

from __future__ import annotations

import os
import runpy
import signal
import socket
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import inside
else:
    import inside  # this is run as a script, so its folder is on the path

WARM = ("mlport_serving.serve", "mlport_serving.train", "mlport_serving.flavours", "cloudpickle")


def main() -> None:
    """Fork containers until the socket closes."""
    del sys.path[0]  # the folder of this script, whose modules must not hide an image's modules
    if find_spec("mlport_serving"):
        for name in WARM:
            __import__(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(fileno=os.dup(0)) as channel:
        while True:
            message, handles, _, _ = socket.recv_fds(channel, 65536, 3)
            if not message:
                return
            pid = os.fork()
            if pid == 0:
                channel.close()
                _container(message.decode(), *handles)
            for handle in handles:
                os.close(handle)
            channel.send(str(pid).encode())


def _container(spec: str, alive: int, output: int, status: int) -> None:
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for handle, number in ((alive, 0), (output, 1), (output, 2)):
        os.dup2(handle, number)
    for handle in {alive, output} - {0, 1, 2}:
        os.close(handle)
    os.set_inheritable(status, False)
    code = 126
    try:
        code = inside.main(spec, run)
    finally:
        os.write(status, str(code).encode())
        os._exit(code)


def run(spec: dict[str, Any]) -> None:
    """Do what ``python [-P] (-m MODULE | FILE) …`` would do; any other command is executed in the usual way."""
    program, *rest = spec["argv"]
    words = [word for word in rest if word != "-P"] if rest[:1] == ["-P"] else rest
    if not program.rpartition("/")[2].startswith("python") or not words or words[0] == "-c":
        os.execvpe(program, spec["argv"], spec["env"])  # running the image is the purpose
    os.environ.clear()
    os.environ.update(spec["env"])
    sys.path[:0] = [path for path in spec["env"].get("PYTHONPATH", "").split(os.pathsep) if path]
    try:
        if words[0] == "-m":
            sys.argv = words[1:]
            runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv = words
            runpy.run_path(words[0], run_name="__main__")
    except SystemExit as end:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(end.code if isinstance(end.code, int) else 0 if end.code is None else 1)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
