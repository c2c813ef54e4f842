package integration

import (
	"strings"
	"testing"

	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

// refuses loads directives, wants that refused, and wants the error to say something.
func refuses(t *testing.T, directives string, saying ...string) {
	t.Helper()
	t.Run("refused", func(t *testing.T) {
		s := newServer(t)
		err := s.Load(s.Site(directives))
		if err == nil {
			t.Fatalf("%s\nis not refused", directives)
		}
		for _, part := range saying {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("the error %q does not say %q", err, part)
			}
		}
	})
}

// newCutter starts a server that closes each connection once it has a request's header.
func newCutter(t testing.TB) *proxytest.Scripted {
	t.Helper()
	return proxytest.NewScripted(t, (*proxytest.Exchange).Close)
}
