/*
 * nanoarrow: its own smart structs take ours over, and ours its.
 */
#include <nanoarrow/nanoarrow.hpp>

#include "check.hpp"

static void both_ways() {
    const metaxy::Store store = ::store();

    nanoarrow::UniqueSchema schema;
    nanoarrow::UniqueArray array;
    metaxy::Batch batch = ::batch({"a", "b", "c"});
    ArrowArrayMove(batch.get(), array.get());
    metaxy::Schema columns = table({}).schema();
    ArrowSchemaMove(columns.get(), schema.get());
    THROWS(METAXY_INVALID_HANDLE, batch.rows());
    THROWS(METAXY_INVALID_HANDLE, columns.names());

    nanoarrow::UniqueSchema copy;
    CHECK(ArrowSchemaDeepCopy(schema.get(), copy.get()) == NANOARROW_OK);
    nanoarrow::UniqueArrayStream incoming;
    nanoarrow::VectorArrayStream(schema.get(), array.get()).ToArrayStream(incoming.get());
    store.write("sample", incoming.get());

    metaxy::Stream rows = store.read("sample", metaxy::ReadRequest().columns({"size", "id"}));
    nanoarrow::UniqueArrayStream outgoing;
    ArrowArrayStreamMove(rows.get(), outgoing.get());
    THROWS(METAXY_INVALID_HANDLE, rows.next());
    std::int64_t count = 0;
    nanoarrow::ViewArrayStream pulled(outgoing.get());
    for (const ArrowArray &array : pulled) {
        for (const auto size : nanoarrow::ViewArrayAs<std::int64_t>(array.children[0])) CHECK(*size == 10);
        count += array.length;
    }
    CHECK(pulled.code() == NANOARROW_OK && count == 3);

    for (auto &read : store.read("sample")) {
        nanoarrow::UniqueArrayView view;
        CHECK(ArrowArrayViewInitFromSchema(view.get(), read.schema().get(), nullptr) == NANOARROW_OK);
        CHECK(ArrowArrayViewSetArray(view.get(), read.get(), nullptr) == NANOARROW_OK);
        CHECK(ArrowArrayViewValidate(view.get(), NANOARROW_VALIDATION_LEVEL_FULL, nullptr) == NANOARROW_OK);
    }
}

int main() {
    both_ways();
    return done();
}
