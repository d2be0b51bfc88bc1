# vLLM's router, a gateway for LLMs in Rust, with one server of OpenAI's Chat Completions behind it
# over HTTP/2 with TLS. @NAMES@ are filled in by crates/bench/src/testbed/command.rs.
from vllm_router import Router
from vllm_router.router_args import RouterArgs

Router.from_args(
    RouterArgs(
        port=@PORT@,
        prometheus_port=@METRICS@,
        worker_urls=["https://127.0.0.1:@TLS@"],
        policy="round_robin",
        max_concurrent_requests=10000,
        log_level="error",
    )
).start()
