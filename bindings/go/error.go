package metaxy

// #include <metaxy.h>
import "C"

import (
	"context"
	"fmt"
	"os"
	"runtime/debug"
)

// Error is a failure of a call.
//
// errors.Is finds its Status, context.Canceled and context.DeadlineExceeded where the context of the call ended it,
// os.ErrClosed where something closed was used, and the error of a reader that failed while it was written.
type Error struct {
	Status  Status
	Message string
	// Details are the facts behind the message, such as store, feature, column, option, uri.
	Details map[string]string
	// Causes are what lies below, outermost first.
	Causes []string
	// Retryable says that the same call may succeed when it is simply made again.
	Retryable bool

	cause error
}

func (e *Error) Error() string { return e.Message }

// Is tells whether target is the status of the failure, or what the context package calls it.
func (e *Error) Is(target error) bool {
	switch target {
	case context.Canceled:
		return e.Status == Cancelled
	case context.DeadlineExceeded:
		return e.Status == Timeout
	}
	return target == e.Status
}

// Unwrap is the Go error that led to the failure: the cause of the context, or what a reader gave.
func (e *Error) Unwrap() error { return e.cause }

// PanicError is a panic in a function that the library called: a progress callback or a reader that is written. The
// call was cancelled; Completed says that it had done its work nevertheless, as when the panic came at its very end.
type PanicError struct {
	Callback  string
	Value     any
	Stack     []byte
	Completed bool
}

func (e *PanicError) Error() string {
	outcome := "the call was given up"
	if e.Completed {
		outcome = "the call had done its work"
	}
	return fmt.Sprintf("the %s panicked: %v; %s", e.Callback, e.Value, outcome)
}

// Unwrap is the value of the panic if it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

func panicked(callback string, value any) *PanicError {
	return &PanicError{Callback: callback, Value: value, Stack: debug.Stack()}
}

// take makes an Error of the library's, which it frees.
func take(status C.MetaxyStatus, raw *C.MetaxyError) *Error {
	defer C.metaxy_error_free(raw)
	e := &Error{
		Status:    Status(status),
		Message:   C.GoString(C.metaxy_error_message(raw)),
		Retryable: C.metaxy_error_is_retryable(raw) != 0,
		Details:   map[string]string{},
	}
	if e.Message == "" {
		e.Message = e.Status.Error()
	}
	for i := range C.metaxy_error_detail_count(raw) {
		key := C.GoString(C.metaxy_error_detail_key(raw, i))
		e.Details[key] = C.GoString(C.metaxy_error_detail_value(raw, i))
	}
	for i := range C.metaxy_error_cause_count(raw) {
		e.Causes = append(e.Causes, C.GoString(C.metaxy_error_cause(raw, i)))
	}
	return e
}

func invalid(format string, values ...any) *Error {
	return &Error{Status: InvalidArgument, Message: fmt.Sprintf(format, values...)}
}

// closed is the failure of a call on something that its owner has closed.
func closed(what string) *Error {
	return &Error{Status: InvalidState, Message: "the " + what + " is closed; open another", cause: os.ErrClosed}
}
