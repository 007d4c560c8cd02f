package metaxy

import (
	"fmt"
	"sync"
)

// Registered tells what C could still call back; empty if nothing.
func Registered() string {
	told := ""
	for name, values := range map[string]*sync.Map{
		"contexts": &controls.values, "pinned batches": &pins.values, "readers": &readings.values, "sinks": &sinks.values,
	} {
		count := 0
		values.Range(func(any, any) bool { count++; return true })
		if count > 0 {
			told += fmt.Sprintf("%d %s ", count, name)
		}
	}
	return told
}

// Statuses are those that this package knows.
var Statuses = []Status{
	InvalidArgument, InvalidHandle, InvalidState, NotFound, AlreadyExists, Unsupported, SchemaMismatch, Conflict,
	Unavailable, Permission, Corrupt, IO, Cancelled, Timeout, Busy, Reentrant, Forked, Panic, Internal,
}

// LibraryStatuses counts those that the library knows, success aside.
var LibraryStatuses = libraryStatuses
