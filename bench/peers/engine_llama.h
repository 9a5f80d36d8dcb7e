// engine_llama.h - llama.cpp behind the functions that llama_session.c calls: opened at run time and without headers, so that builds of several
// versions can be measured. Its parameters are bytes here. What is set lies at places that versions 0.5.0 to 0.7.0 share; kv_unified is found
// by the flags before it.
#pragma once
#include <dirent.h>
#include <dlfcn.h>
#include <unistd.h>

typedef struct { unsigned char byte[512]; } Parameters; // by value on the stack: the library reads its own part
typedef struct { int32_t n_tokens; int32_t *token; float *embd; int32_t *pos; int32_t *n_seq_id; int32_t **seq_id; int8_t *logits; } Batch;

enum { GPU_LAYERS = 0x10, LOAD_MODE = 0x18, FLASH_ATTENTION = 0x34, FLAGS_FROM = 0x78, FLAGS_TO = 0x98, KV_UNIFIED = 5 };

static void *libraries[3], *model, *context, *pool;
static Parameters (*model_defaults)(void), (*context_defaults)(void);
static void *(*model_load)(const char *, Parameters), *(*context_new)(void *, Parameters), *(*memory_of)(const void *);
static void (*context_free)(void *), (*memory_clear)(void *, bool), (*attach_pool)(void *, void *, void *);
static void (*memory_copy)(void *, int32_t, int32_t, int32_t, int32_t);
static bool (*memory_remove)(void *, int32_t, int32_t, int32_t);
static Batch (*batch_init)(int32_t, int32_t, int32_t);
static int32_t (*decode)(void *, Batch);
static float *(*logits_ith)(void *, int32_t);

static void *find(const char *name, bool needed) {
    for (int i = 0; i < 3; i++) { void *symbol = dlsym(libraries[i], name); if (symbol) return symbol; }
    if (needed) { fprintf(stderr, "llama_session: the library has no %s\n", name); exit(1); }
    return NULL;
}

static void *open_library(const char *folder, const char *stem) { // libNAME.so, libNAME.so.0, libNAME.v0.5.0.so
    DIR *entries = opendir(folder);
    if (!entries) fail("--lib: expected the folder of libllama");
    void *library = NULL;
    for (struct dirent *entry; !library && (entry = readdir(entries));) {
        char path[4096];
        if (strncmp(entry->d_name, stem, strlen(stem)) || entry->d_name[strlen(stem)] != '.' || !strstr(entry->d_name, ".so")) continue;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        library = dlopen(path, RTLD_NOW | RTLD_GLOBAL);
    }
    closedir(entries);
    if (!library) { fprintf(stderr, "llama_session: no %s in %s: %s\n", stem, folder, dlerror()); exit(1); }
    return library;
}

static void *cpu_backend(void) { // the variant that the library chose for this machine
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[5000];
    void *library = NULL;
    while (maps && !library && fgets(line, sizeof line, maps)) {
        char *path = strchr(line, '/');
        if (!path || !strstr(path, "libggml-cpu")) continue;
        path[strcspn(path, "\n")] = 0;
        fprintf(stderr, "%s\n", path);
        library = dlopen(path, RTLD_NOW | RTLD_NOLOAD);
    }
    if (maps) fclose(maps);
    return library;
}

static void quiet(int level, const char *text, void *user) { (void) user; if (level == 4) fputs(text, stderr); }

static void open_functions(const char *folder) {
    libraries[2] = open_library(folder, "libggml-base");
    libraries[1] = open_library(folder, "libggml");
    libraries[0] = open_library(folder, "libllama");
    model_defaults = find("llama_model_default_params", true);
    context_defaults = find("llama_context_default_params", true);
    model_load = find("llama_model_load_from_file", true);
    context_new = find("llama_init_from_model", true);
    context_free = find("llama_free", true);
    memory_of = find("llama_get_memory", true);
    memory_clear = find("llama_memory_clear", true);
    memory_copy = find("llama_memory_seq_cp", true);
    memory_remove = find("llama_memory_seq_rm", true);
    batch_init = find("llama_batch_init", true);
    decode = find("llama_decode", true);
    logits_ith = find("llama_get_logits_ith", true);
    attach_pool = find("llama_attach_threadpool", true);
}

static void open_pool(int threads) { // one for all steps, as the library's own programs have it
    static unsigned char parameters[1024];
    void *cpu = cpu_backend();
    void (*init)(void *, int) = find("ggml_threadpool_params_init", false);
    void *(*create)(void *) = cpu ? dlsym(cpu, "ggml_threadpool_new") : NULL;
    if (!init || !create) return;
    init(parameters, threads);
    pool = create(parameters);
}

static void open_model(const Options *options) {
    if (!options->lib) fail("--lib is needed: the folder of libllama");
    open_functions(options->lib);
    ((void (*)(void *, void *)) find("llama_log_set", true))((void *) quiet, NULL);
    char backends[4096];
    snprintf(backends, sizeof backends, "%s/ggml/backends0", options->lib);
    ((void (*)(const char *)) find("ggml_backend_load_all_from_path", true))(access(backends, R_OK) ? options->lib : backends);
    ((void (*)(void)) find("llama_backend_init", true))();
    Parameters parameters = model_defaults();
    *(int32_t *) (parameters.byte + GPU_LAYERS) = 0;
    *(int32_t *) (parameters.byte + LOAD_MODE) = 0; // read, not mapped
    model = model_load(options->model, parameters);
    if (!model) fail("the model could not be loaded");
    open_pool(options->threads);
}

static void open_context(const Options *options, int tokens) {
    static const unsigned char before[KV_UNIFIED + 1] = {0, 1, 1, 1, 1, 0}; // embeddings, offload_kqv, no_perf, op_offload, swa_full, kv_unified
    Parameters parameters = context_defaults();
    int flags = FLAGS_FROM;
    while (flags <= FLAGS_TO && memcmp(parameters.byte + flags, before, sizeof before)) flags += 8;
    uint32_t *numbers = (uint32_t *) parameters.byte;
    if (flags > FLAGS_TO || numbers[0] != 512 || *(int32_t *) (parameters.byte + FLASH_ATTENTION) != -1)
        fail("llama_context_params has another layout than versions 0.5.0 to 0.7.0");
    if (context) context_free(context);
    numbers[0] = tokens;
    numbers[1] = TOKENS_AT_ONCE;
    numbers[2] = 512; // n_ubatch
    numbers[3] = options->sequences;
    numbers[7] = numbers[8] = options->threads;
    *(int32_t *) (parameters.byte + FLASH_ATTENTION) = !strcmp(options->fa, "on") ? 1 : !strcmp(options->fa, "off") ? 0 : -1;
    parameters.byte[flags + KV_UNIFIED] = !strcmp(options->kv, "unified");
    context = context_new(model, parameters);
    if (!context) fail("no context");
    if (pool) attach_pool(context, pool, pool);
}

static Batch new_batch(void) { return batch_init(TOKENS_AT_ONCE, 0, 1); }
static void compute(Batch batch) { if (decode(context, batch)) fail("llama_decode failed"); }
static float *logits_of(int row) { return logits_ith(context, row); }
static void forget_all(void) { memory_clear(memory_of(context), false); }
static void forget(int sequence, int from) { memory_remove(memory_of(context), sequence, from, -1); }
static void share(int from, int to) { memory_copy(memory_of(context), from, to, -1, -1); }
