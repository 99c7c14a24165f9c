"""Statements for drivers that a device can't judge, and why."""

from __future__ import annotations

from virtmesh.report.rule import PC16550D, Unseen

INSIDE = "It is about what the driver does inside itself, which no access shows."
ALWAYS_KEPT = "No device of virtmesh gives an occasion to break it."

UNSEEN = (
    Unseen(
        "2.1.1",
        "Set bits of Status for the completed steps alone.",
        "The order of the bits is judged (status-order); what was done before each is judged as far"
        " as registers show it.",
    ),
    Unseen(
        "2.2.1", "Validate the features on offer, and ignore bits that are not described.", INSIDE
    ),
    Unseen(
        "2.2.1",
        "Set FAILED and give up when a feature that is needed is not offered.",
        "A driver that stops may also have stopped for another reason, or may be waited for.",
    ),
    Unseen("2.2.1", "Do not fail only because an unknown feature is offered.", INSIDE),
    Unseen("2.5.1", "Take no read of more than 32 bits, or of several fields, for atomic.", INSIDE),
    Unseen("2.5.1", "Do not limit the size of the configuration space.", INSIDE),
    Unseen(
        "2.6.1.2.2",
        "Set a queue up after its reset as during initialization.",
        "What is left out is judged: size (queue-size-first) and areas (queue-areas).",
    ),
    Unseen(
        "2.7.5.2",
        "With VIRTIO_F_IN_ORDER, use descriptors in the order of the table.",
        "No device of virtmesh offers VIRTIO_F_IN_ORDER.",
    ),
    Unseen(
        "2.7.5.3.1",
        "With VIRTIO_F_IN_ORDER, put descriptors into an indirect table in order.",
        "No device of virtmesh offers VIRTIO_F_IN_ORDER.",
    ),
    Unseen("2.7.7.1", "Handle spurious interrupts.", INSIDE),
    Unseen(
        "2.7.8",
        "Never write to the used ring after its set-up.",
        "The device does not read what it wrote, so that a driver can't lead it astray.",
    ),
    Unseen("2.7.8.3", "Assume nothing of a buffer beyond the length that was used.", INSIDE),
    Unseen(
        "2.7.10.1",
        "Notify the device unless it has asked for none; ignore what is not to be looked at.",
        "A driver that has not notified yet may be about to: the statement has no time limit.",
    ),
    Unseen(
        "2.7.13.3.1",
        "Use a memory barrier before updating `idx`.",
        "A missing barrier shows as a broken ring at most, and rarely.",
    ),
    Unseen(
        "2.7.13.4.1",
        "Use a memory barrier before looking whether a notification is wanted.",
        "A missing barrier shows as a notification that does not come.",
    ),
    Unseen("3.1.1", "Do not go on after a step that went wrong.", INSIDE),
    Unseen(
        "3.3.1",
        "Alter no descriptor of a chain that the device holds, and remove none from a live queue.",
        "The device reads each descriptor once. A chain that is made available again is judged"
        " (chain-in-flight).",
    ),
    Unseen("4.2.2.2", "Ignore a device with another MagicValue or Version.", ALWAYS_KEPT),
    Unseen("4.2.2.2", "Ignore a device with DeviceID 0, without an error.", ALWAYS_KEPT),
    Unseen("4.2.2.2", "Ignore undefined bits in InterruptStatus.", ALWAYS_KEPT),
    Unseen(
        "4.2.2.2",
        "Write the events that were handled to InterruptACK.",
        "The statement has no time limit. A driver that never does so has its interrupt again.",
    ),
    Unseen(
        "4.2.3.4.1",
        "Read InterruptStatus after an interrupt.",
        "InterruptService tells its value with the interrupt, so a driver behind it need not ask.",
    ),
    Unseen("5.2.5.1", "Statements about zoned disks.", "No disk of virtmesh is zoned."),
    Unseen("5.2.6.1", "Statements about secure erase.", "No disk of virtmesh offers it."),
    Unseen("5.2.6.1", "Assume nothing of writes that were not flushed.", INSIDE),
    Unseen("5.2.6.1", "Assume nothing of sectors that were discarded.", INSIDE),
    Unseen("5.2.6.1", "Assume nothing of the segments of a failed request.", INSIDE),
    Unseen(
        "5.7.4.2",
        "After a display event ask for the displays and their EDID anew.",
        "A driver may do so at any later time.",
    ),
    Unseen(
        "5.7.5",
        "Ask for the displays and their EDID, and use what is said for the first scanouts.",
        "A driver may have reasons for another size, and may show nothing at all.",
    ),
    Unseen(
        "5.7.5",
        "Ask for every region of shared memory.",
        "No GPU of virtmesh has one. Who asks breaks no rule about shared memory (4.2.3.1.1).",
    ),
    Unseen(
        "5.7.6.6",
        "Transfer the image of a cursor, and wait for the fence, before it is shown.",
        "An image that came late is one that the driver may want.",
    ),
    Unseen("5.7.6.8", "Say in `blob_flags` what a blob is used for.", INSIDE),
    Unseen("5.7.6.8", "Statements about capability sets.", "No GPU of virtmesh has one."),
    Unseen("5.7.6.9", "Statements about 3D.", "No GPU of virtmesh offers it."),
    Unseen(
        "6.1",
        "Set up the IOMMU with VIRTIO_F_ACCESS_PLATFORM; use its barriers with"
        " VIRTIO_F_ORDER_PLATFORM.",
        "No device of virtmesh offers them.",
    ),
    Unseen("6.1", "Negotiate VIRTIO_F_SR_IOV on PCI only.", "It is judged as feature-not-offered."),
    Unseen(
        "8.1",
        "Set DLAB to access the divisor latch, clear it to access RBR, THR and IER.",
        "The same addresses mean the other registers then: the access itself is in order.",
        PC16550D,
    ),
    Unseen(
        "8.1",
        "Send a break between characters: wait for THRE before it and TEMT after it.",
        "A driver may know from elsewhere that nothing is being sent.",
        PC16550D,
    ),
    Unseen(
        "8.5",
        "Change the mode of the FIFOs when they are empty.",
        "The sheet says what is lost, and does not forbid it.",
        PC16550D,
    ),
)
