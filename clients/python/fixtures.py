"""What every suite has: the relay in front of the proxy, what arrived upstream, and a limit on every
test: a hang fails with a stack."""

import faulthandler
import os

import pytest
from emulated import Emulator, Relay, check

LIMIT_SECONDS = 60


@pytest.fixture(autouse=True)
def limit():
    faulthandler.dump_traceback_later(LIMIT_SECONDS, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture(scope="session")
def relay():
    return Relay(os.environ["PROXY_URL"])


@pytest.fixture(scope="session")
def copied():
    """Whether the Gemini API gets the clients' bodies as they are."""
    return True


@pytest.fixture(autouse=True)
def emulator(relay, copied):
    """The emulator without what earlier tests left. After the test, each request that arrived is
    checked."""
    emulator = Emulator()
    emulator.forget()
    relay.forget()
    yield emulator
    for request in emulator.arrived():
        check(request, relay, copied)
