package main

import (
	"fmt"
	"strings"
)

const (
	production = "production"
	staging    = "staging"
)

// throughputReport returns the results in Markdown, with a table for each payload.
func throughputReport(all []series, proxies []contender, opts options) string {
	var text strings.Builder
	fmt.Fprintf(&text, "Command: `%s`. %d interleaved rounds of %s for each case; each figure is the median of the rounds, and each ratio the median of the ratios within a round.\n\n",
		commandLine(), opts.rounds, opts.duration)
	text.WriteString(describeMachine())
	text.WriteString("\n" + describeProxies(proxies))
	for _, p := range payloads {
		if rows := ofPayload(all, p); len(rows) > 0 {
			fmt.Fprintf(&text, "\n## %s\n\n%s", capitalized(p.title), throughputTable(rows))
		}
	}
	return text.String()
}

// describeProxies says in Markdown what the proxies are.
func describeProxies(proxies []contender) string {
	var text strings.Builder
	text.WriteString("Proxies, all with one production and one staging upstream and no access log:\n\n")
	for _, c := range proxies {
		fmt.Fprintf(&text, "- **%s**: %s\n", c.name, c.about)
	}
	return text.String()
}

func throughputTable(rows []series) string {
	t := newTable("connections", "proxy", "requests/s", "p50 ms", "p99 ms", "CPU µs/request", "CPU ÷ stock", "CPU ÷ stock, idle raised", "requests/s ÷ stock", "memory MiB", "errors")
	for _, row := range rows {
		stock, raised := find(rows, row.conns, stockName), find(rows, row.conns, stockIdleName)
		t.add(thousands(float64(row.conns)), row.proxy,
			thousands(medianOf(row.samples, sample.rate)),
			fmt.Sprintf("%.2f", medianOf(row.samples, sample.p50)),
			fmt.Sprintf("%.2f", medianOf(row.samples, sample.p99)),
			fmt.Sprintf("%.1f", medianOf(row.samples, sample.cpuMicros)),
			ratio(medianRatio(row.samples, stock.samples, sample.cpuMicros)),
			ratio(medianRatio(row.samples, raised.samples, sample.cpuMicros)),
			ratio(medianRatio(row.samples, stock.samples, sample.rate)),
			fmt.Sprintf("%.0f", medianOf(row.samples, sample.memoryMiB)),
			fmt.Sprintf("%.0f", sum(row.samples, sample.errorCount)))
	}
	return t.String()
}

func ofPayload(all []series, p payload) []series {
	var chosen []series
	for _, s := range all {
		if s.payload == p {
			chosen = append(chosen, s)
		}
	}
	return chosen
}

// find returns the series of a proxy, or one without samples.
func find(rows []series, conns int, proxy string) series {
	for _, row := range rows {
		if row.conns == conns && row.proxy == proxy {
			return row
		}
	}
	return series{}
}

func sum[T any](things []T, figure func(T) float64) float64 {
	total := 0.0
	for _, thing := range things {
		total += figure(thing)
	}
	return total
}
