/*
 * The least Arrow that a C++ program needs to hand over a few rows and to look at some: text, 64-bit integers, and
 * structs of them. A larger program would use Arrow C++ or nanoarrow, as docs/cpp.md shows.
 *
 *   rows::Table().text("id", {"intro"}).numbers("size", {48000}).batch()    columns -> a batch
 *   rows::text(batch, "id", 0), rows::number(batch, "size", 0)              a value of a batch
 *   rows::print(std::cout, stream)                                          a stream -> an aligned table
 *   rows::extended(batch, rows::Table().numbers("bytes", {7}))              a batch, and columns after its own
 */
#ifndef ROWS_HPP
#define ROWS_HPP

#include "metaxy.hpp"

#include <iomanip>
#include <ostream>
#include <sstream>

namespace rows {

/* Columns of equally many values. */
class Table {
public:
    Table &text(std::string name, const std::vector<std::string> &values) {
        Column column{std::move(name), "U", std::int64_t(values.size()), {}, {0}, {}, {}};
        for (const std::string &value : values) {
            column.bytes += value;
            column.numbers.push_back(std::int64_t(column.bytes.size()));
        }
        return add(std::move(column));
    }

    Table &numbers(std::string name, std::vector<std::int64_t> values) {
        const auto rows = std::int64_t(values.size());
        return add({std::move(name), "l", rows, {}, std::move(values), {}, {}});
    }

    Table &members(std::string name, Table members) {
        members.column_.name = std::move(name);
        return add(std::move(members.column_));
    }

    /* A batch that owns copies of the columns. */
    metaxy::Batch batch() const {
        ArrowSchema schema{};
        ArrowArray array{};
        describe(column_, &schema);
        export_array(column_, &array);
        return metaxy::Batch(&array, &schema);
    }

    metaxy::Schema schema() const {
        ArrowSchema schema{};
        describe(column_, &schema);
        return metaxy::Schema(&schema);
    }

private:
    struct Column {
        std::string name;
        const char *format;
        std::int64_t rows;
        std::string bytes;
        std::vector<std::int64_t> numbers; /* the values, or where each text begins and the last one ends */
        std::vector<Column> members;
        std::vector<const void *> buffers;
    };

    /* What an exported struct lives on; one type for arrays and schemas. */
    template <class T>
    struct Kept {
        Column column;
        std::vector<T> children;
        std::vector<T *> pointers;

        static void release(T *exported) {
            Kept *kept = static_cast<Kept *>(exported->private_data);
            for (T &child : kept->children)
                if (child.release) child.release(&child);
            delete kept;
            exported->release = nullptr;
        }
    };

    template <class T>
    static Kept<T> *keep(const Column &column, T *out, void (*make)(const Column &, T *)) {
        auto *kept = new Kept<T>{column, std::vector<T>(column.members.size()), {}};
        for (std::size_t i = 0; i < kept->children.size(); i++) {
            make(kept->column.members[i], &kept->children[i]);
            kept->pointers.push_back(&kept->children[i]);
        }
        *out = T{};
        out->n_children = std::int64_t(kept->children.size());
        out->children = kept->pointers.data();
        out->release = Kept<T>::release;
        out->private_data = kept;
        return kept;
    }

    static void describe(const Column &column, ArrowSchema *out) {
        const Kept<ArrowSchema> *kept = keep(column, out, describe);
        out->format = kept->column.format;
        out->name = kept->column.name.c_str();
        out->flags = ARROW_FLAG_NULLABLE;
    }

    static void export_array(const Column &column, ArrowArray *out) {
        Kept<ArrowArray> *kept = keep(column, out, export_array);
        Column &own = kept->column;
        own.buffers = {nullptr}; /* says what is null: nothing is */
        if (own.members.empty()) own.buffers.push_back(own.numbers.data());
        if (*own.format == 'U') own.buffers.push_back(own.bytes.data());
        out->length = own.rows;
        out->n_buffers = std::int64_t(own.buffers.size());
        out->buffers = own.buffers.data();
    }

    Table &add(Column column) {
        column_.rows = column.rows;
        column_.members.push_back(std::move(column));
        return *this;
    }

    Column column_{"", "+s", 0, {}, {}, {}, {}};
};

/* A batch with further columns, of as many rows. Nothing is copied of those that it has: Arrow's structs let a consumer
 * move their children out. The rows must begin at the first value, as those of the library do. */
inline metaxy::Batch extended(metaxy::Batch batch, const Table &more) {
    const auto extend = [](auto *whole, auto *added) {
        using Struct = std::remove_pointer_t<decltype(whole)>;
        struct Columns {
            std::vector<Struct> children;
            std::vector<Struct *> pointers;
            const void *no_nulls = nullptr;

            static void release(Struct *exported) {
                auto *columns = static_cast<Columns *>(exported->private_data);
                for (Struct &child : columns->children)
                    if (child.release) child.release(&child);
                delete columns;
                exported->release = nullptr;
            }
        };
        auto *columns = new Columns;
        for (Struct *from : {whole, added}) {
            for (std::int64_t i = 0; i < from->n_children; i++) {
                columns->children.push_back(*from->children[i]);
                from->children[i]->release = nullptr;
            }
            from->release(from);
        }
        for (Struct &child : columns->children) columns->pointers.push_back(&child);
        Struct made{};
        made.n_children = std::int64_t(columns->children.size());
        made.children = columns->pointers.data();
        made.release = Columns::release;
        made.private_data = columns;
        return std::pair(made, &columns->no_nulls);
    };
    const std::int64_t length = batch.rows();
    metaxy::Batch added = more.batch();
    if (batch.get()->offset != 0 || added.rows() != length) throw std::invalid_argument("the rows are not as many");

    ArrowSchema whole_schema = batch.schema().copy().release(), added_schema = added.schema().copy().release();
    ArrowArray whole = batch.release(), rest = added.release();
    ArrowSchema schema = extend(&whole_schema, &added_schema).first;
    schema.format = "+s";
    auto [array, buffers] = extend(&whole, &rest);
    array.length = length;
    array.n_buffers = 1;
    array.buffers = buffers;
    return metaxy::Batch(&array, &schema);
}

inline bool is_null(const ArrowArray &column, std::int64_t row) {
    const auto *valid = column.n_buffers > 0 ? static_cast<const unsigned char *>(column.buffers[0]) : nullptr;
    row += column.offset;
    return valid && !(valid[row / 8] >> (row % 8) & 1);
}

template <class Offset>
std::string_view text_at(const ArrowArray &column, std::int64_t row) {
    const auto *ends = static_cast<const Offset *>(column.buffers[1]) + column.offset + row;
    return {static_cast<const char *>(column.buffers[2]) + ends[0], std::size_t(ends[1] - ends[0])};
}

inline std::int64_t number_at(const ArrowArray &column, std::int64_t row) {
    return static_cast<const std::int64_t *>(column.buffers[1])[column.offset + row];
}

/* The values of a column; it must be there, and of that type. */
inline const ArrowArray &column(const metaxy::Batch &batch, std::string_view name, std::string_view format) {
    const auto index = batch.schema().index(name);
    if (!index || format != batch.schema().get()->children[*index]->format)
        throw std::invalid_argument("there is no column \"" + std::string(name) + "\" of format " + std::string(format));
    return *batch.get()->children[*index];
}

inline std::string_view text(const metaxy::Batch &batch, std::string_view name, std::int64_t row) {
    return text_at<std::int64_t>(column(batch, name, "U"), batch.get()->offset + row);
}

inline std::int64_t number(const metaxy::Batch &batch, std::string_view name, std::int64_t row) {
    return number_at(column(batch, name, "l"), batch.get()->offset + row);
}

/* A value for people; of types not known here, the format. */
inline std::string shown(const ArrowSchema &schema, const ArrowArray &column, std::int64_t row) {
    const std::string_view format = schema.format;
    if (is_null(column, row)) return "null";
    if (format == "U") return std::string(text_at<std::int64_t>(column, row));
    if (format == "u") return std::string(text_at<std::int32_t>(column, row));
    if (format == "l" || format == "L") return std::to_string(number_at(column, row));
    if (format == "b") {
        const std::int64_t bit = column.offset + row;
        return static_cast<const unsigned char *>(column.buffers[1])[bit / 8] >> (bit % 8) & 1 ? "yes" : "no";
    }
    return schema.format;
}

inline void print(std::ostream &out, metaxy::Stream stream) {
    const auto line = [&out](const std::vector<std::string> &cells) {
        std::ostringstream text;
        for (const std::string &cell : cells) text << std::left << std::setw(22) << cell;
        std::string trimmed = text.str();
        trimmed.erase(trimmed.find_last_not_of(' ') + 1);
        out << trimmed << '\n';
    };
    line(stream.schema().names());
    for (const metaxy::Batch &batch : stream) {
        const ArrowSchema &schema = *batch.schema().get();
        for (std::int64_t row = 0; row < batch.rows(); row++) {
            std::vector<std::string> cells;
            for (std::int64_t i = 0; i < schema.n_children; i++)
                cells.push_back(shown(*schema.children[i], *batch.get()->children[i], batch.get()->offset + row));
            line(cells);
        }
    }
}

} // namespace rows

#endif
