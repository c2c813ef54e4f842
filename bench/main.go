// Command bench measures this module beside stock reverse_proxy, nginx, HAProxy and Traefik. README.md says
// what it needs and what it measures.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// options are those of the command line.
type options struct {
	rounds   int
	duration time.Duration
	conns    []int
	only     []string
	payloads []string
	out      string
	page     string
	profiles string

	spread   int
	routes   []int
	idle     []int
	latency  []int
	soak     time.Duration
	splitVia string

	spreadAsked bool
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "backend" {
		exitOn(runBackend(os.Args[2:]))
		return
	}
	opts, err := parseOptions(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	exitOn(err)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err = run(ctx, opts)
	stop()
	exitOn(err)
}

func exitOn(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func parseOptions(args []string) (options, error) {
	var o options
	var conns, only, payloads, routes, idle, latency string
	set := flag.NewFlagSet("bench", flag.ContinueOnError)
	set.IntVar(&o.rounds, "rounds", 5, "how often each case is measured; the rounds of the proxies are interleaved")
	set.DurationVar(&o.duration, "duration", 5*time.Second, "how long each measurement takes, in whole seconds")
	set.StringVar(&conns, "conns", "1,64,512,2048", "numbers of client connections")
	set.StringVar(&only, "only", "", "the proxies to measure: "+strings.Join(contenderFlags(), ",")+"; default: the first "+strconv.Itoa(ordinary))
	set.StringVar(&payloads, "payloads", "", "the payloads to measure: "+strings.Join(payloadNames(), ",")+"; default: all")
	set.StringVar(&o.out, "out", filepath.Join("docs", "performance"), "the folder to write the results into; - for standard output")
	set.StringVar(&o.page, "page", requestsPage.name, "the name of the page of requests, to keep the results of several runs")
	set.StringVar(&o.profiles, "profiles", "", "a directory for CPU profiles of the Caddy processes; taking them costs a little")
	set.BoolVar(&o.spreadAsked, "spread", false, "measure how evenly a 90/10 split is kept, instead")
	set.IntVar(&o.spread, "requests", 200_000, "with -spread: requests through each running proxy")
	set.StringVar(&routes, "routes", "", "measure configurations of this many routes, instead, such as 10,1000,10000")
	set.StringVar(&idle, "idle", "", "measure proxyos with these numbers of idle connections for each upstream, instead, such as 32,256,1024")
	set.StringVar(&latency, "latency", "", "measure latencies while this many requests per second are sent, whether answers come or not, instead, such as 1000,2000")
	set.DurationVar(&o.soak, "soak", 0, "run mixed traffic for this long while things change and break, instead")
	set.StringVar(&o.splitVia, "split-via", "reload", "with -soak: change the split by `reload` or through the `admin` endpoint")
	if err := set.Parse(args); err != nil {
		return o, err
	}
	if set.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", set.Arg(0))
	}
	var err error
	if o.conns, err = numbers(conns); err != nil {
		return o, fmt.Errorf("-conns: %w", err)
	}
	if o.routes, err = numbers(routes); err != nil {
		return o, fmt.Errorf("-routes: %w", err)
	}
	if o.idle, err = numbers(idle); err != nil {
		return o, fmt.Errorf("-idle: %w", err)
	}
	if o.latency, err = numbers(latency); err != nil {
		return o, fmt.Errorf("-latency: %w", err)
	}
	if o.page == "" || strings.Trim(o.page, "abcdefghijklmnopqrstuvwxyz-") != "" {
		return o, fmt.Errorf("-page: %q is not a name; write lower-case letters and hyphens", o.page)
	}
	if o.rounds < 1 || o.duration < time.Second || o.spread < 1 {
		return o, errors.New("-rounds and -requests must be at least 1, -duration at least 1s")
	}
	if o.splitVia != "reload" && o.splitVia != "admin" {
		return o, fmt.Errorf("-split-via: %q is neither reload nor admin; write one of them", o.splitVia)
	}
	o.duration = o.duration.Round(time.Second)
	o.only, o.payloads = words(only), words(payloads)
	return o, nil
}

func words(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
}

func numbers(list string) ([]int, error) {
	var all []int
	for _, word := range words(list) {
		n, err := strconv.Atoi(word)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("%q is not a number; write whole numbers from 1", word)
		}
		all = append(all, n)
	}
	return all, nil
}

// programs returns the names of the programs that the measurement needs.
func (o options) programs() []string {
	switch {
	case o.spreadAsked:
		return []string{nginxName, haproxyName}
	case len(o.routes) > 0, o.soak > 0:
		return nil
	case len(o.idle) > 0:
		return []string{"wrk"}
	}
	var needed []string
	if len(o.latency) == 0 {
		needed = append(needed, "wrk")
	}
	for _, peer := range []string{nginxName, haproxyName} {
		if len(o.only) == 0 || slices.Contains(o.only, peer) {
			needed = append(needed, peer)
		}
	}
	return needed
}

func run(ctx context.Context, opts options) error {
	if runtime.GOOS != "linux" {
		return errors.New("the measurements read /proc, so they run on Linux only")
	}
	if err := raiseFileLimit(); err != nil {
		return err
	}
	if err := checkPrograms(opts.programs()); err != nil {
		return err
	}
	lab, err := openLab(ctx)
	if err != nil {
		return err
	}
	defer lab.close()
	switch {
	case opts.spreadAsked:
		return measureSpread(ctx, lab, opts)
	case len(opts.routes) > 0:
		return measureRoutes(ctx, lab, opts)
	case opts.soak > 0:
		return runSoak(ctx, lab, opts)
	case len(opts.idle) > 0:
		return measureIdle(ctx, lab, opts)
	case len(opts.latency) > 0:
		return measureLatency(ctx, lab, opts)
	}
	return measureThroughput(ctx, lab, opts)
}
