// Times llama.cpp or ik_llama.cpp through the C API of a library, one measurement for each line on standard input.
//
//   llama.cpp     cc -O2 -o llama_session llama_session.c -ldl
//   ik_llama.cpp  cc -O2 -DIK -I SOURCE/include -I SOURCE/ggml/include -o ik_session llama_session.c -L BUILD/src -lllama -Wl,-rpath,BUILD/src
//
//   llama_session --model FILE [--lib DIR] [--threads 2] [--sequences 32] [--kv unified|split] [--fa auto|off|on] [--repack 0|1]
//
//   prompt TOKENS              a prompt that nothing is known of, until its next token
//   decode PREFIX BATCH STEPS  STEPS tokens for each of BATCH sequences behind one prefix, which is computed once
//
// Each answer is a JSON line; times are seconds. "wrong" counts tokens that are not those of the chain that make_models.py plants.
#define _GNU_SOURCE
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { VOCABULARY = 32000, FIRST = 260, STEP = 7919, MAX_SEQUENCES = 128, MAX_STEPS = 256, TOKENS_AT_ONCE = 2048 };

typedef struct {
    const char *model, *lib, *kv, *fa;
    int threads, sequences, repack;
} Options;

static void fail(const char *what) { fprintf(stderr, "llama_session: %s\n", what); exit(1); }

static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec + 1e-9 * t.tv_nsec; }

// open_model, open_context, new_batch, compute, logits_of, forget_all, forget, share
#ifdef IK
#include "engine_ik.h"
#else
#include "engine_llama.h"
#endif

// ---- the measurements

static Batch batch;
static int held_prefix = -1;
static unsigned prompts;

static int successor(int token) {
    int words = VOCABULARY - FIRST;
    return token >= FIRST ? FIRST + (token - FIRST + STEP) % words : FIRST + (token * 97 + 13) % words;
}

static int most_likely(const float *logits) { // blocks of 64, so that the compiler can use vectors
    int best = 0;
    for (int start = 0; start < VOCABULARY; start += 64) {
        float most = logits[start];
        for (int i = 1; i < 64; i++) most = logits[start + i] > most ? logits[start + i] : most;
        if (most <= logits[best]) continue;
        for (best = start; logits[best] != most;) best++;
    }
    return best;
}

static void put(int token, int position, int sequence, bool wants_logits) {
    int row = batch.n_tokens++;
    batch.token[row] = token;
    batch.pos[row] = position;
    batch.n_seq_id[row] = 1;
    batch.seq_id[row][0] = sequence;
    batch.logits[row] = wants_logits;
}

static int read_prompt(int tokens) { // as sequence 0; returns whether the next token is wrong
    int token = 0;
    for (int done = 0; done < tokens;) {
        batch.n_tokens = 0;
        for (; done < tokens && batch.n_tokens < TOKENS_AT_ONCE; done++) {
            token = FIRST + (done * 131 + prompts * 17) % (VOCABULARY - FIRST);
            put(token, done, 0, done == tokens - 1);
        }
        compute(batch);
    }
    prompts++;
    return most_likely(logits_of(batch.n_tokens - 1)) != successor(token);
}

static int room(const Options *options, int prefix) {
    int each = (prefix + MAX_STEPS + 255) / 256 * 256;
    int together = (prefix + options->sequences * (MAX_STEPS / 4) + 255) / 256 * 256;
    return !strcmp(options->kv, "unified") ? together : each * options->sequences;
}

static void prompt(const Options *options, int tokens) {
    if (held_prefix != -1 - tokens) open_context(options, room(options, tokens));
    held_prefix = -1 - tokens; // a context for prompts of so many
    forget_all();
    double start = now();
    int wrong = read_prompt(tokens);
    printf("{\"prompt\":%d,\"seconds\":%.6f,\"wrong\":%d}\n", tokens, now() - start, wrong);
}

static int ascending(const void *a, const void *b) { double x = *(const double *) a, y = *(const double *) b; return (x > y) - (x < y); }

static void hold_prefix(const Options *options, int tokens) {
    if (held_prefix == tokens) return;
    open_context(options, room(options, tokens));
    if (tokens) read_prompt(tokens);
    for (int sequence = 1; tokens && sequence < options->sequences; sequence++) share(0, sequence);
    held_prefix = tokens;
}

static void decode_steps(const Options *options, int prefix, int sequences, int steps) {
    static double seconds[MAX_STEPS];
    static int tokens[MAX_SEQUENCES];
    int wrong = 0;
    hold_prefix(options, prefix);
    for (int s = 0; s < options->sequences; s++) forget(s, prefix);
    for (int s = 0; s < sequences; s++) tokens[s] = FIRST + (s * 977 + 5) % (VOCABULARY - FIRST);
    for (int step = -1; step < steps; step++) { // one to warm up
        double start = now();
        batch.n_tokens = 0;
        for (int s = 0; s < sequences; s++) put(tokens[s], prefix + 1 + step, s, true);
        compute(batch);
        for (int s = 0; s < sequences; s++) {
            int next = most_likely(logits_of(s));
            wrong += next != successor(tokens[s]);
            tokens[s] = next;
        }
        if (step >= 0) seconds[step] = now() - start;
    }
    qsort(seconds, steps, sizeof *seconds, ascending);
    printf("{\"prefix\":%d,\"batch\":%d,\"steps\":%d,\"step\":%.6f,\"least\":%.6f,\"wrong\":%d}\n",
        prefix, sequences, steps, seconds[steps / 2], seconds[0], wrong);
}

static Options parse(int count, char **arguments) {
    Options options = {.kv = "unified", .fa = "auto", .threads = 2, .sequences = 32};
    for (int i = 1; i + 1 < count; i += 2) {
        char *name = arguments[i], *value = arguments[i + 1];
        if (!strcmp(name, "--model")) options.model = value;
        else if (!strcmp(name, "--lib")) options.lib = value;
        else if (!strcmp(name, "--kv")) options.kv = value;
        else if (!strcmp(name, "--fa")) options.fa = value;
        else if (!strcmp(name, "--threads")) options.threads = atoi(value);
        else if (!strcmp(name, "--sequences")) options.sequences = atoi(value);
        else if (!strcmp(name, "--repack")) options.repack = atoi(value);
        else { fprintf(stderr, "llama_session: unknown option %s\n", name); exit(1); }
    }
    if (!options.model) fail("--model is needed");
    if (options.sequences < 1 || options.sequences > MAX_SEQUENCES) fail("--sequences must be 1 to 128");
    return options;
}

int main(int count, char **arguments) {
    Options options = parse(count, arguments);
    double start = now();
    open_model(&options);
    batch = new_batch();
    printf("{\"load\":%.3f}\n", now() - start);
    fflush(stdout);
    char line[256];
    while (fgets(line, sizeof line, stdin)) {
        int a, b, c;
        if (sscanf(line, "prompt %d", &a) == 1 && a > 0) prompt(&options, a);
        else if (sscanf(line, "decode %d %d %d", &a, &b, &c) == 3 && a >= 0 && b > 0 && b <= options.sequences && c > 0 && c < MAX_STEPS / 4)
            decode_steps(&options, a, b, c);
        else { fprintf(stderr, "llama_session: expected prompt TOKENS or decode PREFIX BATCH STEPS, not %s", line); return 1; }
        fflush(stdout);
    }
    return 0;
}
