package main

import (
	"syscall"
	"time"
)

// pauseUntil sleeps until a moment, to some dozen microseconds. time.Sleep may be a millisecond
// late when nothing else goes on.
func pauseUntil(moment time.Time) {
	for {
		rest := time.Until(moment)
		if rest <= 0 {
			return
		}
		spec := syscall.NsecToTimespec(rest.Nanoseconds())
		_ = syscall.Nanosleep(&spec, nil) // a signal may end it early
	}
}
