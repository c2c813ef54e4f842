package proxyos

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/quic-go/quic-go"
)

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

// A handler may make a body longer where its length is not sent on.
func TestABodyBeforeATrailerMayGrow(t *testing.T) {
	for trailer, want := range map[string]error{"": errBodyOther, "X-Sum": nil} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://a.test", strings.NewReader("fives"))
		if err != nil {
			t.Fatal(err)
		}
		if req.ContentLength = 4; trailer != "" {
			req.Trailer = http.Header{trailer: nil}
		}
		new(clientBody).takeOver(req)
		if _, err := io.ReadAll(req.Body); err != want {
			t.Errorf("with the trailer %q it ends with %v", trailer, err)
		}
	}
}

// What the end of a body means: that it was whole, that the client has not sent all of it, that the server has read
// the rest since an answer goes out, or that somebody else has. Whoever sends the body waits where the server has.
func TestTheEndOfABodyIsNotTakenForAnother(t *testing.T) {
	closed, closedByHTTP2, closedByHTTP3 := http.ErrBodyReadAfterClose, errors.New("body closed by handler"), &quic.StreamError{}
	resetByHTTP3 := &quic.StreamError{Remote: true}
	for _, test := range []struct {
		proto    int
		sent     string
		length   int64
		end      error
		answered bool
		want     error
		waits    bool
		forgiven bool // with request_buffers
	}{
		{1, "four", 4, io.EOF, false, io.EOF, false, false},
		{1, "four", 4, io.EOF, true, io.EOF, false, false},
		{1, "four", -1, io.EOF, false, io.EOF, false, false},
		{1, "four", -1, io.EOF, true, io.EOF, false, false},
		{1, "four", 5, io.EOF, false, errBodyCut, false, true},
		{1, "four", 5, io.EOF, true, closed, true, false},
		{1, "", 5, io.EOF, false, errBodyCut, false, true},
		{1, "", 5, io.EOF, true, closed, true, false},
		{1, "", 0, io.EOF, false, io.EOF, false, false},
		{1, "four", 5, closed, false, errBodyCut, false, false},
		{1, "four", -1, closed, false, errBodyCut, false, false},
		{1, "four", 5, closed, true, closed, true, false},
		{1, "four", -1, closed, true, closed, true, false},
		{1, "four", 5, io.ErrUnexpectedEOF, true, io.ErrUnexpectedEOF, false, false},
		{1, "fives", 4, io.EOF, false, errBodyOther, false, true},
		{2, "four", 5, io.EOF, false, errBodyCut, false, true},
		{2, "four", 5, io.EOF, true, errBodyCut, false, true},
		{2, "four", 5, closedByHTTP2, false, errBodyCut, false, false},
		{2, "four", -1, closedByHTTP2, true, errBodyCut, false, false},
		{2, "four", 4, io.EOF, true, io.EOF, false, false},
		{3, "four", 5, io.EOF, false, errBodyShort, false, false},
		{3, "four", 5, io.EOF, true, errBodyShort, false, false},
		{3, "", 5, io.EOF, true, errBodyShort, false, true},
		{3, "four", 5, closedByHTTP3, false, errBodyCut, false, false},
		{3, "four", 5, resetByHTTP3, false, resetByHTTP3, false, false},
		{3, "four", 4, io.EOF, true, io.EOF, false, false},
		{3, "four", -1, io.EOF, true, io.EOF, false, false},
	} {
		for _, buffered := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				over, end := context.WithCancel(t.Context())
				req, err := http.NewRequestWithContext(over, http.MethodPost, "http://a.test", &sentThen{strings.NewReader(test.sent), test.end})
				if err != nil {
					t.Fatal(err)
				}
				req.ContentLength, req.ProtoMajor = test.length, test.proto
				client := clientBody{buffered: buffered}
				client.takeOver(req)
				client.answered.Store(test.answered)
				want := test.want
				if buffered && test.forgiven {
					want = test.end
				}
				kept := keepBody(req, req.Body, &client, new(atomic.Int64))
				kept.limit = 100
				for i, release := range []func(io.Closer){func(a io.Closer) { _ = a.Close() }, func(io.Closer) { end() }} { // of two attempts
					attempt, read := kept.open(nil, nil), make(chan error, 1)
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

// sentThen is what was sent, and then how it ends.
type sentThen struct {
	*strings.Reader
	end error
}

func (s *sentThen) Read(p []byte) (int, error) {
	if s.Len() > 0 {
		return s.Reader.Read(p)
	}
	return 0, s.end
}
