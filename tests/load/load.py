"""Runs the loads of this folder and writes the report. Started by `tests/load/run`, which says what it needs."""

import argparse
import contextlib
import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import socket
import statistics
import subprocess
import tempfile
import threading
import time

import cerbos
import plot

ROOT = pathlib.Path(__file__).resolve().parents[2]
OUTPUT = ROOT / "target" / "load"
IAMD = os.environ["IAMD_BIN"]
TOOLS = ROOT / os.environ["TOOLS"] / "bin"

LOADS = ("hot", "crowd", "distinct", "reload", "stream", "batch")
# Questions in one call.
N_QUESTIONS = {"stream": 100, "batch": 100}
# What the floor answers too, and what a peer does.
OF_FLOOR = ("hot", "crowd", "distinct")
OF_PEER = ("hot", "crowd")
FLOOR, PEER = "no-op", "Cerbos"
PERCENTILES = (50, 90, 99, 99.9)
# How long the reloading load leaves the store alone.
BETWEEN_EDITS_S = 0.2
PATIENCE_S = 30


class Server:
    """A server at an address of its own on loopback, until `stop`. Without `{address}` in its command, it chooses a port and
    prints `address=HOST:PORT`."""

    def __init__(self, name, command):
        self.name = name
        self.address = None
        if any("{address}" in part for part in command):
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                self.address = "127.0.0.1:%d" % free.getsockname()[1]
            command = [part.replace("{address}", self.address) for part in command]
        self.log = open(OUTPUT / f"{name}.log", "w")
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        deadline = time.monotonic() + PATIENCE_S
        while not self._listens():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise SystemExit(f"`{shlex.join(command)}` does not listen: see {self.log.name}")
            time.sleep(0.05)

    def _listens(self):
        if self.address is None:
            printed = re.search(r"address=(\S+:\d+)\n", pathlib.Path(self.log.name).read_text())
            if not printed:
                return False
            self.address = printed.group(1)
        try:
            socket.create_connection(self.address.split(":"), 1).close()
        except OSError:
            return False
        return True

    def cpu_s(self):
        """The CPU time that the system has charged to the process, in seconds: user and kernel, all threads, also those
        that have ended."""
        # The clock of another process, as clock_getcpuclockid(3) makes it. `/proc/PID/stat` counts in steps of 10 ms.
        return time.clock_gettime(~self.process.pid << 3 | 2)

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()


@contextlib.contextmanager
def stopping(server):
    try:
        yield server
    finally:
        server.stop()


def measure(server, load, seconds, config):
    """One run of a load: a dict of its figures."""
    command = [TOOLS / "ghz", "--config", config, "--duration", f"{seconds}s", "--format", "json", server.address]
    before = server.cpu_s()
    started = time.monotonic()
    result = subprocess.run([str(part) for part in command], cwd=ROOT, capture_output=True, text=True, timeout=seconds + 120)
    cpu_s, took_s = server.cpu_s() - before, time.monotonic() - started
    if result.returncode:
        raise SystemExit(f"`{shlex.join(map(str, command))}` failed:\n{result.stdout}{result.stderr}")
    report = json.loads(result.stdout)
    if not report["count"]:
        raise SystemExit(f"{server.name}, {load}: no call ended within {seconds} s")
    if set(report["statusCodeDistribution"] or {}) != {"OK"}:
        raise SystemExit(f"{server.name}, {load}: {report['statusCodeDistribution']} {report['errorDistribution']}")
    latencies = sorted(call["latency"] for call in report["details"])
    questions = report["count"] * N_QUESTIONS.get(load, 1)
    return {
        "calls_per_s": report["rps"],
        "questions_per_s": report["rps"] * N_QUESTIONS.get(load, 1),
        "cpu_per_call_us": cpu_s / report["count"] * 1e6,
        "cpu_per_question_us": cpu_s / questions * 1e6,
        "busy": cpu_s / took_s,
        **{f"p{p:g}_us": latencies[min(len(latencies) - 1, int(len(latencies) * p / 100))] / 1e3 for p in PERCENTILES},
    }


def answer_to_hot_question(server):
    """iamd's answer, as protobuf. The floor gives the same bytes."""
    question = json.loads((ROOT / "tests" / "load" / "hot.json").read_text())["data"]
    texts = [question[name].encode() for name in ("principal", "action", "resource")]
    # Fields 1 to 3, each a text of less than 128 bytes, behind the five bytes that gRPC puts before a message.
    message = b"".join(bytes([number << 3 | 2, len(text)]) + text for number, text in enumerate(texts, 1))
    result = subprocess.run(
        ["curl", "--silent", "--show-error", "--fail", "--http2-prior-knowledge", "--data-binary", "@-"]
        + ["--header", "content-type: application/grpc", "--header", "te: trailers"]
        + [f"http://{server.address}/iamd.v1.AuthorizationService/Authorize"],
        input=b"\0" + len(message).to_bytes(4, "big") + message,
        capture_output=True,
        timeout=PATIENCE_S,
    )
    if result.returncode or len(result.stdout) <= 5:
        raise SystemExit(f"no answer to the hot question: {result.stdout} {result.stderr.decode()}")
    return result.stdout[5:]


class Edits:
    """Rewrites a policy of the store all the time, as an editor saves: a new file takes the place of the old one."""

    def __init__(self, store):
        self.path = store / "managed-policies" / "ReadOrders.json"
        self.original = self.path.read_text()
        self.n_edits = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._end.set()
        self._thread.join()
        self._write(self.original)

    def _run(self):
        while not self._end.wait(BETWEEN_EDITS_S):
            # One more action that nobody asks about, so that every version is another revision.
            self._write(self.original.replace('"orders:Get"', f'["orders:Get", "orders:Edit{self.n_edits}"]', 1))

    def _write(self, text):
        new = self.path.with_suffix(".new")
        new.write_text(text)
        new.replace(self.path)
        self.n_edits += 1


def wait(store, server):
    """Waits until the server enforces the store."""
    result = subprocess.run([IAMD, "wait", "--store", store, "--server", server.address], capture_output=True, text=True)
    if result.returncode:
        raise SystemExit(f"`iamd wait` ended with {result.returncode}: {result.stdout}{result.stderr}")


def medians(rounds):
    return {name: statistics.median(figures[name] for figures in rounds) for name in rounds[0]}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("loads", nargs="*", choices=[*LOADS, []], help="the loads to run; all without any")
    parser.add_argument("--seconds", type=int, default=5, help="how long each load runs in each round")
    parser.add_argument("--rounds", type=int, default=3, help="how often each load runs")
    parser.add_argument("--floor", action="store_true", help="ask a server that decides nothing too, in turns")
    parser.add_argument("--peer", choices=["cerbos"], help="ask this server too, in turns")
    options = parser.parse_args()
    loads = options.loads or list(LOADS)

    n_allowed = subprocess.run(
        ["python3", "tests/load/questions.py", IAMD, "policies", OUTPUT], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.strip()
    load_before = os.getloadavg()
    rounds, n_edits = {}, 0
    with contextlib.ExitStack() as stack:
        directory = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="iamd-load-")))
        store = directory / "policies"
        shutil.copytree(ROOT / "policies", store)
        iamd = stack.enter_context(
            stopping(Server("iamd", [IAMD, "serve", "--store", str(store), "--listen", "{address}", "--http-listen", "127.0.0.1:0"]))
        )
        wait(store, iamd)
        subprocess.run(
            [TOOLS / "grpcurl", "-plaintext", "-protoset-out", OUTPUT / "iamd.protoset", iamd.address]
            + ["describe", "iamd.v1.AuthorizationService"],
            check=True,
            capture_output=True,
        )
        floor = peer = None
        if options.floor:
            (OUTPUT / "floor.answer").write_bytes(answer_to_hot_question(iamd))
            command = [os.environ["FLOOR_BIN"], "--floor", str(OUTPUT / "floor.answer")]
            floor = stack.enter_context(stopping(Server(FLOOR, command)))
        if options.peer:
            peer = stack.enter_context(cerbos.serving(Server, stopping, directory, OUTPUT, OF_PEER))
        for load in loads:
            contenders = [iamd, *([floor] if floor and load in OF_FLOOR else []), *([peer] if peer and load in OF_PEER else [])]
            for number in range(options.rounds):
                print(f"{load}, round {number + 1} of {options.rounds}", flush=True)
                for server in contenders:
                    config = OUTPUT / f"cerbos-{load}.json" if server is peer else ROOT / "tests" / "load" / f"{load}.json"
                    if number == 0:
                        # Whatever the first calls cost is not what is measured.
                        measure(server, load, 1, config)
                    with Edits(store) if load == "reload" else contextlib.nullcontext() as edits:
                        figures = measure(server, load, options.seconds, config)
                    if edits:
                        # The last edit comes into force, so the server has followed.
                        wait(store, server)
                        n_edits += edits.n_edits
                    rounds.setdefault((load, server.name), []).append(figures)
    write_report(options, rounds, n_edits, n_allowed, load_before)


def versions(options):
    """What was measured, and with what."""
    iamd = subprocess.run([IAMD, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    others = [f"ghz {os.environ['GHZ_VERSION'].removeprefix('v')}"]
    if options.peer:
        others.append(f"{PEER} {os.environ['CERBOS_VERSION']}")
    return f"{iamd}, {' and '.join(others)}"


def machine():
    cpu = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    return f"{os.cpu_count()} processors ({cpu.group(1) if cpu else 'unknown'}) with Linux {os.uname().release}"


def write_report(options, rounds, n_edits, n_allowed, load_before):
    results = {key: medians(value) for key, value in rounds.items()}
    names = {load: json.loads((ROOT / "tests" / "load" / f"{load}.json").read_text())["name"] for load in LOADS}
    before, after = ("/".join(f"{value:.1f}" for value in loads) for loads in (load_before, os.getloadavg()))
    lines = [
        "# Load",
        "",
        f"{versions(options)} over loopback, on {machine()}, which the client shares. The load averages over 1, 5 and 15"
        f" minutes were {before} before and {after} after, of which the run itself causes two to three. Each load ran"
        f" {options.seconds} s in each of {options.rounds} rounds, after a second that was not counted, and the servers took"
        " turns. A figure is the median of the rounds. Every call was OK, or there would be no report.",
        "",
        "| load | server | calls per s | questions per s | p50 | p90 | p99 | p99.9 | CPU per call | CPU per question |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for (load, server), figures in results.items():
        latencies = " | ".join(f"{figures[f'p{p:g}_us'] / 1e3:.2f} ms" for p in PERCENTILES)
        lines.append(
            f"| {names[load]} | {server} | {figures['calls_per_s']:,.0f} | {figures['questions_per_s']:,.0f} | {latencies}"
            f" | {figures['cpu_per_call_us']:,.1f} µs | {figures['cpu_per_question_us']:,.2f} µs |"
        )
    if any(server != "iamd" for _, server in results):
        lines += ["", "| load | CPU per call, median of the ratios within each round | lowest to highest |", "| --- | --- | --- |"]
    for (load, server), figures in rounds.items():
        if server == "iamd":
            continue
        pairs = [(of_iamd["cpu_per_call_us"], other["cpu_per_call_us"]) for of_iamd, other in zip(rounds[load, "iamd"], figures)]
        what, ratios = (
            (f"iamd ÷ {server}", [iamd / other for iamd, other in pairs])
            if server == FLOOR
            else (f"{server} ÷ iamd", [other / iamd for iamd, other in pairs])
        )
        lines.append(f"| {names[load]} | {what}: {statistics.median(ratios):.2f} | {min(ratios):.2f} to {max(ratios):.2f} |")
    lines += [
        "",
        f"Of the 10,000 distinct questions about the example store {n_allowed} are allowed.",
        *([f"During the reloads the store was edited {n_edits} times, and the last edit was in force at the end."] if n_edits else []),
        "",
        "Only ratios within one run mean something: client and server share the processors, and so does whatever else runs.",
        "CPU per call is what the system charged to the server's process, user and kernel, the network included.",
        "",
        "![Latency of a call by percentile](latency.svg)",
        "",
        "![CPU of the server for each question](cpu.svg)",
        "",
    ]
    (OUTPUT / "report.md").write_text("\n".join(lines))
    labels = [f"{names[load]}, {server}" for load, server in results]
    plot.write_lines(
        OUTPUT / "latency.svg",
        "Latency of a call by percentile (ms, logarithmic)",
        [f"p{p:g}" for p in PERCENTILES],
        {label: [figures[f"p{p:g}_us"] / 1e3 for p in PERCENTILES] for label, figures in zip(labels, results.values())},
    )
    plot.write_bars(
        OUTPUT / "cpu.svg",
        "Server CPU per question (µs)",
        {label: figures["cpu_per_question_us"] for label, figures in zip(labels, results.values())},
    )
    print(f"wrote {OUTPUT / 'report.md'}")


if __name__ == "__main__":
    main()
