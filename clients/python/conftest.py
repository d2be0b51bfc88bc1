"""The client, and the emulator's pace."""

import os

import pytest
from emulated import CLIENT_KEY, CLIENT_PROJECT, CLIENT_TOKEN, UPSTREAM
from fixtures import copied, emulator, limit, relay  # noqa: F401
from google import genai
from google.oauth2.credentials import Credentials


@pytest.fixture
def client(relay):
    # As a user sets it up: the base URL and any key. The rest is the SDK's own default.
    return genai.Client(api_key=CLIENT_KEY, http_options={"base_url": relay.url})


def vertex_client(relay, **options):
    return genai.Client(
        vertexai=True,
        project=CLIENT_PROJECT,
        location="us-central1",
        credentials=Credentials(token=CLIENT_TOKEN, quota_project_id=CLIENT_PROJECT),
        http_options={"base_url": relay.url, **options},
    )


@pytest.fixture
def slow_stream(emulator):
    """Has the emulator wait between two events of a stream; the pause in seconds."""
    emulator.control("state", {"stream_interval_ms": 300})
    yield 0.3
    emulator.control("state", {"stream_interval_ms": 0})


def pytest_report_header():
    return f"google-genai {genai.__version__} against {os.environ['PROXY_URL']} ({UPSTREAM})"
