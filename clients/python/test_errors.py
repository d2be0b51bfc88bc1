"""google-genai, unmodified: what it raises when the provider refuses the operator, limits requests, or
breaks off."""

import pytest
from emulated import UPSTREAM
from google.genai import errors

# Models of their own: the proxy remembers which model is out of quota.
LITE = "gemini-2.5-flash-lite"
PRO = "gemini-2.5-pro"

REFUSALS = {"gemini-api": "key_invalid", "vertex": "token_unsupported"}
LIMITS = {"gemini-api": "quota_per_minute", "vertex": "shared_quota"}


def asks(client, model):
    asked = {"model": model, "contents": "Say pomegranate"}
    return [
        lambda: client.models.generate_content(**asked),
        lambda: next(client.models.generate_content_stream(**asked)),
    ]


def test_a_refused_credential_of_the_operator_is_not_shown_as_the_clients(client, emulator):
    refusal = {"error": REFUSALS[UPSTREAM], "times": 0, "match": {"model": LITE}}
    emulator.control("script", refusal)
    for ask in asks(client, LITE):
        with pytest.raises(errors.ServerError) as raised:
            ask()
        assert raised.value.code == 503
        assert "CREDENTIALS_REJECTED" in str(raised.value.details)
    emulator.control("script", method="DELETE")
    assert "pomegranate" in asks(client, LITE)[0]().text


def test_a_limit_is_429(client, emulator):
    emulator.control("script", {"error": LIMITS[UPSTREAM], "times": 0, "match": {"model": PRO}})
    for ask in asks(client, PRO):
        with pytest.raises(errors.ClientError) as raised:
            ask()
        assert raised.value.code == 429
        assert raised.value.status == "RESOURCE_EXHAUSTED"


def test_a_stream_that_breaks_off_with_an_error_raises_it(client, emulator):
    emulator.control(
        "script",
        {
            "match": {"rpc": "streamGenerateContent"},
            "keep_events": 1,
            "tail_error": "high_demand" if UPSTREAM == "gemini-api" else "shared_quota",
        },
    )
    texts = []
    with pytest.raises(errors.APIError) as raised:
        for chunk in client.models.generate_content_stream(model=LITE, contents="Say pomegranate"):
            texts.append(chunk.text)
    assert len(texts) == 1
    assert raised.value.code in (429, 503)
