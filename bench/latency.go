package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// measureLatency measures how long requests take that are sent at fixed rates, which all of the
// proxies can bear.
func measureLatency(ctx context.Context, l *lab, opts options) error {
	proxies, err := chosenContenders(opts.only)
	if err != nil {
		return err
	}
	chosen := payloads[:1]
	if len(opts.payloads) > 0 {
		if chosen, err = chosenPayloads(opts.payloads); err != nil {
			return err
		}
	}
	var text strings.Builder
	fmt.Fprintf(&text, "Command: `%s`. %d interleaved rounds of %s for each case; each figure is the median of the rounds, and each ratio the median of the ratios within a round. A latency counts from the moment at which the request was to be sent.\n\n",
		commandLine(), opts.rounds, opts.duration)
	text.WriteString(describeMachine() + "\n" + describeProxies(proxies))
	for _, p := range chosen {
		t := newTable("requests/s sent", "connections", "proxy", "p50 ms", "p99 ms", "p50 ÷ stock", "p99 ÷ stock", "p50 ÷ stock, idle raised", "p99 ÷ stock, idle raised", "CPU µs/request", "CPU ÷ stock")
		for _, rate := range opts.latency {
			for _, conns := range opts.conns {
				rows, err := measureField(ctx, l, opts, conditions{p, conns, rate}, able(proxies, p), lookAtNothing)
				if err != nil {
					return err
				}
				if err := addLatencies(t, rows, rate); err != nil {
					return err
				}
			}
		}
		fmt.Fprintf(&text, "\n## %s\n\n%s", capitalized(p.title), t)
	}
	return latencyPage.write(opts.out, text.String())
}

// addLatencies adds the rows of one case to a table.
func addLatencies(t *table, rows []series, rate int) error {
	conns := rows[0].conns
	stock, raised := find(rows, conns, stockName), find(rows, conns, stockIdleName)
	for _, row := range rows {
		if medianOf(row.samples, sample.rate) < 0.98*float64(rate) {
			return errors.New(row.proxy + " is saturated, so its latencies are those of a growing queue; write a smaller rate")
		}
		t.add(thousands(float64(rate)), thousands(float64(conns)), row.proxy,
			fmt.Sprintf("%.2f", medianOf(row.samples, sample.p50)),
			fmt.Sprintf("%.2f", medianOf(row.samples, sample.p99)),
			ratio(medianRatio(row.samples, stock.samples, sample.p50)),
			ratio(medianRatio(row.samples, stock.samples, sample.p99)),
			ratio(medianRatio(row.samples, raised.samples, sample.p50)),
			ratio(medianRatio(row.samples, raised.samples, sample.p99)),
			fmt.Sprintf("%.1f", medianOf(row.samples, sample.cpuMicros)),
			ratio(medianRatio(row.samples, stock.samples, sample.cpuMicros)))
	}
	return nil
}
