// Package metaxy keeps the metadata of multimodal data pipelines: one Lance table per feature, and in every row the
// versions of what the row was made from, so that a pipeline can tell which samples are new, current or gone.
//
// It calls libmetaxy. Rows cross as Arrow data without being copied; results are array.RecordReaders of arrow-go.
//
// A context.Context ends the call that it is given to. Errors are *Error, whose Status errors.Is finds. Everything that
// has a Close is freed by it, once, whatever other goroutines do; later calls fail with os.ErrClosed.
package metaxy

// #include "callbacks.h"
import "C"

import (
	"log"
	"sync"
)

// LibraryVersion is the version of the library that the program runs with.
func LibraryVersion() string { return C.GoString(C.metaxy_version_string()) }

// ABIVersion changes when a program must be compiled anew to use the library.
func ABIVersion() int { return int(C.metaxy_abi_version()) }

// HeaderABIVersion is the ABIVersion that this package was compiled for.
const HeaderABIVersion = C.METAXY_ABI_VERSION

// LiveHandles counts what the library gave this process and was not freed, for tests of leaks.
func LiveHandles() uint64 { return uint64(C.metaxy_live_handles(C.METAXY_KIND_ANY)) }

// LogLevel is how urgent a message is.
type LogLevel int32

// The levels of the log.
const (
	LogError LogLevel = C.METAXY_LOG_ERROR
	LogWarn  LogLevel = C.METAXY_LOG_WARN
	LogInfo  LogLevel = C.METAXY_LOG_INFO
	LogDebug LogLevel = C.METAXY_LOG_DEBUG
)

var (
	sinks      registry[func(LogLevel, string)]
	settingLog sync.Mutex
	sinkNow    uintptr
)

// SetLog sends the library's messages of level and more urgent ones to sink, or nowhere if that is nil, as at the
// beginning. The sink runs on any thread, on several at once; a panic in it is reported by the log package, and the
// call that logged goes on. When SetLog returns, the former sink is not running any more.
func SetLog(level LogLevel, sink func(level LogLevel, message string)) error {
	// The library waits for the sinks that run. One of them must not wait here for that.
	if !settingLog.TryLock() {
		return &Error{Status: Busy, Message: "another goroutine is setting the log", Retryable: true}
	}
	defer settingLog.Unlock()
	var id uintptr
	if sink != nil {
		id = sinks.add(sink)
	}
	var raw *C.MetaxyError
	if status := C.metaxy_go_set_log(C.int32_t(level), C.uintptr_t(id), &raw); status != C.METAXY_OK {
		sinks.remove(id)
		return take(status, raw)
	}
	sinks.remove(sinkNow)
	sinkNow = id
	return nil
}

//export metaxyGoLog
func metaxyGoLog(id C.uintptr_t, level C.int32_t, message *C.char) {
	sink, ok := sinks.get(uintptr(id))
	if !ok {
		return
	}
	defer func() {
		if value := recover(); value != nil {
			log.Printf("metaxy: the sink of the log panicked: %v", value)
		}
	}()
	sink(LogLevel(level), C.GoString(message))
}
