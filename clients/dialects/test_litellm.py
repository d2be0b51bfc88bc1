"""LiteLLM's own client, unmodified, on OpenAI's two APIs and on Anthropic's."""

import json
import os

# The list of prices would come from the network.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import litellm
import pytest
from emulated import CLIENT_KEY, UPSTREAM
from scripted import (
    EMBEDDING,
    FLASH,
    FUNCTIONS,
    OUTPUT_TOKENS,
    PIXEL,
    PROMPT_TOKENS,
    QUESTION,
    RESULTS,
    SIGNING,
    SLOWLY,
    TIME,
    WEATHER,
    WEATHER_ARGS,
    Recipe,
    breaks_off,
    calls_two_tools,
    check_json,
    check_picture,
    check_tool_loop,
    declarations,
    fails,
    last_arrived,
    per_day,
    says_hello,
)

TOOLS = [{"type": "function", "function": function} for function in FUNCTIONS]


@pytest.fixture(params=["openai", "anthropic"])
def ask(request, openai_url, anthropic_url):
    def ask(model, history, **options):
        if isinstance(history, str):
            history = [{"role": "user", "content": history}]
        url = openai_url if request.param == "openai" else anthropic_url
        return litellm.completion(
            model=f"{request.param}/{model}",
            messages=history,
            api_key=CLIENT_KEY,
            api_base=url,
            **options,
        )

    ask.provider = request.param
    return ask


def test_a_prompt_is_answered_whole_and_streamed(ask):
    whole = ask(FLASH, SLOWLY).choices[0].message.content
    assert "pomegranate" in whole
    chunks = ask(FLASH, SLOWLY, stream=True)
    pieces = [chunk.choices[0].delta.content for chunk in chunks]
    pieces = [piece for piece in pieces if piece]
    assert len(pieces) > 1
    assert "".join(pieces) == whole


def test_usage_is_counted(ask, emulator):
    says_hello(emulator)
    usage = ask(FLASH, "Say hello").usage
    assert usage.prompt_tokens == PROMPT_TOKENS
    assert usage.completion_tokens == OUTPUT_TOKENS


@pytest.mark.parametrize("thinking", [False, True], ids=["quiet", "thinking"])
def test_two_calls_in_one_step_are_answered_in_any_order(ask, emulator, streamed, thinking):
    options = {"tools": TOOLS, "stream": streamed}
    if thinking and ask.provider == "anthropic":
        options["thinking"] = {"type": "enabled", "budget_tokens": 1024}
    elif thinking:
        options |= {"reasoning_effort": "low", "allowed_openai_params": ["reasoning_effort"]}
    calls_two_tools(emulator, thought="Hm." if thinking else None)
    history = [{"role": "user", "content": QUESTION}]

    def step():
        answer = ask(SIGNING, history, **options)
        if streamed:
            answer = litellm.stream_chunk_builder(list(answer), messages=history)
        return answer.choices[0]

    choice = step()
    assert choice.finish_reason == "tool_calls"
    calls = {call.function.name: call for call in choice.message.tool_calls}
    assert json.loads(calls[WEATHER].function.arguments) == WEATHER_ARGS
    history.append(choice.message)
    for name in (TIME, WEATHER):
        history.append({"role": "tool", "tool_call_id": calls[name].id, "content": RESULTS[name]})
    assert "vermilion" in step().message.content
    # The helper that puts chunks together keeps no unknown field of a call.
    carried = not streamed if ask.provider == "openai" else thinking
    check_tool_loop(emulator, carried)


def test_a_json_schema_is_obeyed(ask, emulator):
    answer = ask(FLASH, "A recipe", response_format=Recipe)
    Recipe.model_validate_json(answer.choices[0].message.content)
    if ask.provider == "openai":
        check_json(emulator)
    else:
        # To models of Anthropic's that it does not know, it gives a tool that takes the answer.
        assert set(declarations(last_arrived(emulator))) == {"json_tool_call"}


def test_a_picture_goes_in(ask, emulator):
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}
    content = [{"type": "text", "text": "Say pomegranate"}, image]
    answer = ask(FLASH, [{"role": "user", "content": content}])
    assert "pomegranate" in answer.choices[0].message.content
    check_picture(emulator)


def test_a_response_is_answered(openai_url):
    answer = litellm.responses(
        model=f"openai/{FLASH}", input="Say pomegranate", api_key=CLIENT_KEY, api_base=openai_url
    )
    [message] = [item for item in answer.output if item.type == "message"]
    assert "pomegranate" in message.content[0].text


def test_a_quota_of_the_day_is_a_limit(ask, emulator):
    model = f"{FLASH}-litellm-{ask.provider}-day"
    fails(emulator, model, per_day())
    with pytest.raises(litellm.RateLimitError):
        ask(model, "Say pomegranate")


def test_a_stream_that_breaks_off_with_an_error_raises_it(ask, emulator):
    model = f"{FLASH}-litellm-{ask.provider}-breaks"
    breaks_off(emulator, model)
    with pytest.raises(Exception, match="high demand"):
        list(ask(model, "Say hello", stream=True))


@pytest.mark.skipif(UPSTREAM != "gemini-api", reason="concerns gemini-api")
def test_texts_are_embedded(openai_url):
    answer = litellm.embedding(
        model=f"openai/{EMBEDDING}",
        input=["pomegranate", "plum"],
        api_key=CLIENT_KEY,
        api_base=openai_url,
    )
    assert len(answer.data) == 2
