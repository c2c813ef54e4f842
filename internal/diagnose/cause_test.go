package diagnose

import (
	"context"
	"errors"
	"fmt"
	"testing"
)

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
		"something else": Unknown,
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
