/*
 * Tables as text, so that what a test writes and what it expects to read are seen at a glance.
 *
 *     table("id size:int seen:time camera{make,iso}", "a|1|0\nb|null|null", 1)
 *
 * is a stream of two batches of one row. A column is text, or as it says int, float, bool, time (microseconds since 1970)
 * or none, which has only nulls. A struct takes no cell: each of its members holds the first cell of the row and its own
 * name, as in a-make.
 *
 *     text_of(&stream, "id size")
 *
 * is the text of such columns, its lines sorted, of any stream.
 */
#ifndef TABLE_H
#define TABLE_H

#include "arrow_rows.h"

#include <stdarg.h>

enum { MOST_COLUMNS = 16, MOST_MEMBERS = 4, NAME_BYTES = 64 };

typedef struct TableColumn {
    char name[NAME_BYTES], kind[8];
    char members[MOST_MEMBERS][NAME_BYTES];
    int64_t member_count;
} TableColumn;

typedef struct Table {
    TableColumn columns[MOST_COLUMNS];
    int64_t column_count, rows, next, batch_rows;
    /* The cells, row by row, in `text`; as many in each row as columns that take one. */
    char *text;
    char **cells;
    int64_t width;
} Table;

static void *table_grow(void *memory, size_t bytes) {
    memory = realloc(memory, bytes ? bytes : 1);
    if (memory) return memory;
    fputs("out of memory\n", stderr);
    exit(EXIT_FAILURE);
}

static char *table_copy(const char *text) {
    size_t bytes = strlen(text) + 1;
    return memcpy(arrow_alloc(bytes, 1), text, bytes);
}

/* The next word of `*rest`, or NULL: what strtok does, for several threads at once. */
static char *table_word(char **rest, const char *separators) {
    char *word = *rest + strspn(*rest, separators);
    if (!*word) return NULL;
    *rest = word + strcspn(word, separators);
    if (**rest) *(*rest)++ = 0;
    return word;
}

/* ---- text to Arrow ---- */

static void table_parse_column(const char *word, TableColumn *out) {
    char copy[4 * NAME_BYTES];
    snprintf(copy, sizeof copy, "%s", word);
    char *members = strchr(copy, '{'), *kind = strchr(copy, ':');
    if (members) {
        *members++ = 0;
        members[strcspn(members, "}")] = 0;
        while (members && *members) {
            char *after = strchr(members, ',');
            if (after) *after++ = 0;
            snprintf(out->members[out->member_count++], NAME_BYTES, "%.*s", NAME_BYTES - 1, members);
            members = after;
        }
    } else if (kind) {
        *kind++ = 0;
    }
    snprintf(out->kind, sizeof out->kind, "%.7s", members || out->member_count ? "struct" : kind ? kind : "text");
    snprintf(out->name, sizeof out->name, "%.*s", NAME_BYTES - 1, copy);
}

static const char *table_format(const TableColumn *column) {
    static const char *const formats[][2] = {{"text", "U"},  {"int", "l"},  {"float", "g"},  {"bool", "b"},
                                             {"time", "tsu:UTC"}, {"none", "n"}, {"struct", "+s"}};
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (!strcmp(formats[i][0], column->kind)) return formats[i][1];
    fprintf(stderr, "there is no kind of column called %s\n", column->kind);
    exit(EXIT_FAILURE);
}

static struct ArrowSchema *table_field(const char *name, const char *format, int64_t children) {
    struct ArrowSchema *field = arrow_alloc(1, sizeof *field);
    char *owned = table_copy(name);
    *field = (struct ArrowSchema){
        .format = format,
        .name = owned,
        .flags = ARROW_FLAG_NULLABLE,
        .n_children = children,
        .children = arrow_alloc((size_t)children, sizeof(struct ArrowSchema *)),
        .release = arrow_release_schema,
        .private_data = owned,
    };
    return field;
}

static int table_schema(struct ArrowArrayStream *stream, struct ArrowSchema *out) {
    const Table *table = stream->private_data;
    struct ArrowSchema *root = table_field("", "+s", table->column_count);
    for (int64_t c = 0; c < table->column_count; c++) {
        const TableColumn *column = &table->columns[c];
        root->children[c] = table_field(column->name, table_format(column), column->member_count);
        for (int64_t m = 0; m < column->member_count; m++)
            root->children[c]->children[m] = table_field(column->members[m], "U", 0);
    }
    *out = *root;
    free(root);
    return 0;
}

static struct ArrowArray *table_array(int64_t rows, int64_t buffers, int64_t children) {
    struct ArrowArray *array = arrow_alloc(1, sizeof *array);
    *array = (struct ArrowArray){
        .length = rows,
        .n_buffers = buffers,
        .n_children = children,
        .buffers = arrow_alloc(3, sizeof(void *)),
        .children = arrow_alloc((size_t)children, sizeof(struct ArrowArray *)),
        .release = arrow_release_array,
    };
    return array;
}

/* One column of values that are given as text: NULL, or "null", for none. */
static struct ArrowArray *table_values(const char *format, char **values, int64_t rows) {
    int is_text = *format == 'U';
    if (*format == 'n') {
        struct ArrowArray *nothing = table_array(rows, 0, 0);
        nothing->null_count = rows;
        return nothing;
    }
    struct ArrowArray *array = table_array(rows, is_text ? 3 : 2, 0);
    uint8_t *valid = arrow_alloc((size_t)rows / 8 + 1, 1);
    int64_t *numbers = arrow_alloc((size_t)rows + 1, sizeof *numbers);
    char *bytes = NULL;
    for (int64_t row = 0; row < rows; row++) {
        const char *value = values[row];
        int there = strcmp(value, "null") != 0;
        if (there) valid[row / 8] |= (uint8_t)(1 << row % 8);
        else array->null_count++;
        if (is_text) {
            size_t length = there ? strlen(value) : 0;
            numbers[row + 1] = numbers[row] + (int64_t)length;
            bytes = table_grow(bytes, (size_t)numbers[row + 1]);
            memcpy(bytes + numbers[row], value, length);
        } else if (*format == 'b') {
            if (!strcmp(value, "true")) ((uint8_t *)numbers)[row / 8] |= (uint8_t)(1 << row % 8);
        } else if (*format == 'g') {
            ((double *)numbers)[row] = there ? strtod(value, NULL) : 0;
        } else {
            numbers[row] = there ? strtoll(value, NULL, 10) : 0;
        }
    }
    array->buffers[0] = valid;
    array->buffers[1] = numbers;
    if (is_text) array->buffers[2] = bytes ? bytes : arrow_alloc(1, 1);
    return array;
}

static struct ArrowArray *table_struct(const Table *table, const TableColumn *column, int64_t first, int64_t rows) {
    struct ArrowArray *array = table_array(rows, 1, column->member_count);
    char **values = arrow_alloc((size_t)rows, sizeof *values);
    for (int64_t m = 0; m < column->member_count; m++) {
        for (int64_t row = 0; row < rows; row++) {
            const char *cell = table->cells[(first + row) * table->width];
            size_t bytes = strlen(cell) + NAME_BYTES + 2;
            values[row] = arrow_alloc(bytes, 1);
            snprintf(values[row], bytes, "%s-%s", cell, column->members[m]);
        }
        array->children[m] = table_values("U", values, rows);
        for (int64_t row = 0; row < rows; row++) free(values[row]);
    }
    free(values);
    return array;
}

static int table_next(struct ArrowArrayStream *stream, struct ArrowArray *out) {
    Table *table = stream->private_data;
    int64_t left = table->rows - table->next, rows = table->batch_rows && left > table->batch_rows ? table->batch_rows : left;
    if (left <= 0 && table->next > 0) {
        *out = (struct ArrowArray){0};
        return 0;
    }
    struct ArrowArray *root = table_array(rows, 1, table->column_count);
    char **values = arrow_alloc((size_t)rows, sizeof *values);
    for (int64_t c = 0, cell = 0; c < table->column_count; c++) {
        const TableColumn *column = &table->columns[c];
        if (column->member_count) {
            root->children[c] = table_struct(table, column, table->next, rows);
            continue;
        }
        for (int64_t row = 0; row < rows; row++) values[row] = table->cells[(table->next + row) * table->width + cell];
        root->children[c] = table_values(table_format(column), values, rows);
        cell++;
    }
    free(values);
    *out = *root;
    free(root);
    /* One batch without rows is given, too. */
    table->next += rows ? rows : 1;
    return 0;
}

static const char *table_error(struct ArrowArrayStream *stream) {
    (void)stream;
    return NULL;
}

static void table_release(struct ArrowArrayStream *stream) {
    Table *table = stream->private_data;
    free(table->text);
    free(table->cells);
    free(table);
    stream->release = NULL;
}

/* A stream of `rows` in batches of so many; 0 for all in one. */
static struct ArrowArrayStream table(const char *columns, const char *rows, int64_t batch_rows) {
    Table *table = arrow_alloc(1, sizeof *table);
    char *words = table_copy(columns), *rest = words;
    for (char *word; (word = table_word(&rest, " "));) {
        TableColumn *column = &table->columns[table->column_count++];
        table_parse_column(word, column);
        if (!column->member_count) table->width++;
    }
    free(words);
    table->batch_rows = batch_rows;
    table->text = table_copy(rows);
    int64_t cells = 0;
    for (char *cell = table->text; cell && *rows;) {
        table->cells = table_grow(table->cells, (size_t)(cells + 1) * sizeof *table->cells);
        table->cells[cells++] = cell;
        cell = cell + strcspn(cell, "|\n");
        if (*cell) *cell++ = 0;
        else cell = NULL;
    }
    table->rows = cells / table->width;
    if (table->rows * table->width != cells) {
        fprintf(stderr, "not every row of these has a cell for each of: %s\n%s\n", columns, rows);
        exit(EXIT_FAILURE);
    }
    return (struct ArrowArrayStream){
        .get_schema = table_schema,
        .get_next = table_next,
        .get_last_error = table_error,
        .release = table_release,
        .private_data = table,
    };
}

/* ---- Arrow to text ---- */

typedef struct Text {
    char *bytes;
    size_t length;
} Text;

static void text_add(Text *text, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    text->bytes = table_grow(text->bytes, text->length + (size_t)length + 1);
    va_start(arguments, format);
    vsnprintf(text->bytes + text->length, (size_t)length + 1, format, arguments);
    va_end(arguments);
    text->length += (size_t)length;
}

static int text_bit(const void *bits, int64_t i) { return ((const uint8_t *)bits)[i / 8] >> (i % 8) & 1; }

static void text_add_value(Text *text, const struct ArrowSchema *schema, const struct ArrowArray *array, int64_t row) {
    const char *format = schema->format, *open = "";
    int64_t i = array->offset + row, from = 0, to = 0;
    const void *values = array->n_buffers > 1 ? array->buffers[1] : NULL;
    if (*format == 'n' || (array->n_buffers && array->buffers[0] && !text_bit(array->buffers[0], i))) {
        text_add(text, "null");
        return;
    }
    switch (*format) {
    case 'U':
    case '+':
        if (format[1] == 's') {
            for (int64_t m = 0; m < schema->n_children; m++) {
                text_add(text, m ? "," : "{");
                text_add_value(text, schema->children[m], array->children[m], i);
            }
            text_add(text, "}");
            return;
        }
        from = format[1] == 'l' ? ((const int32_t *)values)[i] : ((const int64_t *)values)[i];
        to = format[1] == 'l' ? ((const int32_t *)values)[i + 1] : ((const int64_t *)values)[i + 1];
        if (*format == 'U') {
            text_add(text, "%.*s", (int)(to - from), (const char *)array->buffers[2] + from);
            return;
        }
        open = "[";
        for (int64_t item = from; item < to; item++, open = ",") {
            text_add(text, "%s", open);
            text_add_value(text, schema->children[0], array->children[0], item);
        }
        text_add(text, *open == '[' ? "[]" : "]");
        return;
    case 'u':
        from = ((const int32_t *)values)[i];
        to = ((const int32_t *)values)[i + 1];
        text_add(text, "%.*s", (int)(to - from), (const char *)array->buffers[2] + from);
        return;
    case 'l':
    case 't':
        text_add(text, "%" PRId64, ((const int64_t *)values)[i]);
        return;
    case 'L':
        text_add(text, "%" PRIu64, ((const uint64_t *)values)[i]);
        return;
    case 'g':
        text_add(text, "%g", ((const double *)values)[i]);
        return;
    case 'b':
        text_add(text, text_bit(values, i) ? "true" : "false");
        return;
    default:
        text_add(text, "a %s", format);
    }
}

static int text_compare(const void *one, const void *other) {
    return strcmp(*(char *const *)one, *(char *const *)other);
}

static void text_sort_lines(Text *text) {
    char **lines = NULL;
    size_t count = 0;
    Text sorted = {0};
    char *rest = text->bytes;
    for (char *line; (line = table_word(&rest, "\n"));) {
        lines = table_grow(lines, (count + 1) * sizeof *lines);
        lines[count++] = line;
    }
    if (count) qsort(lines, count, sizeof *lines, text_compare);
    for (size_t i = 0; i < count; i++) text_add(&sorted, i ? "\n%s" : "%s", lines[i]);
    free(lines);
    free(text->bytes);
    *text = sorted;
}

/* Adds the lines of one batch. */
static void text_add_batch(Text *text, const struct ArrowSchema *schema, const struct ArrowArray *batch, const char *columns) {
    for (int64_t row = 0; row < batch->length; row++) {
        const char *separator = "", *word = columns;
        for (int64_t c = 0; word ? *word != 0 : c < schema->n_children; c++) {
            size_t length = word ? strcspn(word, " ") : 0;
            int64_t found = c;
            if (word) {
                for (found = 0; found < schema->n_children; found++) {
                    const char *name = schema->children[found]->name;
                    if (strlen(name) == length && !strncmp(name, word, length)) break;
                }
                word += length;
                word += *word == ' ';
            }
            text_add(text, "%s", separator);
            separator = "|";
            if (found == schema->n_children) text_add(text, "no such column");
            else text_add_value(text, schema->children[found], batch->children[found], batch->offset + row);
        }
        text_add(text, "\n");
    }
}

/* The text of these columns, separated by spaces, or of all; the caller frees it. The stream is read to its end, and
 * released; a failure of it is told in place of the rows. */
static inline char *text_of(struct ArrowArrayStream *stream, const char *columns) {
    Text text = {0};
    struct ArrowSchema schema = {0};
    struct ArrowArray batch = {0};
    int failed = stream->get_schema(stream, &schema);
    text_add(&text, "%s", "");
    while (!failed && !(failed = stream->get_next(stream, &batch)) && batch.release) {
        text_add_batch(&text, &schema, &batch, columns);
        batch.release(&batch);
    }
    text_sort_lines(&text);
    if (failed) {
        const char *message = stream->get_last_error(stream);
        text_add(&text, "%sthe stream failed: %s", text.length ? "\n" : "", message ? message : "without a word");
    }
    if (!text.bytes) text_add(&text, "%s", "");
    if (schema.release) schema.release(&schema);
    stream->release(stream);
    return text.bytes;
}

#endif
