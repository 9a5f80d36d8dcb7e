"""Trains one model: `train.py OUT --hidden 128 --ffn 256 --steps 4400`, or from a start: `--start FOLDER`.

A sequence is one job and as many of its records as fit. Tokens inside answers count fully and everything else a tenth.
The end token is a target, never an input: after an answer the text goes on with a line break, exactly as the worked
examples of a prompt do.
"""

import argparse
import math
import random
import re
import time

import torch
from torch.nn import functional as F

import model
import tasks
from tokenizer import BOS, END, Tokenizer

WEIGHTS = {"triage": 24, "directory": 24, "logs": 18, "shop": 34}

# (share of the steps, tokens of a sequence, largest table level). Lookups are learned where prefixes are short;
# lengths that were never trained fail, so the longest stage stays.
CURRICULUM = ((0.15, 256, 0), (0.40, 512, 1), (0.33, 768, 2), (0.12, 1536, 3))


def stage(done, length=None):
    if length:
        return length, 3
    for share, length, level in CURRICULUM:
        done -= share
        if done < 0:
            break
    return length, level


FIELD = re.compile(r'"(\w+)":("?)([^",{}\[\]]+)')


def field_names(answer, ids, tokenizer):
    """For each token of an answer the field whose value it belongs to, or None; the text is ASCII."""
    spans = [(m.start(3), m.end(3), m.group(1)) for m in FIELD.finditer(answer)]
    names, at = [], 0
    for i in ids:
        names.append(next((name for start, end, name in spans if start <= at < end), None))
        at += len(tokenizer.names[i])
    return names


def sequence(tokenizer, task, level, length, rng):
    """Input ids, target ids, and for each position 0 (context) or the number of the record it answers, from 1."""
    job = tasks.make_job(task, level, rng)
    ids, targets, owner = [BOS] + tokenizer.encode(job.head()), None, None
    targets, owner = ids[1:], [0] * (len(ids) - 1)
    newline = tokenizer.encode("\n")
    number = 0
    while True:
        asked, answered = job.record(rng)
        question, answer = tokenizer.encode(tasks.prompt_text(asked)), tokenizer.encode(tasks.answer_text(answered))
        if len(ids) + len(question) + len(answer) + 1 > length + 1:
            break
        number += 1
        ids += question + answer + newline
        targets += question + answer + [END]
        owner += [0] * len(question) + [number] * (len(answer) + 1)
    # `targets` and `owner` belong to the position before; the last token has no target.
    return ids[:len(targets)], targets, owner


def batch(tokenizer, tokens, length, level, rng):
    count = max(1, tokens // length)
    rows = []
    for _ in range(count):
        task = rng.choices(list(WEIGHTS), WEIGHTS.values())[0]
        rows.append(sequence(tokenizer, task, rng.randint(max(0, level - 1), level), length, rng))
    widest = max(len(r[0]) for r in rows)
    ids, targets = torch.zeros(count, widest, dtype=torch.long), torch.full((count, widest), -1)
    weight = torch.zeros(count, widest)
    for i, (a, b, owner) in enumerate(rows):
        ids[i, :len(a)], targets[i, :len(b)] = torch.tensor(a), torch.tensor(b)
        weight[i, :len(owner)] = torch.tensor([1.0 if o else 0.1 for o in owner])
    return ids, targets, weight


def check(net, tokenizer, level, length, count=4):
    """Held-out jobs: per task the share of right answers, the answer tokens right, and the fields that are not yet."""
    lines = []
    for task in tasks.TASKS:
        right, records, hits, total, fields = 0, 0, 0, 0, {}
        for i in range(count):
            ids, targets, owner = sequence(tokenizer, task, level, length, random.Random(f"check/{task}/{i}"))
            with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
                guess = net(torch.tensor([ids]))[0].argmax(-1).tolist()
            for number in range(1, owner[-1] + 1):
                at = [p for p, o in enumerate(owner) if o == number]
                answer = [targets[p] for p in at]
                ok = [guess[p] == targets[p] for p in at]
                names = field_names(tokenizer.decode(answer), answer, tokenizer)
                wrong = {n for n, good in zip(names, ok) if not good}
                for name in set(filter(None, names)):
                    seen = fields.setdefault(name, [0, 0])
                    seen[0] += name not in wrong
                    seen[1] += 1
                right, records = right + all(ok), records + 1
                hits, total = hits + sum(ok), total + len(ok)
        weak = " ".join(f"{n} {a / b:.2f}" for n, (a, b) in fields.items() if a < 0.99 * b)
        lines.append(f"  {task:9s} exact {right / records:.2f} tokens {hits / total:.3f}  {weak}")
    return "\n".join(lines)


def main():
    a = argparse.ArgumentParser()
    a.add_argument("out")
    a.add_argument("--tokenizer", required=True)
    a.add_argument("--start")
    a.add_argument("--hidden", type=int, default=128)
    a.add_argument("--ffn", type=int, default=256)
    a.add_argument("--layers", type=int, default=2)
    a.add_argument("--steps", type=int, required=True)
    a.add_argument("--tokens", type=int, default=2048)
    a.add_argument("--rate", type=float, default=3e-3)
    a.add_argument("--seed", type=int, default=1)
    a.add_argument("--lengths", help="comma-separated; replaces the curriculum, one is drawn for each step")
    a.add_argument("--first-stage", action="store_true", help="logs in the form of tasks.LogsByLevel")
    a.add_argument("--report", type=int, default=200)
    a = a.parse_args()

    if a.first_stage:
        tasks.KINDS["logs"] = tasks.LogsByLevel
    torch.set_num_threads(1)
    torch.manual_seed(a.seed)
    tokenizer = Tokenizer.load(a.tokenizer)
    if a.start:
        net = model.load(a.start)
    else:
        net = model.build(model.Config(a.hidden, a.ffn, a.layers, a.hidden // 32), a.seed)
    optimizer = torch.optim.AdamW(net.parameters(), lr=a.rate, betas=(0.9, 0.98), eps=1e-9, weight_decay=0.01)
    rng = random.Random(f"train/{a.seed}")
    lengths = [int(n) for n in a.lengths.split(",")] if a.lengths else None
    began, seen, average = time.process_time(), 0, 0.0
    print(sum(p.numel() for p in net.parameters()), "parameters", flush=True)
    for step in range(a.steps):
        for group in optimizer.param_groups:
            falling = 0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * step / a.steps))
            group["lr"] = a.rate * min(1.0, (step + 1) / 60) * falling
        length, level = stage(step / a.steps, rng.choice(lengths) if lengths else None)
        ids, targets, weight = batch(tokenizer, a.tokens, length, level, rng)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = net(ids)
        losses = F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), ignore_index=-1, reduction="none")
        loss = (losses * weight.flatten()).sum() / weight.sum()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        seen += ids.numel()
        average += (loss.item() - average) * max(0.02, 1 / (step + 1))
        if (step + 1) % a.report == 0 or step + 1 == a.steps:
            print(f"step {step + 1} length {length} tokens {seen / 1e6:.2f} M loss {average:.4f} "
                  f"cpu {time.process_time() - began:.0f} s\n{check(net, tokenizer, level, length)}", flush=True)
            model.save(net, a.out)


if __name__ == "__main__":
    main()
