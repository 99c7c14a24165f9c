"""Rules about GPUs (virtio 1.4, 5.7)."""

from __future__ import annotations

from virtmesh.report.rule import Rule

RULES = (
    Rule(
        "gpu-cursor-size",
        "5.7.6.6",
        "Make a cursor of a 2D resource of 64x64 pixels.",
    ),
    Rule(
        "gpu-request",
        "5.7.6.7",
        "Send whole requests: the header and all that belongs to the command. Leave room for the"
        " answer (for that to a cursor command there may be none at all).",
    ),
    Rule(
        "gpu-command-feature",
        "5.7.6.8",
        "Send no command whose feature was not negotiated.",
    ),
    Rule(
        "gpu-rectangle",
        "5.7.6.8",
        "Name rectangles that have pixels, all of them inside of the resource (for a blob: of the"
        " image), with a backing that reaches as far.",
    ),
    Rule(
        "gpu-blob-mem",
        "5.7.6.8",
        "Say in `blob_mem` what a blob is made of; without 3D that is guest memory.",
    ),
    Rule("gpu-blob-format", "5.7.6.8", "Show a blob in a format of the specification."),
)
