"""Probes: `iamd healthcheck` and grpc.health.v1 by its protocol, over the life of a server."""

import tempfile

import grpc

from server import PATIENCE_S, Server, ServedTest, healthcheck, write_store

CHECK = "/grpc.health.v1.Health/Check"
SERVING = b"\x08\x01"


class Health(ServedTest):
    def check(self, service):
        request = b"" if not service else bytes([0x0A, len(service)]) + service.encode()
        with grpc.insecure_channel(self.server.address) as channel:
            return channel.unary_unary(CHECK)(request, timeout=PATIENCE_S)

    def test_the_server_and_its_service_are_serving(self):
        self.assertEqual(self.check(""), SERVING)
        self.assertEqual(self.check("iamd.v1.AuthorizationService"), SERVING)

    def test_an_unknown_service_is_not_found(self):
        with self.assertRaises(grpc.RpcError) as caught:
            self.check("iamd.v1.Nothing")
        self.assertEqual(caught.exception.code(), grpc.StatusCode.NOT_FOUND)

    def test_the_healthcheck_command_follows_the_server(self):
        with tempfile.TemporaryDirectory(prefix="iamd-peers-") as store:
            write_store(store)
            server = Server(store)
            self.addCleanup(server.stop)
            self.assertEqual(server.healthcheck(), 0)
            self.assertEqual(server.stop(), 0)
            self.assertEqual(healthcheck(server.address), 1)
