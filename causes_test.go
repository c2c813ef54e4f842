package proxyos

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/proxyos/caddy-proxyos/internal/diagnose"
	"github.com/proxyos/caddy-proxyos/internal/probe"
	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

// labCase is an upstream that does not answer as it should.
type labCase struct {
	name    string
	start   func(t *testing.T) (address string)
	cause   diagnose.Cause // of the probe's verdict
	hint    string         // a part of what Caddy logs; empty if there is nothing to log
	status  int            // that the client gets for the address as written
	lines   string         // a part of what the probe suggests; empty for no suggestion
	works   bool           // as written
	options string         // of the route
}

// labCases are a case for every known cause.
func labCases(t *testing.T) []labCase {
	private := proxytest.NewAuthority(t)
	hour := time.Hour
	secure := func(by *proxytest.Authority, from, to time.Duration, names ...string) func(*testing.T) string {
		return func(t *testing.T) string {
			listener := proxytest.Listen(t, "")
			address := listener.Addr().String()
			if len(names) == 0 {
				names = []string{address}
			}
			proxytest.Serve(t, listener, proxytest.Serving(by.IssueFor(t, from, to, names...)))
			return "https://" + address
		}
	}
	refusing := func(answer string) func(*testing.T) string {
		return func(t *testing.T) string {
			listener := proxytest.Listen(t, "")
			cert := proxytest.SelfSigned(t, listener.Addr().String())
			proxytest.ServeSniffing(t, listener, proxytest.Serving(cert), answer)
			return listener.Addr().String()
		}
	}
	withConfig := func(scheme string, change func(*tls.Config)) func(*testing.T) string {
		return func(t *testing.T) string {
			listener := proxytest.Listen(t, "")
			config := proxytest.Serving(trustedCA.Issue(t, listener.Addr().String()))
			change(config)
			proxytest.Serve(t, listener, config)
			return scheme + listener.Addr().String()
		}
	}
	raw := func(scheme string, answer func(net.Conn)) func(*testing.T) string {
		return func(t *testing.T) string {
			return scheme + proxytest.NewRawServer(t, answer).Addr
		}
	}
	demand := func(version uint16) func(*tls.Config) {
		return func(config *tls.Config) {
			config.ClientAuth, config.MaxVersion = tls.RequireAnyClientCert, version
		}
	}
	return []labCase{
		{"plain HTTP on a detected port", func(t *testing.T) string {
			listener := proxytest.ListenPort(t, 9090)
			proxytest.Serve(t, listener, nil)
			return listener.Addr().String()
		}, diagnose.PlainHTTP, "it answers in plain HTTP, but Caddy speaks HTTPS to it, since its port is a well-known HTTPS port; write http://127.0.0.", 502, "proxyos http://127.0.0.", false, ""},
		{"TLS on a plain port, a polite refusal by Go", func(t *testing.T) string {
			listener := proxytest.Listen(t, "")
			proxytest.Serve(t, listener, proxytest.Serving(proxytest.SelfSigned(t, listener.Addr().String())))
			return listener.Addr().String()
		}, diagnose.SpeaksTLS, "it wants HTTPS, but Caddy speaks plain HTTP to it, since it has no scheme and no well-known HTTPS port; write https://127.0.0.", 400, "tls_pin", false, ""},
		{"TLS on a plain port, a polite refusal by nginx", refusing(nginxRefusal), diagnose.SpeaksTLS, "it wants HTTPS", 400, "tls_pin", false, ""},
		{"TLS on a plain port, a polite refusal by Apache", refusing(apacheRefusal), diagnose.SpeaksTLS, "it wants HTTPS", 400, "tls_pin", false, ""},
		{"TLS on a plain port, an alert", refusing("\x15\x03\x01\x00\x02\x02\x46"), diagnose.SpeaksTLS, "it wants HTTPS", 502, "tls_pin", false, ""},
		{"TLS on a plain port, no word", refusing(""), diagnose.SpeaksTLS, "it may want HTTPS (then write https://127.0.0.", 502, "tls_pin", false, ""},
		{"self-signed", secure(nil, -hour, hour), diagnose.UnknownAuthority, "its certificate is self-signed; write `tls_pin <sha256>`", 502, "tls_pin", false, ""},
		{"private CA", secure(private, -hour, hour), diagnose.UnknownAuthority, "its certificate is signed by an authority that this machine does not trust; write `tls_trust_pool file <ca.pem>`", 502, "tls_pin", false, ""},
		{"wrong name", secure(trustedCA, -hour, hour, "pve.lan", "pve"), diagnose.WrongName, "its certificate is for pve.lan, pve, not for 127.0.0.", 502, "tls_server_name pve.lan", false, ""},
		{"wrong name and self-signed", secure(nil, -hour, hour, "pve.lan"), diagnose.WrongName, "its certificate is for pve.lan, not for 127.0.0.", 502, "tls_pin", false, ""},
		{"expired", secure(trustedCA, -2*hour, -hour), diagnose.Expired, "its certificate expired on 20", 502, "tls_pin", false, ""},
		{"not yet valid", secure(trustedCA, hour, 2*hour), diagnose.NotYetValid, "its certificate is not valid before 20", 502, "tls_pin", false, ""},
		{"client certificate demanded, TLS 1.3", withConfig("https://", demand(tls.VersionTLS13)), diagnose.ClientCert, "a client certificate", // HTTP/2 may lose the alert that says so
			502, "tls_client_auth", false, ""},
		{"client certificate demanded, TLS 1.2", withConfig("https://", demand(tls.VersionTLS12)), diagnose.ClientCert, "it refuses the TLS handshake; it may demand a client certificate (`tls_client_auth`)", 502, "tls_client_auth", false, ""},
		{"TLS 1.0 only", withConfig("https://", func(config *tls.Config) {
			config.MinVersion, config.MaxVersion = tls.VersionTLS10, tls.VersionTLS10
		}), diagnose.OldTLS, "it speaks only TLS older than 1.2", 502, "", false, ""},
		{"connection reset", raw("", func(conn net.Conn) {
			_, _ = conn.Read(make([]byte, 1))
			_ = conn.(*net.TCPConn).SetLinger(0)
		}), diagnose.Reset, "it resets the connection; it may want HTTPS", 502, "", false, ""},
		{"connection reset, HTTPS", raw("https://", func(conn net.Conn) {
			_, _ = conn.Read(make([]byte, 1))
			_ = conn.(*net.TCPConn).SetLinger(0)
		}), diagnose.Reset, "it resets the connection; it may not speak HTTPS", 502, "", false, ""},
		{"another protocol", raw("https://", func(conn net.Conn) {
			_, _ = io.WriteString(conn, "SSH-2.0-OpenSSH_10.0\r\n")
			_, _ = io.Copy(io.Discard, conn)
		}), diagnose.NotTLS, "what listens there does not speak TLS; check the port", 502, "", false, ""},
		{"nothing listens", func(t *testing.T) string { return proxytest.Refused(t) }, diagnose.Refused, "nothing listens there; check that the service runs", 502, "", false, ""},
		{"black hole", func(t *testing.T) string { return proxytest.BlackHole(t) }, diagnose.ConnectTimeout, "nothing answers there, not even to refuse the connection", 502, "", false, "transport http {\n dial_timeout 300ms\n}"},
		{"accepts and hangs", raw("", proxytest.Hang), diagnose.Timeout,
			"it accepts connections but does not answer in time", 504, "", false, "transport http {\n response_header_timeout 300ms\n}"},
		{"accepts and hangs, HTTPS", raw("https://", proxytest.Hang), diagnose.Timeout,
			"it accepts connections but does not answer in time", 504, "", false, "transport http {\n tls_timeout 300ms\n}\nskip_tls_verify off"},
		{"HTTP/2 cleartext only", func(t *testing.T) string {
			listener := proxytest.Listen(t, "")
			server := &http.Server{Protocols: new(http.Protocols)}
			server.Protocols.SetUnencryptedHTTP2(true)
			proxytest.StartServer(t, listener, server)
			return listener.Addr().String()
		}, diagnose.SpeaksH2C, "it resets the connection; it may want HTTPS", 502, "proxyos h2c://127.0.0.", false, ""},
		{"HTTP/1.1 where h2c is written", func(t *testing.T) string {
			listener := proxytest.Listen(t, "")
			server := &http.Server{Protocols: new(http.Protocols)}
			server.Protocols.SetHTTP1(true)
			proxytest.StartServer(t, listener, server)
			return "h2c://" + listener.Addr().String()
		}, diagnose.SpeaksHTTP1, "not speak HTTP/2 cleartext; write http://127.0.0.", 502, "proxyos http://127.0.0.", false, ""},
		{"HTML without a status line where HTTPS is written", raw("https://", answerInHTML), diagnose.PlainHTTP,
			"it answers in plain HTTP, but Caddy speaks HTTPS to it, since the address says so; write http://127.0.0.", 502, "proxyos http://127.0.0.", false, ""},
		{"HTML without a status line where h2c is written", raw("h2c://", answerInHTML), diagnose.SpeaksHTTP1,
			"Caddy speaks HTTP/2 cleartext to it, since the address says so, but it answers in something else; write http://127.0.0.", 502, "proxyos http://127.0.0.", false, ""},
		{"another protocol where h2c is written", raw("h2c://", func(conn net.Conn) {
			reader := bufio.NewReader(conn)
			if begin, err := reader.Peek(3); err == nil && string(begin) == "PRI" {
				awaitHTTP2Request(reader, 0)
			}
			_, _ = io.WriteString(conn, "SSH-2.0-OpenSSH_10.0\r\n")
			_, _ = io.Copy(io.Discard, conn)
		}), diagnose.NotHTTP2, "or check the port", 502, "", false, ""},
		{"no socket", func(t *testing.T) string {
			return "unix/" + proxytest.SocketPath(t)
		}, diagnose.NoSocket, "there is no socket /", 502, "", false, ""},
		{"no socket, h2c", func(t *testing.T) string {
			return "unix+h2c/" + proxytest.SocketPath(t)
		}, diagnose.NoSocket, "there is no socket /", 502, "", false, ""},
		{"a file where the folder of the socket should be", func(t *testing.T) string {
			path := proxytest.SocketPath(t)
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			return "unix/" + path + "/app.sock"
		}, diagnose.NoSocket, "there is no socket /", 502, "", false, ""},
		{"a socket that is left over", func(t *testing.T) string {
			path := proxytest.SocketPath(t)
			listener, err := net.Listen("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			listener.(*net.UnixListener).SetUnlinkOnClose(false)
			_ = listener.Close()
			return "unix/" + path
		}, diagnose.Refused, "nothing listens on the socket /", 502, "", false, ""},
		{"an empty placeholder", func(t *testing.T) string {
			port := proxytest.PortOf(t, proxytest.Refused(t))
			t.Setenv("APP_HOST", "") // to have it as it was after the test
			if err := os.Unsetenv("APP_HOST"); err != nil {
				t.Fatal(err)
			}
			return "{env.APP_HOST}:" + port
		}, diagnose.EmptyPlaceholder, "APP_HOST is not set, so {env.APP_HOST}:", 502, "", false, ""},
		{"redirects plain HTTP to HTTPS", func(t *testing.T) string {
			listener := proxytest.Listen(t, "")
			cert := proxytest.SelfSigned(t, listener.Addr().String())
			proxytest.ServeSniffing(t, listener, proxytest.Serving(cert),
				"HTTP/1.1 301 Moved Permanently\r\nLocation: https://"+listener.Addr().String()+"/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
			return listener.Addr().String()
		}, diagnose.RedirectLoop, "", 301, "tls_pin", false, ""},
		{"as it should be: plain", func(t *testing.T) string {
			listener := proxytest.Listen(t, "")
			proxytest.Serve(t, listener, nil)
			return listener.Addr().String()
		}, diagnose.Unknown, "", 200, "proxyos 127.0.0.", true, ""},
		{"as it should be: verified", secure(trustedCA, -hour, hour), diagnose.Unknown, "", 200, "proxyos https://127.0.0.", true, ""},
		{"as it should be: self-signed on a detected port", func(t *testing.T) string {
			listener := proxytest.ListenPort(t, 8006)
			proxytest.Serve(t, listener, proxytest.Serving(proxytest.SelfSigned(t, listener.Addr().String())))
			return listener.Addr().String()
		}, diagnose.Unknown, "", 200, "tls_pin", true, ""},
		{"as it should be: verified on a detected port", func(t *testing.T) string {
			listener := proxytest.ListenPort(t, 8443)
			proxytest.Serve(t, listener, proxytest.Serving(trustedCA.Issue(t, listener.Addr().String())))
			return listener.Addr().String()
		}, diagnose.Unknown, "", 200, "skip_tls_verify off", true, ""},
	}
}

// answerInHTML answers HTTP/1.1 requests, and anything else with a page without a status line, as
// Python's http.server does.
func answerInHTML(conn net.Conn) {
	reader := bufio.NewReader(conn)
	line, err := reader.ReadString('\n')
	switch {
	case err != nil:
	case strings.HasSuffix(line, " HTTP/1.1\r\n"):
		_, _ = fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(proxytest.Greeting), proxytest.Greeting)
	default:
		if strings.HasSuffix(line, " HTTP/2.0\r\n") {
			awaitHTTP2Request(reader, len(line))
		}
		_, _ = io.WriteString(conn, "<!DOCTYPE HTML>\n<html lang=\"en\">\n    <head>\n        <title>Error response</title>\n    </head>\n</html>\n")
	}
}

// awaitHTTP2Request reads until a client has sent the header of a request. Some bytes of the
// client's preface have been read already. An answer before that causes another error.
func awaitHTTP2Request(r io.Reader, read int) {
	_, err := io.CopyN(io.Discard, r, int64(len(http2.ClientPreface)-read))
	for framer := http2.NewFramer(io.Discard, r); err == nil; {
		var frame http2.Frame
		if frame, err = framer.ReadFrame(); err == nil && frame.Header().Type == http2.FrameHeaders {
			return
		}
	}
}

func TestEveryCauseIsFound(t *testing.T) {
	for _, c := range labCases(t) {
		t.Run(c.name, func(t *testing.T) {
			written := c.start(t)
			timeout := probeTimeout
			if c.cause == diagnose.ConnectTimeout || c.cause == diagnose.Timeout {
				timeout /= 4 // it is waited for in full
			}
			report := probeOnce(t, written, timeout)
			if report.Works != c.works || report.Cause != c.cause {
				t.Errorf("the probe says works=%v cause=%q, want %v %q: %s", report.Works, report.Cause, c.works, c.cause, report.Verdict)
			}
			if !strings.Contains(report.Caddyfile, c.lines) || (c.lines == "") != (report.Caddyfile == "") {
				t.Errorf("the probe suggests %q, want %q in it", report.Caddyfile, c.lines)
			}

			caddy := runCaddy(t, "proxyos "+written+" {\n"+c.options+"\n}")
			status, body := caddy.Get("/")
			if status != c.status {
				t.Errorf("status %d as written, want %d", status, c.status)
			}
			if (status == 200 && body == proxytest.Greeting) != c.works {
				t.Errorf("the probe says works=%v, and the request gets status %d and %q", c.works, status, body)
			}
			if strings.Contains(body, "hint") || status > 500 && body != "" {
				t.Errorf("the client sees internals: %q", body)
			}
			t.Log(caddy.Logs)
			if hints := caddy.hints(); !strings.Contains(hints, c.hint) || c.works && hints != "" {
				t.Errorf("logged hints %q, want %q", hints, c.hint)
			}

			if report.Caddyfile == "" {
				return
			}
			lines := report.Caddyfile
			if strings.Contains(lines, "<cert_file>") {
				certFile, keyFile := proxytest.WriteCertificate(t, proxytest.SelfSigned(t, "client"))
				lines = strings.NewReplacer("<cert_file>", certFile, "<key_file>", keyFile).Replace(lines)
			}
			caddy.reload(lines)
			if status, body := caddy.Get("/"); status != 200 || body != proxytest.Greeting {
				t.Errorf("with the suggested lines the request gets status %d and %q; the log says %s\n%s", status, body, caddy.hints(), lines)
			}
		})
	}
}

// probeTimeout is long enough for whatever answers at all.
const probeTimeout = 2 * time.Second

// probeOnce probes an address, and checks that what it prints fits into 80 columns.
func probeOnce(t *testing.T, written string, timeout time.Duration) probeReport {
	t.Helper()
	backends, err := resolve([]Upstream{{Address: written}}, nil, defaultOptions())
	if err != nil {
		t.Fatal(err)
	}
	var output bytes.Buffer
	report := probeBackend(context.Background(), backends[0], &probe.Prober{Timeout: timeout}, &output)
	for line := range strings.Lines(output.String()) {
		if width := len([]rune(strings.TrimRight(line, "\n"))); width > lineWidth && !strings.Contains(line, "tls_pin") {
			t.Errorf("%d columns: %s", width, line)
		}
	}
	t.Log("\n" + output.String())
	return report
}

// polite is a response with status 400.
func polite(body string) string {
	return fmt.Sprintf("HTTP/1.1 400 Bad Request\r\nContent-Type: text/html\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(body), body)
}

// What servers say to plain HTTP on their HTTPS ports.
var (
	nginxRefusal = polite("<html>\r\n<head><title>400 The plain HTTP request was sent to HTTPS port</title></head>\r\n<body>\r\n" +
		"<center><h1>400 Bad Request</h1></center>\r\n<center>The plain HTTP request was sent to HTTPS port</center>\r\n" +
		"<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n" + strings.Repeat("<!-- a padding to disable MSIE and Chrome friendly error page -->\r\n", 6))
	apacheRefusal = polite("<!DOCTYPE HTML PUBLIC \"-//IETF//DTD HTML 2.0//EN\">\n<html><head>\n<title>400 Bad Request</title>\n</head><body>\n" +
		"<h1>Bad Request</h1>\n<p>Your browser sent a request that this server could not understand.<br />\n" +
		"Reason: You're speaking plain HTTP to an SSL-enabled server port.<br />\n Instead use the HTTPS scheme to access this URL, please.<br />\n</p>\n</body></html>\n")
)
