package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"strconv"
	"time"
)

// wrkReport makes wrk end with a line of JSON. Its figures are microseconds and counts.
const wrkReport = `done = function(summary, latency, requests)
	local e = summary.errors
	io.write(string.format('\n{"requests":%d,"duration":%d,"p50":%d,"p99":%d,"errors":%d}\n',
		summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
		e.connect + e.read + e.write + e.status + e.timeout))
end
`

// load is what the load generator measured.
type load struct {
	Requests int `json:"requests"`
	Duration int `json:"duration"` // µs
	P50      int `json:"p50"`      // µs
	P99      int `json:"p99"`      // µs
	Errors   int `json:"errors"`
}

// wrkScript makes wrk send requests of a payload.
func wrkScript(p payload) string {
	if p.body == 0 {
		return wrkReport
	}
	return fmt.Sprintf("wrk.method = \"POST\"\nwrk.body = string.rep(\"x\", %d)\n", p.body) + wrkReport
}

// generateLoad keeps conns connections busy for a while.
func generateLoad(ctx context.Context, l *lab, url string, p payload, conns int, d time.Duration) (load, error) {
	script, err := l.write("wrk-"+p.name+".lua", wrkScript(p))
	if err != nil {
		return load{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, d+30*time.Second)
	defer cancel()
	seconds := strconv.Itoa(int(d / time.Second))
	cmd := exec.CommandContext(ctx, "wrk", "-t", strconv.Itoa(min(2, conns)), "-c", strconv.Itoa(conns),
		"-d", seconds, "--timeout", "10", "-s", script, url)
	output, err := cmd.CombinedOutput()
	if err != nil {
		return load{}, fmt.Errorf("wrk: %w\n%s", err, output)
	}
	return parseLoad(output)
}

func parseLoad(output []byte) (load, error) {
	output = bytes.TrimSpace(output)
	var result load
	if err := json.Unmarshal(output[bytes.LastIndexByte(output, '\n')+1:], &result); err != nil {
		return load{}, fmt.Errorf("wrk: %w in its output:\n%s", err, output)
	}
	if result.Duration == 0 {
		return load{}, fmt.Errorf("wrk: it took no time:\n%s", output)
	}
	return result, nil
}
