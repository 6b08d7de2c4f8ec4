#!/usr/bin/python3
"""Holds the alerts and the dashboard against each other, the runbook and a Prometheus that runs.

    expressions.py files RULES DASHBOARD RUNBOOK     what can be seen in the files alone
    expressions.py live URL RULES DASHBOARD          every expression has a result there

A comparison of an alert that is well has no result, so `live` asks for each alert as it is, which
must be no error, and once more without its comparisons, which must find something.
"""
import json
import re
import sys
import urllib.error
import urllib.parse
import urllib.request

import yaml

SEVERITIES = ("page", "ticket")
COMPARISON = re.compile(r"\s+(==|!=|>=|<=|>|<)\s+(bool\s+)?-?[0-9.e]+")
# What Grafana puts in place of them; the rest of a name that begins with $ is a mistake.
VARIABLES = {"job": "wald", "instance": ".*", "__rate_interval": "10s"}

faults = []


def fault(text):
    faults.append(text)


def read_alerts(path):
    with open(path, encoding="utf-8") as file:
        rules = yaml.safe_load(file)
    return [rule for group in rules["groups"] for rule in group["rules"]]


def read_panels(dashboard):
    for panel in dashboard["panels"]:
        yield panel
        yield from panel.get("panels", [])


def read_expressions(dashboard):
    """Where it stands, and the expression."""
    for panel in read_panels(dashboard):
        for target in panel.get("targets", []):
            yield f"panel \"{panel['title']}\", {target['refId']}", target["expr"]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            metric, label = re.fullmatch(r"label_values\((.*), (\w+)\)",
                                         variable["query"]["query"]).groups()
            yield f"variable {variable['name']}", f"count by ({label}) ({metric})"
    for annotation in dashboard["annotations"]["list"]:
        yield f"annotation {annotation['name']}", annotation["expr"]


def substitute(where, expression):
    def value(match):
        name = match.group(1) or match.group(2)
        if name not in VARIABLES:
            fault(f"{where}: nothing is known of ${name}")
        return VARIABLES.get(name, "")
    return re.sub(r"\$(?:(\w+)|\{(\w+)\})", value, expression)


# ---- the files ----

def check_alerts(alerts, runbook_path):
    with open(runbook_path, encoding="utf-8") as file:
        sections = set(re.findall(r"^## (Wald\w+)$", file.read(), re.MULTILINE))
    names = [alert["alert"] for alert in alerts]
    for name in sorted(set(names) ^ sections):
        fault(f"{name}: not both an alert and a section of the runbook")
    if len(set(names)) != len(names):
        fault("an alert is there twice")
    for alert in alerts:
        name = alert["alert"]
        if alert.get("labels", {}).get("severity") not in SEVERITIES:
            fault(f"{name}: severity is none of {SEVERITIES}")
        texts = alert.get("annotations", {})
        for text in ("summary", "description"):
            if not texts.get(text):
                fault(f"{name}: no {text}")
        if texts.get("runbook") != f"docs/runbook.md#{name.lower()}":
            fault(f"{name}: runbook is not the section of the alert")


def overlap(one, other):
    return (one["x"] < other["x"] + other["w"] and other["x"] < one["x"] + one["w"]
            and one["y"] < other["y"] + other["h"] and other["y"] < one["y"] + one["h"])


def check_dashboard(dashboard):
    panels = list(read_panels(dashboard))
    ids = [panel["id"] for panel in panels]
    if len(set(ids)) != len(ids):
        fault("an id of a panel is there twice")
    titles = [panel["title"] for panel in panels]
    for title in {title for title in titles if titles.count(title) > 1}:
        fault(f"panel \"{title}\" is there twice")
    for index, panel in enumerate(panels):
        title, place = panel["title"], panel["gridPos"]
        if place["x"] + place["w"] > 24:
            fault(f"panel \"{title}\" does not fit in 24 columns")
        for other in panels[:index]:
            if overlap(place, other["gridPos"]):
                fault(f"panel \"{title}\" lies over \"{other['title']}\"")
        if panel["type"] == "row":
            continue
        if not panel.get("targets"):
            fault(f"panel \"{title}\" shows nothing")
        references = [target["refId"] for target in panel["targets"]]
        if len(set(references)) != len(references):
            fault(f"panel \"{title}\": a refId is there twice")
        for part in [panel] + panel["targets"]:
            if part["datasource"] != {"type": "prometheus", "uid": "${datasource}"}:
                fault(f"panel \"{title}\": its data source is not the one that was chosen")
    for where, expression in read_expressions(dashboard):
        substitute(where, expression)


# ---- what a Prometheus says ----

def get(base, path, **parameters):
    url = base + path + ("?" + urllib.parse.urlencode(parameters) if parameters else "")
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return json.load(answer)["data"], None
    except urllib.error.HTTPError as error:
        return None, json.load(error).get("error", str(error))


def expect_result(base, where, expression, may_be_empty=False):
    data, error = get(base, "/api/v1/query", query=expression)
    if error:
        fault(f"{where}: {error}: {expression}")
    elif may_be_empty:
        return
    elif not data["result"]:
        fault(f"{where}: no result: {expression}")
    elif all(series["value"][1] == "NaN" for series in data["result"]):
        fault(f"{where}: not a number: {expression}")


def check_live(base, alerts, dashboard):
    asked = 0
    for alert in alerts:
        expression = alert["expr"]
        without = COMPARISON.sub("", expression)
        if without == expression:
            fault(f"{alert['alert']}: without a comparison it would always fire")
        expect_result(base, alert["alert"], expression, may_be_empty=True)
        expect_result(base, alert["alert"] + " without its comparison", without)
        asked += 2
    for where, expression in read_expressions(dashboard):
        expression = substitute(where, expression)
        if where.startswith("annotation"):
            expect_result(base, where, expression, may_be_empty=True)
            expression = COMPARISON.sub("", expression)
        expect_result(base, where, expression)
        asked += 1

    data, error = get(base, "/api/v1/rules")
    loaded = [rule for group in data["groups"] for rule in group["rules"]] if data else []
    if error or len(loaded) != len(alerts):
        fault(f"Prometheus has {len(loaded)} rules, and the file {len(alerts)}: {error}")
    for rule in loaded:
        if rule["health"] != "ok":
            fault(f"{rule['name']}: {rule['health']}: {rule.get('lastError')}")
    return asked


def main(arguments):
    command = arguments.pop(0)
    if command == "files":
        rules, dashboard_path, runbook = arguments
    else:
        base, rules, dashboard_path = arguments
    alerts = read_alerts(rules)
    with open(dashboard_path, encoding="utf-8") as file:
        dashboard = json.load(file)
    if command == "files":
        check_alerts(alerts, runbook)
        check_dashboard(dashboard)
    else:
        asked = check_live(base, alerts, dashboard)
        print(f"{asked} expressions asked, {len(faults)} faults")
    for text in faults:
        print(text)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
