package proxyos

import (
	"strings"
	"testing"
	"time"
)

func TestProgressIsRedrawnInATerminalAndRareElsewhere(t *testing.T) {
	for terminal, want := range map[bool]string{
		true:  "\r3 in flight\x1b[K\r2 in flight\x1b[K\r1 in flight\x1b[K\r\x1b[K",
		false: "3 in flight\n1 in flight\n",
	} {
		var out strings.Builder
		now := time.Unix(1e9, 0)
		p := &progress{out: &out, terminal: terminal, now: func() time.Time { return now }}
		for i, text := range []string{"3 in flight", "3 in flight", "2 in flight", "1 in flight", "1 in flight"} {
			now = time.Unix(1e9+int64(i)*2, 0)
			p.show(text)
		}
		p.end()
		if out.String() != want {
			t.Errorf("terminal %v: printed is %q, want %q", terminal, &out, want)
		}
	}
}
