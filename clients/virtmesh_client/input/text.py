"""Text as a script for one device."""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtmesh_common.input.script import at
from virtmesh_common.input.text.plan import TextOptions, plan_text

if TYPE_CHECKING:
    from virtmesh_client.input.models import InputInfo
    from virtmesh_common.input.script import Script


def options_of(layout: str | TextOptions, variant: str) -> TextOptions:
    """Return how to type: options as they are, or those of a layout by its name."""
    return layout if isinstance(layout, TextOptions) else TextOptions(layout, variant)


def text_script(info: InputInfo, text: str, options: TextOptions, delay: float) -> Script:
    """Return the script that types a text, `delay` seconds from key to key.

    Errors: UntypableText.
    """
    groups = enumerate(plan_text(text, info.keyboard, options))
    return [timed for index, group in groups for timed in at(index * delay, group)]
