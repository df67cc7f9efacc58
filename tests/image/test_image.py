"""The image that tests/image/run has built: what is in it, and its program, run in the image's own root."""

import json
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import tomllib
import unittest

REPOSITORY = pathlib.Path(__file__).parents[2]
IMAGE = os.environ["IMAGE"]
USER = 65532
MAX_BYTES = 15 * 1000 * 1000
PATIENCE = 30
ENTER_ROOT = pathlib.Path(__file__).with_name("enter.py")

# A server of names that knows one of them, for `python3 -c` in the namespace of the program.
NAMES = """
import socket, struct
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 53))
print("ready", flush=True)
while True:
    question, client = server.recvfrom(512)
    name, at = [], 12
    while question[at]:
        name.append(question[at + 1:at + 1 + question[at]].decode())
        at += 1 + question[at]
    kind = struct.unpack("!H", question[at + 1:at + 3])[0]
    is_known = ".".join(name).lower() == "collector.test"
    answer = b"\\xc0\\x0c" + struct.pack("!HHIH", 1, 1, 60, 4) + bytes([127, 0, 0, 1])
    has_answer = is_known and kind == 1
    flags = 0x8180 if is_known else 0x8183
    head = question[:2] + struct.pack("!HHHHH", flags, 1, int(has_answer), 0, 0)
    server.sendto(head + question[12:at + 5] + (answer if has_answer else b""), client)
"""

# The program in a pod: its own network with loopback alone, the image as a root that cannot be written, the system's list of
# mounts, and a folder for the socket.
ENTER = """
set -e
ip link set lo up
mount --make-rprivate /
mount --bind "$1" "$1"
mount -o remount,bind,ro "$1"
mount -t proc proc "$1/proc"
mount -t tmpfs -o mode=0770,gid=65532 tmpfs "$1/run/iamd"
exec "$2" "$3" 65532 "$1" "${@:4}"
"""


def buildah(*arguments):
    return subprocess.run(["buildah", *arguments], capture_output=True, text=True, check=True).stdout.strip()


class Image(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.config = json.loads(buildah("inspect", "--type", "image", IMAGE))["Docker"]["config"]
        container = buildah("from", IMAGE)
        cls.addClassCleanup(buildah, "rm", container)
        cls.root = pathlib.Path(buildah("mount", container))

    def files(self):
        return {
            "/" + str(path.relative_to(self.root)): path.stat().st_size
            for path in self.root.rglob("*")
            if path.is_file()
        }

    def test_it_holds_the_program_its_licence_and_the_authorities_alone(self):
        files = self.files()
        # buildah makes these where it mounts the image.
        for name in ["/etc/hosts", "/etc/resolv.conf", "/etc/hostname"]:
            if files.get(name) == 0:
                del files[name]
        self.assertEqual(set(files), {"/iamd", "/LICENSE", "/etc/ssl/certs/ca-certificates.crt"})
        self.assertLess(sum(files.values()), MAX_BYTES)
        self.assertIn("BEGIN CERTIFICATE", (self.root / "etc/ssl/certs/ca-certificates.crt").read_text())

    def test_the_program_needs_no_library(self):
        program = (self.root / "iamd").read_bytes()
        self.assertEqual(program[:5], b"\x7fELF\x02")
        at, size, count = (struct.unpack_from("<Q", program, 32)[0], *struct.unpack_from("<HH", program, 54))
        kinds = [struct.unpack_from("<I", program, at + n * size)[0] for n in range(count)]
        self.assertNotIn(3, kinds, "it asks for no loader (PT_INTERP)")

    def test_a_scanner_finds_the_packages_in_the_program(self):
        """By the list that `cargo auditable` has put into it."""
        scan = subprocess.run(
            [os.environ["SYFT"], "scan", "--quiet", f"dir:{self.root}", "--output", "spdx-json"],
            env=os.environ | {"SYFT_CHECK_FOR_APP_UPDATE": "false"},
            capture_output=True,
            check=True,
        )
        found = {
            (package["name"], package["versionInfo"])
            for package in json.loads(scan.stdout)["packages"]
            if any(ref["referenceLocator"].startswith("pkg:cargo/") for ref in package.get("externalRefs", []))
        }
        lock = tomllib.loads((REPOSITORY / "Cargo.lock").read_text())
        self.assertEqual(found - {(package["name"], package["version"]) for package in lock["package"]}, set())
        self.assertLessEqual({"iamd", "h2", "rustls", "tokio", "tonic"}, {name for name, _ in found})

    def test_it_runs_the_program_as_nobody(self):
        self.assertEqual(self.config["User"], f"{USER}:{USER}")
        self.assertEqual(self.config["Entrypoint"], ["/iamd"])
        self.assertEqual(self.config["Cmd"], ["serve"])
        self.assertEqual(self.config["Healthcheck"]["Test"], ["CMD", "/iamd", "healthcheck"])
        labels = self.config["Labels"]
        self.assertEqual(labels["org.opencontainers.image.title"], "iamd")
        self.assertEqual(labels["org.opencontainers.image.licenses"], "Apache-2.0")
        self.assertEqual(labels["org.opencontainers.image.version"], "test")
        self.assertEqual(labels["org.opencontainers.image.revision"], "0123abc")


class Running(unittest.TestCase):
    """The program of the image, as a pod runs it."""

    def setUp(self):
        container = buildah("from", IMAGE)
        mounted = buildah("mount", container)
        self.root = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()), "root")
        shutil.copytree(mounted, self.root)
        buildah("rm", container)
        shutil.copytree(REPOSITORY / "policies", self.root / "policies")
        (self.root / "run/iamd").mkdir(parents=True)
        (self.root / "proc").mkdir(exist_ok=True)
        (self.root / "etc").mkdir(exist_ok=True)
        (self.root / "etc/resolv.conf").write_text("nameserver 127.0.0.1\n")
        (self.root / "etc/hosts").write_text("127.0.0.1 host.test\n")
        for path in self.root.rglob("*"):
            if path.is_dir():
                path.chmod(0o755)
        self.root.parent.chmod(0o755)

    def start(self, *arguments, mount=""):
        """Starts the program of the image with these arguments, after one more `mount` in its root."""
        script = ENTER.replace("exec ", f"{mount}\nexec ")
        enter = ["unshare", "--mount", "--net", "--", "bash", "-c", script, "bash", str(self.root)]
        command = [*enter, sys.executable, str(ENTER_ROOT), "/iamd", *arguments]
        self.log = self.enterContext(tempfile.TemporaryFile())
        self.server = subprocess.Popen(command, stderr=self.log, stdout=subprocess.DEVNULL)
        self.addCleanup(self.server.wait)
        self.addCleanup(self.server.kill)

    def inside(self, *command, user=USER, root=True):
        """Runs a command where the program runs."""
        enter = ["nsenter", "--target", str(self.server.pid), "--net", "--mount"]
        if root:
            command = [sys.executable, str(ENTER_ROOT), str(user), str(self.root), *command]
        return subprocess.run([*enter, *command], capture_output=True, text=True, timeout=PATIENCE, check=False)

    def said(self):
        self.log.seek(0)
        return self.log.read().decode()

    def until_healthy(self, *arguments):
        end = time.monotonic() + PATIENCE
        while True:
            asked = self.inside("/iamd", "healthcheck", *arguments)
            if asked.returncode == 0:
                return
            self.assertIsNone(self.server.poll(), self.said())
            self.assertLess(time.monotonic(), end, (asked, self.said()))
            time.sleep(0.05)

    def ask(self, *arguments):
        return self.inside(
            "/iamd", "authorize", *arguments,
            "--principal", "arn:aws:iam::111122223333:user/support/alice",
            "--action", "orders:Get", "--resource", "arn:app:orders:::order/1001/1",
        )  # fmt: skip

    def test_it_serves_the_mounted_policies_answers_and_drains(self):
        self.start("serve")
        self.until_healthy()
        answer = self.ask("--server", "127.0.0.1:50051")
        self.assertEqual(answer.returncode, 0, answer)
        self.assertIn("allow", answer.stdout)
        owner = pathlib.Path(f"/proc/{self.server.pid}/status").read_text()
        self.assertIn(f"Uid:\t{USER}\t{USER}\t{USER}\t{USER}", owner)
        self.assertIn("CapEff:\t0000000000000000", owner)
        self.server.terminate()
        self.assertEqual(self.server.wait(PATIENCE), 0, self.said())
        self.assertIn("drained", self.said())

    def test_it_serves_a_unix_socket_in_a_shared_folder(self):
        self.start("serve", "--store=/policies", "--listen=unix:/run/iamd/iamd.sock")
        self.until_healthy("--server", "unix:/run/iamd/iamd.sock")
        answer = self.ask("--server", "unix:/run/iamd/iamd.sock")
        self.assertEqual(answer.returncode, 0, answer)
        # As deploy/README.md waits for a rollout: there is no shell in the image, only the program.
        revision = self.inside("/iamd", "revision", "/policies").stdout.strip()
        wait = ["/iamd", "wait", "--server", "unix:/run/iamd/iamd.sock", "--timeout", "5s", "--revision"]
        self.assertEqual(self.inside(*wait, revision).returncode, 0, self.said())
        # Another user of the pod, who is no member of the group.
        stranger = self.inside("/iamd", "healthcheck", "--server", "unix:/run/iamd/iamd.sock", user=10001)
        self.assertNotEqual(stranger.returncode, 0)

    def test_names_of_hosts_are_found_without_a_library(self):
        self.start("serve")
        self.until_healthy()
        resolver = subprocess.Popen(
            ["nsenter", "--target", str(self.server.pid), "--net", sys.executable, "-c", NAMES],
            stdout=subprocess.PIPE,
        )
        self.addCleanup(resolver.wait)
        self.addCleanup(resolver.stdout.close)
        self.addCleanup(resolver.kill)
        self.assertEqual(resolver.stdout.readline(), b"ready\n")
        for name in ["collector.test", "host.test"]:
            answer = self.ask("--server", f"{name}:50051")
            self.assertEqual(answer.returncode, 0, (name, answer))
        unknown = self.ask("--server", "nowhere.test:50051")
        self.assertEqual(unknown.returncode, 2, unknown)

    def test_a_file_that_is_mounted_by_itself_is_warned_of(self):
        """As a kubelet mounts it for `subPath`: from the folder of one version of the volume."""
        version = self.root / "volume/..2026_11_29_10_00_00.123456789"
        version.mkdir(parents=True)
        shutil.copy(self.root / "policies/account.json", version)
        mount = f'mount --bind "{version}/account.json" "$1/policies/account.json"'
        self.start("serve", mount=mount)
        self.until_healthy()
        warnings = [json.loads(line) for line in self.said().splitlines() if "mounted by itself" in line]
        self.assertEqual([w["path"] for w in warnings], ["/policies/account.json"], self.said())

    def test_a_volume_that_is_mounted_whole_is_not_warned_of(self):
        volume = self.root / "volume"
        shutil.copytree(self.root / "policies", volume / "..2026_11_29_10_00_00.123456789")
        (volume / "..data").symlink_to("..2026_11_29_10_00_00.123456789")
        for name in os.listdir(self.root / "policies"):
            (volume / name).symlink_to(f"..data/{name}")
        self.start("serve", mount=f'mount --bind "{volume}" "$1/policies"')
        self.until_healthy()
        self.assertNotIn("mounted by itself", self.said())


if __name__ == "__main__":
    unittest.main()
