"""Writes reference.jsonl: ids, greedy continuation and logits for some prompts, in float32 from the saved weights.

Each answer is one full pass over prompt and continuation, without a key/value cache and without sharing, so it is
independent of any trick an engine may use. `min_margin` is the smallest gap between the best and the second logit on
the way; below about 0.3 another rounding may choose another token.
"""

import json
import pathlib
import sys

import torch

import model
from tokenizer import BOS, END, Tokenizer


def main(folder):
    torch.set_num_threads(1)
    folder = pathlib.Path(folder)
    tokenizer, net = Tokenizer.load(folder / "model" / "tokenizer.json"), model.load(folder / "model")
    expected = {line["id"]: line["text"] for line in map(json.loads, open(folder / "expected.jsonl", encoding="utf-8"))}
    prompts = [json.loads(line) for line in (folder / "prompts.jsonl").read_text(encoding="utf-8").splitlines()]
    # From each of the 16 groups the first request; from the shortest and the longest prefixes a second one.
    chosen = [p for p in prompts if p["id"].endswith("-01") or p["id"].endswith("-1-11") or p["id"].endswith("-4-11")]
    with open(folder / "reference.jsonl", "w", encoding="utf-8", newline="\n") as file:
        for prompt in sorted(chosen, key=lambda p: p["id"]):
            ids = [BOS] + tokenizer.encode(prompt["prompt"])
            # Guess the true answer; as long as one pass disagrees somewhere, keep what it confirmed and its correction.
            made = tokenizer.encode(expected[prompt["id"]]) + [END]
            while True:
                with torch.no_grad():
                    logits = net(torch.tensor([ids + made]))[0, len(ids) - 1:-1]
                wrong = next((i for i, row in enumerate(logits) if int(row.argmax()) != made[i]), None)
                if wrong is not None:
                    made = made[:wrong] + [int(logits[wrong].argmax())]
                elif made[-1] == END or len(made) == prompt["max_tokens"]:
                    break
                else:
                    made.append(END)
            best = logits.topk(8).values
            margin = (best[:, 0] - best[:, 1]).min().item()
            first = {"ids": logits[0].topk(8).indices.tolist(), "values": [round(v, 5) for v in best[0].tolist()]}
            file.write(json.dumps({"id": prompt["id"], "prompt_token_ids": ids, "token_ids": made,
                                   "min_margin": round(margin, 5), "logits_first": first}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
