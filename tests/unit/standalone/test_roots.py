"""Which CA certificates `System` means."""

import ssl
from pathlib import Path
from types import SimpleNamespace

import certifi
import pytest

from headgate.standalone.roots import system_roots


def test_the_file_that_is_named_counts(tmp_path: Path) -> None:
    (tmp_path / "roots.pem").write_bytes(b"these")
    assert system_roots({"SSL_CERT_FILE": str(tmp_path / "roots.pem")}).reveal() == b"these"
    with pytest.raises(OSError, match="nowhere"):
        system_roots({"SSL_CERT_FILE": str(tmp_path / "nowhere")})


def test_then_the_systems_then_our_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = tmp_path / "system.pem"
    bundle.write_bytes(b"the system's")
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: SimpleNamespace(openssl_cafile=str(bundle)))
    assert system_roots({}).reveal() == b"the system's"
    bundle.unlink()
    monkeypatch.setattr("headgate.standalone.roots.DEBIAN", str(tmp_path / "none"))
    assert system_roots({}).reveal() == Path(certifi.where()).read_bytes()
