//! Why goals are missed, with figures. The document shows the reason of a goal while it is missed.

pub(super) const NGINX: &str = "nginx speaks plain HTTP/1.1 to upstream, and has no token, no JSON, \
no limit and no log line. hyper and h2 alone, with nothing of the proxy, reach 0.76 of its rate, which \
is the most that can be had above them \
([DESIGN.md](../DESIGN.md#not-done)).";

pub(super) const HAPROXY: &str = "HAProxy does the same transport work in C and nothing else. hyper \
and h2 alone reach 0.99 of its rate; what the proxy does for a request comes on top.";

pub(super) const PRODUCT: &str = "Some 29,000 of 125,000 instructions a request are the proxy's own: \
wrapping and unwrapping JSON, limits, metrics, and the log line \
([COSTS.md](COSTS.md)).";

pub(super) const ADDED: &str = "At a low rate a request finds cold caches and sleeping cores, and the \
cost is the amount of code that it runs through. A build with a profile, which puts that code \
together, adds 0.74 of the time that the other build adds at 200 a second.";

pub(super) const FIRST_BYTE: &str = "Each stream comes on a new connection here: accepting it, and its \
setup in hyper and in the proxy, are added.";

pub(super) const STREAM: &str = "The largest parts are the buffers of the client's connection, \
8 KiB each in hyper, and the request's future of 7 KiB. Throw-away proxies on hyper and h2 held 35 KiB.";

pub(super) const MANY: &str = "5,000 events a second go through 50 connections of 100 streams here, \
each in its own record of TLS, and through 5,000 plain connections at nginx.";

pub(super) const LARGE_BODY: &str = "The proxy reads the whole body before it sends it on, to wrap it \
and to repeat it should upstream fail; nginx passes it on as it comes.";

pub(super) const IDLE: &str = "8.9 MiB of the binary are code and data, of which what has run once is \
resident. A build with a profile puts that together: 9.3 MiB instead of 10.5.";

pub(super) const WORKER: &str = "A JavaScript Worker that reads body and answer without a look at them is \
at 1.2 to 1.35; a log line (0.25), the client's signal and a timer come on top \
([DESIGN.md](../DESIGN.md#why-an-executor-of-its-own)).";
