/*
 * A program of two source files that both include the header: this one, compiled in two ways.
 */
#include "check.hpp"

#ifdef FIRST_FILE
std::int64_t rows_of(const metaxy::Store &store);

int main() {
    {
        const metaxy::Store store = ::store();
        store.write("sample", batch({"a", "b"}), {}, metaxy::Context().progress([](std::uint64_t, auto) {}));
        CHECK(rows_of(store) == 2);
        metaxy::set_log(METAXY_LOG_INFO, {});
    }
    return done();
}
#else
std::int64_t rows_of(const metaxy::Store &store);

std::int64_t rows_of(const metaxy::Store &store) {
    metaxy::set_log(METAXY_LOG_INFO, [](std::int32_t, std::string_view) {});
    return store.read("sample", {}, metaxy::Context().progress([](std::uint64_t, auto) {})).count();
}
#endif
