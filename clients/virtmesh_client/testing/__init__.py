"""For the tests of scripts: a machine in this process, without devices, Rust or images.

from virtmesh_client.testing import FakeKernel

with FakeKernel(vda=64 << 20) as kernel:
machine = virtmesh_client.connect(kernel.address)
"""

from virtmesh_client.testing.fake_disk import FakeDisk
from virtmesh_client.testing.fake_kernel import FakeKernel

__all__ = ["FakeDisk", "FakeKernel"]
