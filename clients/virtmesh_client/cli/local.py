"""`virtmesh status` and `virtmesh down`: the machines that `virtmesh up` runs on this host.

Both need the run folders of the machines and nothing of the services, unless there are guests in
the background.
"""

# ruff: noqa: FBT001 - click hands each option over as a parameter

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from virtmesh_client.cli.settings import Settings, common
from virtmesh_client.cli.show import show_facts, show_json, show_table
from virtmesh_client.local import rundir
from virtmesh_client.local.stop import stop_machine
from virtmesh_common.printable import say

GUEST_SECONDS = 5.0
"""How long a machine may take to say which guests it has."""

run_dir_option = click.option(
    "--run-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help=f"Folder for sockets, logs and state (${rundir.VARIABLE}).",
)


@click.command()
@common
@click.pass_obj
def status(settings: Settings) -> None:
    """Show the machines that run here, and their processes."""
    states = rundir.running()
    if settings.json:
        show_json([replace(state, warnings=tuple(state.warnings_now)) for state in states])
        return
    if not states and settings.address:
        say(f"no machine runs here; `virtmesh devices` asks the one at {settings.address}")
    elif not states:
        say("no machine runs here: `virtmesh up` starts one")
    for number, state in enumerate(states):
        if number:
            say()
        show_state(settings, state)


def show_state(settings: Settings, state: rundir.MachineState) -> None:
    """Show a machine and its processes."""
    if settings.json:
        show_json(state)
        return
    if settings.quiet:
        return
    show_facts(
        [
            ("machine", f"{state.name} ({state.status})"),
            ("address", state.address),
            *(("also at", one) for one in state.addresses if one != state.address),
            ("run folder", state.run_dir),
            *(("warning", text) for text in state.warnings_now),
        ]
    )
    say()
    show_table(
        ("PROCESS", "KIND", "PID", "RESTARTS", "METRICS", "ADDRESS"),
        [
            (
                one.name,
                one.kind,
                one.pid if one.alive else "held" if one.held else "dead",
                one.restarts,
                spell_page(one.metrics, secure=bool(state.security) and one.kind in rundir.KERNELS),
                one.address or "-",
            )
            for one in (state.supervisor, *state.processes)
        ],
    )
    if not state.supervisor.alive:
        say()
        say("its supervisor was killed, so that nobody starts anew what ends")
        say(f"stop the rest with `virtmesh down {state.name}`, and start it with `virtmesh up`")
    for one in state.processes:
        if one.held:
            say()
            say(f"{one.name} is held: {one.held}")
            say(f"mend that, and bring it back with `virtmesh restart {one.name}`")
        elif one.silent and one.alive:
            say()
            say(f"{one.name} has not answered {one.silent}")
            say(f"`virtmesh restart {one.name}` ends it, and starts it anew")


def spell_page(address: str, *, secure: bool) -> str:
    """Spell where a page of metrics is: what a browser takes, or a socket."""
    if not address or address.startswith("unix:"):
        return address or "-"
    return f"{'https' if secure else 'http'}://{address}/metrics"


@click.command()
@click.argument("name", required=False)
@run_dir_option
@click.option("--all", "everything", is_flag=True, help="Stop every machine of this user.")
@common
@click.pass_obj
def down(settings: Settings, name: str | None, run_dir: Path | None, everything: bool) -> None:
    """Stop a machine that `virtmesh up` started.

    Its guests in the background are stopped first. Give its NAME when there are several.
    """
    states = find(name, run_dir)
    if len(states) > 1 and not everything:
        names = ", ".join(state.name for state in states)
        raise click.UsageError(f"several machines run here ({names}): name one, or give --all")
    for state in states:
        stop_guests(settings, state)
    killed = {state.name: stop_machine(state) for state in states}
    if settings.json:
        show_json([{"name": state.name, "killed": killed[state.name]} for state in states])
    elif not states:
        say("nothing to stop")
    for state in [] if settings.json or settings.quiet else states:
        forced = f"; {', '.join(killed[state.name])} had to be killed" if killed[state.name] else ""
        say(f"{state.name} is stopped{forced}")


def stop_guests(settings: Settings, state: rundir.MachineState) -> None:
    """Stop the guests that run in the background on a machine, while they have their disks.

    One that can't be asked is killed by its keeper, when the machine has stopped.
    """
    if not (Path(state.run_dir) / rundir.GUEST_LOG).exists():
        return
    from virtmesh_client.machine import connect  # noqa: PLC0415 - gRPC takes time to import
    from virtmesh_common.errors import VirtmeshError  # noqa: PLC0415

    def tell(line: str) -> None:
        if not settings.quiet:
            say(line, err=True)

    try:
        with connect(state.address, timeout=GUEST_SECONDS) as machine:
            for guest in machine.guests():
                if guest.detached:
                    killed = machine.guest(guest.serial).stop()
                    how = "did not power off and was killed" if killed else "has stopped"
                    tell(f"the guest {guest.kind} on {guest.serial} of {state.name} {how}")
    except VirtmeshError as error:
        tell(f"the guests of {state.name} can't be asked to stop, and are killed: {error.message}")


def find(name: str | None, run_dir: Path | None) -> list[rundir.MachineState]:
    """Return the machines that are meant. Errors: BadMachine."""
    if run_dir:
        state = rundir.load(run_dir.absolute())
        return [state] if state else []
    states = rundir.running()
    if name:
        states = [state for state in states if state.name == name]
        if not states:
            from virtmesh_common.errors import BadMachine  # noqa: PLC0415 - it imports gRPC

            raise BadMachine(f"no machine {name} runs here: `virtmesh status` lists them")
    return states
