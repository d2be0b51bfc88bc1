"""Anthropic's own SDK, unmodified."""

import anthropic
import pytest
from emulated import CLIENT_KEY, UPSTREAM
from scripted import (
    CACHED_TOKENS,
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
    arrived,
    breaks_off,
    calls_two_tools,
    check_json,
    check_picture,
    check_tool_loop,
    fails,
    last_arrived,
    lookup_time,
    lookup_weather,
    overloaded,
    per_day,
    per_minute,
    says_hello,
)

LETTER = {"code-assist": "c", "gemini-api": "g"}[UPSTREAM]


@pytest.fixture
def client(anthropic_url):
    return anthropic.Anthropic(api_key=CLIENT_KEY, base_url=anthropic_url)


class Asker:
    """Messages, whole and streamed by the SDK's helper."""

    def __init__(self, client, streamed):
        self.client, self.streamed = client, streamed

    def __call__(self, model, history, **options):
        if isinstance(history, str):
            history = [{"role": "user", "content": history}]
        asked = {"model": model, "max_tokens": 1000, "messages": history} | options
        if self.streamed:
            # The helper checks the order of the events, and puts them together.
            with self.client.messages.stream(**asked) as stream:
                return stream.get_final_message()
        if "output_format" in asked:
            return self.client.messages.parse(**asked)
        return self.client.messages.create(**asked)


@pytest.fixture
def asker(client, streamed):
    return Asker(client, streamed)


def texts(message):
    return [block.text for block in message.content if block.type == "text"]


# --- text


def test_a_prompt_is_answered_under_the_name_that_was_asked_for(asker):
    message = asker(f"google/{FLASH}", "Say pomegranate")
    [text] = texts(message)
    assert "pomegranate" in text
    assert message.model == f"google/{FLASH}"
    assert message.stop_reason == "end_turn"
    assert message.id.startswith("msg_")


def test_each_answer_has_an_id_of_its_own(asker, emulator):
    says_hello(emulator, times=2)
    assert asker(FLASH, "Say hello").id != asker(FLASH, "Say hello").id


def test_a_stream_is_the_same_text_in_several_pieces(client):
    [whole] = texts(Asker(client, False)(FLASH, SLOWLY))
    history = [{"role": "user", "content": SLOWLY}]
    with client.messages.stream(model=FLASH, max_tokens=1000, messages=history) as stream:
        pieces = list(stream.text_stream)
    assert len(pieces) > 1
    assert "".join(pieces) == whole


def test_a_system_prompt_arrives_as_one(asker, emulator):
    asker(FLASH, "Say pomegranate", system="You are a gardener.")
    request = last_arrived(emulator)
    assert request["systemInstruction"]["parts"] == [{"text": "You are a gardener."}]
    assert request["generationConfig"] == {"maxOutputTokens": 1000}


def test_usage_has_the_thoughts_in_the_output_and_the_cache_apart(asker, emulator):
    says_hello(emulator)
    message = asker(FLASH, "Say hello")
    assert texts(message) == ["Hello"]
    usage = message.usage
    assert usage.input_tokens == PROMPT_TOKENS - CACHED_TOKENS
    assert usage.cache_read_input_tokens == CACHED_TOKENS
    assert usage.cache_creation_input_tokens == 0
    assert usage.output_tokens == OUTPUT_TOKENS


@pytest.mark.parametrize("display", ["summarized", "omitted"])
def test_thoughts_are_shown_unless_they_are_to_be_omitted(asker, emulator, display):
    message = asker(
        FLASH,
        "Say pomegranate",
        thinking={"type": "adaptive", "display": display},
        output_config={"effort": "low"},
    )
    assert "pomegranate" in texts(message)[0]
    config = last_arrived(emulator)["generationConfig"]["thinkingConfig"]
    assert config["thinkingBudget"] == 1024
    assert config.get("includeThoughts", False) == (display == "summarized")
    thoughts = "".join(block.thinking for block in message.content if block.type == "thinking")
    assert bool(thoughts) == (display == "summarized")


def test_output_stops_at_the_most_tokens(asker):
    message = asker(FLASH, "one two three four five six seven eight nine ten", max_tokens=3)
    assert message.stop_reason == "max_tokens"
    assert message.usage.output_tokens == 3


def test_a_blocked_prompt_is_a_refusal(asker):
    message = asker(FLASH, "block-this-prompt")
    assert message.stop_reason == "refusal"
    assert message.stop_details.explanation


def test_a_picture_goes_in(asker, emulator):
    source = {"type": "base64", "media_type": "image/png", "data": PIXEL}
    content = [{"type": "image", "source": source}, {"type": "text", "text": "Say pomegranate"}]
    assert "pomegranate" in texts(asker(FLASH, [{"role": "user", "content": content}]))[0]
    check_picture(emulator)


def test_a_pydantic_model_comes_back_as_itself(asker, emulator):
    message = asker(FLASH, "A recipe", output_format=Recipe)
    assert isinstance(message.parsed_output, Recipe)
    check_json(emulator)


# --- tools

TOOLS = [
    {
        "name": function["name"],
        "description": function["description"],
        "input_schema": function["parameters"],
    }
    for function in FUNCTIONS
]


@pytest.mark.parametrize("thinking", [None, "summarized", "omitted"])
def test_two_calls_in_one_step_are_answered_in_any_order(asker, emulator, thinking):
    options = {"tools": TOOLS}
    if thinking:
        options["thinking"] = {"type": "adaptive", "display": thinking}
    calls_two_tools(emulator, thought="Hm." if thinking == "summarized" else None)
    history = [{"role": "user", "content": QUESTION}]
    message = asker(SIGNING, history, **options)
    assert message.stop_reason == "tool_use"
    calls = {block.name: block for block in message.content if block.type == "tool_use"}
    assert calls[WEATHER].input == WEATHER_ARGS
    signatures = [block.signature for block in message.content if block.type == "thinking"]
    assert len(signatures) == (1 if thinking else 0)
    assert all(signature.startswith(f"gs1.{LETTER}.f.") for signature in signatures)
    results = [
        {"type": "tool_result", "tool_use_id": calls[name].id, "content": RESULTS[name]}
        for name in (TIME, WEATHER)
    ]
    history += [
        {"role": "assistant", "content": message.content},
        {"role": "user", "content": results},
    ]
    assert "vermilion" in texts(asker(SIGNING, history, **options))[0]
    check_tool_loop(emulator, carried=True)


def test_a_failed_tool_is_told_as_an_error(client, emulator):
    calls_two_tools(emulator)
    ask = Asker(client, False)
    history = [{"role": "user", "content": QUESTION}]
    message = ask(SIGNING, history, tools=TOOLS)
    calls = {block.name: block.id for block in message.content if block.type == "tool_use"}
    failed = {"type": "tool_result", "tool_use_id": calls[WEATHER], "is_error": True}
    history += [
        {"role": "assistant", "content": message.content},
        {"role": "user", "content": [failed | {"content": "no such city"}]},
    ]
    ask(SIGNING, history, tools=TOOLS)
    results = [
        part["functionResponse"]["response"]
        for part in last_arrived(emulator)["contents"][-1]["parts"]
    ]
    assert results == [
        {"error": "no such city"},
        {"error": "No result was returned for this call."},
    ]


def test_the_tool_runner_works_without_threads(client, emulator, streamed):
    calls_two_tools(emulator)
    runner = client.beta.messages.tool_runner(
        model=SIGNING,
        max_tokens=1000,
        messages=[{"role": "user", "content": QUESTION}],
        tools=[anthropic.beta_tool(lookup_weather), anthropic.beta_tool(lookup_time)],
        stream=streamed,
    )
    message = runner.until_done()
    assert "vermilion" in texts(message)[0]
    check_tool_loop(emulator, carried=True)


def test_a_tool_can_be_forced(asker):
    tool = {"name": "ring_bell", "input_schema": {"type": "object", "properties": {}}}
    message = asker(FLASH, "Good day", tools=[tool], tool_choice={"type": "any"})
    [call] = message.content
    assert (call.name, call.input) == ("ring_bell", {})


# --- errors


def test_a_limit_of_the_minute_says_when_to_ask_again(asker, client, emulator, request):
    model = f"{FLASH}-anthropic-{request.node.callspec.id}-minute"
    fails(emulator, model, per_minute("37s"))
    asker.client = client.with_options(max_retries=0)
    with pytest.raises(anthropic.RateLimitError) as raised:
        asker(model, "Say pomegranate")
    error = raised.value.body["error"]
    assert (error["type"], error["status"]) == ("rate_limit_error", "RESOURCE_EXHAUSTED")
    headers = raised.value.response.headers
    assert headers["retry-after"] == "37"
    assert "x-should-retry" not in headers
    assert raised.value.request_id == raised.value.body["request_id"]
    assert len(arrived(emulator)) == 1


def test_a_short_limit_is_waited_out_by_the_proxy(asker, emulator, relay, request):
    model = f"{FLASH}-anthropic-{request.node.callspec.id}-short"
    fails(emulator, model, per_minute("0.2s"), times=1)
    says_hello(emulator)
    assert texts(asker(model, "Say hello")) == ["Hello"]
    assert relay.lines() == ["POST /v1/messages"]
    assert len(arrived(emulator)) == 2


def test_a_quota_of_the_day_is_asked_for_once(asker, emulator, relay, request):
    model = f"{FLASH}-anthropic-{request.node.callspec.id}-day"
    fails(emulator, model, per_day())
    with pytest.raises(anthropic.RateLimitError) as raised:
        asker(model, "Say pomegranate")
    assert raised.value.response.headers["x-should-retry"] == "false"
    assert relay.lines() == ["POST /v1/messages"]
    assert len(arrived(emulator)) == 1


def test_an_overloaded_model_is_529(asker, client, emulator, request):
    model = f"{FLASH}-anthropic-{request.node.callspec.id}-overloaded"
    fails(emulator, model, overloaded())
    asker.client = client.with_options(max_retries=0)
    with pytest.raises(anthropic.APIStatusError) as raised:
        asker(model, "Say pomegranate")
    assert type(raised.value).__name__ == "OverloadedError"
    assert raised.value.status_code == 529


def test_a_stream_that_breaks_off_with_an_error_raises_it(client, emulator, relay):
    model = f"{FLASH}-anthropic-breaks"
    breaks_off(emulator, model)
    pieces = []
    with pytest.raises(anthropic.APIError, match="high demand"):
        with client.messages.stream(
            model=model, max_tokens=1000, messages=[{"role": "user", "content": "Say hello"}]
        ) as stream:
            pieces.extend(stream.text_stream)
    assert "".join(pieces) in ("", "Hel")
    assert relay.lines() == ["POST /v1/messages"]
    assert len(arrived(emulator)) == 1


def test_an_unknown_model_is_not_found(asker, relay):
    for model in ("gemini-that-never-was", "claude-opus-5-5"):
        relay.forget()
        with pytest.raises(anthropic.NotFoundError) as raised:
            asker(model, "hello")
        assert raised.value.body["error"]["type"] == "not_found_error"
        assert relay.lines() == ["POST /v1/messages"]


# --- what is no answer


def test_tokens_are_counted(client):
    def count(text):
        history = [{"role": "user", "content": text}]
        return client.messages.count_tokens(model=FLASH, messages=history).input_tokens

    assert 0 < count("pomegranate") < count("pomegranate " * 50)


def test_models_are_listed_page_by_page_and_described(client, relay):
    models = {model.id: model for model in client.models.list(limit=2)}
    assert FLASH in models
    assert len(relay.lines()) == (len(models) + 1) // 2
    assert models[FLASH] == client.models.retrieve(FLASH)
    assert models[FLASH].type == "model"
    assert models[FLASH].display_name
    with pytest.raises(anthropic.NotFoundError):
        client.models.retrieve("gemini-that-never-was")
