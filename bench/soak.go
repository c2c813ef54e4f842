package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"time"
)

// soakSplits are the shares of staging in percent, one for each cycle.
var soakSplits = []float64{10, 25, 1, 50, 33.3, 0, 90, 100, 12.5}

const (
	soakFailDuration = 2 * time.Second // how long a failed upstream is avoided
	soakKeepAlive    = 5 * time.Second // how long idle upstream connections are kept
	soakRoute        = "soak"
)

// soakUpstream is a backend that can be killed and started again.
type soakUpstream struct {
	address, group string
	tls            bool
	process        *process
}

// soak is a proxy under mixed traffic while its surroundings change.
type soak struct {
	lab       *lab
	opts      options
	upstreams []*soakUpstream
	proxy     *process
	listen    string
	admin     caddyAdmin
	ledger    *ledger
	traffic   *traffic

	split     float64 // in force
	written   float64 // in the configuration
	reloads   int
	kills     int
	windows   []window
	readings  []reading
	base, end reading
}

// window is a time with one share. All its requests began and ended in it.
type window struct {
	what               string
	split              float64
	production, staged int
	unknown            int // answered by neither group
}

// deviation is how many requests too many or too few staging has had.
func (w window) deviation() float64 {
	return math.Abs(float64(w.staged) - w.split/100*float64(w.requests()))
}

func (w window) requests() int { return w.production + w.staged + w.unknown }

// allowed is how large the deviation may be: half a request for each end of the window, none at
// 0 % and 100 %, and one for each request that neither group answered.
func (w window) allowed() float64 {
	if w.split == 0 || w.split == 100 {
		return float64(w.unknown)
	}
	return 1 + float64(w.unknown)
}

// strayed tells whether staging has not had its share, or there were no requests.
func (w window) strayed() bool { return w.requests() == 0 || w.deviation() > w.allowed() }

// reading is what the proxy holds while no request is in flight.
type reading struct {
	at        time.Time
	footprint footprint
	resident  float64 // MiB
	files     int
}

func (r reading) heapMiB() float64     { return float64(r.footprint.heap) / (1 << 20) }
func (r reading) residentMiB() float64 { return r.resident }

// runSoak runs cycles of changes and failures under traffic until the time is up.
func runSoak(ctx context.Context, l *lab, opts options) error {
	s := &soak{lab: l, opts: opts, ledger: newLedger(), split: soakSplits[0], written: soakSplits[0]}
	if err := s.start(ctx); err != nil {
		return err
	}
	started := time.Now()
	s.traffic = startTraffic(ctx, s.listen, newLedger())
	err := s.sleep(ctx, 3*time.Second)
	s.traffic.end() // what is opened only once is open now
	if err != nil {
		return err
	}
	if s.base, err = s.settle(ctx); err != nil {
		return err
	}
	s.traffic = startTraffic(ctx, s.listen, s.ledger)
	for cycle := 0; err == nil && time.Since(started) < opts.soak; cycle++ {
		err = s.cycle(ctx, cycle)
	}
	s.traffic.end()
	if err != nil {
		return err
	}
	if s.end, err = s.settle(ctx); err != nil {
		return err
	}
	report, passed := s.report(time.Since(started))
	if err := soakPage.write(opts.out, report); err != nil {
		return err
	}
	if !passed {
		return errors.New("the soak found faults; its report says which")
	}
	return nil
}

func (s *soak) sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// start runs three production and two staging upstreams, and the proxy.
func (s *soak) start(ctx context.Context) error {
	addresses, err := freeAddresses(7)
	if err != nil {
		return err
	}
	for i := range 5 {
		u := &soakUpstream{address: addresses[i], group: production, tls: i%2 == 1}
		if i >= 3 {
			u.group = staging
		}
		s.upstreams = append(s.upstreams, u)
		if err := s.restart(ctx, u); err != nil {
			return err
		}
	}
	s.listen, s.admin = addresses[5], caddyAdmin(addresses[6])
	path, err := s.lab.write("soak.Caddyfile", s.caddyfile())
	if err != nil {
		return err
	}
	s.proxy, err = s.lab.start(ctx, "caddy", s.listen, s.lab.caddy, "run", "--config", path, "--adapter", "caddyfile")
	return err
}

func (s *soak) caddyfile() string {
	list := func(group string) string {
		var all []string
		for _, u := range s.upstreams {
			if u.group != group {
				continue
			}
			scheme := "http://"
			if u.tls {
				scheme = "https://"
			}
			all = append(all, scheme+u.address)
		}
		return strings.Join(all, " ")
	}
	_, port, _ := strings.Cut(s.listen, ":")
	fastPath := "on"
	if os.Getenv("PROXYOS_FAST_PATH") == "off" {
		fastPath = "off"
	}
	return fmt.Sprintf(`{
	admin %s
	auto_https off
	persist_config off
	proxyos {
		fast_path %s
	}
}
http://:%s {
	bind 127.0.0.1
	proxyos %s {
		name %s
		staging %s
		traffic_split %v
		skip_tls_verify
		fail_duration %s
		transport http {
			keepalive %s
		}
	}
}
`, s.admin, fastPath, port, list(production), soakRoute, list(staging), s.written, soakFailDuration, soakKeepAlive)
}

// restart starts an upstream, for the first time or again.
func (s *soak) restart(ctx context.Context, u *soakUpstream) (err error) {
	flags := []string{"-full"}
	if u.tls {
		flags = append(flags, "-tls")
	}
	u.process, err = s.lab.startBackend(ctx, u.address, u.group, flags...)
	return err
}

// settle waits until idle connections are closed and failures are forgotten, then reads.
func (s *soak) settle(ctx context.Context) (reading, error) {
	if err := s.sleep(ctx, soakKeepAlive+soakFailDuration+time.Second); err != nil {
		return reading{}, err
	}
	return s.read(ctx)
}

func (s *soak) read(ctx context.Context) (reading, error) {
	r := reading{at: time.Now()}
	var err error
	if r.footprint, err = s.admin.footprint(ctx); err != nil {
		return r, err
	}
	pid := s.proxy.pid()
	resident, err := residentMemory([]int{pid})
	if err != nil {
		return r, err
	}
	r.resident = float64(resident) / (1 << 20)
	r.files, err = openFiles(pid)
	return r, err
}
