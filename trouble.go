package proxyos

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/proxyos/caddy-proxyos/internal/diagnose"
	"github.com/proxyos/caddy-proxyos/internal/printable"
)

// trouble is why an attempt at an upstream, or an active check of it, has failed.
type trouble struct {
	at  time.Time
	err error
}

// hasTrouble notes the latest failure. A nil state, of an upstream from a dynamic source, forgets it.
func (s *upstreamState) hasTrouble(err error) {
	if s != nil {
		s.trouble.Store(&trouble{time.Now(), err})
	}
}

// wasChecked notes what an active check was answered with, if no upstream that is well would say so.
func (s *upstreamState) wasChecked(status int) {
	if status >= http.StatusBadRequest {
		s.hasTrouble(fmt.Errorf("its health check is answered with HTTP %d %s", status, http.StatusText(status)))
	}
}

// whyDown is what there is to say of an upstream that is not up.
type whyDown struct {
	Since   time.Time `json:"since,omitzero"`    // since when it is not up
	Problem string    `json:"problem,omitempty"` // the latest failure
	Hint    string    `json:"hint,omitempty"`    // what is probably wrong, and what to do
	Fix     string    `json:"fix,omitempty"`     // what to write, if that is known
}

// whyDown tells why an upstream is not up, as far as that is known.
func (g *group) whyDown(t *target) whyDown {
	var why whyDown
	if c := g.breaker.of(t.backend.dial); c != nil {
		why.Since = c.since
	}
	if since := t.unhealthySince.Load(); t.unhealthy.Load() && since != 0 {
		why.Since = time.Unix(0, since)
	}
	// one that is older was over when it went down
	if last := t.counts.trouble.Load(); last != nil && last.at.After(why.Since.Add(-time.Second)) {
		if why.Since.IsZero() {
			why.Since = last.at
		}
		why.Problem = printable.Short(last.err.Error())
		what, advice := diagnose.Of(last.err).Tell(t.backend.diagnosed(), last.err)
		if what != "" {
			why.Hint, why.Fix = what+"; "+advice, lineToWrite(advice)
		}
	}
	switch {
	case g.breaker.isEjected(t.backend.dial):
		why.Hint = "it fails much more often than the others of its group, and was ejected"
	case why.Problem == "" && t.unhealthy.Load():
		why.Problem = "its active health check fails"
	}
	return why
}

// lineToWrite returns what an advice says to write, without the words around it; empty if it says more or
// less than that.
func lineToWrite(advice string) string {
	if _, rest, ok := strings.Cut(advice, "write `"); ok {
		line, _, _ := strings.Cut(rest, "`")
		return line
	}
	for _, before := range []string{"then write ", "write "} {
		if _, rest, ok := strings.Cut(advice, before); ok {
			word, _, _ := strings.Cut(rest, " ")
			if word = strings.Trim(word, ",;)"); strings.ContainsAny(word, ":/") {
				return word
			}
		}
	}
	return ""
}
