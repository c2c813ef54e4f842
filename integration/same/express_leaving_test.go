package same

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quic-go/quic-go/http3"

	"github.com/proxyos/caddy-proxyos/integration/lab"
	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

// marking answers with the mark of each request, in many ways, and sometimes not to the end.
func marking(w http.ResponseWriter, r *http.Request) {
	mark := r.URL.Query().Get("mark")
	w.Header().Set("X-Mark", mark)
	switch rand.IntN(6) {
	case 0:
		w.Header().Set("Link", mark)
		w.WriteHeader(http.StatusEarlyHints)
	case 1:
		w.Header().Set("Trailer", "X-Sum")
		defer w.Header().Set("X-Sum", mark)
	case 2:
		panic(http.ErrAbortHandler)
	case 3:
		w.Header().Set("Content-Type", "text/event-stream")
		for range 10 {
			_, _ = io.WriteString(w, mark)
			_ = http.NewResponseController(w).Flush()
		}
		return
	case 4:
		_, _ = io.WriteString(w, strings.Repeat(mark, 20_000))
		panic(http.ErrAbortHandler)
	}
	_, _ = io.WriteString(w, strings.Repeat(mark, rand.IntN(2000)))
}

// Clients leave at any moment, over HTTP/2 and HTTP/3, and upstreams break off: nobody gets
// another's answer, all counts return to 0, and there is no race.
func TestClientsThatLeaveGetNobodyElsesAnswer(t *testing.T) {
	for _, fastPath := range []string{"on", "off"} {
		t.Run("fast_path "+fastPath, func(t *testing.T) { clientsThatLeave(t, fastPath) })
	}
}

func clientsThatLeave(t *testing.T, fastPath string) {
	const clients = 12
	howLong := time.Duration(lab.Sized(1500, 3000, 3000)) * time.Millisecond
	plain, secure := plain(t, "plain", ""), untrusted(t, "secure", "")
	plain.Answer(marking)
	secure.Answer(marking)
	s := newServer(t)
	// At the level DEBUG, Caddy copies its TLS app for the event of each handshake, which the race
	// detector takes for a race with the app's start: it cannot see that a QUIC packet came later.
	s.MustLoad(fmt.Sprintf(`{
		metrics
		skip_install_trust
		log {
			level INFO
		}
		proxyos {
			fast_path %s
		}
	}
	https://localhost:%s {
		bind 127.0.0.1
		tls internal
		log
		log_append latency {rp.upstream.latency}
		handle /a* {
			proxyos %s {
				name a
				header_down X-Latency {rp.upstream.latency_ms}
			}
		}
		handle {
			proxyos https://%s %s {
				name b
				skip_tls_verify
			}
		}
		handle_errors {
			proxyos %s
		}
	}`, fastPath, proxytest.PortOf(t, s.Addr), plain.Addr, secure.Addr, plain.Addr, plain.Addr))
	config := &tls.Config{InsecureSkipVerify: true, ServerName: "localhost"}
	h2 := &http.Transport{TLSClientConfig: config.Clone(), ForceAttemptHTTP2: true, DisableCompression: true}
	defer h2.CloseIdleConnections()
	h3 := &http3.Transport{TLSClientConfig: config.Clone(), DisableCompression: true}
	defer h3.Close()
	ctx, cancel := context.WithTimeout(t.Context(), howLong)
	defer cancel()
	var answers atomic.Int64
	ask := func(client http.RoundTripper, mark string) {
		ctx, leave := context.WithCancel(ctx)
		defer leave()
		if rand.IntN(2) == 0 {
			time.AfterFunc(time.Duration(rand.IntN(4000))*time.Microsecond, leave)
		}
		path := []string{"/a", "/b"}[rand.IntN(2)]
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://localhost:"+proxytest.PortOf(t, s.Addr)+path+"?mark="+mark, nil)
		if err != nil {
			t.Error(err)
			return
		}
		response, err := client.RoundTrip(request)
		if err != nil {
			return
		}
		defer response.Body.Close()
		text, _ := io.ReadAll(response.Body)               // as far as it came
		rest := strings.ReplaceAll(string(text), mark, "") // where it broke off
		if got := response.Header.Get("X-Mark"); response.StatusCode == http.StatusOK && (got != mark || !strings.HasPrefix(mark, rest)) {
			t.Errorf("the answer to %s is marked %q, and has %.40q besides", mark, got, rest)
		}
		answers.Add(1)
	}
	var all sync.WaitGroup
	for n := range clients {
		all.Go(func() {
			client := http.RoundTripper(h2)
			if n%3 == 0 {
				client = h3
			}
			for i := 0; ctx.Err() == nil; i++ {
				ask(client, fmt.Sprintf("m%d.%d,", n, i))
			}
		})
	}
	all.Wait()
	if isShort := waysOf(s, "a").Short > 0; answers.Load() < clients || isShort != (fastPath == "on") {
		t.Errorf("there were %d answers, the ways are %+v", answers.Load(), waysOf(s, "a"))
	}
	for _, name := range []string{"a", "b"} {
		eventually(t, "nothing is in flight on "+name, func() bool { return s.Named(name).Groups[0].InFlight == 0 })
	}
}
