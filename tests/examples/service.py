"""An example's service, started as its README says, and the servers that it asks instead of a real iamd."""

import concurrent.futures
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request

import grpc

from readme import ROOT, commands
from server import PATIENCE_S

AUTHORIZE = "/iamd.v1.AuthorizationService/Authorize"

# `AuthorizeResponse{decision: DECISION_ALLOW}`.
ALLOW = b"\x08\x02"

# No proxy is there. A client that asks it can never be allowed.
DEAD_PROXY = {
    name: "http://127.0.0.1:1"
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "grpc_proxy", "all_proxy", "GRPC_PROXY_EXP")
}


class Service:
    """The example's service, which asks iamd at `address`. It serves when the constructor returns; call `stop` at the end."""

    def __init__(self, example, address):
        command = commands(example, "Run")[0]
        for written, actual in [("IAMD_ADDRESS=127.0.0.1:50051", f"IAMD_ADDRESS={address}"), ("PORT=8080", "PORT=0")]:
            if written not in command:
                raise AssertionError(f"examples/{example}: `{command}` does not say `{written}`")
            command = command.replace(written, actual)
        self.output = []
        self.process = subprocess.Popen(
            ["sh", "-c", command],
            cwd=ROOT / "examples" / example,
            env=os.environ | DEAD_PROXY | {"no_proxy": "", "NO_PROXY": ""},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            # The command may start others; all of them end together.
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._listening = threading.Event()
        self._reader.start()
        try:
            if not self._listening.wait(4 * PATIENCE_S) or self.url is None:
                raise AssertionError(f"examples/{example} did not say where it listens:\n{''.join(self.output)}")
        except BaseException:
            self.stop()
            raise

    url = None

    def _read(self):
        for line in self.process.stdout:
            self.output.append(line)
            found = re.search(r"http://127\.0\.0\.1:[1-9][0-9]*", line)
            if found and self.url is None:
                self.url = found.group()
                self._listening.set()
        self._listening.set()

    def stop(self):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        self.process.stdout.close()

    def ask(self, path, token=None, body=None):
        """The HTTP status of a request."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        if body is not None:
            headers["Content-Type"] = "application/json"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers)
        # The service itself is asked without a proxy too.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=PATIENCE_S) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    def wait_for(self, status, path, token=None, among=()):
        """Asks until the status comes. Until then only those in `among` may come."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            found = self.ask(path, token)
            if found == status:
                return
            if found not in among or time.monotonic() > deadline:
                raise AssertionError(f"{path}: {found} and not {status}:\n{''.join(self.output[-20:])}")
            time.sleep(0.05)


class OddServer:
    """A gRPC server whose `Authorize` does what `answer(context)` says: it yields messages as bytes, or aborts."""

    def __init__(self, answer, port=0):
        self.answer = answer
        self.peers = set()
        self.deadlines = []

        def authorize(request, context):
            self.peers.add(context.peer())
            self.deadlines.append(context.time_remaining())
            yield from self.answer(context)

        method = grpc.unary_stream_rpc_method_handler(authorize)
        service = AUTHORIZE.split("/")[1]
        self._pool = concurrent.futures.ThreadPoolExecutor(8)
        self._server = grpc.server(self._pool, options=[("grpc.so_reuseport", 0)])
        self._server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, {"Authorize": method})])
        self.port = self._server.add_insecure_port(f"127.0.0.1:{port}")
        self._server.start()

    def stop(self):
        self._server.stop(None).wait()
        self._pool.shutdown()


class OddSocket:
    """A TCP server that greets each connection with bytes, and then closes it or is silent."""

    def __init__(self, port, greeting, close):
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(("127.0.0.1", port))
        self._listener.listen(16)
        self._connections = []
        self.greeted = threading.Event()
        self._thread = threading.Thread(target=self._serve, args=(greeting, close), daemon=True)
        self._thread.start()

    def _serve(self, greeting, close):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            try:
                connection.sendall(greeting)
            except OSError:
                pass
            self.greeted.set()
            if close:
                connection.close()
            else:
                self._connections.append(connection)

    def stop(self):
        # `close` alone would leave `accept` waiting.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(PATIENCE_S)
        for connection in self._connections:
            connection.close()
