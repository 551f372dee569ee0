#!/usr/bin/env python3
"""What `casework --json` has to say of a log without damage, counted in another way.

Run: python3 examples/casework/count.py LOG.csv [DAYS [TOP]] (a case that waits longer than DAYS,
30 by default, has stalled; TOP, 10 by default, as `--top`). Where the program follows each case
as rows come in, this sorts the whole log first and then walks over it. `permits.json` is what it
says of `permits.csv`; the tests compare the program with that.
"""

import csv
import itertools
import json
import statistics
import sys
from collections import Counter, defaultdict
from datetime import datetime, timezone

CASE = ["case:concept:name", "case_id", "case id", "case"]
ACTIVITY = ["concept:name", "activity"]
TIME = ["time:timestamp", "timestamp", "time"]


def read(path):
    """The rows as (case, time, place in the file, activity), sorted."""
    with open(path, encoding="utf-8-sig", newline="") as file:
        table = csv.DictReader(file)
        names = {name.lower(): name for name in reversed(table.fieldnames)}
        case, activity, time = (
            next(names[name] for name in usual if name in names)
            for usual in (CASE, ACTIVITY, TIME)
        )
        rows = []
        for place, row in enumerate(table):
            at = datetime.fromisoformat(row[time])
            at = at if at.tzinfo else at.replace(tzinfo=timezone.utc)
            rows.append((row[case].strip(), at, place, row[activity].strip()))
    return sorted(rows)


def spread(seconds):
    if not seconds:
        return None
    return {
        "median": statistics.median(seconds),
        "mean": statistics.fmean(seconds),
        "max": max(seconds),
    }


def written(at):
    text = at.astimezone(timezone.utc).replace(tzinfo=None).isoformat()
    return (text.rstrip("0") if "." in text else text) + "Z"


def count(rows, days, top):
    counts, waits, durations = Counter(row[3] for row in rows), defaultdict(list), []
    paths, stalls = Counter(), {}
    again, at_once, cases_again = Counter(), Counter(), Counter()
    for before, row in itertools.pairwise(rows):
        if before[0] == row[0]:
            wait = (row[1] - before[1]).total_seconds()
            waits[row[3]].append(wait)
            if wait > days * 86400 and wait > stalls.get(row[0], (0,))[0]:
                stalls[row[0]] = (wait, before[3], row[3])
            at_once[row[3]] += before[3] == row[3]
    for _, steps in itertools.groupby(rows, key=lambda row: row[0]):
        steps = list(steps)
        durations.append((steps[-1][1] - steps[0][1]).total_seconds())
        paths[tuple(step[3] for step in steps)] += 1
        for activity, times in Counter(step[3] for step in steps).items():
            again[activity] += times - 1
            cases_again[activity] += times > 1
    return {
        "rows": len(rows),
        "rejected_rows": 0,
        "rejected": [],
        "stalled_after_s": days * 86400,
        "cases": len(durations),
        "events": len(rows),
        "first": written(min(row[1] for row in rows)),
        "last": written(max(row[1] for row in rows)),
        "case_s": spread(durations),
        "activities": [
            {"activity": name, "count": times, "wait_s": spread(waits[name])}
            for name, times in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        ],
        "different_paths": len(paths),
        "paths": [
            {"cases": times, "share": times / len(durations), "path": list(path)}
            for path, times in sorted(paths.items(), key=lambda item: (-item[1], item[0]))[:top]
        ],
        "stalled_cases": len(stalls),
        "stalled": [
            {"case": case, "wait_s": wait, "after": after, "before": before}
            for case, (wait, after, before) in sorted(
                stalls.items(), key=lambda item: (-item[1][0], item[0])
            )[:top]
        ],
        "rework": [
            {
                "activity": name,
                "cases": cases_again[name],
                "again": times,
                "at_once": at_once[name],
            }
            for name, times in sorted(again.items(), key=lambda item: (-item[1], item[0]))
            if times
        ],
        "gap": 0,
    }


if __name__ == "__main__":
    path, *rest = sys.argv[1:]
    days, top = (int(text) for text in (rest + ["30", "10"][len(rest) :]))
    print(json.dumps(count(read(path), days, top), indent=2, ensure_ascii=False))
