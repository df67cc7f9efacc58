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

LOADS = ("hot", "distinct", "reload", "stream", "batch")
# Questions in one call.
N_QUESTIONS = {"stream": 100, "batch": 100}
# What a floor can answer too.
UNARY = ("hot", "distinct")
PERCENTILES = (50, 90, 99, 99.9)
# How long the reloading load leaves the store alone.
BETWEEN_EDITS_S = 0.2
PATIENCE_S = 30


class Server:
    """A server at an address of its own on loopback, until `stop`."""

    def __init__(self, name, command):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = "127.0.0.1:%d" % free.getsockname()[1]
        self.name = name
        self.log = open(OUTPUT / f"{name}.log", "w")
        command = [part.replace("{address}", self.address).replace("{port}", self.address.split(":")[1]) for part in command]
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                socket.create_connection(self.address.split(":"), 1).close()
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.stop()
                    raise SystemExit(f"`{shlex.join(command)}` does not listen at {self.address}: see {self.log.name}")
                time.sleep(0.05)

    def cpu_s(self):
        """The CPU time that the system has charged to the process, in seconds: user and kernel, all threads."""
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

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


def measure(server, load, seconds, config=None):
    """One run of a load: a dict of its figures."""
    config = config or ROOT / "tests" / "load" / f"{load}.json"
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


def run_iamd(server, store, load, seconds, notes):
    if load != "reload":
        return measure(server, load, seconds)
    with Edits(store) as edits:
        figures = measure(server, load, seconds)
    # The last edit comes into force, so the server has followed.
    wait(store, server)
    notes["edits"] = notes.get("edits", 0) + edits.n_edits
    return figures


def medians(rounds):
    return {name: statistics.median(figures[name] for figures in rounds) for name in rounds[0]}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("loads", nargs="*", choices=[*LOADS, []], help="the loads to run; all without any")
    parser.add_argument("--seconds", type=int, default=5, help="how long each load runs in each round")
    parser.add_argument("--rounds", type=int, default=3, help="how often each load runs")
    options = parser.parse_args()
    loads = options.loads or list(LOADS)
    floor_command = os.environ.get("IAMD_FLOOR")
    with_cerbos = os.environ.get("IAMD_PEER") == "cerbos" and "hot" in loads

    n_allowed = subprocess.run(
        ["python3", "tests/load/questions.py", IAMD, "policies", OUTPUT], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.strip()
    load_before = os.getloadavg()[0]
    results, notes = {}, {}
    with contextlib.ExitStack() as stack:
        directory = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="iamd-load-")))
        store = directory / "policies"
        shutil.copytree(ROOT / "policies", store)
        iamd = stack.enter_context(
            stopping(Server("iamd", [IAMD, "serve", "--store", str(store), "--listen", "{address}"]))
        )
        wait(store, iamd)
        subprocess.run(
            [TOOLS / "grpcurl", "-plaintext", "-protoset-out", OUTPUT / "iamd.protoset", iamd.address]
            + ["describe", "iamd.v1.AuthorizationService"],
            check=True,
            capture_output=True,
        )
        floor = stack.enter_context(stopping(Server("floor", shlex.split(floor_command)))) if floor_command else None
        peer = stack.enter_context(cerbos.serving(Server, stopping, directory, OUTPUT)) if with_cerbos else None
        rounds = {}
        for load in loads:
            for number in range(options.rounds):
                print(f"{load}, round {number + 1} of {options.rounds}", flush=True)
                rounds.setdefault((load, "iamd"), []).append(run_iamd(iamd, store, load, options.seconds, notes))
                if floor and load in UNARY:
                    rounds.setdefault((load, "floor"), []).append(measure(floor, load, options.seconds))
                if peer and load == "hot":
                    config = OUTPUT / "cerbos.json"
                    rounds.setdefault((load, "Cerbos"), []).append(measure(peer, load, options.seconds, config))
        results = {key: medians(value) for key, value in rounds.items()}
    write_report(options, results, notes, n_allowed, load_before)


def write_report(options, results, notes, n_allowed, load_before):
    names = {load: json.loads((ROOT / "tests" / "load" / f"{load}.json").read_text())["name"] for load in LOADS}
    version = subprocess.run([IAMD, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    cpu = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    lines = [
        "# Load",
        "",
        f"{version} and ghz {os.environ['GHZ_VERSION']} over loopback, on {os.cpu_count()} processors"
        f" ({cpu.group(1) if cpu else 'unknown'}), which the client shares. The load average was {load_before:.1f} before and"
        f" {os.getloadavg()[0]:.1f} after. Each load ran {options.seconds} s in each of {options.rounds} rounds, and a figure is the median"
        " of the rounds. Every call was OK, or there would be no report.",
        "",
        "| load | server | calls per s | questions per s | p50 | p90 | p99 | p99.9 | CPU per call | CPU per question |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for (load, server), figures in results.items():
        latencies = " | ".join(f"{figures[f'p{p:g}_us'] / 1e3:.2f} ms" for p in PERCENTILES)
        lines.append(
            f"| {names[load]} | {server} | {figures['calls_per_s']:,.0f} | {figures['questions_per_s']:,.0f} | {latencies}"
            f" | {figures['cpu_per_call_us']:,.0f} µs | {figures['cpu_per_question_us']:,.1f} µs |"
        )
    others = sorted({server for _, server in results} - {"iamd"})
    for other in others:
        lines += ["", f"| load | CPU per call: iamd divided by {other} |", "| --- | --- |"]
        for load, server in results:
            if server == other:
                ratio = results[load, "iamd"]["cpu_per_call_us"] / results[load, other]["cpu_per_call_us"]
                lines.append(f"| {names[load]} | {ratio:.2f} |")
    lines += [
        "",
        f"Of the 10,000 distinct questions about the example store {n_allowed} are allowed.",
        *([f"During the reloads the store was edited {notes['edits']} times, and the last edit was in force at the end."] if "edits" in notes else []),
        "",
        "Only ratios within one run mean something: client and server share the processors, and so does whatever else runs.",
        "CPU per call is what the system charged to the server's process (user and kernel, `/proc/PID/stat`), the network included.",
        "",
        "![Latency](latency.svg)",
        "",
        "![CPU per question](cpu.svg)",
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
