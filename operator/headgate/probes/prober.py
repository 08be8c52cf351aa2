"""One question, asked over HTTP/1.1: resolve, check the address, connect to that very address, ask, read a little, judge.

Nothing is followed (a redirect is an answer like any other), no proxy of the environment is used, and no connection is kept.
Credentials go into the request and nowhere else: URL, errors and logs have none, since query and path are given to the
connection past the URL.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from urllib.parse import quote_from_bytes

import httpx

from headgate import __version__
from headgate.control.probing import Answer
from headgate.control.questions import Key, Question
from headgate.model import addresses
from headgate.model.observations import ProbeVerdict
from headgate.model.plan import CredentialPlace, Endpoint
from headgate.probes.names import NotResolved, Resolver, SystemResolver, resolve
from headgate.probes.trust import Contexts
from headgate.providers import answers

#: By this a provider may tell probes from calls.
USER_AGENT = f"headgate-probe/{__version__}"
#: Bytes of an answer that are read; what judges it stands at its beginning.
BODY_MAX = 64 * 1024
#: Seconds for the whole of a probe, and for one connection where nothing is said.
PATIENCE, CONNECT = 20.0, 5.0
#: Addresses of one endpoint that are tried.
ADDRESSES = 3


class _NotAsked(Exception):
    """The provider did not get to see the request."""

    def __init__(self, failure: str, detail: str = "") -> None:
        super().__init__(failure)
        self.answer = Answer(ProbeVerdict.UNHEALTHY, reached=False, failure=failure, detail=detail)


class Prober:
    """Asks. Any number of tasks may at once; bounding them is the caller's business."""

    def __init__(self, resolver: Resolver | None = None) -> None:
        self._resolver = resolver or SystemResolver()
        self._contexts = Contexts()

    async def ask(self, question: Question) -> Answer:
        """Ask the endpoints in their order until one is reached. Never raises for what others do."""
        try:
            async with asyncio.timeout(PATIENCE):
                return await self._ask(question)
        except TimeoutError:
            return Answer(ProbeVerdict.UNHEALTHY, failure="RequestTimeout")

    async def _ask(self, question: Question) -> Answer:
        last: Answer | None = None
        for endpoint in question.endpoints:  # sorted by priority
            try:
                for address, port in await self._places(question, endpoint):
                    try:
                        return await self._call(question, endpoint, address, port)
                    except _NotAsked as failed:
                        last = failed.answer
            except _NotAsked as failed:
                last = failed.answer
        return last or Answer(None)

    async def _places(self, question: Question, endpoint: Endpoint) -> Sequence[tuple[str, int]]:
        """Where to connect to: looked up once, checked, and used as it is."""
        if endpoint.dial is not None:
            return [endpoint.dial]
        if endpoint.literal:
            found = [endpoint.hostname]
        else:
            try:
                found = await resolve(self._resolver, endpoint.hostname, question.family)
            except NotResolved as problem:
                raise _NotAsked("NameNotResolved", str(problem)) from None
        let = [each for each in found if not addresses.refuses(each, question.allowed_cidrs)]
        if not let:
            detail = f"{endpoint.hostname} leads to {found[0]}, which is not a public address"
            raise _NotAsked("AddressRefused", detail)
        return [(each, endpoint.port) for each in let[:ADDRESSES]]

    async def _call(self, question: Question, endpoint: Endpoint, address: str, port: int) -> Answer:
        context = await self._context(question)
        connect = question.connect_timeout / 1000 or CONNECT
        transport = httpx.AsyncHTTPTransport(
            verify=context if context is not None else False, trust_env=False, http2=False, retries=0
        )
        timeout = httpx.Timeout(PATIENCE, connect=connect)
        async with transport:
            try:
                response = await transport.handle_async_request(_request(question, endpoint, address, port, timeout))
                try:
                    body = await _beginning(response)
                finally:
                    await response.aclose()
            except httpx.HTTPError as error:
                return _failed(error)
        return _judged(question, response.status_code, response.headers, body)

    async def _context(self, question: Question) -> ssl.SSLContext | None:
        if question.trust is None:
            return None
        try:
            return await self._contexts.of(question.trust)
        except ssl.SSLError:
            raise _NotAsked("TLSFailure", "CAs or client certificate can't be used") from None


def _request(question: Question, endpoint: Endpoint, address: str, port: int, timeout: httpx.Timeout) -> httpx.Request:
    tls = question.trust is not None
    host = f"[{address}]" if ":" in address else address
    name = (question.trust.server_name if question.trust else None) or endpoint.hostname
    return httpx.Request(
        question.method,
        f"{'https' if tls else 'http'}://{host}:{port}/",
        headers=list(_headers(question, endpoint.host(tls=tls))),
        extensions={
            "target": _target(question.path, question.keys),
            "timeout": timeout.as_dict(),
            # For an address this is what is looked for in the certificate; as a name it is not asked for then.
            **({"sni_hostname": name} if tls else {}),
        },
    )


def _target(path: str, keys: Sequence[Key]) -> bytes:
    pairs = [
        f"{quote_from_bytes(key.name.encode(), safe='')}={quote_from_bytes(_value(key), safe='')}"
        for key in keys
        if key.place is CredentialPlace.QUERY
    ]
    if not pairs:
        return path.encode("ascii")
    return f"{path}{'&' if '?' in path else '?'}{'&'.join(pairs)}".encode("ascii")


def _headers(question: Question, host: str) -> Iterator[tuple[bytes, bytes]]:
    """What a call has after the gateway's own rules, and then the credentials in place of whatever is there."""
    yield b"host", host.encode("ascii")
    own = [("user-agent", USER_AGENT), ("accept", "*/*"), ("accept-encoding", "identity")]
    rules = question.headers
    gone = {name.lower() for name in rules.remove}
    replaced = {name.lower() for name, _ in rules.set}
    keys = {key.name.lower() for key in question.keys if key.place is CredentialPlace.HEADER}
    kept = [each for each in own if each[0] not in gone | replaced]
    for name, value in (*kept, *rules.set, *rules.add):
        if name.lower() not in keys | {"host"}:
            yield name.encode("ascii"), value.encode("latin-1", "replace")
    for key in question.keys:
        if key.place is CredentialPlace.HEADER:
            yield key.name.encode("ascii"), _value(key)
    cookies = [key.name.encode() + b"=" + _value(key) for key in question.keys if key.place is CredentialPlace.COOKIE]
    if cookies:
        yield b"cookie", b"; ".join(cookies)


def _value(key: Key) -> bytes:
    return key.prefix.encode() + key.value.reveal()


async def _beginning(response: httpx.Response) -> bytes:
    """As it comes: no encoding was asked for, and none is undone."""
    body = b""
    async for piece in response.aiter_raw():
        body += piece
        if len(body) >= BODY_MAX:
            break
    return body[:BODY_MAX]


def _judged(question: Question, status: int, headers: httpx.Headers, body: bytes) -> Answer:
    said = dict(headers.items())
    verdict = answers.judge(question, question.marks, status, said, body)
    wait = None
    if verdict is ProbeVerdict.RATE_LIMITED:
        wait = answers.wait(question.reset_headers, question.body_hint, said, body, datetime.now(UTC))
    failure = "" if verdict is ProbeVerdict.HEALTHY else f"Status{status}"
    detail = ""
    if verdict is ProbeVerdict.UNHEALTHY and any(each.low <= status <= each.high for each in question.expected):
        failure, detail = "UnknownAnswer", f"the answer has no {question.field}: something in between may have given it"
    return Answer(verdict, wait=wait, failure=failure, detail=detail)


def _failed(error: httpx.HTTPError) -> Answer:
    """What went wrong, in a word of ours: what libraries say may repeat the request."""
    match error:
        case httpx.ConnectTimeout():
            raise _NotAsked("ConnectTimeout")
        case httpx.ConnectError():
            raise _tls_or_connect(error)
        case httpx.TimeoutException():
            return Answer(ProbeVerdict.UNHEALTHY, failure="RequestTimeout")
        case httpx.ReadError() | httpx.WriteError():
            return Answer(ProbeVerdict.UNHEALTHY, failure="ConnectionClosed")
        case httpx.RemoteProtocolError():
            closed = "disconnected" in str(error) or "closed connection" in str(error)
            return Answer(ProbeVerdict.UNHEALTHY, failure="ConnectionClosed" if closed else "ProtocolError")
        case _:
            return Answer(None, failure=type(error).__name__)


def _tls_or_connect(error: BaseException) -> _NotAsked:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _NotAsked("TLSFailure", getattr(cause, "verify_message", ""))
        if isinstance(cause, ssl.SSLError):
            return _NotAsked("TLSFailure")
        cause = cause.__cause__ or cause.__context__
    return _NotAsked("ConnectFailure")
