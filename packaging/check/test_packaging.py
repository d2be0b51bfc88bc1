"""The files that deploy the proxy, as far as they can be held to something without a container
engine: their schemas, what they say of one another, and the settings that they name."""

import json
import re
import subprocess
from pathlib import Path

import compose_spec
import dockerfile
import kubernetes_validate
import pytest
import yaml

PACKAGING = Path(__file__).parent.parent
ROOT = PACKAGING.parent
SETTINGS = set(
    re.findall(r"^\| `([A-Z_]+)`", (ROOT / "docs" / "CONFIG.md").read_text(), re.MULTILINE)
)
MANIFESTS = [
    manifest for manifest in yaml.safe_load_all((PACKAGING / "kubernetes.yaml").read_text())
]
COMPOSE = yaml.safe_load((PACKAGING / "compose.yaml").read_text())
OURS = "code-assist-proxy"
# Names of variables that are no settings of the proxy.
PASSWORD = "VALKEY_PASSWORD"


def the(kind, name=OURS):
    found = [it for it in MANIFESTS if (it["kind"], it["metadata"]["name"]) == (kind, name)]
    assert len(found) == 1, f"{len(found)} of {kind} {name}"
    return found[0]


def seconds(text):
    assert text.endswith("s"), text
    return int(text[:-1])


# Kubernetes


@pytest.mark.parametrize("version", ["1.30", kubernetes_validate.latest_version()])
@pytest.mark.parametrize(
    "manifest", MANIFESTS, ids=lambda it: f"{it['kind']}-{it['metadata']['name']}"
)
def test_every_manifest_keeps_to_the_schema(manifest, version):
    kubernetes_validate.validate(manifest, version, strict=True)


def test_a_misspelt_field_would_be_noticed():
    broken = json.loads(json.dumps(the("Deployment")))
    broken["spec"]["template"]["spec"]["containers"][0]["readinesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, kubernetes_validate.latest_version(), strict=True)


def test_selectors_find_the_pods():
    for name in [OURS, f"{OURS}-valkey"]:
        deployment = the("Deployment", name)["spec"]
        labels = deployment["template"]["metadata"]["labels"]
        assert deployment["selector"]["matchLabels"] == labels
        assert the("Service", name)["spec"]["selector"] == labels
        ports = {it["name"] for it in deployment["template"]["spec"]["containers"][0]["ports"]}
        assert {it["targetPort"] for it in the("Service", name)["spec"]["ports"]} <= ports
    ours = the("Deployment")["spec"]["template"]["metadata"]["labels"]
    assert the("PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == ours
    for name in [OURS, f"{OURS}-valkey"]:
        labels = the("Deployment", name)["spec"]["template"]["metadata"]["labels"]
        assert the("NetworkPolicy", name)["spec"]["podSelector"]["matchLabels"] == labels
    policy = the("NetworkPolicy", f"{OURS}-valkey")["spec"]
    assert policy["ingress"][0]["from"][0]["podSelector"]["matchLabels"] == ours


def test_the_network_lets_the_proxies_reach_what_they_need_and_not_the_clouds_credentials():
    policy = the("NetworkPolicy")["spec"]
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    container = the("Deployment")["spec"]["template"]["spec"]["containers"][0]
    opened = {port["port"] for rule in policy["ingress"] for port in rule["ports"]}
    assert opened == {port["containerPort"] for port in container["ports"]}
    reached = {port["port"] for rule in policy["egress"] for port in rule["ports"]}
    valkey = the("Service", f"{OURS}-valkey")["spec"]["ports"][0]["port"]
    assert reached == {53, valkey, 443}
    for rule in policy["egress"]:
        for target in rule["to"]:
            assert "ipBlock" not in target or target["ipBlock"]["except"]


def test_probes_ask_what_they_should_and_a_hung_process_is_noticed():
    container = the("Deployment")["spec"]["template"]["spec"]["containers"][0]
    ports = {port["name"]: str(port["containerPort"]) for port in container["ports"]}
    data = the("ConfigMap")["data"]
    assert ports == {"http": data["PORT"], "admin": data["ADMIN_PORT"]}
    asked = {kind: container[f"{kind}Probe"]["httpGet"] for kind in ["startup", "readiness", "liveness"]}
    assert asked == {
        "startup": {"path": "/live", "port": "admin"},
        "readiness": {"path": "/ready", "port": "http"},
        "liveness": {"path": "/live", "port": "admin"},
    }
    assert [port["name"] for port in the("Service")["spec"]["ports"]] == ["http"]


def test_the_valkey_has_a_password_and_keeps_what_it_has():
    pod = the("Deployment", f"{OURS}-valkey")["spec"]["template"]["spec"]
    container = pod["containers"][0]
    options = dict(zip(container["args"][::2], container["args"][1::2]))
    assert options["--requirepass"] == f"$({PASSWORD})"
    assert options["--appendonly"] == "yes"
    assert options["--maxmemory-policy"] == "noeviction"
    mount = {it["mountPath"]: it["name"] for it in container["volumeMounts"]}[options["--dir"]]
    claim = next(it for it in pod["volumes"] if it["name"] == mount)["persistentVolumeClaim"]
    the("PersistentVolumeClaim", claim["claimName"])
    # More than `--maxmemory`, since the server needs memory beside its data.
    limit = container["resources"]["limits"]["memory"]
    assert int(limit.removesuffix("Mi")) > int(options["--maxmemory"].removesuffix("mb"))


def test_the_autoscaler_counts_places_with_metrics_that_exist():
    metrics = the("HorizontalPodAutoscaler")["spec"]["metrics"]
    assert [metric["type"] for metric in metrics] == ["Pods", "Resource"]
    rule = yaml.safe_load((PACKAGING / "prometheus-adapter.yaml").read_text())["rules"]["custom"][0]
    assert metrics[0]["pods"]["metric"]["name"] == rule["name"]["as"]
    exposed = ROOT / "crates/core/src/metrics/tests/snapshots"
    exposed = "".join(path.read_text() for path in exposed.glob("*metrics*.snap"))
    named = set(re.findall(r"code_assist_proxy_\w+", rule["seriesQuery"] + rule["metricsQuery"]))
    assert len(named) == 2 and all(f"\n{name} " in exposed for name in named), named


def test_the_autoscaler_is_the_deployments_and_never_below_what_a_disruption_leaves():
    autoscaler = the("HorizontalPodAutoscaler")["spec"]
    deployment = the("Deployment")
    target = {key: autoscaler["scaleTargetRef"][key] for key in ["apiVersion", "kind", "name"]}
    assert target == {"apiVersion": "apps/v1", "kind": "Deployment", "name": OURS}
    assert autoscaler["minReplicas"] == deployment["spec"]["replicas"] >= 2
    assert autoscaler["maxReplicas"] > autoscaler["minReplicas"]
    assert the("PodDisruptionBudget")["spec"]["maxUnavailable"] < autoscaler["minReplicas"]
    requests = deployment["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]
    assert "cpu" in requests, "utilisation is a share of the request"


@pytest.mark.parametrize("name", [OURS, f"{OURS}-valkey"])
def test_no_container_is_root_or_writes_to_its_own_system(name):
    pod = the("Deployment", name)["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] > 0
    assert pod["automountServiceAccountToken"] is False
    for container in pod["containers"]:
        security = container["securityContext"]
        assert security["readOnlyRootFilesystem"] and not security["allowPrivilegeEscalation"]
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert "memory" in container["resources"]["limits"]
        assert {"readinessProbe", "livenessProbe"} <= container.keys()


def test_a_pod_has_time_to_drain():
    pod = the("Deployment")["spec"]["template"]["spec"]
    grace = int(the("ConfigMap")["data"]["SHUTDOWN_GRACE_MS"]) / 1000
    pause = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] > grace + pause
    rolling = the("Deployment")["spec"]["strategy"]["rollingUpdate"]
    assert (rolling["maxUnavailable"], rolling["maxSurge"]) == (0, 1)


def test_the_settings_of_the_manifest_exist_and_lead_to_the_valkey():
    data = the("ConfigMap")["data"]
    assert data.keys() <= SETTINGS, data.keys() - SETTINGS
    named = re.findall(r"--from-(?:file|literal)=(\w+)", (PACKAGING / "kubernetes.yaml").read_text())
    assert len(named) == 4 and set(named) <= SETTINGS | {PASSWORD}, named
    container = the("Deployment")["spec"]["template"]["spec"]["containers"][0]
    variables = {variable["name"]: variable for variable in container["env"]}
    assert list(variables) == [PASSWORD, "KV_URL"], "only earlier ones are expanded"
    url = rf"redis://:\$\({PASSWORD}\)@([^:/]+):(\d+)/0"
    host, port = re.fullmatch(url, variables["KV_URL"]["value"]).groups()
    assert int(port) == the("Service", host)["spec"]["ports"][0]["port"]


def test_images_have_an_exact_tag_or_a_digest():
    images = [service.get("image") for service in COMPOSE["services"].values()]
    for name in [OURS, f"{OURS}-valkey"]:
        pod = the("Deployment", name)["spec"]["template"]["spec"]
        images += [container["image"] for container in pod["containers"]]
    exact = re.compile(r".+(:v?\d+\.\d+\.\d+(-\w+)?|@sha256:[0-9a-f]{64})")
    # Compose builds this one.
    loose = {image for image in images if not exact.fullmatch(image)} - {OURS}
    assert not loose, loose


# Compose


def test_the_compose_file_keeps_to_its_specification():
    text = (PACKAGING / "compose.yaml").read_text()
    compose = compose_spec.PyCompose.from_yaml(text)
    compose.validate()
    assert compose.service_names() and set(compose.service_names()) == COMPOSE["services"].keys()
    for wrong in ["read_onlyy: true", "read_only: perhaps"]:
        with pytest.raises(ValueError):
            compose_spec.PyCompose.from_yaml(text.replace("read_only: true", wrong))


def test_what_the_compose_file_names_is_there():
    for service in COMPOSE["services"].values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (PACKAGING / source).is_file(), source
            else:
                assert source in COMPOSE["volumes"], source
        assert set(service.get("secrets", [])) <= COMPOSE["secrets"].keys()
        assert set(service["networks"]) <= COMPOSE["networks"].keys()
        assert set(service.get("depends_on", {})) <= COMPOSE["services"].keys()
        assert service["read_only"] and service["cap_drop"] == ["ALL"]
    proxy = COMPOSE["services"]["proxy"]
    assert proxy["deploy"]["replicas"] == 3
    context = (PACKAGING / proxy["build"]["context"]).resolve()
    assert (context / proxy["build"]["dockerfile"]).is_file()
    # Whatever `secrets/` holds is neither committed nor sent to a builder.
    assert "packaging/secrets" in (ROOT / ".dockerignore").read_text().split()
    ignored = subprocess.run(["git", "check-ignore", "-q", "packaging/secrets/proxy.env"], cwd=ROOT)
    assert ignored.returncode == 0


def test_the_settings_of_the_compose_file_exist_and_leave_time_to_drain():
    proxy = COMPOSE["services"]["proxy"]
    environment = proxy["environment"]
    assert environment.keys() <= SETTINGS, environment.keys() - SETTINGS
    ending = int(environment["SHUTDOWN_DELAY_MS"]) + int(environment["SHUTDOWN_GRACE_MS"])
    assert seconds(proxy["stop_grace_period"]) > ending / 1000
    # HAProxy has taken the process out of service by then.
    check = re.search(r"inter (\d+)ms fall (\d+)", (PACKAGING / "haproxy.cfg").read_text())
    interval, fall = map(int, check.groups())
    assert int(environment["SHUTDOWN_DELAY_MS"]) > 2 * interval * fall
    text = (PACKAGING / "compose.yaml").read_text()
    named = re.findall(r"^#   ([A-Z_]+)=", text, re.MULTILINE)
    assert len(named) == 3 and set(named) <= SETTINGS, named
    assert re.search(r"^#   KV_URL=redis://:.+@valkey:6379/0$", text, re.MULTILINE)
    assert "/run/secrets/valkey_conf" in COMPOSE["services"]["valkey"]["command"]


def test_prometheus_scrapes_the_port_of_the_metrics():
    scraped = yaml.safe_load((PACKAGING / "prometheus.yml").read_text())["scrape_configs"][0]
    admin = COMPOSE["services"]["proxy"]["environment"]["ADMIN_PORT"]
    assert scraped["dns_sd_configs"][0]["port"] == int(admin)


def test_health_checks_run_a_command_that_the_program_has():
    commands = dockerfile.parse_file(str(PACKAGING / "Dockerfile"))
    last = {it.cmd.upper(): it for it in commands}
    program = last["ENTRYPOINT"].value[0]
    check = " ".join(last["HEALTHCHECK"].value)
    assert check == f"CMD {program} health /live"
    assert COMPOSE["services"]["proxy"]["healthcheck"]["test"] == ["CMD", program, "health", "/ready"]


def test_haproxy_reads_its_file():
    run = subprocess.run(
        ["haproxy", "-c", "-f", str(PACKAGING / "haproxy.cfg")], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_haproxy_logs_no_query_and_repeats_only_what_was_not_sent():
    text = (PACKAGING / "haproxy.cfg").read_text()
    settings = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    assert "option httplog" not in settings and "%HPO" in settings
    assert not re.search(r"%HU\b|%HQ\b|%r\b|capture", settings)
    assert re.findall(r"retry-on (.*)", settings) == ["conn-failure"]


def test_haproxy_waits_as_long_as_the_proxy():
    text = (PACKAGING / "haproxy.cfg").read_text()
    idle = re.search(r"`STREAM_IDLE_TIMEOUT_MS` \| `(\d+)`", (ROOT / "docs/CONFIG.md").read_text())
    for side in ["client", "server"]:
        limit = seconds(re.search(rf"^ +timeout {side} (\S+)$", text, re.MULTILINE).group(1))
        assert limit * 1000 > int(idle.group(1))


def test_prometheus_reads_its_file(tmp_path):
    text = (PACKAGING / "prometheus.yml").read_text()
    config = tmp_path / "prometheus.yml"
    key = tmp_path / "key"
    key.write_text("sesame")
    config.write_text(text.replace("/run/secrets/metrics_key", str(key)))
    (tmp_path / "alerts.yml").write_text((ROOT / "monitoring" / "alerts.yml").read_text())
    run = subprocess.run(
        ["promtool", "check", "config", str(config)], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout + run.stderr


# Dockerfile


def test_the_image_is_not_root_and_holds_the_program_and_nothing_else():
    commands = dockerfile.parse_file(str(PACKAGING / "Dockerfile"))
    stages = [index for index, it in enumerate(commands) if it.cmd.upper() == "FROM"]
    assert len(stages) == 2
    last = {it.cmd.upper(): it for it in commands[stages[-1] :]}
    assert last["FROM"].value[0].startswith("gcr.io/distroless/cc-")
    assert last["USER"].value == ("65532:65532",)
    assert "RUN" not in last and "ADD" not in last
    assert last["COPY"].flags == ("--from=build",)
    program = last["COPY"].value[1]
    assert last["ENTRYPOINT"].value == (program,)
    names = set(last["ENV"].value[::2])
    assert names <= SETTINGS, names - SETTINGS


def test_the_image_is_built_with_a_rust_that_will_do():
    commands = dockerfile.parse_file(str(PACKAGING / "Dockerfile"))
    version = re.match(r"rust:(\d+)\.(\d+)\.\d+-", commands[0].value[0]).groups()
    wanted = re.search(r'^rust-version = "(\d+)\.(\d+)', (ROOT / "Cargo.toml").read_text(), re.M)
    assert tuple(map(int, version)) >= tuple(map(int, wanted.groups()))


# systemd


def test_the_unit_writes_neither_core_files_nor_swap_and_has_a_limit():
    unit = (PACKAGING / "code-assist-proxy.service").read_text()
    options = dict(re.findall(r"^(\w+)=(.*)$", unit, re.MULTILINE))
    assert (options["LimitCORE"], options["MemorySwapMax"]) == ("0", "0")
    assert options["MemoryMax"] and options["MemoryHigh"]
