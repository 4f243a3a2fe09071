"""The keeper judges a silent gateway by what it did, not by the clock."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from sdk.serving.gateway.child import kill_left_over
from sdk.serving.gateway.keeper import Silence

if TYPE_CHECKING:
    from pathlib import Path

KEPT = """
import sys, time
from sdk.serving.gateway.keeper import keep

def serve(restarts, heart, lifeline):
    print("life", restarts, flush=True)
    if restarts == 0:
        {first}

keep(serve, silent_s=0.5)
"""


@pytest.mark.parametrize("first", ["time.sleep(60)", "while True: pass"])
def test_a_gateway_that_sleeps_or_spins_is_replaced(first: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KEPT.format(first=first)], capture_output=True, text=True, timeout=50, check=True
    )
    assert ["life 0", "life 1"] == done.stdout.splitlines()
    assert "stands still" in done.stderr


def test_a_gateway_that_beats_lives_on_longer_than_the_silence() -> None:
    first = "for _ in range(15): heart.beat(); time.sleep(0.1)"
    done = subprocess.run(
        [sys.executable, "-c", KEPT.format(first=first)], capture_output=True, text=True, timeout=50, check=True
    )
    assert ["life 0"] == done.stdout.splitlines()


def test_waiting_for_a_processor_is_no_silence() -> None:
    silence = Silence()
    assert 0.0 == [silence.note("R", 7.0) for _ in range(1000)][-1]
    assert 0.5 == silence.note("R", 7.5)
    assert 4.5 == [silence.note("D", 7.5) for _ in range(100)][-1]
    assert 5.5 == [silence.note("S", 7.5) for _ in range(10)][-1]


def hold(lock: Path, written: bytes) -> subprocess.Popen[bytes]:
    """A process of its own group that holds a lock in which something is written."""
    fd = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(fd, fcntl.LOCK_EX)
    os.pwrite(fd, written, 0)
    held = subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=(fd,), start_new_session=True
    )
    os.close(fd)
    return held


def test_what_is_left_over_is_known_by_the_lock_it_holds(tmp_path: Path) -> None:
    """The number in a lock may be another program's by now, or damaged: 0 would be the caller's own group."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True) as other:
        for number, written in enumerate([b"%d\n" % other.pid, b"0\n", b"", b"\xff\x00", b"9" * 400]):
            lock = tmp_path / f"b-{number}.lock"
            held = hold(lock, written)
            with held:
                assert kill_left_over(lock)
                assert -9 == held.wait(10), written
            assert not lock.exists()
        assert other.poll() is None
        other.kill()
