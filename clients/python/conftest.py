"""Where the proxy is, and a limit on every test: a hang is a failure with a stack."""

import faulthandler
import os

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


def pytest_report_header():
    return f"google-genai {genai.__version__} against {os.environ['PROXY_URL']}"
