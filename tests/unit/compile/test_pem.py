"""PEM text that is not what it should be: each gets its own sentence, and none is quoted."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from harness.pki import Authority
from headgate.compile import pem

AUTHORITY = Authority()
ONE, OTHER = AUTHORITY.client("one.example"), AUTHORITY.client("other.example")


def damaged(text: bytes) -> bytes:
    lines = text.splitlines(keepends=True)
    return b"".join([*lines[:2], b"AAAA\n", *lines[3:]])


def encrypted(key: bytes) -> bytes:
    return load_pem_private_key(key, None).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"password"),
    )


@pytest.mark.parametrize(
    ("chain", "key", "words"),
    [
        (ONE.chain_pem, ONE.key_pem, ""),
        (ONE.chain_pem + AUTHORITY.pem, ONE.key_pem, ""),
        (b"", ONE.key_pem, "tls.crt holds no certificate"),
        (ONE.key_pem, ONE.key_pem, "tls.crt holds no certificate"),
        (ONE.chain_pem, b"", "tls.key holds no private key"),
        (ONE.chain_pem, ONE.chain_pem, "tls.key holds no private key"),
        (damaged(ONE.chain_pem), ONE.key_pem, "a certificate in tls.crt is damaged"),
        (ONE.chain_pem, damaged(ONE.key_pem), "the key in tls.key is damaged"),
        (ONE.chain_pem, encrypted(ONE.key_pem), "the key in tls.key is encrypted"),
        (ONE.chain_pem, OTHER.key_pem, "tls.key does not belong to the first certificate"),
        (AUTHORITY.pem + ONE.chain_pem, ONE.key_pem, "the own certificate comes first in a chain"),
    ],
)
def test_pairs(chain: bytes, key: bytes, words: str) -> None:
    found = pem.pair_problem(chain, key)
    assert words in found
    assert bool(found) is bool(words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (AUTHORITY.pem, ""),
        (AUTHORITY.pem + Authority("another").pem, ""),
        (b"", "there is no certificate in it"),
        (ONE.key_pem, "there is no certificate in it"),
        (damaged(AUTHORITY.pem), "a certificate in it is damaged"),
        (AUTHORITY.pem + damaged(AUTHORITY.pem), "a certificate in it is damaged"),
    ],
)
def test_bundles(text: bytes, words: str) -> None:
    found = pem.bundle_problem(text)
    assert words in found
    assert bool(found) is bool(words)
