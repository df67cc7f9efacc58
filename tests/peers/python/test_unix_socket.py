"""Clients over a Unix socket: what each must be told, and that iamd's log says it.

HTTP allows no path as an authority. Clients on gRPC's C core and in Java send the socket's path as theirs all the same,
so they need another one; grpc-go and Node send `localhost` by themselves.
"""

import base64
import json
import os
import pathlib
import tempfile
import unittest

import grpc
from iamd.v1 import authorization_pb2, authorization_pb2_grpc

from server import ALICE, ORDER, PATIENCE_S, ROOT, TOOLS, Server, run, write_store

SERVICE = "iamd.v1.AuthorizationService"
QUESTION = {"principal": ALICE, "action": "orders:Read", "resource": ORDER}
ADVICE = "grpc.default_authority"


class UnixSocket(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="iamd-peers-")
        self.addCleanup(folder.cleanup)
        store = pathlib.Path(folder.name) / "store"
        write_store(store)
        self.path = f"{folder.name}/iamd.sock"
        self.server = Server(store, listen=f"unix:{self.path}")
        self.addCleanup(self.server.stop)

    def ask(self, **options):
        """Alice's question from Python, on a channel with these options."""
        options = [(name.replace("__", "."), value) for name, value in options.items()]
        with grpc.insecure_channel(f"unix:{self.path}", options=options) as channel:
            stub = authorization_pb2_grpc.AuthorizationServiceStub(channel)
            return stub.Authorize(authorization_pb2.AuthorizeRequest(**QUESTION), timeout=PATIENCE_S)

    def advice(self):
        """The lines of the log that say what to set."""
        self.assertEqual(self.server.stop(), 0)
        return [line for line in self.server.stderr if ADVICE in line]

    def assert_allowed(self, result):
        """`result` is that of a program which printed an allow as JSON."""
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(json.loads(result.stdout)["decision"], "DECISION_ALLOW")
        self.assertEqual(self.advice(), [])

    def assert_told_once(self):
        told = [line for line in self.advice() if '"repeated"' not in line]
        self.assertEqual(len(told), 1, told)
        self.assertEqual(json.loads(told[0])["level"], "WARN")

    def test_python_with_a_default_authority_is_answered(self):
        answer = self.ask(grpc__default_authority="localhost")
        self.assertEqual(answer.decision, authorization_pb2.DECISION_ALLOW)
        self.assertEqual(self.advice(), [])

    def test_python_without_one_is_refused_and_the_log_says_what_to_set(self):
        for _ in range(3):
            with self.assertRaises(grpc.RpcError) as caught:
                self.ask(grpc__use_local_subchannel_pool=1)
            self.assertIn(caught.exception.code(), (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE))
        self.assert_told_once()

    def test_node_is_answered(self):
        environment = {**os.environ, "NODE_PATH": str(TOOLS / "node" / "node_modules")}
        script = ROOT / "tests" / "peers" / "node" / "ask.js"
        result = run("node", script, f"unix:{self.path}", ROOT / "proto", json.dumps(QUESTION), env=environment)
        self.assert_allowed(result)

    def test_go_is_answered(self):
        # grpcurl is a client on grpc-go.
        result = run(
            "grpcurl", "-plaintext", "-unix", "-max-time", PATIENCE_S,
            "-d", json.dumps(QUESTION), self.path, f"{SERVICE}/Authorize",
        )  # fmt: skip
        self.assert_allowed(result)

    def test_go_is_answered_on_a_target_of_its_own_spelling(self):
        result = run(
            "ghz", "--insecure", "--call", f"{SERVICE}.Authorize", "--data", json.dumps(QUESTION),
            "--total", 20, "--concurrency", 2, "--timeout", f"{PATIENCE_S}s", "--format", "json", f"unix://{self.path}",
        )  # fmt: skip
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(json.loads(result.stdout)["statusCodeDistribution"], {"OK": 20})
        self.assertEqual(self.advice(), [])

    def java(self, *authority):
        question = base64.b64encode(authorization_pb2.AuthorizeRequest(**QUESTION).SerializeToString()).decode()
        program = ROOT / "tests" / "peers" / "java" / "Ask.java"
        return run("java", "-cp", f"{TOOLS}/java/*", program, self.path, question, *authority)

    def test_java_with_an_authority_of_its_own_is_answered(self):
        result = self.java("localhost")
        self.assertEqual(result.returncode, 0, result.stderr)
        answer = authorization_pb2.AuthorizeResponse.FromString(base64.b64decode(result.stdout))
        self.assertEqual(answer.decision, authorization_pb2.DECISION_ALLOW)
        self.assertEqual(self.advice(), [])

    def test_java_without_one_is_refused_and_the_log_says_what_to_set(self):
        result = self.java()
        self.assertNotEqual(result.returncode, 0, result.stdout)
        self.assert_told_once()
