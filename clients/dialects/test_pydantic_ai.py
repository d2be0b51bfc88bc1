"""Pydantic AI on OpenAI's two APIs and on Anthropic's, unmodified."""

import base64

import pytest
from emulated import CLIENT_KEY
from pydantic_ai import Agent, BinaryContent, ModelHTTPError, NativeOutput
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider
from scripted import (
    FLASH,
    OUTPUT_TOKENS,
    PIXEL,
    PROMPT_TOKENS,
    QUESTION,
    SIGNING,
    SLOWLY,
    Recipe,
    breaks_off,
    calls_two_tools,
    check_json,
    check_picture,
    check_tool_loop,
    fails,
    lookup_time,
    lookup_weather,
    per_day,
    says_hello,
)

TOOLS = [lookup_weather, lookup_time]


@pytest.fixture(params=["chat", "responses", "messages"])
def make(request, openai_url, anthropic_url):
    """Makes a model of a name."""

    def make(model):
        if request.param == "messages":
            provider = AnthropicProvider(api_key=CLIENT_KEY, base_url=anthropic_url)
            return AnthropicModel(model, provider=provider)
        provider = OpenAIProvider(api_key=CLIENT_KEY, base_url=openai_url)
        kind = OpenAIChatModel if request.param == "chat" else OpenAIResponsesModel
        return kind(model, provider=provider)

    make.api = request.param
    return make


def test_a_prompt_is_answered(make):
    assert "pomegranate" in Agent(make(FLASH)).run_sync(SLOWLY).output


def test_a_stream_is_the_same_text_in_several_pieces(make):
    whole = Agent(make(FLASH)).run_sync(SLOWLY).output
    result = Agent(make(FLASH)).run_stream_sync(SLOWLY)
    pieces = list(result.stream_text(delta=True, debounce_by=None))
    assert len(pieces) > 1
    assert "".join(pieces) == whole


def test_usage_is_counted(make, emulator):
    says_hello(emulator)
    usage = Agent(make(FLASH)).run_sync("Say hello").usage
    assert usage.input_tokens == PROMPT_TOKENS
    assert usage.output_tokens == OUTPUT_TOKENS


def test_two_tools_are_called_in_one_step(make, emulator):
    agent = Agent(make(SIGNING), tools=TOOLS)
    calls_two_tools(emulator)
    assert "vermilion" in agent.run_sync(QUESTION).output
    check_tool_loop(emulator, carried=make.api == "chat")


def test_signatures_come_back_with_anthropics_thinking(anthropic_url, emulator):
    provider = AnthropicProvider(api_key=CLIENT_KEY, base_url=anthropic_url)
    settings = {"anthropic_thinking": {"type": "enabled", "budget_tokens": 1024}}
    model = AnthropicModel(SIGNING, provider=provider)
    agent = Agent(model, tools=TOOLS, model_settings=settings)
    calls_two_tools(emulator, thought="Hm.")
    assert "vermilion" in agent.run_sync(QUESTION).output
    check_tool_loop(emulator, carried=True)


def test_a_pydantic_model_comes_back_as_itself(make, emulator):
    # By a tool that takes the answer, which is its default.
    assert isinstance(Agent(make(FLASH), output_type=Recipe).run_sync("A recipe").output, Recipe)
    if make.api == "messages":
        # It knows which models of Anthropic's take a schema, and Gemini is none of them.
        return
    agent = Agent(make(FLASH), output_type=NativeOutput(Recipe))
    assert isinstance(agent.run_sync("A recipe").output, Recipe)
    check_json(emulator)


def test_a_picture_goes_in(make, emulator):
    picture = BinaryContent(base64.b64decode(PIXEL), media_type="image/png")
    assert "pomegranate" in Agent(make(FLASH)).run_sync(["Say pomegranate", picture]).output
    check_picture(emulator)


def test_a_quota_of_the_day_is_asked_for_once(make, emulator, relay):
    model = f"{FLASH}-pydantic-{make.api}-day"
    fails(emulator, model, per_day())
    with pytest.raises(ModelHTTPError) as raised:
        Agent(make(model)).run_sync("Say pomegranate")
    assert raised.value.status_code == 429
    assert len(relay.lines()) == 1


def test_a_stream_that_breaks_off_with_an_error_raises_it(make, emulator):
    model = f"{FLASH}-pydantic-{make.api}-breaks"
    breaks_off(emulator, model)
    with pytest.raises(Exception, match="high demand"):
        list(Agent(make(model)).run_stream_sync("Say hello").stream_text(delta=True))
