"""Results as JSON lines, and tables of them."""
import collections
import contextlib
import json
import os
import statistics

QUIET = 0.06  # share of the machine that others may take in a measurement that counts


class Results:
    """JSON lines, each with a key; a key is measured once."""

    def __init__(self, path):
        self.path, self.lines = path, []
        if os.path.exists(path):
            with open(path, encoding="utf-8") as lines:
                self.lines = [json.loads(line) for line in lines if line.startswith("{")]
        self.keys = {self.key(line) for line in self.lines}

    @staticmethod
    def key(line):
        return line["case"], line["side"], line["point"], line["round"]

    def has(self, **key):
        return self.key(key) in self.keys

    def add(self, line):
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        self.lines.append(line)
        self.keys.add(self.key(line))


def rate(line):
    return line["prompt"] / line["seconds"] if "prompt" in line else line["batch"] / line["step"]


def value_of(lines, value):
    """Median over the quiet rounds; ~ over the three quietest where there are none."""
    quiet = [line for line in lines if line["foreign"] <= QUIET]
    return statistics.median(value(line) for line in quiet or sorted(lines, key=lambda line: line["foreign"])[:3]), "" if quiet else "~"


def title(point, line):
    words = point.split()
    if words[0] == "decode":
        return f"decode, prefix {int(words[1]):,}, batch {words[2]}"
    return f"prompt of {words[1]}" if words[0] == "prompt" else f"{line['requests']} requests"


def ratio(median, peer, faster):
    """How many times as fast the best of ours is as the best of a peer."""
    best = max if faster else min
    ours, theirs = ([m[0] for side, m in median.items() if side.startswith(name)] for name in ("ours", peer))
    if not ours or not theirs:
        return ""
    return f"{best(ours) / best(theirs) if faster else best(theirs) / best(ours):.2f}x"


def table(lines, value, unit, faster):
    """Rows are points, columns sides, and the ratio of the best of ours to the best peer."""
    by = collections.defaultdict(lambda: collections.defaultdict(list))
    for line in lines:
        by[line["case"], line["point"]][line["side"]].append(line)
    for case in dict.fromkeys(key[0] for key in by):
        sides = list(dict.fromkeys(side for key in by if key[0] == case for side in by[key]))
        peers = [name for name in ("llama", "ik") if any(side.startswith(name) for side in sides)]
        print(f"\n| {case}, {unit} | " + " | ".join(sides + [f"best / {peer}" for peer in peers]) + " |")
        print("|---" + "|---:" * (len(sides) + len(peers)) + "|")
        for key in (key for key in by if key[0] == case):
            median = {side: value_of(lines, value) for side, lines in by[key].items()}
            cells = [f"{median[side][1]}{median[side][0]:,.1f}" if side in median else "" for side in sides]
            print(f"| {title(key[1], next(iter(by[key].values()))[0])} | " + " | ".join(cells + [ratio(median, peer, faster) for peer in peers]) + " |")
        wrong = sum(line["wrong"] for line in lines if line["case"] == case)
        if wrong:
            print(f"\n{wrong} wrong tokens in {case}")


def with_and_without_load(line):
    """A server has loaded before: kf run is shown as a whole, and without its load, which is what ratios are of."""
    if "load" not in line:
        return [line]
    return [line | {"side": line["side"] + " + load"}, line | {"seconds": line["seconds"] - line["load"]}]


def report(folder):
    read = lambda name: Results(os.path.join(folder, name)).lines
    for name in ("versions.txt", "versions-ik.txt"):
        with contextlib.suppress(FileNotFoundError), open(os.path.join(folder, name), encoding="utf-8") as file:
            print(file.read().strip())
    print("\nMedians of the rounds in which others took at most 6 % of the machine; ~ where there were none.")
    table(read("run.jsonl"), rate, "tokens/s", faster=True)
    served = [line for whole in read("serve.jsonl") for line in with_and_without_load(whole)]
    table(served, lambda line: line["seconds"], "seconds", faster=False)
    table(read("growth.jsonl"), rate, "tokens/s", faster=True)
