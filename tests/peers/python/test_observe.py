"""Monitoring with other people's programs: Prometheus scrapes, its rules fire, and a receiver in Python reads OTLP."""

import concurrent.futures
import http.server
import json
import pathlib
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import unittest
import urllib.request

import grpc
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from iamd.v1 import authorization_pb2, authorization_pb2_grpc
from server import ALICE, ORDER, PATIENCE_S, ROOT, Server, ServedTest, run, write_store

RULES = ROOT / "deploy" / "prometheus"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def get(address, path):
    with urllib.request.urlopen(f"http://{address}{path}", timeout=PATIENCE_S) as answer:
        return answer.read().decode()


def ask(server, action):
    with grpc.insecure_channel(server.address) as channel:
        question = authorization_pb2.AuthorizeRequest(principal=ALICE, action=action, resource=ORDER)
        return authorization_pb2_grpc.AuthorizationServiceStub(channel).Authorize(
            question,
            timeout=PATIENCE_S,
            metadata=[("traceparent", f"00-{TRACE}-00f067aa0ba902b7-01")],
        )


def until(what, condition):
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"{what} never came")


class Metrics(ServedTest):
    def test_promtool_finds_nothing_wrong_with_the_metrics(self):
        ask(self.server, "orders:Read")
        checked = run("promtool", "check", "metrics", input=get(self.server.http_address(), "/metrics"))
        self.assertEqual((checked.returncode, checked.stdout + checked.stderr), (0, ""))

    def test_promtool_finds_nothing_wrong_with_the_rules(self):
        for command in (["check", "rules", "rules.yaml"], ["test", "rules", "rules_test.yaml"]):
            checked = run("promtool", *command, cwd=RULES)
            self.assertEqual(checked.returncode, 0, checked.stdout + checked.stderr)


class Prometheus(unittest.TestCase):
    """A real Prometheus with the rules of the repository, whose alerts wait for a second and not for minutes."""

    def test_a_broken_store_fires_an_alert_that_ends_when_it_is_mended(self):
        with tempfile.TemporaryDirectory(prefix="iamd-peers-") as directory:
            directory = pathlib.Path(directory)
            store = directory / "store"
            write_store(store)
            server = Server(store)
            self.addCleanup(server.stop)
            rules = (RULES / "rules.yaml").read_text()
            for wait in ("1m", "5m", "10m"):
                rules = rules.replace(f"for: {wait}\n", "for: 1s\n")
            (directory / "rules.yaml").write_text(rules)
            (directory / "prometheus.yaml").write_text(
                json.dumps(
                    {
                        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
                        "rule_files": ["rules.yaml"],
                        "scrape_configs": [
                            {"job_name": "iamd", "static_configs": [{"targets": [server.http_address()]}]}
                        ],
                    }
                )
            )
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                address = f"127.0.0.1:{free.getsockname()[1]}"
            prometheus = subprocess.Popen(
                [
                    shutil.which("prometheus"),
                    f"--config.file={directory / 'prometheus.yaml'}",
                    f"--storage.tsdb.path={directory / 'data'}",
                    f"--web.listen-address={address}",
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            try:
                self.follow(address, store)
            finally:
                prometheus.terminate()
                prometheus.wait(PATIENCE_S)

    def follow(self, address, store):
        def api(path):
            try:
                return json.loads(get(address, f"/api/v1/{path}"))["data"]
            except OSError:
                return None  # it has only just started

        def firing():
            alerts = api("alerts") or {"alerts": []}
            return {one["labels"]["alertname"] for one in alerts["alerts"] if one["state"] == "firing"}

        def is_scraped():
            targets = (api("targets") or {}).get("activeTargets", [])
            return targets and targets[0]["health"] == "up" and not targets[0]["lastError"]

        until("a scrape", is_scraped)
        self.assertEqual(firing(), set())
        user = store / "users" / "alice.json"
        good = user.read_text()
        user.write_text("{")
        until("the alert", lambda: "IamdStoreStale" in firing())
        user.write_text(good)
        until("the end of the alert", lambda: "IamdStoreStale" not in firing())


class Received:
    """What a receiver has got: requests of OTLP, by kind."""

    def __init__(self):
        self.requests = []

    def spans(self):
        return [
            span
            for request in self.requests
            if isinstance(request, trace_service_pb2.ExportTraceServiceRequest)
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def metrics(self):
        return {
            metric.name: metric
            for request in self.requests
            if isinstance(request, metrics_service_pb2.ExportMetricsServiceRequest)
            for resource in request.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    def logs(self, scope_name):
        return [
            record
            for request in self.requests
            if isinstance(request, logs_service_pb2.ExportLogsServiceRequest)
            for resource in request.resource_logs
            for scope in resource.scope_logs
            if scope.scope.name == scope_name
            for record in scope.log_records
        ]

    def lines(self):
        return [
            record.body.string_value
            for request in self.requests
            if isinstance(request, logs_service_pb2.ExportLogsServiceRequest)
            for resource in request.resource_logs
            for scope in resource.scope_logs
            for record in scope.log_records
        ]


def receive_over_grpc(received):
    """Starts a receiver, and returns its address and a function that ends it."""
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(max_workers=4))

    def servicer(base, answer):
        class Keeps(base):
            def Export(self, request, context):
                received.requests.append(request)
                return answer()

        return Keeps()

    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(
        servicer(trace_service_pb2_grpc.TraceServiceServicer, trace_service_pb2.ExportTraceServiceResponse), server
    )
    metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(
        servicer(metrics_service_pb2_grpc.MetricsServiceServicer, metrics_service_pb2.ExportMetricsServiceResponse),
        server,
    )
    logs_service_pb2_grpc.add_LogsServiceServicer_to_server(
        servicer(logs_service_pb2_grpc.LogsServiceServicer, logs_service_pb2.ExportLogsServiceResponse), server
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return f"http://127.0.0.1:{port}", lambda: server.stop(None)


def receive_over_http(received):
    kinds = {
        "/v1/traces": trace_service_pb2.ExportTraceServiceRequest,
        "/v1/metrics": metrics_service_pb2.ExportMetricsServiceRequest,
        "/v1/logs": logs_service_pb2.ExportLogsServiceRequest,
    }

    class Keeps(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            received.requests.append(kinds[self.path].FromString(body))
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Keeps)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def stop():
        server.shutdown()
        server.server_close()

    return f"http://127.0.0.1:{server.server_port}", stop


class Export(unittest.TestCase):
    def export(self, receive, protocol):
        received = Received()
        endpoint, stop = receive(received)
        self.addCleanup(stop)
        with tempfile.TemporaryDirectory(prefix="iamd-peers-") as store:
            write_store(store)
            variables = {
                "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
                "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
                "OTEL_METRIC_EXPORT_INTERVAL": "200",
            }
            options = ("--decision-log", "best_effort", "--decision-log-file", "otlp:")
            server = Server(store, options=options, variables=variables)
            self.addCleanup(server.stop)
            ask(server, "orders:Read")
            ask(server, "orders:Delete")
            # What is left is exported at the end.
            self.assertEqual(server.stop(), 0)
        spans = [span for span in received.spans() if span.name.endswith("/Authorize")]
        self.assertEqual([span.trace_id.hex() for span in spans], [TRACE, TRACE])
        reasons = [
            attribute.value.string_value
            for span in spans
            for attribute in span.attributes
            if attribute.key == "iamd.reason"
        ]
        self.assertEqual(reasons, ["allow_identity", "explicit_deny_identity"])
        points = received.metrics()["iamd_decisions_total"].sum.data_points
        self.assertEqual(sum(point.as_int for point in points), 2)
        durations = received.metrics()["iamd_decision_duration_seconds"].histogram.data_points
        self.assertEqual([point.count for point in durations], [2])
        self.assertIn("iamd is ready", received.lines())
        records = received.logs("iamd.decision_log")
        lines = [json.loads(record.body.string_value) for record in records]
        self.assertEqual([line["type"] for line in lines], ["start", "decision", "decision", "end"])
        self.assertEqual([record.event_name for record in records[1:3]], ["iamd.decision"] * 2)
        self.assertEqual([record.trace_id.hex() for record in records[1:3]], [TRACE, TRACE])
        self.assertEqual([line["traceId"] for line in lines[1:3]], [TRACE, TRACE])
        self.assertEqual([line["decision"] for line in lines[1:3]], ["DECISION_ALLOW", "DECISION_DENY"])

    def test_a_receiver_over_grpc_gets_everything(self):
        self.export(receive_over_grpc, "grpc")

    def test_a_receiver_over_http_gets_everything(self):
        self.export(receive_over_http, "http/protobuf")
