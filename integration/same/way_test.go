package same

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go/http3"

	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

// sameWay is one of the ways that a configuration is run in: reverse_proxy ("stock"), proxyos
// with its fast path off ("slow"), and on ("fast"). Each has listeners and upstreams of its own.
type sameWay struct {
	kind     string
	label    string // in the names of its route, servers and loggers
	addr     string
	tlsAddr  string
	config   *sameConfig
	backends []*sameBackend
	log      *sameLog
	rare     []string // the lines that were logged so far of those that are logged once a minute at most
	h2       *http.Transport
	h3       *http3.Transport
	counts   map[string]float64 // the numbers in the status, as they were
	names    *strings.Replacer  // of what differs between ways for no other reason than that they are several
}

// newSameWay starts the upstreams of a way.
func newSameWay(t testing.TB, kind, run string, c *sameConfig, certificate tls.Certificate) *sameWay {
	t.Helper()
	w := &sameWay{kind: kind, label: run + "-" + kind, config: c, addr: freeAddr(t), tlsAddr: freeAddr(t)}
	inAltSvc := ":" + proxytest.PortOf(t, w.tlsAddr)
	names := []string{w.label + "-tls", "LABEL-tls", w.label, "LABEL", w.addr, "SERVER", w.tlsAddr, "SERVER-TLS",
		inAltSvc + `"`, `:PORT-TLS"`, inAltSvc + `\"`, `:PORT-TLS\"`}
	w.log = &sameLog{marks: []string{w.label}}
	for i, kind := range append(slices.Clone(c.upstreams), c.staging...) {
		b := newSameBackend(t, kind, certificate)
		w.backends = append(w.backends, b)
		w.log.marks = append(w.log.marks, b.addr)
		names = append(names, b.addr, fmt.Sprintf("UPSTREAM%d", i))
	}
	w.names = strings.NewReplacer(names...)
	client := &tls.Config{InsecureSkipVerify: true, ServerName: sameName}
	w.h2 = &http.Transport{TLSClientConfig: client, DisableCompression: true, Protocols: new(http.Protocols)}
	w.h2.Protocols.SetHTTP2(true)
	w.h3 = &http3.Transport{TLSClientConfig: client.Clone(), DisableCompression: true}
	sameReaders.Store(w.log, w.log)
	t.Cleanup(func() {
		sameReaders.Delete(w.log)
		w.h2.CloseIdleConnections()
		_ = w.h3.Close()
	})
	return w
}

// try sends a request, which the upstreams answer, and returns all that can be seen of it.
func (w *sameWay) try(s *server, r *sameRequest, a *sameAnswer) *sameSeen {
	w.log.forget()
	for _, b := range w.backends {
		b.follow(a)
	}
	seen := newSameSeen(w)
	seen.add("client", w.send(r)...)
	seen.addEntries("access log", w.log.await("http.log.access", r.logPatience(seen.sections["client"])))
	seen.addEntries("error log", w.log.of("http.log.error"))
	if r.cut > 0 {
		time.Sleep(30 * time.Millisecond) // what the client left behind may be on its way
	}
	for i, b := range w.backends {
		seen.add(fmt.Sprintf("upstream %d", i), b.received()...)
	}
	if a.ending == "reset" {
		seen.forgetSizes()
	}
	if a.isNone() && r.mayRepeat() {
		seen.forgetAttempts()
	}
	if a.early || r.cut > 0 {
		seen.forgetBodies()
	}
	if r.expects {
		seen.forgetRepeats()
	}
	if a.framing != "length" {
		seen.forgetFraming()
	}
	// of an answer without a length, reverse_proxy flushes the header at once, unless a piece is as soon
	if a.framing != "length" || a.cut > 0 || seen.isBrokenOff() || w.config.says("flush_interval") || slices.Contains(w.config.options, "header_down -Content-Type") {
		seen.forgetGuess()
	}
	if w.kind != "stock" {
		told, rare := w.log.told()
		seen.addEntries("handler's log", told)
		seen.addWholeEntries(rareSection, rare)
		seen.add("status", w.counted(s)...)
		if a.early {
			seen.forgetEndings("handler's log", endings)
			seen.forgetEndings(rareSection, endings)
		}
		seen.forgetEndings(rareSection, faults)
	}
	if w.config.shuffled {
		seen.forgetOrder()
	}
	w.rare = append(w.rare, seen.sections[rareSection]...)
	return seen
}

// logPatience is how long to wait for a request to be in the access log.
func (r *sameRequest) logPatience(client []string) time.Duration {
	if r.isFromServer(client) {
		return 10 * time.Millisecond
	}
	return 2 * time.Second
}

// send sends a request over the client's protocol.
func (w *sameWay) send(r *sameRequest) []string {
	settled := func(seen []string) { w.log.await("http.log.access", r.logPatience(seen)) }
	switch {
	case r.proto == "2":
		return sendWith(w.h2, w.tlsAddr, r)
	case r.proto == "3":
		return sendWith(w.h3, w.tlsAddr, r)
	case r.tls:
		return sendRaw(w.tlsAddr, r, settled)
	}
	return sendRaw(w.addr, r, settled)
}

// metricTimes are metrics that differ at every run.
var metricTimes = regexp.MustCompile(`_seconds_sum|_bucket|upstreams_healthy|process_|go_`)

// metrics are the lines of the metrics that are about this way.
func (w *sameWay) metrics(page string) (lines []string) {
	for line := range strings.Lines(page) {
		if !strings.Contains(line, w.label) || metricTimes.MatchString(line) {
			continue
		}
		lines = append(lines, w.names.Replace(strings.TrimSpace(line)))
	}
	slices.Sort(lines)
	return lines
}

// sameRun is a configuration in all ways.
type sameRun struct {
	config   *sameConfig
	ways     []*sameWay
	label    string
	isSteady bool // nothing differed, not even by chance

	judgedAfter []int // tries of the second look
}

// newSameRun starts the upstreams for a configuration.
func newSameRun(t testing.TB, number int, c *sameConfig, certificate tls.Certificate) *sameRun {
	t.Helper()
	run := &sameRun{config: c, label: fmt.Sprintf("run%04d", number), judgedAfter: judgedAfter}
	for _, kind := range []string{"stock", "slow", "fast"} {
		if kind == "stock" && c.alone {
			continue
		}
		run.ways = append(run.ways, newSameWay(t, kind, run.label, c, certificate))
	}
	return run
}

// newSameRuns starts a Caddy with all the configurations.
func newSameRuns(t testing.TB, configs ...*sameConfig) (*server, []*sameRun) {
	t.Helper()
	certificate := proxytest.SelfSigned(t, sameName, "127.0.0.1")
	var runs []*sameRun
	for i, c := range configs {
		runs = append(runs, newSameRun(t, i, c, certificate))
	}
	return loadSame(t, runs), runs
}
