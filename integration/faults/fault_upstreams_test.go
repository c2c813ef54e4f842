package faults

import (
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

// damage is what a fault does to the requests that meet it.
type damage int

const (
	harmless    damage = iota // they are served, if late
	undelivered               // they have reached nobody, so that any of them can be sent again
	unanswered                // they may have been acted upon, so that only a GET is sent again
	cutShort                  // their answers have begun, so that none is sent again
)

// fault is a way in which an upstream fails.
type fault struct {
	name      string // as in docs/faults.md
	damage    damage
	status    int                     // of requests that fail
	transport string                  // what the route's transport says
	slow      bool                    // takes long, and so gets fewer requests
	upstream  func(testing.TB) string // starts one and returns its address; nil: one that answers
	answer    proxytest.Script        // deals with a request whose body is read; then the connection is closed
}

const (
	headerTimeout = "response_header_timeout 500ms"
	readTimeout   = "read_timeout 500ms"
	maxHeader     = "max_response_header 4KB"
)

var allFaults = []fault{
	{
		name: "refuses connections", damage: undelivered, status: http.StatusBadGateway,
		upstream: proxytest.Refused,
	}, {
		name: "shows an untrusted certificate", damage: undelivered, status: http.StatusBadGateway,
		upstream: func(t testing.TB) string { return "https://" + untrusted(t, "untrusted", "").Addr },
	}, {
		name: "speaks HTTP, not HTTPS", damage: undelivered, status: http.StatusBadGateway,
		upstream: func(t testing.TB) string { return "https://" + plain(t, "plain", "").Addr },
	}, {
		// the request cannot be told from one that was sent
		name: "breaks the TLS handshake off", damage: unanswered, status: http.StatusBadGateway,
		upstream: func(t testing.TB) string {
			return "https://" + proxytest.NewRawServer(t, func(conn net.Conn) { conn.Read(make([]byte, 4096)) }).Addr
		},
	}, {
		name: "never answers", damage: unanswered, status: http.StatusGatewayTimeout, transport: headerTimeout, slow: true,
		answer: (*proxytest.Exchange).Hang,
	}, {
		name: "sends the header too slowly", damage: unanswered, status: http.StatusGatewayTimeout, transport: headerTimeout, slow: true,
		answer: func(x *proxytest.Exchange) {
			dribble(x, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad", 180*time.Millisecond)
		},
	}, {
		name: "closes its side without an answer", damage: unanswered, status: http.StatusBadGateway,
		answer: func(x *proxytest.Exchange) {
			x.CloseWrite()
		},
	}, {
		name: "answers with garbage", damage: unanswered, status: http.StatusBadGateway,
		answer: func(x *proxytest.Exchange) { x.Send("220 mail.example ESMTP\r\n\x00\xff\xfe\r\n\r\n") },
	}, {
		name: "sends too large a header", damage: unanswered, status: http.StatusBadGateway, transport: maxHeader,
		answer: func(x *proxytest.Exchange) {
			x.Send("HTTP/1.1 200 OK\r\nX-Large: " + strings.Repeat("x", 64<<10) + "\r\nContent-Length: 3\r\n\r\nbad")
		},
	}, {
		name: "resets the connection within the body", damage: cutShort,
		answer: func(x *proxytest.Exchange) {
			x.Send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nthe beginning")
			time.Sleep(20 * time.Millisecond) // for the header to be read: what is reset may be lost
			x.Reset()
		},
	}, {
		name: "closes its side within the body", damage: cutShort,
		answer: func(x *proxytest.Exchange) {
			x.Send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
			x.CloseWrite()
		},
	}, {
		name: "stalls within the body", damage: cutShort, transport: readTimeout, slow: true,
		answer: func(x *proxytest.Exchange) {
			x.Send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nthe beginning")
			x.Hang()
		},
	}, {
		name: "sends the header slowly", damage: harmless, slow: true,
		answer: func(x *proxytest.Exchange) {
			dribble(x, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbad", 25*time.Millisecond)
		},
	}, {
		// neither timeout is for a body as a whole
		name: "sends the body slowly", damage: harmless, transport: headerTimeout + "\n" + readTimeout, slow: true,
		answer: func(x *proxytest.Exchange) {
			x.Send("HTTP/1.1 200 OK\r\nContent-Length: 400\r\nConnection: close\r\n\r\n")
			dribble(x, strings.Repeat("slow", 100), 140*time.Millisecond)
		},
	},
}

// start starts an upstream with the fault and returns its address.
func (f fault) start(t testing.TB) string {
	t.Helper()
	if f.upstream != nil {
		return f.upstream(t)
	}
	return proxytest.NewScripted(t, func(x *proxytest.Exchange) {
		x.ReadBody()
		f.answer(x)
		x.Close()
	}).Addr
}

// dribble sends a text in four pieces, with a pause before each.
func dribble(x *proxytest.Exchange, text string, pause time.Duration) {
	for piece := range 4 {
		time.Sleep(pause)
		x.Send(text[piece*len(text)/4 : (piece+1)*len(text)/4])
	}
}
