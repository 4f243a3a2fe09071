"""Deadlines, retries and polling, in virtual time."""

from __future__ import annotations

import random
import threading

import pytest

from sdk.errors import AuthError, ThrottledError, TimedOut, UnavailableError
from sdk.util.terminated import Terminated
from sdk.util.waiting import (
    Deadline,
    Poll,
    Retry,
    StoppableClock,
    SystemClock,
    TokenBucket,
    bucket_of,
    pause_after,
    retry_after,
    seconds_ahead,
)
from sdk_contract.fake_cloud import VirtualClock


class Service:
    """Fails as told, then answers; counts the calls."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "answer"


def retry(clock: VirtualClock, bucket: TokenBucket | None = None) -> Retry:
    return Retry(clock, bucket or TokenBucket(), random=random.Random(1))


def test_retries_are_few() -> None:
    """Three tries at most, then the last error."""
    clock, service = VirtualClock(), Service(*[UnavailableError("503")] * 9)
    with pytest.raises(UnavailableError):
        retry(clock).run(service, Deadline(clock, 600))
    assert 3 == service.calls


def test_what_cannot_help_is_not_retried() -> None:
    """Only throttles and outages are repeated."""
    clock, service = VirtualClock(), Service(AuthError("who are you"))
    with pytest.raises(AuthError):
        retry(clock).run(service, Deadline(clock, 600))
    assert 1 == service.calls


def test_a_call_that_may_have_arrived_is_not_repeated() -> None:
    """A mutating call is repeated only if it was certainly not sent."""
    clock, lost, unsent = VirtualClock(), Service(UnavailableError("504")), Service(UnavailableError("x", sent=False))
    with pytest.raises(UnavailableError):
        retry(clock).run(lost, Deadline(clock, 600), unsent_only=True)
    assert "answer" == retry(clock).run(unsent, Deadline(clock, 600), unsent_only=True)
    assert (1, 2) == (lost.calls, unsent.calls)


def test_the_platform_says_how_long() -> None:
    """retry-after is waited for, up to a minute."""
    clock = VirtualClock()
    retry(clock).run(Service(ThrottledError("429", retry_after_s=17)), Deadline(clock, 600))
    assert 17 == clock.monotonic()
    retry(clock).run(Service(ThrottledError("429", retry_after_s=4000)), Deadline(clock, 600))
    assert 17 + 60 == clock.monotonic()


def test_an_odd_header_asks_for_nothing_or_for_the_longest() -> None:
    """No server makes a client wait forever, nor fails it with an odd date."""
    assert retry_after({"retry-after": "9" * 400}) is None
    assert 60.0 == pause_after(ThrottledError("429", retry_after_s=retry_after({"retry-after": "9" * 20})), 1.0)
    assert seconds_ahead(f"1 Jan 2030 {'9' * 30}:00:00", 1.0) is None


def test_no_retry_beyond_the_deadline() -> None:
    """A retry that could not begin in time is not waited for."""
    clock, service = VirtualClock(), Service(ThrottledError("429", retry_after_s=30))
    with pytest.raises(ThrottledError):
        retry(clock).run(service, Deadline(clock, 20))
    assert (1, 0) == (service.calls, clock.monotonic())


def test_an_outage_is_not_made_worse() -> None:
    """Once the shared bucket is empty there are no retries at all: 1000 calls make 1000 requests and few more."""
    clock, bucket, calls = VirtualClock(), TokenBucket(), 0
    for _ in range(1000):
        service = Service(*[UnavailableError("503")] * 3)
        with pytest.raises(UnavailableError):
            retry(clock, bucket).run(service, Deadline(clock, 600))
        calls += service.calls
    assert calls <= 1000 + 500 / 14 + 1
    assert calls > 1000


def test_success_refills_the_bucket() -> None:
    """Good answers pay back slowly, up to the capacity."""
    bucket = TokenBucket(tokens=0)
    assert bucket.take(throttled=True) is None
    for _ in range(5):
        bucket.give(1)
    assert 5.0 == bucket.take(throttled=True)
    bucket.give(10_000)
    assert 500 == bucket.tokens


def test_threads_share_a_bucket() -> None:
    """All threads of one target spend from one bucket, to the token."""
    bucket = bucket_of("shared-bucket-test")
    assert bucket is bucket_of("shared-bucket-test")
    assert bucket is not bucket_of("another")
    taken: list[float] = []

    def spend() -> None:
        while (price := bucket.take(throttled=False)) is not None:
            taken.append(price)

    threads = [threading.Thread(target=spend) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 500 // 14 == len(taken)


@pytest.mark.parametrize(
    ("first_s", "pauses_s"), [(1.0, [1, 2, 4, 8, 15, 15, 15]), (0.1, [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0])]
)
def test_pauses_grow(first_s: float, pauses_s: list[float]) -> None:
    """They double up to 15 seconds, or up to twenty times the first, each within a fifth."""
    clock = VirtualClock()
    poll = Poll(clock, Deadline(clock, 10_000), first_s=first_s, random=random.Random(2))
    pauses: list[float] = []
    for _ in range(7):
        before = clock.monotonic()
        poll.pause("waiting")
        pauses.append(clock.monotonic() - before)
    for expected, actual in zip(pauses_s, pauses, strict=True):
        assert 0.8 * expected <= actual <= 1.2 * expected


def test_a_throttle_slows_polling_down() -> None:
    """After a throttle the pause is five seconds at least."""
    clock = VirtualClock()
    Poll(clock, Deadline(clock, 100), first_s=0.1, random=random.Random(1)).pause("x", error=ThrottledError("429"))
    assert 5 == clock.monotonic()


def test_polling_ends_at_the_deadline() -> None:
    """The last pause is cut short, and then it is over, with the last state."""
    clock = VirtualClock()
    poll = Poll(clock, Deadline(clock, 10), first_s=8, random=random.Random(1))
    poll.pause("endpoint churn")
    poll.pause("endpoint churn")
    assert 10 == clock.monotonic()
    with pytest.raises(TimedOut, match="endpoint churn: not done after 10 s, still Creating") as late:
        poll.pause("endpoint churn", state="Creating")
    assert (10, "Creating") == (late.value.waited_s, late.value.state)


def test_a_shorter_deadline() -> None:
    """A part can be set aside, and no call gets more than what is left."""
    clock = VirtualClock()
    deadline = Deadline(clock, 100)
    assert 70 == deadline.shorter(30).left
    assert (60, 100) == (deadline.limit(60), deadline.limit(500))
    clock.sleep(200)
    assert deadline.passed
    assert (0, 0) == (deadline.left, deadline.shorter(30).left)


def test_the_clock_of_the_machine() -> None:
    """The real clock moves on, and SIGTERM counts as an interrupt."""
    clock = SystemClock()
    before = clock.monotonic()
    clock.sleep(0.001)
    assert clock.monotonic() > before
    assert clock.time() > 1_700_000_000
    assert issubclass(Terminated, KeyboardInterrupt)


def test_a_wait_in_another_thread_is_interrupted_once() -> None:
    """The wait ends at once; the waits that undo the work are not interrupted."""
    clock, seen = StoppableClock(SystemClock()), list[str]()

    def work() -> None:
        try:
            clock.sleep(600)
        except KeyboardInterrupt:
            seen.append("interrupted")
        clock.sleep(0.001)
        seen.append("undone")

    thread = threading.Thread(target=work)
    thread.start()
    clock.stop()
    thread.join(60)
    assert ["interrupted", "undone"] == seen


def test_an_interrupt_waits_for_the_next_wait_unless_it_is_taken_back() -> None:
    """Also with a clock that is not the machine's own."""
    virtual = VirtualClock()
    clock = StoppableClock(virtual)
    clock.stop()
    with pytest.raises(KeyboardInterrupt):
        clock.sleep(5)
    clock.stop()
    clock.sleep(5)
    clock.resume()
    clock.stop()
    clock.resume()
    clock.sleep(5)
    assert virtual.monotonic() == clock.monotonic() > 0
