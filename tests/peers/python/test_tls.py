"""TLS and mTLS from Python and Go."""

import base64
import pathlib
import tempfile
import unittest

import grpc
from iamd.v1 import authorization_pb2, authorization_pb2_grpc

from server import ALICE, GO_CLIENT, ORDER, PATIENCE_S, Server, run, write_store

QUESTION = authorization_pb2.AuthorizeRequest(principal=ALICE, action="orders:Read", resource=ORDER)


def make_certificates(folder):
    """An authority, a certificate for a server and one for a client, as PEM files with the keys beside them."""

    def openssl(*arguments):
        result = run("openssl", *arguments)
        if result.returncode:
            raise AssertionError(f"openssl {arguments}: {result.stderr}")

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    ca = ("-CA", folder / "ca.pem", "-CAkey", folder / "ca.key")
    for name, subject, names, signed_by in (
        ("ca", "authority", (), ()),
        ("server", "server", ("subjectAltName=DNS:localhost,IP:127.0.0.1", "basicConstraints=critical,CA:FALSE"), ca),
        ("client", "client", ("subjectAltName=URI:spiffe://example.org/web", "basicConstraints=critical,CA:FALSE"), ca),
    ):
        files = ("-out", folder / f"{name}.pem", "-keyout", folder / f"{name}.key")
        extensions = [part for text in names for part in ("-addext", text)]
        openssl("req", "-x509", "-days", "2", "-subj", f"/CN={subject}", *key, *files, *extensions, *signed_by)


class Tls(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        directory = tempfile.TemporaryDirectory(prefix="iamd-peers-")
        cls.addClassCleanup(directory.cleanup)
        cls.folder = pathlib.Path(directory.name)
        make_certificates(cls.folder)
        store = cls.folder / "store"
        write_store(store)
        own = ("--tls-certificate", cls.folder / "server.pem", "--tls-key", cls.folder / "server.key")
        mutual = ("--tls-client-ca", cls.folder / "ca.pem", "--callers", "spiffe://example.org/web")
        ca = ("--tls-ca", cls.folder / "ca.pem")
        client = ("--tls-certificate", cls.folder / "client.pem", "--tls-key", cls.folder / "client.key")
        cls.tls = Server(store, options=own, client_options=ca)
        cls.addClassCleanup(cls.tls.stop)
        cls.mutual = Server(store, options=own + mutual, client_options=ca + client)
        cls.addClassCleanup(cls.mutual.stop)

    def read(self, name):
        return (self.folder / name).read_bytes()

    def test_python_asks_over_tls_and_mtls(self):
        own = {"private_key": self.read("client.key"), "certificate_chain": self.read("client.pem")}
        for server, files, is_answered in (
            (self.tls, {}, True),
            (self.mutual, own, True),
            (self.mutual, {}, False),
        ):
            credentials = grpc.ssl_channel_credentials(root_certificates=self.read("ca.pem"), **files)
            with grpc.secure_channel(server.address, credentials) as channel:
                stub = authorization_pb2_grpc.AuthorizationServiceStub(channel)
                if is_answered:
                    answer = stub.Authorize(QUESTION, timeout=PATIENCE_S)
                    self.assertEqual(answer.decision, authorization_pb2.DECISION_ALLOW)
                else:
                    with self.assertRaises(grpc.RpcError) as refused:
                        stub.Authorize(QUESTION, timeout=PATIENCE_S)
                    self.assertEqual(refused.exception.code(), grpc.StatusCode.UNAVAILABLE)

    def test_go_asks_over_tls_and_mtls(self):
        batch = authorization_pb2.BatchAuthorizeRequest(requests=[QUESTION])
        line = base64.b64encode(batch.SerializeToString()).decode() + "\n"
        ca = (self.folder / "ca.pem",)
        own = (self.folder / "client.pem", self.folder / "client.key")
        for server, files, is_answered in ((self.tls, ca, True), (self.mutual, ca + own, True), (self.mutual, ca, False)):
            result = run(GO_CLIENT, server.address, "BatchAuthorize", *files, input=line)
            self.assertEqual(result.returncode == 0, is_answered, result.stderr)
            if is_answered:
                answer = authorization_pb2.BatchAuthorizeResponse.FromString(base64.b64decode(result.stdout))
                self.assertEqual(answer.results[0].response.decision, authorization_pb2.DECISION_ALLOW)
