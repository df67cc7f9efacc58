"""A real iamd server for the peer tests: the binary `IAMD_BIN` on a port that the system chose."""

import json
import os
import pathlib
import signal
import subprocess
import tempfile
import threading
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[3]
BINARY = os.environ["IAMD_BIN"]
TOOLS = ROOT / "target" / "tools"

# tests/peers/go, which tests/peers/run builds.
GO_CLIENT = ROOT / "target" / "peers" / "many"

ALICE = "arn:aws:iam::111122223333:user/alice"
ORDER = "arn:app:orders:::order/1234"

# A store that these tests own, so that they do not change with the example store.
STORE = {
    "account.json": {"AccountId": "111122223333", "Partition": "aws"},
    "users/alice.json": {
        "UserName": "alice",
        "UserPolicyList": [
            {
                "PolicyName": "orders",
                "PolicyDocument": {
                    "Version": "2012-10-17",
                    "Statement": [
                        {"Sid": "ReadOrders", "Effect": "Allow", "Action": "orders:Read", "Resource": "arn:app:orders:::order/*"},
                        {
                            "Sid": "SmallRefunds",
                            "Effect": "Allow",
                            "Action": "orders:Refund",
                            "Resource": "arn:app:orders:::order/*",
                            "Condition": {"NumericLessThanEquals": {"orders:amount": "100"}},
                        },
                        {"Sid": "KeepOrders", "Effect": "Deny", "Action": "orders:Delete", "Resource": "*"},
                    ],
                },
            }
        ],
    },
}

# Long enough for a busy machine; reached only by a test that fails.
PATIENCE_S = 30


def write_store(directory, files=None):
    """Writes `files`, a map from path to JSON value, below `directory`."""
    for path, content in (files or STORE).items():
        target = pathlib.Path(directory) / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(content, indent=2) + "\n")


class Server:
    """`iamd serve` over one store. Ready when the constructor returns; call `stop` at the end.

    `options` are more options of it, `variables` more variables, and `client_options` what a command needs to ask it over
    TLS.
    """

    def __init__(self, store, listen="127.0.0.1:0", options=(), client_options=(), variables=None):
        self.stderr = []
        self.client_options = client_options
        self.process = subprocess.Popen(
            [BINARY, "serve", "--store", str(store), "--listen", listen, *map(str, options)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            # Several servers run at once, and only one of them could have the default port.
            env={"IAMD_HTTP_LISTEN": "127.0.0.1:0", **os.environ, **(variables or {})},
        )
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read_stderr, daemon=True)
        self._reader.start()
        try:
            self.address = self._wait_for(self._listening, "the address it listens on")
            self._wait_for(self._serving, "that it is serving")
        except BaseException:
            self.stop()
            raise

    def stop(self):
        """Asks the server to drain and returns its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            self._reader.join(PATIENCE_S)
            self.process.stderr.close()

    def healthcheck(self):
        scheme = "https://" if self.client_options else ""
        return healthcheck(scheme + self.address, *self.client_options)

    def _read_stderr(self):
        for line in self.process.stderr:
            with self._changed:
                self.stderr.append(line)
                self._changed.notify_all()

    def http_address(self):
        """The address of its pages."""
        return self._wait_for(lambda: self._listening("listening for HTTP"), "the address of its pages")

    def _listening(self, message="listening for gRPC"):
        for line in self.stderr:
            try:
                record = json.loads(line)
            except ValueError:
                continue
            fields = {**record, **record.get("fields", {})}
            if message in str(fields.get("message", "")):
                return fields.get("address")
        return None

    def _serving(self):
        return self.healthcheck() == 0

    def _wait_for(self, condition, what):
        deadline = time.monotonic() + PATIENCE_S
        while True:
            with self._changed:
                found = condition()
                if found:
                    return found
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError(f"the server did not say {what}:\n{''.join(self.stderr)}")
                self._changed.wait(0.02)


def healthcheck(address, *options):
    """The exit status of `iamd healthcheck`."""
    return subprocess.run(
        [BINARY, "healthcheck", "--server", address, *map(str, options)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=PATIENCE_S,
    ).returncode


def run(*command, **options):
    """Runs a program to its end, with the text `input` if any, and returns its status, stdout and stderr as text."""
    options.setdefault("timeout", 4 * PATIENCE_S)
    options.setdefault("input", "")
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, **options)


class ServedTest(unittest.TestCase):
    """A test class with one server over a store of its own, shared by its tests."""

    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.TemporaryDirectory(prefix="iamd-peers-")
        cls.addClassCleanup(cls.directory.cleanup)
        write_store(cls.directory.name)
        cls.server = Server(cls.directory.name)
        cls.addClassCleanup(cls.server.stop)
