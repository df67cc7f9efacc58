"""Cerbos as a peer: the hot question of this folder in its language, at its own gRPC service."""

import contextlib
import json
import os
import pathlib

POLICY = """\
apiVersion: api.cerbos.dev/v1
resourcePolicy:
  resource: order
  version: default
  rules:
    - actions: [Get]
      effect: EFFECT_ALLOW
      roles: [support]
"""

QUESTION = {
    "principal": {"id": "alice", "roles": ["support"]},
    "resources": [{"actions": ["Get"], "resource": {"kind": "order", "id": "1001/1"}}],
}


@contextlib.contextmanager
def serving(server, stopping, directory, output, loads):
    """A Cerbos at an address of its own. Writes what ghz needs to put each load on it to `cerbos-LOAD.json` in `output`."""
    policies = directory / "cerbos"
    policies.mkdir()
    (policies / "order.yaml").write_text(POLICY)
    question = {"call": "cerbos.svc.v1.CerbosService.CheckResources", "data": QUESTION}
    for load in loads:
        config = json.loads((pathlib.Path(__file__).parent / f"{load}.json").read_text())
        del config["protoset"]  # Cerbos has reflection
        (output / f"cerbos-{load}.json").write_text(json.dumps(config | question))
    # The wrapper of the package starts this binary, and its CPU time would be that of another process.
    (binary,) = (pathlib.Path(os.environ["TOOLS"]) / "cerbos" / "node_modules" / "@cerbos").glob("cerbos-*/cerbos-*")
    settings = ["server.grpcListenAddr={address}", "server.httpListenAddr=127.0.0.1:0", "telemetry.disabled=true"]
    settings += ["storage.driver=disk", f"storage.disk.directory={policies}"]
    # iamd writes no line for an answer, so neither does its peer.
    command = [str(binary.resolve()), "server", "--log-level=error", *(f"--set={setting}" for setting in settings)]
    with stopping(server("Cerbos", command)) as started:
        yield started
