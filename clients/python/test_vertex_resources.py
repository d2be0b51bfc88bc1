"""google-genai, unmodified, in Vertex mode: what Vertex AI has besides generating."""

import json

import pytest
from conftest import vertex_client
from emulated import VERTEX_PLACE
from google.genai import errors, types

FLASH = "gemini-2.5-flash"


def test_contents_are_embedded(relay):
    client = vertex_client(relay)
    response = client.models.embed_content(model="gemini-embedding-001", contents="pomegranate")
    assert len(response.embeddings[0].values) > 0


def test_a_cache_is_made_used_listed_and_deleted(relay, emulator):
    client = vertex_client(relay)
    cache = client.caches.create(
        model=FLASH,
        config={
            "contents": [types.UserContent("pomegranate " * 5000)],
            "ttl": "600s",
            "display_name": "A garden",
        },
    )
    response = client.models.generate_content(
        model=FLASH, contents="Say pomegranate", config={"cached_content": cache.name}
    )
    assert "pomegranate" in response.text
    assert client.caches.get(name=cache.name).display_name == "A garden"
    assert cache.name in [one.name for one in client.caches.list()]
    client.caches.delete(name=cache.name)
    with pytest.raises(errors.ClientError):
        client.caches.get(name=cache.name)
    [made] = emulator.arrived("createCachedContent")
    # The SDK names the model within the client's own project.
    assert VERTEX_PLACE in json.loads(made["body"])["model"]
