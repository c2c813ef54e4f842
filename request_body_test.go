package proxyos

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
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

func TestOnlyAClientsErrorsAreRemembered(t *testing.T) {
	for err, want := range map[error]bool{io.EOF: false, http.ErrBodyReadAfterClose: false, io.ErrUnexpectedEOF: true, errors.New("x"): true} {
		b := &clientBody{ReadCloser: io.NopCloser(iotest.ErrReader(err))}
		_, _ = io.ReadAll(b)
		if got := b.err(); (got != nil) != want || want && got != err {
			t.Errorf("after %v it remembers %v", err, got)
		}
	}
}

// What the end of a body means: that it was whole, that the client has not sent all of it, that the server has read
// the rest since an answer goes out, or that somebody else has. Whoever sends the body waits where the server has.
func TestTheEndOfABodyIsNotTakenForAnother(t *testing.T) {
	closed := http.ErrBodyReadAfterClose
	for _, test := range []struct {
		proto    int
		sent     string
		length   int64
		end      error
		answered bool
		want     error
		waits    bool
	}{
		{1, "four", 4, io.EOF, false, io.EOF, false},
		{1, "four", 4, io.EOF, true, io.EOF, false},
		{1, "four", -1, io.EOF, false, io.EOF, false},
		{1, "four", -1, io.EOF, true, io.EOF, false},
		{1, "four", 5, io.EOF, false, errBodyCut, false},
		{1, "four", 5, io.EOF, true, io.EOF, true},
		{1, "", 5, io.EOF, false, errBodyCut, false},
		{1, "", 5, io.EOF, true, io.EOF, true},
		{1, "", 0, io.EOF, false, io.EOF, false},
		{1, "four", 5, closed, false, closed, false},
		{1, "four", 5, closed, true, closed, true},
		{1, "four", -1, closed, true, closed, true},
		{1, "four", 5, io.ErrUnexpectedEOF, true, io.ErrUnexpectedEOF, false},
		{2, "four", 5, io.EOF, false, errBodyCut, false},
		{2, "four", 5, io.EOF, true, errBodyCut, false},
		{2, "four", 5, closed, true, closed, false},
		{2, "four", 4, io.EOF, true, io.EOF, false},
		{3, "four", 5, io.EOF, false, io.ErrUnexpectedEOF, false},
		{3, "four", 5, io.EOF, true, io.ErrUnexpectedEOF, false},
		{3, "", 5, io.EOF, true, io.ErrUnexpectedEOF, false},
		{3, "four", 4, io.EOF, true, io.EOF, false},
		{3, "four", -1, io.EOF, true, io.EOF, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			over, end := context.WithCancel(t.Context())
			req, err := http.NewRequestWithContext(over, http.MethodPost, "http://a.test", io.MultiReader(strings.NewReader(test.sent), iotest.ErrReader(test.end)))
			if err != nil {
				t.Fatal(err)
			}
			req.ContentLength, req.ProtoMajor = test.length, test.proto
			var client clientBody
			client.takeOver(req)
			client.answered.Store(test.answered)
			kept := keepBody(req, req.Body, &client, new(atomic.Int64))
			kept.limit = 100
			for i, release := range []func(io.Closer){func(a io.Closer) { _ = a.Close() }, func(io.Closer) { end() }} { // of two attempts
				attempt, read := kept.open(nil), make(chan error, 1)
				go func() {
					_, err := io.Copy(io.Discard, struct{ io.Reader }{attempt})
					read <- cmp.Or(err, io.EOF)
				}()
				synctest.Wait()
				waits := len(read) == 0
				release(attempt)
				if got := <-read; got != test.want || waits != test.waits {
					t.Errorf("%+v: attempt %d ends with %v, and waits: %v", test, i, got, waits)
				}
			}
			end()
			isFailure := test.want != io.EOF && test.want != closed
			if failed := client.err(); (failed == test.want) != isFailure {
				t.Errorf("%+v: remembered is %v", test, failed)
			}
		})
	}
}
