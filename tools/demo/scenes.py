"""The scenes. Each is a function on the stage; they play in the order of `SCENES`, and each leaves the stage as it was."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import httpx
from google import genai

from demo.stage import Stage
from headgate.simulate.pace import PACE

GEMINI = "generativelanguage.googleapis.com"
CLOUDFLARE = "api.cloudflare.com"
FLASH, PRO = "gemini-2.5-flash", "gemini-2.5-pro"


def client(stage: Stage) -> genai.Client:
    """The vendor's own client, as an application would make it: only the base URL is another one."""
    return genai.Client(api_key="unused", http_options={"base_url": f"{stage.url}/shop/gemini"})


def models(stage: Stage, model: str) -> httpx.Response:
    """One plain call to a model, so that the answer's headers can be looked at."""
    body = {"contents": [{"parts": [{"text": "hello"}]}]}
    return stage.http.post(f"/shop/gemini/v1beta/models/{model}:generateContent", json=body)


def streamed(stage: Stage) -> None:
    stage.tell(
        "Google's own Python client, with nothing but its base URL changed. It has no key: the gateway puts it in."
    )
    stage.command("genai.Client(api_key='unused', http_options={'base_url': '" + f"{stage.url}/shop/gemini" + "'})")
    begun, pieces, came = time.monotonic(), [], []
    with client(stage) as gemini:
        for chunk in gemini.models.generate_content_stream(
            model=FLASH, contents="Tell me about headgates, one word after the other."
        ):
            pieces.append(chunk.text or "")
            came.append(time.monotonic() - begun)
            stage.output(f"{came[-1]:5.2f} s  {pieces[-1]!r}")
    spread = came[-1] - came[0]
    stage.claim(
        f"the answer came in {len(pieces)} pieces, over {spread:.1f} s: each when the provider said it",
        len(pieces) > 3 and "headgates" in "".join(pieces) and spread > (len(pieces) - 1) * PACE / 2,
    )
    last = stage.control.calls(GEMINI)[-1]
    stage.claim(
        "the provider, which refuses keys that it does not know, found one in x-goog-api-key",
        last.status == 200 and any("x-goog-api-key" in place for place in last.credentials),
    )
    stage.shows("gemini", "Healthy")


def waits(stage: Stage) -> None:
    stage.tell("The provider refuses one call: 429, and its body (no header) says to come back in 2 s.")
    stage.control.fail(GEMINI, status=429, retry_info="2s")
    before, begun = stage.control.count(GEMINI), time.monotonic()
    with client(stage) as gemini:
        answer = gemini.models.generate_content(model=FLASH, contents="hello")
    took, calls = time.monotonic() - begun, stage.control.count(GEMINI) - before
    stage.output(f"{took:5.2f} s  {answer.text!r}")
    statuses = [each.status for each in stage.control.calls(GEMINI)[-calls:]]
    stage.claim("the application got its answer and never saw the 429", answer.text and statuses == [429, 200])
    stage.claim(
        f"the gateway called twice, and between them waited for the 2 s or a little more ({took:.1f} s)", took >= 2
    )
    stage.headgate("get", "upstreams")


def outage(stage: Stage) -> None:
    stage.tell(f"{FLASH} goes down. Each call is retried, in vain; after five of them the breaker opens.")
    stage.control.fail(GEMINI, status=503, until="cleared", path=f"/v1beta/models/{FLASH}")
    before, failed = stage.control.count(GEMINI), 0
    answer = models(stage, FLASH)
    while answer.status_code == 503 and "CircuitOpen" not in answer.text and failed < 20:
        failed += 1
        stage.output(f"503 from the provider: {answer.json()['error']['message']}")
        answer = models(stage, FLASH)
    stage.output(f"{answer.status_code} from the gateway: {answer.json()['error']['message']}")
    stage.claim(f"open after {failed} failed calls", failed == 5 and answer.json()["error"]["code"] == "CircuitOpen")
    tried = stage.control.count(GEMINI) - before
    stage.claim(f"each was retried before: the provider got {tried} calls", tried == failed * 4)
    before, begun = stage.control.count(GEMINI), time.monotonic()
    refused = [models(stage, FLASH) for _ in range(20)]
    each = (time.monotonic() - begun) / len(refused) * 1000
    open_still = all(one.status_code == 503 and "retry-after" in one.headers for one in refused)
    stage.claim(f"20 more calls were refused with Retry-After in {each:.1f} ms each", open_still)
    stage.claim("and the provider was left alone: 0 calls", stage.control.count(GEMINI) == before)
    stage.claim(f"{PRO}, a section of its own, goes on", models(stage, PRO).status_code == 200)
    stage.shows("gemini", "Degraded", "Open 1/")
    stage.tell("The provider recovers. The breaker lets one call through to see, and closes.")
    stage.control.clear(GEMINI)
    stage.wait(lambda: models(stage, FLASH).status_code == 200, "the breaker to close")
    stage.claim("closed again", models(stage, FLASH).status_code == 200)
    stage.shows("gemini", "Healthy", "Closed")


def limited(stage: Stage) -> None:
    stage.tell("Cloudflare locks an account out for 5 minutes that calls too often. The example allows 50 at once.")
    before = stage.control.count(CLOUDFLARE)
    answers = [stage.http.get("/shop/cloudflare/client/v4/user/tokens/verify") for _ in range(70)]
    passed = [one for one in answers if one.status_code == 200]
    refused = [one for one in answers if one.status_code == 429]
    stage.claim(
        f"70 calls in a row: {len(passed)} passed, {len(refused)} were refused", len(passed) + len(refused) == 70
    )
    stage.claim("about 50 passed (4 a second come back)", 50 <= len(passed) < 70)
    stage.output(refused[0].text)
    waits = {one.headers.get("retry-after") for one in refused}
    stage.claim(
        f"each refusal says when to come back: Retry-After: {refused[0].headers.get('retry-after')}", None not in waits
    )
    got = stage.control.count(CLOUDFLARE) - before
    stage.claim(f"Cloudflare got {got} calls: those that passed, and no other", got == len(passed))
    stage.headgate("get", "upstreams")


@dataclass(slots=True)
class _Traffic:
    """Calls that go on while something is changed."""

    stage: Stage
    statuses: list[int] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)

    @contextlib.contextmanager
    def going(self) -> Iterator[None]:
        thread = threading.Thread(target=self._send, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def _send(self) -> None:
        with httpx.Client(base_url=self.stage.url, timeout=10, trust_env=False) as http:
            body = {"contents": [{"parts": [{"text": "hello"}]}]}
            while not self._over.is_set():
                answer = http.post(f"/shop/gemini/v1beta/models/{PRO}:generateContent", json=body)
                self.statuses.append(answer.status_code)


def edited(stage: Stage) -> None:
    stage.tell("A policy is edited while calls go on: no more retries.")
    traffic = _Traffic(stage)
    with traffic.going():
        stage.edit("gemini.yaml", "attempts: 3", "attempts: 0")
        begun = time.monotonic()
        stage.wait(lambda: _tries(stage) == 1, "the edit to be live")
        took = time.monotonic() - begun
        stage.claim(f"live {took:.2f} s after it was saved: a 503 now reaches the application, after one try", True)
        stage.edit("gemini.yaml", "attempts: 0", "attempts: 3")
        stage.wait(lambda: _tries(stage) == 2, "the edit to be taken back")
    good = traffic.statuses.count(200)
    stage.claim(f"and back; of {len(traffic.statuses)} calls meanwhile none failed", good == len(traffic.statuses) > 0)
    stage.headgate("get", "upstreams")


def _tries(stage: Stage) -> int:
    """How many times the provider is called for one call that fails at first."""
    stage.control.fail(GEMINI, status=503, path=f"/v1beta/models/{FLASH}")
    before = _calls(stage)
    models(stage, FLASH)
    tries = _calls(stage) - before
    stage.control.clear(GEMINI)
    models(stage, FLASH)  # failures in a row would open the breaker
    return tries


def _calls(stage: Stage) -> int:
    """Calls to one model among the provider's last ones; other traffic may push early ones out, so only for a moment."""
    return len([each for each in stage.control.calls(GEMINI) if FLASH in each.path])


def broken(stage: Stage) -> None:
    stage.tell("A mistake is saved. It is refused in words, and what was live stays live.")
    since = len(stage.lines)
    stage.edit("gemini.yaml", "attempts: 3", "attempts: many")
    line = stage.said("attempts", since)
    stage.output(line)
    stage.claim("the run names the file, the line and what to do", "gemini.yaml" in line)
    stage.claim("calls go on, under the policy as it was: retries still work", _tries(stage) == 2)
    table = stage.headgate("get", "retrypolicies")
    stage.claim("and so does its status", re.search(r"^ *gemini +False +False +InvalidSpec ", table, re.MULTILINE))
    stage.headgate("get", "upstreams")
    since = len(stage.lines)
    stage.edit("gemini.yaml", "attempts: many", "attempts: 3")
    stage.output(stage.said("mended", since))


SCENES: tuple[tuple[str, Callable[[Stage], None]], ...] = (
    ("A streamed call, with the key put in", streamed),
    ("A provider says: wait", waits),
    ("A provider goes down", outage),
    ("A limit holds", limited),
    ("A policy is edited", edited),
    ("A mistake is saved", broken),
)
