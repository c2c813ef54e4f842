package integration

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"testing"

	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

// openProxy starts an HTTP proxy that connects every client to one backend, or answers with a
// status if one is given.
func openProxy(t *testing.T, backend, status string) (addr string) {
	t.Helper()
	return proxytest.NewRawServer(t, func(conn net.Conn) {
		req, err := http.ReadRequest(bufio.NewReader(conn))
		if err != nil {
			return
		}
		if status != "" {
			io.WriteString(conn, "HTTP/1.1 "+status+"\r\nContent-Length: 0\r\n\r\n")
			return
		}
		app, err := net.Dial("tcp", backend)
		if err != nil {
			return
		}
		defer app.Close()
		if req.Method == http.MethodConnect {
			io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n")
		} else {
			req.Header.Set("Connection", "close")
			req.Write(app)
		}
		go func() {
			io.Copy(app, conn)
			app.Close()
		}()
		io.Copy(conn, app)
	}).Addr
}

// throughProxy runs a Caddy with a proxy in its environment and an upstream that only that proxy
// knows. It returns the hints that it logs, the status of a request, and what probe prints there.
func throughProxy(t *testing.T, scheme, proxy string) (hint string, status int, probed string, err error) {
	t.Helper()
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY"} {
		t.Setenv(name, "http://me:secret@"+proxy)
	}
	t.Setenv("NO_PROXY", "")
	c := startChild(t, "proxyos "+scheme+"://app.invalid {\nskip_tls_verify\n}")
	status, _ = c.Get("/")
	output, err := c.CLI("proxyos", "probe", "--timeout", "3s", scheme+"://app.invalid").Output()
	if _, exited := err.(*exec.ExitError); err != nil && !exited {
		t.Fatal(err)
	}
	for _, entry := range c.Logs.Entries("does not answer as it should") {
		hint += entry["hint"].(string) + "\n"
	}
	if logged := c.Logs.String(); strings.Contains(string(output), "secret") || strings.Contains(hint, "secret") {
		t.Errorf("the password of the proxy is shown:\n%s\n%s", output, logged)
	}
	return hint, status, strings.Join(strings.Fields(string(output)), " "), err
}

func TestAProxyOfTheEnvironment(t *testing.T) {
	secure, cleartext := untrusted(t, "secure", ""), plain(t, "plain", "")
	for _, scheme := range []string{"http", "https"} {
		app, variable := cleartext.Addr, "HTTP_PROXY"
		if scheme == "https" {
			app, variable = secure.Addr, "HTTPS_PROXY"
		}
		t.Run(scheme+", a proxy that works", func(t *testing.T) {
			hint, status, probed, _ := throughProxy(t, scheme, openProxy(t, app, ""))
			if status != http.StatusOK || hint != "" {
				t.Errorf("status %d, hint %q", status, hint)
			}
			if !strings.Contains(probed, "("+variable+")") || !strings.Contains(probed, scheme+" ok HTTP/") && !strings.Contains(probed, "plain http ok HTTP/") {
				t.Errorf("probe prints %s", probed)
			}
		})
		t.Run(scheme+", nothing listens", func(t *testing.T) {
			proxy := proxytest.Refused(t)
			hint, status, probed, err := throughProxy(t, scheme, proxy)
			want := "it is reached through the proxy http://" + proxy + " (" + variable + "), and nothing listens there"
			if status != http.StatusBadGateway || !strings.Contains(hint, want) {
				t.Errorf("status %d, hint %q", status, hint)
			}
			if err == nil || !strings.Contains(probed, want) {
				t.Errorf("%v, probe prints %s", err, probed)
			}
		})
		t.Run(scheme+", the proxy forbids it", func(t *testing.T) {
			proxy := openProxy(t, app, "502 Bad Gateway")
			hint, status, probed, err := throughProxy(t, scheme, proxy)
			want := "it is reached through the proxy http://" + proxy + " (" + variable + "), and the proxy fails with "
			if status != http.StatusBadGateway {
				t.Errorf("status %d", status)
			}
			if scheme == "https" && !strings.Contains(hint, want+`"Bad Gateway"`) { // else it is a response
				t.Errorf("hint %q", hint)
			}
			if err == nil || !strings.Contains(probed, want) || !strings.Contains(probed, "502 Bad Gateway") {
				t.Errorf("%v, probe prints %s", err, probed)
			}
		})
	}
}
