package diagnose

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"regexp"
	"testing"
)

// Whoever counts by cause must know all causes before any has come.
func TestCausesHasEachCauseThatAnErrorCanHave(t *testing.T) {
	declared, err := os.ReadFile("cause.go")
	if err != nil {
		t.Fatal(err)
	}
	known := map[Cause]bool{Unknown: true, Stale: true, RedirectLoop: true} // which no error has
	for _, c := range Causes {
		if known[c] {
			t.Errorf("%q is there twice", c)
		}
		known[c] = true
	}
	all := regexp.MustCompile(`(?m)^\t\w+ +Cause = "(\w*)"`).FindAllSubmatch(declared, -1)
	if len(all) != len(known) {
		t.Errorf("%d causes are declared, %d are known", len(all), len(known))
	}
	for _, one := range all {
		if !known[Cause(one[1])] {
			t.Errorf("there is no %q in Causes", one[1])
		}
	}
}

func TestOfText(t *testing.T) {
	for text, want := range map[string]Cause{
		"dial tcp: lookup app on 127.0.0.11:53: no such host":                               NoSuchHost,
		"dial tcp: lookup app: i/o timeout":                                                 NoResolver,
		"dial tcp: lookup app on 10.0.0.1:53: server misbehaving":                           NoResolver,
		"dial tcp 10.0.0.9:80: connect: connection refused":                                 Refused,
		"dial tcp 10.0.0.9:80: connectex: the target machine actively refused it.":          Refused,
		"dial tcp 10.0.0.9:80: connect: no route to host":                                   Unreachable,
		"dial tcp [fd00::1]:80: connect: network is unreachable":                            Unreachable,
		"dial tcp 10.0.0.9:80: i/o timeout":                                                 ConnectTimeout,
		"remote error: tls: handshake failure":                                              HandshakeRefused,
		"remote error: tls: unrecognized name":                                              HandshakeRefused,
		"tls: server selected unsupported protocol version 301":                             OldTLS,
		"net/http: HTTP/1.x transport connection broken: malformed HTTP response \"SSH-2\"": Unknown,
		"dial unix /run/app.sock: connect: no such file or directory":                       NoSocket,
		"dial unix /run/app.sock: connect: not a directory":                                 NoSocket,
		"dial unix /run/app.sock: connect: permission denied":                               SocketDenied,
		"dial unix /run/app.sock: connect: connection refused":                              Refused,
		"dial tcp 10.0.0.9:80: connect: permission denied":                                  Unknown,
		"http2: frame too large":                                                            NotHTTP2,
		"http2: failed reading the frame payload: http2: frame too large, note that the frame header looked like an HTTP/1.1 header": SpeaksHTTP1,
		"invalid proxy address \"::\"": ProxyFailed,
		"Bad Gateway":                  ProxyFailed,
		"OK":                           Unknown,
		"something else":               Unknown,
	} {
		if got := Of(dialError{errors.New(text)}); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

func TestACanceledRequestHasNoCause(t *testing.T) {
	if c := Of(fmt.Errorf("reading: %w", context.Canceled)); c != Unknown {
		t.Errorf("cause %q", c)
	}
	if c := Of(nil); c != Unknown {
		t.Errorf("no error has the cause %q", c)
	}
}

func TestWhatAnswersToTLS(t *testing.T) {
	for begin, want := range map[string]Cause{
		"HTTP/": PlainHTTP, "<!DOC": PlainHTTP, "<html": PlainHTTP, "<HTML": PlainHTTP, "<head": PlainHTTP, "\r\n<ht": PlainHTTP, " <h1>": PlainHTTP,
		"SSH-2": NotTLS, "220 m": NotTLS, "<?xml": NotTLS, "<stre": NotTLS, "\x00\x00\x00\x04\x00": NotTLS, "\r\n\r\n\r": NotTLS,
	} {
		if got := Of(fmt.Errorf("reading: %w", tls.RecordHeaderError{RecordHeader: [5]byte([]byte(begin))})); got != want {
			t.Errorf("%q: %q, want %q", begin, got, want)
		}
	}
}
