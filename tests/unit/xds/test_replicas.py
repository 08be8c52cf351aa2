"""Replicas on real sockets, with real certificates: who may listen, and what is known of one that is not there."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from harness.kube import until
from harness.ports import free_port
from headgate.envoy.resource import Resource, TypeUrl
from headgate.model.refs import ObjectRef
from headgate.xds.acknowledgements import Answers
from headgate.xds.news import METHOD, SERVICE, Hello, encode, news
from headgate.xds.pki import SERVER_NAME, CertificateAuthority, Credential, ServerTls
from headgate.xds.replicas import UNKNOWN, Address, Replicas
from headgate.xds.server import XdsServer
from headgate.xds.telling import Own

KEY = "shop/edge"
OWNER = ObjectRef("UpstreamService", "shop", "billing")
WORLD = {TypeUrl.ROUTE: {"billing": Resource(TypeUrl.ROUTE, "billing", "1", b"", (OWNER,))}}


class Running:
    """A replica with its xDS port."""

    def __init__(self, authority: CertificateAuthority, name: str) -> None:
        self.replicas = Replicas(name, "1")
        self.tls = ServerTls(authority)
        telling = self.replicas.telling
        self.xds = XdsServer(
            self.tls,
            on_feedback=telling.answered,
            on_published=self.replicas.published,
            add_services=[telling.add_to],
        )
        self.replicas.serve(self.tls, Own(self.xds.gateways, self.xds.feedback, dict, lambda *_: (), lambda: ()))
        self.port = free_port()

    async def start(self) -> None:
        await self.xds.start([f"127.0.0.1:{self.port}"])


@pytest.fixture
def authority(tmp_path: Path) -> CertificateAuthority:
    return CertificateAuthority(tmp_path)


async def ask(running: Running, credential: Credential) -> bytes:
    """The first message, as this caller gets it."""
    tls = running.tls.current
    credentials = grpc.ssl_channel_credentials(tls.roots_pem, credential.key_pem, credential.chain_pem)
    options = [("grpc.ssl_target_name_override", SERVER_NAME)]
    async with grpc.aio.secure_channel(f"127.0.0.1:{running.port}", credentials, options) as channel:
        method: Any = channel.unary_stream(f"/{SERVICE}/{METHOD}")
        first: bytes = await method(encode(Hello("x", "1"))).read()
        return first


async def test_only_replicas_may_listen(authority: CertificateAuthority) -> None:
    one = Running(authority, "one")
    await one.start()
    try:
        one.xds.publish(KEY, WORLD)
        told = news(await ask(one, authority.replica())).gateways[KEY]
        assert told is not None
        assert [owner for owner, _ in told.marks] == [OWNER]
        for other in (authority.client(KEY), authority.server()):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await ask(one, other)
            assert refused.value.code() in {grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAVAILABLE}
    finally:
        await one.xds.stop()


async def test_who_is_heard_who_is_absent_and_who_is_not_known(authority: CertificateAuthority) -> None:
    one, two = Running(authority, "one"), Running(authority, "two")
    assert one.replicas.unheard() == (UNKNOWN,), "nobody knows yet who there is"
    running = asyncio.create_task(one.replicas.run())
    silent = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    try:
        one.xds.publish(KEY, WORLD)
        one.replicas.follow({"two": Address("127.0.0.1", two.port)})
        await until(lambda: one.replicas.unheard() == (), "nobody listens there, so no proxy is there either")
        assert one.replicas.counts().absent == 1

        await two.start()
        two.xds.publish(KEY, WORLD)
        await until(lambda: one.replicas.counts().heard == 1, "it is heard")
        joined = one.replicas.join(Answers([one.xds.feedback(KEY)]))
        assert (joined.connected(KEY), list(joined.told(KEY)), joined.unheard()) == (0, [], ())

        # Somebody takes connections and says nothing: there may be proxies.
        port = silent.sockets[0].getsockname()[1]
        one.replicas.follow({"two": Address("127.0.0.1", two.port), "three": Address("127.0.0.1", port)})
        await until(lambda: one.replicas.unheard() == ("three",), "the third is not heard")
        one.replicas.follow({"two": Address("127.0.0.1", two.port)})
        await until(lambda: one.replicas.unheard() == (), "it is gone")
        await two.xds.stop()
        await until(lambda: one.replicas.counts().absent == 1, "it has ended")
        assert one.replicas.unheard() == ()
    finally:
        running.cancel()
        silent.close()
        await asyncio.wait([running])
        await two.xds.stop()
