package proxyos

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/quic-go/quic-go/http3"
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
		b.answered.Store(true)
		_, _ = io.ReadAll(b)
		if got := b.err(); (got != nil) != want || want && got != err {
			t.Errorf("after %v it remembers %v", err, got)
		}
	}
}

// Not every body can be read by two at a time: an attempt that goes on reading, and a route of handle_response.
func TestABodyIsReadByOneAtATime(t *testing.T) {
	var reading, together, reads atomic.Int64
	var b clientBody
	b.ReadCloser = io.NopCloser(readerFunc(func(p []byte) (int, error) {
		if reading.Add(1) > 1 {
			together.Add(1)
		}
		runtime.Gosched()
		reading.Add(-1)
		if reads.Add(1) > 1000 {
			return 0, io.EOF
		}
		return 1, nil
	}))
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() { _, _ = io.Copy(io.Discard, struct{ io.Reader }{&b}) })
	}
	if readers.Wait(); together.Load() > 0 {
		t.Errorf("%d of %d reads are beside another", together.Load(), reads.Load())
	}
}

// endings end reads with one error after the other; the last one stays.
type endings []error

func (e *endings) Read([]byte) (int, error) {
	all := *e
	if len(all) > 1 {
		*e = all[1:]
	}
	return 0, all[0]
}

// What the end of a body means: that it was whole, that the client has not sent all of it, that the server has read
// the rest since an answer goes out, or that somebody else has. Whoever sends the body waits where the server has.
func TestTheEndOfABodyIsNotTakenForAnother(t *testing.T) {
	closed, closedByHTTP2, closedByHTTP3 := http.ErrBodyReadAfterClose, errors.New("body closed by handler"), &http3.Error{}
	resetByHTTP3 := &http3.Error{Remote: true}
	for _, test := range []struct {
		proto    int
		sent     string
		length   int64
		ends     endings
		answered bool
		want     error
		waits    bool
		forgiven bool // with request_buffers
	}{
		{1, "four", 4, endings{io.EOF}, false, io.EOF, false, false},
		{1, "four", 4, endings{io.EOF}, true, io.EOF, false, false},
		{1, "four", -1, endings{io.EOF}, false, io.EOF, false, false},
		{1, "four", -1, endings{io.EOF}, true, io.EOF, false, false},
		{1, "four", 5, endings{io.EOF}, false, errBodyCut, false, true},
		{1, "four", 5, endings{io.EOF}, true, errBodyCut, false, false},
		{1, "four", 5, endings{io.EOF, io.EOF, closed}, true, closed, true, false},
		{1, "", 5, endings{io.EOF}, false, errBodyCut, false, true},
		{1, "", 5, endings{io.EOF, closed}, true, closed, true, false},
		{1, "", 0, endings{io.EOF}, false, io.EOF, false, false},
		{1, "four", 5, endings{closed}, false, errBodyCut, false, false},
		{1, "four", -1, endings{closed}, false, errBodyCut, false, false},
		{1, "four", 5, endings{closed}, true, closed, true, false},
		{1, "four", -1, endings{closed}, true, closed, true, false},
		{1, "four", 5, endings{io.ErrUnexpectedEOF}, true, io.ErrUnexpectedEOF, false, false},
		{2, "four", 5, endings{io.EOF}, false, errBodyCut, false, true},
		{2, "four", 5, endings{io.EOF}, true, errBodyCut, false, true},
		{2, "four", 5, endings{closedByHTTP2}, false, errBodyCut, false, false},
		{2, "four", -1, endings{closedByHTTP2}, true, errBodyCut, false, false},
		{2, "four", 4, endings{io.EOF}, true, io.EOF, false, false},
		{3, "four", 5, endings{io.EOF}, false, errBodyShort, false, false},
		{3, "four", 5, endings{io.EOF}, true, errBodyShort, false, false},
		{3, "", 5, endings{io.EOF}, true, errBodyShort, false, true},
		{3, "four", 5, endings{closedByHTTP3}, false, errBodyCut, false, false},
		{3, "four", 5, endings{resetByHTTP3}, false, resetByHTTP3, false, false},
		{3, "four", 4, endings{io.EOF}, true, io.EOF, false, false},
		{3, "four", -1, endings{io.EOF}, true, io.EOF, false, false},
	} {
		for _, buffered := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				over, end := context.WithCancel(t.Context())
				ends := slices.Clone(test.ends)
				req, err := http.NewRequestWithContext(over, http.MethodPost, "http://a.test", &sentThen{strings.NewReader(test.sent), &ends})
				if err != nil {
					t.Fatal(err)
				}
				req.ContentLength, req.ProtoMajor = test.length, test.proto
				client := clientBody{buffered: buffered}
				client.takeOver(req)
				client.answered.Store(test.answered)
				want := test.want
				if buffered && test.forgiven {
					want = test.ends[0]
				}
				kept := keepBody(req, req.Body, &client, new(atomic.Int64))
				kept.limit = 100
				for i, release := range []func(io.Closer){func(a io.Closer) { _ = a.Close() }, func(io.Closer) { end() }} { // of two attempts
					attempt, read := kept.open(nil), make(chan error, 1)
					go func() {
						_, err := io.Copy(io.Discard, struct{ io.Reader }{attempt})
						read <- cmp.Or(err, io.EOF)
					}()
					time.Sleep(time.Second)
					synctest.Wait()
					waits := len(read) == 0
					release(attempt)
					if got := <-read; got != want || waits != test.waits {
						t.Errorf("%+v, buffered %v: attempt %d ends with %v, and waits: %v", test, buffered, i, got, waits)
					}
				}
				end()
				isFailure := want != io.EOF && !isClosedHere(want)
				if failed := client.err(); (failed == want) != isFailure {
					t.Errorf("%+v, buffered %v: remembered is %v", test, buffered, failed)
				}
			})
		}
	}
}

// sentThen is what was sent, and then the end of it.
type sentThen struct {
	sent *strings.Reader
	then io.Reader
}

func (s *sentThen) Read(p []byte) (int, error) {
	if s.sent.Len() > 0 {
		return s.sent.Read(p)
	}
	return s.then.Read(p)
}
