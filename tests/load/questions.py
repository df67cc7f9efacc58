"""Makes 10,000 distinct questions of the example store, as ghz reads them, and asks all of them once.

Usage: questions.py IAMD-BINARY STORE FOLDER. Writes `questions.json`, `batch.json` and `stream.json` into the folder, and
prints how many questions are allowed.
"""

import itertools
import json
import pathlib
import subprocess
import sys

N_QUESTIONS = 10_000
N_IN_BATCH = 100
N_IN_STREAM = 100

ACCOUNT = "111122223333"


def callers():
    """Principals of the example store, each with its session."""
    for name in ("support/alice", "support/erin", "finance/dave", "finance/carol", "frank"):
        yield {"principal": f"arn:aws:iam::{ACCOUNT}:user/{name}"}
    for customer in range(1_001, 1_011):
        yield {
            "principal": f"arn:aws:sts::{ACCOUNT}:assumed-role/customer/web-{customer}",
            "session": {"tags": {"customer": str(customer)}},
        }
    yield {"principal": f"arn:aws:sts::{ACCOUNT}:assumed-role/order-service/pod-1"}


def deeds():
    """Actions with a resource, and what is known about the request."""
    for number in itertools.count(1):
        for customer in range(1_001, 1_011):
            order = f"arn:app:orders:::order/{customer}/{number}"
            invoice = f"arn:app:invoices:::invoice/{customer}/{number}"
            yield {"action": "orders:Get", "resource": order}
            yield {"action": "orders:Cancel", "resource": order}
            yield {"action": "orders:Refund", "resource": order, "context": {"orders:amount": number}}
            yield {"action": "invoices:Get", "resource": invoice, "context": {"aws:SourceIp": "198.51.100.7"}}


def main(iamd, store, folder):
    asking = list(callers())
    questions = list(itertools.islice(({**who, **deed} for deed in deeds() for who in asking), N_QUESTIONS))
    answers = subprocess.run(
        [iamd, "authorize", "--store", store, "--requests", "-"],
        input="".join(json.dumps(question) + "\n" for question in questions),
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    ).stdout.splitlines()
    decisions = [json.loads(answer)["decision"] for answer in answers]
    n_allowed = decisions.count("DECISION_ALLOW")
    if len(decisions) != N_QUESTIONS or not 1_000 < n_allowed < 9_000:
        raise SystemExit(f"{len(decisions)} answers, {n_allowed} allowed: these questions show little")
    folder = pathlib.Path(folder)
    write(folder / "questions.json", questions)
    write(folder / "batch.json", [{"requests": part} for part in parts(questions, N_IN_BATCH)])
    # ghz sends all of these in each stream.
    write(folder / "stream.json", [{"request": question} for question in questions[:: N_QUESTIONS // N_IN_STREAM]])
    print(n_allowed)


def parts(items, size):
    return [items[start : start + size] for start in range(0, len(items), size)]


def write(path, value):
    path.write_text(json.dumps(value))


if __name__ == "__main__":
    main(*sys.argv[1:])
