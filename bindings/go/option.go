package metaxy

// #include <metaxy.h>
import "C"

// Option is an option of the library by its name, such as With("mode", "read"). The README of libmetaxy lists them, and
// so does Options; an unknown one is an error that names the nearest.
type Option struct{ key, value string }

// With sets an option.
func With(key, value string) Option { return Option{key, value} }

// ReadOnly opens a store for reading: every write is refused, and the directory is not made.
func ReadOnly() Option { return With("mode", "read") }

// Name is what messages call the store.
func Name(name string) Option { return With("name", name) }

// Project is whose features may be changed, and whose version rows are stamped with.
func Project(project string) Option { return With("project", project) }

// StorageOption is what the storage takes by that name, such as aws_region.
func StorageOption(name, value string) Option { return With("storage_options."+name, value) }

// ReadOption says which rows and columns to read.
type ReadOption func(*request)

// Columns asks for these columns, in this order.
func Columns(columns ...string) ReadOption {
	return func(r *request) { r.columns = append([]string{}, columns...) }
}

// Where adds a condition, such as "frames > 10 AND codec = 'av1'"; rows must meet all of them.
func Where(filter string) ReadOption {
	return func(r *request) { r.filters = append(r.filters, filter) }
}

// FeatureVersion asks for the rows of that version instead of the current one.
func FeatureVersion(version string) ReadOption { return func(r *request) { r.version = version } }

// FeatureHistory asks for the rows of every feature version.
func FeatureHistory() ReadOption { return func(r *request) { r.featureHistory = 1 } }

// SampleHistory asks for every row that was written for a sample.
func SampleHistory() ReadOption { return func(r *request) { r.sampleHistory = 1 } }

// WithDeleted asks for samples that were deleted as well.
func WithDeleted() ReadOption { return func(r *request) { r.deleted = 1 } }

// NoFallback leaves the fallback stores out.
func NoFallback() ReadOption { return func(r *request) { r.fallback = 0 } }

// BatchRows is the most rows that a batch may have.
func BatchRows(rows int) ReadOption { return func(r *request) { r.batchRows = rows } }

// Limit is the most rows to read.
func Limit(rows int64) ReadOption { return func(r *request) { r.limit = rows } }

// RequestOption is an Option or a ReadOption, for calls that take both.
type RequestOption interface {
	apply(*request, *[]Option)
}

func (o Option) apply(_ *request, options *[]Option) { *options = append(*options, o) }
func (o ReadOption) apply(request *request, _ *[]Option) {
	if o == nil {
		request.hasNil = true
		return
	}
	o(request)
}

func split(mixed []RequestOption) (request, []Option) {
	request, options := newRequest(nil), []Option{}
	for _, option := range mixed {
		if option == nil {
			request.hasNil = true
			continue
		}
		option.apply(&request, &options)
	}
	return request, options
}

// request is what a MetaxyReadRequest says.
type request struct {
	columns                                          []string
	filters                                          []string
	version                                          string
	featureHistory, sampleHistory, deleted, fallback C.int32_t
	batchRows                                        int
	limit                                            int64
	// hasNil says that one of the options was nil.
	hasNil bool
}

func newRequest(options []ReadOption) request {
	r := request{fallback: 1, limit: -1}
	for _, option := range options {
		option.apply(&r, nil)
	}
	return r
}

// request is the library's form of a request.
func (f *frame) request(r request) *C.MetaxyReadRequest {
	if r.hasNil {
		panic(refusal{invalid("an option is nil; leave it out")})
	}
	var made *C.MetaxyReadRequest
	f.must(C.metaxy_read_request_new(&made, &f.raw))
	f.later(func() { C.metaxy_read_request_free(made) })
	if r.columns != nil {
		columns, count := f.texts(r.columns)
		if columns == nil {
			panic(refusal{invalid("Columns without a column; leave it out for all of them")})
		}
		f.must(C.metaxy_read_request_set_columns(made, columns, count, &f.raw))
	}
	for _, filter := range r.filters {
		f.must(C.metaxy_read_request_add_filter(made, f.text(filter), &f.raw))
	}
	f.must(C.metaxy_read_request_set_feature_version(made, f.optional(r.version), &f.raw))
	f.must(C.metaxy_read_request_set_feature_history(made, r.featureHistory, &f.raw))
	f.must(C.metaxy_read_request_set_sample_history(made, r.sampleHistory, &f.raw))
	f.must(C.metaxy_read_request_set_deleted(made, r.deleted, &f.raw))
	f.must(C.metaxy_read_request_set_fallback(made, r.fallback, &f.raw))
	f.must(C.metaxy_read_request_set_batch_rows(made, f.rows(r.batchRows), &f.raw))
	f.must(C.metaxy_read_request_set_limit(made, C.int64_t(r.limit), &f.raw))
	return made
}

// rows is a number of rows.
func (f *frame) rows(count int) C.size_t {
	if count < 0 {
		panic(refusal{invalid("a batch cannot have %d rows", count)})
	}
	return C.size_t(count)
}
