"""HTTP/2 frames by hand, and the one question that everybody asks here. Standard library only."""

import socket
import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, _, RST_STREAM, SETTINGS, _, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS = 1, 1, 4
INITIAL_WINDOW_SIZE = 4
CANCEL = 8
SERVICE = "/iamd.v1.AuthorizationService/"

ACCOUNT = "111122223333"
ALICE = f"arn:aws:iam::{ACCOUNT}:user/alice"
ORDER = "arn:app:orders:::order/1234"
READ, DELETE = "orders:Read", "orders:Delete"
DENY, ALLOW = 1, 2


def frame(kind, flags=0, stream=0, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def integer(value, first):
    """A number with a prefix of seven bits, as HPACK writes it."""
    if value < 127:
        return bytes((first | value,))
    out, value = bytearray((first | 127,)), value - 127
    while value >= 128:
        out.append(value % 128 | 128)
        value //= 128
    out.append(value)
    return bytes(out)


def header(name, value):
    """A header as a literal that nobody keeps."""
    name, value = name.encode(), value.encode()
    return b"\0" + integer(len(name), 0) + name + integer(len(value), 0) + value


def head(method="Authorize", more=()):
    """The headers of a call."""
    fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", SERVICE + method),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        *more,
    ]
    return b"".join(header(name, value) for name, value in fields)


def message(payload):
    """A message as gRPC frames it."""
    return b"\0" + struct.pack(">I", len(payload)) + payload


def field(number, payload):
    """A field of a message of the protocol, of at most 16,383 bytes."""
    payload = payload.encode() if isinstance(payload, str) else payload
    n = len(payload)
    length = bytes((n,)) if n < 128 else bytes((n % 128 | 128, n // 128))
    assert n < 1 << 14
    return bytes((number << 3 | 2,)) + length + payload


def question(action=READ):
    return field(1, ALICE) + field(2, action) + field(3, ORDER)


def call(stream, method="Authorize", payload=None, more=()):
    """A whole call in the frames that a client would send."""
    payload = message(question() if payload is None else payload)
    begun = frame(HEADERS, END_HEADERS, stream, head(method, more))
    pieces = [payload[at : at + 16384] for at in range(0, len(payload), 16384)]
    body = b"".join(
        frame(DATA, END_STREAM if piece is pieces[-1] else 0, stream, piece) for piece in pieces
    )
    return begun + body


def greeting(**settings):
    """What a client sends first. `window` is how much of each answer it takes."""
    window = settings.get("window")
    payload = b"" if window is None else struct.pack(">HI", INITIAL_WINDOW_SIZE, window)
    return PREFACE + frame(SETTINGS, 0, 0, payload)


def connect(address, timeout=5, receive_buffer=None):
    """A connection to `HOST:PORT` or `unix:PATH`."""
    if address.startswith("unix:"):
        connection = socket.socket(socket.AF_UNIX)
        target = address.removeprefix("unix:")
    else:
        connection = socket.socket()
        if receive_buffer:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        host, port = address.rsplit(":", 1)
        target = (host, int(port))
    connection.settimeout(timeout)
    try:
        connection.connect(target)
        if connection.family == socket.AF_INET:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError:
        connection.close()
        raise
    return connection
