"""The call by which a connection goes through from the hub to a port at a site. It stands here and not in bridge.proto, since its messages
are no protobuf: its fields are copied several times on either side, which costs more than all else that is done with the bytes.

One call of METHOD for each connection that the hub asked for (OpenTunnel), made by the site's bridge, with the order's id in the metadata.
A message is a part of what went into the connection at that side, of BLOCK_BYTES at most. An empty one says that this side sends no
more. The call ends once both have said so; one that ends before that broke.
"""

import socket
import struct

METHOD = "/matrix.bridge.v1.Bridge/Tunnel"
ID_KEY = "matrix-tunnel"
"""The metadata with OpenTunnel.id."""
END = b""
BLOCK_BYTES = 256 * 1024
"""The largest message. Smaller ones cost more processor time a byte; of larger ones each holds the others up for longer."""
WINDOW_BYTES = 256 * 1024
"""What may be under way to a reader, of each tunnel."""
OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.http2.lookahead_bytes", WINDOW_BYTES),
    # Else gRPC widens the window of all calls to what the fastest one could use, up to 16 MiB, and many slow readers fill the memory.
    ("grpc.http2.bdp_probe", 0),
)
"""Channel arguments of both sides; see grpc_types.h."""


def reset(connection: socket.socket) -> None:
    """Close what broke so that its other side sees a reset, and takes nothing for whole. Nothing may wait for the socket."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
