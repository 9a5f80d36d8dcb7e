"""Byte-level BPE: the trainer, an encoder, and reading and writing the Hugging Face `tokenizer.json`.

Ids: 0 `<|bos|>`, 1 `<|end|>`, 2 `<|pad|>`, then the 256 bytes, then one id for each merge.
Digits never take part in a merge, so every number is one token per digit.
"""

import collections
import json
import pathlib
import re
import sys
import unicodedata

BOS, END, PAD = 0, 1, 2
SPECIALS = ("<|bos|>", "<|end|>", "<|pad|>")


def _byte_letters():
    """GPT-2's printable stand-in for each byte."""
    keep = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table = {b: chr(b) for b in keep}
    for b in range(256):
        if b not in table:
            table[b] = chr(256 + len(table) - len(keep))
    return [table[b] for b in range(256)]


LETTERS = _byte_letters()


def _unicode_class(initial):
    """The ranges of a Unicode category as the inside of a character class; Python's `re` has no \\p{L}."""
    ranges, start = [], None
    for code in range(sys.maxunicode + 2):
        inside = code <= sys.maxunicode and unicodedata.category(chr(code))[0] == initial
        if inside and start is None:
            start = code
        elif not inside and start is not None:
            ranges.append(f"\\U{start:08x}-\\U{code - 1:08x}")
            start = None
    return "".join(ranges)


_L, _N = _unicode_class("L"), _unicode_class("N")
# GPT-2's split: 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
SPLIT = re.compile(f"'s|'t|'re|'ve|'m|'ll|'d| ?[{_L}]+| ?[{_N}]+| ?[^\\s{_L}{_N}]+|\\s+(?!\\S)|\\s+")


def train(text, size):
    """The merges, best first. Ties go to the pair that sorts first, so a run can be repeated."""
    counts = collections.Counter(p for p in SPLIT.findall(text) if not any(c.isdigit() for c in p))
    words = [([LETTERS[b] for b in piece.encode()], n) for piece, n in sorted(counts.items())]
    merges = []
    while len(SPECIALS) + 256 + len(merges) < size:
        pairs = collections.Counter()
        for symbols, n in words:
            for pair in zip(symbols, symbols[1:]):
                pairs[pair] += n
        best = min(pairs, key=lambda p: (-pairs[p], p))
        merges.append(best)
        for symbols, _ in words:
            i = 0
            while i < len(symbols) - 1:
                if (symbols[i], symbols[i + 1]) == best:
                    symbols[i:i + 2] = [best[0] + best[1]]
                i += 1
    return merges


class Tokenizer:
    def __init__(self, merges):
        self.merges = [tuple(m) for m in merges]
        names = list(SPECIALS) + LETTERS + [a + b for a, b in self.merges]
        self.vocab = {name: i for i, name in enumerate(names)}
        assert len(self.vocab) == len(names), "two merges spell the same token"
        self.names = names
        self._rank = {m: i for i, m in enumerate(self.merges)}
        self._cache = {}

    def encode(self, text):
        """Ids without the leading bos. Special tokens are never read out of the text."""
        ids = []
        for piece in SPLIT.findall(text):
            found = self._cache.get(piece)
            if found is None:
                found = self._cache[piece] = self._encode_piece(piece)
            ids += found
        return ids

    def _encode_piece(self, piece):
        symbols = [LETTERS[b] for b in piece.encode()]
        while len(symbols) > 1:
            rank, i = min((self._rank.get(p, len(self._rank)), i) for i, p in enumerate(zip(symbols, symbols[1:])))
            if rank == len(self._rank):
                break
            symbols[i:i + 2] = [symbols[i] + symbols[i + 1]]
        return [self.vocab[s] for s in symbols]

    def decode(self, ids):
        back = {letter: b for b, letter in enumerate(LETTERS)}
        return bytes(back[c] for i in ids if i >= len(SPECIALS) for c in self.names[i]).decode(errors="replace")

    def save(self, folder):
        folder = pathlib.Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
        document = {
            "version": "1.0", "truncation": None, "padding": None,
            "added_tokens": [{"id": i, "content": s, "single_word": False, "lstrip": False, "rstrip": False,
                              "normalized": False, "special": True} for i, s in enumerate(SPECIALS)],
            "normalizer": None,
            "pre_tokenizer": byte_level,
            "post_processor": {
                "type": "TemplateProcessing",
                "single": [{"SpecialToken": {"id": SPECIALS[BOS], "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
                "pair": [{"SpecialToken": {"id": SPECIALS[BOS], "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                         {"Sequence": {"id": "B", "type_id": 1}}],
                "special_tokens": {SPECIALS[BOS]: {"id": SPECIALS[BOS], "ids": [BOS], "tokens": [SPECIALS[BOS]]}},
            },
            "decoder": byte_level,
            "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                      "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
                      "vocab": self.vocab, "merges": [" ".join(m) for m in self.merges]},
        }
        (folder / "tokenizer.json").write_text(json.dumps(document, ensure_ascii=False, indent=1), encoding="utf-8")

    @staticmethod
    def load(path):
        return Tokenizer([m.split(" ") for m in json.loads(pathlib.Path(path).read_text(encoding="utf-8"))["model"]["merges"]])


def main(folder):
    import tasks
    text, words = tasks.corpus("tokenizer", 240)
    made = Tokenizer(train(text, 1024))
    made.save(folder)
    ids = made.encode(text)
    split = [w for w in words if len(made.encode(w)) > 1]
    print(f"{len(made.vocab)} tokens, {len(text.encode()) / len(ids):.2f} bytes per token, words in several tokens: {split}")


if __name__ == "__main__":
    main(sys.argv[1])
