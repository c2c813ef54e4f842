package proxyos

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
)

// keepUpTo returns a body of which as much as limit is kept.
func keepUpTo(limit int, source io.Reader, inAll *atomic.Int64) *keptBody {
	kept := keepBody(new(http.Request), source, new(clientBody), inAll)
	kept.limit = limit
	return kept
}

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
		kept := keepUpTo(random.IntN(200), source, &inAll)
		furthest := 0
		var open []*attemptBody
		for range 1 + random.IntN(5) {
			a := kept.open(nil, nil).(*attemptBody)
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
	kept := keepUpTo(100, strings.NewReader("longer than five"), &inAll)
	if _, err := io.ReadAll(kept.open(nil, nil)); err != nil {
		t.Fatal(err)
	}
	if !kept.lost.Load() || inAll.Load() != maxKept-5 {
		t.Errorf("lost is %v, and %d bytes are kept", kept.lost.Load(), inAll.Load())
	}
}

func TestNobodyWaitsForAClientToGiveABodyUp(t *testing.T) {
	var inAll atomic.Int64
	client, feed := io.Pipe()
	kept := keepUpTo(100, client, &inAll)
	attempt := kept.open(nil, nil)
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
	if inAll.Load() != 0 {
		t.Errorf("%d bytes are still counted", inAll.Load())
	}
}

// An attempt that is over may wait for the client as long as that sends nothing. The next one has what is kept at once,
// and what the client sends then.
func TestNobodyWaitsForAClientToReadWhatIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, feed := io.Pipe()
		kept := keepUpTo(100, client, new(atomic.Int64))
		first, second, third := kept.open(nil, nil), kept.open(nil, nil), kept.open(nil, nil)
		wants := func(body io.Reader, want string) {
			t.Helper()
			part := make([]byte, 4)
			if n, err := io.ReadFull(body, part); string(part[:n]) != want || err != nil {
				t.Errorf("an attempt reads %q, %v; want %q", part[:n], err, want)
			}
		}
		isOver := func(body io.Reader) {
			if n, err := body.Read(make([]byte, 4)); n > 0 || !errors.Is(err, http.ErrBodyReadAfterClose) {
				t.Errorf("the read of a closed attempt ends with %d bytes, %v", n, err)
			}
		}
		go func() { _, _ = io.WriteString(feed, "some") }()
		wants(first, "some")
		go isOver(first)
		synctest.Wait()
		_ = first.Close() // while it reads
		wants(second, "some")
		wants(third, "some")
		go isOver(third)
		synctest.Wait()
		_ = third.Close() // while it waits for the first
		go wants(second, "more")
		synctest.Wait()
		_, _ = io.WriteString(feed, "more")
		synctest.Wait()
		if err := feed.Close(); err != nil {
			t.Fatal(err)
		}
		if rest, err := io.ReadAll(second); len(rest) > 0 || err != nil {
			t.Errorf("after the end it reads %q, %v", rest, err)
		}
	})
}

// Attempts that read beside one another all read the body, however they take turns.
func TestAttemptsReadOneBodyTogether(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		whole := make([]byte, random.IntN(300))
		for i := range whole {
			whole[i] = byte(random.Uint32())
		}
		kept := keepUpTo(random.IntN(2*len(whole)+1), iotest.OneByteReader(bytes.NewReader(whole)), new(atomic.Int64))
		var attempts sync.WaitGroup
		for i := range 4 {
			attempts.Go(func() {
				attempt := kept.open(nil, nil)
				if i > 0 { // one is over early
					got, err := io.ReadAll(attempt)
					if !bytes.HasPrefix(whole, got) || len(got) < len(whole) && !(errors.Is(err, errBodyUsedUp) && kept.limit < len(whole)) {
						t.Errorf("an attempt reads %d of %d bytes, %v", len(got), len(whole), err)
					}
					return
				}
				_, _ = io.ReadFull(attempt, make([]byte, len(whole)/2))
				_ = attempt.Close()
			})
		}
		attempts.Wait()
	}
}

// A transport that begins again opens the body with the same trailer, which an attempt that is over does not touch.
func TestAnAttemptThatIsOverSetsNoTrailer(t *testing.T) {
	for _, isOver := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			client, feed := io.Pipe()
			kept := keepUpTo(100, client, new(atomic.Int64))
			kept.trailer = http.Header{"X-Sum": {"1"}}
			trailer := make(http.Header)
			attempt := kept.open(trailer, nil)
			go func() { _, _ = io.ReadAll(attempt) }()
			synctest.Wait()
			if isOver {
				_ = attempt.Close() // while it reads
			}
			feed.Close()
			synctest.Wait()
			if _, isSet := trailer["X-Sum"]; isSet == isOver {
				t.Errorf("over is %v, and it has set %v", isOver, trailer)
			}
		})
	}
}
