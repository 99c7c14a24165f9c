"""The table of who may call what: complete, and no wider than it should be."""

from __future__ import annotations

import itertools

import pytest
from google.protobuf import descriptor_pool
from grpc_health.v1 import health_pb2

from virtmesh.rpc.metrics import contract_services
from virtmesh.rpc.reflection import METHODS as REFLECTION_METHODS
from virtmesh_common.security.roles import (
    EVERYONE,
    OWNERS,
    ROWS,
    TABLE,
    Access,
    Role,
    find_access,
    table_with,
)


def served_methods() -> set[str]:
    """Return every method of the contracts, of health and of reflection, by full name."""
    services = [*contract_services(), *health_pb2.DESCRIPTOR.services_by_name.values()]
    pool = descriptor_pool.Default()
    own = {
        f"/{service.full_name}/{method.name}"
        for service in services
        for method in pool.FindServiceByName(service.full_name).methods
    }
    return own | REFLECTION_METHODS


def test_every_rpc_has_a_row() -> None:
    """A new RPC fails here until somebody decides who may call it; a row that is left over, too."""
    assert {row.method for row in ROWS} == served_methods()


def test_no_rpc_has_two_rows() -> None:
    """The second would win silently."""
    assert len(ROWS) == len(TABLE)


def test_the_owner_may_call_everything() -> None:
    """Nothing locks the owner out."""
    assert [row.method for row in ROWS if Role.OWNER not in row.roles] == []


def test_an_observer_changes_nothing() -> None:
    """Its role is to read."""
    assert [row.method for row in ROWS if row.changes and Role.OBSERVER in row.roles] == []


def test_an_operator_may_do_what_an_injector_may() -> None:
    """And an injector what an observer may: a role that is wider is never narrower elsewhere."""
    ladder = [Role.OBSERVER, Role.INJECTOR, Role.OPERATOR]

    wrong = [
        row.method
        for row in ROWS
        for lower, higher in itertools.pairwise(ladder)
        if lower in row.roles and higher not in row.roles
    ]

    assert wrong == []


def test_an_unknown_rpc_is_for_the_owner() -> None:
    """Also one that only looks like one of ours."""
    assert find_access("/virtmesh.device.v1.DeviceService/describe").roles == OWNERS


@pytest.mark.parametrize("method", ["/virtmesh.device.v1.DeviceService/Attach", "/org.x.Y/Z"])
def test_a_package_adds_rows_and_changes_none(method: str) -> None:
    """A kind of another package opens its own services, not ours."""
    table = table_with([Access(method, EVERYONE)])

    assert find_access(method, table).roles == TABLE.get(method, Access(method, EVERYONE)).roles
