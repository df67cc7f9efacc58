"""Calls that the HTTP library refuses and other servers for gRPC accept, as docs/limits.md lists them.

No client library sends most of them, so they are frames by hand. The same bytes go to a server on gRPC's C core: where both agree, there
is nothing to list.
"""

import sys
import unittest
from concurrent import futures

import grpc

from server import PATIENCE_S, ROOT, ServedTest

sys.path.insert(0, str(ROOT / "tests" / "attacks"))
from frames import (  # noqa: E402
    ACK, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, RST_STREAM, SERVICE, SETTINGS, connect, frame, greeting, header, message, question,
)  # fmt: skip

PROTOCOL_ERROR = 1
ANSWERED, NO_MESSAGE = "answered", "a status without a message"
RESET, CLOSED = f"reset {PROTOCOL_ERROR}", f"connection closed {PROTOCOL_ERROR}"

ORDINARY = {
    ":method": "POST",
    ":scheme": "http",
    ":path": SERVICE + "Authorize",
    ":authority": "localhost",
    "content-type": "application/grpc",
    "te": "trailers",
}

# What the headers of an ordinary call have instead or besides (None: the header is missing), and what becomes of the call.
CASES = {
    "an ordinary call": ({}, ANSWERED),
    "no `te`": ({"te": None}, ANSWERED),
    "no authority": ({":authority": None}, ANSWERED),
    "metadata of UTF-8": ({"x-name": "é"}, ANSWERED),
    "an authority that is a path": ({":authority": "/run/iamd/iamd.sock"}, RESET),
    "an authority that is a path, with escapes": ({":authority": "run%2Fiamd%2Fiamd.sock"}, RESET),
    "an authority that is a target": ({":authority": "unix:/run/iamd/iamd.sock"}, RESET),
    "an empty authority": ({":authority": ""}, RESET),
    "no scheme": ({":scheme": None}, RESET),
    "a path without a slash": ({":path": SERVICE[1:] + "Authorize"}, RESET),
    "a path with a scheme": ({":path": "http://localhost" + SERVICE + "Authorize"}, RESET),
    "a header for HTTP/1.1: connection": ({"connection": "keep-alive"}, RESET),
    "a header for HTTP/1.1: keep-alive": ({"keep-alive": "timeout=5"}, RESET),
    "a header for HTTP/1.1: transfer-encoding": ({"transfer-encoding": "chunked"}, RESET),
    "a header for HTTP/1.1: upgrade": ({"upgrade": "h2c"}, RESET),
    "another `te`": ({"te": "gzip"}, RESET),
    "a wrong length": ({"content-length": "3"}, RESET),
    "metadata with a control character": ({"x-name": "a\nb"}, CLOSED),
    "a name with a capital": ({"X-Name": "a"}, CLOSED),
    "a name with a space": ({"x name": "a"}, CLOSED),
    "no content type": ({"content-type": None}, NO_MESSAGE),
    "gRPC-Web": ({"content-type": "application/grpc-web+proto"}, NO_MESSAGE),
    "a deadline of nine digits": ({"grpc-timeout": "100000000n"}, NO_MESSAGE),
    "a compression, even without a compressed message": ({"grpc-encoding": "gzip"}, NO_MESSAGE),
}

# Of these, gRPC's C core answers only:
OTHERS_REFUSE = {"no `te`", "no authority", "no scheme", "another `te`", "a name with a capital", "a name with a space"}


def outcome(address, fields):
    """What a server does with a call whose headers are these."""
    fields = {name: value for name, value in {**ORDINARY, **fields}.items() if value is not None}
    block = b"".join(header(name, value) for name, value in fields.items())
    sent = frame(HEADERS, END_HEADERS, 1, block) + frame(DATA, END_STREAM, 1, message(question()))
    with connect(address, timeout=PATIENCE_S) as connection:
        connection.sendall(greeting() + sent)
        buffer, has_message = b"", False
        while received := connection.recv(1 << 16):
            buffer += received
            while len(buffer) >= 9 and len(buffer) >= (end := 9 + int.from_bytes(buffer[:3], "big")):
                kind, flags, payload, buffer = buffer[3], buffer[4], buffer[9:end], buffer[end:]
                if kind == SETTINGS and not flags & ACK:
                    connection.sendall(frame(SETTINGS, ACK))
                elif kind == RST_STREAM:
                    return f"reset {int.from_bytes(payload, 'big')}"
                elif kind == GOAWAY:
                    return f"connection closed {int.from_bytes(payload[4:8], 'big')}"
                elif kind == DATA:
                    has_message |= len(payload) > 5
                elif kind == HEADERS and flags & END_STREAM:
                    return ANSWERED if has_message else NO_MESSAGE
        return "closed"


class Anything(grpc.GenericRpcHandler):
    """Answers every call."""

    def service(self, _details):
        return grpc.unary_unary_rpc_method_handler(lambda _request, _context: b"\x08\x02")


class Refused(ServedTest):
    def test_what_is_refused_is_what_the_page_of_limits_says(self):
        for name, (fields, expected) in CASES.items():
            with self.subTest(name):
                self.assertEqual(outcome(self.server.address, fields), expected)
        # Whatever was refused concerned only that call or that connection.
        self.assertEqual(outcome(self.server.address, {}), ANSWERED)

    def test_another_server_answers_what_is_listed(self):
        with futures.ThreadPoolExecutor(2) as threads:
            other = grpc.server(threads, handlers=[Anything()])
            address = f"127.0.0.1:{other.add_insecure_port('127.0.0.1:0')}"
            other.start()
            try:
                for name, (fields, _) in CASES.items():
                    with self.subTest(name):
                        is_answered = outcome(address, fields) == ANSWERED
                        self.assertEqual(is_answered, name not in OTHERS_REFUSE)
            finally:
                other.stop(None)


if __name__ == "__main__":
    unittest.main()
