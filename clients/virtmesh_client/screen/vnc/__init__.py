"""VNC: a screen for viewers that speak RFB 3.3 to 3.8 (RFC 6143).

It needs the extra `screen`: importing it raises ExtraMissing without.
"""

from virtmesh_client.extras import needing

with needing("screen", "VNC"):
    from virtmesh_client.screen.vnc.errors import ViewerError
    from virtmesh_client.screen.vnc.options import VncOptions
    from virtmesh_client.screen.vnc.server import VncServer
    from virtmesh_client.screen.vnc.viewer import serve_viewer

__all__ = ["ViewerError", "VncOptions", "VncServer", "serve_viewer"]
