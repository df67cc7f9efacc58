"""Each example over TCP and a Unix socket: what is allowed, what is denied, and everything that must end in a denial."""

import concurrent.futures
import contextlib
import os
import re
import signal
import subprocess
import tempfile
import time
import unittest

import grpc

from readme import EXAMPLES, ROOT, commands, follow
from server import PATIENCE_S, Server
from service import ALLOW, OddServer, OddSocket, Service

OWN, OTHERS = "/orders/1001/1", "/orders/1002/1"
CUSTOMER = "customer-1001"

# A denial costs at most the deadline of the example, 0.5 s, and what a busy machine adds.
SOON_S = 5


@contextlib.contextmanager
def stopping(thing):
    try:
        yield thing
    finally:
        thing.stop()


class ExampleTest:
    """The tests that every example has to pass. `example` is its folder."""

    example = None

    @classmethod
    def setUpClass(cls):
        if not (ROOT / "target" / "examples" / f"{cls.example}.stamp").exists():
            raise AssertionError(f"run `tests/examples/install {cls.example}` first")

    def assert_denied_soon(self, service, path=OWN):
        started = time.monotonic()
        self.assertEqual(service.ask(path, CUSTOMER), 403, "".join(service.output[-20:]))
        self.assertLess(time.monotonic() - started, SOON_S)

    def assert_status(self, service, status, path, token=None, body=None):
        """The status is this one. A busy machine may be slower than the deadline, so a denial is asked again, and only that."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            found = service.ask(path, token, body)
            if (found, status) != (403, 200) or time.monotonic() > deadline:
                break
        self.assertEqual(found, status, "".join(service.output[-20:]))

    def assert_routes_are_guarded(self, service):
        refund = OWN + "/refund"
        for path, token, body, status in [
            (OWN, CUSTOMER, None, 200),
            (OTHERS, CUSTOMER, None, 403),
            (OTHERS, "alice", None, 200),
            (OWN, None, None, 401),
            (OWN, "mallory", None, 401),
            (refund, "alice", {"amount": 50}, 200),
            (refund, "alice", {"amount": 50.5}, 200),
            (refund, "alice", {"amount": 500}, 403),
            (refund, "alice", {"amount": 0}, 403),
            (refund, "alice-without-mfa", {"amount": 50}, 403),
            (refund, CUSTOMER, {"amount": 50}, 403),
        ]:
            with self.subTest(path=path, token=token, body=body):
                self.assert_status(service, status, path, token, body)
        for path, body in [
            ("/orders/1001/*", None),
            ("/orders/1001/1%2F2", None),
            ("/orders/x/1", None),
            (refund, {"amount": "50"}),
            (refund, {}),
            (refund, {"amount": None}),
        ]:
            with self.subTest(path=path, body=body):
                self.assertIn(service.ask(path, "alice", body), (400, 404, 422))

    def survive(self, listen):
        """One life of a service: served, iamd frozen, stopped and started again, always guarded."""
        with stopping(Server(ROOT / "policies", listen)) as iamd:
            # The same port for the iamd that comes after it.
            address = iamd.address
            with stopping(Service(self.example, address)) as service:
                service.wait_for(200, "/readyz", among=(503,))
                self.assert_routes_are_guarded(service)

                with concurrent.futures.ThreadPoolExecutor(8) as pool:
                    asked = [(200, OWN), (403, OTHERS)] * 40
                    for _ in pool.map(lambda case: self.assert_status(service, *case, CUSTOMER), asked):
                        pass

                iamd.process.send_signal(signal.SIGSTOP)
                os.waitpid(iamd.process.pid, os.WUNTRACED)
                try:
                    self.assert_denied_soon(service)
                    self.assertEqual(service.ask("/readyz"), 503)
                finally:
                    iamd.process.send_signal(signal.SIGCONT)
                service.wait_for(200, OWN, CUSTOMER, among=(403,))

                iamd.stop()
                self.assert_denied_soon(service)
                self.assertEqual(service.ask("/readyz"), 503)
                self.assert_denied_soon(service)

                with stopping(Server(ROOT / "policies", address)):
                    service.wait_for(200, OWN, CUSTOMER, among=(403,))
                    service.wait_for(200, "/readyz", among=(503,))
                    self.assert_denied_soon(service, OTHERS)

    def test_over_tcp(self):
        self.survive("127.0.0.1:0")

    def test_over_a_unix_socket(self):
        with tempfile.TemporaryDirectory(prefix="iamd-examples-") as directory:
            self.survive(f"unix:{directory}/iamd.sock")

    def test_odd_answers_are_denials(self):
        def messages(*parts):
            return lambda _: iter(parts)

        def abort(status, *parts):
            def answer(context):
                yield from parts
                context.abort(status, "odd")

            return answer

        def late(context):
            # Later than any deadline that an example sets. Ends as soon as the client has given up.
            deadline = time.monotonic() + 2
            while context.is_active() and time.monotonic() < deadline:
                time.sleep(0.01)
            yield ALLOW

        cases = {f"{status.name} after an allow": abort(status, ALLOW) for status in grpc.StatusCode if status is not grpc.StatusCode.OK}
        cases |= {
            "no message": messages(),
            "an empty message": messages(b""),
            "no decision": messages(b"\x08\x00"),
            "a denial": messages(b"\x08\x01"),
            "a decision of the future": messages(b"\x08\x63"),
            "a decision that is text": messages(b"\x0a\x01\x02"),
            "bytes that are no message": messages(b"\xff\xff\xff\xff"),
            "an allow that is cut": messages(ALLOW + b"\x1a\x7f"),
            "a late allow": late,
        }
        with stopping(OddServer(messages(ALLOW))) as odd, stopping(Service(self.example, f"127.0.0.1:{odd.port}")) as service:
            # The control: this server can say yes.
            for _ in range(20):
                self.assert_status(service, 200, OWN, CUSTOMER)
            self.assertEqual(len(odd.peers), 1, "the connection is not reused")
            self.assertLessEqual(max(odd.deadlines), 1, "a call has no deadline")
            for name, answer in cases.items():
                with self.subTest(name):
                    odd.answer = answer
                    self.assert_denied_soon(service)
            odd.answer = messages(ALLOW)
            self.assert_status(service, 200, OWN, CUSTOMER)
            odd.stop()

            for name, greeting, close in [
                ("an HTTP/1.1 answer", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n\x08\x02", False),
                ("noise", bytes(range(256)) * 4, False),
                ("a closed door", b"", True),
                ("silence", b"", False),
            ]:
                with self.subTest(name), stopping(OddSocket(odd.port, greeting, close)) as odd_socket:
                    # Asks until the service has seen this server; it may still wait before it connects again.
                    deadline = time.monotonic() + PATIENCE_S
                    while not odd_socket.greeted.is_set():
                        self.assertLess(time.monotonic(), deadline)
                        self.assert_denied_soon(service)
                    self.assert_denied_soon(service)

            with stopping(OddServer(messages(ALLOW), odd.port)):
                service.wait_for(200, OWN, CUSTOMER, among=(403,))

    def test_the_unit_tests_of_the_readme_pass(self):
        follow(self.example, "Test")

    def test_the_questions_of_the_readme_have_their_answers(self):
        blocks = commands(self.example, "Run")
        self.assertEqual(len(blocks), 2)
        with stopping(Server(ROOT / "policies")) as iamd, stopping(Service(self.example, iamd.address)) as service:
            service.wait_for(200, "/readyz", among=(503,))
            self.assertIn("http://127.0.0.1:8080", blocks[1])
            self.assert_status(service, 200, OWN, CUSTOMER)
            result = subprocess.run(
                ["sh", "-ec", blocks[1].replace("http://127.0.0.1:8080", service.url)],
                capture_output=True,
                text=True,
                timeout=PATIENCE_S,
            )
        self.assertEqual(re.findall(r"HTTP/1\.1 (\d+)", result.stdout), ["200", "403"], "".join(service.output[-20:]))


def load_tests(loader, standard_tests, pattern):
    """One class for each example."""
    suite = unittest.TestSuite()
    for example in EXAMPLES:
        case = type(example.title(), (ExampleTest, unittest.TestCase), {"example": example})
        suite.addTests(loader.loadTestsFromTestCase(case))
    return suite
