"""Screens."""

from __future__ import annotations

from virtmesh.dashboards.board import NUMBER, Board, Panel, Row, rate

SCANOUT = "device, scanout"
MEMORY_USED = "virtmesh_gpu_resource_bytes{$sel} / virtmesh_gpu_resource_limit_bytes{$sel}"
BOARD = Board(
    uid="virtmesh-gpu",
    title="virtmesh: screens",
    meaning="Displays: what drivers show, who watches, and what drawing takes.",
    devices='label_values(virtmesh_gpu_resources{machine=~"$machine"}, device)',
    rows=(
        Row(
            "Display",
            (
                Panel(
                    "Width",
                    "Columns of the picture; 0: nothing is shown.",
                    "none",
                    [("virtmesh_gpu_picture_width{$sel}", "{{device}} {{scanout}}")],
                    NUMBER,
                    width=6,
                    height=4,
                ),
                Panel(
                    "Height",
                    "Rows of the picture.",
                    "none",
                    [("virtmesh_gpu_picture_height{$sel}", "{{device}} {{scanout}}")],
                    NUMBER,
                    width=6,
                    height=4,
                ),
                Panel(
                    "Watchers",
                    "Who watches: panels, viewers, scripts.",
                    "none",
                    [("virtmesh_gpu_watchers{$sel}", "{{device}} {{scanout}}")],
                    NUMBER,
                    width=6,
                    height=4,
                ),
                Panel(
                    "Memory of resources",
                    "The part of the most memory that resources of the driver have.",
                    "percentunit",
                    [
                        (MEMORY_USED, "{{device}}"),
                    ],
                    NUMBER,
                    width=6,
                    height=4,
                    limits=[0.8, 0.95],
                ),
            ),
        ),
        Row(
            "Pictures",
            (
                Panel(
                    "Flushes",
                    "Times a second that the driver showed something, and those that a watcher got"
                    " together with later ones.",
                    "ops",
                    [
                        rate("virtmesh_gpu_flushes_total", "{{device}} {{scanout}}", SCANOUT),
                        rate(
                            "virtmesh_gpu_flushes_merged_total",
                            "{{device}} {{scanout}} merged",
                            SCANOUT,
                        ),
                    ],
                ),
                Panel(
                    "Changed pixels",
                    "Bytes of the pixels that drivers showed anew.",
                    "Bps",
                    [rate("virtmesh_gpu_damage_bytes_total", "{{device}} {{scanout}}", SCANOUT)],
                ),
                Panel(
                    "Commands",
                    "What drivers ask for.",
                    "ops",
                    [
                        rate(
                            "virtmesh_gpu_commands_total",
                            "{{device}} {{command}}",
                            "device, command",
                        )
                    ],
                ),
                Panel(
                    "Answers",
                    "What they are told: all but OK_ are refusals.",
                    "ops",
                    [
                        rate(
                            "virtmesh_gpu_commands_total",
                            "{{device}} {{response}}",
                            "device, response",
                        ),
                        rate("virtmesh_gpu_malformed_total", "{{device}} malformed"),
                    ],
                ),
                Panel(
                    "Resources",
                    "Resources of drivers.",
                    "none",
                    [("virtmesh_gpu_resources{$sel}", "{{device}}")],
                ),
                Panel(
                    "Watchers over time",
                    "Who watches each screen.",
                    "none",
                    [("virtmesh_gpu_watchers{$sel}", "{{device}} {{scanout}}")],
                ),
            ),
        ),
    ),
)
