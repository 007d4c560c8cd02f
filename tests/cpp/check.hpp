/*
 * Checks for the C++ tests: a failed one is told with its line, and makes `done` return 1.
 */
#ifndef CHECK_HPP
#define CHECK_HPP

#include "metaxy.hpp"
#include "rows.hpp"

#include <iostream>

inline bool check_failed = false;

inline void check(bool holds, int line, const char *what) {
    if (holds) return;
    check_failed = true;
    std::cerr << "line " << line << ": not so: " << what << '\n';
}

#define CHECK(condition) check((condition), __LINE__, #condition)

/* The message of the metaxy::Error of this status that a call throws. */
template <class Call>
std::string thrown(MetaxyStatus status, Call call, int line, const char *what) {
    try {
        call();
    } catch (const metaxy::Error &error) {
        if (error.status() == status) return error.what();
        check(false, line, error.status_name());
        std::cerr << "    " << error.what() << '\n';
        return error.what();
    } catch (...) {
        check(false, line, "another exception");
        return "";
    }
    check(false, line, what);
    return "";
}

#define THROWS(status, ...) thrown(status, [&] { (void)(__VA_ARGS__); }, __LINE__, #__VA_ARGS__)

inline bool contains(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

/* What main returns: everything held, and nothing is left. */
inline int done() {
    if (metaxy::live_handles() != 0) {
        check_failed = true;
        std::cerr << metaxy::live_handles() << " handles were not freed\n";
    }
    return check_failed;
}

constexpr std::string_view sample =
    R"({"feature_spec": {"key": "sample", "id_columns": ["id"], "fields": [{"key": "default"}]}, "project": "tests"})";

inline rows::Table table(const std::vector<std::string> &ids, std::int64_t size = 10) {
    rows::Table table, fields;
    fields.text("default", ids);
    table.text("id", ids).numbers("size", std::vector<std::int64_t>(ids.size(), size));
    table.members("metaxy_provenance_by_field", fields);
    return table;
}

inline metaxy::Batch batch(const std::vector<std::string> &ids, std::int64_t size = 10) { return table(ids, size).batch(); }

inline metaxy::Store store() {
    metaxy::Store store = metaxy::Store::open("memory://");
    store.define(sample);
    return store;
}

#endif
