"""What the emulator is to answer, and what arrived there, in the Gemini API's words whatever provider
it plays."""

import json
import os

from emulated import UPSTREAM
from pydantic import BaseModel

FLASH = "gemini-2.5-flash"
# Its tool calls are refused upstream when the thought signature of the call does not come back.
SIGNING = "gemini-3-pro-preview"
EMBEDDING = "gemini-embedding-001"
SLOWLY = "Say pomegranate, and say it slowly, in several pieces, one after the other"

# A PNG of one pixel.
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)

# The emulator accepts no other signature but the placeholder.
SIGNATURE = {
    "code-assist": "ZW11bGF0b3IgdGhvdWdodCBzaWduYXR1cmU=",
    "gemini-api": "Z2VtaW5pLWFwaSB0aG91Z2h0IHNpZ25hdHVyZQ==",
}[UPSTREAM]
PLACEHOLDER = "skip_thought_signature_validator"
# Whether the proxy remembers the signatures of calls that a client does not send back.
REMEMBERS = os.environ.get("SIGNATURE_CACHE_BYTES") != "0"

PROMPT_TOKENS, CACHED_TOKENS, OUTPUT_TOKENS, THOUGHT_TOKENS = 10, 4, 7, 5
USAGE = {
    "promptTokenCount": PROMPT_TOKENS,
    "cachedContentTokenCount": CACHED_TOKENS,
    "candidatesTokenCount": OUTPUT_TOKENS - THOUGHT_TOKENS,
    "thoughtsTokenCount": THOUGHT_TOKENS,
    "totalTokenCount": PROMPT_TOKENS + OUTPUT_TOKENS,
}

WEATHER, TIME = "lookup_weather", "lookup_time"
WEATHER_ARGS = {"city": "São Paulo", "days": 2}
TIME_ARGS = {"city": "Oslo"}
RESULTS = {WEATHER: "vermilion", TIME: "noon"}
# As OpenAI's APIs describe functions.
FUNCTIONS = [
    {
        "name": WEATHER,
        "description": "Tells the weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "days": {"type": "integer", "exclusiveMinimum": 0},
            },
            "required": ["city", "days"],
            "additionalProperties": False,
        },
    },
    {
        "name": TIME,
        "description": "Tells the time in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
]
QUESTION = "What is the weather in São Paulo, and the time in Oslo?"


def lookup_weather(city: str, days: int) -> str:
    """Tells the weather of a city."""
    assert {"city": city, "days": days} == WEATHER_ARGS
    return RESULTS[WEATHER]


def lookup_time(city: str) -> str:
    """Tells the time in a city."""
    assert {"city": city} == TIME_ARGS
    return RESULTS[TIME]


class Step(BaseModel):
    text: str
    minutes: int


class Recipe(BaseModel):
    name: str
    portions: int
    vegan: bool
    steps: list[Step]


def event(*parts, finish=None, usage=None):
    """A `GenerateContentResponse` with one candidate."""
    candidate = {"content": {"role": "model", "parts": list(parts)}}
    if finish:
        candidate["finishReason"] = finish
    response = {"candidates": [candidate], "modelVersion": SIGNING, "responseId": "response-1"}
    return response | ({"usageMetadata": usage} if usage else {})


def answers(emulator, *events, **rule):
    """Has the emulator give these events as its next answer: as they are if it is asked for a stream,
    else as one. A `rule` may have more members, such as `match`."""
    match = rule.pop("match", {})
    stream = [json.dumps(_enveloped(event)) for event in events]
    whole = json.dumps(_enveloped(_merged(events)))
    emulator.control(
        "script",
        [
            {"match": match | {"rpc": "streamGenerateContent"}, "events": stream, **rule},
            {"match": match | {"rpc": "generateContent"}, "body": whole, **rule},
        ],
    )


def says_hello(emulator, **rule):
    """Has the model say `Hello`, in two events, and state its usage."""
    last = event({"text": "lo"}, finish="STOP", usage=USAGE)
    answers(emulator, event({"text": "Hel"}), last, **rule)


def calls_two_tools(emulator, thought=None):
    """Has the model call both tools in one step. As newer models do, it says STOP in an event of its
    own, and only the first call has a signature."""
    calls = [
        {
            "functionCall": {"name": WEATHER, "args": WEATHER_ARGS},
            "thoughtSignature": SIGNATURE,
        },
        {"functionCall": {"name": TIME, "args": TIME_ARGS}},
    ]
    thoughts = [event({"text": thought, "thought": True})] if thought else []
    answers(emulator, *thoughts, event(*calls), event({"text": ""}, finish="STOP", usage=USAGE))


def fails(emulator, model, error, **rule):
    """Has each request for a model fail."""
    body = json.dumps({"error": error})
    rule = {"match": {"model": model}, "status": error["code"], "body": body, "times": 0} | rule
    emulator.control("script", rule)


def per_minute(delay):
    """A 429 for now; Google says when to ask again."""
    return {
        "code": 429,
        "message": f"You exceeded your current quota. Please retry in {delay}.",
        "status": "RESOURCE_EXHAUSTED",
        "details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}],
    }


def per_day():
    """A 429 for today, as each provider says it."""
    reason = "type.googleapis.com/google.rpc.ErrorInfo"
    failure = "type.googleapis.com/google.rpc.QuotaFailure"
    details = {
        "code-assist": [
            {
                "@type": reason,
                "reason": "QUOTA_EXHAUSTED",
                "domain": "cloudcode-pa.googleapis.com",
            }
        ],
        "gemini-api": [
            {
                "@type": failure,
                "violations": [
                    {"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"},
                ],
            }
        ],
    }[UPSTREAM]
    message = "You have exhausted your capacity on this model. Your quota will reset after 9h9m16s."
    return {"code": 429, "message": message, "status": "RESOURCE_EXHAUSTED", "details": details}


def overloaded():
    message = "The model is overloaded. Please try again later."
    return {"code": 503, "message": message, "status": "UNAVAILABLE"}


def breaks_off(emulator, model):
    """Has a stream of a model end with an error after its first event."""
    first = json.dumps(_enveloped(event({"text": "Hel"})))
    rule = {"match": {"model": model}, "events": [first], "tail_error": "high_demand", "times": 0}
    emulator.control("script", rule)


def arrived(emulator):
    """The requests for an answer that came: the Gemini API's bodies."""
    bodies = [
        json.loads(request["body"])
        for request in emulator.arrived()
        if request["rpc"] in ("generateContent", "streamGenerateContent")
    ]
    return [body["request"] if UPSTREAM == "code-assist" else body for body in bodies]


def last_arrived(emulator):
    return arrived(emulator)[-1]


def check_tool_loop(emulator, carried, first_step=0):
    """Two requests: the second has both calls with the signature, and both results in the calls'
    order. `carried` says whether the client itself brings signatures back."""
    requests = arrived(emulator)[first_step:]
    assert len(requests) == 2, requests
    declared = declarations(requests[0])
    assert set(declared) == {WEATHER, TIME}
    assert "city" in declared[WEATHER]["parametersJsonSchema"]["properties"]
    question, calls, results = requests[1]["contents"]
    assert question["role"] == "user"
    assert calls["role"] == "model"
    assert results["role"] == "user"
    calls = [part for part in calls["parts"] if "functionCall" in part]
    assert [part["functionCall"]["name"] for part in calls] == [WEATHER, TIME]
    assert [part["functionCall"]["args"] for part in calls] == [WEATHER_ARGS, TIME_ARGS]
    expected = SIGNATURE if carried or REMEMBERS else PLACEHOLDER
    assert [part.get("thoughtSignature") for part in calls] == [expected, None]
    results = [part["functionResponse"] for part in results["parts"]]
    assert [result["name"] for result in results] == [WEATHER, TIME]
    assert [result["response"] for result in results] == [
        {"output": RESULTS[WEATHER]},
        {"output": RESULTS[TIME]},
    ]
    assert [result["id"] for result in results] == [part["functionCall"]["id"] for part in calls]


def declarations(request):
    """The functions that a request declares, by name."""
    return {
        function["name"]: function
        for tool in request["tools"]
        for function in tool["functionDeclarations"]
    }


def check_json(emulator):
    """An answer in the schema of a recipe was asked for, by the means for JSON Schema."""
    config = last_arrived(emulator)["generationConfig"]
    assert config["responseMimeType"] == "application/json"
    assert "responseSchema" not in config
    schema = config["responseJsonSchema"]
    assert set(schema["properties"]) == {"name", "portions", "vegan", "steps"}


def check_picture(emulator):
    """The picture arrived as it was sent, once, in the last content."""
    parts = last_arrived(emulator)["contents"][-1]["parts"]
    pictures = [part["inlineData"] for part in parts if "inlineData" in part]
    assert pictures == [{"mimeType": "image/png", "data": PIXEL}]


def _enveloped(response):
    return {"response": response, "traceId": "t"} if UPSTREAM == "code-assist" else response


def _merged(events):
    """The same answer as one event: the parts of all, and what the last says besides."""
    merged = events[-1] | {}
    candidates = [event["candidates"][0] for event in events]
    parts = [part for candidate in candidates for part in candidate["content"]["parts"]]
    content = {"role": "model", "parts": parts}
    merged["candidates"] = [candidates[-1] | {"content": content}]
    return merged
