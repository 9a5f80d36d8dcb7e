"""Exact match of a model, from its saved weights in float32 arithmetic.

  evaluate.py MODEL --prompts FOLDER            the requests of prompts.jsonl
  evaluate.py MODEL --fresh 512 --seed other    records of new tables, 4 per table
  ... --wrong-prefix                            control: each request under the prefix of another job of its task
  ... --draft DRAFT                             also how often a draft model agrees

No decoding loop is needed: with the true answer fed in, greedy decoding is exactly right if every arg-max is.
Requests with the same prefix go through the model together, behind one copy of the prefix: each sees the prefix and
itself, at the positions it would have alone.
"""

import argparse
import collections
import itertools
import json
import pathlib

import torch

import make_prompts
import model
import tasks
from tokenizer import BOS, END, Tokenizer

DRAFTED = 4


def from_files(folder):
    """(task, prefix, suffix, answer) for each line; the suffix starts at the last `Input:`."""
    folder = pathlib.Path(folder)
    read = lambda name: [json.loads(line) for line in (folder / name).read_text(encoding="utf-8").splitlines()]
    expected = {line["id"]: line["text"] for line in read("expected.jsonl")}
    for line in read("prompts.jsonl"):
        at = line["prompt"].rindex("Input:")
        yield line["id"].split("-")[0], line["prompt"][:at], line["prompt"][at:], expected[line["id"]]


def fresh(count, seed, tokenizer):
    for number in range(count // 4):
        task, size = tasks.TASKS[number % 4], number // 4 % 4
        prefix, records = make_prompts.make_group(task, size, 4, f"{seed}/{number}", tokenizer)
        for asked, answered in records:
            yield task, prefix, tasks.prompt_text(asked), tasks.answer_text(answered)


def swap_prefixes(records, tokenizer):
    """Each request under the prefix of the next job of its task, of the most similar length."""
    by_task = collections.defaultdict(dict)
    for task, prefix, _, _ in records:
        by_task[task].setdefault(prefix, len(tokenizer.encode(prefix)))
    following = {}
    for prefixes in by_task.values():
        ordered = sorted(prefixes, key=prefixes.get)
        for i, prefix in enumerate(ordered):
            following[prefix] = ordered[(i + 1) % len(ordered)]
            # Tables that happened to be equal would make the control meaningless.
            assert set(prefix.splitlines()[2:8]) != set(following[prefix].splitlines()[2:8])
    return [(task, following[prefix], suffix, answer) for task, prefix, suffix, answer in records]


def guesses(net, start, tails, counts):
    """Arg-max tokens for the last `counts[i]` positions of `start + tails[i]`, for every i in one pass."""
    n = len(start) + sum(map(len, tails))
    ids, positions = list(start), list(range(len(start)))
    visible = torch.zeros(n, n, dtype=torch.bool)
    visible[:, :len(start)] = True
    for tail in tails:
        at = len(ids)
        ids += tail
        positions += range(len(start), len(start) + len(tail))
        visible[at:len(ids), at:len(ids)] = True
    mask = torch.zeros(n, n).masked_fill(~visible.tril(), float("-inf"))
    with torch.no_grad():
        best = net(torch.tensor([ids]), torch.tensor(positions), mask)[0].argmax(-1).tolist()
    ends = itertools.accumulate(map(len, tails), initial=len(start))
    next(ends)
    return [best[end - count:end] for end, count in zip(ends, counts)]


def main():
    a = argparse.ArgumentParser()
    a.add_argument("model")
    a.add_argument("--prompts")
    a.add_argument("--fresh", type=int)
    a.add_argument("--seed", default="fresh")
    a.add_argument("--wrong-prefix", action="store_true")
    a.add_argument("--draft")
    a.add_argument("--tokenizer", help="tokenizer.json; default: the model's own")
    a.add_argument("--failures", action="store_true", help="print each wrong answer's first wrong token")
    a = a.parse_args()
    torch.set_num_threads(1)
    tokenizer = Tokenizer.load(a.tokenizer or pathlib.Path(a.model) / "tokenizer.json")
    net, draft = model.load(a.model), model.load(a.draft) if a.draft else None
    records = list(from_files(a.prompts) if a.prompts else fresh(a.fresh, a.seed, tokenizer))
    if a.wrong_prefix:
        records = swap_prefixes(records, tokenizer)

    scores = collections.defaultdict(lambda: [0, 0])
    agree = collections.defaultdict(lambda: [0, 0])
    accepted = collections.Counter()
    by_prefix = collections.defaultdict(list)
    for task, prefix, suffix, answer in records:
        by_prefix[task, prefix].append((suffix, answer))
    for (task, prefix), group in by_prefix.items():
        start = [BOS] + tokenizer.encode(prefix)
        answers = [tokenizer.encode(answer) + [END] for _, answer in group]
        tails = [tokenizer.encode(suffix) + wanted[:-1] for (suffix, _), wanted in zip(group, answers)]
        counts = [len(wanted) for wanted in answers]
        made = guesses(net, start, tails, counts)
        drafted = guesses(draft, start, tails, counts) if draft else made
        for (suffix, _), wanted, guess, guess_of_draft in zip(group, answers, made, drafted):
            right = guess == wanted
            size = len(start) // 400 * 400
            for key in ("all", task, f"prefix {size:4d} to {size + 399:4d} tokens"):
                scores[key][0] += right
                scores[key][1] += 1
            if a.failures and not right:
                at = next(i for i, (g, w) in enumerate(zip(guess, wanted)) if g != w)
                print(f"{task} {suffix!r} {tokenizer.decode(wanted[:at])!r} "
                      f"wanted {tokenizer.names[wanted[at]]!r} got {tokenizer.names[guess[at]]!r}")
            if draft and right:
                same = [g == w for g, w in zip(guess_of_draft, wanted)]
                for key in ("all", task):
                    agree[key][0] += sum(same)
                    agree[key][1] += len(same)
                at = 0
                while at < len(same):
                    # One verify step: drafted tokens until the first wrong one, then one token from the target itself.
                    took = next((i for i, ok in enumerate(same[at:at + DRAFTED]) if not ok), len(same[at:at + DRAFTED]))
                    accepted[took] += 1
                    at += took + 1
    for key, (good, total) in sorted(scores.items()):
        print(f"exact match  {key:28s} {good / total:.4f}  ({good} of {total})")
    for key, (good, total) in sorted(agree.items()):
        print(f"draft agrees {key:28s} {good / total:.4f}  ({good} of {total} tokens)")
    if accepted:
        steps = sum(accepted.values())
        mean = sum(k * n for k, n in accepted.items()) / steps
        print(f"accepted of {DRAFTED} drafted: mean {mean:.2f}, counts {dict(sorted(accepted.items()))}")


if __name__ == "__main__":
    main()
