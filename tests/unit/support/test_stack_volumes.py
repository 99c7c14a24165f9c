"""Who has which volume of the stack."""

from __future__ import annotations

import re

from tests.support import ROOT


def test_no_service_that_goes_on_has_the_key_of_the_authority() -> None:
    """Only those that issue and end, without a network."""
    text = (ROOT / "docker-compose.yml").read_text()
    _, services, _ = re.split(r"^(?:services|networks):$", text, flags=re.MULTILINE)
    _, *found = re.split(r"^  ([a-z-]+):$", services, flags=re.MULTILINE)
    stack = dict(zip(found[::2], found[1::2], strict=True))
    holders = {name: lines for name, lines in stack.items() if "authority:/" in lines}

    assert len(stack) > len(holders)
    assert set(holders) == {"certs", "prometheus-certificate"}
    for lines in holders.values():
        assert 'restart: "no"\n' in lines
        assert "network_mode: none\n" in lines
