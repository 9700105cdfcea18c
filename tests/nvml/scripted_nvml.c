/* A libnvidia-ml.so.1 that plays a scenario, so that the real binding can be tried without a GPU.
 *
 * Owns NVML's C interface as far as effbench calls it; knows nothing of effbench. The scenario is a text file named in
 * NVML_SCRIPT, one statement a line (tests/nvml/README.md):
 *
 *   driver 580.65.06 | nvml 13.580.65 | cuda 13000        what the driver says of itself
 *   gpu 0 name "NVIDIA H200"                              a fact of the GPU with NVML index 0; unset = NotSupported
 *   gpu 0 field 186 uint @power_mw                        a field value: its type, then a number or another fact
 *   gpu 0 field 185/2 uint 61000                          the same in a scope: 1 module, 2 memory
 *   gpu 1 lost yes | gpu 1 reset_required yes             every call on it fails
 *   gpu 0 energy stuck | runs | reset | wrap 4294967296   how the energy counter behaves (energy_mj is its start)
 *   gpu 0 xid 79                                          an XID event arrives
 *   call nvmlDeviceGetPowerUsage returns 3 | hangs | ok   one function, for every GPU
 *   gpu 1 call nvmlDeviceGetPowerUsage returns 15         one function, for one GPU
 *   at 5 STATEMENT                                        the same, 5 s after nvmlInit
 *   clock manual                                          time is what scripted_nvml_at() says, not the wall's
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { OK = 0, UNINITIALIZED = 1, INVALID = 2, NOT_SUPPORTED = 3, SMALL = 7, TIMEOUT = 10, LOST = 15, RESET = 16 };
enum { GPUS = 8, FACTS = 96, LINES = 256, XIDS = 16 };

struct fact { char key[72], value[96]; };
struct gpu {
    struct fact facts[FACTS];
    int n, nxids;
    double energy_mj;
    unsigned long long xids[XIDS];
};
struct line { double at; int done; char text[192]; };

static struct gpu node, gpus[GPUS]; /* `node` holds what concerns no single GPU */
static int count, references, nlines;
static struct line lines[LINES];
static double now, started;

static const char *get(struct gpu *g, const char *key) {
    for (int i = 0; i < g->n; i++)
        if (!strcmp(g->facts[i].key, key)) return g->facts[i].value;
    return NULL;
}

static void set(struct gpu *g, const char *key, const char *value) {
    int i = 0;
    while (i < g->n && strcmp(g->facts[i].key, key)) i++;
    if (i == FACTS) { fprintf(stderr, "scripted NVML: too many facts at %s\n", key); abort(); }
    if (i == g->n) g->n++;
    snprintf(g->facts[i].key, sizeof g->facts[i].key, "%s", key);
    snprintf(g->facts[i].value, sizeof g->facts[i].value, "%s", value);
}

/* One statement without its `at`. */
static void apply(char *text) {
    struct gpu *g = &node;
    char first[72] = "", second[72] = "", key[72], *value = text;
    int index, used = 0;
    if (sscanf(value, "gpu %d %n", &index, &used) == 1 && used && index < GPUS) {
        g = &gpus[index];
        if (index >= count) count = index + 1;
        value += used;
    }
    sscanf(value, "%71s %n", first, &used);
    value += used;
    snprintf(key, sizeof key, "%s", first);
    if (!strcmp(first, "call") || !strcmp(first, "field")) {
        sscanf(value, "%71s %n", second, &used);
        value += used;
        snprintf(key, sizeof key, "%.8s %.60s", first, second);
    }
    if (*value == '"') value++;
    value[strcspn(value, "\"\r\n")] = 0;
    set(g, key, value);
    if (!strcmp(key, "xid") && g->nxids < XIDS) g->xids[g->nxids++] = strtoull(value, NULL, 0);
    if (!strcmp(key, "energy_mj")) g->energy_mj = atof(value);
    if (!strcmp(key, "energy") && !strcmp(value, "reset")) g->energy_mj = 0;
}

static void load(void) {
    char buffer[192];
    const char *path = getenv("NVML_SCRIPT");
    FILE *file = path ? fopen(path, "r") : NULL;
    if (!file) { fprintf(stderr, "scripted NVML: NVML_SCRIPT names no readable file\n"); abort(); }
    while (fgets(buffer, sizeof buffer, file)) {
        double at = 0;
        int used = 0;
        if (buffer[0] == '#' || buffer[0] == '\n') continue;
        sscanf(buffer, "at %lf %n", &at, &used);
        if (!used) { apply(buffer); continue; }
        if (nlines == LINES) { fprintf(stderr, "scripted NVML: too many lines\n"); abort(); }
        lines[nlines].at = at;
        snprintf(lines[nlines++].text, sizeof lines[0].text, "%s", buffer + used);
    }
    fclose(file);
}

static double wall(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void draw(double until) {
    for (int i = 0; i < count; i++) {
        const char *power = get(&gpus[i], "power_mw"), *how = get(&gpus[i], "energy");
        if (power && !(how && !strcmp(how, "stuck"))) gpus[i].energy_mj += atof(power) * (until - now);
    }
    now = until;
}

/* Let time pass until `t` seconds, with everything that happens on the way. */
static void advance(double t) {
    for (int i = 0; i < nlines; i++) /* lines are in the order of their times */
        if (!lines[i].done && lines[i].at <= t) {
            if (lines[i].at > now) draw(lines[i].at);
            lines[i].done = 1;
            apply(lines[i].text);
        }
    if (t > now) draw(t);
}

void scripted_nvml_at(double t) { advance(t); }

/* What every call begins with: time, the scenario's orders for this function, the state of library and GPU. */
static int enter(const char *function, struct gpu *g) {
    char key[72];
    const char *order = NULL, *clock = get(&node, "clock");
    if (references && !(clock && !strcmp(clock, "manual"))) advance(wall() - started);
    snprintf(key, sizeof key, "call %.60s", function);
    if (g) order = get(g, key);
    if (!order) order = get(&node, key);
    if (order && !strcmp(order, "hangs")) for (;;) pause();
    if (order && !strncmp(order, "returns ", 8)) return atoi(order + 8);
    if (!references && strcmp(function, "nvmlInitWithFlags")) return UNINITIALIZED;
    if (g && get(g, "lost")) return LOST;
    if (g && get(g, "reset_required")) return RESET;
    return OK;
}

#define ENTER(g) do { int code_ = enter(__func__, g); if (code_) return code_; } while (0)

/* A fact as a number; `@power_mw` refers to another fact, `@energy` to the counter. */
static int number(struct gpu *g, const char *text, double *out) {
    const char *wrap = get(g, "energy");
    if (text && !strcmp(text, "@energy")) {
        if (!get(g, "energy_mj")) return NOT_SUPPORTED;
        *out = g->energy_mj;
        if (wrap && !strncmp(wrap, "wrap ", 5))
            *out -= (double)((unsigned long long)(g->energy_mj / atof(wrap + 5))) * atof(wrap + 5);
        return OK;
    }
    if (text && *text == '@') text = get(g, text + 1);
    if (!text) return NOT_SUPPORTED;
    *out = atof(text);
    return OK;
}

static int word(struct gpu *g, const char *key, char *out, unsigned size) {
    const char *value = get(g, key);
    if (!value) return NOT_SUPPORTED;
    if (strlen(value) >= size) return SMALL;
    strcpy(out, value);
    return OK;
}

/* Up to `n` numbers of one fact, into unsigned ints; how many there were. */
static int numbers(struct gpu *g, const char *key, unsigned *out, int n) {
    const char *text = get(g, key);
    int found = 0, used = 0;
    while (text && found < n && sscanf(text, "%u%n", &out[found], &used) == 1) found++, text += used;
    return found;
}

#define NUMBER(function, type, key) \
    int function(struct gpu *g, type *out) { \
        double value; \
        ENTER(g); \
        int code = number(g, strcmp(key, "@energy") ? get(g, key) : key, &value); \
        if (!code) *out = (type)value; \
        return code; \
    }
#define WORD(function, key) \
    int function(struct gpu *g, char *out, unsigned size) { ENTER(g); return word(g, key, out, size); }
#define PAIR(function, key) \
    int function(struct gpu *g, unsigned *current, unsigned *pending) { \
        ENTER(g); \
        if (numbers(g, key, current, 1) != 1) return NOT_SUPPORTED; \
        *pending = *current; \
        return OK; \
    }

int nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    if (!nlines && !node.n && !count) load();
    ENTER(NULL);
    if (!references++) started = wall();
    return OK;
}
int nvmlShutdown(void) { ENTER(NULL); references--; return OK; }
const char *nvmlErrorString(int code) { (void)code; return "scripted"; }

int nvmlSystemGetDriverVersion(char *out, unsigned size) { ENTER(NULL); return word(&node, "driver", out, size); }
int nvmlSystemGetNVMLVersion(char *out, unsigned size) { ENTER(NULL); return word(&node, "nvml", out, size); }
int nvmlSystemGetCudaDriverVersion_v2(int *out) {
    ENTER(NULL);
    return numbers(&node, "cuda", (unsigned *)out, 1) == 1 ? OK : NOT_SUPPORTED;
}

int nvmlDeviceGetCount_v2(unsigned *out) { ENTER(NULL); *out = count; return OK; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, struct gpu **out) {
    if ((int)index >= count) return INVALID;
    ENTER(&gpus[index]);
    *out = &gpus[index];
    return OK;
}

WORD(nvmlDeviceGetName, "name")
WORD(nvmlDeviceGetUUID, "uuid")
WORD(nvmlDeviceGetSerial, "serial")
WORD(nvmlDeviceGetVbiosVersion, "vbios")

struct pci { char legacy[16]; unsigned domain, bus, device, id, subsystem; char bus_id[32]; };
int nvmlDeviceGetPciInfo_v3(struct gpu *g, struct pci *out) {
    ENTER(g);
    memset(out, 0, sizeof *out);
    int code = word(g, "bus_id", out->bus_id, sizeof out->bus_id);
    if (!code) sscanf(out->bus_id, "%x:%x:%x", &out->domain, &out->bus, &out->device);
    return code;
}

struct memory { unsigned long long total, free, used; };
int nvmlDeviceGetMemoryInfo(struct gpu *g, struct memory *out) {
    double total;
    ENTER(g);
    int code = number(g, get(g, "memory_bytes"), &total);
    if (!code) *out = (struct memory){(unsigned long long)total, (unsigned long long)total, 0};
    return code;
}

int nvmlDeviceGetCudaComputeCapability(struct gpu *g, int *major, int *minor) {
    const char *text = get(g, "capability");
    ENTER(g);
    return text && sscanf(text, "%d.%d", major, minor) == 2 ? OK : NOT_SUPPORTED;
}

PAIR(nvmlDeviceGetEccMode, "ecc")
PAIR(nvmlDeviceGetMigMode, "mig")
NUMBER(nvmlDeviceGetVirtualizationMode, unsigned, "virtualization")
NUMBER(nvmlDeviceGetPersistenceMode, unsigned, "persistence")
NUMBER(nvmlDeviceGetEnforcedPowerLimit, unsigned, "limit_mw")
NUMBER(nvmlDeviceGetPowerManagementDefaultLimit, unsigned, "limit_default_mw")
NUMBER(nvmlDeviceGetCurrPcieLinkGeneration, unsigned, "pcie_generation")
NUMBER(nvmlDeviceGetCurrPcieLinkWidth, unsigned, "pcie_width")
NUMBER(nvmlDeviceGetMaxPcieLinkGeneration, unsigned, "pcie_generation_max")
NUMBER(nvmlDeviceGetMaxPcieLinkWidth, unsigned, "pcie_width_max")
NUMBER(nvmlDeviceGetPcieReplayCounter, unsigned, "pcie_replay")

/* `nvlink_3 up switch`, `nvlink_3 up 00000000:1B:00.0`, `nvlink_3 up` (a guest hides the end), `nvlink_3 down`. */
static const char *link_of(struct gpu *g, unsigned link) {
    char key[32];
    snprintf(key, sizeof key, "nvlink_%u", link);
    return get(g, key);
}
int nvmlDeviceGetNvLinkState(struct gpu *g, unsigned link, unsigned *up) {
    ENTER(g);
    const char *text = link_of(g, link);
    if (!text) return link_of(g, 0) ? INVALID : NOT_SUPPORTED;
    *up = !strncmp(text, "up", 2);
    return OK;
}
int nvmlDeviceGetNvLinkRemoteDeviceType(struct gpu *g, unsigned link, unsigned *kind) {
    ENTER(g);
    const char *text = link_of(g, link);
    if (!text || !text[2]) return NOT_SUPPORTED;
    *kind = strcmp(text, "up switch") ? 0 : 2; /* a GPU, or a switch */
    return OK;
}
int nvmlDeviceGetNvLinkRemotePciInfo_v2(struct gpu *g, unsigned link, struct pci *out) {
    ENTER(g);
    const char *text = link_of(g, link);
    if (!text || strlen(text) < 4) return NOT_SUPPORTED;
    memset(out, 0, sizeof *out);
    snprintf(out->bus_id, sizeof out->bus_id, "%s", text + 3);
    return OK;
}
int nvmlDeviceGetNvLinkVersion(struct gpu *g, unsigned link, unsigned *out) {
    ENTER(g);
    (void)link;
    return numbers(g, "nvlink_version", out, 1) == 1 ? OK : NOT_SUPPORTED;
}

/* `hop_1 10`: to the GPU of index 1. */
int nvmlDeviceGetTopologyCommonAncestor(struct gpu *g, struct gpu *other, int *level) {
    char key[32];
    double value;
    ENTER(g);
    snprintf(key, sizeof key, "hop_%d", (int)(other - gpus));
    int code = number(g, get(g, key), &value);
    if (!code) *level = (int)value;
    return code;
}

NUMBER(nvmlDeviceGetRetiredPagesPendingStatus, unsigned, "retired_pending")
NUMBER(nvmlDeviceGetPowerUsage, unsigned, "power_mw")
NUMBER(nvmlDeviceGetTotalEnergyConsumption, unsigned long long, "@energy")
NUMBER(nvmlDeviceGetCurrentClocksThrottleReasons, unsigned long long, "reasons")

static int clock_of(struct gpu *g, int type, unsigned *out, const char *suffix) {
    char key[32];
    double value;
    snprintf(key, sizeof key, "clock_%d%s_mhz", type, suffix); /* 1 is SM, 2 memory */
    int code = number(g, get(g, key), &value);
    if (!code) *out = (unsigned)value;
    return code;
}
int nvmlDeviceGetClockInfo(struct gpu *g, int type, unsigned *out) { ENTER(g); return clock_of(g, type, out, ""); }
int nvmlDeviceGetMaxClockInfo(struct gpu *g, int type, unsigned *out) { ENTER(g); return clock_of(g, type, out, "_max"); }

int nvmlDeviceGetTemperature(struct gpu *g, int sensor, unsigned *out) {
    ENTER(g);
    (void)sensor;
    return numbers(g, "temperature", out, 1) == 1 ? OK : NOT_SUPPORTED;
}

int nvmlDeviceGetUtilizationRates(struct gpu *g, unsigned *gpu_and_memory) {
    ENTER(g);
    return numbers(g, "utilisation", gpu_and_memory, 2) == 2 ? OK : NOT_SUPPORTED;
}

int nvmlDeviceGetTotalEccErrors(struct gpu *g, int type, int counter, unsigned long long *out) {
    char key[16];
    double value;
    ENTER(g);
    snprintf(key, sizeof key, "ecc_%d_%d", type, counter); /* 1_0: uncorrected, volatile */
    int code = number(g, get(g, key), &value);
    if (!code) *out = (unsigned long long)value;
    return code;
}

int nvmlDeviceGetRemappedRows(struct gpu *g, unsigned *corrected, unsigned *uncorrected, unsigned *pending,
                              unsigned *failed) {
    unsigned rows[4];
    ENTER(g);
    if (numbers(g, "remapped", rows, 4) != 4) return NOT_SUPPORTED;
    *corrected = rows[0], *uncorrected = rows[1], *pending = rows[2], *failed = rows[3];
    return OK;
}

int nvmlDeviceGetRetiredPages(struct gpu *g, int cause, unsigned *n, unsigned long long *pages) {
    unsigned retired[2];
    ENTER(g);
    if (numbers(g, "retired", retired, 2) != 2) return NOT_SUPPORTED;
    if (!pages || *n < retired[cause]) { *n = retired[cause]; return SMALL; }
    *n = retired[cause];
    memset(pages, 0, *n * sizeof *pages);
    return OK;
}

struct process { unsigned pid; unsigned long long memory; unsigned gpu_instance, compute_instance; };
static int processes(struct gpu *g, unsigned *n, struct process *out) {
    unsigned pids[32], found = numbers(g, "processes", pids, 32);
    if (!get(g, "processes")) return NOT_SUPPORTED;
    if (*n < found) { *n = found; return SMALL; }
    for (unsigned i = 0; i < found; i++) out[i] = (struct process){pids[i], 1 << 20, ~0u, ~0u};
    *n = found;
    return OK;
}
int nvmlDeviceGetComputeRunningProcesses_v2(struct gpu *g, unsigned *n, struct process *out) {
    ENTER(g);
    return processes(g, n, out);
}

struct field {
    unsigned id, scope;
    long long timestamp, latency_us;
    unsigned type;
    int code;
    union { double d; unsigned ui; unsigned long ul; unsigned long long ull; long long sll; int si; unsigned short us; } value;
};
static void fill(struct gpu *g, struct field *f) {
    static const char *types[] = {"double", "uint", "ulong", "ull", "sll", "int", "ushort"};
    char key[32], type[16] = "", rest[64] = "";
    double v;
    if (f->scope) snprintf(key, sizeof key, "field %u/%u", f->id, f->scope);
    else snprintf(key, sizeof key, "field %u", f->id);
    const char *text = get(g, key);
    if (!text || sscanf(text, "%15s %63s", type, rest) != 2) { f->code = NOT_SUPPORTED; return; }
    if (!strcmp(type, "returns")) { f->code = atoi(rest); return; }
    f->code = number(g, rest, &v);
    if (f->code) return;
    for (f->type = 0; f->type < 7 && strcmp(types[f->type], type); f->type++) {}
    memset(&f->value, 0xff, sizeof f->value); /* a member that does not fit the type must read as nonsense */
    switch (f->type) {
    case 0: f->value.d = v; break;
    case 1: f->value.ui = (unsigned)v; break;
    case 2: f->value.ul = (unsigned long)v; break;
    case 3: f->value.ull = (unsigned long long)v; break;
    case 4: f->value.sll = (long long)v; break;
    case 5: f->value.si = (int)v; break;
    case 6: f->value.us = (unsigned short)v; break;
    }
}
int nvmlDeviceGetFieldValues(struct gpu *g, int n, struct field *fields) {
    ENTER(g);
    for (int i = 0; i < n; i++) fill(g, &fields[i]);
    return OK; /* as the real one: success even when every field failed */
}

/* An event set listens to the one GPU registered with it. */
struct events { struct gpu *g; int next; };
struct event { struct gpu *g; unsigned long long type, data; unsigned gpu_instance, compute_instance; };
int nvmlEventSetCreate(struct events **out) { ENTER(NULL); *out = calloc(1, sizeof **out); return OK; }
int nvmlEventSetFree(struct events *set) { ENTER(NULL); free(set); return OK; }
int nvmlDeviceGetSupportedEventTypes(struct gpu *g, unsigned long long *out) {
    double value = 0x1f;
    ENTER(g);
    number(g, get(g, "event_types"), &value);
    *out = (unsigned long long)value;
    return OK;
}
int nvmlDeviceRegisterEvents(struct gpu *g, unsigned long long types, struct events *set) {
    ENTER(g);
    (void)types;
    set->g = g;
    set->next = g->nxids;
    return OK;
}
int nvmlEventSetWait_v2(struct events *set, struct event *out, unsigned timeout_ms) {
    ENTER(NULL);
    if (set->next >= set->g->nxids) { usleep(timeout_ms * 1000); return TIMEOUT; }
    *out = (struct event){set->g, 0x8, set->g->xids[set->next++], ~0u, ~0u};
    return OK;
}

#ifndef OLD_DRIVER /* what a driver of branch 470 does not have yet */
NUMBER(nvmlDeviceGetCurrentClocksEventReasons, unsigned long long, "reasons")
int nvmlDeviceGetComputeRunningProcesses_v3(struct gpu *g, unsigned *n, struct process *out) {
    ENTER(g);
    return processes(g, n, out);
}
struct temperature { unsigned version, sensor; int value; };
int nvmlDeviceGetTemperatureV(struct gpu *g, struct temperature *out) {
    ENTER(g);
    return numbers(g, "temperature", (unsigned *)&out->value, 1) == 1 ? OK : NOT_SUPPORTED;
}
#endif
