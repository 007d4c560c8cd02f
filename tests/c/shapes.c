/* Arrow arrays of every shape that is allowed: sliced at any depth, encoded, empty. What is read is what was meant. */
#include "sample.h"

enum { ROWS = 5 };

typedef struct ArrowSchema Schema;
typedef struct ArrowArray Array;

/* All of this program's structs live as long as it does. */
static void leave_schema(Schema *schema) { schema->release = NULL; }
static void leave_array(Array *array) { array->release = NULL; }

#define COUNT(list) (sizeof(list) / sizeof *(list))
#define BUFFERS(...) (const void *[]){__VA_ARGS__}, COUNT(((const void *[]){__VA_ARGS__}))
#define FIELDS(...) (Schema *[]){__VA_ARGS__}, COUNT(((Schema *[]){__VA_ARGS__}))
#define ARRAYS(...) (Array *[]){__VA_ARGS__}, COUNT(((Array *[]){__VA_ARGS__}))

static Schema parent_field(const char *format, const char *name, Schema **children, size_t count) {
    return (Schema){.format = format, .name = name, .flags = ARROW_FLAG_NULLABLE, .n_children = (int64_t)count,
                    .children = children, .release = leave_schema};
}

static Schema field(const char *format, const char *name) { return parent_field(format, name, NULL, 0); }

static Array parent(int64_t offset, int64_t length, const void **buffers, size_t count, Array **children,
                    size_t child_count) {
    return (Array){.length = length, .offset = offset, .null_count = -1, .n_buffers = (int64_t)count,
                   .buffers = buffers, .n_children = (int64_t)child_count, .children = children,
                   .release = leave_array};
}

static Array array(int64_t offset, int64_t length, const void **buffers, size_t count) {
    return parent(offset, length, buffers, count, NULL, 0);
}

/* Appends a value as text: 1, ab, {..}, [..] or null. */
static void show(const Schema *schema, const Array *array, int64_t row, char *out) {
    const uint8_t *valid = array->n_buffers ? array->buffers[0] : NULL;
    int64_t i = array->offset + row;
    out += strlen(out);
    if (valid && !(valid[i / 8] >> (i % 8) & 1)) {
        strcpy(out, "null");
    } else if (!strcmp(schema->format, "l")) {
        sprintf(out, "%" PRId64, ((const int64_t *)array->buffers[1])[i]);
    } else if (!strcmp(schema->format, "U")) {
        const int64_t *ends = array->buffers[1];
        sprintf(out, "%.*s", (int)(ends[i + 1] - ends[i]), (const char *)array->buffers[2] + ends[i]);
    } else if (!strcmp(schema->format, "+s")) {
        strcpy(out, "{");
        for (int64_t c = 0; c < schema->n_children; c++) show(schema->children[c], array->children[c], i, out);
        strcat(out, "}");
    } else if (!strcmp(schema->format, "+l") || !strcmp(schema->format, "+m")) {
        const int32_t *ends = array->buffers[1];
        strcpy(out, "[");
        for (int32_t item = ends[i]; item < ends[i + 1]; item++) {
            show(schema->children[0], array->children[0], item, out);
        }
        strcat(out, "]");
    } else if (!strncmp(schema->format, "+w:", 3)) {
        int64_t size = atoi(schema->format + 3);
        strcpy(out, "[");
        for (int64_t item = 0; item < size; item++) show(schema->children[0], array->children[0], i * size + item, out);
        strcat(out, "]");
    } else {
        strcpy(out, schema->format);
    }
}

/* The column "x" of all stored rows, as text. */
static void read_back(const MetaxyStore *store, char *out) {
    const char *columns[] = {"id", "x"};
    MetaxyReadRequest *request = NULL;
    struct ArrowArrayStream rows = {0};
    Schema schema;
    Array batch;
    GIVES(METAXY_OK, metaxy_read_request_new(&request, &error));
    GIVES(METAXY_OK, metaxy_read_request_set_columns(request, columns, 2, &error));
    GIVES(METAXY_OK, metaxy_store_read(store, SAMPLE, request, NULL, &rows, &error));
    metaxy_read_request_free(request);
    CHECK(rows.get_schema(&rows, &schema) == 0);
    while (rows.get_next(&rows, &batch) == 0 && batch.release) {
        for (int64_t row = 0; row < batch.length; row++) {
            for (int64_t c = 0; c < 2; c++) show(schema.children[c], batch.children[c], batch.offset + row, out);
            strcat(out, " ");
        }
        batch.release(&batch);
    }
    schema.release(&schema);
    rows.release(&rows);
}

/* Writes `length` rows from `offset` on, of ROWS that there are, with `column` among theirs. */
static MetaxyStatus write_column(const MetaxyStore *store, Schema type, Array column, int64_t offset, int64_t length) {
    static const int64_t ends[] = {0, 1, 2, 3, 4, 5};
    Schema id = field("U", "id"), member = field("U", "default");
    Schema provenance = parent_field("+s", "metaxy_provenance_by_field", FIELDS(&member));
    Schema schema = parent_field("+s", "", FIELDS(&id, &type, &provenance));
    Array ids = array(0, ROWS, BUFFERS(NULL, ends, "abcde")), versions = array(0, ROWS, BUFFERS(NULL, ends, "12345"));
    Array by_field = parent(0, ROWS, BUFFERS(NULL), ARRAYS(&versions));
    Array rows = parent(offset, length, BUFFERS(NULL), ARRAYS(&ids, &column, &by_field));
    metaxy_error_free(error);
    MetaxyStatus status = metaxy_store_write_batch(store, SAMPLE, &rows, &schema, NULL, NULL, &error);
    CHECK(rows.release == NULL && schema.release != NULL);
    return status;
}

/* The rows are taken, and read as `wanted`, each after its id. */
static void written(Schema type, Array column, int64_t offset, int64_t length, const char *wanted, int line) {
    char found[1000] = "";
    MetaxyStore *store = sample_store();
    check_status(METAXY_OK, write_column(store, type, column, offset, length), line, "write_column");
    if (!error) read_back(store, found);
    metaxy_store_free(store);
    if (!strcmp(found, wanted)) return;
    check_failed = 1;
    fprintf(stderr, "line %d: reads as \"%s\", not \"%s\"\n", line, found, wanted);
}

#define WRITTEN(type, column, wanted) written(type, column, 0, ROWS, wanted, __LINE__)
#define SLICE_WRITTEN(type, column, wanted) written(type, column, 2, 2, wanted, __LINE__)

static const int64_t numbers[] = {10, 11, 12, 13, 14, 15, 16, 17, 18, 19};
static const int32_t ends[] = {0, 1, 2, 3, 4, 5}, nowhere[ROWS + 1];
static const uint8_t not_the_fourth = 0xf7, none_valid = 0;

/* The offset of each struct is that of its members too, on top of their own. */
static void structs(void) {
    Schema number = field("l", "z"), inner = parent_field("+s", "y", FIELDS(&number));
    Schema outer = parent_field("+s", "x", FIELDS(&inner));
    Array leaf = array(1, 8, BUFFERS(NULL, numbers)), nulls = array(1, 8, BUFFERS(&not_the_fourth, numbers));
    Array middle = parent(1, 6, BUFFERS(NULL), ARRAYS(&leaf)), with_nulls = parent(1, 6, BUFFERS(NULL), ARRAYS(&nulls));
    Array top = parent(1, ROWS, BUFFERS(NULL), ARRAYS(&middle));
    WRITTEN(outer, top, "a{{13}} b{{14}} c{{15}} d{{16}} e{{17}} ");
    SLICE_WRITTEN(outer, top, "c{{15}} d{{16}} ");
    top = parent(1, ROWS, BUFFERS(&not_the_fourth), ARRAYS(&middle));
    WRITTEN(outer, top, "a{{13}} b{{14}} cnull d{{16}} e{{17}} ");
    SLICE_WRITTEN(outer, top, "cnull d{{16}} ");
    top = parent(0, ROWS, BUFFERS(NULL), ARRAYS(&with_nulls));
    WRITTEN(outer, top, "a{{12}} b{{null}} c{{14}} d{{15}} e{{16}} ");
}

static void lists(void) {
    static const int32_t pairs[] = {0, 2, 2, 4, 6, 7}, starts[] = {4, 3, 2, 1, 0}, sizes[] = {1, 2, 0, 1, 1};
    Schema number = field("l", "item"), list = parent_field("+l", "x", FIELDS(&number));
    Schema view = parent_field("+vl", "x", FIELDS(&number)), fixed = parent_field("+w:2", "x", FIELDS(&number));
    Array items = array(1, 9, BUFFERS(NULL, numbers)), more = array(0, 2 * ROWS, BUFFERS(NULL, numbers));
    WRITTEN(list, parent(0, ROWS, BUFFERS(NULL, pairs), ARRAYS(&items)), "a[1112] b[] c[1314] d[1516] e[17] ");
    SLICE_WRITTEN(list, parent(0, ROWS, BUFFERS(NULL, pairs), ARRAYS(&items)), "c[1314] d[1516] ");
    WRITTEN(view, parent(0, ROWS, BUFFERS(NULL, starts, sizes), ARRAYS(&items)), "a[15] b[1415] c[] d[12] e[11] ");
    SLICE_WRITTEN(view, parent(0, ROWS, BUFFERS(NULL, starts, sizes), ARRAYS(&items)), "c[] d[12] ");
    WRITTEN(fixed, parent(0, ROWS, BUFFERS(NULL), ARRAYS(&more)), "a[1011] b[1213] c[1415] d[1617] e[1819] ");
    SLICE_WRITTEN(fixed, parent(0, ROWS, BUFFERS(NULL), ARRAYS(&more)), "c[1415] d[1617] ");

    Schema key = field("U", "key"), value = field("l", "value");
    key.flags = 0;
    Schema entry = parent_field("+s", "entries", FIELDS(&key, &value));
    entry.flags = 0;
    static const int64_t key_ends[] = {0, 1, 2, 3, 4, 5, 6, 7};
    Array keys = array(0, 7, BUFFERS(NULL, key_ends, "klmnopq")), values = array(1, 7, BUFFERS(NULL, numbers));
    Array entries = parent(0, 7, BUFFERS(NULL), ARRAYS(&keys, &values));
    SLICE_WRITTEN(parent_field("+m", "x", FIELDS(&entry)), parent(0, ROWS, BUFFERS(NULL, pairs), ARRAYS(&entries)),
                  "c[{m13}{n14}] d[{o15}{p16}] ");
}

/* Other forms of text and numbers are stored in the plain one. */
static void encodings(void) {
    static const int32_t keys[] = {2, 0, 1, 0, 2}, run_ends[] = {1, 3, 5};
    Schema text = field("u", ""), dictionary = field("i", "x");
    Array values = array(1, 3, BUFFERS(NULL, ends, "uvwxy")), indices = array(0, ROWS, BUFFERS(NULL, keys));
    dictionary.dictionary = &text;
    indices.dictionary = &values;
    WRITTEN(dictionary, indices, "ax bv cw dv ex ");
    SLICE_WRITTEN(dictionary, indices, "cw dv ");

    Schema run_end = field("i", "run_ends"), value = field("l", "values");
    run_end.flags = 0;
    Array three_ends = array(0, 3, BUFFERS(NULL, run_ends)), three = array(1, 3, BUFFERS(NULL, numbers));
    Schema runs = parent_field("+r", "x", FIELDS(&run_end, &value));
    WRITTEN(runs, parent(0, ROWS, NULL, 0, ARRAYS(&three_ends, &three)), "a11 b12 c12 d13 e13 ");
    SLICE_WRITTEN(runs, parent(0, ROWS, NULL, 0, ARRAYS(&three_ends, &three)), "c12 d13 ");

    /* A view is a length and a short text, or a length, a prefix, a buffer and a place in it. */
    static const char first[] = "a text that is longer", second[] = "and another of that kind";
    static const int64_t lengths[] = {sizeof first - 1, sizeof second - 1};
    struct {
        int32_t length;
        char prefix[4];
        int32_t buffer, start;
    } views[ROWS] = {{sizeof first - 1, "a te", 0, 0}, {2, "in", 0, 0}, {0}, {21, "d an", 1, 2}, {20, "anot", 1, 4}};
    WRITTEN(field("vu", "x"), array(0, ROWS, BUFFERS(NULL, views, first, second, lengths)),
            "aa text that is longer bin c dd another of that kin eanother of that kind ");
    SLICE_WRITTEN(field("vu", "x"), array(0, ROWS, BUFFERS(NULL, views, first, second, lengths)),
                  "c dd another of that kin ");
    views[0] = views[3] = views[4] = views[1];
    WRITTEN(field("vu", "x"), array(0, ROWS, BUFFERS(NULL, views, NULL)), "ain bin c din ein ");
}

/* What has no values may have NULL for each of its buffers. */
static void empty_buffers(void) {
    Schema text = field("u", "item"), number = field("l", "item"), nothing = field("n", "x");
    Schema inner = parent_field("+L", "item", FIELDS(&number));
    Array no_text = array(0, 0, BUFFERS(NULL, NULL, NULL)), no_number = array(0, 0, BUFFERS(NULL, NULL));
    Array no_list = parent(0, 0, BUFFERS(NULL, NULL), ARRAYS(&no_number));
    WRITTEN(parent_field("+l", "x", FIELDS(&text)), parent(0, ROWS, BUFFERS(NULL, nowhere), ARRAYS(&no_text)),
            "a[] b[] c[] d[] e[] ");
    SLICE_WRITTEN(parent_field("+l", "x", FIELDS(&inner)), parent(0, ROWS, BUFFERS(NULL, nowhere), ARRAYS(&no_list)),
                  "c[] d[] ");
    WRITTEN(field("u", "x"), array(0, ROWS, BUFFERS(NULL, nowhere, NULL)), "a b c d e ");
    WRITTEN(field("l", "x"), array(0, ROWS, BUFFERS(&none_valid, numbers)), "anull bnull cnull dnull enull ");
    WRITTEN(nothing, array(0, ROWS, NULL, 0), "an bn cn dn en ");

    Schema dictionary = field("i", "x");
    Array indices = array(0, ROWS, BUFFERS(&none_valid, nowhere));
    dictionary.dictionary = &text;
    indices.dictionary = &no_text;
    WRITTEN(dictionary, indices, "anull bnull cnull dnull enull ");
}

/* LanceDB has no unions, at whatever depth. */
static void unions(void) {
    static const int8_t types[ROWS] = {0, 1, 0, 1, 1};
    MetaxyStore *store = sample_store();
    struct ArrowArrayStream none = {0};
    Schema number = field("l", "n"), other = field("l", "m"), either = parent_field("+us:0,1", "x", FIELDS(&number, &other));
    Array values = array(0, ROWS, BUFFERS(NULL, numbers)), others = array(0, ROWS, BUFFERS(NULL, numbers));
    Array column = parent(0, ROWS, BUFFERS(types), ARRAYS(&values, &others));
    column.null_count = 0;
    check_status(METAXY_UNSUPPORTED, write_column(store, either, column, 0, ROWS), __LINE__, "a union");
    SAYS("\"x\" is a union");
    either.name = "y";
    check_status(METAXY_UNSUPPORTED,
                 write_column(store, parent_field("+s", "x", FIELDS(&either)),
                              parent(0, ROWS, BUFFERS(NULL), ARRAYS(&column)), 0, ROWS),
                 __LINE__, "a struct of a union");
    SAYS("\"y\" is a union");
    GIVES(METAXY_NOT_FOUND, metaxy_store_read(store, SAMPLE, NULL, NULL, &none, &error));
    metaxy_store_free(store);
}

int main(void) {
    structs();
    lists();
    encodings();
    empty_buffers();
    unions();
    return done();
}
