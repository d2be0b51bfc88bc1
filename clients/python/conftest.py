"""Where the proxy is, the emulator's pace, and a limit on every test: a hang fails with a stack."""

import faulthandler
import json
import os
import urllib.request

import pytest
from google import genai

LIMIT_SECONDS = 60


@pytest.fixture(autouse=True)
def limit():
    faulthandler.dump_traceback_later(LIMIT_SECONDS, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture
def client():
    # As a user sets it up: the base URL and any key. The rest is the SDK's own default.
    return genai.Client(api_key="any", http_options={"base_url": os.environ["PROXY_URL"]})


@pytest.fixture
def slow_stream():
    """Has the emulator wait between two events of a stream; the pause in seconds."""
    tell_emulator(stream_interval_ms=300)
    yield 0.3
    tell_emulator(stream_interval_ms=0)


def tell_emulator(**state):
    url = os.environ["EMULATOR_URL"] + "/__emulator/state"
    request = urllib.request.Request(url, json.dumps(state).encode(), method="POST")
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 200


def pytest_report_header():
    return f"google-genai {genai.__version__} against {os.environ['PROXY_URL']}"
