"""What the README shows, run as written: its Python client and its load test."""

import concurrent.futures
import contextlib
import os
import re
import signal
import tempfile
import unittest

import grpc
from iamd.v1 import authorization_pb2, authorization_pb2_grpc

from server import ROOT, TOOLS, Server, run

README = (ROOT / "README.md").read_text()


def blocks(language):
    """The README's fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def commands(word):
    """The README's shell commands that contain `word`, each on one line."""
    lines = (line for block in blocks("sh") for line in re.sub(r"\\\n\s*", "", block).splitlines())
    return [line for line in lines if word in line]


@contextlib.contextmanager
def example_store():
    """A server over the example store."""
    server = Server(ROOT / "policies")
    try:
        yield server
    finally:
        server.stop()


class PythonClient(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        directory = tempfile.TemporaryDirectory(prefix="iamd-readme-")
        cls.addClassCleanup(directory.cleanup)
        cls.directory = directory.name
        os.symlink(ROOT / "proto", os.path.join(cls.directory, "proto"))
        (program,) = blocks("python")
        with open(os.path.join(cls.directory, "client.py"), "w", encoding="utf-8") as file:
            file.write(program)
        # Only what the README itself installs and generates is there to import.
        path = f"{TOOLS / 'readme' / 'bin'}{os.pathsep}{os.environ['PATH']}"
        cls.environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"PATH": path}
        (generate,) = commands("grpc_tools.protoc")
        result = run("sh", "-c", generate, cwd=cls.directory, env=cls.environment)
        if result.returncode:
            raise AssertionError(f"`{generate}` failed:\n{result.stdout}{result.stderr}")

    def ask(self, address):
        return run("python", "client.py", address, cwd=self.directory, env=self.environment)

    def assert_denied(self, result):
        self.assertEqual(result.returncode, 1, result.stdout + result.stderr)
        self.assertNotIn("allowed", result.stdout.split())

    def test_it_gets_the_answer_of_the_example_store(self):
        with example_store() as server:
            result = self.ask(server.address)
            self.assertEqual(result.stdout, "DECISION_ALLOW REASON_ALLOW_IDENTITY\nallowed\n", result.stderr)
            self.assertEqual(result.returncode, 0)

    def test_a_server_that_is_gone_is_a_no(self):
        with example_store() as server:
            server.stop()
        result = self.ask(server.address)
        self.assert_denied(result)
        self.assertIn("no decision: UNAVAILABLE", result.stderr)
        self.assertEqual(result.stdout, "denied\n")

    def test_a_server_that_hangs_is_a_no(self):
        with example_store() as server:
            server.process.send_signal(signal.SIGSTOP)
            result = self.ask(server.address)
        self.assert_denied(result)
        self.assertRegex(result.stderr, "no decision: (DEADLINE_EXCEEDED|UNAVAILABLE)")

    def test_every_status_but_ok_and_every_odd_answer_is_a_no(self):
        class Odd(authorization_pb2_grpc.AuthorizationServiceServicer):
            def __init__(self, status, decision):
                self.status, self.decision = status, decision

            def Authorize(self, request, context):
                if self.status is not grpc.StatusCode.OK:
                    context.abort(self.status, "odd")
                return authorization_pb2.AuthorizeResponse(decision=self.decision, reason=1)

        allow = authorization_pb2.DECISION_ALLOW
        cases = [(status, allow) for status in grpc.StatusCode if status is not grpc.StatusCode.OK]
        cases += [(grpc.StatusCode.OK, decision) for decision in (0, authorization_pb2.DECISION_DENY, 99)]

        def ask(case):
            with concurrent.futures.ThreadPoolExecutor(1) as pool:
                server = grpc.server(pool)
                authorization_pb2_grpc.add_AuthorizationServiceServicer_to_server(Odd(*case), server)
                port = server.add_insecure_port("127.0.0.1:0")
                server.start()
                try:
                    return self.ask(f"127.0.0.1:{port}")
                finally:
                    server.stop(None).wait()

        # The control: this server can say yes.
        self.assertEqual(ask((grpc.StatusCode.OK, allow)).returncode, 0)
        for case in cases:
            with self.subTest(case=case):
                self.assert_denied(ask(case))


class LoadTest(unittest.TestCase):
    def test_the_command_has_only_good_answers(self):
        (command,) = commands("ghz ")
        self.assertIn("127.0.0.1:50051", command)
        (n_requests,) = re.findall(r" -n (\d+) ", command)
        with example_store() as server:
            result = run("sh", "-c", command.replace("127.0.0.1:50051", server.address))
        self.assertEqual(result.returncode, 0, result.stderr)
        statuses = re.findall(r"\[(\w+)\]\s+(\d+) responses", result.stdout)
        self.assertEqual(statuses, [("OK", n_requests)], result.stdout)
