/*
 * Processes that use one feature at once, and processes that are killed while they do.
 *
 *     processes kill URI KILLS WRITERS SEED [option=value ...]
 *     processes together URI APPENDERS WRITES [option=value ...]
 *     processes drop URI WRITERS DROPS [option=value ...]
 *
 * The options are those of metaxy_store_open.
 *
 * `kill` starts writers, WRITERS at a time, and kills each with SIGKILL at a random moment, KILLS times in all; now and
 * then something else that changes the table is started and killed too. After each time the store opens, each
 * acknowledged write is there entirely and once, and each other one entirely or not at all.
 *
 * `together` lets APPENDERS processes write while one more compacts and another one reads; at the end everything is
 * there, once.
 *
 * `drop` drops the feature again and again, as another process does, while WRITERS processes write to it and one more
 * reads: no write is there in part, and each that begins after the last drop is there.
 *
 * All start this program again for each process: processes write|strive|read|glimpse|compact|discard URI ...
 */
#define _POSIX_C_SOURCE 200809L
#include "sample.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

enum { ROWS = 4, MOST_WRITES = 4096, WHOLE = (1 << ROWS) - 1, KILLS_PER_STORE = 24, PATIENCE_MS = 500 };

static const char *self;

/* Options for opening the store, each `name=value`, as they are given to all processes. */
static char **given;
static int given_count;

static void fail(const char *what) {
    fprintf(stderr, "%s%s%s\n", what, error ? ": " : "", error ? metaxy_error_message(error) : "");
    exit(1);
}

static MetaxyStore *open_store(const char *uri, const char *mode) {
    MetaxyOptions *options = NULL;
    MetaxyStore *store = NULL;
    GIVES(METAXY_OK, metaxy_options_new(&options, &error));
    GIVES(METAXY_OK, metaxy_options_set(options, "mode", mode, &error));
    for (int i = 0; i < given_count; i++) {
        char name[128];
        size_t length = strcspn(given[i], "=");
        snprintf(name, sizeof name, "%.*s", (int)length, given[i]);
        GIVES(METAXY_OK, metaxy_options_set(options, name, given[i] + length + (given[i][length] == '='), &error));
    }
    GIVES(METAXY_OK, metaxy_store_open(uri, options, NULL, &store, &error));
    metaxy_options_free(options);
    if (store) sample_define(store);
    if (check_failed) fail("the store does not open");
    return store;
}

/* ---- the processes ---- */

static MetaxyStatus write_rows(const MetaxyStore *store, int writer, int number) {
    char names[ROWS][32];
    const char *ids[ROWS], *sources[ROWS];
    int64_t sizes[ROWS];
    for (int row = 0; row < ROWS; row++) {
        snprintf(names[row], sizeof names[row], "%d-%d-%d", writer, number, row);
        ids[row] = names[row];
        sources[row] = "1";
        sizes[row] = row;
    }
    const ArrowColumn fields[] = {{.name = "default", .text = sources}};
    const ArrowColumn columns[] = {
        {.name = "id", .text = ids},
        {.name = "size", .numbers = sizes},
        {.name = "metaxy_provenance_by_field", .members = fields, .count = 1},
    };
    struct ArrowArrayStream rows = arrow_rows(columns, 3, ROWS);
    metaxy_error_free(error);
    return metaxy_store_write(store, SAMPLE, &rows, NULL, NULL, &error);
}

static void acknowledge(int number) {
    char line[32];
    int length = snprintf(line, sizeof line, "%d\n", number);
    if (write(STDOUT_FILENO, line, (size_t)length) != length) fail("nobody is listening");
}

/* Whether the process that started this one has said something, or closed the pipe, within some milliseconds. */
static int is_told(int milliseconds) {
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    return poll(&input, 1, milliseconds) != 0;
}

/* Writes, and says so after each write; 0 writes are as many as there are until it is killed. */
static int write_all(const char *uri, int writer, int writes) {
    MetaxyStore *store = open_store(uri, "write");
    for (int number = 0; number < (writes ? writes : MOST_WRITES); number++) {
        if (write_rows(store, writer, number) != METAXY_OK) fail("a write failed");
        acknowledge(number);
    }
    metaxy_store_free(store);
    return done();
}

/* Writes although the feature is being dropped, until it is told that it is not any more; then some more. */
static int strive(const char *uri, int writer, int writes) {
    MetaxyStore *store = open_store(uri, "write");
    for (int number = 0, left = -1; number < MOST_WRITES && left != 0; number++) {
        if (left < 0 && is_told(0)) left = writes;
        MetaxyStatus status = write_rows(store, writer, number);
        if (status != METAXY_OK && (left > 0 || status != METAXY_CONFLICT)) fail("a write failed");
        if (left > 0) {
            acknowledge(number);
            left--;
        }
    }
    metaxy_store_free(store);
    return done();
}

/* Which rows of a write are there, as bits, by writer and write. */
typedef struct Seen {
    int writers;
    unsigned char (*rows)[MOST_WRITES];
} Seen;

static void see(Seen *seen, const char *id, int length) {
    char text[32];
    int writer, number, row;
    snprintf(text, sizeof text, "%.*s", length, id);
    if (sscanf(text, "%d-%d-%d", &writer, &number, &row) != 3 || writer >= seen->writers) fail("a row that nobody wrote");
    unsigned char *rows = &seen->rows[writer][number];
    if (*rows & 1 << row) fail("a row is there twice");
    *rows |= (unsigned char)(1 << row);
}

/* Every row of the feature, superseded ones too, so that one written twice would show; 0 without a table, -1 if that was
 * dropped meanwhile. */
static int64_t look(const char *uri, const char *mode, Seen *seen) {
    MetaxyStore *store = open_store(uri, mode);
    MetaxyReadRequest *request = NULL;
    struct ArrowArrayStream stream = {0};
    struct ArrowArray batch = {0};
    const char *columns[] = {"id"};
    int64_t count = 0;
    memset(seen->rows, 0, sizeof *seen->rows * (size_t)seen->writers);
    GIVES(METAXY_OK, metaxy_read_request_new(&request, &error));
    GIVES(METAXY_OK, metaxy_read_request_set_columns(request, columns, 1, &error));
    GIVES(METAXY_OK, metaxy_read_request_set_sample_history(request, 1, &error));
    metaxy_error_free(error);
    MetaxyStatus status = metaxy_store_read(store, SAMPLE, request, NULL, &stream, &error);
    while (status == METAXY_OK) {
        if (stream.get_next(&stream, &batch) != 0) {
            status = metaxy_error_from_stream(&stream, &error);
            break;
        }
        if (!batch.release) break;
        const struct ArrowArray *ids = batch.children[0];
        const int64_t *offsets = ids->buffers[1];
        for (int64_t i = ids->offset; i < ids->offset + ids->length; i++)
            see(seen, (const char *)ids->buffers[2] + offsets[i], (int)(offsets[i + 1] - offsets[i]));
        count += ids->length;
        batch.release(&batch);
    }
    if (stream.release) stream.release(&stream);
    if (status != METAXY_OK && status != METAXY_NOT_FOUND && status != METAXY_CONFLICT) fail("the feature cannot be read");
    for (int writer = 0; status == METAXY_OK && writer < seen->writers; writer++) {
        for (int number = 0; number < MOST_WRITES; number++) {
            int rows = seen->rows[writer][number];
            if (rows != 0 && rows != WHOLE) fail("a part of a write is there");
        }
    }
    metaxy_read_request_free(request);
    metaxy_store_free(store);
    return status == METAXY_CONFLICT ? -1 : count;
}

static Seen nothing_seen(int writers) {
    return (Seen){.writers = writers, .rows = arrow_alloc((size_t)writers, sizeof(unsigned char[MOST_WRITES]))};
}

/* Reads until it is told to end; what is there never gets less. */
static int read_rows(const char *uri, int writers) {
    Seen seen = nothing_seen(writers);
    int64_t before = 0;
    do {
        int64_t now = look(uri, "read", &seen);
        if (now < before) fail("rows are gone");
        before = now;
    } while (!is_told(1));
    free(seen.rows);
    return done();
}

/* The same where rows come and go. */
static int glimpse(const char *uri, int writers) {
    Seen seen = nothing_seen(writers);
    while (!is_told(1)) look(uri, "read", &seen);
    free(seen.rows);
    return done();
}

/* Compacts until it is told to end. */
static int compact(const char *uri) {
    MetaxyStore *store = open_store(uri, "write");
    do {
        struct ArrowArrayStream report = {0};
        metaxy_error_free(error);
        MetaxyStatus status = metaxy_store_compact(store, SAMPLE, NULL, NULL, &report, &error);
        /* Servers do it themselves. */
        if (status != METAXY_OK && status != METAXY_NOT_FOUND && status != METAXY_CONFLICT && status != METAXY_UNSUPPORTED)
            fail("compacting failed");
        if (report.release) report.release(&report);
    } while (!is_told(20));
    metaxy_store_free(store);
    return done();
}

static void drop_once(const MetaxyStore *store, int32_t *dropped) {
    GIVES(METAXY_OK, metaxy_store_drop(store, SAMPLE, NULL, NULL, dropped, &error));
    if (check_failed) fail("a drop failed");
}

/* Drops until it is told to end. */
static int discard(const char *uri) {
    MetaxyStore *store = open_store(uri, "write");
    int32_t dropped;
    do drop_once(store, &dropped);
    while (!is_told(20));
    metaxy_store_free(store);
    return done();
}

/* ---- starting and ending them ---- */

typedef struct Child {
    pid_t pid;
    /* Its standard input and output. */
    int to, from;
} Child;

static Child start(const char *role, const char *uri, int number, int count) {
    int to[2], from[2];
    char numbers[2][16];
    Child child;
    posix_spawn_file_actions_t files;
    snprintf(numbers[0], sizeof numbers[0], "%d", number);
    snprintf(numbers[1], sizeof numbers[1], "%d", count);
    char **arguments = arrow_alloc((size_t)given_count + 6, sizeof *arguments);
    char *const first[] = {(char *)self, (char *)role, (char *)uri, numbers[0], numbers[1]};
    memcpy(arguments, first, sizeof first);
    for (int i = 0; i < given_count; i++) arguments[5 + i] = given[i];
    if (pipe(to) || pipe(from)) fail("no pipe");
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_adddup2(&files, to[0], STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&files, from[1], STDOUT_FILENO);
    for (int end = 0; end < 2; end++) {
        posix_spawn_file_actions_addclose(&files, to[end]);
        posix_spawn_file_actions_addclose(&files, from[end]);
    }
    if (posix_spawn(&child.pid, self, &files, NULL, arguments, environ) != 0) fail("no process");
    posix_spawn_file_actions_destroy(&files);
    free(arguments);
    close(to[0]);
    close(from[1]);
    child.to = to[1];
    child.from = from[0];
    /* Or the next process would have them too. */
    if (fcntl(child.to, F_SETFD, FD_CLOEXEC) || fcntl(child.from, F_SETFD, FD_CLOEXEC)) fail("no close-on-exec");
    return child;
}

/* Waits for the end; `killed` tells whether it must have been by SIGKILL. */
static void end(Child *child, int killed) {
    int status;
    close(child->to);
    close(child->from);
    if (waitpid(child->pid, &status, 0) != child->pid) fail("a process is lost");
    if (killed ? !WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL : !WIFEXITED(status) || WEXITSTATUS(status) != 0)
        fail("a process ended in another way than it should");
}

static void sleep_us(long us) {
    struct timespec time = {.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000};
    nanosleep(&time, NULL);
}

/* Reads what a writer says until it ends, and marks it; `most` lines, if that is not 0, and not if it takes long: others
 * may be faster than it again and again. */
static int acknowledged(const Child *child, unsigned char *writes, int most) {
    char letter;
    int lines = 0, number = 0;
    struct pollfd output = {.fd = child->from, .events = POLLIN};
    while (!most || (lines < most && (number != 0 || poll(&output, 1, PATIENCE_MS) != 0))) {
        if (read(child->from, &letter, 1) != 1) break;
        if (letter != '\n') {
            number = number * 10 + (letter - '0');
            continue;
        }
        writes[number] = 1;
        number = 0;
        lines++;
    }
    return lines;
}

static unsigned random_state;

static long random_below(long bound) {
    random_state = random_state * 1664525u + 1013904223u;
    return (long)(random_state >> 8) % bound;
}

/* ---- the tests ---- */

static void check_acknowledged(const Seen *seen, unsigned char (*writes)[MOST_WRITES]) {
    for (int writer = 0; writer < seen->writers; writer++)
        for (int number = 0; number < MOST_WRITES; number++)
            if (writes[writer][number] && seen->rows[writer][number] != WHOLE) fail("an acknowledged write is not there");
}

static void kill_writers(const char *base, int kills, int writers) {
    char uri[4096] = "";
    int64_t rows = 0;
    Seen seen = nothing_seen(KILLS_PER_STORE + writers), written = nothing_seen(KILLS_PER_STORE + writers);
    Child *children = arrow_alloc((size_t)writers, sizeof *children);
    for (int killed = 0, first = 0; killed < kills; killed += writers, first += writers) {
        if (killed == 0 || first >= KILLS_PER_STORE) {
            snprintf(uri, sizeof uri, "%s-%d", base, killed);
            memset(written.rows, 0, sizeof *written.rows * (size_t)written.writers);
            first = 0;
            rows = 0;
        }
        int compacting = random_below(3) == 0;
        Child compactor = {0};
        for (int i = 0; i < writers; i++) children[i] = start("write", uri, first + i, 0);
        if (compacting) compactor = start("compact", uri, 0, 0);
        for (int i = 0; i < writers; i++) {
            /* Now and then while it starts. */
            if (random_below(8) != 0) acknowledged(&children[i], written.rows[first + i], 1 + (int)random_below(3));
            sleep_us(random_below(40000));
            kill(children[i].pid, SIGKILL);
        }
        for (int i = 0; i < writers; i++) {
            acknowledged(&children[i], written.rows[first + i], 0);
            end(&children[i], 1);
        }
        if (compacting) {
            kill(compactor.pid, SIGKILL);
            end(&compactor, 1);
        }
        int64_t now = look(uri, "write", &seen);
        if (now < rows) fail("rows are gone");
        rows = now;
        check_acknowledged(&seen, written.rows);
    }
    free(children);
    free(seen.rows);
    free(written.rows);
}

static void together(const char *uri, int appenders, int writes) {
    Seen seen = nothing_seen(appenders);
    unsigned char(*written)[MOST_WRITES] = arrow_alloc((size_t)appenders, sizeof *written);
    Child *children = arrow_alloc((size_t)appenders, sizeof *children), reader, compactor;
    metaxy_store_free(open_store(uri, "write"));
    for (int i = 0; i < appenders; i++) children[i] = start("write", uri, i, writes);
    reader = start("read", uri, appenders, 0);
    compactor = start("compact", uri, 0, 0);
    for (int i = 0; i < appenders; i++) {
        if (acknowledged(&children[i], written[i], 0) != writes) fail("a writer gave up");
        end(&children[i], 0);
    }
    end(&reader, 0);
    end(&compactor, 0);
    if (look(uri, "read", &seen) != (int64_t)appenders * writes * ROWS) fail("not every row is there");
    check_acknowledged(&seen, written);
    free(children);
    free(seen.rows);
    free(written);
}

static void drop(const char *uri, int writers, int drops) {
    enum { MORE = 5 };
    Seen seen = nothing_seen(writers);
    unsigned char(*written)[MOST_WRITES] = arrow_alloc((size_t)writers, sizeof *written);
    Child *children = arrow_alloc((size_t)writers, sizeof *children), reader, discarder;
    MetaxyStore *store = open_store(uri, "write");
    for (int i = 0; i < writers; i++) children[i] = start("strive", uri, i, MORE);
    reader = start("glimpse", uri, writers, 0);
    discarder = start("discard", uri, 0, 0);
    while (drops > 0) {
        int32_t dropped;
        sleep_us(random_below(60000));
        drop_once(store, &dropped);
        /* One that finds nothing is too easy. */
        drops -= dropped;
    }
    end(&discarder, 0);
    for (int i = 0; i < writers; i++) if (write(children[i].to, "\n", 1) != 1) fail("a writer is gone");
    for (int i = 0; i < writers; i++) {
        if (acknowledged(&children[i], written[i], 0) != MORE) fail("a writer gave up");
        end(&children[i], 0);
    }
    end(&reader, 0);
    look(uri, "read", &seen);
    check_acknowledged(&seen, written);
    metaxy_store_free(store);
    free(children);
    free(seen.rows);
    free(written);
}

int main(int argc, char **argv) {
    self = argv[0];
    signal(SIGPIPE, SIG_IGN);
    if (argc < 5) return 2;
    const char *role = argv[1], *uri = argv[2];
    int number = atoi(argv[3]), count = atoi(argv[4]), own = strcmp(role, "kill") ? 5 : 6;
    given = argv + own;
    given_count = argc > own ? argc - own : 0;
    if (!strcmp(role, "write")) return write_all(uri, number, count);
    if (!strcmp(role, "strive")) return strive(uri, number, count);
    if (!strcmp(role, "read")) return read_rows(uri, number);
    if (!strcmp(role, "glimpse")) return glimpse(uri, number);
    if (!strcmp(role, "compact")) return compact(uri);
    if (!strcmp(role, "discard")) return discard(uri);
    if (!strcmp(role, "together")) {
        together(uri, number, count);
        return done();
    }
    if (!strcmp(role, "drop")) {
        drop(uri, number, count);
        return done();
    }
    if (!strcmp(role, "kill") && argc >= own) {
        random_state = (unsigned)strtoul(argv[5], NULL, 10);
        kill_writers(uri, number, count);
        return done();
    }
    return 2;
}
