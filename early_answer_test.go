package proxyos

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/proxyos/caddy-proxyos/internal/diagnose"
	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

// brokenConn fails when it is written to, and has an answer to read before it ends.
type brokenConn struct {
	net.Conn
	answer io.Reader
}

var errWrite = errors.New("broken pipe")

func (c *brokenConn) Read(p []byte) (int, error)       { return c.answer.Read(p) }
func (c *brokenConn) Write(p []byte) (int, error)      { return 0, errWrite }
func (c *brokenConn) Close() error                     { return nil }
func (c *brokenConn) SetWriteDeadline(time.Time) error { return nil }

func TestAFailedWriteWaitsForTheAnswerAndForNothingElse(t *testing.T) {
	for name, way := range map[string]struct {
		end     func(*patientConn)
		isPlain bool
		want    error
	}{
		"the end of the answer":     {func(c *patientConn) { _, _ = io.ReadAll(c) }, true, errWrite},
		"the end of the connection": {func(c *patientConn) { _ = c.Close() }, true, io.EOF},
		"the last word of TLS":      {func(c *patientConn) { _ = c.SetWriteDeadline(time.Now()) }, false, errWrite},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ours, theirs := io.Pipe()
				c := &patientConn{Conn: &brokenConn{answer: ours}, isPlain: way.isPlain, closed: make(chan struct{})}
				written := make(chan error, 1)
				go func() {
					_, err := c.Write([]byte("x"))
					written <- err
				}()
				synctest.Wait()
				select {
				case err := <-written:
					t.Fatalf("the write ends with %v before the answer has come", err)
				default:
				}
				go func() {
					_, _ = io.WriteString(theirs, "early")
					theirs.Close()
				}()
				way.end(c)
				began := time.Now()
				if err := <-written; err != way.want || time.Since(began) > 0 {
					t.Errorf("the write ends with %v after %s", err, time.Since(began))
				}
				if _, err := c.Write(nil); err != way.want || time.Since(began) > 0 {
					t.Errorf("another write ends with %v after %s", err, time.Since(began))
				}
				ours.Close()
			})
		})
	}
}

func TestAFailedWriteWaitsForFiveSecondsAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := io.Pipe()
		defer theirs.Close()
		c := &patientConn{Conn: &brokenConn{answer: ours}, isPlain: true, closed: make(chan struct{})}
		began := time.Now()
		if _, err := c.Write([]byte("x")); err != errWrite || time.Since(began) != earlyAnswerWait {
			t.Errorf("the write ends with %v after %s", err, time.Since(began))
		}
	})
}

// http.Transport takes a write that fails since it has closed the connection itself for the client's fault,
// and hides what is wrong with the answer.
func TestTheErrorOfAnAnswerIsThatOfReadingIt(t *testing.T) {
	const tooLarge = "HTTP/1.1 200 OK\r\nX-Long: "
	for _, test := range []struct {
		name, answer string
		secure, ends bool
		want         string
		cause        diagnose.Cause
	}{
		{"too large", tooLarge + strings.Repeat("x", 3000), false, false, "response headers exceeded 1000 bytes", diagnose.Unknown},
		{"malformed", "HTTP/7.7.7 200 OK\r\n\r\n", false, false, "malformed HTTP version", diagnose.Unknown},
		{"TLS", "\x15\x03\x01\x00\x02\x02\x0a\r\n\r\n", false, false, "malformed HTTP response", diagnose.SpeaksTLS},
		{"too large, over TLS", tooLarge + strings.Repeat("x", 3000), true, false, errUnreadable.Error(), diagnose.Unknown},
		{"malformed, over TLS", "HTTP/7.7.7 200 OK\r\n\r\n", true, false, errUnreadable.Error(), diagnose.Unknown},
		{"too large and ended, over TLS", tooLarge + strings.Repeat("x", 3000), true, true, errUnreadable.Error(), diagnose.Unknown},
		{"begun and ended, over TLS", tooLarge, true, true, "", diagnose.Closed},
		{"asked for and ended, over TLS", "HTTP/1.1 100 Continue\r\n\r\n", true, true, "", diagnose.Closed},
	} {
		t.Run(test.name, func(t *testing.T) {
			closed := make(chan struct{})
			listener, scheme := proxytest.Listen(t, ""), "http"
			url := "://" + listener.Addr().String()
			if test.secure {
				listener, scheme = tls.NewListener(listener, proxytest.Serving(proxytest.SelfSigned(t, "127.0.0.1"))), "https"
			}
			proxytest.ServeRaw(t, listener, func(conn net.Conn) {
				_, _ = conn.Read(make([]byte, 1000))
				_, _ = io.WriteString(conn, test.answer)
				if test.ends {
					_ = conn.(*tls.Conn).CloseWrite()
				}
				_, _ = io.Copy(io.Discard, conn)
				close(closed)
			})
			transport := &http.Transport{
				DialContext:            hearingOut(new(net.Dialer).DialContext, !test.secure),
				MaxResponseHeaderBytes: 1000,
				TLSClientConfig:        &tls.Config{InsecureSkipVerify: true},
			}
			var used net.Conn
			trace := &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) { used = info.Conn }}
			body := io.MultiReader(strings.NewReader("begin"), readerFunc(func(p []byte) (int, error) {
				<-closed
				return copy(p, "more of it"), io.EOF
			}))
			req, err := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), trace), http.MethodPost, scheme+url, body)
			if err != nil {
				t.Fatal(err)
			}
			_, err = transport.RoundTrip(req)
			if err == nil {
				t.Fatal("there is no error")
			}
			if err = ofReading(used, err); !strings.Contains(err.Error(), test.want) || diagnose.Of(err) != test.cause {
				t.Errorf("the error is %v, of cause %q; want %q, %q", err, diagnose.Of(err), test.want, test.cause)
			}
		})
	}
}

// readerFunc reads by a function.
type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
