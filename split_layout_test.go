//go:build amd64 || arm64

package proxyos

import (
	"testing"
	"unsafe"
)

// A read at the offset in its page at which the phase has just been written waits for the write.
func TestThePhaseIsWrittenWhereNothingIsRead(t *testing.T) {
	const cacheLine = 64
	for range 1000 {
		s := newSplitter(10)
		read := uintptr(unsafe.Pointer(s)) % cacheLine
		past := read + unsafe.Offsetof(s.shared) + unsafe.Sizeof(s.shared)
		written := uintptr(unsafe.Pointer(&s.shared.phase)) % cacheLine
		if past > cacheLine/2 || written < cacheLine/2 {
			t.Fatalf("%d to %d is read, %d is written; both %% %d", read, past, written, cacheLine)
		}
	}
}

// What each request reads shares no cache line with what each request writes.
func TestTheReleaseIsReadWhereNothingIsWritten(t *testing.T) {
	const cacheLine = 64
	for range 1000 {
		s := newRouteState()
		lines := map[uintptr]bool{}
		for _, written := range []unsafe.Pointer{unsafe.Pointer(&s.phase), unsafe.Pointer(&s.short), unsafe.Pointer(&s.full), unsafe.Pointer(&s.production.inFlight),
			unsafe.Pointer(&s.production.durations), unsafe.Pointer(&s.production.durations.micros), unsafe.Pointer(&s.staging.inFlight), unsafe.Pointer(&s.staging.durations.micros)} {
			lines[uintptr(written)/cacheLine] = true
		}
		for name, read := range map[string]unsafe.Pointer{"release": unsafe.Pointer(&s.release), "shuffle": unsafe.Pointer(&s.shuffle)} {
			if lines[uintptr(read)/cacheLine] {
				t.Fatalf("%s is in a cache line that each request writes to", name)
			}
		}
	}
}
