# A Worker that only forwards, on Cloudflare's runtime. @NAMES@ are filled in by
# crates/bench/src/testbed/command.rs.
using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    (name = "forward", worker = .forward),
    (name = "google", external = (address = "127.0.0.1:@PLAIN@", http = ())),
  ],
  sockets = [(name = "http", address = "127.0.0.1:@PORT@", http = (), service = "forward")],
);

const forward :Workerd.Worker = (
  modules = [(name = "forward.mjs", esModule = embed "forward.mjs")],
  compatibilityDate = "2026-04-01",
  bindings = [(name = "GOOGLE", service = "google")],
);
