"""Writes prompts.jsonl and expected.jsonl: 16 groups of 20 requests, four tasks in four prefix lengths, shuffled.

The tables come from seeds that training never uses, and the expected texts from the generator, not from a model.
"""

import json
import pathlib
import random
import sys

import tasks
from tokenizer import Tokenizer

PREFIX_TOKENS = (350, 620, 960, 1390)
REQUESTS = 20


def make_prefix(job, tokens, tokenizer, rng):
    """The head of the job and as many worked examples as fit into `tokens` with the bos token; at least one."""
    text = job.head() + tasks.example_text(job.record(rng))
    while True:
        longer = text + tasks.example_text(job.record(rng))
        if 1 + len(tokenizer.encode(longer)) > tokens:
            return text
        text = longer


def make_group(task, size, count, seed, tokenizer):
    """(prefix, records) of one group; no two records ask the same."""
    rng = random.Random(f"{seed}/{task}/{size}")
    # The shortest prefixes take medium tables, so that worked examples fit as well.
    job = tasks.make_job(task, min(3, size + 1), rng)
    prefix = make_prefix(job, PREFIX_TOKENS[size], tokenizer, rng)
    records = {}
    while len(records) < count:
        asked, answered = job.record(rng)
        records[asked] = answered
    return prefix, list(records.items())


def main(out, tokenizer_path):
    tokenizer = Tokenizer.load(tokenizer_path)
    out = pathlib.Path(out)
    lines = []
    for task in tasks.TASKS:
        for size in range(len(PREFIX_TOKENS)):
            prefix, records = make_group(task, size, REQUESTS, "prompts", tokenizer)
            head = tokenizer.encode(prefix)
            for number, (asked, answered) in enumerate(records):
                suffix, answer = tasks.prompt_text(asked), tasks.answer_text(answered)
                prompt = prefix + suffix
                assert head + tokenizer.encode(suffix) == tokenizer.encode(prompt)
                assert tokenizer.encode(prompt) + tokenizer.encode(answer) == tokenizer.encode(prompt + answer)
                assert "<|" not in prompt
                name = f"{task}-{size + 1}-{number + 1:02d}"
                lines.append(({"id": name, "prompt": prompt, "max_tokens": 64}, {"id": name, "text": answer}))
            print(f"{task}-{size + 1}: prefix {1 + len(head)} tokens with bos")
    random.Random("order").shuffle(lines)
    for name, column in (("prompts.jsonl", 0), ("expected.jsonl", 1)):
        with open(out / name, "w", encoding="utf-8", newline="\n") as file:
            file.writelines(json.dumps(line[column]) + "\n" for line in lines)


if __name__ == "__main__":
    main(*sys.argv[1:])
