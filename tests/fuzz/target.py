"""What a fuzz target is: one input in, and an exception if a promise is broken."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from tests.fuzz import targets

Run = Callable[[bytes], object]
"""Does what an input says. What it raises is a crash."""


@contextmanager
def without_state(run: Run) -> Iterator[Run]:
    """Open a target that has no state."""
    yield run


@dataclass(frozen=True)
class Target:
    """A fuzz target. `open` makes what all inputs of a process share, and gives what runs one."""

    open: Callable[[], AbstractContextManager[Run]]
    seeds: Callable[[], Iterable[bytes]] = tuple
    """Inputs that are right, made by the product's own encoders."""
    longest: int = 4096
    """Most bytes of an input."""


def stateless(
    run: Run, seeds: Callable[[], Iterable[bytes]] = tuple, *, longest: int = 4096
) -> Target:
    """Make a target of a function alone."""
    return Target(lambda: without_state(run), seeds, longest)


def names() -> list[str]:
    """Return the names of the targets, without importing any."""
    return sorted(module.name for module in pkgutil.iter_modules(targets.__path__))


def load(name: str) -> Target:
    """Import a target. Errors: ModuleNotFoundError."""
    target = importlib.import_module(f"{targets.__name__}.{name}").TARGET
    assert isinstance(target, Target)
    return target
