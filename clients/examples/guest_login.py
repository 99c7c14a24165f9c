"""Log in on the serial console of a Linux guest, type at its keyboard, and see what it received.

Usage: python guest_login.py ADDRESS [--keyboard NAME] [--text TEXT]

The script may run on any host that reaches ADDRESS, the machine's kernel service. The guest:

    virtmesh guest qemu --detach --login        # of a machine with a serial port and a keyboard

It prints a transcript: what came from the console, and in brackets what the script did.
"""

# ruff: noqa: INP001, T201 - a script for people

from __future__ import annotations

import argparse

import virtmesh_client

SHELL = "/ # "
READER = "{ head -n 1 </dev/tty1 >/tmp/typed & }"
"""What reads the line that is typed: a program on the first virtual terminal of the guest."""


def log_in(serial: virtmesh_client.Serial, user: str) -> None:
    """Log in, from whatever is on the console. Errors: ExpectTimeout."""
    serial.send_line()
    show(serial.expect("login: ", timeout=120).text + "login: ")
    print(f"[the script logs in as {user}]")
    serial.send_line(user)
    show(serial.expect(SHELL).text)


def run(serial: virtmesh_client.Serial, command: str) -> str:
    """Run a command at the shell; return what it prints."""
    print(f"[the script runs: {command}]")
    # A shell that edits lines asks where the cursor is; a mark tells the echo from the answer.
    serial.send_line(f"{command}; echo 'do''ne'")
    answer = serial.expect("done\r\n").text
    serial.expect(SHELL)
    text: str = answer.partition("\r\n")[2]
    show(text)
    return text.replace("\r", "")


def show(text: str) -> None:
    """Print what came from the console, without the questions to a terminal."""
    lines = text.replace("\x1b[6n", "").replace("\r", "").splitlines()
    print("\n".join(line.rstrip() for line in lines))


def main() -> None:
    """Do all of it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("address")
    parser.add_argument("--keyboard", default="keyboard")
    parser.add_argument("--text", default="Hello from another host")
    options = parser.parse_args()
    with virtmesh_client.connect(options.address) as machine, machine.serial() as serial:
        (guest,) = machine.guests()
        print(f"[{options.address}: the guest {guest.kind} is {guest.state} on {guest.serial}]")
        log_in(serial, "root")
        run(serial, "uname -sr; cat /sys/class/input/event0/device/name")
        run(serial, READER)
        print(f"[the script types at {options.keyboard}: {options.text}]")
        keyboard = machine.input(options.keyboard)
        keyboard.type(options.text + "\n", wait="delivered")
        typed = run(serial, "wait; cat /tmp/typed")
        screen = run(serial, "head -c 80 /dev/vcs1")
    if typed.strip() != options.text or options.text not in screen:
        raise SystemExit(f"the guest received {typed!r}, and shows {screen!r}")
    print("[the guest received what was typed, and shows it on its screen]")


if __name__ == "__main__":
    main()
