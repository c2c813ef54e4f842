package main

import (
	"context"
	"fmt"
	"strings"
)

// measureIdle measures what idle connections to the upstreams are worth, and what they cost.
func measureIdle(ctx context.Context, l *lab, opts options) error {
	var proxies []contender
	for _, idle := range opts.idle {
		proxies = append(proxies, contender{flag: "proxyos", name: fmt.Sprint("idle ", idle), config: caddyfile(proxyosIdleSite(idle)), start: startCaddy})
	}
	look := func(r *runner, s *sample) error {
		held, err := caddyAdmin(r.site.Admin).footprint(ctx)
		if err != nil {
			return err
		}
		s.memory = float64(held.memory) / (1 << 20)
		s.files, err = openFiles(r.pids[0])
		return err
	}
	chosen := payloads[:1]
	if len(opts.payloads) > 0 {
		var err error
		if chosen, err = chosenPayloads(opts.payloads); err != nil {
			return err
		}
	}
	t := newTable("payload", "connections", "idle connections kept for each upstream", "requests/s", "p99 ms", "CPU µs/request", "CPU ÷ first", "heap and stacks MiB", "open files after the load")
	for _, p := range chosen {
		for _, conns := range opts.conns {
			field, err := measureField(ctx, l, opts, conditions{payload: p, conns: conns}, proxies, look)
			if err != nil {
				return err
			}
			for i, row := range field {
				t.add(p.title, thousands(float64(conns)), thousands(float64(opts.idle[i])),
					thousands(medianOf(row.samples, sample.rate)),
					fmt.Sprintf("%.2f", medianOf(row.samples, sample.p99)),
					fmt.Sprintf("%.1f", medianOf(row.samples, sample.cpuMicros)),
					ratio(medianRatio(row.samples, field[0].samples, sample.cpuMicros)),
					fmt.Sprintf("%.1f", medianOf(row.samples, sample.memoryMiB)),
					thousands(medianOf(row.samples, func(s sample) float64 { return float64(s.files) })))
			}
		}
	}
	var text strings.Builder
	fmt.Fprintf(&text, "Command: `%s`. proxyos; medians of %d interleaved rounds of %s. Memory and files are measured after the load, after a garbage collection.\n\n",
		commandLine(), opts.rounds, opts.duration)
	text.WriteString(describeMachine() + "\n" + t.String())
	return idlePage.write(opts.out, text.String())
}
