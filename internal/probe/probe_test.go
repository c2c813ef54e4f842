package probe

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/proxyos/caddy-proxyos/internal/address"
	"github.com/proxyos/caddy-proxyos/internal/certs"
	"github.com/proxyos/caddy-proxyos/internal/diagnose"
	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

func TestProbeTriesAllAddressesOfAName(t *testing.T) {
	listener := proxytest.Listen(t, "")
	var steps []Step
	p := &Prober{network: "tcp", Show: func(s Step) { steps = append(steps, s) }}
	start := time.Now()
	err := p.connect(t.Context(), []string{proxytest.BlackHole(t), proxytest.Refused(t), listener.Addr().String()})
	if err != nil || p.target != listener.Addr().String() {
		t.Errorf("settled on %s: %v", p.target, err)
	}
	if took := time.Since(start); took > 4*time.Second {
		t.Errorf("the black hole was waited for: %v", took)
	}
	if len(steps) != 1 || !steps[0].OK || !strings.Contains(steps[0].Detail, "has not answered so far") || !strings.Contains(steps[0].Detail, "connection refused") {
		t.Errorf("steps %+v", steps)
	}
}

func TestAnAddressIsJudgedByWhatWorked(t *testing.T) {
	works := trial{made: true}
	fails := trial{made: true, err: fmt.Errorf("dial tcp: connection refused")}
	for _, c := range []struct {
		name     string
		written  string
		scheme   string
		verify   bool
		verifies bool // the certificate
		lines    string
	}{
		{"HTTPS where plain HTTP is written, on a port that is not checked", "http://h:8006", address.HTTP, false, true, "upstream https://h:8006 {\n\t\tskip_tls_verify off\n"},
		{"HTTPS where nothing is written", "h:3000", address.HTTP, true, true, "proxyos https://h:3000"},
		{"HTTPS where nothing is written, self-signed", "h:3000", address.HTTP, true, false, "upstream https://h:3000 {\n\t\ttls_pin abcd\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, err := address.Parse(c.written)
			if err != nil {
				t.Fatal(err)
			}
			found := Findings{
				Certificate: &certs.Description{SHA256: "abcd", Verifies: c.verifies},
				target:      Target{Upstream: diagnose.Upstream{Address: a, Scheme: c.scheme}, Verify: c.verify},
				verified:    works, handshake: works, https: works, plain: fails, h2c: fails,
			}
			if v := found.Judge(); v.Works || v.Cause != diagnose.SpeaksTLS || !strings.Contains(v.Caddyfile, c.lines) {
				t.Errorf("judged %+v, want %q", v, c.lines)
			}
		})
	}
}

func TestRunWithoutAnybodyToTellFindsTheSame(t *testing.T) {
	a, err := address.Parse(proxytest.Refused(t))
	if err != nil {
		t.Fatal(err)
	}
	p := &Prober{Target: Target{Upstream: diagnose.Upstream{Address: a, Scheme: address.HTTP}}, Timeout: 5 * time.Second}
	if v := p.Run(t.Context()).Judge(); v.Works || v.Cause != diagnose.Refused || v.Caddyfile != "" {
		t.Errorf("judged %+v", v)
	}
}
