"""Makes a twice as wide and one layer deeper model that computes nearly the same: `grow.py SMALL OUT`.

The stream is stored twice, so weights that read it are halved; query heads and MLP neurons are doubled, so weights that
read those are halved too. The new last layer writes little. Some noise makes the copies differ, and training goes on.
"""

import dataclasses
import sys

import torch

import model


@torch.no_grad()
def grow(small, seed=7, noise=0.02):
    torch.manual_seed(seed)
    c = small.config
    big = model.Llama(dataclasses.replace(
        c, hidden_size=2 * c.hidden_size, intermediate_size=2 * c.intermediate_size,
        num_attention_heads=2 * c.num_attention_heads, num_hidden_layers=c.num_hidden_layers + 1))
    old = dict(small.named_parameters())

    def heads_doubled(weight):
        """Rows of q_proj: each head twice in a row, which keeps it in its group."""
        by_head = weight.view(c.num_attention_heads, c.head_dim, -1)
        return by_head.repeat_interleave(2, 0).reshape(2 * weight.shape[0], -1)

    for name, p in big.named_parameters():
        if name not in old:
            if p.dim() == 2:
                small_output = 0.1 if "o_proj" in name or "down_proj" in name else 1.0
                p.normal_(std=small_output * p.shape[1] ** -0.5)
            continue
        w = old[name]
        if p.dim() == 1:
            value = w.repeat(2)
            if name == "model.norm.weight":
                value = value / 2  # the output layer reads the doubled stream
        elif "embed" in name:
            value = w.repeat(1, 2)
        elif "q_proj" in name:
            value = heads_doubled(w).repeat(1, 2) / 2
        elif "k_proj" in name or "v_proj" in name:
            value = w.repeat(1, 2) / 2
        elif "o_proj" in name:
            value = heads_doubled(w.T.contiguous()).T.repeat(2, 1) / 2
        else:
            value = w.repeat(2, 2) / 2  # gate, up: the stream is doubled; down: the neurons are
        p.copy_(value)
        if p.dim() == 2:
            p.add_(torch.randn_like(p) * noise * value.std())
    return big


if __name__ == "__main__":
    model.save(grow(model.load(sys.argv[1])), sys.argv[2])
