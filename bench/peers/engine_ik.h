// engine_ik.h - ik_llama.cpp behind the functions that llama_session.c calls; compiled against its header.
#pragma once
#include "llama.h"

typedef struct llama_batch Batch;
static struct llama_model *model;
static struct llama_context *context;

static void quiet(enum ggml_log_level level, const char *text, void *user) { (void) user; if (level == GGML_LOG_LEVEL_ERROR) fputs(text, stderr); }

static void open_model(const Options *options) {
    llama_log_set(quiet, NULL);
    llama_backend_init();
    struct llama_model_params parameters = llama_model_default_params();
    parameters.n_gpu_layers = 0;
    parameters.repack_tensors = options->repack;
    parameters.use_mmap = !options->repack;
    model = llama_model_load_from_file(options->model, parameters);
    if (!model) fail("the model could not be loaded");
}

static void open_context(const Options *options, int tokens) {
    if (context) llama_free(context);
    struct llama_context_params parameters = llama_context_default_params();
    parameters.n_ctx = tokens;
    parameters.n_batch = TOKENS_AT_ONCE;
    parameters.n_ubatch = 512;
    parameters.n_seq_max = options->sequences;
    parameters.n_threads = parameters.n_threads_batch = options->threads;
    parameters.flash_attn = strcmp(options->fa, "off") != 0;
    context = llama_init_from_model(model, parameters);
    if (!context) fail("no context");
}

static Batch new_batch(void) { return llama_batch_init(TOKENS_AT_ONCE, 0, 1); }
static void compute(Batch batch) { if (llama_decode(context, batch)) fail("llama_decode failed"); }
static float *logits_of(int row) { return llama_get_logits_ith(context, row); }
static void forget_all(void) { llama_kv_cache_clear(context); }
static void forget(int sequence, int from) { llama_kv_cache_seq_rm(context, sequence, from, -1); }
static void share(int from, int to) { llama_kv_cache_seq_cp(context, from, to, -1, -1); }

