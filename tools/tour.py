"""What tours show and check: commands with what they print, and a list of what passed."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

SBIN = ("/usr/local/sbin", "/usr/sbin", "/sbin")
VIRTMESH = str(Path(sys.executable).parent / "virtmesh")


class Broken(Exception):
    """The tour can't go on; the message says why."""


@dataclass
class Tour:
    """Runs commands, showing each, and keeps the outcome of every check."""

    folder: Path
    console: Console = field(default_factory=lambda: Console(highlight=False, soft_wrap=True))
    checks: list[tuple[str, bool]] = field(default_factory=list)

    def step(self, title: str) -> None:
        """Begin a part of the tour."""
        self.console.print(f"\n[bold cyan]{title}[/]")

    def run(
        self, *command: str, check: bool = True, show: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Show a command, run it, show what it prints. Errors: Broken when it fails."""
        shown = [Path(command[0]).name, *command[1:]]
        self.console.print(f"[green]$[/] {shlex.join(shown)}", markup=True)
        result = subprocess.run(
            command, cwd=self.folder, capture_output=True, text=True, check=False
        )
        for text in (result.stderr, result.stdout):
            if text.strip() and (show or result.returncode):
                self.console.print(text.rstrip(), markup=False, style="dim")
        if check and result.returncode:
            raise Broken(f"{shown[0]} ended with exit status {result.returncode}")
        return result

    def ask(self, *command: str) -> dict[str, Any]:
        """Run a virtmesh command with --json; returns what it says."""
        answer: dict[str, Any] = json.loads(self.run(VIRTMESH, *command, "--json").stdout)
        return answer

    def show(self, text: str) -> None:
        """Show what came over a serial line."""
        self.console.print(text.replace("\r\n", "\n").strip(), markup=False, style="dim")

    def check(self, what: str, passed: bool) -> None:  # noqa: FBT001 - it is what is checked
        """Keep and show the outcome of a check."""
        self.checks.append((what, passed))
        mark = "[green]ok[/]" if passed else "[bold red]FAILED[/]"
        self.console.print(f"  {mark}  {what}")

    def finish(self) -> int:
        """Say whether every check passed; returns the exit status."""
        failed = [what for what, passed in self.checks if not passed]
        if failed:
            self.console.print(f"\n[bold red]{len(failed)} failed:[/] {'; '.join(failed)}")
            return 1
        self.console.print(f"\n[bold green]All {len(self.checks)} checks passed.[/]")
        return 0


def tool(name: str) -> str:
    """Find a program that is often not on the path of an ordinary user. Errors: Broken."""
    found = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), *SBIN]))
    if found is None:
        raise Broken(f"{name} is missing: install e2fsprogs (apt-get install e2fsprogs)")
    return found
