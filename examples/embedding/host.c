/*
 * A host with a life of its own that takes the library in at run time: it has threads, handlers for signals and a
 * profiler that interrupts whatever runs, and it wants all of them back as they were.
 *
 *   host LIBRARY DIRECTORY
 *
 * Nothing is linked: the library is loaded by dlopen with RTLD_LOCAL, so that none of its symbols meets the host's.
 */
#define _GNU_SOURCE
#include "arrow_rows.h"

#include <dirent.h>
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 4, WRITES = 5, ROUNDS = 100 };

/* The functions that are used, with the types that the header gives them. */
#define FUNCTIONS(X) \
    X(abi_version) X(context_new) X(context_set_timeout_ms) X(context_free) X(error_message) X(error_free) \
    X(live_handles) X(store_open) X(store_define) X(store_write) X(store_read) X(store_close) X(store_free)
#define DECLARE(name) __typeof__(metaxy_##name) *name;
static struct {
    FUNCTIONS(DECLARE)
} metaxy;

/* ISO C has no cast from an object to a function; POSIX says to copy the pointer. */
#define FIND(name) \
    if (!(*(void **)&metaxy.name = dlsym(library, "metaxy_" #name))) return dlerror();

static const char *load(const char *path, void **loaded) {
    void *library = *loaded = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library) return dlerror();
    FUNCTIONS(FIND)
    if (metaxy.abi_version() != METAXY_ABI_VERSION) return "the library has another ABI than the header";
    return dlsym(RTLD_DEFAULT, "metaxy_store_open") ? "the library's symbols are the host's too" : NULL;
}

static const int handled[] = {SIGSEGV, SIGBUS, SIGPROF, SIGCHLD, SIGPIPE, SIGINT, SIGTERM, SIGUSR1};
static volatile sig_atomic_t seen[NSIG];

static void handler(int number, siginfo_t *info, void *context) {
    (void)info, (void)context;
    seen[number] = seen[number] < 1000000 ? seen[number] + 1 : 1000000;
}

static void handle_signals(void) {
    for (size_t i = 0; i < sizeof handled / sizeof *handled; i++) {
        struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_ONSTACK};
        sigaddset(&action.sa_mask, SIGUSR2);
        sigaction(handled[i], &action, NULL);
    }
}

/* All that a thread and the process know of signals. */
typedef struct {
    struct sigaction actions[NSIG];
    sigset_t mask;
    stack_t stack;
} Signals;

static Signals signals_now(void) {
    Signals now = {0};
    for (int number = 1; number < NSIG; number++) sigaction(number, NULL, &now.actions[number]);
    pthread_sigmask(SIG_BLOCK, NULL, &now.mask);
    sigaltstack(NULL, &now.stack);
    return now;
}

static int same_set(const sigset_t *one, const sigset_t *other) {
    for (int number = 1; number < NSIG; number++)
        if (sigismember(one, number) != sigismember(other, number)) return 0;
    return 1;
}

static int same_signals(const Signals *one, const Signals *other) {
    for (int number = 1; number < NSIG; number++) {
        const struct sigaction *a = &one->actions[number], *b = &other->actions[number];
        if (a->sa_sigaction != b->sa_sigaction || a->sa_flags != b->sa_flags) return 0;
        if (!same_set(&a->sa_mask, &b->sa_mask)) return 0;
    }
    return same_set(&one->mask, &other->mask) && one->stack.ss_sp == other->stack.ss_sp;
}

/* The threads of this process. Lance keeps an idle pool, lance-cpu, once it has been used; that does not count. */
static int count_threads(void) {
    int count = 0;
    DIR *tasks = opendir("/proc/self/task");
    for (struct dirent *task; (task = readdir(tasks));) {
        char path[300], name[32] = "";
        snprintf(path, sizeof path, "/proc/self/task/%s/comm", task->d_name);
        FILE *file = task->d_name[0] == '.' ? NULL : fopen(path, "r");
        if (!file) continue;
        if (fgets(name, sizeof name, file) && strcmp(name, "lance-cpu\n") != 0) count++;
        fclose(file);
    }
    closedir(tasks);
    return count;
}

static int count_files(void) {
    int count = 0;
    DIR *files = opendir("/proc/self/fd");
    while (readdir(files)) count++;
    closedir(files);
    return count;
}

static const char feature[] =
    "{\"key\": \"clip\", \"id_columns\": [\"id\"], \"fields\": [{\"key\": \"frames\"}]}";

typedef struct {
    MetaxyStore *store;
    int number, same_signals;
    int64_t rows;
    MetaxyError *error;
} Worker;

static int write_row(Worker *worker, MetaxyContext *context, int write) {
    char text[32];
    const char *id = text, *version = "f-3e";
    snprintf(text, sizeof text, "clip-%d-%d", worker->number, write);
    const ArrowColumn versions[] = {{.name = "frames", .text = &version}};
    const ArrowColumn columns[] = {
        {.name = "id", .text = &id},
        {.name = "metaxy_provenance_by_field", .members = versions, .count = 1},
    };
    struct ArrowArrayStream rows = arrow_rows(columns, 2, 1);
    return metaxy.store_write(worker->store, "clip", &rows, NULL, context, &worker->error);
}

/* A thread of the host, which uses the store that all of them share. */
static void *work(void *data) {
    Worker *worker = data;
    const Signals before = signals_now();
    MetaxyContext *context = NULL;
    struct ArrowArrayStream rows = {0};

    if (metaxy.context_new(&context, &worker->error) != METAXY_OK) return NULL;
    if (metaxy.context_set_timeout_ms(context, 60000, &worker->error) != METAXY_OK) goto done;
    for (int write = 0; write < WRITES; write++)
        if (write_row(worker, context, write) != METAXY_OK) goto done;
    if (metaxy.store_read(worker->store, "clip", NULL, context, &rows, &worker->error) != METAXY_OK) goto done;
    for (struct ArrowArray batch; rows.get_next(&rows, &batch) == 0 && batch.release;) {
        worker->rows += batch.length;
        batch.release(&batch);
    }
done:
    if (rows.release) rows.release(&rows);
    metaxy.context_free(context);
    const Signals after = signals_now();
    worker->same_signals = same_signals(&before, &after);
    return NULL;
}

static int use_store(const char *directory) {
    MetaxyError *error = NULL;
    MetaxyStore *store = NULL;
    pthread_t threads[THREADS];
    Worker workers[THREADS];
    int failed = 1, started = 0;

    if (metaxy.store_open(directory, NULL, NULL, &store, &error) != METAXY_OK) goto done;
    if (metaxy.store_define(store, feature, &error) != METAXY_OK) goto done;
    for (; started < THREADS; started++) {
        workers[started] = (Worker){.store = store, .number = started};
        if (pthread_create(&threads[started], NULL, work, &workers[started]) != 0) break;
    }
    failed = started < THREADS;
    for (int i = 0; i < started; i++) {
        pthread_join(threads[i], NULL);
        if (workers[i].error) fprintf(stderr, "%s\n", metaxy.error_message(workers[i].error));
        /* A thread sees what it wrote itself, and maybe what others wrote. */
        failed |= workers[i].error || !workers[i].same_signals || workers[i].rows < WRITES;
        metaxy.error_free(workers[i].error);
    }
    if (metaxy.store_close(store, &error) != METAXY_OK) failed = 1;
done:
    if (error) fprintf(stderr, "%s\n", metaxy.error_message(error));
    metaxy.error_free(error);
    metaxy.store_free(store);
    return failed;
}

/* Each handler is still called, by the signal that the system sends. */
static int handlers_work(void) {
    int ends[2];
    pid_t child = fork();
    if (child == 0) _exit(0);
    waitpid(child, NULL, 0);
    if (pipe(ends) != 0) return 0;
    close(ends[0]);
    if (write(ends[1], "x", 1) == 1) return 0;
    close(ends[1]);
    raise(SIGSEGV), raise(SIGBUS), raise(SIGINT), raise(SIGTERM), raise(SIGUSR1);
    for (size_t i = 0; i < sizeof handled / sizeof *handled; i++)
        if (!seen[handled[i]]) return 0;
    return 1;
}

int main(int argc, char **argv) {
    if (argc != 3) return fputs("host LIBRARY DIRECTORY\n", stderr), 2;
    handle_signals();
    const struct itimerval often = {.it_interval = {.tv_usec = 1000}, .it_value = {.tv_usec = 1000}}, never = {0};
    setitimer(ITIMER_PROF, &often, NULL);
    const Signals before = signals_now();
    const int threads = count_threads();

    void *library;
    const char *problem = load(argv[1], &library);
    if (problem) return fprintf(stderr, "%s\n", problem), 1;
    int files = 0;
    for (int time = 0; time < 2; time++) {
        if (use_store(argv[2]) != 0) return 1;
        /* The threads end by themselves, a moment after the last store. */
        for (int i = 0; i < ROUNDS && count_threads() > threads; i++) usleep(10000);
        /* The first time leaves the pair of sockets that Tokio keeps for the process. */
        if (time == 0) files = count_files();
    }
    printf("%d threads wrote %d clips each and read them\n", THREADS, WRITES);
    printf("handles that are left: %d\n", (int)metaxy.live_handles(METAXY_KIND_ANY));
    printf("threads that are left: %d\n", count_threads() - threads);
    printf("files that are left open: %d\n", count_files() - files);

    const Signals after = signals_now();
    setitimer(ITIMER_PROF, &never, NULL);
    printf("signals: %s\n", same_signals(&before, &after) ? "as they were" : "changed");
    printf("handlers: %s\n", handlers_work() ? "each is called" : "some are not called");
    dlclose(library);
    return 0;
}
