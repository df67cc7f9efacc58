"""Tools that know nothing of iamd: ghz and grpcurl by reflection, buf over the protocol."""

import json
import pathlib
import tempfile
import unittest

import grpc
from google.protobuf import descriptor_pb2
from grpc_reflection.v1alpha import reflection_pb2

from server import ALICE, ORDER, PATIENCE_S, ROOT, ServedTest, run

SERVICE = "iamd.v1.AuthorizationService"
N_REQUESTS = 2_000

CAMEL_CASE = {"principal": ALICE, "action": "orders:Read", "resource": ORDER, "requestId": "g", "resourceAccount": "111122223333"}
SNAKE_CASE = {"principal": ALICE, "action": "orders:Read", "resource": ORDER, "request_id": "g", "resource_account": "111122223333"}


class Ghz(ServedTest):
    def test_it_loads_the_server_by_reflection_without_an_error(self):
        for data in (CAMEL_CASE, SNAKE_CASE):
            with self.subTest(data=data):
                result = run(
                    "ghz", "--insecure", "--call", f"{SERVICE}.Authorize", "--data", json.dumps(data),
                    "--total", N_REQUESTS, "--concurrency", 8, "--connections", 4, "--timeout", f"{PATIENCE_S}s",
                    "--format", "json", self.server.address,
                )  # fmt: skip
                self.assertEqual(result.returncode, 0, result.stderr)
                report = json.loads(result.stdout)
                self.assertEqual(report["statusCodeDistribution"], {"OK": N_REQUESTS})
                self.assertFalse(report.get("errorDistribution"))


class Grpcurl(ServedTest):
    def grpcurl(self, *arguments):
        result = run("grpcurl", "-plaintext", "-max-time", PATIENCE_S, *arguments)
        self.assertEqual(result.returncode, 0, result.stderr)
        return result.stdout

    def test_it_lists_the_services(self):
        services = self.grpcurl(self.server.address, "list").split()
        self.assertIn(SERVICE, services)
        self.assertIn("grpc.health.v1.Health", services)
        self.assertIn("Authorize", self.grpcurl(self.server.address, "list", SERVICE))

    def test_it_describes_the_messages(self):
        description = self.grpcurl(self.server.address, "describe", "iamd.v1.AuthorizeRequest")
        self.assertIn("map<string, .google.protobuf.Value> context = 4;", description)
        self.assertIn("rpc Authorize", self.grpcurl(self.server.address, "describe", SERVICE))

    def test_it_calls_with_either_spelling_of_the_names(self):
        for data in (CAMEL_CASE, SNAKE_CASE):
            with self.subTest(data=data):
                answer = json.loads(self.grpcurl("-d", json.dumps(data), self.server.address, f"{SERVICE}/Authorize"))
                self.assertEqual(answer["decision"], "DECISION_ALLOW")
                self.assertEqual(answer["requestId"], "g")

    def test_it_asks_for_the_health(self):
        answer = json.loads(self.grpcurl(self.server.address, "grpc.health.v1.Health/Check"))
        self.assertEqual(answer, {"status": "SERVING"})


class Reflection(ServedTest):
    """Both versions of the protocol. They have the same bytes, so one set of messages speaks both."""

    def reflect(self, version, **question):
        call = f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"
        with grpc.insecure_channel(self.server.address) as channel:
            stream = channel.stream_stream(
                call,
                request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
                response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
            )
            (answer,) = stream(iter([reflection_pb2.ServerReflectionRequest(**question)]), timeout=PATIENCE_S)
            return answer

    def test_both_versions_list_the_service(self):
        for version in ("v1", "v1alpha"):
            with self.subTest(version=version):
                answer = self.reflect(version, list_services="")
                self.assertIn(SERVICE, [service.name for service in answer.list_services_response.service])

    def test_both_versions_find_the_method_and_carry_json_names(self):
        for version in ("v1", "v1alpha"):
            with self.subTest(version=version):
                answer = self.reflect(version, file_containing_symbol=f"{SERVICE}.Authorize")
                files = [
                    descriptor_pb2.FileDescriptorProto.FromString(file)
                    for file in answer.file_descriptor_response.file_descriptor_proto
                ]
                (request,) = (
                    message
                    for file in files
                    for message in file.message_type
                    if (file.package, message.name) == ("iamd.v1", "AuthorizeRequest")
                )
                names = {field.name: field.json_name for field in request.field}
                self.assertEqual(names["request_id"], "requestId")
                self.assertEqual(names["resource_account"], "resourceAccount")
                (entry,) = request.nested_type
                self.assertTrue(entry.options.map_entry, "the context is a map to every client")


class Buf(unittest.TestCase):
    def test_the_protocol_builds_and_obeys_the_standard_lints(self):
        for command in (["lint"], ["build", "-o", "/dev/null"], ["format", "--diff", "--exit-code"]):
            with self.subTest(command=command[0]):
                result = run("buf", *command, cwd=ROOT / "proto")
                self.assertEqual(result.returncode, 0, result.stdout + result.stderr)

    def test_no_client_of_an_earlier_protocol_breaks(self):
        """`protocol.txtpb` is the protocol as it was last landed: a line that goes from it breaks somebody's client."""
        landed, proto = ROOT / "tests/peers/protocol.txtpb", ROOT / "proto"
        result = run("buf", "breaking", "--against", landed, cwd=proto)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        build = ("buf", "build", "--exclude-source-info", "--path", "iamd", "-o")
        with tempfile.TemporaryDirectory(prefix="iamd-protocol-") as directory:
            now = pathlib.Path(directory) / "protocol.txtpb"
            result = run(*build, now, cwd=proto)
            self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
            self.assertEqual(
                now.read_text(),
                landed.read_text(),
                f"what was added is not kept yet: run `{' '.join(build)} ../tests/peers/protocol.txtpb` in proto/",
            )
