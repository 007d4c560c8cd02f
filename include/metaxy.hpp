/**
 * @file
 * libmetaxy for C++17: metaxy.h with objects that free themselves, exceptions, and range-for over record batches.
 *
 * Nothing but this header and the library is needed. What holds for every class:
 *
 * - It owns a handle of the C library and can be moved, not copied. Where a function of metaxy.h is needed, `get()`
 *   lends the handle and `release()` gives it away.
 * - A call that fails throws `metaxy::Error`. So does a call on an object that was moved from: `METAXY_INVALID_HANDLE`.
 * - `const` member functions may be called by many threads at once, the others by one at a time.
 * - Texts go in as `std::string_view`, which need not end with NUL but may not contain one, and come out as `std::string`.
 * - Options, requests and contexts may be left out, or be `{}`.
 * - A callback may throw: the call that it was made for ends, and lets the exception through, also if it had done its
 *   work by then: see `Context::completed`.
 *
 * What a call means, and how it fails, is said in metaxy.h at the function of the same name.
 */
#ifndef METAXY_HPP
#define METAXY_HPP

#include "metaxy.h"

#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <functional>
#include <initializer_list>
#include <iterator>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <vector>

namespace metaxy {

// ---- errors ----

/// A fact that an error carries, such as `feature` and its key.
struct Detail {
    std::string key, value;
};

/// A failure. `what()` says what was wrong, with which value, and what to do.
class Error : public std::runtime_error {
public:
    Error(MetaxyStatus status, const std::string &message) : Error(status, message, Facts(status)) {}

    /// Copies an error of the C library, which stays the caller's; NULL is one that only has its status.
    Error(MetaxyStatus status, const MetaxyError *error) : Error(status, message_of(status, error), Facts(error)) {}

    /// One of `METAXY_INVALID_ARGUMENT` and so on.
    MetaxyStatus status() const noexcept { return status_; }

    /// Such as `METAXY_NOT_FOUND`.
    const char *status_name() const noexcept {
        const char *name = metaxy_status_name(status_);
        return name ? name : "";
    }

    /// Whether the same call may succeed when it is simply made again.
    bool retryable() const noexcept { return facts_->retryable; }

    const std::vector<Detail> &details() const noexcept { return facts_->details; }

    /// The value of the fact called `key`, if the failure carries it.
    std::optional<std::string> detail(std::string_view key) const {
        for (const Detail &detail : details())
            if (detail.key == key) return detail.value;
        return std::nullopt;
    }

    /// What is below the failure, outermost first.
    const std::vector<std::string> &causes() const noexcept { return facts_->causes; }

private:
    struct Facts {
        std::vector<Detail> details;
        std::vector<std::string> causes;
        bool retryable = false;

        /// Of what is found on this side of C, only what is busy may soon be free.
        explicit Facts(MetaxyStatus status) : retryable(status == METAXY_BUSY) {}
        explicit Facts(const MetaxyError *error) : retryable(metaxy_error_is_retryable(error) != 0) {
            for (std::size_t i = 0; i < metaxy_error_detail_count(error); i++)
                details.push_back({metaxy_error_detail_key(error, i), metaxy_error_detail_value(error, i)});
            for (std::size_t i = 0; i < metaxy_error_cause_count(error); i++)
                causes.emplace_back(metaxy_error_cause(error, i));
        }
    };

    Error(MetaxyStatus status, const std::string &message, Facts facts)
        : std::runtime_error(message), status_(status), facts_(std::make_shared<const Facts>(std::move(facts))) {}

    static std::string message_of(MetaxyStatus status, const MetaxyError *error) {
        const char *message = metaxy_error_message(error);
        if (!message) message = metaxy_status_name(status);
        return message ? message : "unknown status " + std::to_string(status);
    }

    MetaxyStatus status_;
    std::shared_ptr<const Facts> facts_; // shared, so that copying an exception cannot throw
};

namespace detail {

/// Throws what a call came to, unless that is success. `error` is consumed.
inline void check(MetaxyStatus status, MetaxyError *error) {
    const std::unique_ptr<MetaxyError, void (*)(MetaxyError *)> owned(error, metaxy_error_free);
    if (status != METAXY_OK) throw Error(status, error);
}

/// Makes a call, whose last parameter is the error that is left out here.
template <class Function, class... Arguments>
void call(Function *function, Arguments... arguments) {
    MetaxyError *error = nullptr;
    const MetaxyStatus status = function(arguments..., &error);
    check(status, error);
}

/// An exception on its way past the C library.
class Failure {
public:
    void keep(std::exception_ptr failure) noexcept {
        const std::lock_guard<std::mutex> guard(mutex_);
        if (!failure_) failure_ = std::move(failure);
    }

    /// `completed` says whether the call had done its work nevertheless.
    void rethrow(bool completed) {
        std::exception_ptr failure;
        {
            const std::lock_guard<std::mutex> guard(mutex_);
            failure = std::exchange(failure_, nullptr);
            if (failure) completed_ = completed;
        }
        if (failure) std::rethrow_exception(failure);
    }

    bool completed() noexcept {
        const std::lock_guard<std::mutex> guard(mutex_);
        return completed_;
    }

private:
    std::mutex mutex_;
    std::exception_ptr failure_;
    bool completed_ = false;
};

using Failures = std::vector<std::shared_ptr<Failure>>;

/// Makes a call during which callbacks of these may have failed; what they threw counts for more.
template <class Function, class... Arguments>
void call_with(const Failures &failures, Function *function, Arguments... arguments) {
    MetaxyError *error = nullptr;
    const MetaxyStatus status = function(arguments..., &error);
    const std::unique_ptr<MetaxyError, void (*)(MetaxyError *)> owned(error, metaxy_error_free);
    for (const auto &failure : failures) failure->rethrow(status == METAXY_OK);
    if (status != METAXY_OK) throw Error(status, error);
}

/// A text as C wants it.
class Text {
public:
    Text(std::string_view text) : text_(text) {
        if (text.find('\0') != std::string_view::npos)
            throw Error(METAXY_INVALID_ARGUMENT, "a text contains NUL after \"" + std::string(text_.c_str()) + "\"");
    }
    const char *get() const noexcept { return text_.c_str(); }

private:
    std::string text_;
};

/// A text that may be left out.
class MaybeText {
public:
    MaybeText(std::optional<std::string_view> text) {
        if (text) text_.emplace(*text);
    }
    const char *get() const noexcept { return text_ ? text_->get() : nullptr; }

private:
    std::optional<Text> text_;
};

/// Takes a text that the library gave out.
inline std::string taken(char *text) {
    const std::unique_ptr<char, void (*)(char *)> owned(text, metaxy_string_free);
    return text ? std::string(text) : std::string();
}

/// What owns a handle.
template <class T, void (*Free)(T *)>
class Handle {
public:
    Handle(Handle &&other) noexcept : handle_(other.release()) {}
    Handle &operator=(Handle &&other) noexcept {
        if (this != &other) Free(std::exchange(handle_, other.release()));
        return *this;
    }
    ~Handle() { Free(handle_); }

    /// Lends the handle; NULL if it was given away.
    T *get() const noexcept { return handle_; }

    /// Gives the handle away, to be freed by the caller.
    T *release() noexcept { return std::exchange(handle_, nullptr); }

protected:
    Handle() = default;
    explicit Handle(T *owned) noexcept : handle_(owned) {}

    T **out() noexcept { return &handle_; }

private:
    T *handle_ = nullptr;
};

/// An argument that may be left out.
template <class T>
class Given {
public:
    Given() = default;
    Given(const T &object) : object_(&object) {
        if (!object.get()) throw Error(METAXY_INVALID_HANDLE, std::string("the ") + T::noun + " was moved from");
    }
    auto get() const noexcept { return object_ ? object_->get() : nullptr; }
    const T *operator->() const noexcept { return object_; }
    explicit operator bool() const noexcept { return object_ != nullptr; }

private:
    const T *object_ = nullptr;
};

/// What owns a struct of Arrow, whose `release` is NULL when it is empty.
template <class T>
class Owned {
public:
    Owned() = default;
    explicit Owned(T *moved) noexcept {
        if (moved) {
            value_ = *moved;
            moved->release = nullptr;
        }
    }
    Owned(Owned &&other) noexcept : Owned(&other.value_) {}
    Owned &operator=(Owned &&other) noexcept {
        if (this != &other) {
            reset();
            value_ = other.release();
        }
        return *this;
    }
    ~Owned() { reset(); }

    T *get() noexcept { return &value_; }
    const T *get() const noexcept { return &value_; }
    bool empty() const noexcept { return !value_.release; }
    T release() noexcept {
        T value = value_;
        value_.release = nullptr;
        return value;
    }

private:
    void reset() noexcept {
        if (value_.release) value_.release(&value_);
    }
    T value_{};
};

} // namespace detail

/// Stands for every feature, or every column, where some could be named.
struct Every {};
inline constexpr Every every{};

/// Names of features or columns: `{"id", "size"}`, any container of texts, or `metaxy::every`.
class Names {
public:
    Names(Every) {}
    Names(std::initializer_list<std::string_view> names) { assign(names); }
    template <class Range, class = std::enable_if_t<
                               std::is_convertible_v<decltype(*std::begin(std::declval<const Range &>())), std::string_view>>>
    Names(const Range &names) {
        assign(names);
    }
    Names(Names &&) = default;
    Names &operator=(Names &&) = default;

    std::size_t size() const noexcept { return texts_.size(); }
    const char *const *get() const noexcept { return pointers_.empty() ? nullptr : pointers_.data(); }

private:
    template <class Range>
    void assign(const Range &names) {
        for (const auto &name : names) texts_.emplace_back(std::string_view(name));
        for (const detail::Text &text : texts_) pointers_.push_back(text.get());
        pointers_.push_back(nullptr); // no names are not every name
    }
    std::vector<detail::Text> texts_;
    std::vector<const char *> pointers_;
};

// ---- Arrow ----

namespace detail {

/// What a schema made by `copy_schema` owns.
struct SchemaCopy {
    std::string format, name, metadata;
    std::vector<ArrowSchema> children;
    std::vector<ArrowSchema *> pointers;
    ArrowSchema dictionary{};

    SchemaCopy() = default;
    SchemaCopy(const SchemaCopy &) = delete;
    SchemaCopy &operator=(const SchemaCopy &) = delete;
    ~SchemaCopy() {
        // Whoever moved a part out has set its `release` to NULL.
        for (ArrowSchema &child : children)
            if (child.release) child.release(&child);
        if (dictionary.release) dictionary.release(&dictionary);
    }

    static void release(ArrowSchema *schema) noexcept {
        delete static_cast<SchemaCopy *>(schema->private_data);
        schema->release = nullptr;
    }
};

/// The bytes of a schema's metadata: a count, then for each key and value its length and text.
inline std::string metadata_of(const char *metadata) {
    if (!metadata) return {};
    const auto number = [&metadata](std::size_t at) {
        std::int32_t value;
        std::memcpy(&value, metadata + at, sizeof value);
        return value;
    };
    std::size_t size = sizeof(std::int32_t);
    for (std::int64_t texts = 2 * std::int64_t{number(0)}; texts > 0; texts--)
        size += sizeof(std::int32_t) + static_cast<std::size_t>(number(size));
    return std::string(metadata, size);
}

inline void copy_schema(const ArrowSchema &from, ArrowSchema *to) {
    auto copy = std::make_unique<SchemaCopy>();
    copy->format = from.format;
    copy->name = from.name ? from.name : "";
    copy->metadata = metadata_of(from.metadata);
    copy->children.resize(static_cast<std::size_t>(from.n_children));
    for (std::size_t i = 0; i < copy->children.size(); i++) {
        copy_schema(*from.children[i], &copy->children[i]);
        copy->pointers.push_back(&copy->children[i]);
    }
    if (from.dictionary) copy_schema(*from.dictionary, &copy->dictionary);

    *to = ArrowSchema{};
    to->format = copy->format.c_str();
    to->name = from.name ? copy->name.c_str() : nullptr;
    to->metadata = from.metadata ? copy->metadata.data() : nullptr;
    to->flags = from.flags;
    to->n_children = from.n_children;
    to->children = copy->pointers.empty() ? nullptr : copy->pointers.data();
    to->dictionary = from.dictionary ? &copy->dictionary : nullptr;
    to->release = SchemaCopy::release;
    to->private_data = copy.release();
}

inline std::string_view name_of(const ArrowSchema &schema) { return schema.name ? schema.name : ""; }

/// Whether arrays of the one can be read as arrays of the other: the same types, and members of the same names.
inline bool same_layout(const ArrowSchema &one, const ArrowSchema &other) {
    if (std::strcmp(one.format, other.format) != 0 || one.n_children != other.n_children) return false;
    if (!one.dictionary != !other.dictionary) return false;
    if (one.dictionary && !same_layout(*one.dictionary, *other.dictionary)) return false;
    const bool named = std::strcmp(one.format, "+s") == 0;
    for (std::int64_t i = 0; i < one.n_children; i++) {
        if (named && name_of(*one.children[i]) != name_of(*other.children[i])) return false;
        if (!same_layout(*one.children[i], *other.children[i])) return false;
    }
    return true;
}

} // namespace detail

/// Owns an ArrowSchema.
class Schema {
public:
    /// Takes the struct over: its `release` is NULL afterwards.
    Schema(ArrowSchema *moved) : schema_(moved) { present(); }

    /// Lends the struct. Who moves it out of here leaves this one empty.
    ArrowSchema *get() noexcept { return schema_.get(); }
    const ArrowSchema *get() const noexcept { return schema_.get(); }

    /// Gives the struct away, to be released by the caller.
    ArrowSchema release() noexcept { return schema_.release(); }

    /// The same schema once more.
    Schema copy() const {
        ArrowSchema copy{};
        detail::copy_schema(present(), &copy);
        return Schema(&copy);
    }

    std::vector<std::string> names() const {
        std::vector<std::string> names;
        for (std::int64_t i = 0; i < present().n_children; i++) names.emplace_back(detail::name_of(*get()->children[i]));
        return names;
    }

    /// The number of the column called `name`.
    std::optional<std::int64_t> index(std::string_view name) const {
        for (std::int64_t i = 0; i < present().n_children; i++)
            if (name == detail::name_of(*get()->children[i])) return i;
        return std::nullopt;
    }

    /// The struct, which is there.
    const ArrowSchema &present() const {
        if (schema_.empty()) throw Error(METAXY_INVALID_HANDLE, "the schema was moved from or released");
        return *schema_.get();
    }

private:
    detail::Owned<ArrowSchema> schema_;
};

/// Owns an ArrowArray, a struct of columns, and shares its schema.
class Batch {
public:
    /// Takes both structs over, also if it throws: their `release` is NULL afterwards.
    Batch(ArrowArray *moved, ArrowSchema *schema) : array_(moved), schema_(std::make_shared<const Schema>(schema)) {}

    /// Takes the array over.
    Batch(ArrowArray *moved, std::shared_ptr<const Schema> schema) : array_(moved), schema_(std::move(schema)) {}

    std::int64_t rows() const { return present().length; }
    const Schema &schema() const { return present(), *schema_; }
    const std::shared_ptr<const Schema> &shared_schema() const noexcept { return schema_; }

    /// Lends the struct. Who moves it out of here, as `arrow::ImportRecordBatch` does, leaves this one empty.
    ArrowArray *get() noexcept { return array_.get(); }
    const ArrowArray *get() const noexcept { return array_.get(); }

    /// Gives the struct away, to be released by the caller.
    ArrowArray release() noexcept { return array_.release(); }

    /// The struct, which is there.
    const ArrowArray &present() const {
        if (array_.empty() || !schema_) throw Error(METAXY_INVALID_HANDLE, "the batch was moved from or released");
        return *array_.get();
    }

private:
    friend class Stream;
    Batch() = default;

    detail::Owned<ArrowArray> array_;
    std::shared_ptr<const Schema> schema_;
};

/// Told how many rows a call has done, and out of how many where that is known. It runs on the calling thread or one of
/// the library's, and may make no call but `Context::cancel`.
using Progress = std::function<void(std::uint64_t rows, std::optional<std::uint64_t> total)>;

namespace detail {

/// A progress callback. The library knows it by a number, so that one that comes late finds nothing, rather than
/// something that is gone.
class Told : public Failure {
public:
    Told(Progress progress, MetaxyContext *context) : progress_(std::move(progress)), context_(context) {}
    Told(const Told &) = delete;
    Told &operator=(const Told &) = delete;
    ~Told() {
        All &all = All::instance();
        const std::lock_guard<std::mutex> guard(all.mutex);
        all.told.erase(number_);
    }

    static std::shared_ptr<Told> make(Progress progress, MetaxyContext *context) {
        auto told = std::make_shared<Told>(std::move(progress), context);
        All &all = All::instance();
        const std::lock_guard<std::mutex> guard(all.mutex);
        told->number_ = ++all.last;
        all.told.emplace(told->number_, told);
        return told;
    }

    void *user_data() const noexcept { return reinterpret_cast<void *>(number_); }

    static void callback(std::uint64_t rows, std::int64_t total, void *user_data) noexcept {
        const std::shared_ptr<Told> told = All::instance().find(reinterpret_cast<std::uintptr_t>(user_data));
        if (!told) return;
        try {
            told->progress_(rows, total < 0 ? std::nullopt : std::optional<std::uint64_t>(total));
        } catch (...) {
            told->keep(std::current_exception());
            metaxy_context_cancel(told->context_, nullptr);
        }
    }

private:
    struct All {
        std::mutex mutex;
        std::unordered_map<std::uintptr_t, std::weak_ptr<Told>> told;
        std::uintptr_t last = 0;

        std::shared_ptr<Told> find(std::uintptr_t number) {
            const std::lock_guard<std::mutex> guard(mutex);
            const auto found = told.find(number);
            return found == told.end() ? nullptr : found->second.lock();
        }

        /// Never freed: the library's threads may outlive the program's statics.
        static All &instance() {
            static All *const all = new All;
            return *all;
        }
    };

    Progress progress_;
    MetaxyContext *context_;
    std::uintptr_t number_ = 0;
};

} // namespace detail

/// A timeout, a cancel switch and a progress callback for the calls that are given it.
class Context : public detail::Handle<MetaxyContext, metaxy_context_free> {
public:
    static constexpr const char *noun = "context";

    Context() { detail::call(metaxy_context_new, out()); }

    /// The longest that one call may take; 0 is for ever.
    Context &timeout(std::chrono::milliseconds timeout) {
        if (timeout.count() < 0) throw Error(METAXY_INVALID_ARGUMENT, "a timeout cannot be negative");
        detail::call(metaxy_context_set_timeout_ms, get(), static_cast<std::uint64_t>(timeout.count()));
        return *this;
    }

    /// Calls this from now on; an empty one is none. If it throws, the context is cancelled, and the call lets the
    /// exception through: `completed` tells whether the call was over by then. It is called for as long as this context
    /// lives, or the stream that a call with it gave.
    Context &progress(Progress progress) {
        auto told = progress ? detail::Told::make(std::move(progress), get()) : nullptr;
        detail::call(metaxy_context_set_progress, get(), told ? &detail::Told::callback : nullptr,
                     told ? told->user_data() : nullptr);
        told_ = std::move(told);
        return *this;
    }

    /// Ends the calls that use the context, those under way and all later ones, with `METAXY_CANCELLED`.
    void cancel() const { detail::call(metaxy_context_cancel, get()); }

    /// Whether the call through which the callback's exception came had done its work nevertheless, as it has if the
    /// callback throws at the report of the end: what it wrote is there, and writing it again would repeat it.
    bool completed() const noexcept { return told_ && told_->completed(); }

    const std::shared_ptr<detail::Told> &told() const noexcept { return told_; }

private:
    std::shared_ptr<detail::Told> told_;
};

namespace detail {

/// What may fail during a call with this context.
inline Failures failures_of(const Given<Context> &context) {
    return context && context->told() ? Failures{context->told()} : Failures{};
}

/// Makes a call that may be given a context.
template <class Function, class... Arguments>
void call_in(const Given<Context> &context, Function *function, Arguments... arguments) {
    call_with(failures_of(context), function, arguments...);
}

} // namespace detail

/// Owns an ArrowArrayStream: record batches, pulled as they are needed.
///
///     for (auto &batch : store.read("example/video")) ...
class Stream {
public:
    /// Takes a stream over, of whatever library: its `release` is NULL afterwards.
    Stream(ArrowArrayStream *moved) : stream_(moved) { present(); }

    /// A stream of the batches that `next` gives until it gives none. What it throws is thrown by the call that the
    /// stream is given to.
    static Stream from(Schema schema, std::function<std::optional<Batch>()> next);

    /// The next batch, or none at the end. One thread at a time, or `METAXY_BUSY`.
    std::optional<Batch> next() {
        shared_schema(); // told first: not every stream can tell it after its end
        Batch batch;
        ArrowArrayStream *stream = stream_.get();
        fail(stream->get_next(stream, batch.array_.get()));
        if (batch.array_.empty()) return std::nullopt;
        batch.schema_ = schema_;
        return batch;
    }

    const Schema &schema() { return *shared_schema(); }

    const std::shared_ptr<const Schema> &shared_schema() {
        present();
        if (!schema_) {
            ArrowSchema schema{};
            ArrowArrayStream *stream = stream_.get();
            fail(stream->get_schema(stream, &schema));
            schema_ = std::make_shared<const Schema>(&schema);
        }
        return schema_;
    }

    /// Which stores serve the rows of a stream that `Store::read` gave.
    Stream served_by() const {
        Stream stores;
        detail::call(metaxy_stream_served_by, &present(), stores.get());
        return stores;
    }

    /// Pulls the whole stream; the number of its rows.
    std::int64_t count() {
        std::int64_t rows = 0;
        while (const std::optional<Batch> batch = next()) rows += batch->rows();
        return rows;
    }

    /// Lends the struct. Who moves it out of here, as `arrow::ImportRecordBatchReader` and
    /// `ArrowArrayStreamMove` do, leaves this one empty.
    ArrowArrayStream *get() noexcept { return stream_.get(); }

    /// Gives the struct away, to be released by the caller.
    ArrowArrayStream release() noexcept { return stream_.release(); }

    /// The end of a range-for.
    struct Sentinel {};

    class Iterator {
    public:
        using iterator_category = std::input_iterator_tag;
        using value_type = Batch;
        using difference_type = std::ptrdiff_t;
        using pointer = Batch *;
        using reference = Batch &;

        Batch &operator*() const { return *stream_->current_; }
        Batch *operator->() const { return &*stream_->current_; }
        Iterator &operator++() {
            stream_->current_ = stream_->next();
            return *this;
        }
        void operator++(int) { ++*this; }

        friend bool operator==(const Iterator &iterator, Sentinel) { return iterator.ended(); }
        friend bool operator!=(const Iterator &iterator, Sentinel) { return !iterator.ended(); }

    private:
        friend class Stream;
        explicit Iterator(Stream *stream) : stream_(stream) { ++*this; }
        bool ended() const { return !stream_->current_; }
        Stream *stream_;
    };

    /// Pulls the first batch. A stream can be gone through once.
    Iterator begin() { return Iterator(this); }
    Sentinel end() const noexcept { return {}; }

    /// The struct, which is there.
    const ArrowArrayStream &present() const {
        if (stream_.empty()) throw Error(METAXY_INVALID_HANDLE, "the stream was moved from or released");
        return *stream_.get();
    }

private:
    friend class Store;
    friend class Options;
    friend class Graph;
    friend class Config;
    friend class Increment;

    explicit Stream(detail::Failures failures = {}) : failures_(std::move(failures)) {}

    /// What may fail during a call that is given this stream and a context.
    detail::Failures failures_with(const detail::Given<Context> &context) const {
        detail::Failures failures = failures_;
        for (const auto &failure : detail::failures_of(context)) failures.push_back(failure);
        return failures;
    }

    /// Makes a call that gives a stream, during whose reading the same may fail.
    template <class Function, class... Arguments>
    static Stream given(const detail::Given<Context> &context, Function *function, Arguments... arguments) {
        Stream rows(detail::failures_of(context));
        detail::call_in(context, function, arguments..., rows.get());
        return rows;
    }

    /// Throws what the stream failed with, unless `code` is 0.
    void fail(int code) {
        for (const auto &failure : failures_) failure->rethrow(false);
        if (code == 0) return;
        // It is not asked why: the other thread is in a call on it.
        if (code == EBUSY)
            throw Error(METAXY_BUSY, "another thread is reading this stream; read it from one thread at a time");
        ArrowArrayStream *stream = stream_.get();
        MetaxyError *error = nullptr;
        const MetaxyStatus status = metaxy_error_from_stream(stream, &error);
        if (status != METAXY_OK && status != METAXY_INVALID_HANDLE) detail::check(status, error);
        metaxy_error_free(error);
        // It is not one of the library.
        const char *text = stream->get_last_error ? stream->get_last_error(stream) : nullptr;
        throw Error(METAXY_IO, std::string("the stream failed: ") + (text ? text : std::strerror(code)));
    }

    detail::Owned<ArrowArrayStream> stream_;
    detail::Failures failures_;
    std::shared_ptr<const Schema> schema_;
    std::optional<Batch> current_;
};

namespace detail {

/// A C++ function behind the callbacks of a stream.
struct Source {
    Schema schema;
    std::function<std::optional<Batch>()> next;
    std::shared_ptr<Failure> failure = std::make_shared<Failure>();
    std::string message;

    Source(Schema columns, std::function<std::optional<Batch>()> batches)
        : schema(std::move(columns)), next(std::move(batches)) {}

    static Source &of(ArrowArrayStream *stream) noexcept { return *static_cast<Source *>(stream->private_data); }

    template <class Function>
    int guarded(Function function) noexcept {
        try {
            function();
            return 0;
        } catch (const std::exception &exception) {
            failure->keep(std::current_exception());
            try {
                message = exception.what();
            } catch (...) {
                message.clear();
            }
        } catch (...) {
            failure->keep(std::current_exception());
            message.clear();
        }
        return EIO;
    }

    static int get_schema(ArrowArrayStream *stream, ArrowSchema *out) noexcept {
        return of(stream).guarded([&] { *out = of(stream).schema.copy().release(); });
    }

    static int get_next(ArrowArrayStream *stream, ArrowArray *out) noexcept {
        return of(stream).guarded([&] {
            std::optional<Batch> batch = of(stream).next();
            if (batch && !same_layout(batch->schema().present(), of(stream).schema.present()))
                throw Error(METAXY_SCHEMA_MISMATCH, "a batch has another schema than its stream");
            *out = batch ? batch->release() : ArrowArray{};
        });
    }

    static const char *get_last_error(ArrowArrayStream *stream) noexcept { return of(stream).message.c_str(); }

    static void release(ArrowArrayStream *stream) noexcept {
        delete &of(stream);
        stream->release = nullptr;
    }
};

} // namespace detail

inline Stream Stream::from(Schema schema, std::function<std::optional<Batch>()> next) {
    schema.present();
    if (!next) throw Error(METAXY_INVALID_ARGUMENT, "a stream needs a function that gives its batches");
    auto source = std::make_unique<detail::Source>(std::move(schema), std::move(next));
    Stream stream(detail::Failures{source->failure});
    ArrowArrayStream *made = stream.get();
    made->get_schema = detail::Source::get_schema;
    made->get_next = detail::Source::get_next;
    made->get_last_error = detail::Source::get_last_error;
    made->release = detail::Source::release;
    made->private_data = source.release();
    return stream;
}

// ---- what calls are given ----

/// A set of options: `Options{{"mode", "read"}, {"name", "staging"}}`.
class Options : public detail::Handle<MetaxyOptions, metaxy_options_free> {
public:
    static constexpr const char *noun = "options";

    Options() { detail::call(metaxy_options_new, out()); }
    Options(std::initializer_list<std::pair<std::string_view, std::string_view>> options) : Options() {
        for (const auto &[key, value] : options) set(key, value);
    }

    Options &set(std::string_view key, std::string_view value) {
        detail::call(metaxy_options_set, get(), detail::Text(key).get(), detail::Text(value).get());
        return *this;
    }

    /// Takes a value back.
    Options &unset(std::string_view key) {
        detail::call(metaxy_options_set, get(), detail::Text(key).get(), nullptr);
        return *this;
    }

    /// The value that was set, else the default, else none.
    std::optional<std::string> value(std::string_view key) const {
        char *value = nullptr;
        detail::call(metaxy_options_get, get(), detail::Text(key).get(), &value);
        return value ? std::optional<std::string>(detail::taken(value)) : std::nullopt;
    }

    /// Every option that the library knows.
    static Stream list() {
        Stream options;
        detail::call(metaxy_options_list, options.get());
        return options;
    }
};

/// Which rows and columns to read; all columns of the current rows, unless more is said.
class ReadRequest : public detail::Handle<MetaxyReadRequest, metaxy_read_request_free> {
public:
    static constexpr const char *noun = "request";

    ReadRequest() { detail::call(metaxy_read_request_new, out()); }

    /// These columns, in this order; none of them asks for all again.
    ReadRequest &columns(const Names &columns) {
        return set(metaxy_read_request_set_columns, columns.get(), columns.size());
    }

    /// Adds a condition, such as `frames > 10 AND codec = 'av1'`; rows must meet all of them.
    ReadRequest &filter(std::string_view filter) {
        return set(metaxy_read_request_add_filter, detail::Text(filter).get());
    }

    /// The rows of this feature version; without a value, of the current one again.
    ReadRequest &feature_version(std::optional<std::string_view> version) {
        return set(metaxy_read_request_set_feature_version, detail::MaybeText(version).get());
    }

    /// The rows of every feature version.
    ReadRequest &feature_history(bool history = true) {
        return set(metaxy_read_request_set_feature_history, std::int32_t{history});
    }

    /// Every row that was written for a sample.
    ReadRequest &sample_history(bool history = true) {
        return set(metaxy_read_request_set_sample_history, std::int32_t{history});
    }

    /// Deleted samples too.
    ReadRequest &deleted(bool deleted = true) {
        return set(metaxy_read_request_set_deleted, std::int32_t{deleted});
    }

    /// Whether to look in the fallback stores, as a new request does.
    ReadRequest &fallback(bool fallback) {
        return set(metaxy_read_request_set_fallback, std::int32_t{fallback});
    }

    /// The most rows that a batch may have; 0 leaves it to the library.
    ReadRequest &batch_rows(std::size_t rows) { return set(metaxy_read_request_set_batch_rows, rows); }

    /// The most rows to read; without a value, all of them.
    ReadRequest &limit(std::optional<std::int64_t> limit) {
        return set(metaxy_read_request_set_limit, limit.value_or(-1));
    }

private:
    template <class Function, class... Arguments>
    ReadRequest &set(Function *function, Arguments... arguments) {
        detail::call(function, get(), arguments...);
        return *this;
    }
};

// ---- graphs ----

/// Features and how they depend on one another, as they are at one time.
class Graph : public detail::Handle<MetaxyGraph, metaxy_graph_free> {
public:
    static constexpr const char *noun = "graph";

    explicit Graph(MetaxyGraph *owned) noexcept : Handle(owned) {}

    /// A graph of definitions in JSON, without a store.
    explicit Graph(std::string_view json, detail::Given<Options> options = {}) {
        detail::call(metaxy_graph_new, detail::Text(json).get(), options.get(), out());
    }

    /// The features, each after those that it depends on.
    Stream features() const { return listed(metaxy_graph_features); }

    /// A row for each pair of a feature and one that it depends on.
    Stream dependencies() const { return listed(metaxy_graph_dependencies); }

    /// What differs between this graph and a later one, and which features that makes stale.
    Stream difference(const Graph &after) const {
        Stream difference;
        detail::call(metaxy_graph_difference, get(), after.get(), difference.get());
        return difference;
    }

    /// The graph as text, in `mermaid` or `dot`; with `before`, what differs stands out.
    std::string render(std::string_view language, detail::Given<Graph> before = {}) const {
        char *text = nullptr;
        detail::call(metaxy_graph_render, get(), before.get(), detail::Text(language).get(), &text);
        return detail::taken(text);
    }

    /// The definitions, as the constructor and `Store::define` take them.
    std::string json() const {
        char *json = nullptr;
        detail::call(metaxy_graph_json, get(), &json);
        return detail::taken(json);
    }

private:
    friend class Store;
    Graph() = default;

    template <class Function>
    Stream listed(Function *function) const {
        Stream rows;
        detail::call(function, get(), rows.get());
        return rows;
    }
};

// ---- increments ----

/// What to resolve of a feature; all of it, unless more is said.
class IncrementRequest : public detail::Handle<MetaxyIncrementRequest, metaxy_increment_request_free> {
public:
    static constexpr const char *noun = "request";

    IncrementRequest() { detail::call(metaxy_increment_request_new, out()); }

    /// Adds a condition on the rows of each feature that this one depends on, and on samples.
    IncrementRequest &filter(std::string_view filter) {
        return set(metaxy_increment_request_add_filter, nullptr, detail::Text(filter).get());
    }

    /// Adds a condition on the rows of one feature.
    IncrementRequest &filter(std::string_view feature, std::string_view filter) {
        return set(metaxy_increment_request_add_filter, detail::Text(feature).get(), detail::Text(filter).get());
    }

    /// Adds a condition on the stored rows; a sample of which no row meets it is left alone.
    IncrementRequest &target_filter(std::string_view filter) {
        return set(metaxy_increment_request_add_target_filter, detail::Text(filter).get());
    }

    /// Adds a condition on the stored rows; a sample whose row meets it is stale.
    IncrementRequest &staleness_predicate(std::string_view predicate) {
        return set(metaxy_increment_request_add_staleness_predicate, detail::Text(predicate).get());
    }

    /// Everything is new, whatever is stored.
    IncrementRequest &skip_comparison(bool skip = true) {
        return set(metaxy_increment_request_set_skip_comparison, std::int32_t{skip});
    }

    /// One of `count` shares of the samples, counted from 0.
    IncrementRequest &shard(std::int32_t index, std::int32_t count) {
        return set(metaxy_increment_request_set_shard, index, count);
    }

    /// The most rows that a batch may have; 0 leaves it to the library.
    IncrementRequest &batch_rows(std::size_t rows) { return set(metaxy_increment_request_set_batch_rows, rows); }

private:
    template <class Function, class... Arguments>
    IncrementRequest &set(Function *function, Arguments... arguments) {
        detail::call(function, get(), arguments...);
        return *this;
    }
};

/// What there is to do for a feature, as it was when it was resolved. It outlives its store, and each part may be read as
/// often as it is needed.
class Increment : public detail::Handle<MetaxyIncrement, metaxy_increment_free> {
public:
    /// The number of rows of each part.
    struct Counts {
        std::uint64_t new_rows = 0, stale = 0, orphaned = 0;
    };

    Counts counts() const {
        Counts counts;
        detail::call(metaxy_increment_counts, get(), &counts.new_rows, &counts.stale, &counts.orphaned);
        return counts;
    }

    /// How much of the input is done, from 0 to 100, where that is known.
    std::optional<double> input_progress() const {
        double percent = -1;
        detail::call(metaxy_increment_input_progress, get(), &percent);
        return percent < 0 ? std::nullopt : std::optional<double>(percent);
    }

    /// Which stores were asked for each feature.
    Stream served_by() const { return Stream::given({}, metaxy_increment_served_by, get()); }

    /// Samples that are not stored: compute them and write them.
    Stream new_rows(detail::Given<Context> context = {}) const {
        return Stream::given(context, metaxy_increment_read_new, get(), context.get());
    }

    /// Samples that are stored but were computed from something else: compute them again and write them.
    Stream stale(detail::Given<Context> context = {}) const {
        return Stream::given(context, metaxy_increment_read_stale, get(), context.get());
    }

    /// Stored rows of samples that are gone: delete them, or keep them.
    Stream orphaned(detail::Given<Context> context = {}) const {
        return Stream::given(context, metaxy_increment_read_orphaned, get(), context.get());
    }

private:
    friend class Store;
    Increment() = default;
};

// ---- writing ----

/// Rows on their way to a feature, invisible until they are committed.
class Writer : public detail::Handle<MetaxyWriter, metaxy_writer_free> {
public:
    /// Adds rows; blocks while the storage is slower than the caller.
    void push(Batch rows, detail::Given<Context> context = {}) {
        detail::call_in(context, metaxy_writer_push, get(), columns_.checked(rows), context.get());
    }

    /// Makes the rows visible, all together, and ends the writer.
    void commit(detail::Given<Context> context = {}) {
        detail::call_in(context, metaxy_writer_commit, get(), context.get());
    }

    /// Gives the rows up, as does the destructor of a writer that was not committed.
    void abort() { detail::call(metaxy_writer_abort, get()); }

private:
    friend class Store;
    friend class BufferedWriter;

    /// The columns that a writer was opened with. C believes that the arrays have them; here it can be known.
    class Columns {
    public:
        explicit Columns(const Schema &schema) : schema_(schema.copy()) {}

        ArrowArray *checked(Batch &rows) const {
            if (!detail::same_layout(rows.schema().present(), schema_.present()))
                throw Error(METAXY_SCHEMA_MISMATCH, "the rows have other columns than the writer was opened with");
            return rows.get();
        }

    private:
        Schema schema_;
    };

    explicit Writer(const Schema &schema) : columns_(schema) {}
    Columns columns_;
};

/// A buffer before a feature, for workers that make rows one by one; many threads may use it at once.
///
/// What was not committed when it is destroyed is given up: call `close` first.
class BufferedWriter : public detail::Handle<MetaxyBufferedWriter, metaxy_buffered_writer_free> {
public:
    /// Adds rows; the ticket by which they are waited for.
    std::uint64_t push(Batch rows, detail::Given<Context> context = {}) const {
        std::uint64_t ticket = 0;
        detail::call_in(context, metaxy_buffered_writer_push, get(), columns_.checked(rows), context.get(), &ticket);
        return ticket;
    }

    /// Commits all rows that were pushed before.
    void flush(detail::Given<Context> context = {}) const {
        detail::call_in(context, metaxy_buffered_writer_flush, get(), context.get());
    }

    /// Waits until the rows up to `ticket` are committed, which it leaves to the buffer's limits.
    void wait(std::uint64_t ticket, detail::Given<Context> context = {}) const {
        detail::call_in(context, metaxy_buffered_writer_wait, get(), ticket, context.get());
    }

    /// Up to which ticket all rows are committed.
    std::uint64_t committed() const {
        std::uint64_t ticket = 0;
        detail::call(metaxy_buffered_writer_committed, get(), &ticket);
        return ticket;
    }

    /// Commits the rows that are there and ends the writer. If it throws, it may be called again.
    void close(detail::Given<Context> context = {}) const {
        detail::call_in(context, metaxy_buffered_writer_close, get(), context.get());
    }

private:
    friend class Store;
    explicit BufferedWriter(const Schema &schema) : columns_(schema) {}
    Writer::Columns columns_;
};

// ---- stores ----

/// Which of the definitions that were pushed to a store: all, unless more is said.
struct Pushed {
    std::optional<std::string> project = {};
    std::optional<std::string> project_version = {};
    Names features = every;
};

/// A metadata store: a directory of tables, one for each feature.
class Store : public detail::Handle<MetaxyStore, metaxy_store_free> {
public:
    static constexpr const char *noun = "store";

    explicit Store(MetaxyStore *owned) noexcept : Handle(owned) {}

    /// Opens the store at a path or URI.
    static Store open(std::string_view uri, detail::Given<Options> options = {}, detail::Given<Context> context = {}) {
        Store store;
        detail::call_in(context, metaxy_store_open, detail::Text(uri).get(), options.get(), context.get(), store.out());
        return store;
    }

    /// Opens a store with others in which reads go on; these may be closed afterwards.
    static Store open_chain(std::string_view uri, const std::vector<std::reference_wrapper<const Store>> &fallbacks,
                            detail::Given<Options> options = {}, detail::Given<Context> context = {}) {
        Store store;
        std::vector<const MetaxyStore *> handles;
        for (const Store &fallback : fallbacks) handles.push_back(fallback.get());
        detail::call_in(context, metaxy_store_open_chain, detail::Text(uri).get(), handles.data(), handles.size(),
                        options.get(), context.get(), store.out());
        return store;
    }

    /// Later calls fail with `METAXY_INVALID_STATE`; streams and writers go on.
    void close() const { detail::call(metaxy_store_close, get()); }

    /// What messages call the store.
    std::string display() const {
        char *text = nullptr;
        detail::call(metaxy_store_display, get(), &text);
        return detail::taken(text);
    }

    // -- definitions --

    /// Defines the features of a JSON text.
    void define(std::string_view json) const { detail::call(metaxy_store_define, get(), detail::Text(json).get()); }

    /// The defined features with their versions.
    Stream features(detail::Given<Context> context = {}) const {
        return stream(context, metaxy_store_features, get(), context.get());
    }

    /// The graph of the defined features.
    Graph graph(detail::Given<Context> context = {}) const {
        Graph graph;
        detail::call_in(context, metaxy_store_graph, get(), context.get(), graph.out());
        return graph;
    }

    /// Writes the definitions of a project to the store, where others find them. `tags` is a JSON object of texts.
    Stream push(std::optional<std::string_view> project = {}, std::optional<std::string_view> tags = {},
                detail::Given<Context> context = {}) const {
        return stream(context, metaxy_store_push, get(), detail::MaybeText(project).get(),
                      detail::MaybeText(tags).get(), context.get());
    }

    /// Loads definitions that were pushed.
    Stream load(const Pushed &pushed = {}, detail::Given<Context> context = {}) const {
        return stream(context, metaxy_store_load, get(), detail::MaybeText(pushed.project).get(),
                      detail::MaybeText(pushed.project_version).get(), pushed.features.get(), pushed.features.size(),
                      context.get());
    }

    /// The graph of definitions that were pushed.
    Graph pushed_graph(const Pushed &pushed = {}, detail::Given<Context> context = {}) const {
        Graph graph;
        detail::call_in(context, metaxy_store_pushed_graph, get(), detail::MaybeText(pushed.project).get(),
                        detail::MaybeText(pushed.project_version).get(), pushed.features.get(),
                        pushed.features.size(), context.get(), graph.out());
        return graph;
    }

    // -- rows --

    /// The current rows of a feature, or those of the request.
    Stream read(std::string_view feature, detail::Given<ReadRequest> request = {},
                detail::Given<Context> context = {}) const {
        return stream(context, metaxy_store_read, get(), detail::Text(feature).get(), request.get(), context.get());
    }

    /// Writes the rows of a stream; they become visible together, or not at all.
    void write(std::string_view feature, Stream rows, detail::Given<Options> options = {},
               detail::Given<Context> context = {}) const {
        rows.present();
        detail::call_with(rows.failures_with(context), metaxy_store_write, get(), detail::Text(feature).get(),
                          rows.get(), options.get(), context.get());
    }

    /// Writes the rows of a batch.
    void write(std::string_view feature, Batch rows, detail::Given<Options> options = {},
               detail::Given<Context> context = {}) const {
        const ArrowSchema *schema = rows.schema().get();
        detail::call_in(context, metaxy_store_write_batch, get(), detail::Text(feature).get(), rows.get(), schema,
                        options.get(), context.get());
    }

    /// Writes the rows of several features, parents before children.
    void write_many(std::vector<std::pair<std::string, Stream>> rows, detail::Given<Options> options = {},
                    detail::Given<Context> context = {}) const;

    /// Begins to write rows with these columns.
    Writer writer(std::string_view feature, const Schema &schema, detail::Given<Options> options = {},
                  detail::Given<Context> context = {}) const {
        Writer writer(schema);
        detail::call_in(context, metaxy_store_writer, get(), detail::Text(feature).get(), schema.get(), options.get(),
                        context.get(), writer.out());
        return writer;
    }

    /// Opens a buffer for rows with these columns.
    BufferedWriter buffered_writer(std::string_view feature, const Schema &schema, detail::Given<Options> options = {},
                                   detail::Given<Context> context = {}) const {
        BufferedWriter writer(schema);
        detail::call_in(context, metaxy_store_buffered_writer, get(), detail::Text(feature).get(), schema.get(),
                        options.get(), context.get(), writer.out());
        return writer;
    }

    /// Deletes the samples that a request asks for; the number of tombstones, or of removed rows.
    std::uint64_t delete_samples(std::string_view feature, detail::Given<ReadRequest> request = {},
                                 detail::Given<Options> options = {}, detail::Given<Context> context = {}) const {
        std::uint64_t deleted = 0;
        detail::call_in(context, metaxy_store_delete, get(), detail::Text(feature).get(), request.get(), options.get(),
                        context.get(), &deleted);
        return deleted;
    }

    /// Copies features to another store; `metaxy::every` stands for all.
    Stream copy_to(const Store &to, const Names &features, detail::Given<ReadRequest> request = {},
                   detail::Given<Options> options = {}, detail::Given<Context> context = {}) const {
        return stream(context, metaxy_store_copy, get(), to.get(), features.get(), features.size(), request.get(),
                      options.get(), context.get());
    }

    /// Drops a feature; whether there was a table.
    bool drop(std::string_view feature, detail::Given<Options> options = {}, detail::Given<Context> context = {}) const {
        std::int32_t dropped = 0;
        detail::call_in(context, metaxy_store_drop, get(), detail::Text(feature).get(), options.get(), context.get(),
                        &dropped);
        return dropped != 0;
    }

    // -- increments --

    /// What there is to do for a feature: which samples are new, stale or orphaned. Nothing is written.
    Increment resolve_update(std::string_view feature, detail::Given<IncrementRequest> request = {},
                             detail::Given<Context> context = {}) const {
        Increment increment;
        detail::call_in(context, metaxy_store_resolve_update, get(), detail::Text(feature).get(), request.get(),
                        nullptr, context.get(), increment.out());
        return increment;
    }

    /// The same with samples, which a feature without dependencies needs.
    Increment resolve_update(std::string_view feature, detail::Given<IncrementRequest> request, Stream samples,
                             detail::Given<Context> context = {}) const {
        samples.present();
        Increment increment;
        detail::call_with(samples.failures_with(context), metaxy_store_resolve_update, get(),
                          detail::Text(feature).get(), request.get(), samples.get(), context.get(), increment.out());
        return increment;
    }

    /// Rows that the caller joined, with the versions that they have as samples of the feature.
    Stream compute_provenance(std::string_view feature, Stream rows, detail::Given<Context> context = {}) const {
        rows.present();
        Stream completed(rows.failures_with(context));
        detail::call_with(completed.failures_, metaxy_store_compute_provenance, get(), detail::Text(feature).get(),
                          rows.get(), context.get(), completed.get());
        return completed;
    }

    /// The current rows of one version of a feature as rows of another, or of the current one.
    Stream rebase(std::string_view feature, std::string_view from_version,
                  std::optional<std::string_view> to_version = {}, detail::Given<Context> context = {}) const {
        return stream(context, metaxy_store_rebase, get(), detail::Text(feature).get(), detail::Text(from_version).get(),
                      detail::MaybeText(to_version).get(), context.get());
    }

    // -- what is there --

    /// Which stores of the chain would serve a read.
    Stream find(std::string_view feature, detail::Given<ReadRequest> request = {},
                detail::Given<Context> context = {}) const {
        return stream(context, metaxy_store_find, get(), detail::Text(feature).get(), request.get(), context.get());
    }

    /// Whether the store itself has a table of the feature.
    bool has(std::string_view feature, detail::Given<Context> context = {}) const {
        std::int32_t has = 0;
        detail::call_in(context, metaxy_store_has, get(), detail::Text(feature).get(), context.get(), &has);
        return has != 0;
    }

    /// The tables of the store itself.
    Stream list(detail::Given<Context> context = {}) const {
        return stream(context, metaxy_store_list, get(), context.get());
    }

    /// A row for each version of a feature.
    Stream describe(std::string_view feature, detail::Given<Context> context = {}) const {
        return stream(context, metaxy_store_describe, get(), detail::Text(feature).get(), context.get());
    }

    // -- keeping it small; each of one feature, or of all --

    /// Joins small fragments.
    Stream compact(std::optional<std::string_view> feature = {}, detail::Given<Options> options = {},
                   detail::Given<Context> context = {}) const {
        return maintained(metaxy_store_compact, feature, options, context);
    }

    /// Removes versions that were superseded.
    Stream prune(std::optional<std::string_view> feature = {}, detail::Given<Options> options = {},
                 detail::Given<Context> context = {}) const {
        return maintained(metaxy_store_prune, feature, options, context);
    }

    /// Removes rows that were superseded.
    Stream purge(std::optional<std::string_view> feature = {}, detail::Given<Options> options = {},
                 detail::Given<Context> context = {}) const {
        return maintained(metaxy_store_purge, feature, options, context);
    }

private:
    friend class Config;
    Store() = default;

    /// Makes a call that gives a stream.
    template <class Function, class... Arguments>
    static Stream stream(const detail::Given<Context> &context, Function *function, Arguments... arguments) {
        return Stream::given(context, function, arguments...);
    }

    template <class Function>
    Stream maintained(Function *function, const std::optional<std::string_view> &feature,
                      const detail::Given<Options> &options, const detail::Given<Context> &context) const {
        return stream(context, function, get(), detail::MaybeText(feature).get(), options.get(), context.get());
    }
};

inline void Store::write_many(std::vector<std::pair<std::string, Stream>> rows, detail::Given<Options> options,
                              detail::Given<Context> context) const {
    std::vector<std::string_view> features;
    detail::Failures failures = detail::failures_of(context);
    for (const auto &[feature, stream] : rows) {
        stream.present();
        features.push_back(feature);
        failures.insert(failures.end(), stream.failures_.begin(), stream.failures_.end());
    }
    const Names names(features);
    // C takes an array of structs, and takes them over whatever comes of it.
    std::vector<ArrowArrayStream> streams;
    streams.reserve(rows.size());
    for (auto &item : rows) streams.push_back(item.second.release());
    detail::call_with(failures, metaxy_store_write_many, get(), names.get(), streams.data(), streams.size(),
                      options.get(), context.get());
}

/// A configuration that was loaded, as Python Metaxy reads it.
class Config : public detail::Handle<MetaxyConfig, metaxy_config_free> {
public:
    /// Loads a file; without a path, the one that `METAXY_CONFIG` names, or the nearest one.
    static Config load(std::optional<std::string_view> path = {}) {
        Config config;
        detail::call(metaxy_config_load, detail::MaybeText(path).get(), config.out());
        return config;
    }

    /// Opens a store by its name, or the default one, with its chain.
    Store open_store(std::optional<std::string_view> name = {}, detail::Given<Options> options = {},
                     detail::Given<Context> context = {}) const {
        Store store;
        detail::call_in(context, metaxy_config_open_store, get(), detail::MaybeText(name).get(), options.get(),
                        context.get(), store.out());
        return store;
    }

    /// The stores of the configuration.
    Stream stores() const {
        Stream stores;
        detail::call(metaxy_config_stores, get(), stores.get());
        return stores;
    }

private:
    Config() = default;
};

// ---- the library ----

/// Receives messages, on any thread and on several at once; it may make no call of the library. An exception that it
/// throws is dropped: there is no call that it belongs to.
using Log = std::function<void(std::int32_t level, std::string_view message)>;

/// Sends messages of `level` (`METAXY_LOG_*`) and more urgent ones to `log`; an empty one is none. When this returns, the
/// former one is no longer running. There is one for the process; while another thread sets it, this throws `METAXY_BUSY`.
inline void set_log(std::int32_t level, Log log) {
    struct Sink {
        Log log;
        static void callback(std::int32_t level, const char *message, void *user_data) noexcept {
            try {
                static_cast<Sink *>(user_data)->log(level, message);
            } catch (...) { // NOLINT: see above
            }
        }
    };
    // Never freed at the end of the process, when the library's threads may still log.
    static std::mutex *const mutex = new std::mutex;
    static Sink *current = nullptr;

    auto sink = log ? std::make_unique<Sink>(Sink{std::move(log)}) : nullptr;
    // Whoever has it may be waiting for the former log to return, which must not wait for it in here.
    const std::unique_lock<std::mutex> guard(*mutex, std::try_to_lock);
    if (!guard) throw Error(METAXY_BUSY, "another thread is setting the log; set it again when it has");
    detail::call(metaxy_log_set_callback, level, sink ? &Sink::callback : nullptr, static_cast<void *>(sink.get()));
    delete std::exchange(current, sink.release());
}

/// The version of the library as text, such as `0.1.0`.
inline std::string version() { return metaxy_version_string(); }

/// major * 1000000 + minor * 1000 + patch.
inline std::int32_t version_number() noexcept { return metaxy_version_number(); }

/// Whether this header and the library that was loaded belong together.
inline bool is_compatible() noexcept { return metaxy_abi_version() == METAXY_ABI_VERSION; }

/// Every status with its name.
inline std::vector<std::pair<MetaxyStatus, std::string>> statuses() {
    std::vector<std::pair<MetaxyStatus, std::string>> statuses;
    for (std::size_t i = 0; i < metaxy_status_count(); i++) {
        MetaxyStatus status = METAXY_OK;
        const char *name = nullptr;
        detail::call(metaxy_status_at, i, &status, &name);
        statuses.emplace_back(status, name);
    }
    return statuses;
}

/// How many objects of a kind (`METAXY_KIND_*`) this process has received and not freed.
inline std::uint64_t live_handles(std::int32_t kind = METAXY_KIND_ANY) noexcept { return metaxy_live_handles(kind); }

} // namespace metaxy

#endif
