#!/usr/bin/env python3
"""Takes turns between engines on the same models, and makes tables of what came of it. llama_cpp.sh calls it.

  compare.py run|serve|growth|report WORK_DIR [--quick] [--rounds 5] [--threads 2] [--only TEXT] [--side TEXT]

A case is a model in a format; its sides are programs that answer `prompt TOKENS` and `decode PREFIX BATCH STEPS`, a line of JSON for a line (cases.py).
All sides of a case are loaded, then each point is measured once by every side, in turn, and again, round after round. Results are JSON lines in
WORK_DIR/results; what they have already is not measured again. Needs nothing but Python.
"""
import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import cases
from results import QUIET, Results, rate, report

VOCABULARY, FIRST, STRIDE = 32000, 260, 7919
CORES, TICKS = os.cpu_count(), os.sysconf("SC_CLK_TCK")
SERVE_ROUNDS = 3


# ---------------------------------------------------------------- measuring

def word(number):
    return FIRST + number % (VOCABULARY - FIRST)


def chain(token, count):
    """The tokens that the models answer with."""
    answer = []
    for _ in range(count):
        token = word(token - FIRST + STRIDE) if token >= FIRST else word(token * 97 + 13)
        answer.append(token)
    return answer


def busy():
    """Seconds of all processors since the machine started."""
    with open("/proc/stat", encoding="ascii") as stat:
        v = [int(x) for x in stat.readline().split()[1:9]]
    return (v[0] + v[1] + v[2] + v[5] + v[6] + v[7]) / TICKS


def used(pid):
    """Seconds of all processors that a process has taken, itself and what it waited for."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return sum(int(x) for x in fields[11:15]) / TICKS


class Load:
    """Share of the machine that others take while a process works."""

    def __init__(self, pid):
        self.pid, self.time, self.busy, self.used = pid, time.time(), busy(), used(pid)

    def foreign(self):
        took = time.time() - self.time
        return round(max(0.0, busy() - self.busy - (used(self.pid) - self.used)) / (took * CORES), 3)


def wait_for_quiet(limit):
    """Gives other work up to so many seconds to pass."""
    end = time.time() + limit
    while time.time() < end:
        before, start = busy(), time.time()
        time.sleep(0.15)
        if (busy() - before) / ((time.time() - start) * CORES) <= QUIET:
            return


class Session:
    def __init__(self, command, log):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)
        self.load = json.loads(self.line(command[0]))["load"]

    def line(self, asked):
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{asked}: the program ended with {self.process.wait()}; sessions.log says why")
        return answer

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        load = Load(self.process.pid)
        answer = json.loads(self.line(line))
        return answer | {"foreign": load.foreign()}

    def close(self):
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        self.process.wait()


def points_of(case, quick):
    steps = 6 if case["model"] == "1b" else 16
    if case.get("prompt_only"):
        return ["prompt 512"]
    points = ["prompt 512"] + [f"decode 128 {b} {steps}" for b in ((1, 32) if quick else (1, 8, 32))]
    for prefix in (1024,) if quick else (512, 1024, 2048):
        points += [f"decode {prefix} {b} {steps}" for b in ((8, 32) if quick else (8, 16, 32))]
    return points


def measure(case, points, rounds, results, options):
    """All points of a case: each by every side in turn, round after round. Only sides of which something is missing are loaded; one that fails is left out."""
    todo = [(point, r, side) for point in points for r in range(rounds) for side in case["sides"]
            if not results.has(case=case["name"], side=side, point=point, round=r)]
    sessions, warm, failed = {}, set(), set()

    def attempt(side, work):
        try:
            return None if side in failed else work()
        except (RuntimeError, OSError) as error:
            failed.add(side)
            print(f"{case['name']}, {side}: left out: {error}", flush=True)
            return None

    with open(os.path.join(options.results, "sessions.log"), "a", encoding="utf-8") as log:
        for side in dict.fromkeys(side for _, _, side in todo):
            sessions[side] = attempt(side, lambda side=side: Session(case["sides"][side], log))
    for point, r, side in todo:
        if (point, side) not in warm:
            attempt(side, lambda: sessions[side].ask(point))  # code is compiled, the prefix is computed, memory is touched
            warm.add((point, side))
        wait_for_quiet(options.wait)
        answer = attempt(side, lambda: sessions[side].ask(point))
        if answer:
            results.add({"case": case["name"], "side": side, "point": point, "round": r} | answer)
            print(f"{case['name']:10} {point:18} round {r} {side:22} {rate(answer):9.1f} tokens/s  others {answer['foreign']:.2f}", flush=True)
    for session in filter(None, sessions.values()):
        session.close()


def chosen(cases_of, options):
    """Cases and sides that were asked for."""
    for case in cases_of(cases.Sides(options.work, options.threads)):
        left_out = tuple(case.get("full", ())) if options.quick else ()
        sides = {side: command for side, command in case["sides"].items() if options.side in side and not side.startswith(left_out)}
        if options.only in case["name"] and sides:
            yield case | {"sides": sides}


def run(options):
    results = Results(os.path.join(options.results, "run.jsonl"))
    for case in chosen(cases.points, options):
        measure(case, points_of(case, options.quick), options.rounds, results, options)


def growth(options):
    """Ours alone: against the batch, the prefix and the threads."""
    results = Results(os.path.join(options.results, "growth.jsonl"))
    points = [f"decode 128 {b} 6" for b in (1, 2, 4, 8, 16, 32, 64, 128)] + [f"decode {p} 32 6" for p in (0, 512, 1024, 2048, 4096, 8000)]
    for case in chosen(cases.growing, options):
        measure(case, points, 3, results, options)


# ---------------------------------------------------------------- requests to a server and to kf run

def requests_of(prefixes, each, seed):
    """Prompts of 1,024 shared tokens and 8 of their own, shuffled where there are several prefixes."""
    prompts = [[word(i * 131 + (seed * 16 + p) * 7) for i in range(1024)] + [word(n * 977 + p * 3001 + seed * 31 + j * 53) for j in range(8)]
               for p in range(prefixes) for n in range(each)]
    random.Random(seed).shuffle(prompts)
    return prompts


def serve_peer(server, prompts, clients):
    """Seconds in which a llama-server answers, requests all sent at once, in their order."""
    def one(prompt):
        body = {"prompt": prompt, "n_predict": 32, "temperature": 0, "top_k": 1, "samplers": ["top_k"], "cache_prompt": True, "ignore_eos": True,
                "return_tokens": True}
        request = urllib.request.Request(f"http://127.0.0.1:{server['port']}/completion", json.dumps(body).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=3600) as answer:
            return json.load(answer)["tokens"] != chain(prompt[-1], 32)

    load = Load(server["process"].pid)
    start = time.time()
    with ThreadPoolExecutor(clients) as pool:
        wrong = sum(pool.map(one, prompts))
    return {"seconds": round(time.time() - start, 3), "wrong": wrong, "foreign": load.foreign()}


def start_server(command, log):
    port = random.randint(20000, 40000)
    process = subprocess.Popen(command["arguments"] + ["--host", "127.0.0.1", "--port", str(port)], cwd=command.get("folder"), stdout=log, stderr=log)
    for _ in range(480):
        if process.poll() is not None:
            break
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1).close()
            return {"process": process, "port": port}
        except OSError:
            time.sleep(0.25)
    process.kill()
    raise RuntimeError(f"{command['arguments'][0]} did not start; server.log says why")


def serve_ours(command, prompts, folder):
    """Seconds of a whole kf run, and of its load."""
    source, answers, summary = (os.path.join(folder, name) for name in ("requests.jsonl", "answers.jsonl", "summary.json"))
    with open(source, "w", encoding="utf-8") as file:
        for n, prompt in enumerate(prompts):
            file.write(json.dumps({"id": str(n), "prompt_token_ids": prompt, "max_tokens": 32}) + "\n")
    before, start, others = used(os.getpid()), time.time(), busy()
    subprocess.run(command + ["--input", source, "--output", answers, "--summary", summary, "--overwrite", "--quiet", "--ignore-eos"], check=True)
    seconds = time.time() - start
    foreign = max(0.0, busy() - others - (used(os.getpid()) - before)) / (seconds * CORES)
    with open(answers, encoding="utf-8") as file:
        wrong = sum(json.loads(line)["token_ids"] != chain(prompt[-1], 32) for line, prompt in zip(file, prompts, strict=True))
    with open(summary, encoding="utf-8") as file:
        load = json.load(file)["load_seconds"]
    return {"seconds": round(seconds, 3), "load": load, "wrong": wrong, "foreign": round(foreign, 3)}


def answer_of(command, prompts, options):
    """One measurement of one side."""
    wait_for_quiet(options.wait)
    if command["kind"] == "run":
        return serve_ours(command["arguments"], prompts, options.results)
    with open(os.path.join(options.results, "server.log"), "a", encoding="utf-8") as log:
        server = start_server(command, log)
        try:
            return serve_peer(server, prompts, len(prompts))
        finally:
            server["process"].terminate()
            server["process"].wait()


def serve(options):
    results = Results(os.path.join(options.results, "serve.jsonl"))
    for case in chosen(cases.requests, options):
        for r in range(min(options.rounds, SERVE_ROUNDS)):
            prompts = requests_of(case["prefixes"], case["each"], seed=r + 1)
            for side, command in case["sides"].items():
                if results.has(case=case["name"], side=side, point="requests", round=r):
                    continue
                answer = answer_of(command, prompts, options)
                results.add({"case": case["name"], "side": side, "point": "requests", "round": r, "requests": len(prompts)} | answer)
                print(f"{case['name']:24} round {r} {side:22} {answer['seconds']:8.1f} s  others {answer['foreign']:.2f}  wrong {answer['wrong']}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("step", choices=["run", "serve", "growth", "report"])
    parser.add_argument("work")
    parser.add_argument("--quick", action="store_true", help="fewer points")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=CORES)
    parser.add_argument("--wait", type=float, default=8, help="most seconds to wait for a quiet machine, before each measurement")
    parser.add_argument("--only", default="", help="cases with this in their name")
    parser.add_argument("--side", default="", help="sides with this in their name")
    options = parser.parse_args()
    options.work = os.path.abspath(options.work)
    options.results = os.path.join(options.work, "results")
    os.makedirs(options.results, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that servers are ended too
    {"run": run, "serve": serve, "growth": growth, "report": lambda o: report(o.results)}[options.step](options)


if __name__ == "__main__":
    main()
