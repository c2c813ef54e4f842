package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// warmUp is how long a proxy is under load before each measurement, so that it has connections to
// the upstreams again.
const warmUp = time.Second

// payload is a kind of request, answer, route and upstream.
type payload struct {
	name  string
	title string
	path  string
	body  int // of each request, in bytes; with one, the request is a POST
	tls   bool
	duty  duty
}

// duty is what a route has to do beside passing requests on.
type duty string

const (
	none        duty = ""
	extraFields duty = "headers"
	// what only reverse_proxy can do, and costs it nothing
	onlyStock duty = "lane"
)

// options are those of the directive of a Caddy, the same in proxyos and reverse_proxy.
func (d duty) options() []string {
	switch d {
	case extraFields:
		return []string{"header_up X-Real-IP {remote_host}", "header_up -Cookie", "header_down X-Frame-Options DENY", "header_down -Server"}
	case onlyStock:
		return []string{"unhealthy_latency 1m"}
	}
	return nil
}

var payloads = []payload{
	{name: "small", title: "small answers", path: "/"},
	{name: "large", title: "100 KiB answers", path: "/large"},
	{name: "tls", title: "small answers from TLS upstreams", path: "/", tls: true},
	{name: "headers", title: "small answers, header fields changed both ways", path: "/", duty: extraFields},
	{name: "lane", title: "small answers, a route off the short way", path: "/", duty: onlyStock},
	{name: "post", title: "POST of 1 KiB", path: "/", body: 1 << 10},
	{name: "upload", title: "POST of 1 MiB", path: "/", body: 1 << 20},
}

func payloadNames() []string {
	var names []string
	for _, p := range payloads {
		names = append(names, p.name)
	}
	return names
}

// sample is one measurement of one proxy.
type sample struct {
	load
	cpu    time.Duration // of the proxy's processes, during the measurement
	memory float64       // MiB; each measurement decides which kind of memory
	files  int
}

func (s sample) rate() float64       { return float64(s.Requests) / (float64(s.Duration) / 1e6) }
func (s sample) p50() float64        { return float64(s.P50) / 1000 }
func (s sample) p99() float64        { return float64(s.P99) / 1000 }
func (s sample) cpuMicros() float64  { return float64(s.cpu.Nanoseconds()) / 1000 / float64(s.Requests) }
func (s sample) memoryMiB() float64  { return s.memory }
func (s sample) errorCount() float64 { return float64(s.Errors) }

// conditions are those of one case.
type conditions struct {
	payload payload
	conns   int
	rate    int // of requests per second; 0: as many as the connections can have
}

// series has the rounds of one proxy in one case.
type series struct {
	conditions
	proxy   string
	samples []sample
}

// field has the proxies that run side by side in one case.
type field struct {
	conditions
	lab     *lab
	opts    options
	runners []*runner
}

// runner is one proxy of a field.
type runner struct {
	contender
	site   site
	pids   []int
	series series
}

// measureField measures some proxies in one case, their rounds interleaved.
func measureField(ctx context.Context, l *lab, opts options, c conditions, proxies []contender, look func(*runner, *sample) error) ([]series, error) {
	defer l.stopAll()
	f := field{conditions: c, lab: l, opts: opts}
	if err := f.start(ctx, proxies); err != nil {
		return nil, err
	}
	for round := range opts.rounds {
		for i := range f.runners {
			r := f.runners[(i+round)%len(f.runners)] // no proxy always follows the same one
			if _, err := f.generate(ctx, r, warmUp); err != nil {
				return nil, fmt.Errorf("warming up %s: %w", r.name, err)
			}
			one, err := f.measure(ctx, r, round)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", r.name, err)
			}
			if err := look(r, &one); err != nil {
				return nil, err
			}
			r.series.samples = append(r.series.samples, one)
			progress("%s, %d connections, round %d: %-23s %7.0f req/s  p50 %7.2f ms  p99 %7.2f ms  %6.1f µs CPU  %4.0f MiB  %d errors",
				c.payload.title, c.conns, round+1, r.name, one.rate(), one.p50(), one.p99(), one.cpuMicros(), one.memory, one.Errors)
		}
	}
	var all []series
	for _, r := range f.runners {
		all = append(all, r.series)
	}
	return all, nil
}

// start runs the backends and the proxies.
func (f *field) start(ctx context.Context, proxies []contender) error {
	addresses, err := freeAddresses(2 + 2*len(proxies))
	if err != nil {
		return err
	}
	var flags []string
	if f.payload.tls {
		flags = []string{"-tls"}
	}
	for i, group := range []string{production, staging} {
		if _, err := f.lab.startBackend(ctx, addresses[i], group, flags...); err != nil {
			return err
		}
	}
	for i, c := range proxies {
		s := site{
			Production: addresses[0], Staging: addresses[1], TLS: f.payload.tls, Weights: [2]int{9, 1},
			Headers: f.payload.duty == extraFields, Options: f.payload.duty.options(),
			Listen: addresses[2+2*i], Admin: addresses[3+2*i],
		}
		p, err := c.run(ctx, f.lab, s)
		if err != nil {
			return err
		}
		f.runners = append(f.runners, &runner{
			contender: c, site: s, pids: family(p.pid()),
			series: series{conditions: f.conditions, proxy: c.name},
		})
	}
	for _, r := range f.runners { // more workers may have started since
		r.pids = family(r.pids[0])
	}
	return nil
}

func (f *field) url(r *runner) string { return "http://" + r.site.Listen + f.payload.path }

// generate puts a proxy under the load of the case.
func (f *field) generate(ctx context.Context, r *runner, d time.Duration) (load, error) {
	if f.rate > 0 {
		return sendAtRate(ctx, r.site.Listen, f.payload, f.conns, f.rate, d)
	}
	return generateLoad(ctx, f.lab, f.url(r), f.payload, f.conns, d)
}

func (f *field) measure(ctx context.Context, r *runner, round int) (sample, error) {
	var one sample
	before, err := cpuTime(r.pids)
	if err != nil {
		return one, err
	}
	profiled := f.profile(ctx, r, round)
	if one.load, err = f.generate(ctx, r, f.opts.duration); err != nil {
		return one, err
	}
	after, err := cpuTime(r.pids)
	if err != nil {
		return one, err
	}
	one.cpu = after - before
	memory, err := residentMemory(r.pids)
	if err != nil {
		return one, err
	}
	one.memory = float64(memory) / (1 << 20)
	return one, <-profiled
}

// profile takes a CPU profile of a Caddy process under load, if -profiles is given.
func (f *field) profile(ctx context.Context, r *runner, round int) <-chan error {
	done := make(chan error, 1)
	if f.opts.profiles == "" || !r.isCaddy() {
		done <- nil
		return done
	}
	name := fmt.Sprintf("%s-%s-%d-%d.prof", strings.Map(fileName, r.name), f.payload.name, f.conns, round+1)
	go func() {
		seconds := max(1, int(f.opts.duration/time.Second)-1)
		profile, err := caddyAdmin(r.site.Admin).cpuProfile(ctx, seconds)
		if err == nil {
			err = os.MkdirAll(f.opts.profiles, 0o755)
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(f.opts.profiles, name), profile, 0o644)
		}
		done <- err
	}()
	return done
}

// measureThroughput measures all proxies in all cases.
func measureThroughput(ctx context.Context, l *lab, opts options) error {
	proxies, err := chosenContenders(opts.only)
	if err != nil {
		return err
	}
	chosen, err := chosenPayloads(opts.payloads)
	if err != nil {
		return err
	}
	var all []series
	for _, p := range chosen {
		for _, conns := range opts.conns {
			field, err := measureField(ctx, l, opts, conditions{payload: p, conns: conns}, able(proxies, p), lookAtNothing)
			if err != nil {
				return err
			}
			all = append(all, field...)
		}
	}
	text := throughputReport(all, proxies, opts)
	to := pageOf(opts.page)
	if opts.out == "-" {
		return to.write(opts.out, text)
	}
	picture := to.name + ".svg"
	text = fmt.Sprintf("![CPU per request and requests per second of each proxy](%s)\n\n", picture) + text
	if err := to.write(opts.out, text); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(opts.out, picture), []byte(drawThroughput(all, proxies)), 0o644)
}

func lookAtNothing(*runner, *sample) error { return nil }

// able returns the proxies that can be configured for a payload.
func able(proxies []contender, p payload) []contender {
	if p.duty != onlyStock {
		return proxies
	}
	return slices.DeleteFunc(slices.Clone(proxies), func(c contender) bool { return !c.isCaddy() })
}

func chosenPayloads(names []string) ([]payload, error) {
	if len(names) == 0 {
		return payloads, nil
	}
	var chosen []payload
	for _, name := range names {
		i := slices.Index(payloadNames(), name)
		if i < 0 {
			return nil, fmt.Errorf("there is no payload %q; name one of %s", name, strings.Join(payloadNames(), ", "))
		}
		chosen = append(chosen, payloads[i])
	}
	return chosen, nil
}
