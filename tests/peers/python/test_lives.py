"""Python, Go and Node on every transport, over the life of a connection: metadata, deadlines, cancelled calls, large messages, the end of
a connection by its age, and a server that is started again.

Each language has a client that does as it is told. A line of JSON names the `method`, the `message` in Base64, its `metadata`, its
`timeout_ms`, whether it is cancelled (`cancel_after_ms`), whether it waits for a server (`wait_for_ready`), and for how long it is
repeated (`repeat_ms`). The answer has the `code` and the `message` of the last call, and the number of each of the `codes`.
"""

import base64
import json
import os
import pathlib
import signal
import subprocess
import tempfile
import threading
import time
import unittest
import urllib.request

import grpc
from iamd.v1 import authorization_pb2

from server import ALICE, GO_CLIENT, ORDER, PATIENCE_S, ROOT, TOOLS, Server, write_store
from test_tls import make_certificates

QUESTION = authorization_pb2.AuthorizeRequest(principal=ALICE, action="orders:Read", resource=ORDER)


class Remote:
    """A client in a process of its own."""

    def __init__(self, *command, environment=None):
        self.process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **(environment or {})},
        )  # fmt: skip

    def ask(self, **told):
        self.process.stdin.write(json.dumps(told) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait(PATIENCE_S)
        self.process.stdout.close()


def go(target, *files):
    return Remote(GO_CLIENT, target, "ways", *files)


def node(target, *files):
    script = ROOT / "tests" / "peers" / "node" / "ask_many_ways.js"
    return Remote("node", script, target, *files, environment={"NODE_PATH": str(TOOLS / "node" / "node_modules")})


class Python:
    """The same in this process."""

    def __init__(self, target, *files):
        if files:
            ca, certificate, key = ([path.read_bytes() for path in files] + [None, None])[:3]
            credentials = grpc.ssl_channel_credentials(ca, key, certificate)
            self.channel = grpc.secure_channel(target, credentials)
        else:
            # A path is no authority, so a client on a Unix socket needs another one.
            self.channel = grpc.insecure_channel(target, options=[("grpc.default_authority", "localhost")])

    def once(self, method, message, timeout_ms, metadata=None, cancel_after_ms=None, wait_for_ready=None):
        call = self.channel.unary_unary(f"/iamd.v1.AuthorizationService/{method}")
        sent = [(name, value.encode() if name.endswith("-bin") else value) for name, value in (metadata or {}).items()]
        answer = call.future(
            base64.b64decode(message), timeout=timeout_ms / 1000, metadata=sent, wait_for_ready=wait_for_ready
        )
        if cancel_after_ms:
            threading.Timer(cancel_after_ms / 1000, answer.cancel).start()
        try:
            return {"code": "OK", "message": base64.b64encode(answer.result()).decode()}
        except grpc.FutureCancelledError:
            return {"code": "CANCELLED"}
        except grpc.RpcError as error:
            return {"code": error.code().name}

    def ask(self, repeat_ms=0, **told):
        until, codes = time.monotonic() + repeat_ms / 1000, {}
        while True:
            ended = self.once(**told)
            codes[ended["code"]] = codes.get(ended["code"], 0) + 1
            if time.monotonic() >= until:
                return {**ended, "codes": codes}

    def close(self):
        self.channel.close()


CLIENTS = {"python": Python, "go": go, "node": node}


class Lives(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="iamd-peers-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.store = self.folder / "store"
        write_store(self.store)

    def serve(self, *options, **more):
        server = Server(self.store, options=options, **more)
        self.addCleanup(server.stop)
        return server

    def clients(self, target, *files):
        """One client of each language after the other."""
        for language, client in CLIENTS.items():
            with self.subTest(language=language):
                client = client(target, *files)
                try:
                    yield client
                finally:
                    client.close()

    def ask(self, client, message=QUESTION, method="Authorize", **told):
        encoded = base64.b64encode(message.SerializeToString()).decode()
        return client.ask(**{"method": method, "message": encoded, "timeout_ms": 1000 * PATIENCE_S, **told})

    def assert_allowed(self, ended):
        self.assertEqual(ended["code"], "OK", ended)
        answer = authorization_pb2.AuthorizeResponse.FromString(base64.b64decode(ended["message"]))
        self.assertEqual(answer.decision, authorization_pb2.DECISION_ALLOW)

    def in_flight(self, server):
        with urllib.request.urlopen(f"http://{server.http_address()}/metrics", timeout=PATIENCE_S) as page:
            lines = page.read().decode().splitlines()
        (line,) = (line for line in lines if line.startswith("iamd_requests_in_flight "))
        return float(line.split()[1])

    def test_each_transport_is_answered(self):
        make_certificates(self.folder)
        own = ("--tls-certificate", self.folder / "server.pem", "--tls-key", self.folder / "server.key")
        ca = ("--tls-ca", self.folder / "ca.pem")
        files = (self.folder / "client.pem", self.folder / "client.key")
        client = ("--tls-certificate", files[0], "--tls-key", files[1])
        socket = f"unix:{self.folder}/iamd.sock"
        for transport, server, target, shown in (
            ("TCP", self.serve(), None, ()),
            ("Unix socket", self.serve(listen=socket), socket, ()),
            ("TLS", self.serve(*own, client_options=ca), None, (self.folder / "ca.pem",)),
            (
                "mTLS",
                self.serve(*own, "--tls-client-ca", self.folder / "ca.pem", client_options=ca + client),
                None,
                (self.folder / "ca.pem", *files),
            ),
        ):
            with self.subTest(transport=transport):
                for client in self.clients(target or server.address, *shown):
                    self.assert_allowed(self.ask(client))

    def test_metadata_changes_no_answer_up_to_its_limit(self):
        server = self.serve()
        for client in self.clients(server.address):
            self.assert_allowed(self.ask(client, metadata={"x-tenant": "shop", "traceparent": "00-1-2-01", "x-raw-bin": "\x00\x01"}))
            self.assert_allowed(self.ask(client, metadata={"x-long": "y" * 8_000}))
            # The server's settings say how much it takes, so some clients do not even send it.
            self.assertNotEqual(self.ask(client, metadata={"x-long": "y" * 20_000})["code"], "OK")
            self.assert_allowed(self.ask(client))

    def test_a_frozen_server_costs_the_deadline_and_a_cancelled_call_leaves_nothing_behind(self):
        server = self.serve()
        batch = authorization_pb2.BatchAuthorizeRequest(requests=[QUESTION] * 1_000)
        for client in self.clients(server.address):
            self.assert_allowed(self.ask(client))
            server.process.send_signal(signal.SIGSTOP)
            os.waitpid(server.process.pid, os.WUNTRACED)
            try:
                late = self.ask(client, timeout_ms=200)
                cancelled = self.ask(client, batch, "BatchAuthorize", cancel_after_ms=200)
            finally:
                server.process.send_signal(signal.SIGCONT)
            self.assertEqual((late["code"], cancelled["code"]), ("DEADLINE_EXCEEDED", "CANCELLED"))
            self.assert_allowed(self.ask(client))
            deadline = time.monotonic() + PATIENCE_S
            while self.in_flight(server) > 0:
                self.assertLess(time.monotonic(), deadline, "a call that was given up is still in flight")
                time.sleep(0.02)

    def test_large_messages_are_answered_up_to_their_limit(self):
        server = self.serve()
        long = authorization_pb2.AuthorizeRequest(principal=ALICE, action="orders:Read", resource=ORDER + "x" * 800)
        # A little less and a little more than 4 MiB.
        below = authorization_pb2.BatchAuthorizeRequest(requests=[long] * 4_500)
        above = authorization_pb2.BatchAuthorizeRequest(requests=[long] * 4_900)
        self.assertLess(below.ByteSize(), 4 << 20)
        self.assertGreater(above.ByteSize(), 4 << 20)
        for client in self.clients(server.address):
            ended = self.ask(client, below, "BatchAuthorize")
            self.assertEqual(ended["code"], "OK")
            answer = authorization_pb2.BatchAuthorizeResponse.FromString(base64.b64decode(ended["message"]))
            decisions = {result.response.decision for result in answer.results}
            self.assertEqual((len(answer.results), decisions), (4_500, {authorization_pb2.DECISION_ALLOW}))
            self.assertEqual(self.ask(client, above, "BatchAuthorize")["code"], "OUT_OF_RANGE")
            self.assert_allowed(self.ask(client))

    def test_no_question_fails_when_a_connection_ends_by_its_age(self):
        # With GOAWAY about every second and 30 seconds for what is in flight.
        server = self.serve("--max-connection-age", "1s")
        for client in self.clients(server.address):
            ended = self.ask(client, repeat_ms=3_500)
            self.assertEqual(list(ended["codes"]), ["OK"], ended["codes"])

    def test_a_server_that_is_started_again_is_found_again(self):
        server = self.serve()
        for client in self.clients(server.address):
            self.assert_allowed(self.ask(client))
            self.assertEqual(server.stop(), 0)
            gone = self.ask(client, timeout_ms=2_000)
            self.assertIn(gone["code"], ("UNAVAILABLE", "DEADLINE_EXCEEDED"))
            server = self.serve(listen=server.address)
            self.assert_allowed(self.ask(client, wait_for_ready=True))


if __name__ == "__main__":
    unittest.main()
