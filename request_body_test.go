package proxyos

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
)

// Random histories of attempts that read a part of the body each, against the body itself:
// whatever an attempt reads is the body's beginning, or an error.
func TestEveryAttemptReadsTheBodyFromItsBeginning(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		whole := make([]byte, random.IntN(300))
		for i := range whole {
			whole[i] = byte(random.Uint32())
		}
		var inAll atomic.Int64
		source := io.Reader(bytes.NewReader(whole))
		if random.IntN(2) == 0 {
			source = iotest.OneByteReader(source)
		}
		kept := &keptBody{client: new(clientBody), from: source, limit: random.IntN(200), inAll: &inAll}
		furthest := 0
		var open []*attemptBody
		for range 1 + random.IntN(5) {
			a := kept.open(nil).(*attemptBody)
			open = append(open, a)
			for _, reader := range open { // an attempt that has ended may read on for a while
				at := reader.at
				part := make([]byte, random.IntN(200))
				n, err := io.ReadFull(reader, part)
				if !bytes.Equal(part[:n], whole[at:at+n]) {
					t.Fatalf("an attempt read something else than the body at %d", at)
				}
				furthest = max(furthest, reader.at)
				ended := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
				switch {
				case err == nil, ended && reader.at == len(whole):
				case reader.closed.Load() && errors.Is(err, http.ErrBodyReadAfterClose):
				case kept.lost.Load() && reader.at < furthest:
				default:
					t.Fatalf("reading at %d of %d, limit %d: %v", reader.at, len(whole), kept.limit, err)
				}
			}
			if random.IntN(2) == 0 {
				_ = a.Close()
			}
		}
		if kept.lost.Load() != (furthest > kept.limit) {
			t.Fatalf("%d bytes were read with a limit of %d, and lost is %v", furthest, kept.limit, kept.lost.Load())
		}
		if kept.release(); inAll.Load() != 0 {
			t.Fatalf("%d bytes are still counted", inAll.Load())
		}
	}
}

func TestNoMoreIsKeptForAllThanIsAllowed(t *testing.T) {
	var inAll atomic.Int64
	inAll.Store(maxKept - 5)
	kept := &keptBody{client: new(clientBody), from: strings.NewReader("longer than five"), limit: 100, inAll: &inAll}
	if _, err := io.ReadAll(kept.open(nil)); err != nil {
		t.Fatal(err)
	}
	if !kept.lost.Load() || inAll.Load() != maxKept-5 {
		t.Errorf("lost is %v, and %d bytes are kept", kept.lost.Load(), inAll.Load())
	}
}

func TestNobodyWaitsForAClientToGiveABodyUp(t *testing.T) {
	var inAll atomic.Int64
	client, feed := io.Pipe()
	kept := &keptBody{client: new(clientBody), from: client, limit: 100, inAll: &inAll}
	attempt := kept.open(nil)
	read := make(chan error)
	go func() {
		_, err := io.ReadAll(attempt)
		read <- err
	}()
	if _, err := io.WriteString(feed, "some"); err != nil {
		t.Fatal(err)
	}
	_ = attempt.Close() // while it reads
	kept.release()
	feed.Close()
	if err := <-read; !errors.Is(err, http.ErrBodyReadAfterClose) && err != nil {
		t.Errorf("the read ends with %v", err)
	}
	if kept.loseReleased(); inAll.Load() != 0 {
		t.Errorf("%d bytes are still counted", inAll.Load())
	}
}
