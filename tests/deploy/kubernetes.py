#!/usr/bin/python3
"""Holds deploy/kubernetes against Pod Security "restricted", itself and the rest of the project.

    kubernetes.py ROOT WALD            checks base and every overlay
    kubernetes.py ROOT WALD --prove    puts mistakes in, each of which has to be found
    kubernetes.py ROOT WALD --print    base and the overlays as kustomize builds them, as JSON

It does of kustomize what is used here (resources, patches by path, generated ConfigMaps, images),
and refuses all else.
"""
import copy
import json
import os
import re
import subprocess
import sys

import yaml

# What "restricted" allows in a pod, by the Pod Security Standards of Kubernetes.
VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim",
           "projected", "secret"}
SYSCTLS = {"kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.tcp_syncookies",
           "net.ipv4.ping_group_range", "net.ipv4.ip_unprivileged_port_start"}
PROFILES = {"RuntimeDefault", "Localhost"}


# ---- as kustomize does it ----

def load(path):
    with open(path, encoding="utf-8") as file:
        return [document for document in yaml.safe_load_all(file) if document]


def merge(target, patch):
    """A strategic merge: maps by key, lists of things with names by name, the rest is replaced."""
    for key, value in patch.items():
        if isinstance(value, dict) and isinstance(target.get(key), dict):
            merge(target[key], value)
        elif isinstance(value, list) and value and isinstance(value[0], dict) and key in target:
            for item in value:
                same = [one for one in target[key] if one["name"] == item["name"]]
                if same:
                    merge(same[0], item)
                else:
                    target[key].append(item)
        else:
            target[key] = value


def identity(document):
    return document["apiVersion"], document["kind"], document["metadata"]["name"]


def set_images(node, images):
    if isinstance(node, list):
        for item in node:
            set_images(item, images)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key == "image" and value in images:
                node[key] = f"{images[value]['newName']}:{images[value]['newTag']}"
            else:
                set_images(value, images)


def build(folder):
    (kustomization,) = load(os.path.join(folder, "kustomization.yaml"))
    documents = []
    for name in kustomization.get("resources", []):
        path = os.path.join(folder, name)
        documents += build(path) if os.path.isdir(path) else load(path)
    for generator in kustomization.get("configMapGenerator", []):
        documents.append({"apiVersion": "v1", "kind": "ConfigMap",
                          "metadata": {"name": generator["name"]},
                          "data": dict(line.split("=", 1) for line in generator["literals"])})
    for patch in kustomization.get("patches", []):
        (change,) = load(os.path.join(folder, patch["path"]))
        (target,) = [one for one in documents if identity(one) == identity(change)]
        merge(target, change)
    set_images(documents, {image["name"]: image for image in kustomization.get("images", [])})
    unknown = set(kustomization) - {"apiVersion", "kind", "resources", "configMapGenerator",
                                    "patches", "images"}
    if unknown:
        raise SystemExit(f"{folder}: not done here: {unknown}")
    return documents


# ---- Pod Security, "restricted" ----

def pod_security(pod):
    context = pod.get("securityContext", {})
    for name in ("hostNetwork", "hostPID", "hostIPC", "hostUsers"):
        if pod.get(name):
            yield f"{name} is set"
    for volume in pod.get("volumes", []):
        for kind in set(volume) - {"name"} - VOLUMES:
            yield f"a volume is of the kind {kind}"
    for sysctl in context.get("sysctls", []):
        if sysctl["name"] not in SYSCTLS:
            yield f"the sysctl {sysctl['name']}"
    for container in pod.get("containers", []) + pod.get("initContainers", []):
        own = container.get("securityContext", {})
        where = f"container {container['name']}: "
        effective = {**context, **own}
        if own.get("privileged"):
            yield where + "privileged"
        if own.get("allowPrivilegeEscalation") is not False:
            yield where + "allowPrivilegeEscalation is not false"
        if "ALL" not in own.get("capabilities", {}).get("drop", []):
            yield where + "not all capabilities are dropped"
        if set(own.get("capabilities", {}).get("add", [])) - {"NET_BIND_SERVICE"}:
            yield where + "capabilities are added"
        if effective.get("runAsNonRoot") is not True:
            yield where + "runAsNonRoot is not true"
        if effective.get("runAsUser") == 0:
            yield where + "it runs as root"
        if effective.get("seccompProfile", {}).get("type") not in PROFILES:
            yield where + "no seccomp profile"
        if own.get("procMount", "Default") != "Default":
            yield where + "procMount"
        for port in container.get("ports", []):
            if port.get("hostPort"):
                yield where + "a port of the host"
        # Beyond the standard: what wald needs no more than that.
        if own.get("readOnlyRootFilesystem") is not True:
            yield where + "the root file system can be written"
    if pod.get("automountServiceAccountToken") is not False:
        yield "a token of the API is mounted"


# ---- within itself ----

def of_kind(documents, kind):
    return [document for document in documents if document["kind"] == kind]


def matches(selector, labels):
    return bool(selector) and all(labels.get(key) == value for key, value in selector.items())


def container_references(container, mountable, documents, paths):
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
        probe = container.get(kind, {}).get("httpGet", {})
        if probe.get("port") not in ports:
            yield f"{kind} asks a port that is not there"
        if probe.get("path") not in paths:
            yield f"{kind} asks a path that openapi.yaml does not have"
    if container.get("readinessProbe", {}).get("httpGet", {}).get("path") != "/readyz":
        yield "readinessProbe does not ask /readyz"
    if container.get("livenessProbe", {}).get("httpGet", {}).get("path") != "/livez":
        yield "livenessProbe does not ask /livez: a restart mends no disk"
    maps = {one["metadata"]["name"]: one["data"] for one in of_kind(documents, "ConfigMap")}
    for source in container.get("envFrom", []):
        if source["configMapRef"]["name"] not in maps:
            yield f"there is no ConfigMap {source['configMapRef']['name']}"
    for mount in container["volumeMounts"]:
        if mount["name"] not in mountable:
            yield f"there is no volume {mount['name']}"


def references(documents, paths):
    services = {one["metadata"]["name"]: one for one in of_kind(documents, "Service")}
    (workload,) = of_kind(documents, "StatefulSet")
    spec = workload["spec"]
    pod = spec["template"]["spec"]
    labels = spec["template"]["metadata"]["labels"]
    mountable = {one["metadata"]["name"] for one in spec["volumeClaimTemplates"]}
    mountable |= {volume["name"] for volume in pod.get("volumes", [])}
    ports = {}
    for container in pod["containers"]:
        ports.update({port["name"]: port["containerPort"] for port in container["ports"]})
        yield from container_references(container, mountable, documents, paths)

    if not matches(spec["selector"]["matchLabels"], labels):
        yield "the StatefulSet does not select its own pods"
    if services.get(spec["serviceName"], {}).get("spec", {}).get("clusterIP") != "None":
        yield "serviceName is no headless Service"
    if spec["replicas"] != 1:
        yield "more than one instance behind a Service that takes any"
    for name, service in services.items():
        if not matches(service["spec"]["selector"], labels):
            yield f"Service {name} selects no pod"
        for port in service["spec"]["ports"]:
            if port["targetPort"] not in ports and port["targetPort"] not in ports.values():
                yield f"Service {name}: there is no port {port['targetPort']}"
    for budget in of_kind(documents, "PodDisruptionBudget"):
        if not matches(budget["spec"]["selector"]["matchLabels"], labels):
            yield "the PodDisruptionBudget selects no pod"
    policies = of_kind(documents, "NetworkPolicy")
    if not policies:
        yield "there is no NetworkPolicy"
    for policy in policies:
        if not matches(policy["spec"]["podSelector"]["matchLabels"], labels):
            yield "the NetworkPolicy selects no pod"
        if policy["spec"]["policyTypes"] != ["Ingress", "Egress"] or policy["spec"]["egress"]:
            yield "the NetworkPolicy lets wald connect to others"
        for rule in policy["spec"]["ingress"]:
            if not rule.get("from"):
                yield "the NetworkPolicy lets everybody in"
            if {port["port"] for port in rule["ports"]} - set(ports):
                yield "the NetworkPolicy opens a port that is not there"
    for monitor in of_kind(documents, "ServiceMonitor"):
        found = [one for one in services.values() if matches(
            monitor["spec"]["selector"]["matchLabels"], one["metadata"].get("labels", {}))]
        if len(found) != 1:
            yield f"the ServiceMonitor selects {len(found)} Services"
        for service in found:
            names = {port["name"] for port in service["spec"]["ports"]}
            for endpoint in monitor["spec"]["endpoints"]:
                if endpoint["port"] not in names or endpoint["path"] not in paths:
                    yield "the ServiceMonitor asks what is not there"
            if service["metadata"]["labels"].get(monitor["spec"]["jobLabel"]) != "wald":
                yield "the job is not called wald, as the alerts have it"


# ---- with the rest of the project ----

def seconds(text):
    number, unit = re.fullmatch(r"(\d+)(s|m)", text).groups()
    return int(number) * {"s": 1, "m": 60}[unit]


def project(documents, settings, dockerfile):
    (workload,) = of_kind(documents, "StatefulSet")
    pod = workload["spec"]["template"]["spec"]
    for one in of_kind(documents, "ConfigMap"):
        for name in one["data"]:
            if name not in settings:
                yield f"wald knows no setting {name}"
        grace = pod["terminationGracePeriodSeconds"]
        if grace <= seconds(one["data"]["WALD_SHUTDOWN_TIMEOUT"]):
            yield "a stop is killed before it is over"
    user = re.findall(r"^USER (\d+):(\d+)$", dockerfile, re.MULTILINE)
    wanted = (str(pod["securityContext"]["runAsUser"]), str(pod["securityContext"]["runAsGroup"]))
    if user and set(user) != {wanted}:
        yield f"the pod runs as {wanted}, and the image as {user}"
    if pod["securityContext"]["fsGroup"] != pod["securityContext"]["runAsGroup"]:
        yield "the volume is of another group"


class Project:
    def __init__(self, root, wald):
        self.root = os.path.join(root, "deploy/kubernetes")
        with open(os.path.join(root, "openapi.yaml"), encoding="utf-8") as file:
            self.paths = set(re.findall(r"^  (/[^:]*):$", file.read(), re.MULTILINE))
        table = subprocess.run([wald, "help", "table"], check=True, capture_output=True, text=True)
        self.settings = {"WALD_" + name.upper().replace("-", "_")
                         for name in re.findall(r"^\| `--([a-z-]+)", table.stdout, re.MULTILINE)}
        dockerfile = os.path.join(root, "docker/Dockerfile")
        self.dockerfile = ""
        if os.path.exists(dockerfile):
            with open(dockerfile, encoding="utf-8") as file:
                self.dockerfile = file.read()

    def folders(self):
        overlays = os.path.join(self.root, "overlays")
        yield os.path.join(self.root, "base")
        for name in sorted(os.listdir(overlays)):
            yield os.path.join(overlays, name)

    def faults(self, documents):
        (workload,) = of_kind(documents, "StatefulSet")
        yield from pod_security(workload["spec"]["template"]["spec"])
        yield from references(documents, self.paths)
        yield from project(documents, self.settings, self.dockerfile)
        names = [identity(document) for document in documents]
        if len(set(names)) != len(names):
            yield "something is there twice"


# ---- mistakes, put in to see that they are found ----

# KIND, the path to a member, and what is put there (None: it is taken away).
MISTAKES = """
StatefulSet spec.template.spec.hostNetwork                                     true
StatefulSet spec.template.spec.automountServiceAccountToken                    true
StatefulSet spec.template.spec.securityContext.runAsNonRoot                    null
StatefulSet spec.template.spec.securityContext.runAsUser                       0
StatefulSet spec.template.spec.securityContext.fsGroup                         5
StatefulSet spec.template.spec.securityContext.seccompProfile.type             "Unconfined"
StatefulSet spec.template.spec.securityContext.sysctls                         [{"name":"kernel.x"}]
StatefulSet spec.template.spec.volumes                                [{"name":"a","hostPath":{}}]
StatefulSet spec.template.spec.terminationGracePeriodSeconds                   5
StatefulSet spec.template.spec.containers.0.securityContext.privileged         true
StatefulSet spec.template.spec.containers.0.securityContext.allowPrivilegeEscalation null
StatefulSet spec.template.spec.containers.0.securityContext.capabilities.drop  []
StatefulSet spec.template.spec.containers.0.securityContext.capabilities.add   ["SYS_ADMIN"]
StatefulSet spec.template.spec.containers.0.securityContext.readOnlyRootFilesystem false
StatefulSet spec.template.spec.containers.0.securityContext.procMount          "Unmasked"
StatefulSet spec.template.spec.containers.0.ports.0.hostPort                   8080
StatefulSet spec.template.spec.containers.0.ports.0.name                       "web"
StatefulSet spec.template.spec.containers.0.livenessProbe.httpGet.path         "/readyz"
StatefulSet spec.template.spec.containers.0.readinessProbe.httpGet.path        "/ready"
StatefulSet spec.template.spec.containers.0.volumeMounts.0.name                "disk"
StatefulSet spec.template.spec.containers.0.envFrom.0.configMapRef.name        "settings"
StatefulSet spec.template.metadata.labels                                      {"app":"wald"}
StatefulSet spec.serviceName                                                   "wald"
StatefulSet spec.replicas                                                      3
Service spec.selector                                                          {"app":"wald"}
Service spec.ports.0.targetPort                                                9090
PodDisruptionBudget spec.selector.matchLabels                                  {"app":"wald"}
NetworkPolicy spec.podSelector.matchLabels                                     {"app":"wald"}
NetworkPolicy spec.ingress.0.from                                              null
NetworkPolicy spec.ingress.0.ports.0.port                                      "web"
NetworkPolicy spec.egress                                                      [{}]
ConfigMap data.WALD_LISTENS                                                    "0.0.0.0:8080"
ServiceMonitor spec.endpoints.0.port                                           "web"
ServiceMonitor spec.endpoints.0.path                                           "/metric"
ServiceMonitor spec.selector.matchLabels                                       {"app":"wald"}
ServiceMonitor spec.jobLabel                                                   "app"
"""


def put(documents, kind, path, value):
    node = of_kind(documents, kind)[0]
    *way, last = path.split(".")
    for step in way:
        node = node[int(step) if step.isdigit() else step]
    if value is None:
        del node[last]
    else:
        node[last] = value


def prove(wanted):
    documents = build(os.path.join(wanted.root, "overlays/monitored"))
    unseen = 0
    mistakes = MISTAKES.strip().splitlines()
    for line in mistakes:
        kind, path, value = line.split(None, 2)
        changed = copy.deepcopy(documents)
        put(changed, kind, path, json.loads(value))
        if not list(wanted.faults(changed)):
            print(f"not found: {line}")
            unseen += 1
    print(f"{len(mistakes)} mistakes put in, {unseen} not found")
    return unseen


def main():
    root, wald, *option = sys.argv[1:]
    wanted = Project(root, wald)
    if option == ["--prove"]:
        return 1 if prove(wanted) else 0
    if option == ["--print"]:
        print(json.dumps({os.path.basename(folder): build(folder) for folder in wanted.folders()}))
        return 0
    count = 0
    for folder in wanted.folders():
        for text in wanted.faults(build(folder)):
            print(f"{os.path.relpath(folder, root)}: {text}")
            count += 1
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
