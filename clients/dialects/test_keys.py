"""A key that the proxy does not know: one request, however often a client would repeat it."""

import anthropic
import openai
import pytest
from emulated import CLIENT_KEY
from scripted import FLASH, arrived

MESSAGES = [{"role": "user", "content": "Say pomegranate"}]


def test_an_unknown_key_is_refused_once_by_openais_sdk(openai_url, relay, emulator):
    client = openai.OpenAI(api_key="sk-unknown", base_url=openai_url)
    asks = {
        "/v1/chat/completions": lambda: client.chat.completions.create(
            model=FLASH, messages=MESSAGES
        ),
        "/v1/responses": lambda: client.responses.create(model=FLASH, input="Say pomegranate"),
    }
    for path, ask in asks.items():
        relay.forget()
        with pytest.raises(openai.AuthenticationError) as raised:
            ask()
        assert raised.value.code == "invalid_api_key"
        assert relay.lines() == [f"POST {path}"]
    assert arrived(emulator) == []


def test_an_unknown_key_is_refused_once_by_anthropics_sdk(anthropic_url, relay, emulator):
    client = anthropic.Anthropic(api_key="sk-unknown", base_url=anthropic_url)
    with pytest.raises(anthropic.AuthenticationError) as raised:
        client.messages.create(model=FLASH, max_tokens=1000, messages=MESSAGES)
    assert raised.value.body["error"]["type"] == "authentication_error"
    assert relay.lines() == ["POST /v1/messages"]
    assert arrived(emulator) == []


def test_the_proxys_key_is_taken_from_both_sdks(openai_url, anthropic_url):
    client = openai.OpenAI(api_key=CLIENT_KEY, base_url=openai_url)
    assert client.chat.completions.create(model=FLASH, messages=MESSAGES).choices
    client = anthropic.Anthropic(api_key=CLIENT_KEY, base_url=anthropic_url)
    assert client.messages.create(model=FLASH, max_tokens=1000, messages=MESSAGES).content
    client = anthropic.Anthropic(auth_token=CLIENT_KEY, base_url=anthropic_url)
    assert client.messages.create(model=FLASH, max_tokens=1000, messages=MESSAGES).content
