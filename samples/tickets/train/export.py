"""Writes a trained model as a Hugging Face folder: `export.py TRAINED TOKENIZER_JSON OUT`."""

import json
import pathlib
import shutil
import sys

from tokenizer import BOS, END, PAD, SPECIALS


def main(trained, tokenizer, out):
    trained, out = pathlib.Path(trained), pathlib.Path(out)
    out.mkdir(parents=True, exist_ok=True)
    shape = json.loads((trained / "shape.json").read_text())

    def write(name, document):
        (out / name).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")

    ids = {"bos_token_id": BOS, "eos_token_id": END, "pad_token_id": PAD}
    write("config.json", {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", **shape, **ids,
        "hidden_act": "silu", "attention_bias": False, "mlp_bias": False, "attention_dropout": 0.0,
        "rope_scaling": None, "tie_word_embeddings": True, "torch_dtype": "bfloat16", "use_cache": True})
    write("generation_config.json", {**ids, "do_sample": False, "max_new_tokens": 64})
    write("tokenizer_config.json", {
        "tokenizer_class": "PreTrainedTokenizerFast", "add_bos_token": True, "add_eos_token": False,
        "bos_token": SPECIALS[BOS], "eos_token": SPECIALS[END], "pad_token": SPECIALS[PAD],
        "clean_up_tokenization_spaces": False, "model_max_length": shape["max_position_embeddings"]})
    shutil.copy(trained / "model.safetensors", out)
    shutil.copy(tokenizer, out / "tokenizer.json")


if __name__ == "__main__":
    main(*sys.argv[1:])
