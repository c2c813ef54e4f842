package main

import (
	"fmt"
	"strings"
	"time"
)

// Limits of what counts as flat, and as back at the start.
const (
	heapGrowth     = 1.15 // from the first third of the readings to the last
	extraGoroutine = 2
	extraFiles     = 2
	fewestCycles   = 3 // to see growth
)

// report says what was done and found, and whether everything passed.
func (s *soak) report(took time.Duration) (text string, passed bool) {
	var b strings.Builder
	fmt.Fprintf(&b, "Command: `%s`; it took %s. %d cycles: %d kills of upstreams, %d reloads, shares changed by %s. Three production and two staging upstreams, plain and TLS; %d clients.\n\n",
		commandLine(), took.Round(time.Second), len(s.readings), s.kills, s.reloads, s.opts.splitVia, clientCount())
	b.WriteString(describeMachine() + "\n")

	byKind, failures, examples := s.ledger.verdicts()
	t := newTable("traffic", string(served), string(cutByKill), string(cutByReload), string(failed))
	for _, k := range kinds {
		v := byKind[k]
		t.add(string(k), thousands(float64(v[served])), thousands(float64(v[cutByKill])), thousands(float64(v[cutByReload])), thousands(float64(v[failed])))
	}
	b.WriteString("Requests. Cut by a kill: an upstream died in the middle of its answer, or with a request that must not be repeated. Cut by a reload: Caddy closed an upgraded connection, or an idle one of a client. Failed: could have been served.\n\n" + t.String() + "\n")
	for _, example := range examples {
		fmt.Fprintf(&b, "- for example, %s\n", example)
	}
	b.WriteString("\n")

	strayed := 0
	t = newTable("window", "share %", "requests", "to staging", "deviation", "allowed", "")
	for _, w := range s.windows {
		mark := "ok"
		if w.strayed() {
			mark = "**strayed**"
			strayed++
		}
		t.add(w.what, fmt.Sprint(w.split), thousands(float64(w.requests())), thousands(float64(w.staged)),
			fmt.Sprintf("%.1f", w.deviation()), fmt.Sprintf("%.0f", w.allowed()), mark)
	}
	b.WriteString("Shares, over windows in which all of their requests began and ended. Allowed is 1, half a request for each end, or 0 at 0 % and 100 %, and 1 more for each request without an answer.\n\n" + t.String() + "\n")

	t = newTable("", "heap MiB", "memory MiB", "goroutines", "open files")
	row := func(name string, r reading) {
		t.add(name, fmt.Sprintf("%.1f", r.heapMiB()), fmt.Sprintf("%.0f", r.resident), fmt.Sprint(r.footprint.goroutines), fmt.Sprint(r.files))
	}
	row("before", s.base)
	for i, r := range s.readings {
		row(fmt.Sprintf("cycle %d", i+1), r)
	}
	row("after", s.end)
	b.WriteString("What the proxy holds, after a garbage collection and with no request in flight; before and after, also with idle connections closed.\n\n" + t.String() + "\n")

	growth := s.growth(reading.heapMiB)
	checks := []struct {
		what string
		ok   bool
	}{
		{fmt.Sprintf("no request failed that could be served: %d did", len(failures)), len(failures) == 0},
		{fmt.Sprintf("shares exact: %d of %d windows strayed", strayed, len(s.windows)), strayed == 0},
		{fmt.Sprintf("heap flat: last third of the cycles to the first %.2f, at most %.2f (memory of the process %.2f)", growth, heapGrowth, s.growth(reading.residentMiB)), growth <= heapGrowth},
		{fmt.Sprintf("%d cycles, at least %d to see growth", len(s.readings), fewestCycles), len(s.readings) >= fewestCycles},
		{fmt.Sprintf("goroutines back to the start: %d, then %d", s.base.footprint.goroutines, s.end.footprint.goroutines), s.end.footprint.goroutines <= s.base.footprint.goroutines+extraGoroutine},
		{fmt.Sprintf("open files back to the start: %d, then %d", s.base.files, s.end.files), s.end.files <= s.base.files+extraFiles},
	}
	passed = true
	for _, check := range checks {
		mark := "ok"
		if !check.ok {
			mark, passed = "**NOT OK**", false
		}
		fmt.Fprintf(&b, "- %s: %s\n", mark, check.what)
	}
	for _, failure := range failures[:min(len(failures), 30)] {
		fmt.Fprintf(&b, "  - %s\n", failure)
	}
	return b.String(), passed
}

// growth is the ratio of a figure's median in the last third of the cycles to its median in the
// first.
func (s *soak) growth(figure func(reading) float64) float64 {
	third := (len(s.readings) + 2) / 3
	return medianOf(s.readings[len(s.readings)-third:], figure) / medianOf(s.readings[:third], figure)
}

func clientCount() int {
	count := 0
	for _, n := range workers {
		count += n
	}
	return count
}
