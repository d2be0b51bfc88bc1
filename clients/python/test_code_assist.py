"""google-genai, unmodified: what Code Assist does not have."""

import pytest
from google.genai import errors


def test_what_code_assist_does_not_offer_is_said_plainly(client):
    with pytest.raises(errors.ClientError) as raised:
        client.models.embed_content(model="gemini-embedding-001", contents="hello")
    assert raised.value.code == 404
    assert "not supported" in raised.value.message
