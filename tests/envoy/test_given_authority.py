"""An authority that somebody else issued, below a root that neither side knows: what signs is trusted itself."""

from __future__ import annotations

import asyncio

import grpc
import grpc.aio
import pytest
from envoy.service.discovery.v3 import ads_pb2_grpc

from harness import handmade
from harness.pki_given import issued_ca
from harness.ports import free_port
from harness.xds import Fleet


@pytest.mark.parametrize("rsa_key", [False, True])
async def test_envoy_and_the_server_stand_on_it_alone(rsa_key: bool) -> None:
    async with Fleet() as fleet:
        before = fleet.authority.client("test/gw")
        certificate, key = issued_ca("headgate", rsa_key=rsa_key)
        fleet.authority.begin_rotation(certificate + key)
        fleet.authority.complete_rotation()
        fleet.authority.retire()
        assert fleet.authority.roots_pem == certificate
        fleet.tls.renew()
        fleet.publish(handmade.listener(free_port()), *fleet.upstream("a"))
        envoy = fleet.envoy()
        await envoy.wait_ready()
        assert fleet.view().connected == 1
        # What the root before it signed is worth nothing any more.
        credentials = grpc.ssl_channel_credentials(certificate, before.key_pem, before.chain_pem)
        name = (("grpc.ssl_target_name_override", "localhost"),)
        async with grpc.aio.secure_channel(fleet.address, credentials, options=name) as channel:
            call = ads_pb2_grpc.AggregatedDiscoveryServiceStub(channel).DeltaAggregatedResources()
            with pytest.raises(grpc.aio.AioRpcError):
                await asyncio.wait_for(call.read(), 10)
        assert fleet.view().connected == 1
