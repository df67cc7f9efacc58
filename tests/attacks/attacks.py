"""Puts each attack of `attacker.py` on a server, asks it meanwhile as a well-behaved client does, and prints a table.

Usage: tests/attacks/run [--seconds N] [--rate N] [NAME]...

Each attack has a server of its own, on one processor; the client and the attacker share another one, on which the client goes first.
Without a second processor all three share one. The run fails if the client has a wrong answer or none, if the server ends or no longer
drains, or if a new client has no answer within ten seconds after the attack.
"""

import argparse
import json
import os
import pathlib
import platform
import resource
import signal
import subprocess
import sys
import tempfile
import time

from attacker import ATTACKS
from frames import ACCOUNT
from client import Client

HERE = pathlib.Path(__file__).resolve().parent
BINARY = os.environ["IAMD_BIN"]
RECOVERY_S = 10
PATIENCE_S = 30

STORE = {
    "account.json": {"AccountId": ACCOUNT},
    "users/alice.json": {
        "UserName": "alice",
        "UserPolicyList": [
            {
                "PolicyName": "orders",
                "PolicyDocument": {
                    "Version": "2012-10-17",
                    "Statement": [
                        {"Effect": "Allow", "Action": "orders:Read", "Resource": "arn:app:orders:::order/*"},
                        {"Effect": "Deny", "Action": "orders:Delete", "Resource": "*"},
                    ],
                },
            }
        ],
    },
}


def processors():
    """The processor of the server, and that of everybody else."""
    all_of_them = sorted(os.sched_getaffinity(0))
    return all_of_them[0], all_of_them[min(1, len(all_of_them) - 1)]


def on(processor, gives_way=False, descriptors=None):
    """What a child does before it runs its program. One that gives way runs while nobody else needs its processor."""

    def prepare():
        os.sched_setaffinity(0, {processor})
        if gives_way:
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        if descriptors:
            resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))

    return prepare


class Server:
    """`iamd serve` on one processor, on a Unix socket and on TCP, which has TLS if that is what is attacked."""

    def __init__(self, folder, attack):
        store = folder / "store"
        for path, content in STORE.items():
            (store / path).parent.mkdir(parents=True, exist_ok=True)
            (store / path).write_text(json.dumps(content))
        options = []
        if "tls" in attack.options:
            files = [folder / "server.pem", folder / "server.key"]
            key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
            subprocess.run(
                ["openssl", "req", "-x509", "-days", "2", "-subj", "/CN=server", "-addext", "subjectAltName=IP:127.0.0.1",
                 *key, "-out", files[0], "-keyout", files[1]],
                check=True, capture_output=True,
            )  # fmt: skip
            options = ["--tls-certificate", files[0], "--tls-key", files[1]]
        self.socket = f"unix:{folder}/iamd.sock"
        self.log = folder / "log"
        self.process = subprocess.Popen(
            [BINARY, "serve", "--store", store, "--listen", "127.0.0.1:0", "--listen", self.socket,
             "--http-listen", "127.0.0.1:0", *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self.log.open("wb"),
            preexec_fn=on(processors()[0], descriptors=attack.n_descriptors),
        )  # fmt: skip
        self.tcp = self.wait(lambda record: record.get("message") == "listening for gRPC", "address")
        self.wait(lambda record: record.get("message") == "the store is loaded", "message")
        # The well-behaved client uses TCP too, unless it would have to speak TLS.
        self.address = self.socket if options else self.tcp

    def wait(self, is_wanted, field):
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline and self.process.poll() is None:
            for line in self.log.read_text().splitlines():
                record = json.loads(line)
                record |= record.get("fields", {})
                if is_wanted(record):
                    return record[field]
            time.sleep(0.01)
        raise SystemExit(f"the server did not start:\n{self.log.read_text()}")

    def cpu_s(self):
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_mb(self, name):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith(name))
        return int(line.split()[1]) / 1024

    def client(self, arguments):
        """A well-behaved client, which asks when it is told to."""
        return subprocess.Popen(
            [sys.executable, HERE / "client.py", self.address, str(arguments.seconds), str(arguments.rate)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, preexec_fn=on(processors()[1]),
        )  # fmt: skip

    def measured(self, client):
        """What `client` sees for a while, and what the server takes for everybody meanwhile."""
        begun, cpu = time.monotonic(), self.cpu_s()
        client.stdin.write("\n")
        client.stdin.flush()
        seen = json.loads(client.stdout.readline())
        seen["cpu"] = (self.cpu_s() - cpu) / (time.monotonic() - begun)
        return seen

    def newcomer_s(self):
        """How long it takes until a new client has an answer; None if that is too long."""
        begun = time.monotonic()
        while time.monotonic() < begun + RECOVERY_S:
            try:
                client = Client(self.address)
                client.ask("orders:Read")
                client.connection.close()
                return time.monotonic() - begun
            except OSError:
                time.sleep(0.05)
        return None

    def end(self):
        """Its exit status after it was asked to end; None if it had to be killed."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return None


def attacked(name, arguments):
    """The row of one attack, and what is wrong with it."""
    attack = ATTACKS[name]
    with tempfile.TemporaryDirectory(prefix="iamd-attack-") as folder:
        server = Server(pathlib.Path(folder), attack)
        client, attacker = server.client(arguments), None
        try:
            server.measured(client)  # nobody has asked yet
            calm = server.measured(client)
            memory_before = server.memory_mb("VmRSS")
            attacker = subprocess.Popen(
                [sys.executable, HERE / "attacker.py", name, server.tcp],
                stdout=subprocess.PIPE, text=True, preexec_fn=on(processors()[1], gives_way=True),
            )  # fmt: skip
            if attacker.stdout.readline() != "on\n":
                raise SystemExit(f"{name}: the attacker has ended")
            busy = server.measured(client)
            memory_peak = server.memory_mb("VmHWM")
            attacker.send_signal(signal.SIGTERM)
            done = json.loads(attacker.stdout.readline())
            attacker.wait(PATIENCE_S)
            client.stdin.close()
            client.wait(PATIENCE_S)
            newcomer_s = server.newcomer_s()
            log_bytes = server.log.stat().st_size
            status = server.end()
        finally:
            for process in filter(None, (client, attacker, server.process)):
                if process.poll() is None:
                    process.kill()
                    process.wait()
    wrong = [f"{n} questions {what}" for what in ("failed", "wrong") if (n := calm[what] + busy[what])]
    if busy["answers"] == 0:
        wrong.append("no answer at all")
    if status != 0:
        wrong.append(f"exit status {status}")
    if newcomer_s is None:
        wrong.append("no answer to a new client")
    factor = busy["p99_us"] / calm["p99_us"] if busy["p99_us"] else float("inf")
    row = [
        name,
        busy["answers"],
        busy["failed"] + busy["wrong"],
        calm["p50_us"],
        busy["p50_us"],
        calm["p99_us"],
        busy["p99_us"],
        f"{factor:.1f}",
        f"{calm['cpu']:.0%}",
        f"{busy['cpu']:.0%}",
        f"{memory_before:.0f}",
        f"{memory_peak:.0f}",
        "-" if newcomer_s is None else f"{newcomer_s * 1000:.0f}",
        f"{log_bytes / 1024:.0f}",
        f"{done['connections'] / done['seconds']:.0f}",
        f"{done['bytes'] / done['seconds'] / 1e6:.1f}",
    ]
    return row, wrong


COLUMNS = [
    "attack", "answers", "failed or wrong", "p50 calm", "p50", "p99 calm", "p99", "p99 factor", "CPU calm", "CPU",
    "MB before", "MB at most", "new client, ms", "log, KB", "connections/s", "MB/s sent",
]  # fmt: skip


def line(cells):
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=float(os.environ.get("IAMD_ATTACK_SECONDS", "2")))
    parser.add_argument("--rate", type=float, default=200, help="questions per second of the well-behaved client")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(ATTACKS))
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(ATTACKS)
    if unknown:
        parser.error(f"unknown attacks: {', '.join(sorted(unknown))}; there are {', '.join(ATTACKS)}")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < 11_000:
        parser.error(f"10,000 connections need more descriptors than {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (11_000, hard))
    print(
        f"{platform.machine()}, {os.cpu_count()} processors: the server on {processors()[0]}, everybody else on "
        f"{processors()[1]}; {arguments.seconds:g} s each, {arguments.rate:g} questions per second\n"
    )
    print(line(COLUMNS))
    print(line("---" for _ in COLUMNS), flush=True)
    all_wrong = []
    for name in arguments.names or ATTACKS:
        row, wrong = attacked(name, arguments)
        print(line(row), flush=True)
        all_wrong += [f"{name}: {text}" for text in wrong]
    for text in all_wrong:
        print(text, file=sys.stderr)
    sys.exit(bool(all_wrong))


if __name__ == "__main__":
    main()
