"""Rules about the board of a CPU, and which rules its quirks help a driver to break."""

from __future__ import annotations

from virtmesh.report.rule import PRIVILEGED, Rule

HOLE = "hole"
"""Name of the rule about accesses where nothing is."""
RULES = (
    Rule(
        HOLE,
        "3.6.1",
        "Access no vacant address: nothing is there, so the access ends in an access fault.",
        specification=PRIVILEGED,
    ),
)
BOARD_QUIRKS = {
    "qemu_vendor_id": "vendor-id",
    "legacy_interface": "legacy-register",
    "tolerate_no_version_1": "version-1",
    "tolerate_no_features_ok": "status-order",
    "tolerate_single_status_bits": "status-clear",
    "tolerate_no_acknowledge": "status-order",
    "tolerate_wide_config_access": "config-width",
}
"""The rule that a driver breaks, by the name of the quirk of the slot that helps it."""
