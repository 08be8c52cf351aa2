"""Who may have what from the xDS server, how certificates are replaced while it runs, and that nobody can hold it up."""

from __future__ import annotations

import asyncio
import os
import signal
from functools import partial

import grpc
import grpc.aio
import pytest
from envoy.service.discovery.v3 import ads_pb2_grpc, discovery_pb2
from structlog.testing import capture_logs

from harness import handmade
from harness.envoy import Envoy, eventually
from harness.ports import free_port
from harness.xds import AdsCall, Fleet, Reply, get, until_reply
from headgate.envoy.resource import TypeUrl
from headgate.xds.pki import CertificateAuthority
from headgate.xds.server import ServerOptions

TCP = ServerOptions()


def has_revision(revision: str, reply: Reply) -> bool:
    """Was it answered by this revision of the route?"""
    return reply.revision == revision


def more(envoy: Envoy, stat: str, than: int) -> bool:
    """Has the counter gone up?"""
    return envoy.stat(stat) > than


async def drain(call: AdsCall) -> None:
    """Read to the end."""
    while await call.read() is not grpc.aio.EOF:
        pass


async def refusal(fleet: Fleet, gateway: str | None, cluster: str = "test/gw") -> grpc.aio.AioRpcError:
    """How a raw client is turned away."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async with fleet.call(gateway, cluster=cluster) as call:
            await asyncio.wait_for(call.read(), 10)
    return caught.value


async def test_a_certificate_for_another_gateway_is_refused() -> None:
    async with Fleet(TCP) as fleet:
        fleet.publish(handmade.secret("key", "value"))
        with capture_logs() as logs:
            error = await refusal(fleet, "test/other", cluster="test/gw")
        assert error.code() is grpc.StatusCode.PERMISSION_DENIED
        assert "the client certificate is for gateway test/other" in (error.details() or "")
        (line,) = [entry for entry in logs if entry["event"] == "xds.refused"]
        assert (line["proven"], line["claimed"], line["proxy"]) == ("test/other", "test/gw", "test/gw/raw")
        assert fleet.view().connected == 0


@pytest.mark.parametrize("node_id", ["test/other/one", "test/gw", "test/gwx/one", "one"])
async def test_a_node_id_of_another_gateway_is_refused(node_id: str) -> None:
    async with Fleet(TCP) as fleet:
        fleet.publish()
        client = fleet.authority.client("test/gw")
        credentials = grpc.ssl_channel_credentials(fleet.authority.roots_pem, client.key_pem, client.chain_pem)
        name = (("grpc.ssl_target_name_override", "localhost"),)
        async with grpc.aio.secure_channel(fleet.address, credentials, options=name) as channel:
            call = ads_pb2_grpc.AggregatedDiscoveryServiceStub(channel).DeltaAggregatedResources()
            request = discovery_pb2.DeltaDiscoveryRequest(type_url=TypeUrl.CLUSTER)
            request.node.id, request.node.cluster = node_id, "test/gw"
            await call.write(request)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await asyncio.wait_for(call.read(), 10)
        assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_an_envoy_with_a_certificate_for_another_gateway_gets_nothing() -> None:
    async with Fleet() as fleet:
        port = free_port()
        fleet.publish(handmade.listener(port), *fleet.upstream("a"))
        envoy = fleet.envoy(identity_directory=fleet.give_identity("test/other"))
        await envoy.until(
            lambda: "the client certificate is for gateway test/other" in envoy.log(), "the refusal in its log"
        )
        assert envoy.stat("cluster_manager.cds.update_success") == 0
        assert not envoy.is_ready()


async def test_a_certificate_that_names_no_gateway_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Fleet(TCP) as fleet:
        fleet.publish()
        monkeypatch.setattr("headgate.xds.pki.gateway_id", lambda _: "spiffe://headgate/someone")
        error = await refusal(fleet, "test/gw")
        assert error.code() is grpc.StatusCode.PERMISSION_DENIED
        assert "names no gateway" in (error.details() or "")


async def test_without_a_client_certificate_there_is_no_connection() -> None:
    async with Fleet(TCP) as fleet:
        fleet.publish()
        error = await refusal(fleet, None)
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert fleet.server.stats().streams_opened == 0


async def test_a_certificate_of_another_authority_is_worth_nothing() -> None:
    async with Fleet(TCP) as fleet:
        fleet.publish()
        ours, fleet.authority = fleet.authority, CertificateAuthority(fleet.directory / "other")
        stranger = fleet.authority.client("test/gw")
        credentials = grpc.ssl_channel_credentials(ours.roots_pem, stranger.key_pem, stranger.chain_pem)
        name = (("grpc.ssl_target_name_override", "localhost"),)
        async with grpc.aio.secure_channel(fleet.address, credentials, options=name) as channel:
            call = ads_pb2_grpc.AggregatedDiscoveryServiceStub(channel).DeltaAggregatedResources()
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await asyncio.wait_for(call.read(), 10)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_an_envoy_does_not_talk_to_a_server_of_another_authority() -> None:
    async with Fleet() as fleet:
        fleet.publish(handmade.listener(free_port()), *fleet.upstream("a"))
        directory = fleet.give_identity()
        stranger = CertificateAuthority(fleet.directory / "other")
        from headgate.xds import identity

        identity.write(directory, fleet.authority.client("test/gw"), stranger.roots_pem)
        from headgate.xds.bootstrap import NodeBootstrap, render

        envoy = fleet.envoy(bootstrap=render(NodeBootstrap("test/gw", "one", (fleet.address,), directory)))
        failed = "cluster.headgate_xds_0.ssl.fail_verify_error"
        await envoy.until(lambda: envoy.stat(failed) > 0, "a failed verification")
        assert fleet.view().connected == 0


async def test_certificates_and_authority_are_replaced_without_a_dropped_stream_or_call() -> None:
    async with Fleet() as fleet:
        port = free_port()
        fleet.publish(handmade.listener(port), *fleet.upstream("a"))
        envoy = fleet.envoy()
        await envoy.wait_ready()
        await fleet.acked()
        opened = fleet.server.stats().streams_opened
        failures, done = 0, asyncio.Event()

        async def caller() -> None:
            nonlocal failures
            while not done.is_set():
                failures += (await get(port, "a")).status != 200

        calls = asyncio.create_task(caller())
        updates = "cluster.headgate_xds_0.client_ssl_socket_factory.ssl_context_update_by_sds"
        steps = (
            fleet.tls.renew,
            fleet.authority.begin_rotation,
            fleet.authority.complete_rotation,
            fleet.authority.retire,
        )
        for number, step in enumerate(steps):
            before = await asyncio.to_thread(envoy.stat, updates)
            step()
            fleet.tls.renew()
            fleet.give_identity()
            await envoy.until(partial(more, envoy, updates, before), "Envoy to read its files again")
            changed = handmade.route("a", revision=str(number + 2))
            fleet.publish(changed)
            await fleet.acked(changed)
        assert fleet.server.stats().streams_opened == opened, "the stream has been there all the time"
        done.set()
        await calls
        assert failures == 0

        # And a new connection uses what is new on both sides: the first authority is no longer known to either.
        await fleet.server.stop()
        await fleet.start_server()
        await fleet.acked()
        assert fleet.sent() == 0
        assert (await get(port, "a")).revision == "5"


async def test_a_new_connection_meets_the_renewed_certificate() -> None:
    async with Fleet(TCP) as fleet:
        fleet.publish(*fleet.upstream("a"))
        async with fleet.call() as old:
            assert (await asyncio.wait_for(old.read(), 10)).resources[0].name == "a"
            fleet.authority.begin_rotation()
            fleet.authority.complete_rotation()
            fleet.authority.retire()
            fleet.tls.renew()
            async with fleet.call(node="new") as new:  # trusts the new root alone
                assert (await asyncio.wait_for(new.read(), 10)).resources[0].name == "a"
            fleet.publish(handmade.cluster("a", 1))
            assert (await asyncio.wait_for(old.read(), 10)).resources[0].name == "a", "the old stream lives on"


async def test_a_proxy_that_never_reads_holds_up_nobody_and_is_cut_off() -> None:
    async with Fleet(ServerOptions(write_timeout=4.0)) as fleet:
        port = free_port()
        fleet.publish(handmade.listener(port), *fleet.upstream("a"))
        bulk = [handmade.direct(f"bulk{n}", "x" * 4000) for n in range(3000)]
        fleet.publish(*bulk)  # 12 MB: nobody buffers that
        envoy = fleet.envoy()
        await envoy.wait_ready()
        async with fleet.call() as idle:
            request = discovery_pb2.DeltaDiscoveryRequest(type_url=TypeUrl.ROUTE)
            request.resource_names_subscribe.extend(item.name for item in bulk)
            await idle.write(request)
            await eventually(lambda: fleet.server.stats().of(TypeUrl.ROUTE).resources > 256, "the flood to begin")
            loop = asyncio.get_running_loop()
            rounds = 0
            while fleet.server.stats().streams_cut == 0:
                rounds += 1
                changed = handmade.route("a", revision=f"r{rounds}")
                before = loop.time()
                fleet.publish(changed)
                await until_reply(port, "a", partial(has_revision, f"r{rounds}"))
                assert loop.time() - before < 3.0, "the other proxy was held up"
            assert rounds > 10
            await eventually(lambda: fleet.view().connected == 1, "the idle one to be forgotten")
            assert fleet.server.stats().of(TypeUrl.ROUTE).resources < len(bulk), "it never had to take all of it"
            # When it reads again at last, it learns that its stream has ended, and can come back.
            with pytest.raises(grpc.aio.AioRpcError, match="took no data"):
                await asyncio.wait_for(drain(idle), 10)
        await fleet.acked(handmade.route("a", revision=f"r{rounds}"))


async def test_a_frozen_envoy_is_noticed_and_gets_only_the_newest_state_when_it_wakes() -> None:
    options = ServerOptions(keepalive_interval=1.0, keepalive_timeout=1.0)
    async with Fleet(options) as fleet:
        port = free_port()
        fleet.publish(handmade.listener(port), *fleet.upstream("a"))
        envoy = fleet.envoy()
        await envoy.wait_ready()
        await fleet.acked()
        os.kill(envoy.pid, signal.SIGSTOP)
        try:
            await eventually(lambda: fleet.view().connected == 0, "its silence to be noticed", within=30.0)
            for revision in range(100):
                fleet.publish(handmade.route("a", revision=str(revision)))
        finally:
            os.kill(envoy.pid, signal.SIGCONT)
        before = fleet.sent()
        await fleet.acked()
        assert (await get(port, "a")).revision == "99"
        assert fleet.sent() - before <= 1


async def test_a_caller_that_says_nothing_is_sent_away() -> None:
    async with Fleet(ServerOptions(first_request_timeout=0.2)) as fleet:
        async with fleet.call(silent=True) as call:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await asyncio.wait_for(call.read(), 10)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert fleet.view().connected == 0


async def test_a_type_that_is_not_served_is_left_unanswered_and_harms_nothing() -> None:
    async with Fleet(TCP) as fleet:
        fleet.publish(*fleet.upstream("a"))
        async with fleet.call() as call:
            assert (await asyncio.wait_for(call.read(), 10)).resources[0].name == "a"
            with capture_logs() as logs:
                await call.write(discovery_pb2.DeltaDiscoveryRequest(type_url="type.googleapis.com/no.Such"))
                await eventually(lambda: any(line["event"] == "xds.unknown_type" for line in logs), "a log line")
            fleet.publish(*fleet.upstream("b"))
            assert (await asyncio.wait_for(call.read(), 10)).resources[0].name == "b"


async def test_connections_end_at_their_age_and_nothing_is_lost() -> None:
    options = ServerOptions(max_connection_age=1.0, max_connection_age_grace=0.5)
    async with Fleet(options) as fleet:
        port = free_port()
        fleet.publish(handmade.listener(port), *fleet.upstream("a"))
        envoy = fleet.envoy()
        await envoy.wait_ready()
        await fleet.acked()
        before = fleet.sent()
        opened = fleet.server.stats().streams_opened
        await eventually(lambda: fleet.server.stats().streams_opened > opened, "the proxy to come again")
        await fleet.acked()
        assert fleet.sent() == before
        assert (await get(port, "a")).status == 200


async def test_with_the_first_server_dead_an_envoy_starts_from_the_second() -> None:
    async with Fleet(TCP) as fleet:
        port = free_port()
        fleet.publish(handmade.listener(port), *fleet.upstream("a"))
        envoy = fleet.envoy(xds_addresses=(f"127.0.0.1:{free_port()}", fleet.address))
        await envoy.wait_ready()
        assert (await get(port, "a")).status == 200


async def test_a_taken_address_is_an_error() -> None:
    async with Fleet(TCP) as fleet:
        from headgate.xds.server import XdsServer

        with pytest.raises(OSError, match="bind"):
            await XdsServer(fleet.tls).start([fleet.address])


async def test_a_withdrawn_gateways_proxies_keep_what_they_have() -> None:
    async with Fleet() as fleet:
        port = free_port()
        fleet.publish(handmade.listener(port), *fleet.upstream("a"))
        envoy = fleet.envoy()
        await envoy.wait_ready()
        fleet.server.withdraw("test/gw")
        await eventually(lambda: fleet.server.stats().streams_opened > 1, "the proxy to come again")
        assert (await get(port, "a")).status == 200
        assert fleet.view().resources is None
        sent = fleet.sent()
        fleet.publish()
        await fleet.acked()
        assert fleet.sent() == sent


async def test_another_service_on_the_same_port_knows_its_caller() -> None:
    from envoy.service.accesslog.v3 import als_pb2, als_pb2_grpc

    from headgate.xds.server import XdsServer, peer_gateway

    async with Fleet(TCP) as fleet:
        callers: list[str] = []

        class Logs(als_pb2_grpc.AccessLogServiceServicer):
            async def StreamAccessLogs(self, requests, context):  # type: ignore[no-untyped-def]  # noqa: N802
                callers.append(await peer_gateway(context))
                return als_pb2.StreamAccessLogsResponse()

        other = XdsServer(
            fleet.tls, add_services=[lambda server: als_pb2_grpc.add_AccessLogServiceServicer_to_server(Logs(), server)]
        )
        (port,) = await other.start(["127.0.0.1:0"])
        client = fleet.authority.client("test/gw")
        credentials = grpc.ssl_channel_credentials(fleet.authority.roots_pem, client.key_pem, client.chain_pem)
        name = (("grpc.ssl_target_name_override", "localhost"),)
        async with grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options=name) as channel:
            call = als_pb2_grpc.AccessLogServiceStub(channel).StreamAccessLogs()
            await call.done_writing()
            await asyncio.wait_for(call, 10)
        await other.stop()
        assert callers == ["test/gw"]
