"""google-genai, unmodified, through the proxy."""

import asyncio
import time
from typing import Literal

import pytest
from emulated import CLIENT_KEY
from google import genai
from google.genai import errors, types
from pydantic import BaseModel

FLASH = "gemini-2.5-flash"
# Its tool calls are refused upstream when the thought signature of the call does not come back.
SIGNING = "gemini-3-pro-preview"


class Step(BaseModel):
    text: str
    minutes: int


class Recipe(BaseModel):
    name: str
    kind: Literal["soup", "cake"]
    portions: int
    vegan: bool
    steps: list[Step]


def text_parts(response):
    return [part for part in response.candidates[0].content.parts if part.text and not part.thought]


# --- generate and stream


def test_a_prompt_is_answered(client):
    response = client.models.generate_content(model=FLASH, contents="Say pomegranate, please")
    assert "pomegranate" in response.text
    assert response.candidates[0].finish_reason == types.FinishReason.STOP
    assert response.candidates[0].content.role == "model"
    assert response.usage_metadata.total_token_count > 0
    assert response.response_id
    assert response.model_version


def test_a_stream_is_the_same_text_in_several_chunks(client):
    prompt = "Say pomegranate, and say it slowly, in several pieces, one after the other"
    whole = client.models.generate_content(model=FLASH, contents=prompt).text
    chunks = list(client.models.generate_content_stream(model=FLASH, contents=prompt))
    texts = [chunk.text for chunk in chunks if chunk.text]
    assert len(texts) > 1
    assert "".join(texts) == whole
    # The very last event may carry nothing but the token counts.
    reasons = [chunk.candidates[0].finish_reason for chunk in chunks if chunk.candidates]
    assert reasons == [None] * (len(reasons) - 1) + [types.FinishReason.STOP]
    assert chunks[-1].usage_metadata.total_token_count > 0


def test_a_stream_arrives_while_it_is_being_written(client, slow_stream):
    prompt = "Say pomegranate, and say it slowly, in several pieces, one after the other"
    started = time.monotonic()
    arrivals = []
    for _ in client.models.generate_content_stream(model=FLASH, contents=prompt):
        arrivals.append(time.monotonic() - started)
    assert len(arrivals) > 2
    # Buffered anywhere on the way, they would come together at the end. Two pauses lie between
    # three events with text, and that much later at the least the last of them was written.
    assert arrivals[-1] - arrivals[0] > 1.5 * slow_stream, arrivals


def test_settings_reach_the_model(client):
    response = client.models.generate_content(
        model=FLASH,
        contents="Say pomegranate",
        config=types.GenerateContentConfig(
            system_instruction="You are a gardener.",
            temperature=0.1,
            top_k=7,
            top_p=0.9,
            max_output_tokens=1000,
            stop_sequences=["STOP-HERE"],
            thinking_config=types.ThinkingConfig(include_thoughts=True, thinking_budget=512),
            safety_settings=[
                types.SafetySetting(
                    category=types.HarmCategory.HARM_CATEGORY_DANGEROUS_CONTENT,
                    threshold=types.HarmBlockThreshold.BLOCK_ONLY_HIGH,
                )
            ],
        ),
    )
    assert "pomegranate" in text_parts(response)[0].text
    assert any(part.thought for part in response.candidates[0].content.parts)
    assert response.usage_metadata.thoughts_token_count > 0


def test_output_stops_where_it_is_told_to(client):
    response = client.models.generate_content(
        model=FLASH,
        contents="one two three four five six seven eight nine ten eleven twelve",
        config=types.GenerateContentConfig(max_output_tokens=3),
    )
    assert response.candidates[0].finish_reason == types.FinishReason.MAX_TOKENS


def test_bytes_go_in(client):
    picture = types.Part.from_bytes(data=bytes(range(256)) * 40, mime_type="image/png")
    response = client.models.generate_content(model=FLASH, contents=[picture, "Say pomegranate"])
    assert "pomegranate" in response.text


# --- chat


def test_a_chat_keeps_its_history(client):
    chat = client.chats.create(model=FLASH)
    assert "apple" in chat.send_message("Say apple").text
    assert "plum" in chat.send_message("Say plum").text
    assert [turn.role for turn in chat.get_history()] == ["user", "model", "user", "model"]


def test_a_chat_can_be_streamed(client):
    chat = client.chats.create(model=FLASH)
    for word in ("apple", "plum"):
        said = "".join(chunk.text or "" for chunk in chat.send_message_stream(f"Say {word}"))
        assert word in said
    assert chat.get_history()[-1].role == "model"


# --- tools


def test_functions_are_called_automatically_and_signatures_come_back(client):
    called = []

    def lookup_weather(city: str) -> dict:
        """Tells the weather of a city."""
        called.append(city)
        return {"sky": "vermilion"}

    response = client.models.generate_content(
        model=SIGNING,
        contents="What is the weather in Paris?",
        config=types.GenerateContentConfig(tools=[lookup_weather]),
    )
    assert len(called) == 1
    assert isinstance(called[0], str)
    assert "vermilion" in response.text
    calls = [
        part
        for turn in response.automatic_function_calling_history
        for part in turn.parts
        if part.function_call
    ]
    assert calls[0].thought_signature


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_functions_can_be_called_by_hand(client, streamed):
    declaration = types.FunctionDeclaration(
        name="lookup_weather",
        description="Tells the weather of a city.",
        parameters_json_schema={
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city"],
        },
    )
    config = types.GenerateContentConfig(
        tools=[types.Tool(function_declarations=[declaration])],
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
    )
    contents = [types.UserContent("What is the weather in Paris?")]

    def ask():
        if not streamed:
            return client.models.generate_content(model=SIGNING, contents=contents, config=config)
        chunks = client.models.generate_content_stream(
            model=SIGNING, contents=contents, config=config
        )
        parts = [
            part for chunk in chunks if chunk.candidates for part in chunk.candidates[0].content.parts
        ]
        content = types.ModelContent(parts)
        return types.GenerateContentResponse(candidates=[types.Candidate(content=content)])

    first = ask()
    (call,) = first.function_calls
    assert call.name == "lookup_weather"
    assert isinstance(call.args["city"], str)
    contents += [
        first.candidates[0].content,
        types.Content(
            role="user",
            parts=[
                types.Part(
                    function_response=types.FunctionResponse(
                        id=call.id, name=call.name, response={"sky": "vermilion"}
                    )
                )
            ],
        ),
    ]
    assert "vermilion" in ask().text


def test_a_lost_signature_is_refused_in_googles_own_words(client):
    """The proxy neither forges a signature nor hides that one is missing."""
    call = types.Part(function_call=types.FunctionCall(name="lookup_weather", args={}))
    answer = types.Part.from_function_response(name="lookup_weather", response={"sky": "blue"})
    contents = [
        types.UserContent("What is the weather?"),
        types.ModelContent([call]),
        types.Content(role="user", parts=[answer]),
    ]
    with pytest.raises(errors.ClientError, match="thought_signature") as raised:
        client.models.generate_content(model=SIGNING, contents=contents)
    assert raised.value.code == 400


def test_a_function_can_be_forced(client):
    config = types.GenerateContentConfig(
        tools=[
            types.Tool(
                function_declarations=[types.FunctionDeclaration(name="ring_bell", parameters=None)]
            )
        ],
        tool_config=types.ToolConfig(
            function_calling_config=types.FunctionCallingConfig(
                mode=types.FunctionCallingConfigMode.ANY, allowed_function_names=["ring_bell"]
            )
        ),
    )
    response = client.models.generate_content(model=FLASH, contents="Good day", config=config)
    assert [call.name for call in response.function_calls] == ["ring_bell"]


# --- structured output


def test_a_pydantic_model_comes_back_as_itself(client):
    response = client.models.generate_content(
        model=FLASH,
        contents="A recipe",
        config=types.GenerateContentConfig(
            response_mime_type="application/json", response_schema=Recipe
        ),
    )
    assert isinstance(response.parsed, Recipe)


def test_a_json_schema_is_obeyed(client):
    response = client.models.generate_content(
        model=FLASH,
        contents="A recipe",
        config=types.GenerateContentConfig(
            response_mime_type="application/json", response_json_schema=Recipe.model_json_schema()
        ),
    )
    Recipe.model_validate_json(response.text)


def test_structured_output_can_be_streamed(client):
    chunks = client.models.generate_content_stream(
        model=FLASH,
        contents="A recipe",
        config=types.GenerateContentConfig(
            response_mime_type="application/json", response_schema=Recipe
        ),
    )
    Recipe.model_validate_json("".join(chunk.text or "" for chunk in chunks))


# --- counting


def test_tokens_are_counted(client):
    few = client.models.count_tokens(model=FLASH, contents="pomegranate")
    many = client.models.count_tokens(model=FLASH, contents="pomegranate " * 50)
    assert 0 < few.total_tokens < many.total_tokens


# --- errors


def test_an_unknown_model_is_not_found(client):
    with pytest.raises(errors.ClientError) as raised:
        client.models.generate_content(model="gemini-that-never-was", contents="hello")
    assert raised.value.code == 404
    assert raised.value.status == "NOT_FOUND"
    assert raised.value.message


def test_an_error_of_a_stream_is_raised_before_the_first_chunk(client):
    with pytest.raises(errors.ClientError) as raised:
        next(client.models.generate_content_stream(model="gemini-that-never-was", contents="hello"))
    assert raised.value.code == 404
    assert raised.value.status == "NOT_FOUND"


# --- both API versions, and the asynchronous client


@pytest.mark.parametrize("version", ["v1", "v1beta", "v1alpha"])
def test_every_api_version_works(relay, version):
    client = genai.Client(
        api_key=CLIENT_KEY, http_options={"base_url": relay.url, "api_version": version}
    )
    response = client.models.generate_content(
        model=FLASH, contents="Say pomegranate", config={"system_instruction": "Be kind."}
    )
    assert "pomegranate" in response.text


def test_the_asynchronous_client_generates_streams_and_counts(client):
    async def all_of_it():
        models = client.aio.models
        response = await models.generate_content(model=FLASH, contents="Say pomegranate")
        assert "pomegranate" in response.text
        stream = await models.generate_content_stream(
            model=FLASH, contents="Say pomegranate, and say it slowly, in several pieces"
        )
        texts = [chunk.text or "" async for chunk in stream]
        assert len(texts) > 1
        assert "pomegranate" in "".join(texts)
        assert (await models.count_tokens(model=FLASH, contents="pomegranate")).total_tokens > 0

    asyncio.run(all_of_it())


def test_many_at_once_each_get_their_own_answer(client):
    async def ask(number):
        prompt = f"Say number {number:04}"
        response = await client.aio.models.generate_content(model=FLASH, contents=prompt)
        return f"{number:04}" in response.text

    async def all_of_it():
        assert all(await asyncio.gather(*(ask(number) for number in range(40))))

    asyncio.run(all_of_it())
