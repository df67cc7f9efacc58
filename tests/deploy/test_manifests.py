"""The manifests of deploy/, rendered by the real kustomize and the real Helm, and checked by the schemas of Kubernetes and
by what no schema knows: ports, paths, arguments, and that the store in the pod is the store that was exported."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

import kubernetes_validate
import yaml

REPOSITORY = pathlib.Path(__file__).parents[2]
DEPLOY = REPOSITORY / "deploy"
STORE = REPOSITORY / "policies"
IAMD = os.environ["IAMD_BIN"]
VERSIONS = os.environ["KUBERNETES_VERSIONS"].split()
# Flags of `iamd serve` that the manifests use before the program has them. Remove one here once it is there: the test
# fails until then.
NOT_THERE_YET = set()
# Kinds that Kubernetes itself does not know.
CUSTOM = {"PodMonitor"}


def run(*command, status=0):
    """The output of a command, which must end with this status."""
    ended = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, check=False)
    if ended.returncode != status:
        raise AssertionError(f"{command}: {ended.returncode}\n{ended.stdout}\n{ended.stderr}")
    return ended.stdout if status == 0 else ended.stderr


def iamd(*arguments):
    return run(IAMD, *arguments)


def documents(text):
    return [document for document in yaml.safe_load_all(text) if document]


def files_in_pod(objects, pod):
    """The files of the volume `iamd-policies`, as the kubelet writes them."""
    maps = {o["metadata"]["name"]: o["data"] for o in objects if o["kind"] == "ConfigMap"}
    [volume] = [v for v in pod["volumes"] if v["name"] == "iamd-policies"]
    files = {}
    for source in volume["projected"]["sources"]:
        for item in source["configMap"]["items"]:
            files[item["path"]] = maps[source["configMap"]["name"]][item["key"]]
    return files


def revision_of(files):
    with tempfile.TemporaryDirectory() as folder:
        for path, text in files.items():
            path = pathlib.Path(folder, path)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text.encode())
        return iamd("revision", folder).strip()


class Rendered:
    """What every way to render must give."""

    def setUp(self):
        self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        shutil.copytree(DEPLOY, self.folder / "deploy")
        self.objects = documents(self.render())
        [self.workload] = [o for o in self.objects if o["kind"] == "Deployment"]
        self.pod = self.workload["spec"]["template"]["spec"]
        [self.sidecar] = self.pod["initContainers"]
        [self.app] = self.pod["containers"]

    def test_the_schemas_of_kubernetes_accept_it(self):
        kinds = set()
        for rendered in self.objects:
            kinds.add(rendered["kind"])
            if rendered["kind"] in CUSTOM:
                continue
            for version in VERSIONS:
                kubernetes_validate.validate(rendered, version, strict=True)
        self.assertEqual(kinds, {"ConfigMap", "Deployment", "PodMonitor"})
        # The schemas are asked in earnest.
        self.sidecar["restartPolice"] = "Always"
        with self.assertRaises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(self.workload, VERSIONS[0], strict=True)

    def test_it_is_a_native_sidecar(self):
        self.assertEqual(self.sidecar["restartPolicy"], "Always")
        self.assertEqual(self.sidecar["name"], "iamd")
        self.assertRegex(self.sidecar["image"], r"^registry\.example\.org/iamd:\d+\.\d+\.\d+$")

    def test_every_argument_is_one_of_iamd_serve(self):
        command, *arguments = self.sidecar["args"]
        self.assertEqual(command, "serve")
        known = iamd("serve", "--help")
        flags = {argument.split("=")[0] for argument in arguments}
        missing = {flag for flag in flags if f" {flag}" not in known}
        self.assertEqual(missing, NOT_THERE_YET & flags, "of the flags that are not there yet, or are there now")

    def test_the_arguments_are_good_for_the_program(self):
        """`iamd config` reads the arguments as `serve` does, with the store of the test."""
        arguments = [a for a in self.sidecar["args"][1:] if a.split("=")[0] not in NOT_THERE_YET]
        settings = {s["key"]: s["value"] for s in json.loads(iamd("config", "--output", "json", *arguments))}
        self.assertEqual(settings["store"], "/policies")
        self.assertEqual(settings["listen"], ["unix:/run/iamd/iamd.sock"])

    def option(self, name):
        [value] = [a.split("=", 1)[1] for a in self.sidecar["args"] if a.startswith(f"{name}=")]
        return value

    def test_the_probes_ask_the_port_that_serves_health(self):
        port = int(self.option("--health-listen").rsplit(":", 1)[1])
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"]:
            self.assertEqual(self.sidecar[probe]["grpc"], {"port": port}, probe)
        ports = {p["name"]: p["containerPort"] for p in self.sidecar["ports"]}
        self.assertEqual(ports["iamd-health"], port)
        # The kubelet asks the address of the pod, not loopback.
        self.assertTrue(self.option("--health-listen").startswith("0.0.0.0:"))

    def test_metrics_are_scraped_from_the_port_that_serves_them(self):
        port = int(self.option("--http-listen").rsplit(":", 1)[1])
        ports = {p["name"]: p["containerPort"] for p in self.sidecar["ports"]}
        [monitor] = [o for o in self.objects if o["kind"] == "PodMonitor"]
        [endpoint] = monitor["spec"]["podMetricsEndpoints"]
        self.assertEqual(ports[endpoint["port"]], port)
        labels = self.workload["spec"]["template"]["metadata"]["labels"]
        wanted = monitor["spec"]["selector"]["matchLabels"]
        self.assertTrue(wanted and wanted.items() <= labels.items(), (wanted, labels))
        self.assertEqual(monitor["metadata"].get("namespace"), self.workload["metadata"].get("namespace"))
        # Port names are at most 15 characters long, which the schemas do not say, and no two containers share a port.
        every = [p for c in [self.sidecar, self.app] for p in c["ports"]]
        self.assertTrue(all(len(p["name"]) <= 15 for p in every))
        self.assertEqual(len({p["containerPort"] for p in every}), len(every))
        self.assertEqual(len({p["name"] for p in every}), len(every))

    def test_both_sides_find_the_same_socket(self):
        socket = self.option("--listen")
        self.assertTrue(socket.startswith("unix:/"))
        [address] = [e["value"] for e in self.app["env"] if e["name"] == "IAMD_ADDRESS"]
        self.assertEqual(address, socket)
        folder = str(pathlib.PurePosixPath(socket.removeprefix("unix:")).parent)
        mounts = [
            [m for m in container["volumeMounts"] if m["mountPath"] == folder]
            for container in [self.sidecar, self.app]
        ]
        self.assertEqual([[m["name"] for m in of] for of in mounts], [["iamd-socket"]] * 2)
        self.assertFalse(mounts[0][0].get("readOnly"))
        [volume] = [v for v in self.pod["volumes"] if v["name"] == "iamd-socket"]
        self.assertEqual(volume["emptyDir"]["medium"], "Memory")
        # Another user opens the socket as a member of the group of the volume.
        self.assertEqual(self.pod["securityContext"]["fsGroup"], self.sidecar["securityContext"]["runAsGroup"])
        self.assertNotEqual(self.app["securityContext"]["runAsUser"], self.sidecar["securityContext"]["runAsUser"])

    def test_the_volume_is_mounted_whole_so_that_changes_reach_it(self):
        [mount] = [m for m in self.sidecar["volumeMounts"] if m["name"] == "iamd-policies"]
        self.assertEqual(mount, {"name": "iamd-policies", "mountPath": self.option("--store"), "readOnly": True})
        names = [v["name"] for v in self.pod["volumes"]]
        self.assertEqual(len(set(names)), len(names))
        for container in [self.sidecar, self.app]:
            for mount in container["volumeMounts"]:
                self.assertIn(mount["name"], names)

    def test_the_store_in_the_pod_is_the_store_that_was_exported(self):
        files = files_in_pod(self.objects, self.pod)
        self.assertEqual(revision_of(files), iamd("revision", str(STORE)).strip())

    def test_the_sidecar_may_do_nothing_that_it_does_not_need(self):
        context = self.sidecar["securityContext"]
        self.assertEqual(context["capabilities"], {"drop": ["ALL"]})
        self.assertEqual(context["seccompProfile"], {"type": "RuntimeDefault"})
        for name, value in {
            "runAsNonRoot": True,
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False,
            "runAsUser": 65532,
        }.items():
            self.assertIs(type(context[name]), type(value))
            self.assertEqual(context[name], value, name)
        self.assertEqual(set(self.sidecar["resources"]["limits"]), {"memory"}, "no limit of CPU, which would stall answers")
        self.assertEqual(set(self.sidecar["resources"]["requests"]), {"cpu", "memory"})


class Kustomize(Rendered, unittest.TestCase):
    def render(self):
        example = self.folder / "deploy/kustomize/example"
        iamd("export", "--store", str(STORE), "--kubernetes", "shop", "--kustomize", str(example / "policies"))
        return run("kustomize", "build", str(example))

    def test_every_kind_of_workload_gets_the_sidecar_and_keeps_what_it_has(self):
        example = self.folder / "deploy/kustomize/example"
        text = (example / "orders.yaml").read_text()
        [orders] = documents(text)
        pod = orders["spec"]["template"]["spec"]
        pod["initContainers"] = [{"name": "migrate", "image": "x:1"}]
        pod["volumes"] = [{"name": "own", "emptyDir": {}}]
        workloads = []
        for kind in ["Deployment", "StatefulSet", "DaemonSet"]:
            spec = {k: v for k, v in orders["spec"].items() if kind != "DaemonSet" or k != "replicas"}
            if kind == "StatefulSet":
                spec = {**spec, "serviceName": "orders"}
            workloads.append({**orders, "kind": kind, "metadata": {"name": f"a-{kind.lower()}"}, "spec": spec})
        (example / "orders.yaml").write_text(yaml.safe_dump_all(workloads))
        rendered = [o for o in documents(run("kustomize", "build", str(example))) if o["kind"] not in {"ConfigMap", "PodMonitor"}]
        self.assertEqual(len(rendered), 3)
        for workload in rendered:
            pod = workload["spec"]["template"]["spec"]
            self.assertEqual({c["name"] for c in pod["initContainers"]}, {"migrate", "iamd"}, workload["kind"])
            self.assertEqual({v["name"] for v in pod["volumes"]}, {"own", "iamd-policies", "iamd-socket"})
            self.assertEqual([c["name"] for c in pod["containers"]], ["orders"])
            kubernetes_validate.validate(workload, VERSIONS[-1], strict=True)

    def test_odd_texts_survive_the_readers_of_kubernetes(self):
        """They read YAML with another library than the program's own. U+0085 and U+007F are left out, which kustomize loses."""
        store = self.folder / "store"
        shutil.copytree(STORE, store)
        document = json.dumps({"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "x:Y", "Resource": "*"}})
        tags = {"Resource": "arn:app:x:::y", "Tags": [{"Key": "odd", "Value": "\u2028\ufeff\U0001f600 \t# : {}"}]}
        for path, text in {
            "managed-policies/dos.json": document.replace(" ", "\r\n\t "),
            "managed-policies/blanks.json": f"\n\n   {document}   \n\n\n",
            "managed-policies/no-end.json": document,
            "managed-policies/long.json": document + " " * 5000 + "\n",
            "resource-policies/\u00fc & # ! 'x'.json": json.dumps(tags, ensure_ascii=False),
        }.items():
            (store / path).write_bytes(text.encode())
        example = self.folder / "deploy/kustomize/example"
        iamd("export", "--store", str(store), "--kubernetes", "shop", "--kustomize", str(example / "policies"))
        objects = documents(run("kustomize", "build", str(example)))
        [workload] = [o for o in objects if o["kind"] == "Deployment"]
        files = files_in_pod(objects, workload["spec"]["template"]["spec"])
        self.assertEqual(revision_of(files), iamd("revision", str(store)).strip())

    def test_names_follow_a_prefix(self):
        overlay = self.folder / "deploy/kustomize/example/kustomization.yaml"
        overlay.write_text(overlay.read_text() + "namePrefix: blue-\n")
        objects = documents(run("kustomize", "build", str(overlay.parent)))
        [workload] = [o for o in objects if o["kind"] == "Deployment"]
        names = {o["metadata"]["name"] for o in objects if o["kind"] == "ConfigMap"}
        self.assertTrue(names and all(name.startswith("blue-shop-") for name in names))
        self.assertTrue(files_in_pod(objects, workload["spec"]["template"]["spec"]))


class Helm(Rendered, unittest.TestCase):
    def chart(self):
        return self.folder / "deploy/helm/example"

    def render(self):
        files = self.chart() / "files"
        files.mkdir()
        export = ["export", "--store", str(STORE), "--kubernetes", "shop"]
        (files / "policies.yaml").write_text(iamd(*export))
        (files / "volume.yaml").write_text(iamd(*export, "--volume"))
        run("helm", "dependency", "build", str(self.chart()))
        return self.template()

    def template(self, *arguments, status=0):
        # A Helm that Go has installed does not know of which Kubernetes it is.
        version = ("--kube-version", VERSIONS[0])
        return run("helm", "template", "orders", str(self.chart()), *version, *arguments, status=status)

    def test_lint_finds_nothing(self):
        said = run("helm", "lint", "--strict", "--kube-version", VERSIONS[0], str(self.chart()))
        self.assertIn("0 chart(s) failed", said)

    def test_wrong_values_are_refused_by_name(self):
        for value in [
            "iamd.healthPort=80",
            "iamd.healthPort=x",
            "iamd.image.digest=sha256:1",
            "iamd.image.repository=",
            "iamd.extraArgs[0]=-x",
            "iamd.colour=blue",
            "iamd.podMonitor.enabled=perhaps",
            "iamd.policies.name=other",
            "iamd.image.pullPolicy=Sometimes",
        ]:
            said = self.template("--set", value, status=1)
            name = value.split("=")[0].removeprefix("iamd.").split("[")[0].split(".")[0]
            self.assertIn(name, said, value)
            self.assertIn("schema", said, value)

    def test_without_policies_it_says_how_to_write_them(self):
        (self.chart() / "files/volume.yaml").unlink()
        self.assertIn("iamd export --kubernetes NAME --volume", self.template(status=1))

    def test_values_take_the_place_of_the_defaults(self):
        export = ["export", "--store", str(STORE), "--kubernetes", "other", "--volume", "--output", "json"]
        digest = "sha256:" + "0" * 64
        rendered = self.template(
            "--set", f"iamd.image.digest={digest},iamd.healthPort=6000,iamd.extraArgs={{--log-level=debug}}",
            "--set", "iamd.podMonitor.enabled=false",
            "--set-json", f"iamd.policies={iamd(*export)}",
        )
        objects = documents(rendered)
        self.assertNotIn("PodMonitor", {o["kind"] for o in objects})
        [workload] = [o for o in objects if o["kind"] == "Deployment"]
        pod = workload["spec"]["template"]["spec"]
        [sidecar] = pod["initContainers"]
        self.assertEqual(sidecar["image"], f"registry.example.org/iamd@{digest}")
        self.assertEqual(sidecar["startupProbe"]["grpc"]["port"], 6000)
        self.assertIn("--health-listen=0.0.0.0:6000", sidecar["args"])
        self.assertEqual(sidecar["args"][-1], "--log-level=debug")
        [volume] = [v for v in pod["volumes"] if v["name"] == "iamd-policies"]
        self.assertTrue(volume["projected"]["sources"][0]["configMap"]["name"].startswith("other-"))


class Guide(unittest.TestCase):
    """The commands of deploy/README.md, one after the other in a clone, as far as they go without a cluster."""

    def setUp(self):
        self.clone = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()), "iamd")
        # Without what an earlier reader of the page has left.
        left = shutil.ignore_patterns("Chart.lock", "charts", "files", "policies")
        shutil.copytree(DEPLOY, self.clone / "deploy", ignore=left)
        shutil.copytree(STORE, self.clone / "policies")
        git = ["git", "-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "init.defaultBranch=main"]
        for command in [["init", "-q"], ["add", "."], ["commit", "-qm", "1"], ["commit", "-q", "--allow-empty", "-m", "2"]]:
            subprocess.run([*git, *command], cwd=self.clone, check=True)

    def follow(self, block):
        """Runs a block with what would be asked of a cluster printed instead, and returns what it prints."""
        lines = []
        for line in block.splitlines():
            line = line.removesuffix(" | kubectl apply --server-side -f -")
            line = line.replace("helm upgrade --install ", "helm template --kube-version 1.31 ")
            if not line.startswith("kubectl create namespace "):
                lines.append(line)
        command = ["bash", "-eo", "pipefail", "-c", "\n".join(lines)]
        path = f"{pathlib.Path(IAMD).parent}:{os.environ['PATH']}"
        ended = subprocess.run(command, cwd=self.clone, env=os.environ | {"PATH": path}, capture_output=True, text=True)
        self.assertEqual(ended.returncode, 0, (lines, ended.stdout, ended.stderr))
        return ended.stdout

    def test_its_commands_render_the_objects(self):
        blocks = re.findall(r"^```sh\n(.*?)^```$", (DEPLOY / "README.md").read_text(), re.M | re.S)
        n_rendered = 0
        for block in blocks:
            run("bash", "-n", "-c", block)
            if "docker " in block or "kubectl --namespace" in block:
                continue  # they need a registry and a cluster
            # Some commands say what they have done, before anything is rendered.
            said, found, rendered = self.follow(block).partition("apiVersion:")
            objects = documents(found + rendered)
            kinds = sorted(o["kind"] for o in objects)
            if kinds:
                n_rendered += 1
                times = 2 if "helm template" in block else 1
                self.assertEqual(kinds, sorted(["ConfigMap", "Deployment", "PodMonitor"] * times), (block, said))
            for workload in [o for o in objects if o["kind"] == "Deployment"]:
                files = files_in_pod(objects, workload["spec"]["template"]["spec"])
                self.assertEqual(revision_of(files), iamd("revision", str(STORE)).strip(), block)
        self.assertEqual(n_rendered, 4, "by kustomize, by Helm, by both, and for a rollback")
        said = subprocess.run(["git", "status", "--short"], cwd=self.clone, capture_output=True, text=True, check=True)
        self.assertEqual(said.stdout, "", "what the commands write is ignored by Git")


if __name__ == "__main__":
    unittest.main()
