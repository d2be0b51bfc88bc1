"""google-genai, unmodified, in Vertex mode: with a project and a token of its own, and with an API
key alone (express mode)."""

import pytest
from conftest import vertex_client
from emulated import CLIENT_KEY, UPSTREAM, VERTEX_PLACE, provider_of
from google import genai
from google.genai import errors

FLASH = "gemini-2.5-flash"
SIGNING = "gemini-3-pro-preview"
SLOWLY = "Say pomegranate, and say it slowly, in several pieces, one after the other"


def only_at(name):
    return pytest.mark.skipif(name != UPSTREAM, reason=f"concerns {name}")



@pytest.fixture(params=["project", "express"])
def either(request, relay):
    if request.param == "project":
        return vertex_client(relay)
    return genai.Client(vertexai=True, api_key=CLIENT_KEY, http_options={"base_url": relay.url})


def test_a_prompt_is_answered(either, emulator, relay):
    response = either.models.generate_content(model=FLASH, contents="Say pomegranate")
    assert "pomegranate" in response.text
    assert response.usage_metadata.total_token_count > 0
    [request] = emulator.arrived("generateContent")
    if provider_of(request["path"]) == "vertex":
        path = f"/v1beta1/{VERTEX_PLACE}/publishers/google/models/{FLASH}:generateContent"
        assert request["path"] == path
        assert relay.has_sent(request["body"].encode())


def test_a_stream_is_the_same_text_in_several_chunks(either, emulator):
    whole = either.models.generate_content(model=FLASH, contents=SLOWLY).text
    chunks = list(either.models.generate_content_stream(model=FLASH, contents=SLOWLY))
    texts = [chunk.text for chunk in chunks if chunk.text]
    assert len(texts) > 1
    assert "".join(texts) == whole
    assert len(emulator.arrived("streamGenerateContent")) == 1


def test_tokens_are_counted(either):
    few = either.models.count_tokens(model=FLASH, contents="pomegranate").total_tokens
    many = either.models.count_tokens(model=FLASH, contents="pomegranate " * 50).total_tokens
    assert 0 < few < many


def test_a_chat_calls_functions_and_signatures_come_back(either):
    called = []

    def lookup_weather(city: str) -> dict:
        """Tells the weather of a city."""
        called.append(city)
        return {"sky": "vermilion"}

    chat = either.chats.create(model=SIGNING, config={"tools": [lookup_weather]})
    assert "vermilion" in chat.send_message("What is the weather in Paris?").text
    assert len(called) == 1
    parts = [part for turn in chat.get_history() for part in turn.parts]
    assert [part for part in parts if part.function_call][0].thought_signature


def test_another_version_and_location_are_taken(relay, emulator):
    client = vertex_client(relay, api_version="v1")
    assert "plum" in client.models.generate_content(model=FLASH, contents="Say plum").text
    [request] = emulator.arrived("generateContent")
    if provider_of(request["path"]) == "vertex":
        assert request["path"].startswith(f"/v1/{VERTEX_PLACE}/")


def test_a_path_without_version_is_taken(relay):
    client = genai.Client(
        vertexai=True,
        http_options={
            "base_url": relay.url,
            "base_url_resource_scope": "COLLECTION",
            "headers": {"x-goog-api-key": CLIENT_KEY},
        },
    )
    assert "plum" in client.models.generate_content(model=FLASH, contents="Say plum").text


def test_a_client_that_names_no_model_in_its_path_learns_what_to_set(relay, emulator):
    client = genai.Client(vertexai=True, http_options={"base_url": relay.url})
    with pytest.raises(errors.ClientError) as raised:
        client.models.generate_content(model=FLASH, contents="Say plum")
    assert raised.value.code == 404
    assert "base_url_resource_scope" in raised.value.message
    assert emulator.arrived() == []


@only_at("vertex")
def test_what_only_vertex_has_arrives(relay, emulator):
    client = vertex_client(relay)
    client.models.generate_content(
        model=FLASH,
        contents="Say plum",
        config={
            "labels": {"team": "garden"},
            "safety_settings": [
                {
                    "category": "HARM_CATEGORY_HARASSMENT",
                    "threshold": "BLOCK_ONLY_HIGH",
                    "method": "SEVERITY",
                }
            ],
        },
    )
    [request] = emulator.arrived("generateContent")
    assert relay.has_sent(request["body"].encode())
    assert "SEVERITY" in request["body"]


@only_at("gemini-api")
def test_a_protection_that_only_vertex_has_is_never_dropped(relay, emulator):
    template = "projects/x/locations/y/templates/z"
    client = vertex_client(relay)
    with pytest.raises(errors.ClientError) as raised:
        client.models.generate_content(
            model=FLASH,
            contents="Say plum",
            config={"model_armor_config": {"prompt_template_name": template}},
        )
    assert raised.value.code == 400
    assert "modelArmorConfig" in raised.value.message
    assert emulator.arrived() == []


def test_an_unknown_model_is_not_found_whole_and_streamed(either):
    asked = {"model": "gemini-that-never-was", "contents": "hello"}
    for ask in [
        lambda: either.models.generate_content(**asked),
        lambda: next(either.models.generate_content_stream(**asked)),
    ]:
        with pytest.raises(errors.ClientError) as raised:
            ask()
        assert raised.value.code == 404
        assert raised.value.status == "NOT_FOUND"
