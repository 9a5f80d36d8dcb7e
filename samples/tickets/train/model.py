"""A Llama decoder with Hugging Face parameter names, its copying initial values, and safetensors files."""

import dataclasses
import json
import math
import pathlib
import struct

import torch
from torch import nn
from torch.nn import functional as F


@dataclasses.dataclass
class Config:
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int = 2
    head_dim: int = 32
    vocab_size: int = 1024
    rope_theta: float = 500000.0
    rms_norm_eps: float = 1e-5
    max_position_embeddings: int = 2048


class Norm(nn.Module):
    def __init__(self, size, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight


def _linear(n_in, n_out):
    return nn.Linear(n_in, n_out, bias=False)


class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.heads, self.groups, self.dim = c.num_attention_heads, c.num_key_value_heads, c.head_dim
        self.q_proj = _linear(c.hidden_size, self.heads * self.dim)
        self.k_proj = _linear(c.hidden_size, self.groups * self.dim)
        self.v_proj = _linear(c.hidden_size, self.groups * self.dim)
        self.o_proj = _linear(self.heads * self.dim, c.hidden_size)

    def forward(self, x, cos, sin, mask, chunk=256):
        batch, length, _ = x.shape
        per_group = self.heads // self.groups

        def split(y, heads):
            return y.view(batch, length, heads, self.dim).transpose(1, 2)

        def rotate(y):
            a, b = y.float().chunk(2, -1)
            return torch.cat((a * cos - b * sin, b * cos + a * sin), -1).to(y.dtype)

        q = rotate(split(self.q_proj(x), self.heads)) * self.dim ** -0.5
        k = rotate(split(self.k_proj(x), self.groups)).transpose(-1, -2)
        v = split(self.v_proj(x), self.groups)
        q = q.reshape(batch, self.groups, per_group, length, self.dim)
        out = []
        # The query heads of a group become rows, so keys and values are not copied; chunks skip the keys to the right.
        for at in range(0, length, chunk):
            end = min(at + chunk, length)
            rows = q[:, :, :, at:end].reshape(batch, self.groups, per_group * (end - at), self.dim)
            scores = (rows @ k[..., :end]).float().view(batch, self.groups, per_group, end - at, end)
            weights = (scores + mask[at:end, :end]).softmax(-1).to(v.dtype)
            part = weights.view(batch, self.groups, per_group * (end - at), end) @ v[:, :, :end]
            out.append(part.view(batch, self.heads, end - at, self.dim))
        return self.o_proj(torch.cat(out, 2).transpose(1, 2).reshape(batch, length, self.heads * self.dim))


class Mlp(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.gate_proj = _linear(c.hidden_size, c.intermediate_size)
        self.up_proj = _linear(c.hidden_size, c.intermediate_size)
        self.down_proj = _linear(c.intermediate_size, c.hidden_size)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.input_layernorm = Norm(c.hidden_size, c.rms_norm_eps)
        self.self_attn = Attention(c)
        self.post_attention_layernorm = Norm(c.hidden_size, c.rms_norm_eps)
        self.mlp = Mlp(c)

    def forward(self, x, cos, sin, mask):
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, mask).float()
        return x + self.mlp(self.post_attention_layernorm(x)).float()


class Body(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.embed_tokens = nn.Embedding(c.vocab_size, c.hidden_size)
        self.layers = nn.ModuleList(Layer(c) for _ in range(c.num_hidden_layers))
        self.norm = Norm(c.hidden_size, c.rms_norm_eps)


class Llama(nn.Module):
    """The output layer is the embedding (tied)."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.model = Body(config)
        frequency = config.rope_theta ** (-torch.arange(0, config.head_dim, 2).float() / config.head_dim)
        angle = torch.arange(config.max_position_embeddings).float()[:, None] * frequency
        self.cos, self.sin = angle.cos(), angle.sin()
        n = config.max_position_embeddings
        self.mask = torch.full((n, n), float("-inf")).triu(1)

    def forward(self, ids, positions=None, mask=None):
        """Logits. Without positions and mask every row of `ids` is one text."""
        rows = slice(ids.shape[1]) if positions is None else positions
        mask = self.mask if mask is None else mask
        x = self.model.embed_tokens(ids)
        for layer in self.model.layers:
            x = layer(x, self.cos[rows], self.sin[rows], mask)
        return F.linear(self.model.norm(x), self.model.embed_tokens.weight)


@torch.no_grad()
def copy_init(net, seed):
    """Initial values that already copy: without them a net of this size finds lookups very late or never.

    Layer 0: head h attends to the token h + 1 places back. One embedding column is the same for every token; queries and
    keys read only that column, and RoPE's angles make the score peak at the wanted distance. The head writes a projection
    of the token it found into a subspace of its own.
    Layer 1: a query made from the tokens 0..3 places back meets keys made from the tokens 1..4 places back, in those
    dimensions that RoPE hardly turns; the value is the token itself, so what followed the same words is predicted.
    """
    c = net.config
    draw = torch.Generator().manual_seed(seed)
    d, dim, per_group = c.hidden_size, c.head_dim, c.num_attention_heads // c.num_key_value_heads

    def normal(*shape, std):
        return torch.randn(*shape, generator=draw) * std

    def orthonormal(rows, columns):
        return torch.linalg.qr(torch.randn(columns, rows, generator=draw))[0].T.contiguous()

    for name, p in net.named_parameters():
        if p.dim() == 2:
            p.copy_(normal(*p.shape, std=0.1 if "embed" in name else 0.5 * p.shape[1] ** -0.5))
        if "down_proj" in name:
            p.mul_(0.3)
    embedding = net.model.embed_tokens.weight
    embedding[:, 0] = 0.5
    constant = 0.5 / embedding.pow(2).mean(-1).sqrt().mean().item()
    frequency = c.rope_theta ** (-torch.arange(0, dim, 2).float() / dim)

    first = net.model.layers[0].self_attn
    read = orthonormal(dim, d - 1)
    strength = math.sqrt(10.0 * dim ** 0.5) / constant
    sharp = frequency > 0.05
    for weight in (first.q_proj.weight, first.k_proj.weight):
        weight.mul_(0.1)
        weight[:, 0] = 0
    for group in range(c.num_key_value_heads):
        rows = slice(group * dim, group * dim + dim // 2)
        first.k_proj.weight[rows, 0] = strength * sharp
        first.v_proj.weight[group * dim:(group + 1) * dim] = F.pad(read, (1, 0))
    write = []
    for head in range(c.num_attention_heads):
        back = head + 1
        first.q_proj.weight[head * dim:head * dim + dim // 2, 0] = strength * sharp * (back * frequency).cos()
        first.q_proj.weight[head * dim + dim // 2:(head + 1) * dim, 0] = -strength * sharp * (back * frequency).sin()
        write.append(F.pad(orthonormal(dim, d - 1), (1, 0)))
        first.o_proj.weight[:, head * dim:(head + 1) * dim] = write[-1].T * 0.12

    second = net.model.layers[1].self_attn
    still = (frequency < 0.003).repeat(2)
    readers = [F.pad(read, (1, 0)) * 0.5] + [w / 1.2 for w in write]
    wanted = ((1.0, 0.7, 0.5, 0.0), (0.4, 0.7, 0.0, 1.0))  # how much each distance counts, by group
    values = orthonormal(c.num_key_value_heads * dim, d - 1)
    for group in range(c.num_key_value_heads):
        key, query = torch.zeros(dim, d), torch.zeros(dim, d)
        for back, weight in enumerate(wanted[group % 2]):
            mix = torch.zeros(dim, dim)
            mix[still] = orthonormal(int(still.sum()), dim)
            query += weight * mix @ readers[back]
            key += mix @ readers[back + 1]
        second.k_proj.weight[group * dim:(group + 1) * dim] = key
        value = F.pad(values[group * dim:(group + 1) * dim], (1, 0))
        second.v_proj.weight[group * dim:(group + 1) * dim] = value
        for head in range(group * per_group, (group + 1) * per_group):
            second.q_proj.weight[head * dim:(head + 1) * dim] = 4.0 * query + normal(dim, d, std=0.02)
            second.o_proj.weight[:, head * dim:(head + 1) * dim] = value.T * 0.3


def build(config, seed):
    net = Llama(config)
    copy_init(net, seed)
    return net


def save(net, folder):
    """Weights as bfloat16 safetensors, the shape as JSON. The tied output layer is not stored twice."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "shape.json").write_text(json.dumps(dataclasses.asdict(net.config), indent=2) + "\n")
    header, blobs, at = {}, [], 0
    for name, p in net.named_parameters():
        # numpy has no bfloat16: pass the bits through int16.
        blob = p.detach().to(torch.bfloat16).contiguous().view(torch.int16).numpy().tobytes()
        header[name] = {"dtype": "BF16", "shape": list(p.shape), "data_offsets": [at, at + len(blob)]}
        blobs.append(blob)
        at += len(blob)
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def load(folder):
    """Reads shape.json or config.json beside the weights; computes in float32."""
    folder = pathlib.Path(folder)
    shape = folder / "shape.json"
    fields = json.loads((shape if shape.exists() else folder / "config.json").read_text())
    net = Llama(Config(**{f.name: fields[f.name] for f in dataclasses.fields(Config)}))
    data = bytearray((folder / "model.safetensors").read_bytes())
    size = struct.unpack_from("<Q", data)[0]
    header = json.loads(data[8:8 + size])
    body = memoryview(data)[8 + size:]
    weights = {}
    for name, entry in header.items():
        if name != "__metadata__":
            start, end = entry["data_offsets"]
            bits = torch.frombuffer(body[start:end], dtype=torch.int16).view(torch.bfloat16)
            weights[name] = bits.float().view(entry["shape"])
    net.load_state_dict(weights)
    return net
