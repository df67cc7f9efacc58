"""grpcurl, `buf curl`, ghz and h2load on each transport that they know: TCP, TLS, mTLS and Unix sockets.

h2load knows nothing of gRPC: it counts HTTP's statuses, so the server's own counter says whether the questions were decided.
"""

import json
import pathlib
import ssl
import tempfile
import unittest
import urllib.request

from iamd.v1 import authorization_pb2

from server import ALICE, ORDER, PATIENCE_S, Server, run, write_store
from test_tls import make_certificates

SERVICE = "iamd.v1.AuthorizationService"
FIELDS = {"principal": ALICE, "action": "orders:Read", "resource": ORDER}
QUESTION = json.dumps(FIELDS)
N_REQUESTS = 200


class Transports(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix="iamd-peers-")
        cls.addClassCleanup(folder.cleanup)
        cls.folder = folder = pathlib.Path(folder.name)
        make_certificates(folder)
        store = folder / "store"
        write_store(store)
        cls.ca, cls.certificate, cls.key = (folder / name for name in ("ca.pem", "client.pem", "client.key"))
        own = ("--tls-certificate", folder / "server.pem", "--tls-key", folder / "server.key")
        mutual = ("--tls-client-ca", cls.ca)
        ca = ("--tls-ca", cls.ca)
        client = ("--tls-certificate", cls.certificate, "--tls-key", cls.key)
        cls.socket = f"{folder}/iamd.sock"
        cls.servers = {
            "TCP": Server(store),
            "Unix socket": Server(store, listen=f"unix:{cls.socket}"),
            "TLS": Server(store, options=own, client_options=ca),
            "mTLS": Server(store, options=own + mutual, client_options=ca + client),
        }
        for server in cls.servers.values():
            cls.addClassCleanup(server.stop)

    def answered(self, *command):
        result = run(*command)
        self.assertEqual(result.returncode, 0, f"{command}: {result.stdout}{result.stderr}")
        return result.stdout

    def decided(self, scheme, server):
        """How many questions the server has allowed."""
        tls = ssl.create_default_context(cafile=self.ca) if scheme == "https" else None
        url = f"{scheme}://{server.http_address()}/metrics"
        with urllib.request.urlopen(url, timeout=PATIENCE_S, context=tls) as page:
            lines = page.read().decode().splitlines()
        wanted = ('decision="allow"', 'protocol="grpc"', "iamd_decisions_total{")
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if all(part in line for part in wanted))

    def on_each(self, options, without=()):
        """Each transport with its server and with what the tool needs for it, one after the other."""
        for transport, server in self.servers.items():
            if transport not in without:
                with self.subTest(transport=transport):
                    yield transport, server, options[transport]

    def test_grpcurl(self):
        tls = ("-cacert", self.ca)
        options = {
            "TCP": ("-plaintext",),
            "Unix socket": ("-plaintext", "-unix"),
            "TLS": tls,
            "mTLS": (*tls, "-cert", self.certificate, "-key", self.key),
        }
        for transport, server, own in self.on_each(options):
            target = self.socket if transport == "Unix socket" else server.address
            for method, sent in ((f"{SERVICE}/Authorize", QUESTION), ("grpc.health.v1.Health/Check", "{}")):
                told = self.answered("grpcurl", *own, "-max-time", PATIENCE_S, "-d", sent, target, method)
                self.assertIn(json.loads(told).popitem()[0], ("revision", "status"))
            # A stream, whose questions are sent before the first answer is read.
            told = self.answered(
                "grpcurl", *own, "-max-time", PATIENCE_S, "-d", f'{{"request": {QUESTION}}}' * 3, target,
                f"{SERVICE}/StreamAuthorize",
            )  # fmt: skip
            self.assertEqual(told.count("DECISION_ALLOW"), 3)

    def test_buf_curl(self):
        tls = ("--cacert", self.ca)
        options = {
            "TCP": ("--http2-prior-knowledge",),
            "Unix socket": ("--http2-prior-knowledge", "--unix-socket", self.socket),
            "TLS": tls,
            "mTLS": (*tls, "--cert", self.certificate, "--key", self.key),
        }
        for transport, server, own in self.on_each(options):
            scheme = "https" if "TLS" in transport else "http"
            host = "localhost" if transport == "Unix socket" else server.address
            told = self.answered(
                "buf", "curl", "--protocol", "grpc", *own, "--data", QUESTION, f"{scheme}://{host}/{SERVICE}/Authorize",
            )  # fmt: skip
            self.assertEqual(json.loads(told)["decision"], "DECISION_ALLOW")

    def test_ghz(self):
        tls = ("--cacert", self.ca)
        options = {
            "TCP": ("--insecure",),
            "Unix socket": ("--insecure",),
            "TLS": tls,
            "mTLS": (*tls, "--cert", self.certificate, "--key", self.key),
        }
        for transport, server, own in self.on_each(options):
            target = f"unix://{self.socket}" if transport == "Unix socket" else server.address
            told = self.answered(
                "ghz", *own, "--call", f"{SERVICE}.Authorize", "--data", QUESTION, "--total", N_REQUESTS,
                "--concurrency", 4, "--connections", 2, "--timeout", f"{PATIENCE_S}s", "--format", "json", target,
            )  # fmt: skip
            self.assertEqual(json.loads(told)["statusCodeDistribution"], {"OK": N_REQUESTS})

    def test_h2load(self):
        message = authorization_pb2.AuthorizeRequest(**FIELDS).SerializeToString()
        sent = self.folder / "question"
        sent.write_bytes(b"\0" + len(message).to_bytes(4, "big") + message)
        # It has no client certificates.
        options = {"TCP": (), "TLS": (), "Unix socket": (f"--base-uri=unix:{self.socket}",)}
        for transport, server, own in self.on_each(options, without=("mTLS",)):
            scheme = "https" if transport == "TLS" else "http"
            host = "localhost" if transport == "Unix socket" else server.address
            before = self.decided(scheme, server)
            told = self.answered(
                "h2load", "--requests", N_REQUESTS, "--clients", 4, "--max-concurrent-streams", 16, "--data", sent,
                "--header", "content-type: application/grpc", "--header", "te: trailers", *own,
                f"{scheme}://{host}/{SERVICE}/Authorize",
            )  # fmt: skip
            self.assertIn(f"{N_REQUESTS} succeeded, 0 failed, 0 errored", told)
            self.assertEqual(self.decided(scheme, server) - before, N_REQUESTS, told)


if __name__ == "__main__":
    unittest.main()
