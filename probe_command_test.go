package proxyos

import (
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

func TestProbeOfHangingServerEndsInTime(t *testing.T) {
	const timeout = 500 * time.Millisecond
	tests := make(map[string]func(*testing.T))
	for name, hang := range map[string]func(t *testing.T) string{
		"accepts and says nothing": func(t *testing.T) string {
			return proxytest.NewRawServer(t, proxytest.Hang).Addr
		},
		"hangs after the TLS handshake": func(t *testing.T) string {
			config := proxytest.Serving(proxytest.SelfSigned(t, "127.0.0.1"))
			return "https://" + proxytest.NewRawServer(t, func(conn net.Conn) {
				proxytest.Hang(tls.Server(conn, config))
				proxytest.Hang(conn)
			}).Addr
		},
		"sends headers without an end": func(t *testing.T) string {
			return proxytest.NewRawServer(t, func(conn net.Conn) {
				_, err := io.WriteString(conn, "HTTP/1.1 200 OK\r\n")
				for err == nil {
					time.Sleep(10 * time.Millisecond)
					_, err = io.WriteString(conn, "X-More: yes\r\n")
				}
			}).Addr
		},
		"sends a refusal without a body": func(t *testing.T) string {
			return proxytest.NewRawServer(t, func(conn net.Conn) {
				_, _ = io.WriteString(conn, "HTTP/1.1 400 Bad Request\r\nContent-Length: 100\r\n\r\n")
				proxytest.Hang(conn)
			}).Addr
		},
		"swallows connection attempts": func(t *testing.T) string { return proxytest.BlackHole(t) },
	} {
		tests[name] = func(t *testing.T) {
			address := hang(t)
			start := time.Now()
			output, err := runCommand(probeCommand(), "--timeout", timeout.String(), address)
			if took := time.Since(start); took > timeout+200*time.Millisecond {
				t.Errorf("took %v, with a time-out of %v", took, timeout)
			}
			if err == nil && name != "sends a refusal without a body" {
				t.Error("exit code 0")
			}
			checkWidth(t, output)
		}
	}
	proxytest.Together(t, tests)
}

func TestProbeJSONAndExitCode(t *testing.T) {
	listener := proxytest.ListenPort(t, 9443)
	address := listener.Addr().String()
	cert := proxytest.SelfSigned(t, address)
	proxytest.Serve(t, listener, proxytest.Serving(cert))

	output, err := runCommand(probeCommand(), "--json", address)
	if err != nil {
		t.Errorf("exit code 1 for an address that works: %s", output)
	}
	var reports []map[string]any
	if err := json.Unmarshal([]byte(output), &reports); err != nil || len(reports) != 1 {
		t.Fatalf("%v: %s", err, output)
	}
	r := reports[0]
	shown, _ := r["certificate"].(map[string]any)
	if r["address"] != address || r["works"] != true || r["scheme"] != "https" || r["tls_verify"] != false ||
		shown["sha256"] != proxytest.PinOf(cert) || shown["self_signed"] != true || shown["verifies"] != false ||
		len(r["steps"].([]any)) != 5 || !strings.Contains(r["caddyfile"].(string), "tls_pin "+proxytest.PinOf(cert)) {
		t.Errorf("JSON: %s", output)
	}

	for _, args := range [][]string{
		{address, "http://" + address},
		{address, "wss://" + address},
		{address, "{http.request.host}:80"},
		{"--timeout", "0s", address},
		{},
	} {
		if _, err := runCommand(probeCommand(), args...); err == nil {
			t.Errorf("%q: exit code 0", args)
		}
	}
}

func TestProbeOfSocketAndEnvironment(t *testing.T) {
	listener := proxytest.ListenUnix(t)
	proxytest.Serve(t, listener, nil)
	if report := probeOnce(t, "unix/"+listener.Addr().String(), probeTimeout); !report.Works {
		t.Errorf("%+v", report)
	}

	listener = proxytest.Listen(t, "")
	proxytest.Serve(t, listener, nil)
	host, port, _ := net.SplitHostPort(listener.Addr().String())
	t.Setenv("LAB_HOST", host)
	if report := probeOnce(t, "{env.LAB_HOST}:"+port, probeTimeout); !report.Works {
		t.Errorf("%+v", report)
	}
}
