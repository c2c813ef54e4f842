package proxytest

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
)

const (
	get  = "GET /a HTTP/1.1\r\nHost: app\r\nx-ODD:  kept \r\n\r\n"
	post = "POST /b HTTP/1.1\r\nHost: app\r\nTransfer-Encoding: chunked\r\n\r\n"
)

func TestAScriptedServerRecordsExactlyWhatItReceives(t *testing.T) {
	config := Serving(SelfSigned(t, "127.0.0.1"))
	for name, start := range map[string]func(*testing.T) (*Scripted, *RawConn){
		"cleartext": func(t *testing.T) (*Scripted, *RawConn) {
			s := NewScripted(t, Reply("hello"))
			return s, Dial(t, s.Addr)
		},
		"TLS": func(t *testing.T) (*Scripted, *RawConn) {
			s := NewScriptedTLS(t, config, Reply("hello"))
			return s, DialTLS(t, s.Addr, nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, c := start(t)
			const body = "3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n"
			c.Send(get + post + body) // the second request follows before the first is answered
			for range 2 {
				if answer := c.ReadAnswer("GET"); answer.StatusCode != http.StatusOK || answer.Text != "hello" || answer.Err != nil {
					t.Errorf("got %s, %q, %v", answer.Status, answer.Text, answer.Err)
				}
			}
			requests := s.Requests()
			if len(requests) != 2 || s.Count() != 2 || s.Conns.Load() != 1 {
				t.Fatalf("%d requests on %d connections, want 2 on 1", len(requests), s.Conns.Load())
			}
			if r := requests[0]; r.Header != get || r.Parsed.URL.Path != "/a" || r.Body != "" {
				t.Errorf("the first is %+v", r)
			}
			if r := requests[1]; r.Header != post || r.Body != "abcde" || r.Conn != 0 {
				t.Errorf("the second is %+v", r)
			}
			if got := s.Bytes(0); got != get+post+body {
				t.Errorf("received %q", got)
			}
		})
	}
}

func TestWhatIsNoRequestIsRecordedToo(t *testing.T) {
	s := NewScripted(t, Reply(""))
	c := Dial(t, s.Addr)
	c.Send("\x16\x03\x01 hello")
	c.CloseWrite()
	if got, err := c.ReadAll(); got != "" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	if got := s.Bytes(0); got != "\x16\x03\x01 hello" || s.Count() != 0 {
		t.Errorf("received %q, %d requests", got, s.Count())
	}
}

func TestScriptsMisbehaveAsTheySay(t *testing.T) {
	for _, c := range []struct {
		name     string
		script   Script
		received string
		ends     error
	}{
		{"closes before the answer", CloseUnanswered, "", nil},
		{"resets before the answer", ResetUnanswered, "", syscall.ECONNRESET},
		{"closes within the body", CloseWithin("the beginning"), "HTTP/1.1 200 OK\r\nContent-Length: 1013\r\n\r\nthe beginning", nil},
		{"answers early", AnswerEarly(http.StatusForbidden), "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", nil},
		{"any bytes", func(x *Exchange) { x.Send("SSH-2.0\r\n"); x.Close() }, "SSH-2.0\r\n", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := NewScripted(t, c.script)
			client := Dial(t, s.Addr)
			client.Send(get)
			if received, err := client.ReadAll(); received != c.received || !errors.Is(err, c.ends) {
				t.Errorf("got %q, %v, want %q, %v", received, err, c.received, c.ends)
			}
		})
	}
}

func TestAnEarlyAnswerDoesNotWaitForTheBody(t *testing.T) {
	s := NewScripted(t, AnswerEarly(http.StatusRequestEntityTooLarge))
	c := Dial(t, s.Addr)
	c.Send("POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 100\r\n\r\nhalf")
	if answer := c.ReadAnswer("POST"); answer.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("got %s", answer.Status)
	}
	if r := s.Requests()[0]; r.Body != "" {
		t.Errorf("the body %q was read", r.Body)
	}
}

func TestAScriptCanBeReplacedWithinAConnection(t *testing.T) {
	s := NewScripted(t, Reply("one"))
	c := Dial(t, s.Addr)
	for _, want := range []string{"one", "two"} {
		s.Follow(func(x *Exchange) {
			if x.N != int(s.Count())-1 {
				t.Errorf("request %d is number %d of the connection", s.Count(), x.N)
			}
			Reply(want)(x)
		})
		c.Send(get)
		if answer := c.ReadAnswer("GET"); answer.Text != want {
			t.Errorf("got %q, want %q", answer.Text, want)
		}
	}
}

func TestAClientCanReset(t *testing.T) {
	ended := make(chan error, 1)
	s := NewRawServer(t, func(conn net.Conn) {
		_, err := io.Copy(io.Discard, conn)
		ended <- err
	})
	Dial(t, s.Addr).Reset()
	if err := <-ended; !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the server sees %v, want a reset", err)
	}
}

func TestAConnectionEndsWithItsServer(t *testing.T) {
	s := NewScripted(t, (*Exchange).Hang)
	c := Dial(t, s.Addr)
	c.Send(get)
	Eventually(t, "the request arrives", func() bool { return s.Count() == 1 })
	s.Close()
	if received, _ := c.ReadAll(); received != "" {
		t.Errorf("got %q", received)
	}
}

func TestReadAnswerTellsOfABodyThatBreaksOff(t *testing.T) {
	s := NewScripted(t, CloseWithin(strings.Repeat("x", 10)))
	c := Dial(t, s.Addr)
	c.Send(get)
	if answer := c.ReadAnswer("GET"); len(answer.Text) != 10 || !errors.Is(answer.Err, io.ErrUnexpectedEOF) {
		t.Errorf("got %q, %v", answer.Text, answer.Err)
	}
}
