package probe

import (
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/proxyos/caddy-proxyos/internal/address"
	"github.com/proxyos/caddy-proxyos/internal/certs"
	"github.com/proxyos/caddy-proxyos/internal/diagnose"
)

func TestProbeTriesAllAddressesOfAName(t *testing.T) {
	listener := listen(t)
	var steps []Step
	p := &Prober{network: "tcp", Show: func(s Step) { steps = append(steps, s) }}
	start := time.Now()
	err := p.connect(t.Context(), []string{blackHole(t), refused(t), listener.Addr().String()})
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
	a, err := address.Parse(refused(t))
	if err != nil {
		t.Fatal(err)
	}
	p := &Prober{Target: Target{Upstream: diagnose.Upstream{Address: a, Scheme: address.HTTP}}, Timeout: 5 * time.Second}
	if v := p.Run(t.Context()).Judge(); v.Works || v.Cause != diagnose.Refused || v.Caddyfile != "" {
		t.Errorf("judged %+v", v)
	}
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.36:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	return listener
}

// refused returns an address where nothing listens.
func refused(t *testing.T) string {
	t.Helper()
	listener := listen(t)
	defer listener.Close()
	return listener.Addr().String()
}

// blackHole returns an address that swallows connection attempts: its queue is full.
func blackHole(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 37}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	hole := fmt.Sprintf("127.0.0.37:%d", name.(*syscall.SockaddrInet4).Port)
	for range 8 {
		conn, err := net.DialTimeout("tcp", hole, 200*time.Millisecond)
		if err != nil {
			return hole
		}
		t.Cleanup(func() { _ = conn.Close() })
	}
	t.Fatal("this system keeps accepting connections to a full queue, so that it can have no black hole")
	return ""
}
