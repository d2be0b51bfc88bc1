"""OpenAI's own SDK, unmodified: Chat Completions and Responses."""

import base64
import json

import openai
import pytest
from emulated import CLIENT_KEY, UPSTREAM
from scripted import (
    CACHED_TOKENS,
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
    THOUGHT_TOKENS,
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
    overloaded,
    per_day,
    per_minute,
    says_hello,
)


@pytest.fixture
def client(openai_url):
    return openai.OpenAI(api_key=CLIENT_KEY, base_url=openai_url)


class Chat:
    """Chat Completions, whole and streamed by the SDK's helper, in the words of both APIs."""

    path = "/v1/chat/completions"

    def __init__(self, client, streamed):
        self.completions, self.streamed = client.chat.completions, streamed

    def ask(self, model, history, parsed=None, system=None, thinking=None, tools=()):
        if isinstance(history, str):
            history = [{"role": "user", "content": history}]
        if system:
            history = [{"role": "system", "content": system}, *history]
        asked = {"model": model, "messages": history}
        if tools:
            asked["tools"] = [{"type": "function", "function": tool} for tool in tools]
        if thinking:
            asked["reasoning_effort"] = thinking
        if parsed:
            asked["response_format"] = parsed
        if not self.streamed:
            return self.completions.parse(**asked) if parsed else self.completions.create(**asked)
        # The helper checks the order of the chunks, and puts them together.
        options = {"include_usage": True}
        with self.completions.stream(**asked, stream_options=options) as stream:
            return stream.get_final_completion()

    def text(self, answer):
        assert answer.choices[0].finish_reason == "stop"
        return answer.choices[0].message.content

    def parsed(self, answer):
        return answer.choices[0].message.parsed

    def thoughts(self, answer):
        return answer.choices[0].message.reasoning_content

    def calls(self, answer):
        assert answer.choices[0].finish_reason == "tool_calls"
        calls = answer.choices[0].message.tool_calls
        return {call.function.name: (call.id, call.function.arguments) for call in calls}

    def said(self, answer):
        return [answer.choices[0].message]

    def result(self, call, text):
        return {"role": "tool", "tool_call_id": call, "content": text}

    def picture(self, text, url):
        image = {"type": "image_url", "image_url": {"url": url}}
        return [{"role": "user", "content": [{"type": "text", "text": text}, image]}]

    def deltas(self, model, prompt):
        history = [{"role": "user", "content": prompt}]
        chunks = self.completions.create(model=model, messages=history, stream=True)
        return [chunk.choices[0].delta.content for chunk in chunks]

    def numbers(self, answer):
        usage = answer.usage
        return {
            "in": usage.prompt_tokens,
            "cached": usage.prompt_tokens_details.cached_tokens,
            "out": usage.completion_tokens,
            "thought": usage.completion_tokens_details.reasoning_tokens,
            "total": usage.total_tokens,
        }


class Responses:
    """The Responses API, in the same way."""

    path = "/v1/responses"

    def __init__(self, client, streamed):
        self.responses, self.streamed = client.responses, streamed

    def ask(self, model, history, parsed=None, system=None, thinking=None, tools=()):
        asked = {"model": model, "input": history}
        if tools:
            asked["tools"] = [{"type": "function", "strict": False, **tool} for tool in tools]
        if system:
            asked["instructions"] = system
        if thinking:
            asked["reasoning"] = {"effort": thinking, "summary": "auto"}
        if parsed:
            asked["text_format"] = parsed
        if not self.streamed:
            return self.responses.parse(**asked) if parsed else self.responses.create(**asked)
        with self.responses.stream(**asked) as stream:
            return stream.get_final_response()

    def text(self, answer):
        assert answer.status == "completed"
        return answer.output_text

    def parsed(self, answer):
        return answer.output_parsed

    def thoughts(self, answer):
        [item] = [item for item in answer.output if item.type == "reasoning"]
        return "".join(part.text for part in item.summary)

    def calls(self, answer):
        assert answer.status == "completed"
        calls = [item for item in answer.output if item.type == "function_call"]
        return {call.name: (call.call_id, call.arguments) for call in calls}

    def said(self, answer):
        return answer.output

    def result(self, call, text):
        return {"type": "function_call_output", "call_id": call, "output": text}

    def picture(self, text, url):
        image = {"type": "input_image", "image_url": url, "detail": "auto"}
        return [{"role": "user", "content": [{"type": "input_text", "text": text}, image]}]

    def deltas(self, model, prompt):
        events = self.responses.create(model=model, input=prompt, stream=True)
        return [event.delta for event in events if event.type == "response.output_text.delta"]

    def numbers(self, answer):
        usage = answer.usage
        return {
            "in": usage.input_tokens,
            "cached": usage.input_tokens_details.cached_tokens,
            "out": usage.output_tokens,
            "thought": usage.output_tokens_details.reasoning_tokens,
            "total": usage.total_tokens,
        }


@pytest.fixture(params=[Chat, Responses], ids=["chat", "responses"])
def api(request):
    return request.param


@pytest.fixture
def asker(api, client, streamed):
    return api(client, streamed)


# --- text


def test_a_prompt_is_answered_under_the_name_that_was_asked_for(asker):
    answer = asker.ask(f"google/{FLASH}", "Say pomegranate")
    assert "pomegranate" in asker.text(answer)
    assert answer.model == f"google/{FLASH}"
    assert answer.id


def test_a_stream_is_the_same_text_in_several_pieces(api, client):
    asker = api(client, False)
    whole = asker.text(asker.ask(FLASH, SLOWLY))
    texts = [text for text in asker.deltas(FLASH, SLOWLY) if text]
    assert len(texts) > 1
    assert "".join(texts) == whole


def test_the_events_of_a_response_are_numbered_without_gaps(client):
    events = list(client.responses.create(model=FLASH, input=SLOWLY, stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[0].type == "response.created"
    assert events[-1].type == "response.completed"
    assert events[-1].response.output_text


def test_instructions_become_the_systems(asker, emulator):
    asker.ask(FLASH, "Say pomegranate", system="You are a gardener.")
    request = last_arrived(emulator)
    assert [part["text"] for part in request["systemInstruction"]["parts"]] == [
        "You are a gardener."
    ]
    assert [content["role"] for content in request["contents"]] == ["user"]


def test_usage_has_the_thoughts_in_the_output_and_the_cache_in_the_input(asker, emulator):
    says_hello(emulator)
    answer = asker.ask(FLASH, "Say hello")
    assert asker.text(answer) == "Hello"
    assert asker.numbers(answer) == {
        "in": PROMPT_TOKENS,
        "cached": CACHED_TOKENS,
        "out": OUTPUT_TOKENS,
        "thought": THOUGHT_TOKENS,
        "total": PROMPT_TOKENS + OUTPUT_TOKENS,
    }


def test_without_being_asked_for_usage_every_chunk_has_a_choice(client):
    history = [{"role": "user", "content": SLOWLY}]
    chunks = list(client.chat.completions.create(model=FLASH, messages=history, stream=True))
    assert all(chunk.choices for chunk in chunks)
    assert [chunk.usage for chunk in chunks] == [None] * len(chunks)
    reasons = [chunk.choices[0].finish_reason for chunk in chunks]
    assert reasons == [None] * (len(reasons) - 1) + ["stop"]


def test_thoughts_are_shown_when_an_effort_is_asked_for(asker, emulator):
    answer = asker.ask(FLASH, "Say pomegranate", thinking="low")
    assert "pomegranate" in asker.text(answer)
    assert asker.thoughts(answer)
    config = last_arrived(emulator)["generationConfig"]
    assert config["thinkingConfig"] == {"includeThoughts": True, "thinkingBudget": 1024}


def test_a_picture_goes_in(asker, emulator):
    history = asker.picture("Say pomegranate", f"data:image/png;base64,{PIXEL}")
    assert "pomegranate" in asker.text(asker.ask(FLASH, history))
    check_picture(emulator)


def test_a_pydantic_model_comes_back_as_itself(asker, emulator):
    answer = asker.ask(FLASH, "A recipe", parsed=Recipe)
    assert isinstance(asker.parsed(answer), Recipe)
    check_json(emulator)


def test_an_old_completion_is_answered_whole_and_streamed(client):
    whole = client.completions.create(model=FLASH, prompt=SLOWLY)
    assert "pomegranate" in whole.choices[0].text
    chunks = client.completions.create(model=FLASH, prompt=SLOWLY, stream=True)
    assert "".join(chunk.choices[0].text for chunk in chunks) == whole.choices[0].text


# --- tools


def test_two_calls_in_one_step_are_answered_in_any_order(asker, emulator):
    calls_two_tools(emulator)
    history = [{"role": "user", "content": QUESTION}]
    answer = asker.ask(SIGNING, history, tools=FUNCTIONS)
    calls = asker.calls(answer)
    assert json.loads(calls[WEATHER][1]) == WEATHER_ARGS
    history += asker.said(answer)
    history += [asker.result(calls[name][0], RESULTS[name]) for name in (TIME, WEATHER)]
    answer = asker.ask(SIGNING, history, tools=FUNCTIONS)
    assert "vermilion" in asker.text(answer)
    check_tool_loop(emulator, carried=True)


def test_a_tool_can_be_forced(client):
    function = {"name": "ring_bell", "parameters": {"type": "object", "properties": {}}}
    answer = client.chat.completions.create(
        model=FLASH,
        messages=[{"role": "user", "content": "Good day"}],
        tools=[{"type": "function", "function": function}],
        tool_choice={"type": "function", "function": {"name": "ring_bell"}},
    )
    [call] = answer.choices[0].message.tool_calls
    assert (call.function.name, call.function.arguments) == ("ring_bell", "{}")
    answer = client.responses.create(
        model=FLASH,
        input="Good day",
        tools=[{"type": "function", "strict": False, **function}],
        tool_choice="required",
    )
    [call] = [item for item in answer.output if item.type == "function_call"]
    assert (call.name, call.arguments) == ("ring_bell", "{}")


# --- errors


def test_a_limit_of_the_minute_says_when_to_ask_again(asker, client, emulator, request):
    model = f"{FLASH}-{request.node.callspec.id}-minute"
    fails(emulator, model, per_minute("37s"))
    asker = type(asker)(client.with_options(max_retries=0), asker.streamed)
    with pytest.raises(openai.RateLimitError) as raised:
        asker.ask(model, "Say pomegranate")
    assert raised.value.code == "rate_limit_exceeded"
    assert raised.value.type == "rate_limit_error"
    assert raised.value.body["status"] == "RESOURCE_EXHAUSTED"
    headers = raised.value.response.headers
    assert headers["retry-after"] == "37"
    assert "x-should-retry" not in headers
    assert len(arrived(emulator)) == 1


def test_a_short_limit_is_waited_out_by_the_proxy(asker, emulator, relay, request):
    model = f"{FLASH}-{request.node.callspec.id}-short"
    fails(emulator, model, per_minute("0.2s"), times=1)
    says_hello(emulator)
    assert asker.text(asker.ask(model, "Say hello")) == "Hello"
    assert relay.lines() == [f"POST {asker.path}"]
    assert len(arrived(emulator)) == 2


def test_a_quota_of_the_day_is_asked_for_once(asker, emulator, relay, request):
    model = f"{FLASH}-{request.node.callspec.id}-day"
    fails(emulator, model, per_day())
    with pytest.raises(openai.RateLimitError) as raised:
        asker.ask(model, "Say pomegranate")
    assert raised.value.code == "insufficient_quota"
    assert raised.value.response.headers["x-should-retry"] == "false"
    assert relay.lines() == [f"POST {asker.path}"]
    assert len(arrived(emulator)) == 1


def test_an_overloaded_model_is_503(asker, client, emulator, request):
    model = f"{FLASH}-{request.node.callspec.id}-overloaded"
    fails(emulator, model, overloaded())
    asker = type(asker)(client.with_options(max_retries=0), asker.streamed)
    with pytest.raises(openai.InternalServerError) as raised:
        asker.ask(model, "Say pomegranate")
    assert raised.value.status_code == 503
    assert raised.value.code == "model_overloaded"


def test_a_stream_that_breaks_off_with_an_error_raises_it(api, client, emulator, relay, request):
    model = f"{FLASH}-{request.node.callspec.id}-breaks"
    breaks_off(emulator, model)
    asker = api(client, True)
    with pytest.raises(openai.APIError, match="high demand"):
        asker.deltas(model, "Say hello")
    assert relay.lines() == [f"POST {asker.path}"]
    assert len(arrived(emulator)) == 1


def test_an_unknown_model_is_not_found(asker, relay):
    for model in ("gemini-that-never-was", "gpt-4o"):
        relay.forget()
        with pytest.raises(openai.NotFoundError) as raised:
            asker.ask(model, "hello")
        assert raised.value.code == "model_not_found"
        assert raised.value.param == "model"
        assert relay.lines() == [f"POST {asker.path}"]


def test_an_earlier_response_is_not_known(client, emulator):
    with pytest.raises(openai.BadRequestError) as raised:
        client.responses.create(model=FLASH, input="hello", previous_response_id="resp_1")
    assert raised.value.code == "previous_response_not_found"
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve("resp_1")
    assert arrived(emulator) == []


# --- what is no answer


def test_models_are_listed_and_described(client):
    models = {model.id: model for model in client.models.list()}
    assert FLASH in models
    assert models[FLASH] == client.models.retrieve(FLASH)
    assert models[FLASH].owned_by == "google"
    with pytest.raises(openai.NotFoundError) as raised:
        client.models.retrieve("gemini-that-never-was")
    assert raised.value.code == "model_not_found"


def test_the_tokens_of_a_response_are_counted(client):
    few = client.responses.input_tokens.count(model=FLASH, input="pomegranate")
    many = client.responses.input_tokens.count(model=FLASH, input="pomegranate " * 50)
    assert 0 < few.input_tokens < many.input_tokens


@pytest.mark.skipif(UPSTREAM != "gemini-api", reason="concerns gemini-api")
def test_texts_are_embedded_as_numbers_and_in_base64(client):
    texts = ["pomegranate", "plum"]
    # The SDK asks for base64 by itself, and decodes it.
    packed = client.embeddings.create(model=EMBEDDING, input=texts, dimensions=128)
    plain = client.embeddings.create(
        model=EMBEDDING, input=texts, dimensions=128, encoding_format="float"
    )
    for one, other in zip(packed.data, plain.data, strict=True):
        assert len(one.embedding) == 128
        assert one.embedding == pytest.approx(other.embedding, rel=1e-6)
    raw = client.embeddings.with_raw_response.create(
        model=EMBEDDING, input="plum", dimensions=128, encoding_format="base64"
    )
    encoded = json.loads(raw.text)["data"][0]["embedding"]
    assert len(base64.b64decode(encoded, validate=True)) == 4 * 128


@pytest.mark.skipif(UPSTREAM != "code-assist", reason="concerns code-assist")
def test_code_assist_has_no_embeddings(client, relay):
    with pytest.raises(openai.NotFoundError):
        client.embeddings.create(model=EMBEDDING, input="pomegranate")
    assert relay.lines() == ["POST /v1/embeddings"]
