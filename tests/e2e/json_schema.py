#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Compares JSON with docs/json.md.

Usage: json_schema.py DOC TABLE <JSON   TABLE is the first cell of a table's head, or "events": then each line is an
event. Fails with what is missing, undocumented or of another type.
"""
import json
import re
import sys

TYPES = {"string": str, "integer": int, "number": (int, float), "boolean": bool, "list": list, "object": dict,
         "null": type(None), "any": object}


def cells(line):
    return [c.strip() for c in line.strip().strip("|").split("|")]


def tables(path):
    """{head: {field: (optional, types)}} and {event: {field: optional}}"""
    found, events, now = {}, {}, None
    with open(path, encoding="utf-8") as f:
        for line in f:
            if not line.startswith("|"):
                now = None
            elif now is None:
                now = cells(line)[0]
                found.setdefault(now, {})
            elif now == "event" and not line.startswith("|---"):
                names = re.sub(r"\([^)]*\)", "", cells(line)[1])
                for event in cells(line)[0].split(", "):
                    events[event] = {n.strip().rstrip("?"): n.strip().endswith("?") for n in names.split(",")}
            elif not line.startswith("|---"):
                names, types = cells(line)[0].split(", "), cells(line)[1].split(", ")
                for i, name in enumerate(names):
                    found[now][name.rstrip("?")] = (name.endswith("?"), types[i if len(types) > 1 else 0].split(" or "))
    return found, events


def fits(value, types):
    return any(isinstance(value, TYPES[t]) and (t in ("boolean", "any") or not isinstance(value, bool)) for t in types)


def check(where, item, fields):
    bad = [f"{where}: '{f}' is missing" for f, (optional, _) in fields.items() if not optional and f not in item]
    for f, value in item.items():
        if f not in fields:
            bad.append(f"{where}: '{f}' is not documented")
        elif not fits(value, fields[f][1]):
            bad.append(f"{where}: '{f}' is {value!r}, documented as {' or '.join(fields[f][1])}")
    if where == "result field" and "error" in item:
        bad += check("error field", item["error"], TABLES["error field"])
    return bad


def check_event(item):
    fields = dict(EVENTS.get(item["event"]) or {}, event=False, time=False)
    if item["event"] not in EVENTS:
        return [f"event '{item['event']}' is not documented"]
    return [f"{item['event']}: '{f}' is missing" for f, optional in fields.items() if not optional and f not in item] + \
           [f"{item['event']}: '{f}' is not documented" for f in item if f not in fields]


TABLES, EVENTS = tables(sys.argv[1])
text = sys.stdin.read()
if sys.argv[2] == "events":
    lines = [json.loads(line) for line in text.splitlines()]
    assert lines and lines[-1]["event"] in ("result", "error"), "no result or error at the end"
    problems = [p for e in lines for p in check_event(e)]
else:
    value = json.loads(text)
    items = value if isinstance(value, list) else [value]
    assert items, "an empty list shows nothing"
    problems = [p for e in items for p in check(sys.argv[2], e, TABLES[sys.argv[2]])]
if problems:
    print("\n".join(problems))
sys.exit(bool(problems))
