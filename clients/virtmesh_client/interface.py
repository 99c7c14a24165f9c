"""What a device says about how to name and to show what it does (DeviceService.DescribeInterface).

with connect() as machine:
    for register in machine.interface("vda").registers:
        print(register.offset, register.name)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.protobuf import json_format

from virtmesh_client.models import DeviceDescription
from virtmesh_common.api.device.v1 import device_pb2, interface_pb2
from virtmesh_common.api.device.v1.device_pb2_grpc import DeviceServiceStub
from virtmesh_common.errors import BadInterface
from virtmesh_common.interface import Interface
from virtmesh_common.interface_message import encode_interface, parse_interface

if TYPE_CHECKING:
    from virtmesh_client.channel import KernelChannel

__all__ = ["Interface", "interface_from_json", "interface_to_json", "read_interface"]


def read_interface(channel: KernelChannel, device: str) -> Interface:
    """Ask a device for its interface.

    Errors: BadInterface for one that does not parse; DeviceNotFound, DeviceLost; a VirtmeshError
    of a service that is too old to have the call.
    """
    stub = DeviceServiceStub(channel.grpc)
    request = device_pb2.DescribeInterfaceRequest()
    message = channel.ask(stub.DescribeInterface, request, device).interface
    try:
        return parse_interface(message)
    except ValueError as error:
        raise BadInterface(f"{device} describes itself in a way that can't be: {error}") from None


def read_description(channel: KernelChannel, device: str) -> DeviceDescription:
    """Ask a device what it is. Errors: DeviceNotFound, DeviceLost."""
    stub = DeviceServiceStub(channel.grpc)
    about = channel.ask(stub.Describe, device_pb2.DescribeRequest(), device)
    return DeviceDescription(
        name=about.name,
        kind=about.kind,
        compatible=about.compatible,
        virtio_device_id=about.virtio_device_id,
        mmio_size_bytes=about.mmio_size_bytes,
        queue_size_max=tuple(about.queue_size_max),
        properties=dict(about.properties),
        features=tuple((one.bit, one.name) for one in about.features),
        handover_socket=about.handover_socket,
        version=about.version,
    )


def interface_to_json(interface: Interface) -> dict[str, Any]:
    """Return an interface as JSON has it: virtmesh.device.v1.Interface, with the proto's names."""
    message = encode_interface(interface)
    content: dict[str, Any] = json_format.MessageToDict(message, preserving_proto_field_name=True)
    return content


def interface_from_json(content: object) -> Interface:
    """Return the interface that JSON has. Errors: ValueError. Fields of later versions are left."""
    if not isinstance(content, dict):
        raise ValueError("an interface is an object")  # noqa: TRY004 - one error for every bad one
    message = interface_pb2.Interface()
    try:
        json_format.ParseDict(content, message, ignore_unknown_fields=True)
    except (json_format.ParseError, TypeError, RecursionError, OverflowError) as error:
        raise ValueError(f"no interface: {error}") from None
    return parse_interface(message)
