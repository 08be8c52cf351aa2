"""Files that are generated from code and committed: which are out of date, and the command line that writes them.

For developers and for the tests that hold the committed files to their sources; nothing at run time calls it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True, slots=True)
class Generated:
    """`generate` gives the texts by path below the repository's root; `owned` is a glob of files that are there only if
    generated. `module` is what `python -m` runs, `target` what make calls it, `about` one line on it."""

    generate: Callable[[], Mapping[str, str]]
    owned: str
    module: str
    target: str
    about: str

    def stale(self, root: Path) -> list[str]:
        """The generated files, by path, that are absent, differ, or should be gone."""
        files = self.generate()
        differing = [
            path
            for path, text in files.items()
            if not (root / path).is_file() or (root / path).read_text("utf-8") != text
        ]
        left = [str(path.relative_to(root)) for path in root.glob(self.owned)]
        return sorted({*differing, *(path for path in left if path not in files)})

    def write(self, root: Path) -> None:
        """Write what differs, and remove what should be gone."""
        files = self.generate()
        for path in self.stale(root):
            target = root / path
            if path in files:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(files[path], "utf-8")
            else:
                target.unlink()
            print(path)

    def main(self, arguments: list[str] | None = None) -> int:
        """The command line; returns the exit code."""
        parser = argparse.ArgumentParser(prog=f"python -m {self.module}", description=self.about)
        parser.add_argument("--check", action="store_true", help="write nothing; end with 1 if a file is out of date")
        parser.add_argument(
            "--root", type=Path, default=_ROOT, help="the repository (default: the one this file is in)"
        )
        options = parser.parse_args(arguments)
        if not options.check:
            self.write(options.root)
            return 0
        if old := self.stale(options.root):
            print(f"out of date, run `make {self.target}`: {', '.join(old)}", file=sys.stderr)
            return 1
        return 0
