#!/usr/bin/python3
"""Holds docker/compose.yaml against what it is to keep to, and against the files it mounts.

    compose.py ROOT            checks it
    compose.py ROOT --prove    puts mistakes in, each of which has to be found
"""
import copy
import json
import os
import sys

import yaml


def hardening(name, service):
    """What every service has, whatever it is."""
    if service.get("read_only") is not True:
        yield f"{name}: its root file system can be written"
    if service.get("cap_drop") != ["ALL"] or "cap_add" in service:
        yield f"{name}: it has capabilities"
    if "no-new-privileges:true" not in service.get("security_opt", []):
        yield f"{name}: it may gain privileges"
    if service.get("privileged") or service.get("network_mode") == "host":
        yield f"{name}: it is not contained"
    if str(service.get("user", "0")).split(":", maxsplit=1)[0] in ("0", "root"):
        yield f"{name}: it runs as root"
    for limit in ("mem_limit", "pids_limit", "logging", "stop_grace_period"):
        if limit not in service:
            yield f"{name}: no {limit}"
    if not service.get("healthcheck", {}).get("test"):
        yield f"{name}: nobody asks for its health"
    for port in service.get("ports", []):
        if not port.startswith("127.0.0.1:"):
            yield f"{name}: {port} is open to the network"
    tag = service.get("image", "").partition(":")[2]
    if tag in ("", "latest"):
        yield f"{name}: its image can be any"


def mounted(service, path, docker):
    """The file of docker/ that is at `path` in the container; None if there is none."""
    for volume in service.get("volumes", []):
        source, target = volume.split(":")[:2]
        if source.startswith("./") and (path + "/").startswith(target + "/"):
            found = os.path.normpath(os.path.join(docker, source, os.path.relpath(path, target)))
            return found if os.path.exists(found) else None
    return None


def read(path):
    with open(path, encoding="utf-8") as file:
        return yaml.safe_load(file)


def references(compose, docker):
    services = compose["services"]
    for name, service in services.items():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("./"):
                if not os.path.exists(os.path.join(docker, source)):
                    yield f"{name}: there is no {source}"
                if not volume.endswith(":ro"):
                    yield f"{name}: it can write {source}"
            elif source not in compose["volumes"]:
                yield f"{name}: there is no volume {source}"
        for other, condition in service.get("depends_on", {}).items():
            if other not in services or condition != {"condition": "service_healthy"}:
                yield f"{name}: it does not wait until {other} is healthy"

    prometheus, grafana = services["prometheus"], services["grafana"]
    config = [word.partition("=")[2] for word in prometheus["command"]
              if word.startswith("--config.file=")]
    path = mounted(prometheus, config[0], docker)
    if not path:
        yield f"prometheus: there is no {config[0]}"
    else:
        jobs = {job["job_name"]: job["static_configs"] for job in read(path)["scrape_configs"]}
        if jobs["wald"] != [{"targets": ["wald:8080"]}] or "wald" not in services:
            yield "prometheus: it does not ask the service wald"
    sources = mounted(grafana, "/etc/grafana/provisioning/datasources/prometheus.yml", docker)
    if not sources or read(sources)["datasources"][0]["url"] != "http://prometheus:9090":
        yield "grafana: its data source is not the service prometheus"
    provider = mounted(grafana, "/etc/grafana/provisioning/dashboards/wald.yml", docker)
    if not provider or not mounted(
            grafana, read(provider)["providers"][0]["options"]["path"] + "/wald.json", docker):
        yield "grafana: it does not find the dashboard"
    home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    if not mounted(grafana, home, docker):
        yield f"grafana: there is no {home}"


def wald(compose, docker):
    service = compose["services"]["wald"]
    seccomp = [option.partition(":")[2] for option in service["security_opt"]
               if option.startswith("seccomp:")]
    if len(seccomp) != 1:
        yield "wald: it has not our seccomp profile"
    # Written by the same hand as the Dockerfile.
    elif os.path.exists(os.path.join(docker, "Dockerfile")):
        if not os.path.exists(os.path.join(docker, seccomp[0])):
            yield f"wald: there is no {seccomp[0]}"
    if service["ulimits"]["memlock"]["hard"] < 1024 * 1024:
        yield "wald: too little locked memory for its rings"


def faults(compose, docker):
    for name, service in compose["services"].items():
        yield from hardening(name, service)
    yield from references(compose, docker)
    yield from wald(compose, docker)


MISTAKES = """
wald read_only                       false
wald cap_drop                        ["NET_RAW"]
wald security_opt                    ["seccomp:seccomp.json"]
wald security_opt                    ["no-new-privileges:true"]
wald privileged                      true
wald user                            "0:0"
wald ports                           ["8080:8080"]
wald ulimits                         {"memlock":{"soft":1,"hard":1}}
wald volumes                         ["data:/data"]
prometheus mem_limit                 null
prometheus healthcheck               {}
prometheus image                     "prom/prometheus"
prometheus command                   ["--config.file=/etc/prometheus/prom.yml"]
prometheus volumes                   ["./prometheus:/etc/prometheus"]
prometheus depends_on                {"wald":{"condition":"service_started"}}
grafana volumes                      ["./grafana/provisioning:/etc/grafana/provisioning:ro"]
grafana volumes                      ["./grafana/dashboards:/var/lib/grafana-dashboards:ro"]
"""


def prove(compose, docker):
    unseen = 0
    mistakes = MISTAKES.strip().splitlines()
    for line in mistakes:
        name, member, value = line.split(None, 2)
        changed = copy.deepcopy(compose)
        if value == "null":
            del changed["services"][name][member]
        else:
            changed["services"][name][member] = json.loads(value)
        if not list(faults(changed, docker)):
            print(f"not found: {line}")
            unseen += 1
    print(f"{len(mistakes)} mistakes put in, {unseen} not found")
    return unseen


def main():
    root, *option = sys.argv[1:]
    docker = os.path.join(root, "docker")
    compose = read(os.path.join(docker, "compose.yaml"))
    if option == ["--prove"]:
        return 1 if prove(compose, docker) else 0
    found = list(faults(compose, docker))
    for text in found:
        print(text)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
