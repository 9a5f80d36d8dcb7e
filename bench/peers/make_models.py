#!/usr/bin/env python3
"""Writes Llama models of random weights, the same ones as GGUF and as a Hugging Face folder, to measure engines side by side.

  make_models.py OUTPUT [--models 110m,1b]      kf-NAME-{bf16,f16,q4_0}.gguf and kf-NAME-hf (F16) for each

Every layer does what a trained one does, so time is that of a real model. The answer is known: lm_head[after(t)] = embedding[t] plus noise, which makes
after(t) the most likely token after t by far, whatever came before and in every format. Weights are values of BF16 that F16 holds too, so that the three
16-bit files have the same numbers; q4_0 is rounded from them. Needs numpy; a seeded generator makes the same files again.
"""
import argparse
import json
import os
import struct

import numpy as np

VOCABULARY, FIRST_WORD, STRIDE, CONTEXT, EPSILON, THETA = 32000, 260, 7919, 8192, 1e-5, 10000.0
FORMATS = ("bf16", "f16", "q4_0")
#          hidden, layers, heads, kv heads, mlp
SHAPES = {"110m": (768, 12, 12, 12, 2048), "1b": (2048, 22, 32, 4, 5632)}


def after(token):
    words = VOCABULARY - FIRST_WORD
    return FIRST_WORD + (token - FIRST_WORD + STRIDE) % words if token >= FIRST_WORD else FIRST_WORD + (token * 97 + 13) % words


def tensors(shape):
    """(GGUF name, Hugging Face name, dimensions) in the order of the files."""
    hidden, layers, heads, kv_heads, mlp = shape
    kv = kv_heads * (hidden // heads)
    yield "token_embd", "model.embed_tokens", (VOCABULARY, hidden)
    for i in range(layers):
        for ours, theirs, dimensions in [
                ("attn_norm", "input_layernorm", (hidden,)), ("attn_q", "self_attn.q_proj", (hidden, hidden)), ("attn_k", "self_attn.k_proj", (kv, hidden)),
                ("attn_v", "self_attn.v_proj", (kv, hidden)), ("attn_output", "self_attn.o_proj", (hidden, hidden)),
                ("ffn_norm", "post_attention_layernorm", (hidden,)), ("ffn_gate", "mlp.gate_proj", (mlp, hidden)), ("ffn_up", "mlp.up_proj", (mlp, hidden)),
                ("ffn_down", "mlp.down_proj", (hidden, mlp))]:
            yield f"blk.{i}.{ours}", f"model.layers.{i}.{theirs}", dimensions
    yield "output_norm", "model.norm", (hidden,)
    yield "output", "lm_head", (VOCABULARY, hidden)


# ---------------------------------------------------------------- values

def to_bf16(values):
    """To the nearest BF16; what F16 would not hold becomes 0."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = ((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) & np.uint32(0xFFFF0000)).view(np.float32)
    return np.where(np.abs(rounded) < 2.0 ** -16, np.float32(0), rounded)


def weights(name, dimensions, layers, embedding, random):
    if len(dimensions) == 1:
        return to_bf16(1 + 0.05 * random.standard_normal(dimensions, dtype=np.float32))
    values = random.standard_normal(dimensions, dtype=np.float32)
    if name == "token_embd":
        return to_bf16(values)
    scale = 1 / np.sqrt(dimensions[1])
    if name == "output":
        values *= np.float32(0.05)
        np.add.at(values, [after(token) for token in range(VOCABULARY)], embedding)
    elif "attn_q" in name or "attn_k" in name:
        scale *= 1.5  # scores that differ
    elif "attn_output" in name or "ffn_down" in name:
        scale *= 1.2 / np.sqrt(2 * layers)  # all layers together stay smaller than the embedding
    return to_bf16(values * np.float32(scale))


def q4_0(values):
    """Blocks of 32: the scale as F16, the value of largest magnitude being -8 times it; then value j in the low and j + 16 in the high half of byte j."""
    blocks = values.reshape(-1, 32)
    scale = np.take_along_axis(blocks, np.abs(blocks).argmax(axis=1)[:, None], axis=1)[:, 0] / np.float32(-8)
    inverse = np.divide(np.float32(1), scale, out=np.zeros_like(scale), where=scale != 0)
    codes = np.minimum((blocks * inverse[:, None] + np.float32(8.5)).astype(np.int8), 15).astype(np.uint8)
    stored = np.empty((len(blocks), 18), np.uint8)
    stored[:, :2] = scale.astype("<f2").view(np.uint8).reshape(-1, 2)
    stored[:, 2:] = codes[:, :16] | (codes[:, 16:] << 4)
    return stored.tobytes()


def stored(values, kind):
    if kind == "f32":
        return values.astype("<f4").tobytes()
    if kind == "bf16":
        return (values.view(np.uint32) >> np.uint32(16)).astype("<u2").tobytes()
    return values.astype("<f2").tobytes() if kind == "f16" else q4_0(values)


def pairs_of_neighbours(values, heads):
    """RoPE of Hugging Face turns (i, i + d/2) of a head, that of GGUF (2i, 2i + 1)."""
    rows, columns = values.shape
    return np.ascontiguousarray(values.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2)).reshape(rows, columns)


# ---------------------------------------------------------------- GGUF

def vocabulary():
    """(text, kind): 1 normal, 2 unknown, 3 control, 6 a byte."""
    return ([("<unk>", 2), ("<s>", 3), ("</s>", 3)] + [(f"<0x{b:02X}>", 6) for b in range(256)] + [("\u2581", 1)]
            + [(f"\u2581t{i:05d}", 1) for i in range(FIRST_WORD, VOCABULARY)])


def text(value):
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def metadata(name, shape, kind):
    hidden, layers, heads, kv_heads, mlp = shape
    words = vocabulary()
    numbers = {"general.alignment": 32, "general.file_type": {"f16": 1, "q4_0": 2, "bf16": 32}[kind], "general.quantization_version": 2,
               "llama.vocab_size": VOCABULARY, "llama.context_length": CONTEXT, "llama.embedding_length": hidden, "llama.block_count": layers,
               "llama.feed_forward_length": mlp, "llama.attention.head_count": heads, "llama.attention.head_count_kv": kv_heads,
               "llama.rope.dimension_count": hidden // heads,
               "tokenizer.ggml.bos_token_id": 1, "tokenizer.ggml.eos_token_id": 2, "tokenizer.ggml.unknown_token_id": 0}
    entries = [text(key) + struct.pack("<I", 8) + text(value) for key, value in
               {"general.architecture": "llama", "general.name": f"kf-random-{name}", "tokenizer.ggml.model": "llama"}.items()]
    entries += [text(key) + struct.pack("<II", 4, value) for key, value in numbers.items()]
    entries += [text(key) + struct.pack("<If", 6, value) for key, value in
                {"llama.attention.layer_norm_rms_epsilon": EPSILON, "llama.rope.freq_base": THETA}.items()]
    entries += [text("tokenizer.ggml." + key) + struct.pack("<IB", 7, value) for key, value in
                {"add_bos_token": 1, "add_eos_token": 0, "add_space_prefix": 0}.items()]
    for key, element, raw in [("tokens", 8, b"".join(text(word) for word, _ in words)), ("scores", 6, bytes(4 * VOCABULARY)),
                              ("token_type", 5, np.array([kind for _, kind in words], "<i4").tobytes())]:
        entries.append(text("tokenizer.ggml." + key) + struct.pack("<IIQ", 9, element, VOCABULARY) + raw)
    return entries


class Gguf:
    BYTES = {"f32": (4, 1), "f16": (2, 1), "bf16": (2, 1), "q4_0": (18, 32)}
    TYPES = {"f32": 0, "f16": 1, "q4_0": 2, "bf16": 30}

    def __init__(self, path, name, shape, kind):
        self.file, self.kind, (_, _, self.heads, self.kv_heads, _) = open(path, "wb"), kind, shape
        table, offset = [], 0
        for tensor, _, dimensions in tensors(shape):
            of, per = self.kind_of(dimensions), self.BYTES[self.kind_of(dimensions)]
            table.append(text(tensor + ".weight") + struct.pack("<I", len(dimensions)) + b"".join(struct.pack("<Q", d) for d in reversed(dimensions))
                         + struct.pack("<IQ", self.TYPES[of], offset))
            offset += -(-int(np.prod(dimensions)) * per[0] // per[1] // 32) * 32
        entries = metadata(name, shape, kind)
        self.file.write(b"GGUF" + struct.pack("<IQQ", 3, len(table), len(entries)) + b"".join(entries + table))
        self.pad()

    def kind_of(self, dimensions):
        return "f32" if len(dimensions) == 1 else self.kind

    def pad(self):
        self.file.write(bytes(-self.file.tell() % 32))

    def add(self, tensor, values):
        if tensor.endswith(("attn_q", "attn_k")):
            values = pairs_of_neighbours(values, self.heads if tensor.endswith("q") else self.kv_heads)
        self.file.write(stored(values, self.kind_of(values.shape)))
        self.pad()


# ---------------------------------------------------------------- Hugging Face

class HuggingFace:
    def __init__(self, folder, shape):
        os.makedirs(folder, exist_ok=True)
        hidden, layers, heads, kv_heads, mlp = shape
        table, offset = {"__metadata__": {"format": "pt"}}, 0
        for _, name, dimensions in tensors(shape):
            end = offset + 2 * int(np.prod(dimensions))
            table[name + ".weight"] = {"dtype": "F16", "shape": list(dimensions), "data_offsets": [offset, end]}
            offset = end
        raw = json.dumps(table).encode()
        raw += b" " * (-len(raw) % 8)
        self.file = open(os.path.join(folder, "model.safetensors"), "wb")
        self.file.write(struct.pack("<Q", len(raw)) + raw)
        self.write(folder, "config.json", {
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "float16", "hidden_size": hidden, "intermediate_size": mlp,
            "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": kv_heads, "head_dim": hidden // heads, "vocab_size": VOCABULARY,
            "max_position_embeddings": CONTEXT, "rms_norm_eps": EPSILON, "rope_theta": THETA, "rope_scaling": None, "hidden_act": "silu",
            "attention_bias": False, "mlp_bias": False, "tie_word_embeddings": False, "bos_token_id": 1, "eos_token_id": 2})
        special = [{"id": i, "content": word, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
                   for i, (word, kind) in enumerate(vocabulary()) if kind in (2, 3)]
        self.write(folder, "tokenizer.json", {
            "version": "1.0", "truncation": None, "padding": None, "added_tokens": special, "pre_tokenizer": None, "post_processor": None,
            "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"},
            "decoder": {"type": "Sequence", "decoders": [
                {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}]},
            "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None, "end_of_word_suffix": None, "fuse_unk": True,
                      "byte_fallback": True, "vocab": {word: i for i, (word, _) in enumerate(vocabulary())}, "merges": []}})

    @staticmethod
    def write(folder, name, value):
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
            json.dump(value, file, ensure_ascii=False)

    def add(self, values):
        self.file.write(stored(values, "f16"))


def write_model(output, name):
    shape = SHAPES[name]
    ggufs = [Gguf(os.path.join(output, f"kf-{name}-{kind}.gguf"), name, shape, kind) for kind in FORMATS]
    folder = HuggingFace(os.path.join(output, f"kf-{name}-hf"), shape)
    embedding = None
    for number, (tensor, _, dimensions) in enumerate(tensors(shape)):
        values = weights(tensor, dimensions, shape[1], embedding, np.random.default_rng([len(name), shape[0], number]))
        embedding = values if tensor == "token_embd" else embedding
        for gguf in ggufs:
            gguf.add(tensor, values)
        folder.add(values)
    for writer in (*ggufs, folder):
        writer.file.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("output")
    parser.add_argument("--models", default="110m,1b")
    options = parser.parse_args()
    os.makedirs(options.output, exist_ok=True)
    for name in options.models.split(","):
        write_model(options.output, name)


if __name__ == "__main__":
    main()
