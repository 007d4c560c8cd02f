/* As hosts.c, with metaxy.hpp. */
#include "metaxy.hpp"

#include <chrono>
#include <iostream>

constexpr int calls = 10'000'000;

static double now() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

int main(int argc, char **argv) try {
    if (argc != 4) throw std::invalid_argument("usage: hosts-cpp DIRECTORY DEFINITION READS");
    double started = now();
    int compatible = 0;
    for (int i = 0; i < calls; i++) compatible += metaxy::is_compatible();
    const double call = (now() - started) / calls;
    if (compatible != calls) throw std::runtime_error("another version of the ABI");

    const metaxy::Store store = metaxy::Store::open(argv[1]);
    store.define(argv[2]);
    std::cout << "{\"call_ns\": " << call * 1e9 << ", \"reads_s\": [";
    std::int64_t rows = 0, sum = 0;
    for (int i = 0; i < std::stoi(argv[3]); i++) {
        started = now();
        rows = sum = 0;
        {
            metaxy::Stream stream = store.read("r/a");
            const auto size = static_cast<std::size_t>(stream.schema().index("size").value());
            for (const auto &batch : stream) {
                const ArrowArray &column = *batch.get()->children[size];
                const auto *values = static_cast<const std::int64_t *>(column.buffers[1]) + batch.get()->offset + column.offset;
                for (std::int64_t row = 0; row < batch.rows(); row++) sum += values[row];
                rows += batch.rows();
            }
        }
        std::cout << (i ? ", " : "") << now() - started;
    }
    std::cout << "], \"rows\": " << rows << ", \"sum\": " << sum << "}\n";
    return 0;
} catch (const std::exception &error) {
    std::cerr << "hosts-cpp: " << error.what() << '\n';
    return 1;
}
