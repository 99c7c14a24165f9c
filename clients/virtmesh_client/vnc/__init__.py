"""VNC: a screen for viewers that speak RFB 3.3 to 3.8 (RFC 6143).

It needs the extra `screen`: importing it raises ExtraMissing without.
"""

from virtmesh_client.extras import needing

with needing("screen", "VNC"):
    from virtmesh_client.vnc.errors import ViewerError
    from virtmesh_client.vnc.options import VncOptions
    from virtmesh_client.vnc.server import VncServer
    from virtmesh_client.vnc.viewer import serve_viewer

__all__ = ["ViewerError", "VncOptions", "VncServer", "serve_viewer"]
