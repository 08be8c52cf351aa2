"""A secret that goes through everything Headgate does shows in nothing that it says or keeps."""

from __future__ import annotations

import base64
import json
from pathlib import Path

from harness.headgate import Headgate
from harness.pki import Authority
from harness.standalone import files_below, position, upstream
from headgate.simulate.server import FakeServer

#: One that goes well, and one that Envoy or compile may trip over.
CANARIES = ("canary-4b1d-in-the-folder", "canary-77aa-from-outside", "canary-9c3e-rotated", "canary-e0e0-damaged")
CREDENTIALS = """\
credentials:
- {name: a, secretRef: {name: s, key: inside}, location: {header: {name: x-inside, prefix: "Bearer "}}}
- {name: b, secretRef: {name: s, key: outside}, location: {queryParameter: key}}
"""


def spellings(text: str) -> list[bytes]:
    """The ways in which a value may be written down."""
    raw = text.encode()
    return [raw, base64.b64encode(raw).rstrip(b"=")[:-1], raw.hex().encode(), json.dumps(text).encode()[1:-1]]


def test_a_canary_is_found_nowhere(tmp_path: Path, provider: FakeServer) -> None:
    secret = "apiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\nstringData: {{inside: {}}}\n"
    gateway = "apiVersion: headgate.dev/v1alpha1\nkind: IntegrationGateway\nmetadata: {name: g}\nspec:\n"
    gateway += "  default: true\n  egress: {allowedCIDRs: [127.0.0.0/8]}\n"
    client = Authority("canary root").client("canary-client")
    tls = "apiVersion: v1\nkind: Secret\nmetadata: {name: t}\ntype: kubernetes.io/tls\nstringData:\n"
    tls += f"  tls.crt: {json.dumps(client.chain_pem.decode())}\n  tls.key: {json.dumps(client.key_pem.decode())}\n"
    mutual = upstream("mutual", provider.port).replace(
        "{mode: None}", "{mode: ClientAndServer, clientCertificateRef: {name: t}}"
    )
    runner = Headgate(
        tmp_path,
        secrets={"default/s/outside": CANARIES[1]},
        files={"s": secret.format(CANARIES[0]), "g": gateway, "keyed": upstream("keyed", provider.port, CREDENTIALS)},
        arguments=["--log-level", "debug"],
    )
    runner.apply("tls", tls)
    runner.apply("mutual", mutual)
    outputs = []
    try:
        runner.start()
        runner.wait_ready("keyed", "mutual")
        assert runner.call("keyed").status_code == 200
        assert provider.requests[-1].header("x-inside") == f"Bearer {CANARIES[0]}"
        assert CANARIES[1].encode() in provider.requests[-1].query
        offset = position(runner)
        runner.apply("s", secret.format(CANARIES[2]))
        runner.wait_log("changed Secret default/s", offset=offset)
        # Mistakes around a secret must not repeat it.
        for text in (
            secret.format(f"!{CANARIES[3]}"),
            secret.format(f"[{CANARIES[3]}]"),
            secret.format(f"*{CANARIES[3]}"),
            secret.format(f'"{CANARIES[3]}'),
            secret.format(f'"{CANARIES[3]}\\n"'),
            secret.format(CANARIES[3]).replace("stringData", "data"),
            tls.replace("BEGIN EC", "BEGIN").replace("BEGIN PRIVATE", f"BEGIN {CANARIES[3]}"),
        ):
            offset = position(runner)
            runner.apply("s", text)
            runner.wait_log("error: ", offset=offset)
            runner.apply("s", secret.format(CANARIES[2]))
            runner.wait_log(r"mended: |changed Secret", offset=offset)
        runner.kill()
        runner.start()
        for arguments in (
            ("get", "upstreams", "-o", "yaml", "--state-dir", str(runner.state)),
            ("get", "upstreams", "-o", "wide", "--state-dir", str(runner.state)),
            ("validate", "-f", str(runner.folder), "--secret", "default/s/outside=env:HEADGATE_TEST_SECRET_0"),
            *(
                (
                    "compile",
                    "-f",
                    str(runner.folder),
                    "-o",
                    form,
                    "--secret",
                    "default/s/outside=env:HEADGATE_TEST_SECRET_0",
                )
                for form in ("plan", "xds", "objects")
            ),
        ):
            done = runner.cli(*arguments)
            assert done.stdout
            outputs.append((f"headgate {' '.join(arguments)}", (done.stdout + done.stderr).encode()))
        runner.stop()
        outputs.append(("what it said", runner.log_file.read_bytes()))
        outputs += [(str(path), path.read_bytes()) for path in files_below(runner.state)]
        assert any(name.endswith("status.json") for name, _ in outputs)
        assert any(name.endswith("objects.json") for name, _ in outputs)
        assert any(name.endswith("envoy.log") for name, _ in outputs)
        key_line = client.key_pem.decode().splitlines()[1]
        for name, content in outputs:
            for canary in (*CANARIES, key_line):
                for spelling in spellings(canary):
                    assert spelling not in content, f"{canary} shows in {name}"
    finally:
        print(runner.tail())
        runner.close()


def test_the_state_directory_is_the_owners_alone(runner: Headgate) -> None:
    runner.start()
    for path in (runner.state, *runner.state.rglob("*")):
        assert path.stat().st_mode & 0o077 == 0, path
