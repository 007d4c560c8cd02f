/*
 * One bug of each kind that the sanitizers are there for, which they must tell.
 */
#include "check.hpp"

#include <climits>
#include <thread>

int main(int argc, char **argv) {
    const std::string_view bug = argc > 1 ? argv[1] : "";
    if (bug == "use after free") {
        metaxy::Batch batch = ::batch({"a"});
        ArrowArray copy = *batch.get();
        { const metaxy::Batch gone = std::move(batch); }
        return copy.children[0]->length == 0;
    }
    if (bug == "leak") {
        /* On a stack that is gone afterwards, where no stale copy of the pointer keeps it found. */
        std::thread([] { (void)::batch({"a"}).release(); }).join();
    }
    if (bug == "overflow") {
        int most = INT_MAX - 2 + argc;
        return ++most == 0;
    }
    return 0;
}
