"""Puts what a machine did into the report of a failed test, and into its folder.

Nothing here may hide the test's own failure: whatever goes wrong is a line in the report.
"""

from __future__ import annotations

import base64
import hashlib
import importlib
import re
import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from virtmesh_client.pytest_plugin.observer import Evidence, Observer

SECTION_CHARACTERS = 8192
"""Most of a section in the report, the newest; the file has the rest."""
NAME_CHARACTERS = 80
PROPERTY = "virtmesh_artefacts"


def attach(
    report: pytest.TestReport, item: pytest.Item, observer: Observer, artefacts: Path
) -> None:
    """Add sections, files, a property for JUnit, and extras for pytest-html."""
    try:
        evidence = observer.collect()
        folder = artefacts / folder_name(item.nodeid)
        note = write_files(folder, evidence)
        item.user_properties.append((PROPERTY, str(folder)))
    except Exception as error:  # noqa: BLE001 - the test's own failure is to be seen
        report.sections.append(("virtmesh", f"what the machine did can't be had: {error!r}"))
        return
    sections = {name: shorten(text) for name, text in evidence.sections.items()}
    for name, text in sections.items():
        report.sections.append((f"virtmesh {name}", text))
    report.sections.append(("virtmesh files", note))
    if item.config.pluginmanager.has_plugin("html"):
        extras = importlib.import_module("pytest_html.extras")
        shown = [extras.text(text, name=f"virtmesh {name}") for name, text in sections.items()]
        shown += [
            extras.png(base64.b64encode(data).decode(), name=f"virtmesh {name}")
            for name, data in evidence.files.items()
            if name.endswith(".png")
        ]
        report.extras = [*getattr(report, "extras", []), *shown]  # type: ignore[attr-defined]


def write_files(folder: Path, evidence: Evidence) -> str:
    """Write everything, in place of what an earlier run wrote. Returns where, or why not."""
    try:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name, text in evidence.sections.items():
            (folder / plain(f"{name}.txt")).write_text(
                text + "\n", encoding="utf-8", errors="replace"
            )
        for name, data in evidence.files.items():
            (folder / plain(name)).write_bytes(data)
    except OSError as error:
        return f"can't write them: {error}"
    return str(folder)


def plain(name: str) -> str:
    """Return a name that stays in its folder: the machine says how its devices are called."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name).lstrip(".") or "-"


def folder_name(nodeid: str) -> str:
    """Return a name for the folder of a test; no two tests have the same."""
    words = re.sub(r"[^A-Za-z0-9_.-]+", "-", nodeid.rpartition("/")[2]).strip("-.")
    digest = hashlib.sha256(nodeid.encode(errors="surrogatepass")).hexdigest()[:8]
    return f"{words[:NAME_CHARACTERS]}-{digest}"


def shorten(text: str) -> str:
    """Return the end of a long text."""
    if len(text) <= SECTION_CHARACTERS:
        return text
    cut = len(text) - SECTION_CHARACTERS
    return f"[{cut} earlier characters are in the file]\n{text[cut:]}"
