//! Why goals are missed, with figures. The document shows the reason of a goal while it is missed.

pub(super) const NGINX: &str = "nginx speaks plain HTTP/1.1 to upstream, and has no token, no JSON, \
no limit and no log line. hyper and h2 alone, with nothing of the proxy, reach 0.87 of its rate, which \
is the most that can be had above them \
([DESIGN.md](../DESIGN.md#not-done)).";

pub(super) const HAPROXY: &str = "HAProxy does the same transport work in C and nothing else. hyper \
and h2 alone reach 0.85 of its rate, and so does the build with a profile.";

pub(super) const PRODUCT: &str = "36,700 of 105,100 instructions a request are the core's: \
wrapping and unwrapping JSON, limits, metrics, and the log line \
([COSTS.md](COSTS.md)).";

pub(super) const ADDED: &str = "At a low rate a request finds cold caches and sleeping cores, and the \
cost is the amount of code that it runs through. A build with a profile, which puts that code \
together, adds 0.62 of the time that the other build adds at 200 a second.";

pub(super) const FIRST_BYTE: &str = "Each stream comes on a new connection here: accepting it, and its \
setup in hyper and in the proxy, are added.";

pub(super) const STREAM: &str = "The largest parts are the buffers of the client's connection, \
8 KiB each in hyper, and the request's future of 5 KiB. Throw-away proxies on hyper and h2 held 35 KiB.";

pub(super) const MANY: &str = "5,000 events a second go through 50 connections of 100 streams here, \
each in its own record of TLS, and through 5,000 plain connections at nginx.";

pub(super) const LARGE_BODY: &str = "The proxy reads the whole body before it sends it on, to wrap it \
and to repeat it should upstream fail; nginx passes it on as it comes.";

pub(super) const IDLE: &str = "14 MiB of the binary are code and data, of which what has run once is \
resident, 64 KiB at a time: 10 of the 13 to 16 MiB. A build with a profile puts that together.";

pub(super) const DIALECT: &str = "Both bodies are read and written anew, where Gemini's are wrapped: \
165,000 instructions for a chat request, and 105,000 for Gemini's ([COSTS.md](COSTS.md)). What made Gemini's \
path cheaper did less for the translation.";

pub(super) const GATEWAY: &str = "The router passes the client's JSON on in the same dialect, and the proxy \
translates it: 36 µs and 68.6 µs a request.";

pub(super) const WORKER: &str = "A JavaScript Worker that reads body and answer without a look at them is \
at 1.2 to 1.35; a log line (0.25), the client's signal and a timer come on top \
([DESIGN.md](../DESIGN.md#why-an-executor-of-its-own)).";
