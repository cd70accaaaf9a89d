"""For all tests."""

from __future__ import annotations

import signal


def pytest_configure() -> None:
    """Programs that a test interrupts must not have learnt from us to ignore SIGINT, as a shell makes what it starts in
    the background do."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
