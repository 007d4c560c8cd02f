/*
 * Arrow C++: batches and streams go both ways without a copy.
 */
#include "check.hpp"

#include <arrow/api.h>
#include <arrow/c/bridge.h>

template <class T>
static T must(arrow::Result<T> result) {
    if (!result.ok()) throw std::runtime_error(result.status().ToString());
    return std::move(result).ValueUnsafe();
}

static void must(const arrow::Status &status) {
    if (!status.ok()) throw std::runtime_error(status.ToString());
}

static std::shared_ptr<arrow::RecordBatch> incoming() {
    arrow::LargeStringBuilder ids;
    must(ids.AppendValues({"a", "b"}));
    const auto column = must(ids.Finish());
    const auto fields = must(arrow::StructArray::Make({column}, std::vector<std::string>{"default"}));
    const auto schema = arrow::schema({arrow::field("id", arrow::large_utf8()), arrow::field("kind", arrow::utf8()),
                                       arrow::field("metaxy_provenance_by_field", fields->type())});
    arrow::StringBuilder kind;
    must(kind.AppendValues({"video", "audio"}));
    return arrow::RecordBatch::Make(schema, 2, {column, must(kind.Finish()), fields});
}

static void both_ways() {
    const metaxy::Store store = ::store();

    /* One batch in. */
    ArrowArray array;
    ArrowSchema schema;
    must(arrow::ExportRecordBatch(*incoming(), &array, &schema));
    store.write("sample", metaxy::Batch(&array, &schema));
    CHECK(!array.release && !schema.release);

    /* A reader in. */
    ArrowArrayStream stream;
    must(arrow::ExportRecordBatchReader(must(arrow::RecordBatchReader::Make({incoming(), incoming()})), &stream));
    store.write("sample", &stream, metaxy::Options{{"write.duplicates", "last"}});
    CHECK(!stream.release);

    /* Batches out. */
    std::int64_t rows = 0;
    for (auto &batch : store.read("sample")) {
        metaxy::Schema columns = batch.schema().copy();
        const auto imported = must(arrow::ImportRecordBatch(batch.get(), columns.get()));
        CHECK(imported->ValidateFull().ok());
        CHECK(!batch.get()->release);
        THROWS(METAXY_INVALID_HANDLE, batch.rows());
        rows += imported->num_rows();
    }
    CHECK(rows == 2);

    /* A reader out, which outlives the store. */
    metaxy::Stream read = ::store().features();
    const auto reader = must(arrow::ImportRecordBatchReader(read.get()));
    THROWS(METAXY_INVALID_HANDLE, read.next());
    const auto table = must(reader->ToTable());
    CHECK(table->ValidateFull().ok() && table->num_rows() == 1);
    CHECK(table->GetColumnByName("feature")->GetScalar(0).ValueOrDie()->ToString() == "sample");

    /* A schema of every kind, copied, is the same. */
    const auto metadata = arrow::key_value_metadata({{"key", "value"}, {"", std::string("\0\1", 2)}});
    const auto kinds = arrow::schema(
        {arrow::field("dictionary", arrow::dictionary(arrow::int32(), arrow::utf8()), false, metadata),
         arrow::field("list", arrow::list(arrow::struct_({arrow::field("at", arrow::timestamp(arrow::TimeUnit::MICRO, "UTC"))}))),
         arrow::field("map", arrow::map(arrow::utf8(), arrow::fixed_size_list(arrow::int8(), 3)))},
        metadata);
    ArrowSchema exported;
    must(arrow::ExportSchema(*kinds, &exported));
    metaxy::Schema copy = metaxy::Schema(&exported).copy();
    const auto imported = must(arrow::ImportSchema(copy.get()));
    CHECK(imported->Equals(*kinds, true));

    /* One of Arrow's streams fails, and one of ours fails in Arrow's hands. */
    class Failing : public arrow::RecordBatchReader {
        std::shared_ptr<arrow::Schema> schema() const override { return incoming()->schema(); }
        arrow::Status ReadNext(std::shared_ptr<arrow::RecordBatch> *) override {
            return arrow::Status::IOError("the disk is gone");
        }
    };
    must(arrow::ExportRecordBatchReader(std::make_shared<Failing>(), &stream));
    CHECK(contains(THROWS(METAXY_IO, store.write("sample", &stream)), "the disk is gone"));
    metaxy::Stream source = metaxy::Stream::from(::table({}).schema(), []() -> std::optional<metaxy::Batch> {
        throw std::runtime_error("the source is gone");
    });
    const auto failed = must(arrow::ImportRecordBatchReader(source.get()))->ToTable();
    CHECK(contains(failed.status().ToString(), "the source is gone"));
}

int main() {
    both_ways();
    return done();
}
