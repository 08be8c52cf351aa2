"""Stands in for `headgate` in the runner's own tests, to misbehave as the real one should not.

It keeps a status file of what is in its folder, answers on its port, and has a child that mentions the state directory
as Envoy would. `STANDIN` in its environment says what to do wrong.
"""

import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import yaml

WRONG = os.environ.get("STANDIN", "")


class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps([self.path, self.headers["host"]]).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


def write_status(folder: Path, state: Path, generations: dict[str, tuple[str, int]]) -> None:
    items = []
    for path in sorted(folder.glob("*.yaml")):
        text = path.read_text()
        known = generations.get(path.name, ("", 0))
        generation = known[1] + (known[0] != text)
        generations[path.name] = (text, generation)
        for found in yaml.safe_load_all(text):
            found["metadata"]["generation"] = generation
            verdict = {"type": "Accepted", "status": "True", "reason": "Accepted", "observedGeneration": generation}
            word = str(found["spec"]["word"])
            ready = {**verdict, "type": "Ready", "reason": word}
            found["status"] = {"conditions": [ready]}
            if found["kind"] != "UpstreamService":
                found["status"] = {"ancestors": [{"conditions": [verdict]}]}
            items.append(found)
    temporary = state / ".status"
    temporary.write_text(json.dumps({"kind": "List", "items": items}))
    temporary.replace(state / "status.json")


def run(options: dict[str, str]) -> int:
    folder, state, port = Path(options["-f"]), Path(options["--state-dir"]), int(options["--listen"].rpartition(":")[2])
    if WRONG == "fails":
        print("cannot start: told so")
        return 3
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    record = state / "child"
    if not record.exists():
        script = "import time; time.sleep(300)"
        child = subprocess.Popen([sys.executable, "-c", script, f"{state}/envoy"], start_new_session=True)
        record.write_text(str(child.pid))
    stopping = threading.Event()
    signal.signal(signal.SIGINT, lambda *_: stopping.set())
    generations: dict[str, tuple[str, int]] = {}
    write_status(folder, state, generations)
    print("secret", os.environ.get("HEADGATE_TEST_SECRET_0"), options.get("--secret"), options.get("--dns-resolver"))
    if WRONG != "unready":
        print("ready\n  http://127.0.0.1")
    while not stopping.wait(0.2):
        write_status(folder, state, generations)
    if WRONG == "hangs":
        time.sleep(300)
    if WRONG != "leaves":
        os.kill(int(record.read_text()), signal.SIGKILL)
        record.unlink()
    return 4 if WRONG == "exit code" else 0


if __name__ == "__main__":
    verb, *rest = sys.argv[1:]
    if verb == "run":
        rest.remove("--no-probes")  # the one without a value
        sys.exit(run(dict(zip(rest[::2], rest[1::2], strict=True))))
    print((Path(rest[rest.index("--state-dir") + 1]) / "status.json").read_text())
