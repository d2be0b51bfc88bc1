"""LangChain's ChatOpenAI on both of OpenAI's APIs, and its ChatAnthropic, unmodified."""

import pytest
from emulated import CLIENT_KEY, UPSTREAM
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
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
    TIME,
    WEATHER,
    WEATHER_ARGS,
    Recipe,
    breaks_off,
    calls_two_tools,
    check_json,
    check_picture,
    check_tool_loop,
    fails,
    per_day,
    says_hello,
)

TOOLS = [
    {
        "title": function["name"],
        "description": function["description"],
        **function["parameters"],
    }
    for function in FUNCTIONS
]


@pytest.fixture(params=["chat", "responses", "messages"])
def make(request, openai_url, anthropic_url):
    """Makes a model of a name."""

    def make(model, **options):
        if request.param == "messages":
            return ChatAnthropic(
                model=model, api_key=CLIENT_KEY, base_url=anthropic_url, max_tokens=1000, **options
            )
        return ChatOpenAI(
            model=model,
            api_key=CLIENT_KEY,
            base_url=openai_url,
            use_responses_api=request.param == "responses",
            **options,
        )

    make.api = request.param
    return make


def test_a_prompt_is_answered_whole_and_streamed(make):
    whole = make(FLASH).invoke(SLOWLY)
    assert "pomegranate" in whole.text
    pieces = [chunk.text for chunk in make(FLASH).stream(SLOWLY) if chunk.text]
    assert len(pieces) > 1
    assert "".join(pieces) == whole.text


def test_usage_is_counted(make, emulator, streamed):
    says_hello(emulator)
    options = {} if make.api == "messages" else {"stream_usage": True}
    message = _ask(make(FLASH, **options), "Say hello", streamed)
    assert message.text == "Hello"
    usage = message.usage_metadata
    assert usage["input_tokens"] == PROMPT_TOKENS
    assert usage["input_token_details"]["cache_read"] == CACHED_TOKENS
    assert usage["output_tokens"] == OUTPUT_TOKENS
    assert usage["total_tokens"] == PROMPT_TOKENS + OUTPUT_TOKENS


def test_two_calls_in_one_step_are_answered_in_any_order(make, emulator, streamed):
    # Of Responses, the encrypted reasoning comes back; of Chat Completions and of Messages without
    # thinking, nothing but the ids does.
    options = {"include": ["reasoning.encrypted_content"]} if make.api == "responses" else {}
    model = make(SIGNING, **options).bind_tools(TOOLS)
    _loop(model, emulator, streamed, carried=make.api == "responses")


def test_signatures_come_back_with_anthropics_thinking(anthropic_url, emulator, streamed):
    model = ChatAnthropic(
        model=SIGNING,
        api_key=CLIENT_KEY,
        base_url=anthropic_url,
        max_tokens=2000,
        thinking={"type": "enabled", "budget_tokens": 1024},
    )
    _loop(model.bind_tools(TOOLS), emulator, streamed, carried=True, thought="Hm.")


def _loop(model, emulator, streamed, carried, thought=None):
    calls_two_tools(emulator, thought)
    history = [HumanMessage(QUESTION)]
    message = _ask(model, history, streamed)
    calls = {call["name"]: call for call in message.tool_calls}
    assert calls[WEATHER]["args"] == WEATHER_ARGS
    results = [ToolMessage(RESULTS[name], tool_call_id=calls[name]["id"]) for name in (TIME, WEATHER)]
    message = _ask(model, [*history, message, *results], streamed)
    assert "vermilion" in message.text
    check_tool_loop(emulator, carried)


def _ask(model, history, streamed):
    if not streamed:
        return model.invoke(history)
    message = None
    for chunk in model.stream(history):
        message = chunk if message is None else message + chunk
    return message


def test_a_pydantic_model_comes_back_as_itself(make, emulator):
    model = make(FLASH).with_structured_output(Recipe, method="json_schema")
    assert isinstance(model.invoke("A recipe"), Recipe)
    check_json(emulator)


def test_a_picture_goes_in(make, emulator):
    image = {"type": "image", "base64": PIXEL, "mime_type": "image/png"}
    content = [{"type": "text", "text": "Say pomegranate"}, image]
    assert "pomegranate" in make(FLASH).invoke([HumanMessage(content)]).text
    check_picture(emulator)


def test_a_quota_of_the_day_is_asked_for_once(make, emulator, relay):
    model = f"{FLASH}-langchain-{make.api}-day"
    fails(emulator, model, per_day())
    with pytest.raises(Exception, match="Your quota will reset") as raised:
        make(model, max_retries=2).invoke("Say pomegranate")
    assert raised.value.status_code == 429
    assert len(relay.lines()) == 1


def test_a_stream_that_breaks_off_with_an_error_raises_it(make, emulator):
    model = f"{FLASH}-langchain-{make.api}-breaks"
    breaks_off(emulator, model)
    with pytest.raises(Exception, match="high demand"):
        list(make(model).stream("Say hello"))


@pytest.mark.skipif(UPSTREAM != "gemini-api", reason="concerns gemini-api")
def test_texts_are_embedded(openai_url):
    # Without the option the client sends lists of tokens, which mean nothing to Gemini.
    embeddings = OpenAIEmbeddings(
        model=EMBEDDING, api_key=CLIENT_KEY, base_url=openai_url, check_embedding_ctx_length=False
    )
    assert len(embeddings.embed_documents(["pomegranate", "plum"])) == 2
