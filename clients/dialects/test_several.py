"""OpenAI's and Anthropic's SDKs, unmodified, with several upstreams in one proxy."""

import anthropic
import openai
from emulated import CLIENT_KEY, provider_of

FLASH = "gemini-2.5-flash"
MESSAGES = [{"role": "user", "content": "Say pomegranate"}]


def test_the_first_upstream_answers_and_what_it_lacks_goes_to_the_next(openai_url, emulator):
    client = openai.OpenAI(api_key=CLIENT_KEY, base_url=openai_url)
    answer = client.chat.completions.with_raw_response.create(model=FLASH, messages=MESSAGES)
    assert "pomegranate" in answer.parse().choices[0].message.content
    assert answer.headers["x-proxy-upstream"] == "code-assist"
    client.embeddings.create(model="gemini-embedding-001", input="pomegranate")
    providers = [provider_of(request["path"]) for request in emulator.arrived()]
    assert providers[-2:] == ["code-assist", "gemini-api"]


def test_a_client_names_the_upstream(openai_url, anthropic_url, emulator):
    for name in ["code-assist", "gemini-api", "vertex"]:
        options = {"api_key": CLIENT_KEY, "default_headers": {"x-proxy-upstream": name}}
        chat = openai.OpenAI(base_url=openai_url, **options).chat.completions
        assert chat.create(model=FLASH, messages=MESSAGES).choices[0].message.content
        assert provider_of(emulator.arrived()[-1]["path"]) == name
        messages = anthropic.Anthropic(base_url=anthropic_url, **options).messages
        assert messages.create(model=FLASH, max_tokens=1000, messages=MESSAGES).content
        assert provider_of(emulator.arrived()[-1]["path"]) == name
