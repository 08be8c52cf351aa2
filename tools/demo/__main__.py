"""Play all scenes. Exit code 0 when every claim held, 1 when one did not. On a terminal the stage stays up until Ctrl-C."""

from __future__ import annotations

import sys
import time

from rich.console import Console
from rich.markup import escape

from demo.stage import ClaimFailed, Stage
from headgate.simulate.client import ControlProblem


def play(console: Console) -> None:
    """The whole demo; ClaimFailed where it is not as it should be."""
    begun = time.monotonic()
    with Stage(console) as stage:
        from demo.scenes import SCENES  # a second's work, done while the gateway starts

        stage.curtain()
        for number, (title, scene) in enumerate(SCENES, start=1):
            stage.scene(number, title)
            scene(stage)
        console.rule(style="cyan")
        console.print(f"[bold green]All {len(SCENES)} scenes held, in {time.monotonic() - begun:.0f} s.[/]")
        if sys.stdin.isatty() and sys.stdout.isatty():
            _stay(console, stage)


def _stay(console: Console, stage: Stage) -> None:
    console.print("\nIt stays up until Ctrl-C, and what it says is shown here. In another terminal:")
    model = "shop/gemini/v1beta/models/gemini-2.5-flash"
    for line in (
        f'curl -N \'{stage.url}/{model}:streamGenerateContent?alt=sse\' -d \'{{"contents":[{{"parts":[{{"text":"hi"}}]}}]}}\'',
        f"curl {stage.url}/shop/cloudflare/client/v4/zones",
        f".venv/bin/headgate get upstreams -w --state-dir {stage.state}",
        f".venv/bin/headgate explain upstream gemini --state-dir {stage.state}",
        f"$EDITOR {stage.apis}/gemini.yaml",
    ):
        stage.command(line)
    try:
        stage.follow()
    except KeyboardInterrupt:
        console.print()


def main() -> int:
    console = Console(highlight=False)
    try:
        play(console)
    except (ClaimFailed, ControlProblem) as failed:
        console.print(f"[bold red]The demo failed:[/] {escape(str(failed))}", soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        return 130
    except Exception as failed:  # noqa: BLE001 - whatever breaks a scene off, it did not hold
        console.print(f"[bold red]The demo failed:[/] {escape(repr(failed))}", soft_wrap=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
