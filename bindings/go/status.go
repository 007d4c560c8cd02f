package metaxy

// #include <metaxy.h>
import "C"

import "fmt"

// Status is the kind of a failure. It is an error itself, so that errors.Is(err, metaxy.NotFound) tells whether err is
// of that kind.
type Status int32

// The statuses of the library; their numbers never change.
const (
	InvalidArgument Status = C.METAXY_INVALID_ARGUMENT
	InvalidHandle   Status = C.METAXY_INVALID_HANDLE
	InvalidState    Status = C.METAXY_INVALID_STATE
	NotFound        Status = C.METAXY_NOT_FOUND
	AlreadyExists   Status = C.METAXY_ALREADY_EXISTS
	Unsupported     Status = C.METAXY_UNSUPPORTED
	SchemaMismatch  Status = C.METAXY_SCHEMA_MISMATCH
	Conflict        Status = C.METAXY_CONFLICT
	Unavailable     Status = C.METAXY_UNAVAILABLE
	Permission      Status = C.METAXY_PERMISSION
	Corrupt         Status = C.METAXY_CORRUPT
	IO              Status = C.METAXY_IO
	Cancelled       Status = C.METAXY_CANCELLED
	Timeout         Status = C.METAXY_TIMEOUT
	Busy            Status = C.METAXY_BUSY
	Reentrant       Status = C.METAXY_REENTRANT
	Forked          Status = C.METAXY_FORKED
	Panic           Status = C.METAXY_PANIC
	Internal        Status = C.METAXY_INTERNAL
)

// Error is the name of the status in the library, such as METAXY_NOT_FOUND.
func (s Status) Error() string {
	if name := C.metaxy_status_name(C.MetaxyStatus(s)); name != nil {
		return C.GoString(name)
	}
	return fmt.Sprintf("METAXY_STATUS_%d", int32(s))
}

// libraryStatuses counts the failures that the library knows.
func libraryStatuses() int { return int(C.metaxy_status_count()) - 1 }
