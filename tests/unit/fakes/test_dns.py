"""The DNS server answers as scripted, over UDP and TCP."""

from __future__ import annotations

from collections.abc import Iterator

import dnslib
import pytest

from harness.dns import DnsServer, Failure, Order

NAME = "api.example.test"
FOUR = ("127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4")


@pytest.fixture
def dns() -> Iterator[DnsServer]:
    with DnsServer() as server:
        yield server


def ask(
    dns: DnsServer, name: str = NAME, qtype: str = "A", *, tcp: bool = False, timeout: float = 5
) -> dnslib.DNSRecord:
    return dnslib.DNSRecord.parse(
        dnslib.DNSRecord.question(name, qtype).send(dns.host, dns.port, tcp=tcp, timeout=timeout)
    )


def addresses(reply: dnslib.DNSRecord) -> list[str]:
    return [str(record.rdata) for record in reply.rr]


def rcode(reply: dnslib.DNSRecord) -> str:
    return str(dnslib.RCODE[reply.header.rcode])


def test_fixed_answers_with_ttl_over_both_transports(dns: DnsServer) -> None:
    dns.set(NAME, *FOUR, ttl=7)
    for tcp in (False, True):
        reply = ask(dns, NAME.upper() + ".", tcp=tcp)
        assert addresses(reply) == list(FOUR)
        assert {record.ttl for record in reply.rr} == {7}
    assert [q.transport for q in dns.queries(NAME)] == ["udp", "tcp"]


def test_rotating_answers(dns: DnsServer) -> None:
    dns.set(NAME, *FOUR, order=Order.ROTATE)
    assert [addresses(ask(dns))[0] for _ in range(5)] == [*FOUR, FOUR[0]]
    assert sorted(addresses(ask(dns))) == sorted(FOUR)


def test_one_address_per_answer(dns: DnsServer) -> None:
    dns.set(NAME, *FOUR, order=Order.ONE)
    assert [addresses(ask(dns)) for _ in range(5)] == [[a] for a in (*FOUR, FOUR[0])]


def test_each_family_for_itself(dns: DnsServer) -> None:
    dns.set(NAME, "127.0.0.1", "::1", "10.0.0.1")
    assert addresses(ask(dns, qtype="AAAA")) == ["::1"]
    assert addresses(ask(dns)) == ["127.0.0.1", "10.0.0.1"]
    dns.set(NAME, "127.0.0.1")
    empty = ask(dns, qtype="AAAA")
    assert (rcode(empty), addresses(empty)) == ("NOERROR", [])


def test_names_are_unknown_until_set_and_change_at_run_time(dns: DnsServer) -> None:
    assert rcode(ask(dns)) == "NXDOMAIN"
    dns.set(NAME, "127.0.0.1")
    assert addresses(ask(dns)) == ["127.0.0.1"]
    dns.set(NAME, "169.254.169.254")
    assert addresses(ask(dns)) == ["169.254.169.254"]
    dns.forget(NAME)
    assert rcode(ask(dns)) == "NXDOMAIN"


def test_failures(dns: DnsServer) -> None:
    dns.fail(NAME, Failure.SERVFAIL)
    assert rcode(ask(dns)) == "SERVFAIL"
    dns.fail(NAME, Failure.SILENT)
    with pytest.raises(TimeoutError):
        ask(dns, timeout=0.3)


def test_aliases(dns: DnsServer) -> None:
    dns.alias(NAME, "target.test")
    dns.set("target.test", "127.0.0.3")
    assert addresses(ask(dns)) == ["target.test.", "127.0.0.3"]


def test_queries_are_counted(dns: DnsServer) -> None:
    for _ in range(3):
        ask(dns)
    ask(dns, qtype="AAAA")
    assert (dns.count(NAME), dns.count(NAME, "A"), dns.count("other.test")) == (4, 3, 0)
    dns.wait_for(NAME, 4)
    with pytest.raises(TimeoutError, match="4 of 5"):
        dns.wait_for(NAME, 5, timeout=0.05)
