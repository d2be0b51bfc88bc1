"""The proxy's addresses as the SDKs of each API want them."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "python"))

import os
from importlib.metadata import version

import pytest
from emulated import UPSTREAM
from fixtures import emulator, limit, relay  # noqa: F401


@pytest.fixture(scope="session")
def copied():
    # The bodies are translated.
    return False


@pytest.fixture(scope="session")
def openai_url(relay):
    return f"{relay.url}/v1"


@pytest.fixture(scope="session")
def anthropic_url(relay):
    return relay.url


@pytest.fixture(params=[False, True], ids=["whole", "streamed"])
def streamed(request):
    """Whether the client asks for a stream."""
    return request.param


def pytest_report_header():
    names = ["openai", "anthropic", "langchain-openai", "langchain-anthropic"]
    names += ["pydantic-ai-slim", "litellm"]
    clients = ", ".join(f"{name} {version(name)}" for name in names)
    return f"{clients} against {os.environ['PROXY_URL']} ({UPSTREAM})"
