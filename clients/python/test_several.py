"""google-genai, unmodified, with several upstreams in one proxy."""

from emulated import CLIENT_KEY, provider_of
from google import genai

FLASH = "gemini-2.5-flash"


def test_the_first_upstream_answers_and_what_it_lacks_goes_to_the_next(client, emulator):
    response = client.models.generate_content(model=FLASH, contents="Say pomegranate")
    assert "pomegranate" in response.text
    assert response.sdk_http_response.headers["x-proxy-upstream"] == "code-assist"
    client.models.embed_content(
        model="gemini-embedding-001", contents=f"pomegranate {genai.__version__}"
    )
    providers = [provider_of(request["path"]) for request in emulator.arrived()]
    assert (providers[-2:]) == ["code-assist", "gemini-api"]


def test_a_client_names_the_upstream(relay, emulator):
    for name in ["code-assist", "gemini-api", "vertex"]:
        options = {"base_url": relay.url, "headers": {"x-proxy-upstream": name}}
        client = genai.Client(api_key=CLIENT_KEY, http_options=options)
        response = client.models.generate_content(model=FLASH, contents=f"Say {name}")
        assert name in response.text
        assert response.sdk_http_response.headers["x-proxy-upstream"] == name
        assert provider_of(emulator.arrived()[-1]["path"]) == name
