package faults

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/proxyos/caddy-proxyos/integration/lab"
	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

// turn is what a client or an upstream does in a talk, and the other one sees.
type turn string

const (
	clientSends    turn = "the client sends"
	clientEnds     turn = "the client ends its body"
	clientLeaves   turn = "the client leaves"
	upstreamHints  turn = "the upstream sends early hints"
	upstreamSends  turn = "the upstream sends"
	upstreamEnds   turn = "the upstream ends its answer"
	upstreamAborts turn = "the upstream breaks off"
)

// talk is one request and its answer, bit by bit. Who acts waits until the other one has seen it, so nothing may wait
// for anything that comes later.
type talk struct {
	turns  []turn
	size   int // of what is sent in a turn
	length int64
	status int
	method string

	arrived  chan struct{}
	upstream chan turn   // what it does next
	heard    chan string // what it has got: "sent", "end", or an error
}

// newTalk returns a random talk.
func newTalk(random *rand.Rand) *talk {
	pick := func(n int) bool { return random.IntN(n) == 0 }
	k := &talk{size: 16, length: -1, status: http.StatusOK, method: http.MethodPost, arrived: make(chan struct{}, 1), upstream: make(chan turn), heard: make(chan string, 100)}
	if pick(4) {
		k.size = 100_000
	}
	if pick(3) {
		k.status = http.StatusUnauthorized
	}
	if pick(4) {
		k.method = http.MethodPut
	}
	sent, ended, answered := 0, false, false
	for range random.IntN(8) {
		mute := ended || answered && k.status > 299 // Go's HTTP/2 client sends no more then
		switch {
		case !answered && pick(6):
			k.turns = append(k.turns, upstreamHints)
		case pick(2):
			k.turns, answered = append(k.turns, upstreamSends), true
		case mute:
		case pick(4):
			k.turns, ended = append(k.turns, clientEnds), true
		default:
			k.turns, sent = append(k.turns, clientSends), sent+1
		}
	}
	if !ended && pick(2) { // a transport may wait for the end of a body that has its length
		k.length = int64(sent*k.size) + 1000
	}
	last := upstreamEnds
	switch {
	case pick(6):
		last = upstreamAborts
	case pick(6):
		last = clientLeaves
	}
	k.turns = append(k.turns, last)
	return k
}

// endsUnanswered tells whether the upstream breaks off before its answer and before the end of the body.
func (k *talk) endsUnanswered() bool {
	return !slices.Contains(k.turns, upstreamSends) && !slices.Contains(k.turns, clientEnds) && slices.Contains(k.turns, upstreamAborts)
}

// String describes the talk.
func (k *talk) String() string {
	words := []string{fmt.Sprintf("%s of length %d, %d bytes at a time, status %d", k.method, k.length, k.size, k.status)}
	for _, turn := range k.turns {
		words = append(words, string(turn))
	}
	return strings.Join(words, "; ")
}

// listen tells what comes from a body, bit by bit.
func (k *talk) listen(body io.Reader, tell func(string)) {
	for {
		part := make([]byte, k.size)
		switch _, err := io.ReadFull(body, part); {
		case err == io.EOF:
			tell("end")
			return
		case err != nil:
			tell(err.Error())
			return
		case strings.Trim(string(part), "x") != "":
			tell("something else")
			return
		}
		tell("sent")
	}
}

// answer is the upstream's part.
func (k *talk) answer(w http.ResponseWriter, r *http.Request) {
	rc := http.NewResponseController(w)
	_ = rc.EnableFullDuplex()
	k.arrived <- struct{}{}
	go k.listen(r.Body, func(what string) { k.heard <- what })
	for begun := false; ; {
		var next turn
		select {
		case next = <-k.upstream:
		case <-r.Context().Done():
			k.heard <- r.Context().Err().Error()
			return
		}
		if next == upstreamAborts {
			if conn, _, err := rc.Hijack(); err == nil { // a server of HTTP/1 would wait for who reads the body
				conn.Close()
			}
			panic(http.ErrAbortHandler)
		}
		if next == upstreamHints {
			w.WriteHeader(http.StatusEarlyHints)
			continue
		}
		if !begun {
			w.WriteHeader(k.status)
			begun = true
		}
		if next == upstreamEnds {
			return
		}
		_, _ = io.WriteString(w, strings.Repeat("x", k.size))
		_ = rc.Flush()
	}
}

// run has a talk through a proxy. It returns an error if a turn was not seen by the other one.
func (k *talk) run(ctx context.Context, client http.RoundTripper, url, id string) error {
	ctx, leave := context.WithTimeout(ctx, time.Minute)
	defer leave()
	body, feed := io.Pipe()
	defer feed.Close()
	req, err := http.NewRequestWithContext(ctx, k.method, url, body)
	if err != nil {
		return err
	}
	req.ContentLength = k.length
	req.Header.Set("X-Talk", id)
	got, status := make(chan string, 100), 0
	go func() {
		res, err := client.RoundTrip(req)
		if err != nil {
			got <- err.Error()
			return
		}
		defer res.Body.Close()
		status = res.StatusCode
		k.listen(res.Body, func(what string) { got <- what })
	}()
	wait := func(what turn, where <-chan string, isSeen func(string) bool) error {
		select {
		case seen := <-where:
			if !isSeen(seen) {
				return fmt.Errorf("%s, and the other one sees: %s", what, seen)
			}
			return nil
		case <-time.After(10 * time.Second):
			return fmt.Errorf("%s, and the other one does not see it", what)
		}
	}
	act := func(what turn) bool {
		select {
		case k.upstream <- what:
			return true
		case <-time.After(10 * time.Second):
			return false
		}
	}
	is := func(want string) func(string) bool { return func(seen string) bool { return seen == want } }
	isError := func(seen string) bool { return seen != "sent" && seen != "end" }
	select {
	case <-k.arrived:
	case <-time.After(10 * time.Second):
		return errors.New("the request does not arrive")
	}
	answered := false
	for _, next := range k.turns {
		err := error(nil)
		switch next {
		case clientSends:
			go func() { _, _ = feed.Write([]byte(strings.Repeat("x", k.size))) }()
			err = wait(next, k.heard, is("sent"))
		case clientEnds:
			feed.Close()
			err = wait(next, k.heard, is("end"))
		case clientLeaves:
			leave()
			feed.CloseWithError(context.Canceled) // for which Go's HTTP/2 client waits
			err = wait(next, k.heard, isError)
		case upstreamHints, upstreamSends, upstreamEnds, upstreamAborts:
			if !act(next) {
				return fmt.Errorf("%s, but is not there any more", next)
			}
			switch {
			case next == upstreamHints: // of which clients do not have to tell
				continue
			case next == upstreamSends:
				err = wait(next, got, is("sent"))
			case next == upstreamEnds:
				err = wait(next, got, is("end"))
			case answered:
				err = wait(next, got, isError)
			default:
				err = wait(next, got, is("end"))                                                          // of an answer of the proxy
				if err == nil && status != http.StatusBadGateway && status != http.StatusRequestTimeout { // where the client is slow
					err = fmt.Errorf("%s, and the client gets %d", next, status)
				}
			}
			if next != upstreamAborts && err == nil && status != k.status {
				err = fmt.Errorf("%s, and the client gets %d", next, status)
			}
			answered = true
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// A call of gRPC, a long upload that is turned down, a stream of events: whoever sends something, the other one has it
// at once, whoever else is waiting for what. Over HTTP/1 a server must be told to allow that.
func TestWhatOneSideSendsTheOtherHasAtOnce(t *testing.T) {
	ca := proxytest.NewAuthority(t)
	var talks sync.Map
	upstreams := map[string]*backend{"plain": plain(t, "plain", ""), "tls": proxytest.SignedBy(t, ca, "TLS", ""), "h2": proxytest.SignedBy(t, ca, "h2", ""), "h2c": proxytest.H2C(t, "h2c", "")}
	var sites strings.Builder
	for name, b := range upstreams {
		b.Answer(func(w http.ResponseWriter, r *http.Request) {
			if k, ok := talks.Load(r.Header.Get("X-Talk")); ok {
				k.(*talk).answer(w, r)
			}
		})
		trusted := "https://" + b.Addr + " {\ntls_trust_pool file " + ca.File + "\n}"
		upstream := map[string]string{"plain": "http://" + b.Addr, "tls": trusted + "\ntransport http {\nversions 1.1\n}", "h2": trusted, "h2c": "h2c://" + b.Addr}[name]
		for _, way := range []string{"on", "off"} {
			fmt.Fprintf(&sites, "handle /%s/%s {\nproxyos {\nfast_path %s\nflush_interval -1\nfail_duration 0\nupstream %s\n}\n}\n", name, way, way, upstream)
		}
	}
	_, addr := http3ServerWith(t, "enable_full_duplex", sites.String())
	random, all := rand.New(rand.NewPCG(1, 2)), clients(t)
	tests := make(map[string]func(*testing.T))
	for i := range lab.Sized(200, 2000, 200) {
		k, version := newTalk(random), random.IntN(3)
		upstream, way := []string{"plain", "tls", "h2", "h2c"}[random.IntN(4)], []string{"on", "off"}[random.IntN(2)]
		if k.endsUnanswered() && !strings.HasPrefix(upstream, "h2") {
			upstream = "h2" // over HTTP/1, whoever waits for the answer waits for who sends the body, as in reverse_proxy
		}
		path := "/" + upstream + "/" + way
		id := fmt.Sprint(i)
		talks.Store(id, k)
		tests[fmt.Sprintf("%d, HTTP %d%s", i, version+1, path)] = func(t *testing.T) {
			if err := k.run(t.Context(), all[version], "https://"+addr+path, id); err != nil {
				t.Errorf("%s\n%v", k, err)
			}
		}
	}
	for some := range slices.Chunk(slices.Sorted(maps.Keys(tests)), 100) {
		together := make(map[string]func(*testing.T))
		for _, name := range some {
			together[name] = tests[name]
		}
		proxytest.Together(t, together)
	}
}
