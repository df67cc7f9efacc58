"""A well-behaved client: asks one question after the other on one connection, and says how long each took.

Usage: client.py ADDRESS SECONDS PER_SECOND. For each line that it reads, it asks for so long and prints a line of JSON. Every second
question must be allowed and the others denied. A question that fails, is answered wrongly or takes longer than five seconds is
counted, and the client connects again.

A question that had to wait for the answer before it counts from the moment when it was due. Otherwise one answer that comes a tenth of
a second late would be one slow answer, although all that were due meanwhile are as late.
"""

import json
import sys
import time

from frames import (
    ACK, ALLOW, DATA, DELETE, DENY, GOAWAY, HEADERS, PING, READ, RST_STREAM, SETTINGS, END_STREAM, WINDOW_UPDATE,
    call, connect, frame, greeting, question,
)  # fmt: skip


class Client:
    def __init__(self, address):
        self.connection = connect(address)
        self.connection.sendall(greeting())
        self.buffer = b""
        self.stream = 1

    def frames(self):
        """The frames that have come, after those that the connection itself needs were answered."""
        while True:
            while len(self.buffer) >= 9 and len(self.buffer) >= (end := 9 + int.from_bytes(self.buffer[:3], "big")):
                kind, flags = self.buffer[3], self.buffer[4]
                stream, payload = int.from_bytes(self.buffer[5:9], "big"), self.buffer[9:end]
                self.buffer = self.buffer[end:]
                if kind == SETTINGS and not flags & ACK:
                    self.connection.sendall(frame(SETTINGS, ACK))
                elif kind == PING and not flags & ACK:
                    self.connection.sendall(frame(PING, ACK, 0, payload))
                elif kind == DATA and payload:
                    self.connection.sendall(frame(WINDOW_UPDATE, 0, 0, len(payload).to_bytes(4, "big")))
                yield kind, flags, stream, payload
            received = self.connection.recv(1 << 16)
            if not received:
                raise ConnectionError("closed")
            self.buffer += received

    def ask(self, action):
        """The decision about Alice's `action`; None if there is none."""
        stream, self.stream = self.stream, self.stream + 2
        self.connection.sendall(call(stream, payload=question(action)))
        decision = None
        for kind, flags, on, payload in self.frames():
            if kind == GOAWAY or (kind == RST_STREAM and on == stream):
                raise ConnectionError("refused")
            if kind == DATA and on == stream and len(payload) > 6:
                # The first field of an answer is the decision.
                decision = payload[6] if payload[5] == 8 else None
            if kind == HEADERS and on == stream and flags & END_STREAM:
                return decision


def asked(client, address, seconds, per_second):
    """The client that goes on, since it may have connected again, and what it saw."""
    took_us, n_failed, n_wrong, n = [], 0, 0, 0
    begun = time.monotonic()
    while time.monotonic() < begun + seconds:
        begins = begun + n / per_second
        if (left := begins - time.monotonic()) > 0:
            time.sleep(left)
            begins = time.monotonic()
        action, expected = ((READ, ALLOW), (DELETE, DENY))[n % 2]
        n += 1
        try:
            client = client or Client(address)
            decision = client.ask(action)
            took_us.append((time.monotonic() - begins) * 1e6)
            n_wrong += decision != expected
        except OSError:
            n_failed += 1
            client = None
    took_us.sort()

    def share(part):
        return round(took_us[min(len(took_us) - 1, int(part * len(took_us)))]) if took_us else None

    return client, {
        "answers": len(took_us),
        "failed": n_failed,
        "wrong": n_wrong,
        "p50_us": share(0.5),
        "p99_us": share(0.99),
    }


def main():
    address, seconds, per_second = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
    client = None
    for _ in sys.stdin:
        client, seen = asked(client, address, seconds, per_second)
        print(json.dumps(seen), flush=True)


if __name__ == "__main__":
    main()
