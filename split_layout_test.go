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
		past := read + unsafe.Offsetof(s.phase) + unsafe.Sizeof(s.phase)
		written := uintptr(unsafe.Pointer(s.phase)) % cacheLine
		if past > cacheLine/2 || written < cacheLine/2 {
			t.Fatalf("%d to %d is read, %d is written; both %% %d", read, past, written, cacheLine)
		}
	}
}
