"""States are functions of time; at pace 0 they end when they were seen."""

from sdk_contract.clouds.timing import Pace, Step


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_at_pace_zero_every_state_is_shown_once() -> None:
    """Looking without showing changes nothing; each reply moves it on by one."""
    line = Pace().line(Step("Queued", 60), Step("Running", 60), final="Done")
    assert ["Queued", "Queued"] == [line.now(), line.now()]
    assert ["Queued", "Running", "Done", "Done"] == [line.show() for _ in range(4)]
    assert ["Queued", "Running"] == [state for state, _ in line.passed]


def test_at_another_pace_time_moves_it() -> None:
    """Each state lasts its real seconds times the pace, whoever looks."""
    clock = Clock()
    line = Pace(0.1, clock).line(Step("Creating", 200), Step("Warming", 100), final="Ready")
    assert "Creating" == line.show()
    clock.now += 19
    assert "Creating" == line.show()
    clock.now += 2
    assert "Warming" == line.show()
    clock.now += 100
    assert ("Ready", True) == (line.show(), line.done)
    assert [("Creating", 120.0), ("Warming", 130.0)] == line.passed


def test_a_state_waits_for_what_must_be_true() -> None:
    """However long it took, it ends only when the condition holds."""
    clock, ready = Clock(), [False]
    line = Pace(1.0, clock).line(Step("Creating", 5, until=lambda: ready[0]), Step("Warming", 5), final="Ready")
    clock.now += 50
    assert "Creating" == line.show()
    ready[0] = True
    assert "Warming" == line.show()
    clock.now += 4
    assert "Warming" == line.show()
    clock.now += 1
    assert "Ready" == line.show()


def test_turning_and_being_stuck() -> None:
    """A stop turns the way; what is stuck never ends."""
    line = Pace().line(Step("Running", float("inf")), final="Done")
    assert ["Running"] * 3 == [line.show() for _ in range(3)]
    line.turn(Step("Stopping", 1), final="Stopped")
    assert ["Stopping", "Stopped"] == [line.show(), line.show()]
    assert ["Running", "Stopping"] == [state for state, _ in line.passed]
