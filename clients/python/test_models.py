"""google-genai, unmodified: the list of models."""

import asyncio

import pytest
from google.genai import errors

FLASH = "gemini-2.5-flash"


def test_models_are_listed_page_by_page(client):
    whole = [model.name for model in client.models.list()]
    paged = [model.name for model in client.models.list(config={"page_size": 2})]
    assert paged == whole
    assert len(set(whole)) == len(whole) > 2
    assert f"models/{FLASH}" in whole
    assert len(client.models.list(config={"page_size": 2}).page) == 2


def test_a_model_is_described(client):
    model = client.models.get(model=FLASH)
    assert model.name == f"models/{FLASH}"
    assert "generateContent" in model.supported_actions
    assert model.input_token_limit > 0
    assert model.output_token_limit > 0


def test_an_unknown_model_is_not_described(client):
    with pytest.raises(errors.ClientError) as raised:
        client.models.get(model="gemini-that-never-was")
    assert raised.value.code == 404


def test_the_asynchronous_client_lists_models(client):
    async def all_of_it():
        models = client.aio.models
        listed = [model.name async for model in await models.list(config={"page_size": 2})]
        assert f"models/{FLASH}" in listed
        with pytest.raises(errors.ClientError):
            await models.get(model="gemini-that-never-was")

    asyncio.run(all_of_it())
