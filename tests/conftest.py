"""What every test needs of the process it runs in."""

import signal


def pytest_configure() -> None:
    """Make Ctrl-C work again where the tests run in the background: it is ignored there, and children inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
