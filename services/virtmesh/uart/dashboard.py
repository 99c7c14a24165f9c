"""Serial ports."""

from __future__ import annotations

from virtmesh.dashboards.board import NUMBER, Board, Panel, Row, rate

BOARD = Board(
    uid="virtmesh-uart",
    title="virtmesh: serial ports",
    meaning="NS16550A serial ports: characters, FIFOs, errors, and who watches.",
    devices='label_values(virtmesh_uart_waiting_bytes{machine=~"$machine"}, device)',
    rows=(
        Row(
            "The line",
            (
                Panel(
                    "Characters",
                    "Characters that the machine received and sent.",
                    "Bps",
                    [
                        rate("virtmesh_uart_received_bytes_total", "{{device}} received"),
                        rate("virtmesh_uart_transmitted_bytes_total", "{{device}} sent"),
                    ],
                ),
                Panel(
                    "FIFOs",
                    "Characters in the FIFOs of the chip: at most 16 each.",
                    "none",
                    [("virtmesh_uart_fifo_bytes{$sel}", "{{device}} {{fifo}}")],
                    limits=[14, 16],
                ),
                Panel(
                    "Waiting on the line",
                    "Input that waits for the receiver.",
                    "bytes",
                    [("virtmesh_uart_waiting_bytes{$sel}", "{{device}}")],
                    limits=[4096, 65536],
                ),
                Panel(
                    "Overruns",
                    "Characters lost: by the receiver, and by a transmitter that was full.",
                    "ops",
                    [
                        rate("virtmesh_uart_overruns_total", "{{device}} receiver"),
                        rate("virtmesh_uart_transmit_overruns_total", "{{device}} transmitter"),
                    ],
                    limits=[0.1],
                ),
                Panel(
                    "Line errors",
                    "Characters received with a parity or framing error, and breaks.",
                    "ops",
                    [
                        rate(
                            "virtmesh_uart_line_errors_total", "{{device}} {{kind}}", "device, kind"
                        ),
                        rate("virtmesh_uart_breaks_sent_total", "{{device}} breaks sent"),
                    ],
                    limits=[0.1],
                ),
                Panel(
                    "Thrown away",
                    "Input refused since the line was full, that came without a driver, or that the"
                    " driver discarded.",
                    "Bps",
                    [
                        rate("virtmesh_uart_refused_bytes_total", "{{device}} refused"),
                        rate("virtmesh_uart_unattended_bytes_total", "{{device}} unattended"),
                        rate("virtmesh_uart_discarded_bytes_total", "{{device}} discarded"),
                    ],
                ),
            ),
        ),
        Row(
            "As the kernel's driver sees it",
            (
                Panel(
                    "Characters",
                    "Characters that the driver read and wrote.",
                    "Bps",
                    [
                        rate("virtmesh_kernel_serial_received_bytes_total", "{{device}} received"),
                        rate("virtmesh_kernel_serial_sent_bytes_total", "{{device}} sent"),
                    ],
                ),
                Panel(
                    "Waiting to be sent",
                    "Characters in the driver's transmit queue.",
                    "bytes",
                    [("virtmesh_kernel_serial_unsent_bytes{$sel}", "{{device}}")],
                ),
                Panel(
                    "Overruns seen, and readers too late",
                    "Times that LSR showed an overrun, and that the receive queue was full.",
                    "ops",
                    [
                        rate("virtmesh_kernel_serial_overruns_seen_total", "{{device}} overruns"),
                        rate("virtmesh_kernel_serial_held_back_total", "{{device}} held back"),
                    ],
                    limits=[0.1],
                ),
            ),
        ),
        Row(
            "The chip and its watchers",
            (
                Panel(
                    "Interrupts by source",
                    "Times that a source began to hold the interrupt line.",
                    "ops",
                    [
                        rate(
                            "virtmesh_uart_interrupts_total",
                            "{{device}} {{source}}",
                            "device, source",
                        )
                    ],
                ),
                Panel(
                    "Register accesses",
                    "By register and direction.",
                    "ops",
                    [
                        rate(
                            "virtmesh_register_accesses_total",
                            "{{register}} {{direction}}",
                            "register, direction",
                        )
                    ],
                ),
                Panel(
                    "Watchers",
                    "Clients that watch what the machine sends.",
                    "none",
                    [("virtmesh_uart_watchers{$sel}", "{{device}}")],
                    NUMBER,
                    width=4,
                ),
                Panel(
                    "Scrollback",
                    "Output that is kept for watchers to come.",
                    "bytes",
                    [("virtmesh_uart_scrollback_bytes{$sel}", "{{device}}")],
                    NUMBER,
                    width=4,
                ),
                Panel(
                    "Output that somebody missed",
                    "Watchers cut off since they were too slow, and bytes that are not in the log"
                    " file.",
                    "ops",
                    [
                        rate("virtmesh_uart_watchers_cut_off_total", "{{device}} watchers"),
                        rate("virtmesh_uart_log_lost_bytes_total", "{{device}} bytes of the log"),
                    ],
                    limits=[0.1],
                ),
            ),
        ),
    ),
)
