#!/bin/sh
# The whole recipe with fixed seeds and step counts; README.md tells what it was seen to do.
# Needs Python 3.10 or newer with PyTorch (1.13 is enough) and numpy. Usage: ./train.sh [WORK_FOLDER]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
sample=$(dirname "$here")
work=${1:-$(mktemp -d)}
python=${PYTHON:-python3}
# One thread for each process, and an allocator that keeps its memory.
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE=1
export MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=1000000000 MALLOC_TOP_PAD_=268435456
mkdir -p "$work"
run() { script=$1; shift; "$python" "$here/$script" "$@"; }

run tokenizer.py "$work"
words=$work/tokenizer.json

# The weak draft, trained apart from the target, beside the small model that the target grows from. Both learn an
# earlier form of the log task first.
(
    run train.py "$work/draft1" --tokenizer "$words" --ffn 128 --steps 700 --seed 2 --first-stage
    run train.py "$work/draft" --tokenizer "$words" --start "$work/draft1" --steps 150 --rate 1e-3 --seed 6 \
        --lengths 512,768,1536
) > "$work/draft.log" &
draft=$!
run train.py "$work/small1" --tokenizer "$words" --ffn 256 --steps 5400 --seed 1 --first-stage > "$work/small1.log"
run train.py "$work/small" --tokenizer "$words" --start "$work/small1" --steps 300 --rate 1e-3 --seed 4 \
    --lengths 512,768,1536 > "$work/small.log"
wait "$draft"

run grow.py "$work/small" "$work/grown"
run train.py "$work/target" --tokenizer "$words" --start "$work/grown" --steps 300 --rate 7e-4 --seed 8 \
    --lengths 512,768,1536 > "$work/target.log"

run export.py "$work/target" "$words" "$sample/model"
run export.py "$work/draft" "$words" "$sample/draft"
run make_prompts.py "$sample" "$words"
run make_reference.py "$sample"
run evaluate.py "$sample/model" --prompts "$sample" --draft "$sample/draft"
