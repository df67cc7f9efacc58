"""What deploy/release makes: the same bytes in two folders, and a list of the packages that are really in the program."""

import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import tarfile
import tempfile
import tomllib
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
VERSIONS = (ROOT / "tests/release/versions").read_text()
# What the sources, the packages of Rust or the compiler's C files could leave in the program.
TRACES = [b"/tmp/", b"/root/", b"/home/", os.fsencode(ROOT), b".cargo/registry"]


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def copy_of_sources(folder):
    """Copies what Git knows, as it is on disk."""
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, files.split("\0")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name, follow_symlinks=False)


class Release(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        epoch = subprocess.run(["git", "log", "-1", "--format=%ct"], cwd=ROOT, capture_output=True, text=True, check=True)
        beside = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory(prefix="iamd-release-")))
        # The second folder has another name and length, another cache of packages, other settings of the shell, and its tools
        # are somewhere else.
        other = beside / "another folder/with a longer name"
        copy_of_sources(other)
        home = pathlib.Path(os.environ.get("CARGO_HOME", pathlib.Path.home() / ".cargo")).resolve()
        other_home = beside / "cargo"
        other_home.mkdir()
        shutil.copytree(home / "registry", other_home / "registry", ignore=shutil.ignore_patterns("src"))
        other_tools = pathlib.Path(shutil.copytree(ROOT / "target/tools/release/bin", beside / "other tools"))
        environments = {
            ROOT: {"CARGO_HOME": str(home)},
            other: {
                "CARGO_HOME": str(other_home),
                "PATH": f"{other_tools}:{os.environ['PATH']}",
                "TZ": "Asia/Tokyo",
                "LC_ALL": "C.UTF-8",
            },
        }
        cls.made = []
        for folder, environment in environments.items():
            subprocess.run(
                ["deploy/release"],
                cwd=folder,
                env=os.environ | environment | {"SOURCE_DATE_EPOCH": epoch.stdout.strip()},
                check=True,
            )
            cls.made.append(folder / "target/archive")
        (cls.archive,) = cls.made[0].glob("*.tar.gz")
        with tarfile.open(cls.archive) as archive:
            archive.extractall(beside / "unpacked", filter="data")
        (cls.folder,) = (beside / "unpacked").iterdir()

    def test_two_folders_make_the_same_archive(self):
        self.assertEqual(sha256(self.made[0] / self.archive.name), sha256(self.made[1] / self.archive.name))

    def test_no_path_of_the_machine_is_in_the_program(self):
        program = (self.folder / "iamd").read_bytes()
        self.assertEqual([trace for trace in TRACES if trace in program], [])

    def test_the_digests_are_those_of_the_files(self):
        lines = (self.made[0] / "SHA256SUMS").read_text().splitlines()
        digests = {name: digest for digest, name in (line.split("  ") for line in lines)}
        files = {path.name for path in self.made[0].iterdir()} - {"SHA256SUMS"}
        self.assertEqual(set(digests), files)
        self.assertEqual(len(files), 3)
        for name, digest in digests.items():
            self.assertEqual(sha256(self.made[0] / name), digest, name)

    def test_the_archive_holds_the_program_and_what_belongs_to_it(self):
        names = {str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file()}
        for name in ["iamd", "LICENSE", "BUILT-WITH", "completions/iamd.bash", "man/iamd.1", "man/iamd-serve.1"]:
            self.assertIn(name, names)
        answer = subprocess.run([self.folder / "iamd", "--version"], capture_output=True, text=True, check=True).stdout
        self.assertIn(answer.split()[1], self.archive.name)

    def test_the_lists_name_the_packages_that_are_in_the_program(self):
        lock = tomllib.loads((ROOT / "Cargo.lock").read_text())
        locked = {(package["name"], package["version"]) for package in lock["package"]}
        triple = subprocess.run(["rustc", "--print", "host-tuple"], capture_output=True, text=True, check=True).stdout.strip()
        tree = subprocess.run(
            ["cargo", "tree", "--locked", "--edges", "normal,no-proc-macro", "--target", triple, "--prefix", "none"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        linked = {(line.split()[0], line.split()[1].removeprefix("v")) for line in tree.splitlines() if line}
        (spdx,) = self.made[0].glob("*.spdx.json")
        spdx = json.loads(spdx.read_text())
        syft = re.search(r"^SYFT_VERSION=v(.*)$", VERSIONS, re.M).group(1)
        self.assertIn(f"Tool: syft-{syft}", spdx["creationInfo"]["creators"])
        spdx = {
            (package["name"], package["versionInfo"])
            for package in spdx["packages"]
            if any(ref["referenceLocator"].startswith("pkg:cargo/") for ref in package.get("externalRefs", []))
        }
        (cyclonedx,) = self.made[0].glob("*.cyclonedx.json")
        cyclonedx = {
            (component["name"], component["version"])
            for component in json.loads(cyclonedx.read_text())["components"]
            if component.get("purl", "").startswith("pkg:cargo/")
        }
        self.assertEqual(spdx, cyclonedx)
        self.assertEqual(linked - spdx, set(), "what is linked and not listed")
        self.assertEqual(spdx - locked, set(), "what is listed and not locked")

    def test_the_image_is_built_with_the_same_tools(self):
        dockerfile = (ROOT / "Dockerfile").read_text()
        wanted = re.search(r"^CARGO_AUDITABLE_VERSION=(.*)$", VERSIONS, re.M).group(1)
        self.assertIn(f"ARG CARGO_AUDITABLE_VERSION={wanted}\n", dockerfile)
        self.assertEqual(len(re.findall(r"&& deploy/build( \\)?$", dockerfile, re.M)), 2)


if __name__ == "__main__":
    unittest.main()
