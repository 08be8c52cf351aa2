"""`headgate run --simulate`: the examples as they are, called by a real client, with no key and no name server."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from google import genai
from google.genai import errors, types

from harness.dns import DnsServer
from harness.headgate import Headgate
from headgate.simulate.client import Control, ControlProblem
from headgate.simulate.pace import PACE
from headgate.simulate.script import Script
from headgate.standalone.state import StateDirectory

EXAMPLES = Path(__file__).resolve().parents[3] / "manifests" / "examples"
GEMINI, BILLING, QUICK = "generativelanguage.googleapis.com", "api.billing.example", "api.quick.example"
PROJECT = "abcdefghijklmnopqrst.supabase.co"
MODEL = "gemini-2.5-flash"
KEY = "a-key-that-somebody-pays-for"

#: Without policies: what a fault does is seen as it is.
BARE = """
apiVersion: headgate.dev/v1alpha1
kind: UpstreamService
metadata: {name: quick}
spec:
  hostname: api.quick.example
  timeouts: {request: 2s}
  credentials:
    - name: key
      secretRef: {name: given, key: token}
      location: {queryParameter: token}
---
apiVersion: headgate.dev/v1alpha1
kind: UpstreamService
metadata: {name: wrong}
spec:
  provider: gemini
  credentials:
    - name: default
      secretRef: {name: wrong, key: value}
---
apiVersion: headgate.dev/v1alpha1
kind: UpstreamService
metadata: {name: wrong-too}
spec:
  hostname: api.wrong.example
  credentials:
    - name: default
      secretRef: {name: wrong, key: value}
      location: {header: {name: X-Api-Key}}
---
apiVersion: v1
kind: Secret
metadata: {name: wrong}
stringData: {value: invalid}
"""

#: Every way to be connected to a provider.
WAYS = """
apiVersion: headgate.dev/v1alpha1
kind: UpstreamService
metadata: {name: plain}
spec: {hostname: plain.example, tls: {mode: None}}
---
apiVersion: headgate.dev/v1alpha1
kind: UpstreamService
metadata: {name: port}
spec: {hostname: port.example, port: 8443}
---
apiVersion: headgate.dev/v1alpha1
kind: UpstreamService
metadata: {name: address}
spec: {hostname: 8.8.8.8}
---
apiVersion: headgate.dev/v1alpha1
kind: UpstreamService
metadata: {name: six}
spec: {hostname: "2606:4700:4700::1111"}
---
apiVersion: headgate.dev/v1alpha1
kind: UpstreamService
metadata: {name: other-name}
spec: {hostname: 9.9.9.9, tls: {validation: {hostname: other.example}}}
---
apiVersion: headgate.dev/v1alpha1
kind: UpstreamService
metadata: {name: alternative}
spec:
  hostname: alternative.example
  tls: {validation: {subjectAltNames: [{type: URI, uri: "spiffe://partner/api"}]}}
---
apiVersion: headgate.dev/v1alpha1
kind: UpstreamService
metadata: {name: mutual}
spec:
  hostname: mutual.example
  tls:
    mode: ClientAndServer
    clientCertificateRef: {name: ours}
    validation: {caCertificateRefs: [{kind: ConfigMap, name: theirs}]}
---
apiVersion: headgate.dev/v1alpha1
kind: UpstreamService
metadata: {name: two}
spec:
  endpoints:
    - {hostname: first.example, port: 443}
    - {hostname: second.example, port: 443, priority: 1}
"""
HOSTS = {
    "plain": "plain.example",
    "port": "port.example",
    "address": "8.8.8.8",
    "six": "2606:4700:4700::1111",
    "other-name": "9.9.9.9",
    "alternative": "alternative.example",
    "mutual": "mutual.example",
    "two": "first.example",
}


@pytest.fixture(scope="module")
def dns() -> Iterator[DnsServer]:
    with DnsServer() as server:
        yield server


@pytest.fixture(scope="module")
def simulated(dns: DnsServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Headgate]:
    files = {path.stem: path.read_text() for path in EXAMPLES.glob("*.yaml")}
    files |= {"bare": BARE, "ways": WAYS}
    secrets = {"default/given/token": KEY}
    root = tmp_path_factory.mktemp("simulated")
    with Headgate(root, dns=dns, files=files, secrets=secrets, arguments=["--simulate"]) as running:
        yield running


@pytest.fixture
def control(simulated: Headgate) -> Iterator[Control]:
    with Control.of(simulated.state) as client:
        yield client
        for host in client.hosts():
            client.clear(host.host)


def gemini(headgate: Headgate, upstream: str = "gemini", namespace: str = "shop") -> genai.Client:
    base = headgate.url(upstream, namespace=namespace)
    return genai.Client(api_key="not-a-key", http_options=types.HttpOptions(base_url=base))


def test_it_says_first_that_providers_are_simulated_and_where_they_are_told_what_to_do(simulated: Headgate) -> None:
    lines = simulated.log().splitlines()
    assert lines[1] == "providers are simulated: nothing leaves this machine, and no key is needed"
    url = re.fullmatch(r".* the control API is at (http://127\.0\.0\.1:\d+)", lines[2])
    assert url is not None
    assert {each["host"] for each in httpx.get(url[1], trust_env=False).json()["hosts"]} >= {GEMINI, BILLING}
    assert f"simulated: {GEMINI} (gemini)" in lines
    assert f"simulated: {BILLING} (generic)" in lines
    assert "note: Secret shop/gemini-key has no apiKey: it is made up" in lines
    assert not [line for line in lines if line.startswith("error")]


def test_every_example_is_in_force_under_its_real_host(simulated: Headgate) -> None:
    names = {str(each["metadata"]["name"]) for each in simulated.objects("UpstreamService")}
    in_examples = set(re.findall(r"kind: UpstreamService\nmetadata: \{name: ([-a-z]+)", all_examples()))
    assert in_examples <= names
    for name in in_examples:
        simulated.wait_ready(name, namespace="shop")
    table = simulated.cli("get", "upstreams", "-A", "--state-dir", str(simulated.state)).stdout
    assert re.search(rf"shop +gemini +True .* {re.escape(GEMINI)} ", table)


def all_examples() -> str:
    return "\n".join(path.read_text() for path in sorted(EXAMPLES.glob("*.yaml")))


def test_the_real_client_is_answered(simulated: Headgate, control: Control) -> None:
    before = control.count(GEMINI)
    with gemini(simulated) as client:
        assert client.models.generate_content(model=MODEL, contents="one two").text == "echo: one two"
        pieces, came = [], []
        for piece in client.models.generate_content_stream(model=MODEL, contents="three four five"):
            pieces.append(piece.text)
            came.append(time.monotonic())
    # A word at a time, and each when it is said.
    assert pieces == ["echo:", " three", " four", " five"]
    assert came[-1] - came[0] >= 2 * PACE
    assert control.count(GEMINI) == before + 2
    unary, streamed = control.calls(GEMINI)[-2:]
    assert (unary.method, unary.path, unary.status) == ("POST", f"/v1/models/{MODEL}:generateContent", 200)
    assert streamed.path == f"/v1/models/{MODEL}:streamGenerateContent"
    assert unary.credentials == ("header x-goog-api-key",)


@pytest.mark.parametrize(
    ("upstream", "path", "host", "native"),
    [
        ("gemini", "/v1beta/models", GEMINI, lambda body: body["error"]["status"] == "INTERNAL"),
        ("cloudflare", "/client/v4/zones", "api.cloudflare.com", lambda body: body["success"] is False),
        ("supabase", "/auth/v1/settings", PROJECT, lambda body: "msg" in body),
        ("billing", "/invoices", BILLING, lambda body: body["error"]["status"] == 500),
    ],
)
def test_each_provider_answers_without_a_key_and_fails_in_its_own_words(
    simulated: Headgate, control: Control, upstream: str, path: str, host: str, native: Callable[[Any], bool]
) -> None:
    answer = simulated.call(upstream, path, namespace="shop")
    assert answer.status_code == 200, answer.text
    control.fail(host, status=500, until="cleared")
    answer = simulated.call(upstream, path, namespace="shop")
    assert answer.status_code == 500
    assert native(answer.json()), answer.text


@pytest.mark.parametrize("name", HOSTS)
def test_each_way_to_be_connected_leads_to_the_simulation(simulated: Headgate, control: Control, name: str) -> None:
    simulated.wait_ready(name)
    answer = simulated.call(name, "/x?y=1", method="POST", json={"a": [1]})
    assert answer.status_code == 200, answer.text
    seen = answer.json()
    assert (seen["simulated"], seen["host"], seen["method"], seen["path"]) == (True, HOSTS[name], "POST", "/x")
    assert (seen["query"], seen["body"]) == ([["y", "1"]], {"a": [1]})
    if name == "port":
        assert ["host", "port.example:8443"] in seen["headers"]


def test_a_given_key_is_put_in_and_shown_nowhere(simulated: Headgate, control: Control) -> None:
    answer = simulated.call("quick", "/keyed")
    assert answer.status_code == 200
    assert answer.json()["query"] == [["token", "[credential]"]]
    (call,) = [each for each in control.calls(QUICK) if each.path == "/keyed"]
    assert call.credentials == ("query parameter token",)
    for url in ("/", f"/{QUICK}/calls"):
        assert KEY not in httpx.get(f"{control_url(simulated)}{url}", trust_env=False).text
    assert KEY not in simulated.log()
    for path in (path for path in simulated.state.rglob("*") if path.is_file()):
        assert KEY.encode() not in path.read_bytes(), path


def test_a_wrong_key_is_refused_in_the_providers_words(simulated: Headgate) -> None:
    with gemini(simulated, "wrong", "default") as client, pytest.raises(errors.ClientError) as caught:
        client.models.generate_content(model=MODEL, contents="x")
    assert (caught.value.code, caught.value.status) == (400, "INVALID_ARGUMENT")
    assert "API_KEY_INVALID" in str(caught.value.details)
    assert simulated.call("wrong-too").status_code == 401


def test_an_outage_is_retried_and_counted_to_the_call(simulated: Headgate, control: Control) -> None:
    before = control.count(GEMINI)
    control.fail(GEMINI, status=503, times=2)
    with gemini(simulated) as client:
        assert client.models.generate_content(model=MODEL, contents="again").text == "echo: again"
    assert control.count(GEMINI) == before + 3
    assert [each.status for each in control.calls(GEMINI)[-3:]] == [503, 503, 200]


def test_an_outage_that_lasts_reaches_the_client_in_the_providers_words(simulated: Headgate, control: Control) -> None:
    before = control.count(GEMINI)
    control.fail(GEMINI, status=503, until="cleared")
    with gemini(simulated) as client:
        with pytest.raises(errors.ServerError) as caught:
            client.models.generate_content(model=MODEL, contents="x")
        assert (caught.value.code, caught.value.status) == (503, "UNAVAILABLE")
        assert control.count(GEMINI) == before + 4
        control.clear(GEMINI)
        assert client.models.generate_content(model=MODEL, contents="back").text == "echo: back"


def test_the_wait_that_a_body_asks_for_is_kept(simulated: Headgate, control: Control) -> None:
    control.fail(GEMINI, status=429, retry_info="1s")
    with gemini(simulated) as client:
        began = time.monotonic()
        assert client.models.generate_content(model=MODEL, contents="later").text == "echo: later"
        assert time.monotonic() - began >= 1.0
    assert [each.status for each in control.calls(GEMINI)[-2:]] == [429, 200]


def test_no_answer_and_a_late_one(simulated: Headgate, control: Control) -> None:
    control.add(QUICK, Script(hang=True), Script(latency="300ms"))
    assert simulated.call("quick").status_code == 504
    began = time.monotonic()
    assert simulated.call("quick").status_code == 200
    assert time.monotonic() - began >= 0.3
    hung, late = control.calls(QUICK)[-2:]
    assert (hung.status, hung.fault) == (None, "hang")
    assert (late.status, late.fault) == (200, "latency 300ms")


def test_a_connection_that_is_cut(simulated: Headgate, control: Control) -> None:
    control.fail(QUICK, reset=True)
    assert simulated.call("quick").status_code == 503
    assert (control.calls(QUICK)[-1].status, control.calls(QUICK)[-1].fault) == (None, "reset")
    assert simulated.call("quick").status_code == 200


def test_an_answer_of_ones_own_for_some_calls_only(simulated: Headgate, control: Control) -> None:
    control.fail(QUICK, status=418, body={"tea": "pot"}, headers={"X-Tea": "green"}, path="/brew", method="POST")
    assert simulated.call("quick", "/brew").status_code == 200
    answer = simulated.call("quick", "/brew/now", method="POST")
    assert (answer.status_code, answer.json(), answer.headers["x-tea"]) == (418, {"tea": "pot"}, "green")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('{"status": 503, "hang": true}', "give one of status, hang and reset"),
        ("{}", "give status, hang, reset or latency"),
        ('{"status": 503, "tmies": 2}', "tmies: Extra inputs are not permitted"),
        ('[{"status": 503}, {"latency": "soon"}]', "1.latency: "),
        ("no json", "the body is no JSON"),
        ("[" * 200_000, "the body is no JSON"),
        ('[["status"]]', "a fault is a JSON object"),
        ('{"status": 503, "headers": {"bad name": "x"}}', "headers: 'bad name' is not a header that can be sent"),
        ('{"status": 503, "headers": {"x": "a\\r\\nb: c"}}', "headers: 'x' is not a header that can be sent"),
    ],
)
def test_a_script_that_makes_no_sense_is_refused_in_words(
    simulated: Headgate, control: Control, body: str, message: str
) -> None:
    answer = httpx.post(f"{control_url(simulated)}/{QUICK}/faults", content=body, trust_env=False)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(message)
    assert control.host(QUICK).faults == 0


def test_hosts_that_nobody_calls_are_told_apart(control: Control) -> None:
    with pytest.raises(ControlProblem, match=r"no host elsewhere\.example is simulated; there are: "):
        control.fail("elsewhere.example", status=503)


@pytest.mark.parametrize("header", [{"host": "elsewhere.example"}, {"origin": "https://elsewhere.example"}])
def test_a_web_page_has_no_say(simulated: Headgate, header: dict[str, str]) -> None:
    answer = httpx.post(
        f"{control_url(simulated)}/{QUICK}/faults", json={"hang": True}, headers=header, trust_env=False
    )
    assert answer.status_code == 403


def control_url(headgate: Headgate) -> str:
    (url,) = re.findall(r"the control API is at (\S+)", headgate.log())[-1:]
    return str(url)


def test_nothing_but_this_machine_is_dialled(simulated: Headgate, dns: DnsServer) -> None:
    """After all of the above: Envoy knows loopback addresses alone, and nobody was asked for a name."""
    socket = StateDirectory(simulated.state).admin_socket("default/default")
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(socket))) as admin:
        clusters = admin.get("http://admin/clusters?format=json").json()["cluster_statuses"]
    addresses = [host["address"] for each in clusters for host in each.get("host_statuses", ())]
    providers = {each["socket_address"]["address"] for each in addresses if "socket_address" in each}
    assert providers == {"127.0.0.1"}
    assert dns.queries() == ()


def test_a_host_that_comes_later_is_simulated_too_and_keeps_its_count(simulated: Headgate, control: Control) -> None:
    later = "apiVersion: headgate.dev/v1alpha1\nkind: UpstreamService\nmetadata: {name: later}\n"
    simulated.apply("later", later + "spec: {hostname: later.example}\n")
    simulated.wait_ready("later")
    assert simulated.call("later").status_code == 200
    simulated.wait_log(r"(?m)^simulated: later\.example \(generic\)$")
    simulated.apply("later", later + "spec: {hostname: later.example, basePath: /v1}\n")
    simulated.wait_ready("later")
    assert simulated.call("later", "/x").json()["path"] == "/v1/x"
    assert control.count("later.example") == 2


def test_the_next_run_takes_over_what_a_crash_left(tmp_path: Path) -> None:
    files = {path.stem: path.read_text() for path in EXAMPLES.glob("*.yaml")}
    headgate = Headgate(tmp_path, files=files, arguments=["--simulate"])
    try:
        headgate.start()
        (envoy,) = headgate.envoys()
        assert headgate.call("billing", namespace="shop").status_code == 200
        headgate.kill()
        headgate.start()
        assert headgate.envoys() == (envoy,)
        answer = headgate.call("billing", namespace="shop")
        assert answer.status_code == 200, answer.text
        with Control.of(headgate.state) as control:
            assert control.count(BILLING) == 1
        headgate.stop()
        with Control.of(headgate.state) as control, pytest.raises(ControlProblem, match="does not answer"):
            control.hosts()
    finally:
        print(headgate.tail())
        headgate.close()


def test_without_the_extra_it_is_said_what_to_install(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['hypercorn'] = None; sys.argv[1:] = "
        f"['run', '--simulate', '-f', {str(EXAMPLES)!r}, '--state-dir', {str(tmp_path)!r}]; "
        "from headgate.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr == (
        "headgate: --simulate needs hypercorn, which is not installed: pip install 'headgate[simulate]'\n"
    )
