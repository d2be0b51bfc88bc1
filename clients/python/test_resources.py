"""google-genai, unmodified, with what the Gemini API has besides models: files, caches, batches,
embeddings, interactions. The proxy copies all of it."""

import base64
import hashlib

import pytest
from emulated import GEMINI_API_KEY
from google import genai
from google.genai import errors, types

FLASH = "gemini-2.5-flash"
MIB = 1024 * 1024


def test_contents_are_embedded(client, emulator):
    response = client.models.embed_content(
        model="gemini-embedding-001",
        # The proxy keeps embeddings: the other generation's would not come back here.
        contents=[f"pomegranate {genai.__version__}", "plum"],
        config={"task_type": "RETRIEVAL_QUERY", "output_dimensionality": 128},
    )
    assert [len(embedding.values) for embedding in response.embeddings] == [128, 128]
    assert response.embeddings[0].values != response.embeddings[1].values
    assert len(emulator.arrived("batchEmbedContents")) == 1


def test_a_file_goes_up_in_chunks_and_is_used_listed_downloaded_and_deleted(
    client, emulator, relay, tmp_path
):
    # The SDK sends chunks of 8 MiB.
    content = bytes(at % 251 for at in range(MIB)) * 9
    path = tmp_path / "pomegranate.txt"
    path.write_bytes(content)
    uploaded = client.files.upload(
        file=path, config={"mime_type": "text/plain", "display_name": "A pomegranate"}
    )
    assert base64.b64decode(uploaded.sha256_hash) == hashlib.sha256(content).digest()
    assert uploaded.size_bytes == len(content)
    steps = [request["headers"].get("x-goog-upload-command") for request in emulator.arrived("upload")]
    assert steps == ["start", "upload", "upload, finalize"]
    # The SDK sends no key with the chunks: the proxy puts its own there.
    assert {one["headers"]["x-goog-api-key"] for one in emulator.arrived("upload")} == {GEMINI_API_KEY}

    described = client.files.get(name=uploaded.name)
    assert described.display_name == "A pomegranate"
    assert described.state == types.FileState.ACTIVE
    # Google's own address: it is what `fileData` needs.
    assert described.uri == uploaded.uri
    assert relay.url not in described.uri
    assert uploaded.name in [file.name for file in client.files.list(config={"page_size": 1})]

    response = client.models.generate_content(model=FLASH, contents=["Say plum", described])
    assert "plum" in response.text

    client.files.delete(name=uploaded.name)
    with pytest.raises(errors.ClientError) as raised:
        client.files.get(name=uploaded.name)
    assert raised.value.code == 403


def test_a_generated_file_is_downloaded(client, emulator):
    emulator.control(
        "gemini-api",
        {"make_file": {"name": "files/big", "bytes": 3 * MIB + 5, "mime_type": "video/mp4"}},
    )
    content = client.files.download(file="files/big")
    assert len(content) == 3 * MIB + 5
    assert content[1000:2000] == bytes(at % 251 for at in range(1000, 2000))


def test_a_cache_is_made_used_changed_listed_and_deleted(client, emulator):
    cache = client.caches.create(
        model=FLASH,
        config={"contents": ["pomegranate " * 5000], "ttl": "600s", "display_name": "A garden"},
    )
    response = client.models.generate_content(
        model=FLASH, contents="Say pomegranate", config={"cached_content": cache.name}
    )
    assert "pomegranate" in response.text
    [generated] = emulator.arrived("generateContent")
    assert cache.name in generated["body"]
    assert client.caches.get(name=cache.name).display_name == "A garden"
    updated = client.caches.update(name=cache.name, config={"ttl": "1200s"})
    assert updated.expire_time > cache.expire_time
    assert cache.name in [one.name for one in client.caches.list()]
    client.caches.delete(name=cache.name)
    with pytest.raises(errors.ClientError):
        client.caches.get(name=cache.name)
    calls = {request["rpc"] for request in emulator.arrived()} - {"generateContent"}
    verbs = ["create", "delete", "get", "list", "update"]
    assert calls == {f"cachedContents.{verb}" for verb in verbs}


def test_a_batch_is_made_finished_and_deleted(client):
    batch = client.batches.create(
        model=FLASH,
        src=[{"contents": [{"role": "user", "parts": [{"text": "Say pomegranate"}]}]}],
        config={"display_name": "One"},
    )
    for _ in range(5):
        polled = client.batches.get(name=batch.name)
        if polled.state == types.JobState.JOB_STATE_SUCCEEDED:
            break
    [answer] = polled.dest.inlined_responses
    assert "pomegranate" in answer.response.text
    assert batch.name in [one.name for one in client.batches.list(config={"page_size": 10})]
    client.batches.delete(name=batch.name)


def test_an_interaction_is_made_streamed_fetched_and_deleted(client, emulator):
    made = client.interactions.create(model=FLASH, input="Say pomegranate")
    assert made.status == "completed"
    assert "pomegranate" in str(made)
    fetched = client.interactions.get(made.id)
    assert fetched.id == made.id
    events = list(client.interactions.create(model=FLASH, input="Say plum", stream=True))
    assert events[0].event_type == "interaction.created"
    assert events[-1].event_type == "interaction.completed"
    assert "plum" in "".join(str(event) for event in events)
    client.interactions.delete(made.id)
    # The second would be a second interaction that is paid for.
    assert len(emulator.arrived("interactions.create")) == 2
