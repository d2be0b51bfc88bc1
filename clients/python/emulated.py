"""The emulator behind the proxy, and what a client sent compared with what arrived there."""

import base64
import json
import os
import re
import socket
import threading
import urllib.request
from urllib.parse import parse_qs, urlsplit

UPSTREAM = os.environ["UPSTREAM"]

# What a client has of its own. None of it may arrive at Google.
CLIENT_KEY = "AIza-of-the-client"
CLIENT_TOKEN = "ya29.of-the-client"
CLIENT_PROJECT = "project-of-the-client"
CLIENT_SECRETS = [CLIENT_KEY, CLIENT_TOKEN, CLIENT_PROJECT]

# The operator's own, as `serve --emulator` configures the proxy.
GEMINI_API_KEY = "AQ.emulator-key"
ISSUED_TOKENS = "ya29.emulator-"
VERTEX_ACCOUNT = "robot@emulator-vertex-project.iam.gserviceaccount.com"
VERTEX_PLACE = "projects/emulator-vertex-project/locations/global"

# Requests for tokens are the proxy's own.
CREDENTIAL_SERVICES = {"token", "tokeninfo", "userinfo"}


class Emulator:
    """The control endpoints of the emulator."""

    def control(self, name, body=None, method=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"{os.environ['EMULATOR_URL']}/__emulator/{name}",
            data,
            method=method or ("GET" if data is None else "POST"),
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read() or b"null")

    def forget(self):
        self.control("log", method="DELETE")
        self.control("script", method="DELETE")

    def arrived(self, rpc=None):
        """The requests that came, of one RPC or all but those for tokens."""
        return [
            request
            for request in self.control("log")
            if (request["rpc"] == rpc if rpc else request["rpc"] not in CREDENTIAL_SERVICES)
        ]


class Relay:
    """Passes bytes between the client and the proxy, and keeps what the client sent."""

    def __init__(self, url):
        target = urlsplit(url)
        self._target = (target.hostname, target.port)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        # One entry for each connection, since bodies of several would be interleaved.
        self._sent = []
        threading.Thread(target=self._accept, daemon=True).start()

    def forget(self):
        for sent in self._sent:
            sent.clear()

    def has_sent(self, body):
        """Whether a request of the client had exactly this body."""
        wanted = b"\r\n\r\n" + body
        length = b"content-length: %d\r\n" % len(body)
        return any(wanted in sent and length in bytes(sent).lower() for sent in list(self._sent))

    def lines(self):
        """The first lines of the requests that the client sent, as `POST /v1/messages`."""
        first = re.compile(rb"((?:GET|POST|HEAD|DELETE) \S+) HTTP/1\.1\r\n")
        return [line.decode() for sent in list(self._sent) for line in first.findall(bytes(sent))]

    def _accept(self):
        while True:
            client, _ = self._listener.accept()
            proxy = socket.create_connection(self._target)
            sent = bytearray()
            self._sent.append(sent)
            for way in [(client, proxy, sent), (proxy, client, None)]:
                threading.Thread(target=_pump, args=way, daemon=True).start()


def _pump(source, sink, kept):
    try:
        while data := source.recv(65536):
            if kept is not None:
                kept += data
            sink.sendall(data)
    except OSError:
        pass
    try:
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def check(request, relay, copied=True):
    """What holds for every request at every provider. A `copied` body is the client's own."""
    told = f"{request['method']} {request['path']}?{request['query']} {request['headers']}"
    assert "violation" not in request or request["violation"] is None, told
    everything = json.dumps(request)
    for secret in CLIENT_SECRETS:
        assert secret not in everything, told
    headers, query = request["headers"], parse_qs(request["query"])
    carriers = [headers[name] for name in ("x-goog-api-key", "authorization") if name in headers]
    carriers += [query[name] for name in ("key", "access_token", "oauth_token") if name in query]
    assert len(carriers) == 1, told
    provider = provider_of(request["path"])
    assert UPSTREAM in (provider, "all"), told
    if provider == "gemini-api":
        assert headers.get("x-goog-api-key") == GEMINI_API_KEY, told
        if copied:
            check_body(request, relay)
    elif provider == "vertex":
        kind, token = headers["authorization"].split(" ")
        assert kind == "Bearer", told
        # The proxy signs its own tokens until one is refused, and then gets them from Google.
        assert token.startswith(ISSUED_TOKENS) or issuer(token) == VERTEX_ACCOUNT, told
        is_catalogue = request["path"].startswith("/v1beta1/publishers/google/models")
        assert is_catalogue or f"/{VERTEX_PLACE}/" in request["path"], told
    else:
        assert headers["authorization"].startswith(f"Bearer {ISSUED_TOKENS}"), told


def check_body(request, relay):
    """The body is the client's, byte for byte. Large ones are checked by their digest elsewhere."""
    if "body_base64" in request:
        body = base64.b64decode(request["body_base64"])
    elif "body" in request:
        body = request["body"].encode()
    else:
        return
    if body and not request["headers"].get("transfer-encoding"):
        assert relay.has_sent(body), f"no client has sent {body[:500]!r}"


def provider_of(path):
    if path.startswith("/v1internal"):
        return "code-assist"
    if "/projects/" in path or "/publishers/" in path:
        return "vertex"
    return "gemini-api"


def issuer(jwt):
    claims = jwt.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["iss"]
